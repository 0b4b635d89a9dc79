"""PAIR's `saliency` on torch functions: Blur IG and Guided IG as its authors published them.

`pip install --no-deps saliency` brings it; nothing here is needed where it is not there. Its 0.2.1 asks
numpy for ``quantile(..., interpolation="lower")``, which numpy 2.4 no longer knows: `guided_ig`
lends the module a numpy in which the word is ``method``. Nothing else of it is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

Score = Callable[[Tensor], Tensor]  # points (n, c, h, w) -> what is explained, (n,)
ABSENT = (
    "PAIR's saliency is not installed (pip install --no-deps saliency): its columns are left out."
)


def installed() -> bool:
    """Whether there is something to compare with."""
    return find_spec("saliency") is not None


def core() -> ModuleType:
    """The package's part that knows no framework."""
    return import_module("saliency.core")


def gradient(f: Score, x: Tensor) -> Tensor:
    """Of every row, (n, ...)."""
    with torch.enable_grad():
        z = x.detach().requires_grad_()
        return torch.autograd.grad(f(z).sum(), z)[0]


def asked(f: Score, dtype: torch.dtype, points: list[Tensor] | None = None) -> Callable[..., Any]:
    """The function it calls: arrays (n, h, w, c) -> gradients; `points` collects where."""

    def call(x: Any, call_model_args: Any = None, expected_keys: Any = None) -> dict[str, Any]:
        z = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).to(dtype)
        if points is not None:
            points.append(z.clone())
        found = gradient(f, z).movedim(1, -1).numpy()
        return {core().INPUT_OUTPUT_GRADIENTS: found}

    return call


def blur_ig(f: Score, x: Tensor, max_sigma: float, steps: int, **how: Any) -> Tensor:
    """Its Blur IG of one picture (c, h, w), in x's dtype; `how` is its ``batch_size``, ``sqrt``."""
    pixels = np.ascontiguousarray(x.movedim(0, -1).numpy())
    own = {"max_sigma": max_sigma, "steps": steps, **how}
    found = core().BlurIG().GetMask(pixels, asked(f, x.dtype), **own)
    return torch.from_numpy(found).movedim(-1, 0)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """A picture (c, h, w) on its path: black beyond the borders, the kernel cut at four sigmas."""
    if sigma == 0:
        return x
    found = ndimage.gaussian_filter(x.numpy(), sigma=[0, sigma, sigma], mode="constant")
    return torch.from_numpy(found)


def blur_limit(f: Score, x: Tensor, max_sigma: float, panels: int, width: int = 32) -> Tensor:
    """What its Blur IG converges to: midpoint gradients times the increments of its own path.

    Equal panels of sqrt(sigma), fine where the picture is: the integral does not depend on that.
    """
    total = torch.zeros_like(x)
    edges = [max_sigma * (k / panels) ** 2 for k in range(panels + 1)]
    for part in torch.arange(panels).split(width):
        own = [edges[k] for k in (*part.tolist(), int(part[-1]) + 1)]
        cuts = torch.stack([blurred(x, s) for s in own])
        middle = [(a + b) / 2 for a, b in pairwise(own)]
        points = torch.stack([blurred(x, s) for s in middle])
        total += (gradient(f, points) * (cuts[:-1] - cuts[1:])).sum(0)
    return total


def guided_ig(f: Score, x: Tensor, steps: int, **how: Any) -> tuple[Tensor, Tensor]:
    """Its Guided IG of one picture (c, h, w) from zeros, and where it asked for gradients."""
    points: list[Tensor] = []
    pixels = x.movedim(0, -1).numpy()
    with lent_quantile():
        mask = core().GuidedIG().GetMask(pixels, asked(f, x.dtype, points), x_steps=steps, **how)
    return torch.from_numpy(mask).movedim(-1, 0), torch.cat(points)


@contextmanager
def lent_quantile() -> Iterator[None]:
    """A numpy whose quantile knows ``interpolation=``, for the length of a call."""
    module: Any = import_module("saliency.core.guided_ig")
    quantile = lambda a, q, interpolation: np.quantile(a, q, method=interpolation)  # noqa: E731
    module.np = SimpleNamespace(**{**vars(np), "quantile": quantile})
    try:
        yield
    finally:
        module.np = np

"""Baselines that are a distribution, drawn by an explicit seed on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.errors import InputError, Unsupported
from intgrad.path.curve import Curves, bind, bind_rows


@dataclass(frozen=True)
class Uniform:
    """Noise, uniform on [low, high], independent in every feature.

    Parameters
    ----------
    samples
        How many draws to average over: they are then all there is, and an error is about their
        mean. Without it, a rule that draws by itself (`Lattice`, `MonteCarlo`) says how many, and
        its standard error is about the mean over the distribution; a fixed rule in t refuses.
    """

    low: float = 0.0
    high: float = 1.0
    samples: int | None = None

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """`samples` curves a row, the same draws for every row."""
        draw = lambda s, g: torch.rand(s, generator=g) * (self.high - self.low) + self.low  # noqa: E731
        return bind(draws(x, self, seed, draw), x)


@dataclass(frozen=True)
class Gaussian:
    """Noise, normal with `mean` and `sigma`, independent in every feature; `samples` as in `Uniform`."""

    mean: float = 0.0
    sigma: float = 1.0
    samples: int | None = None

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """`samples` curves a row, the same draws for every row."""
        draw = lambda s, g: torch.randn(s, generator=g) * self.sigma + self.mean  # noqa: E731
        return bind(draws(x, self, seed, draw), x)


@dataclass(frozen=True)
class Around:
    """The input itself with normal noise of `sigma`; `samples` as in `Uniform`.

    The same noise for every row. With the rule `At(0.0)` it is SmoothTaylor.
    """

    sigma: float = 0.5
    samples: int | None = None

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """`samples` curves a row, from x + noise."""
        noise = draws(x, self, seed, lambda s, g: torch.randn(s, generator=g) * self.sigma)
        starts = (p[:, None] + n for p, n in zip(x, noise, strict=True))
        return bind_rows(tuple(s.flatten(0, 1) for s in starts), x, int(self.samples or 1))


def populated(baseline: Any, rule: Any) -> tuple[Any, bool]:
    """A distribution that does not say how many draws gets as many as the rule asks for.

    Returns
    -------
    baseline, drawn
        And whether it did, so that its draws stand for a population.
    """
    unsaid = is_dataclass(baseline) and getattr(baseline, "samples", 0) is None
    if isinstance(baseline, type) or not (unsaid and getattr(rule, "samples_baselines", False)):
        return baseline, False
    return replace(baseline, samples=rule.baselines), True  # type: ignore[type-var]


def draws(x: Point, baseline: Any, seed: int, draw: Callable[..., Tensor]) -> Point:
    """(samples, ...) points shaped like rows of x, drawn on the CPU."""
    if baseline.samples is None:
        name = type(baseline).__name__
        raise Unsupported(
            f"{name} is a distribution, and a fixed rule in t needs to know how many draws to "
            f"average: {name}(samples=16)."
        )
    if baseline.samples < 1:
        raise InputError(f"samples={baseline.samples}; expected at least 1.")
    generator = torch.Generator().manual_seed(seed)
    shapes = [(baseline.samples, *p.shape[1:]) for p in x]
    return tuple(draw(s, generator).to(p.device, p.dtype) for s, p in zip(shapes, x, strict=True))

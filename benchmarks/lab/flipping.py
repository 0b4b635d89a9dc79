"""Removal curves beside those of Quantus: the same protocol, how far apart, and how fast."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import intgrad as ig
from intgrad.audit import metrics
from intgrad.audit.order import places
from intgrad.interop.quantus import score

from . import scenes
from .page import table
from .real import DATA

RULE = ig.GaussLegendre(16)
STEPS = 42  # of 3,584 entries each: Quantus takes divisors of the number of pixels
WIDTH = {"cpu": 4, "cuda": 256}  # rows a call: on a CPU more of them leave its cache
REPEATS = 3  # of which the fastest counts


@dataclass(frozen=True)
class Both:
    """The same measured by both: the largest difference, and the seconds of each."""

    apart: float
    ours: float
    theirs: float

    def cells(self, what: str) -> list[str]:
        """As a line of the table."""
        ratio = self.theirs / self.ours
        return [what, f"{self.apart:.1e}", f"{self.ours:.2f}", f"{self.theirs:.2f}", f"{ratio:.2f}"]


def flipping(quantus: Any, model: nn.Module, x: Tensor, inserting: bool) -> Both:
    """`deletion` or `insertion` beside PixelFlipping: every entry of x a unit, zeros for what is gone."""
    with torch.no_grad():
        target = model(x).argmax(1)
    whole, units = x.flatten(1).cpu().numpy(), x[0].numel()
    a = ig.attribute(model, x, target=target, quadrature=RULE).values.flatten(1)
    # ranks instead of values: of equal ones Quantus takes any first, and ours the earlier
    a = (units - places(a)).to(x.dtype).reshape(x.shape)

    def back(arr: Any, indices: Any, **_: Any) -> Any:
        rows = torch.arange(len(arr)).numpy()[:, None]
        arr = arr.copy()
        arr[rows, indices] = whole[rows, indices]
        return arr

    own = {"perturb_func": back} if inserting else {"perturb_baseline": 0.0}
    how = {"features_in_step": units // STEPS, "normalise": False, "disable_warnings": True}
    metric = quantus.PixelFlipping(**how, **own)
    ask = metrics.insertion if inserting else metrics.deletion
    width = WIDTH[x.device.type]
    ours = partial(ask, model, x, a, target=target, steps=STEPS, channels=(), width=width)
    begin = torch.zeros_like(x) if inserting else x
    theirs = partial(score, metric, model, begin, a, target, softmax=True, batch_size=len(x))
    found, scores = ours().scores[:, 1:].cpu(), torch.tensor(theirs(), dtype=torch.float64)
    areas = [torch.trapezoid(s, dx=1 / STEPS, dim=1) for s in (found, scores)]
    apart = max(float((one - two).abs().max()) for one, two in ((found, scores), areas))
    return Both(apart, *(min(timed(f) for _ in range(REPEATS)) for f in (ours, theirs)))


def timed(ask: Callable[[], Any]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


def beside_quantus(photos: int, device: str) -> None:
    """One table: how far apart, and how fast."""
    try:
        import quantus  # pyright: ignore[reportMissingImports]
    except ImportError:
        sys.exit("Quantus is not installed: pip install quantus, in an environment of its own.")
    lines = []
    for name, model, x in nets(photos):
        for inserting in (False, True):
            both = flipping(quantus, model.to(device), x.to(device), inserting)
            what = "insertion" if inserting else "deletion"
            lines.append(both.cells(f"{what}, {name}, {len(x)} x {STEPS} steps"))
    heads = ("what", "largest difference", "ours, s", "Quantus, s", "ratio")
    table(f"Beside Quantus {quantus.__version__}, on {device}", heads, lines)


def nets(photos: int) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """SqueezeNet on photos where the data are, and nets of random weights on noise."""
    if DATA.is_dir():
        found = list(scenes.photos("squeezenet", photos))
        yield "SqueezeNet", found[0].model, torch.cat([s.x for s in found])
    torch.manual_seed(0)
    x = torch.rand(photos, 3, 224, 224)
    for name, channels, stride in (("small net", 8, 4), ("wide net", 64, 2)):
        convolutions = [nn.Conv2d(3, channels, 5, stride), nn.ReLU()]
        convolutions += [
            nn.Conv2d(channels, channels, 3, stride),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
        ]
        yield (
            name,
            nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16 * channels, 10)).eval(),
            x,
        )

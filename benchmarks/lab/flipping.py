"""Removal curves beside those of Quantus: the same protocol, how far apart, and how fast."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

import intgrad as ig
from intgrad.audit import metrics
from intgrad.audit.imputation import imputed
from intgrad.audit.order import places
from intgrad.interop.quantus import score

from . import scenes
from .page import table
from .real import DATA

RULE = ig.GaussLegendre(16)
STEPS = 42  # of 3,584 entries each: Quantus takes divisors of the number of pixels
WIDTH = {"cpu": 4, "cuda": 256}  # rows a call: on a CPU more of them leave its cache
FINE = 336  # of 448 entries each
RTOL = 0.005
REPEATS = 3  # of which the fastest counts


@dataclass(frozen=True)
class Both:
    """The same measured by both: the largest difference, forwards a row and seconds of ours, theirs."""

    apart: float
    forwards: float
    ours: float
    theirs: float

    def cells(self, what: str) -> list[str]:
        """As a line of the table."""
        ratio = self.theirs / self.ours
        cells = [f"{self.forwards:.0f}", f"{self.ours:.2f}", f"{self.theirs:.2f}", f"{ratio:.2f}"]
        return [what, f"{self.apart:.1e}", *cells]


@dataclass(frozen=True)
class Protocol:
    """Every entry of x a unit, zeros for what is gone: `deletion` or `insertion`, and PixelFlipping."""

    quantus: Any
    model: nn.Module
    x: Tensor
    inserting: bool

    @cached_property
    def target(self) -> Tensor:
        """The predicted classes."""
        with torch.no_grad():
            return self.model(self.x).argmax(1)

    @cached_property
    def order(self) -> Tensor:
        """Ranks instead of values: of equal ones Quantus takes any first, and ours the earlier."""
        a = ig.attribute(self.model, self.x, target=self.target, quadrature=RULE)
        values = a.values.flatten(1)
        ranks = self.x[0].numel() - places(values)
        return ranks.to(self.x.dtype).reshape(self.x.shape)

    def ours(self, **how: Any) -> metrics.Curve:
        """Our curve."""
        ask = metrics.insertion if self.inserting else metrics.deletion
        how |= {"target": self.target, "channels": (), "width": WIDTH[self.x.device.type]}
        return ask(self.model, self.x, self.order, **how)

    def theirs(self, steps: int) -> Tensor:
        """Their scores, (rows, steps)."""
        whole, units = self.x.flatten(1).cpu().numpy(), self.x[0].numel()

        def back(arr: Any, indices: Any, **_: Any) -> Any:
            rows = torch.arange(len(arr)).numpy()[:, None]
            arr = arr.copy()
            arr[rows, indices] = whole[rows, indices]
            return arr

        own = {"perturb_func": back} if self.inserting else {"perturb_baseline": 0.0}
        how = {"features_in_step": units // steps, "normalise": False, "disable_warnings": True}
        begin = torch.zeros_like(self.x) if self.inserting else self.x
        metric = self.quantus.PixelFlipping(**how, **own)
        call = {"softmax": True, "batch_size": len(self.x)}
        found = score(metric, self.model, begin, self.order, self.target, **call)
        return torch.tensor(found, dtype=torch.float64)

    def same_points(self) -> Both:
        """The same points of the curve: how far apart scores and areas are."""
        ours = partial(self.ours, steps=STEPS)
        theirs = partial(self.theirs, STEPS)
        found, scores = ours().scores[:, 1:].cpu(), theirs()
        areas = [torch.trapezoid(s, dx=1 / STEPS, dim=1) for s in (found, scores)]
        apart = max(float((one - two).abs().max()) for one, two in ((found, scores), areas))
        return Both(apart, STEPS + 1, *(fastest(f) for f in (ours, theirs)))

    def same_area(self) -> Both:
        """The area of the curve that they take `FINE` steps for, with points that are found."""
        ours, theirs = partial(self.ours, rtol=RTOL), partial(self.theirs, FINE)
        found, scores = ours(), theirs()
        first = found.scores[:, :1].cpu()  # which theirs leave out
        area = torch.trapezoid(torch.cat([first, scores], 1), dx=1 / FINE, dim=1)
        forwards = float((found.fractions.diff(dim=1) > 0).sum(1).double().mean()) + 1
        apart = float((found.auc.cpu() - area).abs().max())
        return Both(apart, forwards, *(fastest(f, 1) for f in (ours, theirs)))


def fastest(ask: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Seconds of the fastest call."""
    return min(timed(ask) for _ in range(repeats))


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
    points, areas = [], []
    for name, model, x in nets(photos):
        for inserting in (False, True):
            asked = Protocol(quantus, model.to(device), x.to(device), inserting)
            what = f"{'insertion' if inserting else 'deletion'}, {name}"
            points.append(asked.same_points().cells(f"{what}, {len(x)} x {STEPS} steps"))
            if name == "SqueezeNet":
                areas.append(asked.same_area().cells(f"{what}, {len(x)} x {FINE} steps of theirs"))
    heads = ("what", "largest difference", "forwards of ours", "ours, s", "Quantus, s", "ratio")
    table(f"The same points as Quantus {quantus.__version__}, on {device}", heads, points)
    table(f"The same areas, ours to rtol={RTOL}", heads, areas)
    if DATA.is_dir():
        x = next(iter(scenes.photos("squeezenet", 1))).x.to(device)
        heads = ("what", "largest difference", "ours, s", "Quantus, s", "ratio")
        table("The same guesses, pixels of [0, 1]", heads, guesses(quantus, x))


def guesses(quantus: Any, x: Tensor) -> Iterator[list[str]]:
    """Pixels guessed by ROAD without its noise: scattered holes in half of it, and a wide one of a quarter."""
    guess = quantus.functions.perturb_func.noisy_linear_imputation
    half = x.shape[3] // 2
    scattered = torch.rand(x[:1, :1].shape, generator=torch.Generator().manual_seed(0)) < 0.5
    wide = torch.zeros_like(scattered)
    wide[..., half // 2 : half // 2 + half] = True
    for name, holes in (("scattered holes", scattered), ("one wide hole", wide)):
        at = holes.flatten().nonzero()[:, 0].numpy()
        ours = partial(imputed, x[:1], holes.to(x.device))
        theirs = partial(guess, x[0].cpu().numpy(), at, noise=0.0)
        apart = float((ours()[0].cpu() - torch.as_tensor(theirs())).abs().max())
        seconds = fastest(ours), fastest(theirs, 1)
        cells = [f"{s:.2f}" for s in (*seconds, seconds[1] / seconds[0])]
        yield [f"a photo, {name}", f"{apart:.1e}", *cells]


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

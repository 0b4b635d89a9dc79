"""The panels a row stands on while they are halved, and what is known of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from intgrad._types import Point, each_target, magnitude, total
from intgrad.integral import LineIntegral
from intgrad.units import Panels

SPLIT = 0.85  # of the error is in the panels that are halved next: fewer rounds, longer chains
AIM = 0.9  # of the tolerance is what the last round aims at
SURE, FEW = 0.6, 2.0  # the factor on an estimate shared by N panels: SURE + FEW / sqrt(N)


@dataclass
class Leaves:
    """Panels of one row, in order: curve, a, b (n,); value and wrong (T, n, ...).

    `wrong` is the difference between a panel and its halves, handed down to both in equal parts
    whose squares add up; `spent` counts gradients.
    """

    curve: Tensor
    a: Tensor
    b: Tensor
    value: Point = ()
    wrong: Point = ()
    spent: int = 0

    def __len__(self) -> int:
        return len(self.a)

    @staticmethod
    def equal(curves: Tensor, n: int) -> Leaves:
        """N equal panels on each curve, nothing known of them yet."""
        edges = torch.linspace(0, 1, n + 1, dtype=torch.float64)
        k = len(curves)
        return Leaves(curves.repeat_interleave(n), edges[:-1].repeat(k), edges[1:].repeat(k))

    def halves(self, which: Tensor) -> Panels:
        """Both halves of these panels, neighbours beside each other."""
        middle = (self.a[which] + self.b[which]) / 2
        return Panels(
            self.curve[which].repeat_interleave(2),
            torch.stack([self.a[which], middle], 1).reshape(-1),
            torch.stack([middle, self.b[which]], 1).reshape(-1),
        )

    def halved(self, which: Tensor, panels: Panels, value: Point) -> Leaves:
        """The leaves with these panels exchanged for their halves, whose values are (T, 2k, ...)."""
        stay = torch.ones(len(self), dtype=torch.bool)
        stay[which] = False
        keep = stay.nonzero()[:, 0]
        curve = torch.cat([self.curve[keep], panels.curve])
        a, b = torch.cat([self.a[keep], panels.a]), torch.cat([self.b[keep], panels.b])
        order = torch.argsort(curve.double() * 2 + a)  # a < 1: by curve, then along it
        new_wrong = [
            ((v[:, 0::2] + v[:, 1::2] - _take(old, which)).abs() * math.sqrt(0.5))
            for v, old in zip(value, self.value, strict=True)
        ]
        wrong = self.wrong or tuple(torch.zeros_like(v) for v in self.value)
        arranged = [
            (
                _take(torch.cat([_take(v, keep), new], 1), order),
                _take(torch.cat([_take(w, keep), e.repeat_interleave(2, 1)], 1), order),
            )
            for v, new, w, e in zip(self.value, value, wrong, new_wrong, strict=True)
        ]
        values, wrongs = zip(*arranged, strict=True)
        spent = self.spent + edges(panels)
        return Leaves(curve[order], a[order], b[order], tuple(values), tuple(wrongs), spent)

    # ------------------------------------------------------------------ what they say

    def sum(self) -> Point:
        """The integral: (T, 1, ...)."""
        return tuple(v.sum(1, keepdim=True) for v in self.value)

    def error(self) -> Point:
        """Absolute error of every value, (T, 1, ...): errors of panels are independent."""
        factor = self._factor()
        return tuple(w.square().sum(1, keepdim=True).sqrt() * _along(factor, w) for w in self.wrong)

    def scores(self) -> Tensor:
        """L1 size of each panel's error, (T, n)."""
        return each_target(self.wrong, magnitude).cpu()

    def _factor(self) -> Tensor:
        """How far an estimate from few panels may be off: (T,)."""
        size = self.scores()
        mass = size.square().sum(1)
        number = size.sum(1).square() / torch.where(mass > 0, mass, 1)
        return SURE + FEW / number.clamp(min=1).sqrt()

    def excess(self, tolerance: Tensor) -> float:
        """The error of the worst target over its tolerance (T,)."""
        error = each_target(self.error(), total)[:, 0].cpu()
        return float(torch.where(error == 0, 0.0, error / tolerance).max())

    def worst(self, tolerance: Tensor) -> Tensor:
        """The panels to halve: those that carry most of the error, and no more than is needed.

        What is needed supposes that halving a panel halves its error, as at order one.
        """
        scores = (self.scores() / tolerance.clamp(min=1e-300)[:, None]).amax(0)
        order = torch.argsort(scores, descending=True, stable=True)
        carried, squares = scores[order].cumsum(0), scores[order].square().cumsum(0)
        most = SPLIT * carried[-1]
        needed = (1 - (AIM / self.excess(tolerance)) ** 2) / 0.75 * squares[-1]
        count = int(((carried < most) & (squares < needed)).sum()) + 1
        return order[:count].sort().values


def grow(integral: LineIntegral, rows: dict[int, Leaves], picks: Mapping[int, Tensor]) -> None:
    """Halve the picked panels of several rows, asked about in shared calls."""
    panels = {row: rows[row].halves(which) for row, which in picks.items()}
    values = ask(integral, panels)
    for row, which in picks.items():
        rows[row] = rows[row].halved(which, panels[row], values[row])


def ask(integral: LineIntegral, panels: Mapping[int, Panels]) -> dict[int, Point]:
    """Values (T, n, ...) of the panels of several rows, in one list."""
    parts = list(panels.values())
    every = Panels(*(torch.cat([getattr(p, n) for p in parts]) for n in ("curve", "a", "b")))
    found = integral.each_panel(every)
    cuts = torch.tensor([len(p) for p in parts]).cumsum(0)[:-1]
    split = [torch.tensor_split(f, cuts, dim=1) for f in found]
    return {row: tuple(s[i] for s in split) for i, row in enumerate(panels)}


def edges(panels: Panels) -> int:
    """How many points these panels need: neighbours share theirs."""
    joined = (panels.curve[1:] == panels.curve[:-1]) & (panels.a[1:] == panels.b[:-1])
    return 2 * len(panels) - int(joined.sum())


def groups(integral: LineIntegral, size: int, budget: int) -> list[list[int]]:
    """Rows in groups whose panels, `size` a row, fit in `budget` bytes."""
    targets = getattr(integral.oracle, "targets", None) or 1
    one = sum(p[:1].numel() for p in integral.curves.end.points) * 8 * targets * size
    many = max(1, budget // one)
    live = sorted(set(integral.curves.row.tolist()))
    return [live[i : i + many] for i in range(0, len(live), many)]


def gather(rows: Mapping[int, Point], count: int) -> Point:
    """Results (T, 1, ...) of some rows as (T, count, ...), 0 elsewhere."""
    first = next(iter(rows.values()))
    out = [f.new_zeros(f.shape[0], count, *f.shape[2:]) for f in first]
    for row, found in rows.items():
        for o, f in zip(out, found, strict=True):
            o[:, row : row + 1] = f
    return tuple(out)


Done = Callable[[int], bool]


def _take(tensor: Tensor, which: Tensor) -> Tensor:
    return tensor.index_select(1, which.to(tensor.device))


def _along(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.to(like.device, like.dtype).reshape(-1, *(1,) * (like.ndim - 1))

"""Gaps: the stretches of curves whose linear regions are not known yet, and the walk that fills them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from intgrad._types import Point, chunks
from intgrad.errors import Unsupported
from intgrad.integral import LineIntegral
from intgrad.integrand import BareGradient, GradientVelocity, NodeWork, Summed
from intgrad.model.oracle import Oracle, ability
from intgrad.units import Nodes

# where in a gap the model is asked: near the middle and no round number, on which kinks like to lie
SHARES = torch.tensor(
    [5**0.5 - 3**0.5, (3 - 5**0.5) / 2, (5**0.5 - 1) / 2, 2**0.5 - 1], dtype=torch.float64
)
NARROW = 1e-13  # of a path: a gap that is no wider is closed; in float32 64 units in the last place
UNSURE = 2  # units in the last place: what is not known of a border at least


@dataclass(frozen=True)
class Gaps:
    """Open stretches: curve (g,), from a (g,) to b (g,); and how often each was asked in vain."""

    curve: Tensor
    a: Tensor
    b: Tensor
    tries: Tensor

    def __len__(self) -> int:
        return len(self.a)

    @staticmethod
    def all(curves: int) -> Gaps:
        """Every curve as a whole."""
        zeros = torch.zeros(curves, dtype=torch.float64)
        return Gaps(torch.arange(curves), zeros, zeros + 1, zeros.long())

    def where(self, keep: Tensor | slice) -> Gaps:
        """The gaps that `keep` (a mask, indices or a slice) names."""
        return Gaps(self.curve[keep], self.a[keep], self.b[keep], self.tries[keep])

    @staticmethod
    def join(parts: list[Gaps]) -> Gaps:
        """All of them, along the curves."""
        columns = ("curve", "a", "b", "tries")
        found = Gaps(*(torch.cat([getattr(p, c) for p in parts]) for c in columns))
        by_a = torch.argsort(found.a, stable=True)
        return found.where(by_a[torch.argsort(found.curve[by_a], stable=True)])

    def points(self) -> Tensor:
        """Where to ask next, (g,)."""
        return self.a + SHARES[self.tries % len(SHARES)] * (self.b - self.a)


@dataclass(frozen=True)
class Found:
    """Regions (n,) of one call: curve, from low to high.

    Attributes
    ----------
    row
        Which example each belongs to.
    each
        Contributions (T, n, ...) of the integrand, constant in the region.
    gradient
        (T, n, ...).
    unsure
        (n,): how well the two borders are known, in t.
    beyond
        (n,): the width of what the region stands for and is not, where the budget ended.
    units
        What crosses at `high`, if it was asked for.
    """

    curve: Tensor
    row: Tensor
    low: Tensor
    high: Tensor
    each: Point
    gradient: Point
    unsure: Tensor
    beyond: Tensor
    units: list[tuple[tuple[int, int], ...]]


@dataclass
class Regional:
    """An integrand of what is known of a region: asks for regions, lets `of` use their gradients."""

    of: Any
    room: tuple[Tensor, Tensor]
    units: bool
    found: Any = None
    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = True

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Contributions (T, n, ...)."""
        ask = ability(oracle, "regions")
        self.found = ask(work.x, work.rows, work.velocity, room=self.room, units=self.units)
        return self.of(Told(self.found.gradient), work)


@dataclass(frozen=True)
class Told:
    """An oracle that was told its answer."""

    gradient: Point
    targets: int = 1

    def __call__(self, x: Point, rows: Tensor) -> tuple[Tensor, Point]:
        """The first target's gradients."""
        values, gradient = self.cotangents(x, rows)
        return values[0], tuple(g[0] for g in gradient)

    def cotangents(self, x: Point, rows: Tensor) -> tuple[Tensor, Point]:
        """Gradients (T, n, ...); the values are not known."""
        first = self.gradient[0]
        return first.new_full(first.shape[:2], torch.nan), self.gradient


@dataclass
class Walk:
    """Fills gaps round by round: all rows and curves share the calls, and no region is asked twice.

    Attributes
    ----------
    spent
        (rows,) points asked.
    """

    integral: LineIntegral
    most: int
    units: bool = False
    gaps: Gaps = field(init=False)
    spent: Tensor = field(init=False)
    narrow: float = field(init=False)
    eps: float = field(init=False)

    def __post_init__(self) -> None:
        ability(self.integral.oracle, "regions")
        self.gaps = Gaps.all(len(self.integral.curves))
        self.spent = torch.zeros(self.integral.rows, dtype=torch.long)
        self.eps = max(torch.finfo(p.dtype).eps for p in self.integral.curves.end.points)
        self.narrow = max(NARROW, 64 * self.eps if self.eps > 1e-10 else 0.0)

    def __iter__(self) -> Iterator[Found]:
        while len(self.gaps):
            now, last = self._affordable()
            rest, left = self.gaps.where(now), [self.gaps.where(~now)]
            last = last[now]
            for part in chunks(len(rest), getattr(self.integral.oracle, "width", 0) or 64):
                found, more = self._ask(rest.where(part), last[part])
                left += more
                if len(found.low):
                    yield found
            self.gaps = Gaps.join(left)

    def _affordable(self) -> tuple[Tensor, Tensor]:
        """Which gaps to ask about now, and which of them are asked for the last time.

        Asking k of a row's g gaps leaves g + k at most, and each must still be paid for: the widest
        k <= (left - g) / 2, or, if none, all of them, each as a whole.
        """
        row = self.integral.curves.row[self.gaps.curve]
        open_ = torch.bincount(row, minlength=self.integral.rows)
        room = (self.most - self.spent - open_) // 2
        last = (room <= 0)[row]
        if bool((open_ <= room).all()):
            return torch.ones_like(last), last
        order = torch.argsort(self.gaps.a - self.gaps.b, stable=True)
        order = order[torch.argsort(row[order], stable=True)]
        first = torch.cumsum(open_, 0) - open_
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order)) - first[row[order]]
        return last | (rank < room[row]), last

    def _ask(self, gaps: Gaps, last: Tensor) -> tuple[Found, list[Gaps]]:
        """The regions in these gaps, and the gaps that are left."""
        t = gaps.points()
        integrand = Regional(self.integral.integrand, (gaps.a - t, gaps.b - t), self.units)
        nodes = Nodes(gaps.curve, t, torch.ones(len(t), 1, dtype=torch.float64))
        each = replace(self.integral, integrand=integrand, watch=False).each(nodes)
        row = self.integral.curves.row[gaps.curve]
        self.spent += torch.bincount(row, minlength=self.integral.rows)
        known = integrand.found
        vain = self._vain(gaps, known.low, known.high) & ~last
        again = replace(gaps.where(vain), tries=gaps.tries[vain] + 1)
        none = torch.zeros_like(t)
        raw = Found(
            gaps.curve,
            row,
            t + known.low,
            t + known.high,
            each,
            known.gradient,
            none,
            none,
            known.units,
        )
        found, left, right = self._close(gaps, raw, last)
        beside = Gaps(gaps.curve, gaps.a, found.low, none.long()).where(left & ~vain)
        behind = Gaps(gaps.curve, found.high, gaps.b, none.long()).where(right & ~vain)
        return _select(found, ~vain), [again, beside, behind]

    def _vain(self, gaps: Gaps, low: Tensor, high: Tensor) -> Tensor:
        """Points so near a border that rounding decides on which side they are."""
        close = (high < self.narrow) | (low > -self.narrow)
        return close & (gaps.b - gaps.a > 8 * self.narrow) & (gaps.tries < len(SHARES) - 1)

    def _close(self, gaps: Gaps, raw: Found, last: Tensor) -> tuple[Found, Tensor, Tensor]:
        """Cut regions to their gaps; whether a gap stays open on the left and on the right.

        A narrow rest is no gap but goes to the region, as does any rest in the last round.
        """
        low, high = torch.maximum(raw.low, gaps.a), torch.minimum(raw.high, gaps.b)
        before, after = low - gaps.a, gaps.b - high
        left, right = before > self.narrow, after > self.narrow
        width = high - low
        off = _off(raw.low, gaps.a, ~left & (gaps.a > 0), width)
        off = off + _off(raw.high, gaps.b, ~right & (gaps.b < 1), width)
        guessed = torch.where(left, before, 0.0) + torch.where(right, after, 0.0)
        left, right = left & ~last, right & ~last
        found = replace(
            raw,
            low=torch.where(left, low, gaps.a),
            high=torch.where(right, high, gaps.b),
            unsure=off + UNSURE * self.eps * (2 + width),
            beyond=torch.where(last, guessed, 0.0),
        )
        return found, left, right


def _off(border: Tensor, edge: Tensor, shared: Tensor, width: Tensor) -> Tensor:
    """By how much a border differs from the neighbour's, where they are one; at most the width."""
    return torch.where(shared, torch.minimum((border - edge).abs(), width), 0.0)


def _select(found: Found, keep: Tensor) -> Found:
    """The regions that `keep`, a mask, names."""
    if bool(keep.all()):
        return found
    take = lambda point: tuple(p[:, keep.to(p.device)] for p in point)  # noqa: E731
    names = ("curve", "row", "low", "high", "unsure", "beyond")
    columns = {name: getattr(found, name)[keep] for name in names}
    units = [u for u, k in zip(found.units, keep.tolist(), strict=False) if k]
    return replace(
        found, **columns, each=take(found.each), gradient=take(found.gradient), units=units
    )


def refuse_curved(integral: LineIntegral) -> None:
    """Refuse paths that bend, and integrands that are not constant in a region.

    Raises
    ------
    Unsupported
        In a sentence.
    """
    if not getattr(integral.path, "straight", False):
        name = getattr(integral.path, "__name__", type(integral.path).__name__)
        raise Unsupported(
            f"Exact follows straight lines, on which a piecewise-linear model has straight pieces; this "
            f"path is {name}. Use quadrature=ig.PanelAveraged() or ig.Adaptive()."
        )
    part = integral.integrand
    while isinstance(part, Summed):
        part = part.of
    if not isinstance(part, GradientVelocity | BareGradient):
        raise Unsupported(
            f"Exact integrates gradients that are constant in a region; {type(part).__name__} is none. "
            f"Expected GradientVelocity or BareGradient; use another rule."
        )


__all__ = ["Found", "Gaps", "Walk", "refuse_curved"]

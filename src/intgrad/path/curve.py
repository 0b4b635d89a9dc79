"""A curve is one path with its ends fixed; `Curves` is a list of them, as columns.

A row of the input has one curve or many: several baselines (weights that sum to one), the
segments of a traced polyline (weight one each), one word at a time (weight one, and a mask that
says which features the curve speaks for). Ends are kept in banks, so a baseline shared by a
thousand rows is stored once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from intgrad._types import Point, like, wide


class Path(Protocol):
    """The rule for going from baseline to input, one tensor at a time.

    ``path(t, start, end)`` gets t of shape (n, 1, ..., 1) and ends of shape (n, ...), returns
    the points (n, ...). It may also have

    ``velocity(t, start, end)``
        its derivative in t, which is otherwise taken by forward-mode differentiation
    ``trace(oracle, curves)``
        asks the model for its way, or cuts it, and returns ordinary curves, each a straight line
    ``prepare(start, end)``
        tensors (c, ...) that are worth computing once a curve; all calls get them behind `end`
    ``monotone``
        whether every feature goes from start to end without turning back, inside the box between
        them: what makes a path method obey non-decreasing positivity
    """

    def __call__(self, t: Tensor, start: Tensor, end: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Bank:
    """Points (k, ...) and, for every curve, which of them is its end: index (c,)."""

    points: Point
    index: Tensor

    def take(self, curves: Tensor) -> Point:
        """Points of these curves: (n, ...), a view where they are all one and the same."""
        index = self.index[curves]
        if len(index) and bool((index == index[0]).all()):
            first = int(index[0])
            return tuple(p[first : first + 1].expand(len(index), *p.shape[1:]) for p in self.points)
        return tuple(p.index_select(0, index.to(p.device)) for p in self.points)

    def at(self, index: Tensor) -> Bank:
        """The same points, and other curves' choice of them."""
        return replace(self, index=index)

    def holds(self, points: Point) -> bool:
        """Whether it chooses from these very points."""
        return self.points[0] is points[0]

    def shares(self, other: Bank) -> bool:
        """Whether both choose from the very same points."""
        return other.holds(self.points)


@dataclass(frozen=True)
class Curves:
    """Columns of curves: row (c,), start, end, weight (c,), and a mask shaped like the features.

    Attributes
    ----------
    mask
        Which features a curve speaks for, where it does not speak for all.
    drawn
        The curves of a row are a sample of a population, in no order, and the mean over the
        population is asked for; else they are all there is.
    chain
        The curves of a row follow each other, and their integrals are added.
    single
        Each curve moves one feature, or one group of features that stand for one, so that what
        the target gains on it belongs to them.
    aids
        What a path prepared for each curve, a bank for each tensor.
    """

    row: Tensor
    start: Bank
    end: Bank
    weight: Tensor
    mask: Bank | None = None
    drawn: bool = False
    chain: bool = False
    single: bool = False
    aids: tuple[Bank, ...] = ()

    def __len__(self) -> int:
        return len(self.row)

    def where(self, keep: Tensor) -> Curves:
        """The curves that `keep` (indices) names."""
        chosen = lambda bank: bank.at(bank.index[keep])  # noqa: E731
        return replace(
            self,
            row=self.row[keep],
            start=chosen(self.start),
            end=chosen(self.end),
            weight=self.weight[keep],
            mask=self.mask and chosen(self.mask),
            aids=tuple(chosen(aid) for aid in self.aids),
        )


def bind(starts: Point, x: Point) -> Curves:
    """One curve a row for each of the starting points, averaged.

    Parameters
    ----------
    starts
        (k, ...) points every row starts from in turn, each with weight 1/k.
    x
        (r, ...) the inputs, where the curves end.
    """
    rows, k = x[0].shape[0], starts[0].shape[0]
    row = torch.arange(rows).repeat_interleave(k)
    index = torch.arange(k).repeat(rows)
    weight = torch.full((rows * k,), 1.0 / k, dtype=torch.float64)
    return Curves(row, Bank(starts, index), Bank(x, row), weight)


def bind_rows(starts: Point, x: Point, per_row: int = 1) -> Curves:
    """Curves from starting points of their own: starts (r * per_row, ...), row after row."""
    rows = x[0].shape[0]
    row = torch.arange(rows).repeat_interleave(per_row)
    weight = torch.full((rows * per_row,), 1.0 / per_row, dtype=torch.float64)
    return Curves(row, Bank(starts, torch.arange(rows * per_row)), Bank(x, row), weight)


def go(path: Path, t: Tensor, curves: Curves, which: Tensor) -> tuple[Point, Point]:
    """Points and velocities at times t (n,) on the curves `which` (n,); see `travel`."""
    ends = curves.start.take(which), curves.end.take(which)
    return travel(path, t, *ends, tuple(aid.take(which) for aid in curves.aids))


def travel(
    path: Path, t: Tensor, start: Point, end: Point, aids: Sequence[Point] = ()
) -> tuple[Point, Point]:
    """Points and velocities at times t (n,), computed in float32 at least.

    Returns
    -------
    points, velocities
        Points in the dtype of `end`; velocities d path / dt in float32 or wider.
    """
    points, velocities = [], []
    for i, (left, right) in enumerate(zip(start, end, strict=True)):
        a, b = left.to(wide(right.dtype)), right.to(wide(right.dtype))
        aid = aids[i] if aids else ()
        point, velocity = _travel(path, like(t.to(b.device), b), (a, b, *aid))
        points.append(point)
        velocities.append(velocity)
    return tuple(p.to(e.dtype) for p, e in zip(points, end, strict=True)), tuple(velocities)


def _travel(path: Path, t: Tensor, ends: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    velocity: Callable[..., Tensor] | None = getattr(path, "velocity", None)
    if velocity is not None:
        return path(t, *ends), velocity(t, *ends)
    point, found = torch.func.jvp(lambda s: path(s, *ends), (t,), (torch.ones_like(t),))[:2]
    return point, found


def prepared(path: Path, curves: Curves) -> Curves:
    """The curves, with what the path wants to know of each."""
    prepare: Callable[..., Point] | None = getattr(path, "prepare", None)
    if prepare is None:
        return curves
    every = torch.arange(len(curves))
    ends = zip(curves.start.take(every), curves.end.take(every), strict=True)
    wider = [(a.to(wide(b.dtype)), b.to(wide(b.dtype))) for a, b in ends]
    return replace(curves, aids=tuple(Bank(prepare(*pair), every) for pair in wider))


def polyline(knots: Point, curves: Curves) -> Curves:
    """Straight segments through knots (k, c, ...) of each curve: what a trace returns.

    Consecutive segments share their knots, so the values of the target at inner knots cancel in
    the certificate and are never computed.
    """
    k, c = knots[0].shape[:2]
    flat = tuple(p.reshape(k * c, *p.shape[2:]) for p in knots)
    first = (torch.arange(k - 1)[:, None] * c + torch.arange(c)).reshape(-1)
    return Curves(
        curves.row.repeat(k - 1),
        Bank(flat, first),
        Bank(flat, first + c),
        curves.weight.repeat(k - 1),
        chain=True,
    )

"""Only as far as the output still moves: Left IG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from intgrad._types import Point, like, whole_number
from intgrad.errors import InputError, Unsupported
from intgrad.model.oracle import values
from intgrad.path.curve import Bank, Curves


@dataclass(frozen=True)
class Left:
    """The straight line up to the place where f has made `share` of its way to f(x).

    What comes behind, where a probability is saturated and its gradient is noise, is left out: the
    values add up to that share, not to f(x) - f(baseline).

    Parameters
    ----------
    share
        Of f(x) - f(baseline).
    points
        Where f is asked on the way; the first stretch that reaches the share is then halved to
        1e-6 of its length.

    Notes
    -----
    `points` + 20 forwards a curve. A rise and fall between two points is missed.

    References
    ----------
    Miglani, Kokhlikyan, Alsallakh, Martin, Reblitz-Richardson 2020, "Investigating saturation effects
    in integrated gradients", arXiv:2010.12697.
    """

    share: float = 0.9
    points: int = 32
    monotone: ClassVar[bool] = True
    complete: ClassVar[bool] = False

    def __post_init__(self) -> None:
        whole_number(self.points, "points", 1)
        if not 0 < self.share <= 1:
            raise InputError(f"Left(share={self.share}); expected a number above 0 and at most 1.")

    def trace(self, oracle: Any, curves: Curves) -> Curves:
        """The same curves, cut off where the share is reached.

        Raises
        ------
        Unsupported
            Several targets, which are saturated in different places.
        """
        if getattr(oracle, "targets", None):
            raise Unsupported("Left stops where one target is saturated; several were given.")
        search = _Search(oracle, curves, self.share)
        stop = search.first(torch.linspace(0, 1, self.points + 1, dtype=torch.float64)[1:])
        for _ in range(20):
            stop = search.halve(*stop)
        return Curves(
            curves.row,
            curves.start,
            Bank(search.at(stop[1]), torch.arange(len(curves))),
            curves.weight,
        )


class _Search:
    """Where f has made its share of the way, on every curve."""

    def __init__(self, oracle: Any, curves: Curves, share: float) -> None:
        self.oracle, self.curves = oracle, curves
        self.every = torch.arange(len(curves))
        zeros = torch.zeros(len(curves), dtype=torch.float64)
        self.before, after = self.value(zeros), self.value(zeros + 1)
        self.wanted = share * (after - self.before)

    def at(self, t: Tensor) -> Point:
        """Points at t (c,)."""
        starts, ends = self.curves.start.take(self.every), self.curves.end.take(self.every)
        return tuple(
            torch.where(like(t, b) == 1, b, a + like(t, b) * (b - a))
            for a, b in zip(starts, ends, strict=True)
        )

    def value(self, t: Tensor) -> Tensor:
        """F at t (c,)."""
        return values(self.oracle, self.at(t), self.curves.row)[0].double().cpu()

    def reached(self, t: Tensor) -> Tensor:
        """Whether the share of the way is made at t (c,)."""
        way = (self.value(t) - self.before) * self.wanted.sign()
        return way >= self.wanted.abs()

    def first(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """The first stretch of a grid that reaches the share: from and to, (c,)."""
        reached = torch.stack([self.reached(t.expand(len(self.curves))) for t in grid])
        k = reached.long().argmax(0)
        return torch.where(k > 0, grid[(k - 1).clamp(min=0)], 0.0), grid[k]

    def halve(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The half in which it is reached."""
        middle = (low + high) / 2
        there = self.reached(middle)
        return torch.where(there, low, middle), torch.where(there, middle, high)

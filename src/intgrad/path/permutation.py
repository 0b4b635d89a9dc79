"""Axis by axis, in every order or in random ones: the mean over orders is the Shapley value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from intgrad._types import Point, whole_number
from intgrad.errors import InputError
from intgrad.path.curve import Bank, Curves

MOST = 12  # groups of which all subsets are asked


@dataclass(frozen=True, eq=False)
class Permutation:
    r"""Features go from start to end one after the other, and orders are averaged.

    .. math:: \phi_i = \sum_{S \not\ni i} \frac{|S|! (g - |S| - 1)!}{g!}
              \big(f(x_{S \cup i}) - f(x_S)\big)

    with x_S equal to the input on S and to the baseline elsewhere. On each edge of such a way one
    group moves, so what the target gains is that group's: with `Differences` as the rule it costs no
    gradient. Aumann and Shapley's value, which the straight line gives, agrees where f is a sum of
    functions of single features or, for instance, a product of two; it differs for x1^2 x2.

    Parameters
    ----------
    samples
        Random orders, the same for every row; None: all subsets, for at most 12 groups.
    groups
        Whole numbers 0, 1, ..., shaped like a row of x or so that they expand to it, as (h, w) does
        to (c, h, w): features with one number go together, and share their gain equally. None: every
        feature alone.
    axis
        In place of groups: every place along this axis is one, the row counted as 0.
    seed
        Of the random orders.

    Notes
    -----
    2^g forwards a row and baseline, or samples (g - 1) + 2.

    References
    ----------
    Shapley 1953, doi:10.1515/9781400881970-018. Castro, Gomez, Tejada 2009,
    doi:10.1016/j.cor.2008.04.004. Sundararajan, Najmi 2020, arXiv:1908.08474.
    """

    samples: int | None = None
    groups: Any = None
    axis: int | None = None
    seed: int = 0
    monotone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.samples is not None:
            whole_number(self.samples, "samples", 1)
        if self.groups is not None and self.axis is not None:
            raise InputError("groups= and axis= were both given; expected one of them.")
        if self.groups is not None:
            object.__setattr__(self, "groups", numbered(torch.as_tensor(self.groups)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Permutation) or hash(self) != hash(other):
            return False
        return self.groups is None or torch.equal(self.groups, other.groups)

    def __hash__(self) -> int:
        shape = None if self.groups is None else tuple(self.groups.shape)
        return hash((self.samples, shape, self.axis, self.seed))

    def trace(self, oracle: object, curves: Curves) -> Curves:
        """One curve for every edge between subsets that some order passes.

        Raises
        ------
        InputError
            More than 12 groups and no number of orders.
        """
        labels = self._labels(curves.end.take(torch.tensor([0])))
        g = 1 + max(int(label.max()) for label in labels)
        if self.samples is None and g > MOST:
            raise InputError(
                f"Permutation has {g} groups, and all 2^{g} subsets are too many (at most {MOST} "
                f"groups); name a number of random orders: Permutation(samples=64)."
            )
        on, first, second, weight = every_edge(g) if self.samples is None else self._drawn(g)
        k, edges, c = len(on), len(first), len(curves)
        base = torch.arange(c).repeat_interleave(edges)
        bank = Switched(curves.end.points, base, curves.start, curves.end, on, labels)
        return Curves(
            curves.row[base],
            bank.at(base * k + first.repeat(c)),
            bank.at(base * k + second.repeat(c)),
            curves.weight[base] * weight.repeat(c),
            drawn=self.samples is not None,
            single=True,
        )

    def _labels(self, x: Point) -> Point:
        """The group of every feature of each tensor."""
        shapes = [tuple(p.shape[1:]) for p in x]
        if self.groups is None and self.axis is None:
            sizes = [math.prod(s) for s in shapes]
            return tuple(
                number.reshape(s)
                for number, s in zip(torch.arange(sum(sizes)).split(sizes), shapes, strict=True)
            )
        if len(x) > 1:
            raise InputError(f"groups of features are for one tensor; x has {len(x)}.")
        if self.axis is not None:
            return (along(self.axis, shapes[0]),)
        assert self.groups is not None
        try:
            return (self.groups.expand(shapes[0]),)
        except RuntimeError as error:
            raise InputError(
                f"groups have shape {tuple(self.groups.shape)}; expected {shapes[0]}, a row of x, or "
                f"what expands to it."
            ) from error

    def _drawn(self, g: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Subsets on the way of random orders, edges between them, weights."""
        assert self.samples is not None
        generator = torch.Generator().manual_seed(self.seed)
        orders = torch.stack([torch.randperm(g, generator=generator) for _ in range(self.samples)])
        rank = orders.argsort(1)
        inner = rank[:, None, :] < torch.arange(1, g)[None, :, None]  # (orders, g - 1, g)
        ends = torch.stack([torch.zeros(g), torch.ones(g)]).bool()
        number = 2 + torch.arange(self.samples * (g - 1)).reshape(self.samples, g - 1)
        none, whole = torch.zeros(self.samples, 1).long(), torch.ones(self.samples, 1).long()
        way = torch.cat([none, number, whole], 1)
        weight = torch.full((self.samples * g,), 1 / self.samples, dtype=torch.float64)
        on = torch.cat([ends, inner.reshape(-1, g)])
        return on, way[:, :-1].reshape(-1), way[:, 1:].reshape(-1), weight


@dataclass(frozen=True)
class Switched(Bank):
    """Points that are at the end on some groups and at the start on the others, made when asked.

    Index c * k + j is subset j of the k, `on` (k, groups), between the ends of curve c. `labels` say
    which group a feature is of.
    """

    start: Bank
    end: Bank
    on: Tensor
    labels: Point

    def take(self, curves: Tensor) -> Point:
        """Points of these curves: (n, ...)."""
        index = self.index[curves]
        curve, subset = index // len(self.on), self.on[index % len(self.on)]
        ends = zip(self.start.take(curve), self.end.take(curve), self.labels, strict=True)
        return tuple(
            torch.where(subset[:, label.reshape(-1)].reshape(b.shape).to(b.device), b, a)
            for a, b, label in ends
        )

    def holds(self, points: Point) -> bool:
        """None of them is kept."""
        return False

    def shares(self, other: Bank) -> bool:
        """Whether both are made of the very same subsets."""
        return isinstance(other, Switched) and self.on is other.on


def numbered(groups: Tensor) -> Tensor:
    """The same groups as 0, 1, 2, ..., without gaps.

    Raises
    ------
    InputError
        They are not whole numbers.
    """
    if groups.is_floating_point() or groups.is_complex():
        raise InputError(f"groups are {groups.dtype}; expected whole numbers.")
    return torch.unique(groups.cpu(), return_inverse=True)[1]


def every_edge(g: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All subsets of g groups (2^g, g), the edges (g 2^(g-1),) between them, and their weights."""
    subset = torch.arange(2**g)
    on = (subset[:, None] >> torch.arange(g)) % 2 == 1
    first, group = (~on).nonzero(as_tuple=True)
    size = on.sum(1)[first]
    share = [math.factorial(s) * math.factorial(g - s - 1) / math.factorial(g) for s in range(g)]
    return on, first, first + 2**group, torch.tensor(share, dtype=torch.float64)[size]


def along(axis: int, shape: tuple[int, ...]) -> Tensor:
    """For every feature of a row of this shape, its place along an axis, the row counted as 0."""
    if not 0 < axis <= len(shape):
        raise InputError(f"axis={axis}; expected from 1 to {len(shape)}, the row counted as 0.")
    own = [1] * len(shape)
    own[axis - 1] = shape[axis - 1]
    return torch.arange(shape[axis - 1]).reshape(own).expand(shape)

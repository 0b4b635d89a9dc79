"""From word to word: Discretized IG, whose points lie near the embeddings of real words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from intgrad._types import Point, chunks, plain, refuse_nonfinite, whole_number
from intgrad.errors import InputError, Unsupported
from intgrad.model.oracle import ability
from intgrad.path.curve import Bank, Curves
from intgrad.path.neighbours import Neighbours

HELD = 1 << 18  # numbers of candidates held at a time: they fit in a cache


@dataclass(frozen=True)
class Greedy:
    """Chooses the anchor that moves least when it is made monotone."""

    def __call__(self, anchors: Tensor, points: Tensor) -> Tensor:
        """Squared distance of anchors (n, k, d) and what was made of them: (n, k), small is good."""
        return (anchors - points).square().sum(-1)


@dataclass(frozen=True)
class MaxCount:
    """Chooses the anchor of which the most coordinates are monotone as they are."""

    def __call__(self, anchors: Tensor, points: Tensor) -> Tensor:
        """How many coordinates of anchors (n, k, d) were moved: (n, k), small is good."""
        return (anchors != points).sum(-1).double()


@dataclass(frozen=True, eq=False, repr=False)
class Anchored:
    r"""From the baseline to each word by way of other words' embeddings, never turning back.

    It is built from the word w towards the baseline b. Of the nearest words of the last one, the
    anchor a is chosen, and made monotone:

    .. math:: z_{s+1, j} = \begin{cases} a_j & \text{between } z_{s, j} \text{ and } b_j \\
              z_{s, j} + (b_j - z_{s, j}) / m & \text{elsewhere} \end{cases}

    so every coordinate goes from one end to the other without turning back. After m steps the rest
    is straight. All positions of a text go at once; one that is equal at both ends stays.

    Parameters
    ----------
    table
        (V, d) the embeddings of all words, in the units of what is explained. None: what the
        embedding layer, at which it is explained, gives for every id.
    steps
        m, as published. The path depends on it, and so does the answer.
    neighbours
        Among how many of the nearest words the next is chosen, as published.
    choose
        `Greedy` or `MaxCount`, or any ``(anchors (n, k, d), points (n, k, d)) -> (n, k)``, of which
        the smallest is taken, of ties the nearest.
    skip
        Ids that are never anchors: [CLS], [MASK] and the like. Nor are the baseline's own word, and
        words that were passed; where no other is left the path goes to the baseline.

    Notes
    -----
    No evaluations to trace: V d operations for each different word on the way, neighbours d for each
    step of a position. Then `steps` + 1 segments, each with the nodes of the quadrature; the
    published sum has one gradient a segment, at its beginning: `LeftRiemann(1)`. Traced in float64,
    so that precision does not decide which words are passed. Candidates are compared with the
    point that the path has reached; the published code compares them with the last anchor.

    References
    ----------
    Sanyal, Ren 2021, "Discretized Integrated Gradients for Explaining Language Models",
    doi:10.18653/v1/2021.emnlp-main.805, arXiv:2108.13654.
    """

    table: Any = None
    steps: int = 30
    neighbours: int = 500
    choose: Callable[[Tensor, Tensor], Tensor] = Greedy()
    skip: tuple[int, ...] = ()
    monotone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole_number(self.steps, "steps", 1)
        whole_number(self.neighbours, "neighbours", 1)
        object.__setattr__(self, "skip", tuple(whole_number(i, "skip", 0) for i in self.skip))
        if isinstance(self.choose, type) or not callable(self.choose):
            raise InputError(f"choose={self.choose!r}; expected Greedy() or MaxCount().")
        if self.table is not None:
            object.__setattr__(self, "table", _table(self.table))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Anchored) or self._plain() != other._plain():
            return False
        return self.table is None or torch.equal(self.table, other.table)

    def __hash__(self) -> int:
        return hash(self._plain())

    def _plain(self) -> tuple[Any, ...]:
        shape = None if self.table is None else (tuple(self.table.shape), self.table.dtype)
        return shape, self.steps, self.neighbours, self.choose, self.skip

    def __repr__(self) -> str:
        return f"Anchored({self.name})"

    @property
    def name(self) -> str:
        """What a page says of it."""
        words = "the model's words" if self.table is None else f"{len(self.table)} words"
        kind = getattr(self.choose, "__name__", type(self.choose).__name__)
        return f"{self.steps} steps, {kind}, the {self.neighbours} nearest of {words}"

    def trace(self, oracle: object, curves: Curves) -> Curves:
        """Polylines of `steps` + 1 segments.

        Raises
        ------
        Unsupported
            x is several tensors; no table, and no embedding layer.
        InputError
            A table of another width, too large, or without a word to go to.
        """
        every = torch.arange(len(curves))
        starts, ends = curves.start.take(every), curves.end.take(every)
        if len(ends) != 1:
            raise Unsupported(
                f"Anchored goes through the words of one tensor; x has {len(ends)}. Pass what is not "
                f"explained in given=."
            )
        (start,), (end,) = starts, ends
        near = Neighbours(self._words(oracle, end), self.neighbours, self.skip)
        moves = (start != end).any(-1)
        walked, which = self._walks(end[moves], start[moves], near)
        way = torch.full(moves.shape, -1, device=end.device)
        way[moves] = which
        knots, count = self.steps + 2, len(curves)
        first = torch.arange((knots - 1) * count)
        bank = Walked(curves.end.points, first, curves.start, curves.end, walked.to(end), way)
        return Curves(
            curves.row.repeat(knots - 1),
            bank,
            bank.at(first + count),
            curves.weight.repeat(knots - 1),
            chain=True,
        )

    def _words(self, oracle: object, x: Tensor) -> Tensor:
        table = ability(oracle, "vocabulary")() if self.table is None else self.table
        if table.shape[1] != x.shape[-1]:
            raise InputError(
                f"the table's words have {table.shape[1]} numbers, and x has shape {tuple(x.shape)}; "
                f"expected (rows, words, {table.shape[1]}), as at='embedding' gives."
            )
        return table.to(x.device)

    def _walks(self, words: Tensor, ends: Tensor, near: Neighbours) -> tuple[Tensor, Tensor]:
        """Ways from ends to words (n, d), equal ones once: points (steps, ways, d), and whose (n,)."""
        d = words.shape[1]
        both = torch.cat([words, ends], 1).detach().double()
        pairs, which = torch.unique(both, dim=0, return_inverse=True)
        some = chunks(len(pairs), max(1, HELD // (near.k * d)))
        parts = [self._walk(pairs[p, :d], pairs[p, d:], near) for p in some]
        none = [both.new_zeros(self.steps, 1, d)]
        return torch.cat(parts or none, 1).flip(0), which

    def _walk(self, at: Tensor, end: Tensor, near: Neighbours) -> Tensor:
        passed, points = near.nearest(at)[:, None], []
        for _ in range(self.steps):
            word, at = self._step(passed, at, end, near)
            passed = torch.cat([passed, word[:, None]], 1)
            points.append(at)
        return torch.stack(points)

    def _step(
        self, passed: Tensor, at: Tensor, end: Tensor, near: Neighbours
    ) -> tuple[Tensor, Tensor]:
        """The next anchors (n,) and points (n, d), from points whose last words are passed[:, -1]."""
        names = near(passed[:, -1])
        anchors = near.table[names]
        points = towards(anchors, at[:, None], end[:, None], self.steps)
        known = (names[:, :, None] == passed[:, None]).any(2)
        shut = known | (anchors == end[:, None]).all(2)
        best = self.choose(anchors, points).masked_fill(shut, torch.inf).argmin(1)
        each, none = torch.arange(len(at), device=at.device), shut.all(1)
        word = torch.where(none, passed[:, -1], names[each, best])
        return word, torch.where(none[:, None], end, points[each, best])


@dataclass(frozen=True)
class Walked(Bank):
    """Points on the ways of many words, put together when asked.

    Index s c + i is point s of curve i of c: its start, those of the ways `inner` (steps, ways, d)
    that its places are on, its end. `way` (c, places) is -1 where one stays.
    """

    start: Bank
    end: Bank
    inner: Tensor
    way: Tensor

    def take(self, curves: Tensor) -> Point:
        """Points of these curves: (n, places, d)."""
        index = self.index[curves]
        knot, curve = index // len(self.way), index % len(self.way)
        (start,), (end,) = self.start.take(curve), self.end.take(curve)
        knot = knot.to(end.device).reshape(-1, *(1,) * (end.ndim - 1))
        way, m = self.way[curve.to(end.device)], len(self.inner)
        inner = self.inner[(knot[..., 0] - 1).clamp(0, m - 1), way.clamp(min=0)]
        inner = torch.where((way < 0)[..., None] | (knot > m), end, inner)
        return (torch.where(knot == 0, start, inner),)

    def holds(self, points: Point) -> bool:
        """None of them is kept."""
        return False

    def shares(self, other: Bank) -> bool:
        """Whether both are points of the very same ways."""
        return isinstance(other, Walked) and self.inner is other.inner


def towards(anchors: Tensor, at: Tensor, end: Tensor, steps: int) -> Tensor:
    """Anchors between `at` and `end` in every coordinate: those outside go 1 / steps of the way."""
    low, high = torch.minimum(at, end), torch.maximum(at, end)
    inside = (anchors >= low) & (anchors <= high)
    return torch.where(inside, anchors, (at + (end - at) / steps).clamp(low, high))


def _table(table: Any) -> Tensor:
    found = plain(torch.as_tensor(table))
    if found.ndim != 2 or not found.is_floating_point():
        raise InputError(
            f"table is {found.dtype} of shape {tuple(found.shape)}; expected (words, width) real "
            f"numbers, such as model.get_input_embeddings().weight."
        )
    refuse_nonfinite(found, "table")
    return found

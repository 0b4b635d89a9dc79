"""Where to ask a removal curve: at points found row by row, until its area is known well enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Score = Callable[[Tensor, Tensor], Tensor]  # (rows (n,), units moved (n,)) -> scores (n,)

FIRST = 16  # equal stretches to begin with: what hides between their ends is not found
KEPT = 1 / 8  # of a change is left in each half of a panel where a curve is smooth
NEAR = 0.25  # panels that change the area by this share of the row's largest are cut in one round
ROUGH = 1.5  # times the middling change: a panel on a random walk is seldom above that
ROUNDING = 4  # of the scores' precision, times the largest of them: nothing finer is looked into


@dataclass(frozen=True)
class Panels:
    """Stretches of curves, each with a point inside: rows (p,), units moved and scores (3, p), rising.

    `before` is what should be left of the change of the panel that each was cut from, (p,).
    """

    row: Tensor
    at: Tensor
    scores: Tensor
    before: Tensor

    @property
    def change(self) -> Tensor:
        """What the point inside changes of the area, in units x score; 0 where no unit is left to ask."""
        (a, b, c), (f, g, h) = self.at.double(), self.scores
        found = ((b - a) * (f + g) + (c - b) * (g + h) - (c - a) * (f + h)) / 2
        return torch.where(c - a > 2, found, 0.0)

    def sizes(self, rows: int) -> Tensor:
        """How large each change must be taken for, (p,): no less than its parent or its row makes likely.

        Panels that happen to change nothing would be left alone, and the error told from luck.
        """
        found = self.change.abs().maximum(self.before).maximum(ROUGH * self.typical(rows))
        return torch.where(self.at[2] - self.at[0] > 2, found, 0.0)

    def typical(self, rows: int) -> Tensor:
        """The change of a panel of this length on a random walk as rough as half of its row is, (p,)."""
        if not len(self.row):
            return self.before
        length = (self.at[2] - self.at[0]).double()
        rough = self.change.abs() / length**1.5
        order = rough.argsort(stable=True)
        order = order[self.row[order].argsort(stable=True)]
        total = _summed(length, self.row, rows)
        half = torch.searchsorted(length[order].cumsum(0), total.cumsum(0) - total / 2)
        return rough[order[half.clamp(max=len(order) - 1)]][self.row] * length**1.5

    def where(self, which: Tensor) -> Panels:
        """Some of them."""
        return Panels(self.row[which], self.at[:, which], self.scores[:, which], self.before[which])

    def and_(self, other: Panels) -> Panels:
        """These and others."""
        return Panels(
            torch.cat([self.row, other.row]),
            torch.cat([self.at, other.at], 1),
            torch.cat([self.scores, other.scores], 1),
            torch.cat([self.before, other.before]),
        )

    def halved(self, score: Score, size: Tensor) -> Panels:
        """Both halves with the unit in their middle, as far as there is one."""
        row, at = self.row.repeat(2), torch.cat([self.at[:2], self.at[1:]], 1)
        ends = torch.cat([self.scores[:2], self.scores[1:]], 1)
        open_ = at[1] - at[0] > 1
        row, (left, right), (f, h) = row[open_], at[:, open_], ends[:, open_]
        before = KEPT * size.repeat(2)[open_]
        middle = (left + right) // 2
        inside = score(row, middle)
        return Panels(row, torch.stack([left, middle, right]), torch.stack([f, inside, h]), before)


def refined(
    score: Score, ends: Tensor, units: int, rtol: float, most: int, eps: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Ask until the area of every row is known to `rtol` of the range of its scores, or `most` points.

    Panels are halved first where their middle changed the area most.

    Parameters
    ----------
    score
        The scores of rows with so many units moved.
    ends
        Those with none and with all of them moved, (rows, 2).
    eps
        The relative precision of a score: below what it makes no row is asked on.

    Returns
    -------
    moved, scores
        (rows, s), rising; rows that were asked less are padded with their last point.
    error
        Of the area as a mean over units, (rows,): see `doubt`.
    """
    rows, device = len(ends), ends.device
    grid = (torch.arange(FIRST + 1, device=device) * units // FIRST).unique()
    index = torch.arange(rows, device=device)
    if units == 1:
        return index.new_tensor([0, 1]).expand(rows, 2), ends, torch.zeros_like(ends[:, 0])
    inside = score(index.repeat_interleave(len(grid) - 2), grid[1:-1].repeat(rows))
    first = torch.cat([ends[:, :1], inside.reshape(rows, -1), ends[:, 1:]], 1)
    known = [(index.repeat_interleave(len(grid)), grid.repeat(rows), first.flatten())]
    panels = _triples(grid, first)
    while True:
        row, moved, scores = (torch.cat(k) for k in zip(*known, strict=True))
        size, asked = panels.sizes(rows), torch.bincount(row, minlength=rows)
        error = doubt(panels.change, size, panels.row, rows) / units
        least, largest = _range(row, scores, rows)
        live = error > rtol * (largest - least) + ROUNDING * eps * largest.maximum(-least)
        room = (most - asked) // 2  # a panel that is cut asks at two points
        cut = (size > 0) & (size >= NEAR * _largest(size, panels.row, rows)[panels.row])
        cut &= (live & (room > 0))[panels.row] & (_rank(size, panels.row) < room[panels.row])
        if not bool(cut.any()):
            return *_by_row(row, moved, scores, rows), error
        born = panels.where(cut).halved(score, size[cut])
        known.append((born.row, born.at[1], born.scores[1]))
        panels = panels.where(~cut).and_(born)


def doubt(change: Tensor, size: Tensor, row: Tensor, rows: int) -> Tensor:
    r"""How far an area may be off, from what the point inside each panel changed, and its size: (rows,).

    .. math:: \left| \sum_p d_p \right| + 2 \sqrt{\sum_p s_p^2}

    The first is a bound where a curve is convex. The second is for panels that know nothing of each
    other: where a curve wanders like a random walk it is 3.5 standard errors of the area, where every
    unit jumps by itself 1.7. It lies where a curve moves between points that agree.
    """
    one, two = (_summed(c, row, rows) for c in (change, size.square()))
    return one.abs() + 2 * two.sqrt()


def by_pairs(fractions: Tensor, scores: Tensor) -> Tensor:
    """`doubt` of curves at the same fractions (s,), from every second point: (rows,); NaN of one step."""
    rows, pairs = len(scores), (len(fractions) - 1) // 2
    if not pairs:
        return torch.full((rows,), torch.nan, dtype=torch.float64, device=scores.device)
    at = fractions.double().unfold(0, 3, 2).expand(rows, -1, -1)
    f = scores.double().unfold(1, 3, 2)
    every = torch.trapezoid(f, at) - (at[..., 2] - at[..., 0]) * (f[..., 0] + f[..., 2]) / 2
    row = torch.arange(rows, device=scores.device).repeat_interleave(pairs)
    return doubt(every.flatten(), every.flatten().abs(), row, rows)


def _triples(grid: Tensor, scores: Tensor) -> Panels:
    """Every second point of a grid (s,) with its neighbours; none where the grid is all units."""
    rows, s = scores.shape
    count = s // 2 if s == FIRST + 1 else 0
    at = torch.stack([grid[k : k + 2 * count : 2] for k in range(3)])
    f = torch.stack([scores[:, k : k + 2 * count : 2] for k in range(3)])
    row = torch.arange(rows, device=grid.device).repeat_interleave(count)
    return Panels(row, at.repeat(1, rows), f.flatten(1), torch.zeros_like(f[0].flatten()))


def _summed(values: Tensor, row: Tensor, rows: int) -> Tensor:
    zero = torch.zeros(rows, dtype=torch.float64, device=values.device)
    return zero.index_add(0, row, values)


def _largest(size: Tensor, row: Tensor, rows: int) -> Tensor:
    zero = torch.zeros(rows, dtype=size.dtype, device=size.device)
    return zero.scatter_reduce(0, row, size, "amax")


def _rank(size: Tensor, row: Tensor) -> Tensor:
    """The place of each among those of its row, the largest first."""
    order = size.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    index = torch.arange(len(row), device=row.device)
    begins = torch.bincount(row).cumsum(0) - torch.bincount(row)
    return torch.empty_like(index).scatter_(0, order, index - begins[row[order]])


def _range(row: Tensor, scores: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """The least and the largest score of each row, (rows,) both."""
    none = torch.zeros(rows, dtype=scores.dtype, device=scores.device)
    least, largest = (
        none.scatter_reduce(0, row, scores, how, include_self=False) for how in ("amin", "amax")
    )
    return least, largest


def _by_row(row: Tensor, moved: Tensor, scores: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Points in order, (rows, s): the last one again where a row has fewer."""
    order = (row * (int(moved.max()) + 1) + moved).argsort()
    counts = torch.bincount(row, minlength=rows)
    last = counts.cumsum(0) - 1
    place = (last - counts + 1)[:, None] + torch.arange(int(counts.max()), device=row.device)
    taken = order[place.minimum(last[:, None])]
    return moved[taken], scores[taken]

r"""Integrated Hessians of piecewise-linear models: exact, from the jumps of the gradient.

The Hessian of such a model is 0 but where the line from x' to x meets a border, at :math:`u_k`. If one
unit changes sides there, whose number z has the gradient n, the gradient jumps by a multiple of n:

.. math:: J = s \, n, \qquad H = \frac{J J^T}{J \cdot d} \, \delta(u - u_k), \qquad
          \Gamma_{ij} \mathrel{+}= (-u_k \ln u_k) \, \frac{d_i J_i \; d_j J_j}{J \cdot d}

and the diagonal gets :math:`d_i \, \partial_i f \, [u - u \ln u]` of every region. Where several units
cross at once, J is the sum of their jumps and the formula does not hold for it (rows still add up).
There the line is followed a second time, a little and beside itself: the units then cross one after
the other, each with its own jump, and all of them count at the same :math:`u_k`. Where one of them
depends on another, the answer may differ from side to side of the line; it is that of one side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from intgrad._types import like
from intgrad.errors import Unsupported
from intgrad.integral import LineIntegral
from intgrad.interactions.groups import Groups
from intgrad.interactions.smooth import Sums
from intgrad.path import Bank, Curves
from intgrad.quadrature.exact import begin

NARROW = 1e-12  # of the path: regions no wider are part of a border
BESIDE = 0.05  # how far beside the line the second look goes, of how far it goes along it
NEAR, TRIES = 1e-3, 4  # how far that is at most, and how often it is tried, each an eighth as far
SLIVER = 1e-7  # of that way: what is narrower is rounding between two borders
SAME = 1e-9  # of the gradients: what differs by less is the same region
EPS = torch.finfo(torch.float64).eps
FAINT = 64 * EPS  # of the gradients: a jump no larger is rounding


@dataclass(frozen=True)
class Border:
    """Where a curve goes from one region to the next.

    Attributes
    ----------
    at, doubt
        Where, and by how much the two regions disagree on it.
    before, after
        Gradients by group, (g,), times the velocity.
    room
        The width of the narrower neighbour.
    several
        Whether more than one unit crosses.
    """

    curve: int
    at: float
    doubt: float
    before: Tensor
    after: Tensor
    room: float
    several: bool

    @property
    def size(self) -> float:
        """How large the gradients beside it are."""
        return float(self.before.abs().sum() + self.after.abs().sum())

    def joins(self, first: Tensor, last: Tensor) -> bool:
        """Whether a way that begins and ends with these slopes crosses it, and nothing else."""
        off = float((first - self.before).abs().sum() + (last - self.after).abs().sum())
        return off <= SAME * self.size


@dataclass(frozen=True)
class Piece:
    """A region, with its gradient times the velocity by group: (g,)."""

    curve: int
    low: float
    high: float
    slope: Tensor
    units: frozenset[tuple[int, int]]

    @property
    def width(self) -> float:
        """Of the curve."""
        return self.high - self.low


def exact(integral: LineIntegral, groups: Groups, max_regions: int) -> Sums:
    """Value (r, g, g), error, and integrated gradients (r, g) of every row.

    Costs one gradient and one tangent pass a region, and as much for each of the units that cross
    together, and no second derivative.

    Raises
    ------
    Unsupported
        The model is not piecewise linear; its regions are too many; units that cross together cannot
        be told apart.
    """
    found: dict[int, list[Piece]] = {i: [] for i in range(len(integral.curves))}
    for piece in pieces(integral, groups, velocity(integral.curves), max_regions):
        found[piece.curve].append(piece)
    rows, g = integral.rows, groups.count
    sums = Sums(
        torch.zeros(rows, g, g, dtype=torch.float64),
        torch.zeros(rows, g, g, dtype=torch.float64),
        torch.zeros(rows, g, dtype=torch.float64),
        torch.zeros(rows, dtype=torch.long),
        torch.zeros(rows, dtype=torch.long),
    )
    borders = [b for own in found.values() for b in _add_regions(sums, integral.curves, own)]
    for border in (b for b in borders if not b.several):
        _add_jumps(sums, integral.curves, border, [border.before, border.after])
    for border, slopes in _apart(integral, groups, [b for b in borders if b.several], max_regions):
        _add_jumps(sums, integral.curves, border, slopes)
    return sums


def velocity(curves: Curves) -> Tensor:
    """End - start of every curve, (c, ...)."""
    every = torch.arange(len(curves))
    return curves.end.take(every)[0] - curves.start.take(every)[0]


def pieces(integral: LineIntegral, groups: Groups, speed: Tensor, most: int) -> Iterator[Piece]:
    """The regions of all curves, reduced to groups by a velocity (c, ...) as soon as they are found."""
    for found in begin(integral, most, units=True):
        if bool((found.beyond > 0).any()):
            raise Unsupported(
                f"the model has more than max_regions={most} linear regions between baseline and x, and "
                f"jumps that are not found are not counted. Raise it; each region costs a gradient."
            )
        own = speed[found.curve.to(speed.device)]
        slopes = groups.read(found.gradient[0][0] * own).double().cpu()
        columns = found.curve.tolist(), found.low.tolist(), found.high.tolist()
        for curve, low, high, slope, units in zip(*columns, slopes, found.units, strict=True):
            yield Piece(curve, low, high, slope, frozenset(units if high < 1 else ()))


def _add_regions(sums: Sums, curves: Curves, own: list[Piece]) -> Iterator[Border]:
    """Add the diagonal and integrated gradients of one curve's regions; yields its borders."""
    own = sorted(own, key=lambda p: p.low)
    row, weight = int(curves.row[own[0].curve]), float(curves.weight[own[0].curve])
    for piece, low in zip(own, [0.0, *(p.high for p in own)], strict=False):
        known = weight * piece.slope
        sums.value[row].diagonal().add_(known * (_slope(piece.high) - _slope(low)))
        sums.flat[row].add_(known, alpha=piece.high - low)
    sums.nodes[row] += len(own)
    yield from _borders(own)


def _borders(own: list[Piece]) -> Iterator[Border]:
    """Between wide regions; what crosses at narrow ones in between crosses together."""
    last, units = None, frozenset[tuple[int, int]]()
    for piece in own:
        if piece.high - piece.low <= NARROW:
            units = units | piece.units
            continue
        if last is not None:
            doubt, room = abs(piece.low - last.high), min(last.width, piece.width)
            ends = last.slope, piece.slope
            yield Border(piece.curve, last.high, doubt, *ends, room, len(units) > 1)
        last, units = piece, piece.units


def _slope(u: float) -> float:
    """The integral of -ln from 0 to u."""
    return u + _curvature(u)


def _curvature(u: float) -> float:
    """-u ln u."""
    return -u * math.log(u) if u > 0 else 0.0


def _add_jumps(sums: Sums, curves: Curves, border: Border, slopes: Sequence[Tensor]) -> None:
    """Add what every jump between consecutive slopes makes, all of them at the border."""
    row, weight = int(curves.row[border.curve]), float(curves.weight[border.curve])
    noise = FAINT * border.size
    off = (abs(math.log(border.at)) + 1) * (border.doubt + 2 * EPS)
    for before, after in pairwise(slopes):
        jump = after - before
        if float(jump.abs().sum()) <= noise:
            continue
        total = float(jump.sum())
        made = weight * torch.outer(jump, jump) / total
        sums.value[row] += _curvature(border.at) * made
        sums.error[row] += made.abs() * (off + _curvature(border.at) * noise / abs(total))


# ---------------------------------------------------------------------- units that cross together


def _apart(
    integral: LineIntegral, groups: Groups, borders: list[Border], most: int
) -> Iterator[tuple[Border, list[Tensor]]]:
    """The slopes (g,) on the way from before each border to behind it, one unit after the other."""
    speed, generator = velocity(integral.curves), torch.Generator().manual_seed(0)
    for attempt in range(TRIES):
        if not borders:
            return
        near = _near(integral.curves, borders, speed, 8.0**-attempt, generator)
        own = torch.tensor([b.curve for b in borders])
        local = replace(integral, curves=near, gain=None, gains=None)
        ways: list[list[Piece]] = [[] for _ in borders]
        for piece in pieces(local, groups, speed[own.to(speed.device)], most):
            ways[piece.curve].append(piece)
        left = []
        for border, found in zip(borders, ways, strict=True):
            way = sorted((p for p in found if p.width > SLIVER), key=lambda p: p.low)
            if border.joins(way[0].slope, way[-1].slope):
                yield border, [p.slope for p in way]
            else:
                left.append(border)
        borders = left
    if borders:
        raise Unsupported(
            f"{len(borders)} times on the way several units of the model change sides together and cannot "
            f"be told apart beside the line, where equal members of a max-pool, say, are no longer equal. "
            f"Add noise to the baseline, a thousandth of x or so, which then decides between them."
        )


def _near(
    curves: Curves, borders: list[Border], speed: Tensor, share: float, generator: torch.Generator
) -> Curves:
    """Short lines across the borders, beside the curves: what does not move stays where it is."""
    own = torch.tensor([b.curve for b in borders])
    at = torch.tensor([b.at for b in borders], dtype=torch.float64)
    reach = torch.tensor([min(NEAR, b.room / 4) for b in borders], dtype=torch.float64) * share
    start, d = curves.start.take(own)[0], speed[own.to(speed.device)]
    sideways = torch.randn(d.shape, generator=generator, dtype=torch.float64).to(d) * BESIDE
    reach, at = like(reach.to(d.device), d), like(at.to(d.device), d)
    middle = start + at * d + reach * sideways * d
    every = torch.arange(len(own))
    ends = Bank((middle - reach * d,), every), Bank((middle + reach * d,), every)
    return Curves(curves.row[own], *ends, torch.ones(len(own), dtype=torch.float64))

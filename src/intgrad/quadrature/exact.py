"""Exact integrals of piecewise-linear models: one gradient a linear region, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from numbers import Real

import torch
from torch import Tensor

from intgrad._types import Point, each_target, magnitude, whole_number
from intgrad.errors import InputError
from intgrad.integral import LineIntegral
from intgrad.quadrature.gaps import Found, Walk, refuse_curved
from intgrad.quadrature.rule import Estimate
from intgrad.sums import add_in_order


@dataclass(frozen=True)
class Exact:
    r"""Every linear region of a piecewise-linear model once: no error but rounding.

    .. math:: A_i = \Delta_i \sum_k (t_{k+1} - t_k) \, \partial_i f(\text{region } k), \qquad
              \Delta = \text{end} - \text{start}

    ReLU, leaky ReLU, clamps, absolute values, maxima and max-pools, with all that is linear between
    them, have a constant gradient as long as no unit changes sides. One pass in forward mode says
    of every unit when it will, :math:`-z / \dot z`, so one point gives both ends of the region
    around it; the gaps beside it are asked in their turn, all rows and curves together, until there
    are none. A softmax, sigmoid or their logarithm at the end, with only linear operations after
    it, is integrated over known logits (Gauss points in pieces in which they change by 2 at most).

    Parameters
    ----------
    rtol
        Relative L1 error that counts as converged. It steers nothing: float32 and an exhausted
        budget are judged by it.
    max_regions
        Points a row, over all its curves, after which it stops. The gradient in the middle of each
        gap then stands for all of it, the error says how much that is, and the row is not
        converged: `PanelAveraged` takes any number of kinks.

    Notes
    -----
    Costs one gradient (a target) and one tangent pass (about two forwards) a region; the number of
    regions is the model's: 50 to 250 for an MLP, 700 to thousands for a small CNN. The headline
    `evaluations` does not hold the tangent passes. Points on a border are asked again elsewhere.

    Borders are found in the model's own dtype: with some hundred of them the relative error is below
    1e-12 in float64 and about 1e-6 in float32, where a float64 copy of the model is the way to more.
    The error adds up, as squares, what is not known of each border: by how much its two neighbours
    disagree on it, and two units in the last place. It is told some 10 to 40 times too large.

    It lies where the integral itself hangs on rounding: units that are 0 along the whole path (a
    black pixel without bias, equal members of a maximum) have no border and the derivative that the
    framework gives them there; and where the model jumps, which no gradient shows and the residual
    does.

    Regions by sorting crossings are ExactLine's (Sotoudeh and Thakur 2019, arXiv:1908.06214), which
    needs the model as a list of layers.
    """

    rtol: float = 1e-4
    max_regions: int = 10_000

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Value and error of every row."""
        if isinstance(self.rtol, bool) or not isinstance(self.rtol, Real) or not self.rtol > 0:
            raise InputError(f"rtol={self.rtol!r}; expected a positive number, such as 1e-4.")
        walk = begin(integral, self.max_regions)
        sums = Sums(integral)
        for found in walk:
            sums.add(found)
        shares = (sums.unknown / sums.width).tolist()
        told = tuple(_told(n, share) for n, share in zip(sums.count.tolist(), shares, strict=True))
        few, many = int(sums.count.min()), int(sums.count.max())
        rule = told[0] if len(set(told)) == 1 else f"exact, {few} to {many} regions a row"
        return Estimate(sums.value, sums.error(), float(self.rtol), rule, told)


def begin(integral: LineIntegral, most: int, units: bool = False) -> Walk:
    """A walk over all regions.

    Raises
    ------
    Unsupported
        The path bends, the integrand is not constant in a region, or the oracle has no regions.
    InputError
        A budget smaller than the number of curves.
    """
    whole_number(most, "max_regions", 1)
    refuse_curved(integral)
    per_row = torch.bincount(integral.curves.row, minlength=integral.rows)
    row, need = int(per_row.argmax()), int(per_row.max())
    if need > most:
        raise InputError(
            f"max_regions={most} is less than the {need} curves of row {row}; expected at least {need}."
        )
    return Walk(integral, most, units)


@dataclass(frozen=True)
class Region:
    """A stretch of a curve on which the model is affine.

    Attributes
    ----------
    curve, low, high
        Which curve, from where to where.
    gradient
        (T, ...): constant on it; under a smooth head its mean.
    units
        What crosses at `high`: pairs (operation, unit), operations with kinks counted in the order
        they run, units in that of a row's numbers there. Empty at the end of the path.
    """

    curve: int
    low: float
    high: float
    gradient: Point
    units: tuple[tuple[int, int], ...]


def regions(integral: LineIntegral, max_regions: int = 10_000) -> Iterator[Region]:
    """Every linear region of every curve, in no order, as they are found.

    Costs as `Exact`. Beyond `max_regions` the last ones stand for stretches that may hold several.
    """
    for found in begin(integral, max_regions, units=True):
        for i in range(len(found.low)):
            yield Region(
                int(found.curve[i]),
                float(found.low[i]),
                float(found.high[i]),
                tuple(g[:, i] for g in found.gradient),
                found.units[i] if found.high[i] < 1 else (),
            )


@dataclass
class Sums:
    """What regions add up to: values, squares of what is not known, and what is only guessed."""

    integral: LineIntegral
    total: list[Tensor] = field(default_factory=list)
    unknown: Tensor = field(init=False)
    width: Tensor = field(init=False)
    count: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.unknown, self.width = torch.zeros(2, self.integral.rows, dtype=torch.float64)
        self.count = torch.zeros(self.integral.rows, dtype=torch.long)

    def add(self, found: Found) -> None:
        """Add regions in their order."""
        width = found.high - found.low
        if not self.total:
            rows = self.integral.rows
            self.total = [f.new_zeros(3, f.shape[0], rows, *f.shape[2:]) for f in found.each]
        for total, f in zip(self.total, found.each, strict=True):
            add_in_order(total[:1], f, found.row, width[:, None])
            add_in_order(total[1:2], f.square(), found.row, found.unsure.square()[:, None])
            add_in_order(total[2:], f.abs(), found.row, found.beyond[:, None])
        self.integral.weigh(each_target(found.each, magnitude).cpu() * width, found.row)
        self.unknown.index_add_(0, found.row, found.beyond)
        self.width.index_add_(0, found.row, width)
        self.count += torch.bincount(found.row, minlength=len(self.count))

    @property
    def value(self) -> Point:
        """(T, rows, ...)."""
        return tuple(t[0] for t in self.total)

    def error(self) -> Point:
        """Absolute error of every value: borders are independent, guesses are not."""
        return tuple(t[1].sqrt() + t[2] for t in self.total)


def _told(regions: int, unknown: float) -> str:
    if unknown == 0:
        return f"exact, {regions} regions"
    return (
        f"exact on {1 - unknown:.0%} of the path, where {regions} regions ended; quadrature="
        f"ig.PanelAveraged() takes any number"
    )

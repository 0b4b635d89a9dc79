"""Independent replicates of an estimate, corrected by completeness: their mean and its error.

Sums are taken node by node, so memory does not grow with the number of nodes: it is about
3 R + 2 times the values, with R replicates; R + 1 times without the control variate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from intgrad._types import Point, each_target, total
from intgrad.integral import LineIntegral
from intgrad.units import Nodes

UNSEEN = 4.0  # standard errors beyond which the mean of the control variate is no accident
NOISE = 1e3  # units in the last place below which its variance is rounding


@dataclass(frozen=True)
class Control:
    """What completeness says beforehand.

    about (T, rows): the mean over curves of f(end) - f(start); gain (R, T, rows): its sum over the
    curves of each replicate; mass (rows,): the sum of the curves' weights.
    """

    about: Tensor
    gain: Tensor
    mass: Tensor

    @staticmethod
    def of(integral: LineIntegral, replicates: int) -> Control | None:
        """None where completeness does not apply, or gradients flow through the sums."""
        curves, gain = integral.curves, integral.gain
        if gain is None or not integral.watch or bool((curves.weight <= 0).any()):
            return None
        mass = torch.zeros(integral.rows, dtype=torch.float64)
        mass = mass.index_add(0, curves.row, curves.weight).to(gain.device)
        known = gain.expand(replicates, *gain.shape)
        if curves.drawn:
            assert integral.gains is not None, "draws are not known one by one"
            known = replicates * _by_block(integral, integral.gains, replicates)
        return Control(gain / mass, known, mass)


def _by_block(integral: LineIntegral, gains: Tensor, replicates: int) -> Tensor:
    """The gain of the draws of each replicate, not scaled up: (R, T, rows)."""
    weighted = gains * integral.curves.weight.to(gains)
    blocks = weighted.reshape(len(gains), integral.rows, replicates, -1)  # row after row
    return torch.stack([each_target((b,), total) for b in blocks.unbind(2)])


@dataclass
class Tally:
    """Sums so far; `taken` (rows,) counts the nodes of a replicate."""

    integral: LineIntegral
    control: Control | None
    taken: Tensor = field(init=False)
    parts: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        self.taken = torch.zeros(self.integral.rows, dtype=torch.float64)

    def add(self, nodes: Nodes) -> None:
        """Ask the nodes, and add what they say."""
        if self.control is None:
            found: tuple[Point, ...] = (self.integral.sums(nodes),)
        else:
            found = self.integral.moments(nodes, self.control.about)
        if self.parts:
            pairs = zip(self.parts, found, strict=True)
            found = tuple(tuple(a + b for a, b in zip(*pair, strict=True)) for pair in pairs)
        self.parts = found

    def settle(self) -> tuple[Point, Point]:
        """Mean of the replicates and its error (T, rows, ...); NaN of a single one."""
        count = max(1, len(self.parts[0][0]) - 1)
        if self.control is None:
            each = [self.replicate(r, count) for r in range(count)]
            found = [_mean_and_error(part) for part in zip(*each, strict=True)]
        else:
            both = [self.corrected(self.control, r, count) for r in range(count)]
            values, slope = (zip(*part, strict=True) for part in zip(*both, strict=True))
            unseen = self.unseen(self.control, count)
            found = [
                _mean_and_error(v, _ahead(unseen, v[0]) * _added(b).abs() / count)
                for v, b in zip(values, slope, strict=True)
            ]
        return tuple(mean for mean, _ in found), tuple(error for _, error in found)

    def replicate(self, r: int, count: int) -> Point:
        """What the nodes of one replicate say."""
        return tuple(_over(s[0 if count == 1 else r + 1], self.taken) for s in self.parts[0])

    def corrected(self, control: Control, r: int, count: int) -> tuple[Point, Point]:
        """A replicate corrected by slopes that the other replicates found, and those slopes.

        Its own slopes would depend on what they correct, which biases; a single one has no others.
        """
        own, size = self.replicate(r, count), max(1, count - 1) * self.taken
        others = [
            tuple(_over(s[0] if count == 1 else s[0] - s[r + 1], size) for s in part)
            for part in self.parts
        ]
        short = each_target(own, total) - control.gain[r].to(own[0].device)
        slope = slopes(others, control, self.trusted(control, count))
        return tuple(v - b * _ahead(short, v) for v, b in zip(own, slope, strict=True)), slope

    def trusted(self, control: Control, count: int) -> Tensor:
        """Where the mean of the control variate is 0 up to chance: (T, rows).

        A mean further off is what no node saw: a jump, a narrow step. Sharing it out would hide it;
        left alone it stays in the residual.
        """
        mean, variance = self.moments(control, count)
        return mean.square() <= UNSEEN**2 * variance / (count * self.taken).to(mean.device)

    def unseen(self, control: Control, count: int) -> Tensor:
        """What one node more could bring, were it as far off as nodes differ: (T, rows).

        Corrected replicates may agree to the last digit, having met the same few kinks; this is
        the size of one more that none of them met. Of order 1/n, it adds little to errors that are
        larger than that.
        """
        _, variance = self.moments(control, count)
        share = control.mass / (count * self.taken).to(control.mass.device)
        return variance.clamp(min=0).sqrt() * share

    def moments(self, control: Control, count: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of the control variate over all nodes: (T, rows)."""
        mean, square = (_over(s[0], count * self.taken) / control.mass for s in self.parts[2])
        return mean, square - mean.square()


def _mean_and_error(parts: Sequence[Tensor], beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and standard error, added one by one: torch's own round differently beside other rows."""
    count = len(parts)
    mean = _added(parts) / count
    if count == 1:
        return mean, torch.full_like(mean.detach(), torch.nan)
    squares = [(p - mean).detach().square() for p in parts]
    variance = _added(squares) / (count * (count - 1))
    return mean, (variance if beside is None else variance + beside.square()).sqrt()


def _added(parts: Sequence[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0])


def slopes(parts: Sequence[Point], control: Control, trusted: Tensor) -> Point:
    """Least squares of every feature's contributions on their total; 0 where not trusted.

    They sum to one over the features, so what they correct is complete. A total that hardly varies
    has no slope but that of rounding: 0 too.
    """
    sums, products, (mean, square) = parts
    mean, square = mean / control.mass, square / control.mass
    variance = square - mean.square()
    noise = NOISE * max(torch.finfo(s.dtype).eps for s in sums)
    steady = variance <= noise**2 * (control.about.square() + square)
    variance = torch.where(trusted & ~steady, variance, torch.inf)
    return tuple(
        (_over(p, control.mass) - _over(s, control.mass) * _ahead(mean, s)) / _ahead(variance, s)
        for s, p in zip(sums, products, strict=True)
    )


def _over(sums: Tensor, count: Tensor) -> Tensor:
    """Divide (..., T, rows, features) by a number a row: sums come as (T, rows, ...)."""
    return sums / count.to(sums).reshape(1, -1, *(1,) * (sums.ndim - 2))


def _ahead(numbers: Tensor, like: Tensor) -> Tensor:
    """Shape (T, rows) numbers so that they multiply (T, rows, ...)."""
    return numbers.to(like).reshape(*numbers.shape, *(1,) * (like.ndim - 2))

"""What the target gains from end to end: exact on curves on which one feature moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from intgrad._types import Point, chunks
from intgrad.ends import gains, moved
from intgrad.errors import Unsupported
from intgrad.integral import LineIntegral
from intgrad.quadrature.rule import Estimate
from intgrad.sums import add_in_order

AT_ONCE = 64  # curves whose shares are held at a time


@dataclass(frozen=True)
class Differences:
    """f(end) - f(start) of every curve, to the features that moved on it, in equal parts.

    For paths that move one feature, or one group of them, at a time: `Permutation`, `Sequential`.
    There the integral is this difference whatever the model does between, so nothing is
    approximated. No gradients: one forward for every distinct point. Of random orders the
    error is the standard error of their mean, a feature.

    Raises
    ------
    Unsupported
        Curves on which many features move, or an integrand that is not gradient times velocity.
    """

    rtol: float = 5e-2

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Value and error of every row."""
        refuse(integral)
        orders = moments(integral)
        value = tuple(first for first, _, _ in orders)
        if not integral.curves.drawn:
            zero = tuple(torch.zeros_like(v) for v in value)
            return Estimate(value, zero, self.rtol, "differences between ends")
        error = tuple(standard_error(*sums) for sums in orders)
        return Estimate(value, error, self.rtol, "differences between ends, over random orders")


def refuse(integral: LineIntegral) -> None:
    """Refuse curves and integrands to which the difference does not belong."""
    if not integral.curves.single:
        raise Unsupported(
            "Differences give what a curve gains to the one feature, or group, that moves on it; on this "
            "path many do. Use path=ig.Permutation() or ig.Sequential(), or another rule."
        )
    if not integral.integrand.complete or integral.by_panel:
        raise Unsupported(
            f"Differences are the integral of gradient times velocity; the integrand is "
            f"{type(integral.integrand).__name__}."
        )


def moments(integral: LineIntegral) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For each tensor the sums over curves of w v, w v^2, and w^2 where it moved: (T, rows, ...)."""
    totals: list[tuple[Tensor, Tensor, Tensor]] = []
    for part, values, shares in contributions(integral):
        curves, weight = integral.curves.row[part], integral.curves.weight[part][:, None]
        for i, (v, s) in enumerate(zip(values, shares, strict=True)):
            if i == len(totals):
                size = (v.shape[0], integral.rows, *v.shape[2:])
                totals.append((v.new_zeros(size), v.new_zeros(size), v.new_zeros((1, *size[1:]))))
            there = (s != 0).to(v)[None]
            weights = weight, weight, weight.square()
            for total, found, w in zip(totals[i], (v, v.square(), there), weights, strict=True):
                add_in_order(total[None], found, curves, w)
    return totals


def contributions(integral: LineIntegral) -> Iterator[tuple[slice, Point, Point]]:
    """Of a few curves at a time: which, their gains shared out (T, n, ...), the shares (n, ...)."""
    known, every = gains(integral), torch.arange(len(integral.curves))
    collect = getattr(integral.integrand, "collect", lambda found: found)
    for part in chunks(len(every), AT_ONCE):
        shares = collect(moved(integral, every[part]))
        gain = known[:, part]
        yield (
            part,
            tuple(gain.to(s).reshape(*gain.shape, *(1,) * (s.ndim - 1)) * s for s in shares),
            shares,
        )


def standard_error(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """Of a mean with weights w that add up to 1, from its sums of w v, w v^2 and w^2.

    NaN where one order was drawn, 0 where nothing moved.
    """
    variance = (second - first.square()).clamp(min=0)
    return torch.where(weights == 0, 0.0, (variance * weights / (1 - weights)).sqrt())

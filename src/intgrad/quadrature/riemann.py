"""Riemann sums and the trapezoid rule, with weights that sum to one. For reproducing papers.

All of them are first order on kinked models and cost as much as better rules. Each reports how far
it is from the lines drawn through its nodes (what ends and one-sidedness cost), and how far those
are from the lines through every other node (what kinks cost): an error that costs no evaluation.
It lies where the curve has a feature narrower than two steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from intgrad._types import Point, whole_number
from intgrad.integral import LineIntegral
from intgrad.quadrature.rule import Estimate, estimate
from intgrad.units import Panels


@dataclass(frozen=True)
class LeftRiemann:
    """t = 0, 1/n, ..., (n-1)/n, weights 1/n. Error of order 1/n even on smooth curves."""

    nodes: int = 50
    rtol: float = 1e-2

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Costs `nodes` gradients a curve."""
        return uniform(integral, self, _grid(self.nodes, 0.0), "left Riemann")


@dataclass(frozen=True)
class RightRiemann:
    """t = 1/n, ..., 1, weights 1/n: the sum of the 2017 paper. Order 1/n even on smooth curves."""

    nodes: int = 50
    rtol: float = 1e-2

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Costs `nodes` gradients a curve."""
        return uniform(integral, self, _grid(self.nodes, 1.0), "right Riemann")


@dataclass(frozen=True)
class Midpoint:
    """t = (j + 1/2)/n, weights 1/n. Second order on smooth curves."""

    nodes: int = 50
    rtol: float = 1e-2

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Costs `nodes` gradients a curve."""
        return uniform(integral, self, _grid(self.nodes, 0.5), "midpoint")


@dataclass(frozen=True)
class Trapezoid:
    """t = 0, ..., 1 with weights 1/(n-1), half at both ends. Second order on smooth curves.

    Captum's ``riemann_trapezoid`` divides by n instead: every attribution 1/n too small.
    """

    nodes: int = 50
    rtol: float = 1e-2

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Costs `nodes` gradients a curve."""
        whole_number(self.nodes, "nodes", 2)
        t = torch.linspace(0, 1, self.nodes, dtype=torch.float64)
        weight = torch.full_like(t, 1 / (self.nodes - 1))
        weight[[0, -1]] /= 2
        return uniform(integral, self, (t, weight), "trapezoid")


@dataclass(frozen=True)
class At:
    """A single point of the curve, weight one: gradients at t, no approximation of an integral.

    Gradient x input is ``At(1.0)``. There is no integral to be wrong about, so the error is that
    of rounding alone, and completeness does not apply.
    """

    t: float = 1.0
    approximates: bool = False

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Costs one gradient a curve."""
        t, one = torch.tensor([self.t], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        value, _ = estimate(integral, t, one, one.new_zeros(1, 0))
        return Estimate(value, None, 0.0, f"one point, t = {self.t:g}")


Uniform = LeftRiemann | RightRiemann | Midpoint | Trapezoid


def uniform(
    integral: LineIntegral, rule: Uniform, table: tuple[Tensor, Tensor], name: str
) -> Estimate:
    """Run a uniform rule: its nodes, or its panels where the integrand contributes by panels."""
    if integral.by_panel:
        return by_panels(integral, rule.nodes, rule.rtol)
    t, weight = table
    fine, coarse = linear_weights(t), linear_weights(t, every=2)
    null = torch.stack([weight - fine, fine - coarse], 1)
    value, error = estimate(integral, t, weight, null)
    return Estimate(value, error, rule.rtol, f"{name}, {rule.nodes} nodes a curve")


def by_panels(integral: LineIntegral, panels: int, rtol: float) -> Estimate:
    """N equal panels a curve, each contributing for itself; the error is not estimated (NaN)."""
    whole_number(panels, "nodes", 1)
    curves = len(integral.curves)
    edges = torch.linspace(0, 1, panels + 1, dtype=torch.float64)
    curve = torch.arange(curves).repeat_interleave(panels)
    cut = Panels(curve, edges[:-1].repeat(curves), edges[1:].repeat(curves))
    value: Point = tuple(s[0] for s in integral.sum_panels(cut))
    unknown = tuple(torch.full_like(v, torch.nan) for v in value)
    return Estimate(value, unknown, rtol, f"{panels} equal panels a curve")


def linear_weights(t: Tensor, every: int = 1) -> Tensor:
    """Weights at t (n,) that integrate over [0, 1] the lines drawn through every so many nodes.

    Beyond the first and last node the lines go on; NaN where there is nothing to compare (n < 3).
    """
    weight = torch.zeros_like(t)
    if len(t) < 3:
        return torch.full_like(t, torch.nan)
    kept = sorted({*range(0, len(t), every), len(t) - 1})
    for i, j in pairwise(kept):
        a = 0.0 if i == 0 else float(t[i])
        b = 1.0 if j == len(t) - 1 else float(t[j])
        share = ((a + b) / 2 - float(t[i])) / float(t[j] - t[i])  # where the mean of [a, b] lies
        weight[i] += (b - a) * (1 - share)
        weight[j] += (b - a) * share
    return weight


def _grid(nodes: int, shift: float) -> tuple[Tensor, Tensor]:
    whole_number(nodes, "nodes", 1)
    t = (torch.arange(nodes, dtype=torch.float64) + shift) / nodes
    return t, torch.full_like(t, 1 / nodes)

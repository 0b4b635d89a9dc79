"""What a unit of work contributes: the one thing in which the methods of the family differ.

An integrand asks the oracle about points and returns contributions (T, n, ...), one a node; or,
if its `unit` is ``"panel"``, one a panel between consecutive points. Contributions need not be
shaped like the input: conductance returns one tensor a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from intgrad._types import Point, wide
from intgrad.model.oracle import Oracle, ability, gradients


@dataclass(frozen=True)
class NodeWork:
    """Points x (n, ...) on their curves, which row each is of, and velocities d x / dt."""

    x: Point
    rows: Tensor
    velocity: Point


@dataclass(frozen=True)
class PanelWork:
    """Points x (n, ...) in the order of their curves; panel p goes from first[p] to second[p]."""

    x: Point
    rows: Tensor
    first: Tensor
    second: Tensor

    def increments(self) -> Point:
        """x[second] - x[first], (p, ...), in float32 at least."""
        wider = [p.to(wide(p.dtype)) for p in self.x]
        return tuple(
            p.index_select(0, self.second.to(p.device)) - p.index_select(0, self.first.to(p.device))
            for p in wider
        )


class Integrand(Protocol):
    """Contributions of units of work: ``(oracle, work) -> (T, units, ...)``.

    `unit` is ``"node"`` or ``"panel"``; `complete` says whether the integral must sum to
    f(x) - f(baseline), so that a residual means something.
    """

    unit: ClassVar[str]
    complete: ClassVar[bool]

    def __call__(self, oracle: Oracle, work: Any, /) -> Point: ...


@dataclass(frozen=True)
class GradientVelocity:
    """gradient . velocity, feature by feature: every path method. One gradient a node."""

    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = True

    @property
    def averaged(self) -> AveragedGradient:
        """The same, averaged over panels by the model itself."""
        return AveragedGradient()

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Contributions (T, n, ...)."""
        _, gradient = gradients(oracle, work.x, work.rows)
        return tuple(g * v for g, v in zip(gradient, work.velocity, strict=True))


@dataclass(frozen=True)
class BareGradient:
    """The gradient itself: saliency at one point, mean gradient along a path. Never complete."""

    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = False

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Contributions (T, n, ...)."""
        _, gradient = gradients(oracle, work.x, work.rows)
        return tuple(g.to(v.dtype) for g, v in zip(gradient, work.velocity, strict=True))


@dataclass(frozen=True)
class AveragedGradient:
    """Gradient averaged over a panel by the model itself, times the panel's increment.

    Needs an oracle with ``panels``. One panel is DeepLIFT's rescale rule; many converge to
    integrated gradients.
    """

    unit: ClassVar[str] = "panel"
    complete: ClassVar[bool] = True

    @property
    def averaged(self) -> AveragedGradient:
        """It is."""
        return self

    def __call__(self, oracle: Oracle, work: PanelWork) -> Point:
        """Contributions (T, p, ...)."""
        average = ability(oracle, "panels")(work.x, work.rows, work.first, work.second)
        return tuple(g * d for g, d in zip(average, work.increments(), strict=True))


@dataclass(frozen=True)
class Summed:
    """Contributions of another integrand, added over their last axis before they are integrated.

    What is added first has an error of its own: adding up the errors of all dimensions of an
    embedding afterwards, as `Attribution.sum` must, overstates the error of their sum.
    """

    of: Any = GradientVelocity()  # an integrand

    @property
    def unit(self) -> str:
        """That of the integrand summed."""
        return self.of.unit

    @property
    def complete(self) -> bool:
        """Sums keep completeness."""
        return self.of.complete

    @property
    def averaged(self) -> Summed:
        """The same sums, averaged over panels by the model itself."""
        return Summed(self.of.averaged)

    def __call__(self, oracle: Oracle, work: Any) -> Point:
        """Contributions (T, n, ...) without their last axis."""
        return self.collect(self.of(oracle, work))

    def collect(self, found: Point) -> Point:
        """Contributions added over their last axis."""
        return tuple(c.sum(-1) for c in found)


@dataclass(frozen=True)
class SquaredShares:
    r"""What the target gains on a panel, shared out by squared gradients: IDGI.

    .. math:: \frac{g_i^2}{\sum_j g_j^2} \big(f(\gamma(b)) - f(\gamma(a))\big)

    The sum is f(x) - f(baseline) exactly, whatever the panels. Not linear in the model, and the
    sign of a feature is that of the gain, not its own. Where the gradient vanishes the squares of
    the increments take its place.

    Parameters
    ----------
    published
        Take the gradient at the beginning of a panel only, as in the paper: first order. Otherwise
        the mean of the shares at both ends: second order, with the same limit.

    References
    ----------
    Yang, Wang, Bilgic 2023, "IDGI", arXiv:2303.14242.
    """

    published: bool = False
    unit: ClassVar[str] = "panel"
    complete: ClassVar[bool] = True

    @property
    def order(self) -> int:
        """In the panels' length; a rule that halves them can tell its error from the second on."""
        return 1 if self.published else 2

    def __call__(self, oracle: Oracle, work: PanelWork) -> Point:
        """Contributions (T, p, ...)."""
        value, gradient = gradients(oracle, work.x, work.rows)
        pick = lambda k: tuple(g.index_select(1, k.to(g.device)) for g in gradient)  # noqa: E731
        moves = work.increments()
        share = shares(pick(work.first), moves)
        if not self.published:
            share = tuple(
                (a + b) / 2 for a, b in zip(share, shares(pick(work.second), moves), strict=True)
            )
        gain = value[:, work.second.to(value.device)] - value[:, work.first.to(value.device)]
        return tuple(s * gain.to(s).reshape(*gain.shape, *(1,) * (s.ndim - 2)) for s in share)


def shares(gradient: Point, moves: Point) -> Point:
    """g^2 / sum g^2 over all features of each panel, (T, p, ...); of the moves where g is 0."""
    size = lambda parts: torch.stack([p.flatten(2).abs().amax(2) for p in parts]).amax(0)  # noqa: E731
    still = size(gradient) == 0
    along = lambda n, p: n.to(p.device).reshape(*n.shape, *(1,) * (p.ndim - 2))  # noqa: E731
    wider = [g.to(wide(g.dtype)) for g in gradient]
    parts = [torch.where(along(still, g), m, g) for g, m in zip(wider, moves, strict=True)]
    largest = size(parts)
    largest = torch.where(largest == 0, 1, largest)  # squares of small numbers do not vanish
    squares = [(p / along(largest, p)).square() for p in parts]
    total = torch.stack([s.flatten(2).sum(2) for s in squares]).sum(0)
    total = torch.where(total == 0, 1, total)
    return tuple(s / along(total, s) for s in squares)


@dataclass(frozen=True)
class DecisionGradient:
    r"""gradient . velocity, weighted by how fast the target moves there: decision gradients.

    .. math:: \partial_i f \; \dot\gamma_i \; \frac{d}{dt} f(\gamma(t))

    What happens where the target is flat counts for nothing. Not complete, and quadratic in f.

    References
    ----------
    Walker, Jha, Chen, Ewetz 2024, "Integrated Decision Gradients", arXiv:2305.20052.
    """

    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = False

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Contributions (T, n, ...)."""
        _, gradient = gradients(oracle, work.x, work.rows)
        found = tuple(g * v for g, v in zip(gradient, work.velocity, strict=True))
        slope = torch.stack([f.flatten(2).sum(2) for f in found]).sum(0)
        return tuple(f * slope.reshape(*slope.shape, *(1,) * (f.ndim - 2)) for f in found)


__all__ = [
    "AveragedGradient",
    "BareGradient",
    "DecisionGradient",
    "GradientVelocity",
    "Integrand",
    "NodeWork",
    "PanelWork",
    "SquaredShares",
    "Summed",
]

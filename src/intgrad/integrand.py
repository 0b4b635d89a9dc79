"""What a unit of work contributes: the one thing in which the methods of the family differ.

An integrand asks the oracle about points and returns contributions (T, n, ...), one a node; or,
if its `unit` is ``"panel"``, one a panel between consecutive points. Contributions need not be
shaped like the input: conductance returns one tensor a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

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
        return tuple(c.sum(-1) for c in self.of(oracle, work))


__all__ = [
    "AveragedGradient",
    "BareGradient",
    "GradientVelocity",
    "Integrand",
    "NodeWork",
    "PanelWork",
    "Summed",
]

"""What the output owes to the input by way of one neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intgrad._types import Point
from intgrad.integrand import NodeWork
from intgrad.model import Unit
from intgrad.model.oracle import Oracle, ability


@dataclass(frozen=True)
class Through:
    r"""What reaches the output by way of one neuron, feature by feature: neuron conductance.

    .. math:: \int_0^1 \frac{\partial f}{\partial y_j} \, \frac{\partial y_j}{\partial x_i} \,
              \dot\gamma_i(t) \, dt

    An integrand: ``ig.attribute(..., integrand=ig.inside.Through(ig.Unit("layer2", (5, 3, 4))))``. Over
    the features it adds up to the neuron's conductance, over the neurons of a cut to integrated
    gradients; by itself it is complete against neither end of the path. Neurons that the unit adds
    up are added up here too. Costs a gradient a node, and a second backward pass below the layer.

    References
    ----------
    Dhamdhere, Sundararajan, Yan 2018, "How important is a neuron?", arXiv:1805.12233.
    """

    neuron: Unit
    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = False

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Contributions (T, n, ...)."""
        gradient = ability(oracle, "through")(work.x, work.rows, self.neuron)
        return tuple(g * v for g, v in zip(gradient, work.velocity, strict=True))

"""The curve of the input, seen from inside the network: conductance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from intgrad.path.straight import Straight


@dataclass(frozen=True)
class PushedForward:
    r"""In a layer, the way its activations take while the input goes from baseline to x.

    .. math:: A_j(x) = \int_0^1 \frac{\partial f}{\partial y_j} \, \frac{d y_j(\gamma(t))}{dt} \, dt

    With it, ``at=`` names the layers that are explained, one or several, and all of them come from one
    pass in forward mode and one backward pass a node, or from one gradient a panel. A straight line in a
    layer's own units is another path, and another answer, unless the layer is affine in the input.

    Parameters
    ----------
    of
        The path of the input.
    at
        Where that path lives: ``"input"``, or ``"embedding"`` for token ids.

    References
    ----------
    Dhamdhere, Sundararajan, Yan 2018, "How important is a neuron?", arXiv:1805.12233. Shrikumar, Su,
    Kundaje 2018, "Computationally efficient measures of internal neuron importance",
    arXiv:1807.09946.
    """

    of: Any = Straight()
    at: Any = "input"
    monotone: ClassVar[bool] = False

    def __call__(self, t: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Points of the input's path."""
        return self.of(t, start, end)

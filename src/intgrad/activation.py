"""Activation maps: the channels of a convolution weighed by gradients at one point, and added up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from intgrad._types import Point
from intgrad.errors import Unsupported
from intgrad.integrand import NodeWork
from intgrad.model.oracle import Oracle, gradients


@dataclass(frozen=True)
class ChannelGradient:
    r"""Each channel weighed by its mean gradient, and added up: Grad-CAM at one point.

    .. math:: \sum_c \Big(\tfrac1{|K|}\sum_{k \in K} \partial_{c,k} f\Big) \, y_{c,\cdot}

    Over a layer's output y (n, channels, *space); one map (n, 1, *space). The ReLU of the paper is left
    to whoever shows the map: values below 0 speak against the target. Never complete.

    References
    ----------
    Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2017, "Grad-CAM", arXiv:1610.02391.
    """

    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = False

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Contributions (T, n, 1, *space)."""
        _, gradient = gradients(oracle, work.x, work.rows)
        means = (g.mean(tuple(range(3, g.ndim)), keepdim=True) for g in map(_spatial, gradient))
        return tuple((m * y).sum(2, keepdim=True) for m, y in zip(means, work.x, strict=True))


@dataclass(frozen=True)
class RaisedActivation:
    r"""Each activation weighed by its own gradient where that is above 0: LayerCAM at one point.

    .. math:: \sum_c \max(\partial_{c,k} f, 0) \, y_{c,k}

    Shapes as in `ChannelGradient`. Never complete.

    References
    ----------
    Jiang, Zhang, Hou, Cheng, Wei 2021, "LayerCAM", doi:10.1109/TIP.2021.3089943.
    """

    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = False

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Contributions (T, n, 1, *space)."""
        _, gradient = gradients(oracle, work.x, work.rows)
        raised = (g.clamp(min=0) for g in map(_spatial, gradient))
        return tuple((g * y).sum(2, keepdim=True) for g, y in zip(raised, work.x, strict=True))


def _spatial(gradient: Tensor) -> Tensor:
    """A gradient (T, n, channels, *space), refused where there is no space."""
    if gradient.ndim < 4:
        raise Unsupported(
            f"a class activation map needs a layer (rows, channels, *space); this one puts out "
            f"{gradient.ndim - 2} axes a row. Name a convolution."
        )
    return gradient

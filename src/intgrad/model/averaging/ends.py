"""The two ends of panels, as views: row i of a tensor is where panel i starts, row i + 1 its end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from intgrad.model.tape import Axis, Step


@dataclass(frozen=True)
class Ends:
    """What a tensor is where panels start (a) and where they end (b), in float32 at least."""

    a: Tensor
    b: Tensor

    @cached_property
    def mean(self) -> Tensor:
        """The middle of the panel, if it is straight."""
        return self.a if self.a is self.b else (self.a + self.b).mul_(0.5)

    @cached_property
    def delta(self) -> Tensor:
        """The increment over the panel."""
        return self.b - self.a

    def at(self, share: float) -> Tensor:
        """The point at this share of the panel."""
        return self.a if self.a is self.b else torch.lerp(self.a, self.b, share)


def wide(tensor: Tensor) -> Tensor:
    """Half types in float32; others as they are."""
    half = tensor.is_floating_point() and tensor.element_size() < 4
    return tensor.float() if half else tensor


def ends(tensor: Tensor, axis: Axis | None) -> Ends:
    """The ends of all panels; a tensor without rows is the same at both."""
    if axis is None:
        same = wide(tensor)
        return Ends(same, same)
    return Ends(wide(first(tensor, axis)), wide(second(tensor, axis)))


def argument(step: Step, i: int) -> Ends:
    """The ends of the i-th tensor that a step was given."""
    return ends(step.tensors[i], step.axes[i])


def output(step: Step, i: int = 0) -> Ends:
    """The ends of the i-th tensor that a step gave."""
    return ends(step.outs[i], step.axes[len(step.live) + i])


def incoming(step: Step, grad: Tensor, i: int = 0) -> Tensor:
    """The gradient at the i-th output, one a panel."""
    axis = step.axes[len(step.live) + i]
    return wide(grad if axis is None else first(grad, axis))


def outgoing(step: Step, i: int, grad: Tensor) -> Tensor:
    """The gradient for the i-th tensor, given one a panel: summed to its shape, its last row 0."""
    tensor, axis = step.tensors[i], step.axes[i]
    if axis is None:
        return fold(grad, tensor.shape).to(tensor.dtype)
    d, per_row = axis
    shape = list(tensor.shape)
    shape[d] -= per_row
    found = torch.empty_like(tensor, memory_format=torch.preserve_format)
    first(found, axis).copy_(fold(grad, shape))
    found.narrow(d, shape[d], per_row).zero_()
    return found


def fold(grad: Tensor, shape: list[int] | torch.Size) -> Tensor:
    """Sum over what was broadcast."""
    return grad if list(grad.shape) == list(shape) else grad.sum_to_size(shape)


def first(tensor: Tensor, axis: Axis) -> Tensor:
    """All rows but the last: where panels start."""
    d, per_row = axis
    return tensor.narrow(d, 0, tensor.shape[d] - per_row)


def second(tensor: Tensor, axis: Axis) -> Tensor:
    """All rows but the first: where panels end."""
    d, per_row = axis
    return tensor.narrow(d, per_row, tensor.shape[d] - per_row)

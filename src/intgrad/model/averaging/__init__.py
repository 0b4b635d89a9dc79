"""Averages of derivatives over panels, operation by operation.

A panel is a stretch between two consecutive points of a call. If everything in a network that is not
linear uses its derivative averaged over the panel, its input taken to move straight, then one
backward pass gives the gradient averaged over the panel, complete to rounding where every average
is. One panel is DeepLIFT's rescale rule (Shrikumar, Greenside, Kundaje 2017, arXiv:1704.02685); many
converge to the integral at second order, where pointwise gradients are of first order on kinks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.autograd.graph import Node

from intgrad.model.averaging import elementwise, generic, maxima, normal, products
from intgrad.model.averaging.ends import incoming, outgoing
from intgrad.model.tape import Step, run

Pairwise = Callable[[Step, Tensor], list[Tensor | None]]
Single = Callable[[Step, Node, Tensor], Tensor]

# one gradient for each differentiable tensor argument, from the gradient at the first output
CLOSED: dict[str, Pairwise] = {
    "mul": products.mul,
    "bmm": products.bmm,
    "div": products.div,
    "maximum": products.maximum,
    "minimum": products.minimum,
    "masked_fill": products.masked_fill,
    "where": products.where,
    "_softmax": normal.softmax,
    "_safe_softmax": normal.softmax,
    "_log_softmax": normal.log_softmax,
    "logsumexp": normal.logsumexp,
    "native_layer_norm": normal.layer_norm,
    "native_group_norm": normal.group_norm,
    "_fused_rms_norm": normal.rms_norm,
}
MAXIMA: dict[str, Single] = {
    "amax": maxima.amax,
    "amin": lambda step, node, g: maxima.amax(step, node, g, -1.0),
    "max": maxima.max_dim,
}
POOLS = frozenset(
    "max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d".split()
)


@dataclass
class Averager:
    """The rule of `tape.pull`: averages over panels, and a note of what could not be averaged.

    Attributes
    ----------
    approximate
        Operations averaged at Gauss points: complete to their error only.
    uncovered
        Operations that used the derivative where the panel starts.
    """

    approximate: set[str] = field(default_factory=set)
    uncovered: set[str] = field(default_factory=set)

    def __call__(
        self, step: Step, node: Node, grads: tuple[Tensor | None, ...]
    ) -> list[Tensor | None]:
        """Gradients for the node's inputs, in their order."""
        with torch.no_grad():
            found = self._averaged(step, node, grads) if step.intact() else None
        if found is None:
            self.uncovered.add(step.name)
            return list(run(node, grads))
        return found

    def _averaged(
        self, step: Step, node: Node, grads: tuple[Tensor | None, ...]
    ) -> list[Tensor | None] | None:
        live = [i for i, alive in enumerate(step.live) if alive]
        open_slots = [after is not None for after, _ in node.next_functions]
        if sum(open_slots) != len(live) or not _rows_known(step):
            return None
        g = grads[0] if grads else None
        if step.name in POOLS and g is not None and step.axes[0] and step.axes[0][0] == 0:
            return [maxima.max_pool(step, node, g)]
        if g is not None and _pointwise(step):
            found = elementwise.pull(step, g)
            return [found if wanted else None for wanted in open_slots]
        each = self._each(step, node, grads, g)
        pulled = iter(
            [
                None if f is None else outgoing(step, i, f)
                for i, f in enumerate(each)
                if step.live[i]
            ]
        )
        return [next(pulled) if wanted else None for wanted in open_slots]

    def _each(
        self, step: Step, node: Node, grads: tuple[Tensor | None, ...], g: Tensor | None
    ) -> list[Tensor | None]:
        """One gradient a panel for each tensor argument up to the last that needs one."""
        alone = g is not None and not any(x is not None for x in grads[1:])
        if alone:
            assert g is not None
            own = incoming(step, g)
            if step.name in CLOSED and (step.name != "where" or len(step.live) == 3):
                return CLOSED[step.name](step, own)
            if step.name in MAXIMA and len(step.args) > 1:
                return [MAXIMA[step.name](step, node, own)]
        self.approximate.add(step.name)
        return generic.average(step, grads)


UNTAGGED = frozenset({"_prelu_kernel", "hardswish", "log_sigmoid_forward"})


def _pointwise(step: Step) -> bool:
    """A function of one number that moves: same shape in and out, element by element."""
    return (
        sum(step.live) == 1
        and (torch.Tag.pointwise in step.op.tags or step.name in UNTAGGED)
        and step.outs[0].shape == step.tensors[step.live.index(True)].shape
    )


def _rows_known(step: Step) -> bool:
    """Every tensor that gradients flow to, and every output, says where its rows lie."""
    flowing = [a for a, alive in zip(step.axes, step.live, strict=False) if alive]
    return len(step.axes) == len(step.live) + len(step.outs) and all(flowing)


__all__ = ["Averager"]

r"""Smooth heads on a piecewise-linear model: means of their derivatives over a linear region.

In the region the head's input is known, :math:`z(s) = z + s \dot z`. If all that follows the head is
linear, the mean gradient is one backward pass in which the head's Jacobian is replaced by its mean,

.. math:: \frac{1}{b - a} \int_a^b J(z + s \dot z)^T \, ds

by Gauss points in pieces so short that z changes by at most 2 in each: softmax and the sigmoid are
analytic so far around them (poles a distance :math:`\pi` away) that 16 points are exact to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils._pytree import tree_map

from intgrad._types import Point
from intgrad.errors import Unsupported
from intgrad.model.panels import taped
from intgrad.model.tape import Axis, Step, Tape, pull, run

SMOOTH = frozenset("_softmax _safe_softmax _log_softmax logsumexp sigmoid tanh".split())
CHANGE = 2.0  # of its input in one piece
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


@dataclass(frozen=True)
class Head:
    """A smooth operation: its input and the rate of it, and where rows lie there."""

    name: str
    at: Tensor
    rate: Tensor
    axis: Axis | None


def hidden(values: Tensor, tape: Tape) -> list[str]:
    """Names of smooth operations whose result goes into another that is not linear."""
    found: dict[str, None] = {}
    seen: set[tuple[Node, bool]] = set()
    stack = [(values.grad_fn, False)]
    while stack:
        node, inside = stack.pop()
        if node is None or (node, inside) in seen:
            continue
        seen.add((node, inside))
        step = tape.steps.get(node._sequence_nr()) if not hasattr(node, "variable") else None
        if step is not None and inside and step.name in SMOOTH:
            found[step.name.lstrip("_")] = None
        stack += [(after, inside or step is not None) for after, _ in node.next_functions]
    return sorted(found)


def averaged(
    oracle: Any, x: Point, rows: Tensor, heads: list[Head], ends: tuple[Tensor, Tensor]
) -> Point:
    """Mean gradients (T, n, ...) over regions that end a time `ends` (n,) from the points.

    One forward and T backwards for every point.
    """
    tape, values, leaves = taped(oracle, x, rows)
    smooth = {number: s for number, s in tape.steps.items() if s.name in SMOOTH}
    if [s.name for s in smooth.values()] != [h.name for h in heads]:
        raise Unsupported("Exact found other operations with gradients than without them.")
    tape.steps = dict(smooth)
    own = {id(s): head for s, head in zip(smooth.values(), heads, strict=True)}

    def rule(step: Step, node: Node, grads: tuple[Tensor | None, ...]) -> list[Tensor | None]:
        if grads[0] is None:
            return list(run(node, grads))
        return [mean_pulled(step, own[id(step)], grads[0], ends)]

    starts: list[list[Any]] = [[v.grad_fn, v.output_nr, torch.ones_like(v)] for v in values]
    with torch.no_grad():
        found = [pull(tape, start, leaves, rule, keep=True) for start in starts]
    oracle.meter.count(rows, len(values))
    each_leaf = zip(leaves, zip(*found, strict=True), strict=True)
    return tuple(
        torch.stack([torch.zeros_like(leaf) if g is None else g for g in own_gradients])
        for leaf, own_gradients in each_leaf
    )


def mean_pulled(step: Step, head: Head, g: Tensor, ends: tuple[Tensor, Tensor]) -> Tensor:
    """Pull g back through the head's mean Jacobian; every row in pieces of its own number."""
    assert head.axis is not None
    spread = lambda t: _spread(t, head)  # noqa: E731
    low, high = (e.to(head.at.device, head.at.dtype) for e in ends)
    width = high - low
    pieces = _pieces(head, width)
    total = torch.zeros_like(head.at)
    for piece in range(int(pieces.max())):
        alive = (piece < pieces).to(width.dtype) / pieces
        for node, weight in zip(NODES, WEIGHTS, strict=True):
            s = low + width * ((piece + (1 + float(node)) / 2) / pieces).clamp(max=1)
            found = _pulled(step, head.at + spread(s) * head.rate, g)
            total += spread(alive * (float(weight) / 2)) * found
    return total


def _pieces(head: Head, width: Tensor) -> Tensor:
    """How many pieces each row's region needs, (n,)."""
    assert head.axis is not None
    fast = head.rate.movedim(head.axis[0], 0).reshape(len(width), -1).abs().amax(1)
    return (fast * width / CHANGE).ceil().clamp(min=1)


def _spread(numbers: Tensor, head: Head) -> Tensor:
    """Shape (n,) numbers so that they multiply the head's input."""
    assert head.axis is not None
    dim, apiece = head.axis
    return numbers.repeat_interleave(apiece).reshape(-1, *(1,) * (head.at.ndim - 1 - dim))


def _pulled(step: Step, at: Tensor, g: Tensor) -> Tensor:
    """The head's own pull-back, at another input."""
    with torch.enable_grad():
        point = at.detach().requires_grad_()
        first = step.tensors[step.live.index(True)]
        swap = lambda leaf: point if leaf is first else leaf  # noqa: E731
        args, kwargs = tree_map(swap, (step.args, step.kwargs))
        (found,) = torch.autograd.grad(step.op(*args, **kwargs), point, g)
    return found

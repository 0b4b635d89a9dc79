r"""Hessian-vector products of one call: many directions from one graph of the gradient.

The numbers :math:`v_k \cdot \nabla f(x)` are differentiated once more, so a point costs one forward
and one backward, and each direction one backward through both (counted as two).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.errors import ModelError
from intgrad.model.backward import differentiate, or_zeros
from intgrad.model.calls import in_calls
from intgrad.model.memory import width_for_targets

SMOOTH = tuple("Softmax LogSoftmax Logsumexp Sigmoid LogSigmoid Tanh".split())
BENT = tuple(
    """
    Relu LeakyRelu PreluKernel RreluWithNoise Abs Threshold Hardtanh Hardsigmoid Hardswish
    Softshrink Hardshrink Clamp ClampMin ClampMax Maximum Minimum Fmax Fmin Max Min Amax Amin
    MaxPool2DWithIndices MaxPool3DWithIndices AdaptiveMaxPool2D AdaptiveMaxPool3D
    Sort Topk Kthvalue Median MkldnnMaxPool2D FractionalMaxPool2D
    """.split()
)


class Seen(NamedTuple):
    """Which operations a forward was made of, by autograd's names: kinked ones and smooth heads."""

    bent: tuple[str, ...]
    smooth: tuple[str, ...]


def operations(oracle: Any, x: Tensor, rows: Tensor) -> Seen:
    """What bends, and what is smooth, between x and the target; one forward, counted as a check."""
    leaves = (x.detach().requires_grad_(),)
    with oracle.meter.aside(), torch.enable_grad():
        values = oracle._target(oracle._entered(leaves), rows)
        oracle.meter.count(rows, 0)
    names: dict[str, None] = {}
    seen, stack = set(), [values.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names[node.name().rstrip("0123456789").removesuffix("Backward").removeprefix("Safe")] = None
        stack += [after for after, _ in node.next_functions]
    return Seen(tuple(n for n in names if n in BENT), tuple(n for n in names if n in SMOOTH))


def along(
    oracle: Any, x: Tensor, rows: Tensor, ways: Callable[[Tensor], Tensor], count: int
) -> tuple[Tensor, Tensor]:
    """Gradients (n, ...) at points x (n, ...), and the products (k, n, ...) of Hessians with directions.

    Parameters
    ----------
    ways
        Gradients (n, ...) -> their products with each direction, (k, n): linear.

    Raises
    ------
    ModelError
        The model has no gradient, or its backward pass cannot be differentiated.
    """
    leaves = (x.detach().requires_grad_(),)
    with torch.enable_grad():
        value = oracle._target(oracle._entered(leaves), rows)[0].sum()
        if not value.requires_grad:
            raise ModelError(
                "the model's output does not depend on the input through autograd: it is detached "
                "(no_grad, .detach(), numpy, argmax) or constant. Remove the break."
            )
        gradient = or_zeros(differentiate(value, leaves, True, True)[0], leaves[0])
        products = x.new_zeros(count, *x.shape)
        if gradient.requires_grad:  # that of a linear model is a constant
            (products,) = oracle.second(ways(gradient), leaves, False)
    oracle.meter.count(rows, 1 + 2 * count)
    return gradient.detach(), products


def narrowed(oracle: Any, count: int) -> None:
    """Make calls narrow enough for the graph of a gradient, and for the products of all directions.

    The graph of a gradient keeps about three times what that of a value does.
    """
    if oracle.second is None:
        oracle.second = replace(oracle.backward, batched=None)
        if oracle.second.row is not None:
            oracle.second.row *= 4
        if not oracle.padded:
            oracle.width = max(1, oracle.width // 4)
    if not oracle.padded:
        oracle.width = min(oracle.width, width_for_targets(count, oracle.features))


def curvatures(
    oracle: Any,
    x: Point,
    rows: Tensor,
    velocity: Point,
    read: Callable[[Tensor], Tensor],
    mix: Tensor,
) -> tuple[Tensor, Tensor]:
    """Slopes (n, g) and curvatures (k, n, g) of the target along a velocity (n, ...), by groups.

    `read` adds features up to groups, (..., n, *features) -> (..., n, g), and each row of `mix`
    (k, g) is a direction: so much of each group's share of the velocity. Costs one gradient a
    point, and for each direction a Hessian-vector product, counted as two.
    """
    narrowed(oracle, len(mix))

    def ask(packed: Point, which: Tensor) -> tuple[Tensor, ...]:
        point, speed = packed
        ways = lambda g: mix.to(g) @ read(g * speed).T  # noqa: E731
        gradient, products = along(oracle, point, which, ways, len(mix))
        return read(gradient * speed)[None], read(products * speed)

    slopes, found = in_calls(oracle, (x[0], velocity[0]), rows, ask)
    return slopes[0], found

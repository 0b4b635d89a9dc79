"""Any other operation: its own derivative, averaged at Gauss points of the panel.

Three points integrate derivatives of degree five along the panel exactly. Completeness then holds to
their error, not to rounding; operations that jump keep their jump in the residual.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from intgrad.model.averaging.ends import Ends, argument, incoming
from intgrad.model.tape import Step

POINTS = ((0.1127016653792583, 5 / 18), (0.5, 8 / 18), (0.8872983346207417, 5 / 18))


def average(step: Step, grads: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """One gradient for each floating tensor argument, None where none flows."""
    inputs = [argument(step, i) for i in range(len(step.live))]
    given = [None if g is None else incoming(step, g, i) for i, g in enumerate(grads)]
    total: list[Tensor | None] = [None] * len(inputs)
    for share, weight in POINTS:
        found = _pulled(step, inputs, share, given)
        for i, f in enumerate(found):
            if f is not None:
                before = total[i]
                total[i] = weight * f if before is None else before.add_(f, alpha=weight)
    return total


def _pulled(
    step: Step, inputs: list[Ends], share: float, given: list[Tensor | None]
) -> list[Tensor | None]:
    """The operation's own pull-back at one point of every panel."""
    with torch.enable_grad():
        points = [
            e.at(share).detach().requires_grad_() if alive else e.a
            for e, alive in zip(inputs, step.live, strict=True)
        ]
        outs = _outputs(_replay(step, points))
        pairs = [(o, g) for o, g in zip(outs, given, strict=False) if g is not None]
        live = [p for p, alive in zip(points, step.live, strict=True) if alive]
        found = iter(
            torch.autograd.grad(
                [o for o, _ in pairs], live, [g.to(o.dtype) for o, g in pairs], allow_unused=True
            )
        )
    return [next(found) if alive else None for alive in step.live]


def _replay(step: Step, points: list[Tensor]) -> Any:
    """The operation again, at other tensors."""
    queue = iter(points)
    swap = lambda leaf: next(queue) if isinstance(leaf, Tensor) else leaf  # noqa: E731
    args, kwargs = tree_map(swap, (step.args, step.kwargs))
    return step.op(*args, **kwargs)


def _outputs(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [r for r in result if isinstance(r, Tensor)]

"""What is looked at before anything is explained: the model is a function of each row alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from intgrad._types import Point
from intgrad.errors import ModelError
from intgrad.model.torch_oracle import TorchOracle

ACTIVE_IN_TRAINING = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
)


def refuse_training(model: object) -> None:
    """Refuse a module whose answer changes in training mode; nothing is run, no statistic touched.

    Raises
    ------
    ModelError
        BatchNorm, dropout or the like is in training mode.
    """
    if not isinstance(model, nn.Module):
        return
    for name, module in model.named_modules():
        if module.training and (
            isinstance(module, ACTIVE_IN_TRAINING) or _recurrent_dropout(module)
        ):
            raise ModelError(
                f"the model is in training mode: {type(module).__name__} {name!r} would change its "
                f"answer from call to call. Call model.eval() first."
            )


def _recurrent_dropout(module: nn.Module) -> bool:
    return isinstance(module, nn.RNNBase | nn.MultiheadAttention) and module.dropout > 0


def refuse_impure(oracle: TorchOracle, x: Point, rows: Tensor) -> None:
    """Probe two points: the answer to one must not depend on the other, nor on chance.

    One backward shows a smooth leak exactly: the gradient of the first value with respect to the
    second point must be zero. One call of a single row shows the rest. Costs two gradients and
    one forward, counted as checks.

    Raises
    ------
    ModelError
        Rows leak into each other, or two equal calls differ.
    """
    with oracle.meter.aside():
        alone = oracle.value(tuple(p[:1] for p in x), rows[:1]).flatten()
        pair = oracle.value(x, rows).reshape(len(alone), len(rows))
        both = pair[:, 0]
        scale = torch.cat([alone, pair.flatten()]).abs().nan_to_num(0.0, posinf=0.0).max()
        slack = torch.finfo(x[0].dtype).eps ** 0.5 * scale
        if not bool((alone - both).abs().max() <= slack):
            again = oracle.value(tuple(p[:1] for p in x), rows[:1]).flatten()
            _refuse(alone, both, again, slack)
        if oracle.width > 1 and leak_of_gradient(oracle, x, rows):
            raise ModelError(
                _LEAK.format("the gradient of one row with respect to another is not 0")
            )


def leak_of_gradient(oracle: TorchOracle, x: Point, rows: Tensor) -> bool:
    """Whether the first value of a call of two has a gradient at the second point.

    NaN is no leak: 0 times the infinite slope of a sqrt or log at 0.
    """
    first = lambda output, which: _first_only(oracle, output, which)  # noqa: E731
    gradient = oracle.probe(x, rows, first)
    return any(bool(g[1:].nan_to_num(0.0).any()) for g in gradient)


def _first_only(oracle: TorchOracle, output: Any, rows: Tensor) -> Tensor:
    assert oracle.bound is not None
    values = oracle.bound(output, rows)
    return values.reshape(-1, len(rows))[:, 0].sum()


_LEAK = (
    "rows of a batch leak into each other ({}): attention over the batch, or normalisation by its "
    "statistics. Steps of a path would then be batch mates. Make the model treat rows alone, or "
    "pass check=False to go on regardless."
)


def _refuse(alone: Tensor, both: Tensor, again: Tensor, slack: Tensor) -> None:
    moved = float((alone - both).abs().max())
    if not bool((alone - again).abs().max() <= slack):
        raise ModelError(
            f"two equal calls of the model differ by {float((alone - again).abs().max()):.2g}: it "
            f"is random (dropout through functional calls, noise). Call model.eval(), or fix its "
            f"seed inside; check=False goes on regardless."
        )
    raise ModelError(
        _LEAK.format(f"the same row answers {moved:.2g} differently with a batch mate")
    )

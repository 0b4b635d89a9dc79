"""What is looked at before anything is explained: the model is a function of each row alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intgrad._types import Point
from intgrad.errors import ModelError
from intgrad.model.memory import out_of_memory
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


def refuse_impure(oracle: TorchOracle, x: Point, rows: Tensor, known: Tensor) -> None:
    """Probe two points in one call: the answer to one must not depend on the other, nor on chance.

    One backward shows a smooth leak exactly: the gradient of the first value with respect to the
    second point must be zero. What that value was among other batch mates shows the rest. Costs
    two gradients, counted as checks.

    Parameters
    ----------
    x, rows
        Two points (2, ...), the first of them an input.
    known
        Its values (T,), as the model gave them beside other rows, or alone.

    Raises
    ------
    ModelError
        Rows leak into each other, or two equal calls differ.
    """
    with oracle.meter.aside():
        try:
            values, gradient = oracle.probe(x, rows)
        except Exception as error:
            if out_of_memory(error):
                return  # two rows never meet in one call
            raise
        known = known.to(values)
        scale = torch.cat([known, values.flatten()]).abs().nan_to_num(0.0, posinf=0.0).max()
        slack = torch.finfo(x[0].dtype).eps ** 0.5 * scale
        moved = (known - values[:, 0]).abs().max()
        if not bool(moved <= slack):
            _refuse(oracle, x, rows, moved, slack)
    # NaN is no leak: 0 times the infinite slope of a sqrt or log at 0
    if any(bool(g[1:].nan_to_num(0.0).any()) for g in gradient):
        raise ModelError(_LEAK.format("the gradient of one row with respect to another is not 0"))


_LEAK = (
    "rows of a batch leak into each other ({}): attention over the batch, or normalisation by its "
    "statistics. Steps of a path would then be batch mates. Make the model treat rows alone, or "
    "pass check=False to go on regardless."
)


def _refuse(oracle: TorchOracle, x: Point, rows: Tensor, moved: Tensor, slack: Tensor) -> None:
    first = tuple(p[:1] for p in x)
    once, again = (oracle.value(first, rows[:1]).flatten() for _ in range(2))
    apart = (once - again).abs().max()
    if not bool(apart <= slack):
        raise ModelError(
            f"two equal calls of the model differ by {float(apart):.2g}: it is random (dropout "
            f"through functional calls, noise). Call model.eval(), or fix its seed inside; "
            f"check=False goes on regardless."
        )
    raise ModelError(
        _LEAK.format(f"a row answers {float(moved):.2g} differently with another batch mate")
    )

"""Quantus: our recipes as its explain functions, and its metrics on our results.

Quantus itself is never imported: its metrics are objects that a user hands over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intgrad.audit.run import as_explain
from intgrad.audit.units import as_values
from intgrad.errors import InputError
from intgrad.recipe import Recipe

ExplainFunc = Callable[..., np.ndarray]


def explain_func(recipe: Recipe | None = None, *, seed: int = 0) -> ExplainFunc:
    """A recipe as Quantus calls methods: ``(model, inputs, targets, **kwargs) -> array``.

    Parameters
    ----------
    recipe
        Of `intgrad.methods`; integrated gradients by default.
    seed
        The only source of chance.

    Returns
    -------
    Callable
        Arrays in, an array like `inputs` out, on the device and in the type of the model's parameters
        for the length of the call. What Quantus passes on otherwise, such as ``device``, is ignored.

    Examples
    --------
    ``metric(model, x_batch, y_batch, explain_func=explain_func(ig.methods.blur_ig()))``
    """
    explain = as_explain(recipe, seed=seed)

    def asked(model: Any, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        x = _like(model, inputs)
        target = torch.as_tensor(np.asarray(targets)).flatten().to(x.device)
        return as_values(explain(model, x, target)).cpu().numpy()

    asked.__name__ = (recipe or Recipe()).name
    return asked


def score(
    metric: Callable[..., Any],
    model: nn.Module,
    x: Tensor,
    attribution: Any,
    target: Any,
    **call: Any,
) -> Any:
    """What a metric of Quantus says of values of ours.

    Parameters
    ----------
    metric
        An instance, such as ``quantus.PixelFlipping(features_in_step=224, normalise=False)``. Most
        metrics normalise values and take their magnitude unless told not to.
    model
        A module, in evaluation mode.
    x
        (rows, ...).
    attribution
        Like x: a tensor or an `Attribution`.
    target
        Class indices, one a row.
    **call
        Passed on to the metric.

    Returns
    -------
    Any
        What the metric returns, a list with an entry a row for most.

    Raises
    ------
    InputError
        A metric that cannot be called, or values that are not like x.
    """
    if not callable(metric) or isinstance(metric, type):
        raise InputError(
            f"metric is {metric!r}; expected an instance of a metric of Quantus, such as "
            f"quantus.PixelFlipping()."
        )
    values = as_values(attribution)
    if values.shape != x.shape:
        raise InputError(
            f"attribution is {tuple(values.shape)} and x {tuple(x.shape)}; expected alike."
        )
    array = lambda t: torch.as_tensor(t).detach().cpu().numpy()  # noqa: E731
    rows = {"x_batch": array(x), "y_batch": array(target), "a_batch": array(values.to(x.dtype))}
    return metric(model=model, **rows, **{"device": str(x.device), **call})


def _like(model: Any, inputs: Any) -> Tensor:
    """Inputs where and as the model computes."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    like = next((p for p in parameters if p.is_floating_point()), torch.zeros(()))
    return torch.as_tensor(np.asarray(inputs)).to(like.device, like.dtype)

"""Where a method's paths start, for what it is compared with: known before the model is asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from intgrad.baseline import Blurred, as_baseline
from intgrad.path import ScaleSpace
from intgrad.recipe import Recipe


def origin(recipe: Recipe) -> Any:
    """A recipe's baseline; of a path with a start of its own, that; None of one that asks the model."""
    if isinstance(recipe.path, ScaleSpace):
        return Blurred(recipe.path.max_sigma, recipe.path.axes)
    return None if asks_the_model(recipe) else recipe.baseline


def asks_the_model(recipe: Recipe) -> bool:
    """Whether the starts are found by asking the model (tensors have a trace too, of another kind)."""
    return hasattr(recipe.baseline, "trace") and not isinstance(recipe.baseline, Tensor)


def one_point(baseline: Any, x: Tensor, seed: int) -> Any:
    """A baseline of one point a row: of a distribution, its mean."""
    if baseline is None or not x.is_floating_point():
        return baseline
    curves = as_baseline(baseline)((x,), torch.arange(len(x)), seed)
    if len(curves) == len(x):
        return baseline
    points = curves.start.take(torch.arange(len(curves)))[0].to(x)
    weight = curves.weight.to(x).reshape(-1, *(1,) * (x.ndim - 1))
    return torch.zeros_like(x).index_add(0, curves.row.to(x.device), points * weight)

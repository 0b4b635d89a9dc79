"""From the crop the model saw to the picture people know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from intgrad.attribution import Attribution
from intgrad.image.origin import traced
from intgrad.image.pull_back import pull_back, pull_back_error
from intgrad.image.view import View
from intgrad.integrand import GradientVelocity
from intgrad.path import Straight
from intgrad.subject import Picture, Predictions


def develop(a: Attribution, views: Sequence[View], predictions: Predictions) -> Attribution:
    """One row, on the picture's own pixels; several baselines have a view each."""
    view = views[0]
    run = replace(a.run, notes=(*a.run.notes, view.note))
    a = replace(a, subjects=(Picture(view.name, view.pixels, predictions),), run=run)
    if view.grid is None:
        return a
    if not a.members:
        return _alone(a, view)
    own = views if len(views) == len(a.members) else [view] * len(a.members)
    members = tuple(develop(m, [v], predictions) for m, v in zip(a.members, own, strict=True))
    weight = 1.0 if a.recipe.path_legs else 1 / len(members)
    values = weight * torch.stack([m.values for m in members]).sum(0)
    maps = [m.error_map for m in members]
    wrong = None if any(e is None for e in maps) else weight * torch.stack(maps).sum(0)
    return replace(a.carried(values, wrong), members=members)


def _alone(a: Attribution, view: View) -> Attribution:
    recipe = a.recipe
    plain = isinstance(recipe.path, Straight) and isinstance(recipe.integrand, GradientVelocity)
    chain = plain and recipe.around is None and not traced(recipe.baseline)
    values = _channels(partial(pull_back, straight=chain), a.values, view)
    wrong = None
    if a.error_map is not None:
        wrong = _channels(pull_back_error, a.error_map, view)
    return a.carried(values, wrong)


def _channels(back: Callable[..., Tensor], values: Tensor, view: View) -> Tensor:
    """`back` on each channel, one at a time: the float64 maps of a large picture are large."""
    each = values.detach().cpu().double().unbind(-3)
    parts = [back(part, view.channel(c)).to(values.dtype) for c, part in enumerate(each)]
    return torch.stack(parts, -3).to(values.device)

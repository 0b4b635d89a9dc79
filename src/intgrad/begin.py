"""Where curves begin and end: baselines drawn, and carried to the location by the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Point, Structure
from intgrad.baseline import Blurred, Dataset, Fixed, as_baseline
from intgrad.errors import InputError, IntgradError
from intgrad.model.target import reader
from intgrad.model.torch_oracle import TorchOracle
from intgrad.path import Bank, Curves, ScaleSpace
from intgrad.path.curve import go
from intgrad.recipe import Recipe, show


def start(baseline: Any, x: Point, structure: Structure, seed: int) -> Curves:
    """Curves in the features' own space."""
    chosen = as_baseline(baseline)
    named = tuple(baseline) if isinstance(baseline, Mapping) else ()
    named = chosen.keys if isinstance(chosen, Dataset) else named
    if isinstance(chosen, Fixed | Dataset) and len(chosen.points) != len(x):
        raise InputError(
            f"baseline has {len(chosen.points)} tensors and x has {len(x)}; expected one for each."
        )
    if named and set(named) != set(structure.keys):
        raise InputError(
            f"baseline has entries {sorted(named)} and x has {sorted(structure.keys)}; expected "
            f"the same names."
        )
    if named:
        ordered = tuple(chosen.points[named.index(key)] for key in structure.keys)
        chosen = replace(chosen, points=ordered)
    return chosen(x, torch.arange(x[0].shape[0]), seed)


def begin(baseline: Any, oracle: TorchOracle, seed: int, target: Any) -> Curves:
    """Curves at the location: from where the model carries the baseline, to where it carries x.

    A baseline that must ask the model for its starts (``trace``) is given the oracle.
    """
    chosen = as_baseline(baseline)
    if hasattr(chosen, "trace"):
        return chosen.trace(oracle, scores_entry(target), seed)
    if oracle.location.module is None:
        return start(baseline, oracle.raw, oracle.structure, seed)
    x, ids = oracle.features, not any(p.is_floating_point() for p in oracle.raw)
    if ids and baseline is None:
        raise InputError(
            "a text baseline must be named: baseline=ig.MaskToken(tokenizer.mask_token_id, "
            "keep=special ids), or ig.Zeros() for zero embeddings."
        )
    if ids and not getattr(chosen, "tokens", False):
        return start(chosen, x, Structure("tensor"), seed)
    raw = start(baseline, oracle.raw, oracle.structure, seed)
    every = torch.arange(len(raw))
    carried, _ = oracle.read(raw.start.take(every), raw.row, reader(target))
    return Curves(raw.row, Bank(carried, every), Bank(x, raw.end.index), raw.weight)


def scores_entry(target: Any) -> Any:
    """Which entry of the model's output its target reads; of several targets, the first that says."""
    target = getattr(target, "wanted", target)  # of one that was bound before
    named = (getattr(t, "entry", None) for t in getattr(target, "of", (target,)))
    return next((entry for entry in named if entry is not None), None)


def beginning(recipe: Recipe) -> Any:
    """The recipe's baseline; where nobody named one, the place at which its path begins by itself."""
    path = recipe.path
    if recipe.baseline is None and isinstance(path, ScaleSpace):
        return Blurred(path.max_sigma, path.axes)
    return recipe.baseline


def refuse_missed(path: Any, curves: Curves) -> None:
    """Check, on a curve that moves, that a path meets its ends and has a velocity like its points.

    Raises
    ------
    InputError
        It does not, or no derivative can be taken through it.
    """
    which = moving(curves)
    if which is None:
        return
    ends = curves.start.take(which), curves.end.take(which)
    for t, wanted, name in ((0.0, ends[0], "start"), (1.0, ends[1], "end")):
        try:
            found, velocity = go(path, torch.tensor([t], dtype=torch.float64), curves, which)
        except IntgradError:
            raise
        except Exception as error:
            raise InputError(
                f"the path {show(path)} cannot be followed at t = {t:g} ({type(error).__name__}: {error}). "
                f"It is called as path(t, start, end), t of shape (n, 1, ..., 1), and differentiated in "
                f"forward mode unless it has velocity(t, start, end)."
            ) from error
        for point, speed, end in zip(found, velocity, wanted, strict=True):
            _refuse_point(path, point, speed, end, name)


def _refuse_point(path: Any, point: Tensor, speed: Tensor, end: Tensor, name: str) -> None:
    for what, tensor in (("points", point), ("velocities", speed)):
        if tensor.shape != end.shape:
            raise InputError(
                f"the path {show(path)} gives {what} of shape {tuple(tensor.shape)}; expected "
                f"{tuple(end.shape)}, like its ends."
            )
    off = (point - end).detach().abs().max()
    size = end.detach().abs().max().clamp(min=1e-3)
    if not bool(off <= torch.finfo(end.dtype).eps ** 0.5 * size):
        raise InputError(
            f"the path {show(path)} misses its {name} by {float(off):.2g}; expected start at t = 0 and "
            f"end at t = 1. A path with a place of its own to begin at, as ScaleSpace, takes no other "
            f"baseline."
        )


def moving(curves: Curves) -> Tensor | None:
    """The first curve whose ends differ, as an index (1,); None where all stand still."""
    for i in range(len(curves)):
        one = torch.tensor([i])
        ends = zip(curves.start.take(one), curves.end.take(one), strict=True)
        if not all(torch.equal(a, b) for a, b in ends):
            return one
    return None


def refuse_ids(raw: Point, structure: Structure) -> None:
    """At the input, only real numbers can be explained."""
    for name, part in zip(structure.names(len(raw)), raw, strict=True):
        if not part.is_floating_point():
            raise InputError(
                f"{name} is {part.dtype}; there is no path between whole numbers. For token ids use "
                f"at='embedding'; for pixels convert with x.float(); what is not explained goes in given=."
            )

"""Layers explained along the curve of the input: conductance, influence, all layers in one sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from intgrad._types import Point, each_target, total
from intgrad.attribution import Attribution
from intgrad.caller import bar, calm
from intgrad.certificate import certify, report_convergence
from intgrad.errors import Unsupported
from intgrad.integrand import BareGradient, GradientVelocity, NodeWork
from intgrad.model.checks import refuse_training
from intgrad.model.observe import Place
from intgrad.model.oracle import Oracle, ability
from intgrad.model.places import places_of
from intgrad.quadrature.rule import Estimate
from intgrad.quadrature.tolerance import reachable
from intgrad.question import opened, prepare
from intgrad.recipe import Recipe

BESIDE = (
    3.0  # times the error, and times the tolerance: a sum that far off is no error of the integral
)


@dataclass(frozen=True, eq=False)
class Conductance:
    """gradient . tangent at every place: one tensor (T, n, *layer) each."""

    places: tuple[Place, ...]
    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = True

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Contributions, one tensor a place."""
        _, _, seen = ability(oracle, "observe")(work.x, work.rows, self.places, (work.velocity,))
        return tuple(s.gradient * s.tangents for s in seen)


@dataclass(frozen=True, eq=False)
class Influence:
    """The gradient alone at every place: one tensor (T, n, *layer) each. Never complete."""

    places: tuple[Place, ...]
    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = False

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Contributions, one tensor a place."""
        _, _, seen = ability(oracle, "observe")(work.x, work.rows, self.places, ())
        return tuple(s.gradient for s in seen)


INSIDE = {GradientVelocity: Conductance, BareGradient: Influence}  # at the input -> at its layers


def conductance(
    recipe: Recipe, model: Any, x: Any, *, strict: bool | None, **call: Any
) -> Attribution | Mapping[str, Attribution]:
    """Every layer that ``at=`` names, from one sweep along the path of the input.

    Returns
    -------
    Attribution, or {name: Attribution}
        The second where ``at=`` is a list, or ``"all"``.
    """
    places = places_of(model, recipe.at)
    found = _sweep(recipe, places, model, x, call)
    if strict is not None:
        report_convergence(found, strict)
    if isinstance(recipe.at, str | nn.Module) and recipe.at != "all" and len(found) == 1:
        return found[0]
    return {_key(recipe.at, i, p): found[i] for i, p in enumerate(places)}


def _key(at: Any, i: int, place: Place) -> str:
    """A layer as it was named."""
    several = isinstance(at, Sequence) and not isinstance(at, str)
    return at[i] if several and isinstance(at[i], str) else place.label


def _sweep(
    recipe: Recipe, places: Sequence[Place], model: Any, x: Any, call: dict[str, Any]
) -> list[Attribution]:
    how = {k: call[k] for k in ("width", "differentiable", "dtype")}
    seed = call["seed"]
    path = recipe.path
    own = recipe.but(at=path.at, path=path.of, integrand=_inside(recipe)(tuple(places)))
    with calm(model, how["differentiable"]), bar(call["progress"]) as tick:
        oracle = opened(own, model, x, call["given"], tick, **how)
        if call["check"]:
            refuse_training(model)
        question = prepare(own, oracle, call["target"], seed, call["check"])
        # every layer has its own sum to f(x) - f(baseline); all of them together have none
        each = replace(question.integral, gain=None, gains=None)
        question = replace(question, integral=each)
        rule = reachable(own.quadrature, question.integral.dtype)
        estimate = rule(question.integral)
        floor = question.integral.floor(estimate.value)
        return [
            _one(recipe, question, estimate, i, place, floor, seed)
            for i, place in enumerate(places)
        ]


def _inside(recipe: Recipe) -> Any:
    """The integrand at layers that goes with the recipe's at the input."""
    found = INSIDE.get(type(recipe.integrand))
    if found is None:
        known = " and ".join(kind.__name__ for kind in INSIDE)
        raise Unsupported(
            f"{type(recipe.integrand).__name__} is not known inside a network; along the curve of the "
            f"input there are {known}. For a straight line of the layer's own leave out path=."
        )
    return found


def _one(
    recipe: Recipe,
    question: Any,
    estimate: Estimate,
    i: int,
    place: Place,
    floor: Tensor,
    seed: int,
) -> Attribution:
    """The certificate of one layer: its own sum, its own error; the cost is that of the sweep."""
    wrong = None if estimate.error_map is None else (estimate.error_map[i],)
    mine = replace(estimate, value=(estimate.value[i],), error_map=wrong)
    residual = each_target(mine.value, total).cpu() - question.gain.cpu()
    size = question.gain.abs().cpu().clamp(min=1e-300)
    error = torch.zeros_like(residual) if wrong is None else each_target(wrong, total).cpu()
    norm = each_target(mine.value, lambda p: total(tuple(v.abs() for v in p))).cpu()
    beside = residual.abs() > BESIDE * torch.maximum(error, estimate.rtol * norm)
    note: tuple[str, ...] = ()
    if recipe.complete and bool(beside.any()):
        share = ((residual / size).abs() * beside).max()
        note = (
            f"{place.label} is no cut: up to {float(share):.2g} of f(x) - f(baseline) passes beside it, "
            f"and its values do not add up to it",
        )
    named = recipe.but(at=place.label)
    found = certify(named, question, mine, seed, None, floor=floor, complete=not note)
    run = replace(found.run, at=place.label, notes=(*found.run.notes, *note))
    return replace(found, recipe=named.but(baseline=found.recipe.baseline), run=run)

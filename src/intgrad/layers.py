"""Layers explained along the curve of the input: conductance, influence, all layers in one sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from intgrad._types import Point, each_target, magnitude, total
from intgrad.attribution import Attribution
from intgrad.begin import beginning
from intgrad.caller import bar, calm
from intgrad.certificate import Question, certify, report_convergence
from intgrad.errors import Unsupported
from intgrad.integral import LineIntegral
from intgrad.integrand import BareGradient, GradientVelocity, NodeWork, PanelWork
from intgrad.model.checks import refuse_training
from intgrad.model.observe import Place
from intgrad.model.oracle import Oracle, ability
from intgrad.model.places import on_the_way, places_of
from intgrad.model.target import reader
from intgrad.path.curve import Curves
from intgrad.quadrature.rule import Estimate, relative
from intgrad.quadrature.tolerance import reachable
from intgrad.question import opened, prepare, read_by
from intgrad.recipe import Recipe
from intgrad.several import Layers

FINER = 3  # times that a sweep is asked again, where one layer alone is above the tolerance
ROUNDING = 3e-4  # of the values' L1 norm: a sum further off at the very same nodes is no rounding


@dataclass(frozen=True, eq=False)
class Conductance:
    """gradient . tangent at every place, a tensor (T, n, *layer) each; then the target's own derivative.

    It comes twice, (T, n, 1): as what the input adds up to, and as what the values of a cut do.
    """

    places: tuple[Place, ...]
    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = True

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Contributions, one tensor a place, and the derivative."""
        _, rise, seen = ability(oracle, "observe")(work.x, work.rows, self.places, (work.velocity,))
        own = rise[0][..., None]
        return *(s.gradient * s.tangents for s in seen), own, own

    @property
    def averaged(self) -> AveragedConductance:
        """The same, averaged over panels by the model itself."""
        return AveragedConductance(self.places)


@dataclass(frozen=True, eq=False)
class AveragedConductance:
    """Gradients averaged over a panel, times how each place moves over it. No pass in forward mode.

    Like `AveragedGradient` of second order on kinks, and complete at a cut to rounding, whatever the
    number of panels. Behind the places (T, p, 1) each: what the input adds up to, and what the target
    gains. They differ where something in the model is not averaged.
    """

    places: tuple[Place, ...]
    unit: ClassVar[str] = "panel"
    complete: ClassVar[bool] = True

    @property
    def averaged(self) -> AveragedConductance:
        """It is."""
        return self

    def __call__(self, oracle: Oracle, work: PanelWork) -> Point:
        """Contributions (T, p, *layer), one a place, and the two sums."""
        ask = ability(oracle, "panels")
        found = ask(work.x, work.rows, work.first, work.second, self.places)
        k, size = len(self.places), len(work.x)
        gradient, inner, moves, gain = (
            found[:size],
            found[size : size + k],
            found[size + k : -1],
            found[-1],
        )
        own = sum(
            (g * d).flatten(2).sum(2).double()
            for g, d in zip(gradient, work.increments(), strict=True)
        )
        assert isinstance(own, Tensor)
        return (
            *(g * d for g, d in zip(inner, moves, strict=True)),
            own[..., None].to(gain),
            gain[..., None],
        )

    def lost(self, value: Point) -> Tensor:
        """What the input's sum misses of the gain, (T, rows)."""
        return (value[-1] - value[-2])[..., 0].double()


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


@torch.inference_mode(False)
def conductance(
    recipe: Recipe, model: Any, x: Any, *, strict: bool | None, **call: Any
) -> Attribution | Mapping[str, Attribution]:
    """Every layer that ``at=`` names, from one sweep along the path of the input.

    Returns
    -------
    Attribution, or Layers
        The second, {name: Attribution}, where ``at=`` is a list, or ``"all"``.
    """
    places = places_of(model, recipe.at)
    if isinstance(recipe.at, str) and recipe.at == "all":
        places = _asked(recipe, places, model, x, call)
    swept = sweep(recipe, _inside(recipe)(tuple(places)), model, x, call, len(places))
    worth = swept.estimate.value[-1].detach()[..., 0].double()
    found = [certified(recipe, swept, i, place, worth) for i, place in enumerate(places)]
    if strict is not None:
        report_convergence(found, strict)
    if isinstance(recipe.at, str | nn.Module) and recipe.at != "all" and len(found) == 1:
        return found[0]
    return Layers({_key(recipe.at, i, p): found[i] for i, p in enumerate(places)})


def _asked(
    recipe: Recipe, places: list[Place], model: Any, x: Any, call: dict[str, Any]
) -> list[Place]:
    """Of all layers those that have a say in the answer, each call of them."""
    how = {k: call[k] for k in ("width", "differentiable", "dtype")}
    with calm(model, how["differentiable"]):
        oracle = opened(recipe.but(at=recipe.path.at), model, x, call["given"], None, **how)
        every = torch.arange(len(oracle.raw[0]))
        wanted = read_by(oracle, call["target"])
        features, scores = oracle.read(oracle.raw, every, reader(wanted))
        oracle.bind(wanted.bind(scores), features)
        return on_the_way(places, oracle, tuple(f[:1] for f in features), every[:1])


def _key(at: Any, i: int, place: Place) -> str:
    """A layer as it was named."""
    several = isinstance(at, Sequence) and not isinstance(at, str)
    return at[i] if several and isinstance(at[i], str) else place.label


@dataclass(frozen=True, eq=False)
class Sweep:
    """One pass along the curves: what was asked, what came out, what rounding does to it."""

    question: Question
    estimate: Estimate
    floor: Tensor
    seed: int


def sweep(
    recipe: Recipe, integrand: Any, model: Any, x: Any, call: dict[str, Any], answers: int
) -> Sweep:
    """Integrate along the path of the input; the first `answers` parts are each held to rtol."""
    how = {k: call[k] for k in ("width", "differentiable", "dtype")}
    path, seed = recipe.path, call["seed"]
    own = recipe.but(at=path.at, path=path.of, integrand=integrand)
    own = own.but(baseline=beginning(own))
    with calm(model, how["differentiable"]), bar(call["progress"]) as tick:
        oracle = opened(own, model, x, call["given"], tick, **how)
        if call["check"]:
            refuse_training(model)
        question = prepare(own, oracle, call["target"], seed, call["check"])
        _refuse_split(path.of, question.integral.curves)
        # every layer has its own sum to f(x) - f(baseline); all of them together have none
        each = replace(question.integral, gain=None, gains=None)
        question = replace(question, integral=each)
        estimate = to_each(reachable(own.quadrature, each.dtype), each, answers)
        return Sweep(question, estimate, each.floor(estimate.value), seed)


def _refuse_split(path: Any, curves: Curves) -> None:
    """Curves that each move some of the features only are shared out by feature, not by neuron."""
    if curves.mask is not None or (curves.drawn and hasattr(path, "trace")):
        kind = type(path).__name__
        raise Unsupported(
            f"{kind} moves some features at a time, and says nothing of the neurons behind them. Take "
            f"PushedForward(ig.Straight()), or {kind} at the input."
        )


def to_each(rule: Any, integral: LineIntegral, answers: int) -> Estimate:
    """The rule's estimate; again and finer, where all is within its tolerance but one part not."""
    done = rule(integral)
    asked = done.rtol
    if done.error_map is None or not hasattr(rule, "max_evaluations"):
        return done
    for _ in range(FINER):
        met = float(relative(done.value, done.error_map).max()) <= rule.rtol
        parts = zip(done.value[:answers], done.error_map[:answers], strict=True)
        worst = max(float(relative((v,), (e,)).max()) for v, e in parts) / asked
        if not met or not 1 < worst < torch.inf:
            break
        rule = replace(rule, rtol=0.9 * rule.rtol / worst)
        done = replace(rule(integral), rtol=asked)
        assert done.error_map is not None
    return done


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


def certified(
    recipe: Recipe,
    swept: Sweep,
    i: int,
    place: Place,
    worth: Tensor,
    of: str = "f(x) - f(baseline)",
) -> Attribution:
    """The certificate of one part: its own sum, its own error; the cost is that of the sweep.

    `worth` (T, rows) is what the values of a cut add up to, from the same nodes.
    """
    question, estimate = swept.question, swept.estimate
    wrong = None if estimate.error_map is None else (estimate.error_map[i],)
    mine = replace(estimate, value=(estimate.value[i],), error_map=wrong)
    note = _beside(mine, worth.cpu(), question.gain.cpu(), place, of) if recipe.complete else ()
    named = recipe.but(at=place.label)
    how = {"floor": swept.floor, "complete": not note}
    found = certify(named, question, mine, swept.seed, None, **how)
    run = replace(found.run, at=place.label, notes=(*found.run.notes, *note))
    return replace(found, recipe=named.but(baseline=found.recipe.baseline), run=run)


def _beside(mine: Estimate, worth: Tensor, gain: Tensor, place: Place, of: str) -> tuple[str, ...]:
    """What to say where the values do not add up: the nodes are the same, so no integral explains it."""
    (value,) = mine.value
    sums, norm = (each_target((value,), reduce).cpu() for reduce in (total, magnitude))
    allowed = max(ROUNDING, torch.finfo(value.dtype).eps ** 0.5) * norm
    beside = (sums - worth).abs() > allowed
    if not bool(beside.any()):
        return ()
    share = (((sums - gain) / gain.abs().clamp(min=1e-300)).abs() * beside).max()
    return (
        f"{place.label} is no cut: up to {float(share):.2g} of {of} passes beside it, "
        f"and its values do not add up to it",
    )

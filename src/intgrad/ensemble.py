"""Several questions, one answer: baselines averaged, stretches of scale added, inputs shaken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Point, Structure, open_door
from intgrad.attribution import Attribution
from intgrad.baseline import Blurred, as_baseline, parts_of
from intgrad.caller import calm
from intgrad.certificate import report_convergence
from intgrad.combine import combine, folded, joined, put
from intgrad.errors import Unsupported
from intgrad.layers import conductance
from intgrad.model.bound import Pinned
from intgrad.model.places import places_of
from intgrad.path import PushedForward
from intgrad.question import ask, opened, pinned
from intgrad.recipe import Recipe
from intgrad.several import Layers

Several = Callable[..., Any]
HELD = 1 << 27  # numbers of noisy copies' values that are held at a time


def members(recipe: Recipe) -> Several | None:
    """How to answer a recipe that is several questions; None for one that is not."""
    if isinstance(recipe.path, PushedForward):
        return partial(_within, recipe)
    if isinstance(recipe.at, list | tuple):
        return partial(each_layer, recipe)
    if recipe.around is not None:
        return partial(shaken, recipe)
    if len(parts := parts_of(recipe.baseline)) > 1 or isinstance(recipe.baseline, list):
        return partial(averaged, recipe, parts)
    return partial(by_leg, recipe) if recipe.path_legs else None


def answer(recipe: Recipe, model: Any, x: Any, **call: Any) -> Attribution:
    """One member's answer, of which nobody is warned."""
    return explained(recipe, model, x, **{**call, "strict": None})


def told(found: Attribution, strict: bool | None) -> Attribution:
    """The answer, and a warning of its rows that have not converged."""
    if strict is not None:
        report_convergence([found], strict)
    return found


# ------------------------------------------------------------------------------ several layers


def _within(recipe: Recipe, model: Any, x: Any, **call: Any) -> Any:
    """Layers along the curve of the input; the input itself is the first of them."""
    if isinstance(recipe.at, str) and recipe.at == "input":
        return explained(recipe.but(path=recipe.path.of), model, x, **call)
    if isinstance(recipe.baseline, list | tuple):
        return _layers_averaged(recipe, model, x, **call)
    return conductance(recipe, model, x, **call)


def _layers_averaged(
    recipe: Recipe, model: Any, x: Any, *, strict: bool | None, **call: Any
) -> Any:
    """Every layer's mean over several baselines: a sweep for each of them."""
    found: list[Any] = []
    for part in recipe.baseline:
        own = recipe.but(baseline=as_baseline(part))
        found.append(conductance(own, model, x, strict=None, **call))
        call["check"] = False  # the model has been looked at
    if isinstance(found[0], Attribution):
        return told(mean(recipe, found), strict)
    layers = Layers({name: mean(recipe, [answers[name] for answers in found]) for name in found[0]})
    if strict is not None:
        report_convergence(list(layers.values()), strict)
    return layers


def mean(recipe: Recipe, found: Sequence[Attribution]) -> Attribution:
    """The mean of one question's answers, a baseline each."""
    return combine(found, 1 / len(found), recipe.but(at=found[0].recipe.at), len(found))


def explained(recipe: Recipe, model: Any, x: Any, **call: Any) -> Any:
    """The answer, however many questions it is."""
    several = members(recipe) or partial(ask, recipe)
    return several(model, x, **call)


def each_layer(
    recipe: Recipe, model: Any, x: Any, *, strict: bool | None, **call: Any
) -> Mapping[str, Attribution]:
    """Every layer along a straight line of its own: a sweep each."""
    found = {}
    for at, place in zip(recipe.at, places_of(model, recipe.at), strict=True):
        name = at if isinstance(at, str) else place.label
        found[name] = answer(recipe.but(at=at), model, x, **call)
        call["check"] = False  # the model has been looked at
    if strict is not None:
        report_convergence(list(found.values()), strict)
    return Layers(found)


# ------------------------------------------------------------------------------ several baselines


def averaged(
    recipe: Recipe, parts: Sequence[Any], model: Any, x: Any, *, strict: bool | None, **call: Any
) -> Attribution:
    """The mean over several baselines, each explained to the tolerance."""
    own = recipe.but(baseline=tuple(as_baseline(p) for p in parts))
    found = each_of(own, model, x, call)
    missed = (found.error / found.tolerance).nan_to_num(0.0).reshape(-1, len(found)).amax(0)
    if bool((missed > 1).any()) and hasattr(recipe.quadrature, "max_evaluations"):
        found = _finer(own, model, x, found, missed, call)
    if not isinstance(recipe.baseline, list | tuple):  # one that stands for several keeps its name
        found = replace(found, recipe=found.recipe.but(baseline=recipe.baseline))
    return told(found, strict)


def _finer(
    recipe: Recipe, model: Any, x: Any, found: Attribution, missed: Tensor, call: dict[str, Any]
) -> Attribution:
    """Rows whose mean missed the tolerance that its parts met, for they cancel: asked more finely.

    By a power of two that the row alone decides, so that it does not know its batch.
    """
    raw, structure = open_door(x)
    pin, _ = pin_to(recipe, model, x, call["target"], call)
    halvings = (missed / 0.9).log2().ceil().long() * (missed > 1)
    for k in halvings.unique().tolist():
        if not k:
            continue
        rows = (halvings == k).nonzero()[:, 0]
        some = structure.close(tuple(p[rows.to(p.device)] for p in raw))
        given = {n: v[rows.to(v.device)] for n, v in (call["given"] or {}).items()}
        rule = replace(recipe.quadrature, rtol=recipe.quadrature.rtol / 2**k)
        own = recipe.but(
            quadrature=rule, baseline=tuple(repeated(b, rows) for b in recipe.baseline)
        )
        target = Pinned(pin.wanted, moved(pin, rows))
        how = {**call, "target": target, "given": given or None}
        found = put(found, rows, each_of(own, model, some, how))
    return found


def each_of(recipe: Recipe, model: Any, x: Any, call: dict[str, Any]) -> Attribution:
    """Every baseline of a recipe once, and their mean."""
    found = []
    for part in recipe.baseline:
        found.append(answer(recipe.but(baseline=part), model, x, **call))
        call["check"] = False  # the model has been looked at
    return mean(recipe, found)


# ------------------------------------------------------------------------------ stretches of scale


def by_leg(
    recipe: Recipe, model: Any, x: Any, *, target: Any, strict: bool | None, **call: Any
) -> Attribution:
    """The sum over the stretches of a path that is cut, each explained to the tolerance."""
    raw, structure = open_door(x)
    if recipe.at != "input" or recipe.baseline is not None:
        raise Unsupported(
            f"{type(recipe.path).__name__} with scales begins at the blurred input; expected no "
            f"baseline, and features at the input."
        )
    pin, _ = pin_to(recipe, model, x, target, call)
    legs = zip(*(recipe.path.legs(part) for part in raw), strict=True)
    found = []
    for leg in legs:
        ends, path = tuple(end for end, _ in leg), leg[0][1]
        own = recipe.but(path=path)
        found.append(answer(own, model, structure.close(ends), target=pin, **call))
        call["check"] = False
    start = Blurred(recipe.path.max_sigma, recipe.path.axes)
    whole = combine(found, 1.0, recipe.but(baseline=start), 1)
    return told(replace(whole, output=found[-1].output), strict)


# ------------------------------------------------------------------------------ noisy copies


def shaken(
    recipe: Recipe, model: Any, x: Any, *, target: Any, strict: bool | None, **call: Any
) -> Attribution:
    """A statistic of the answers at noisy copies of x, for the class of x."""
    raw, structure = open_door(x)
    if not all(p.is_floating_point() for p in raw):
        raise Unsupported(
            f"{type(recipe.around).__name__} adds noise to x, and x is {raw[0].dtype}: whole numbers, such "
            f"as token ids, take none. Leave it out, or pass the embeddings to a model that begins there."
        )
    pin, output = pin_to(recipe, model, x, target, call)
    size = sum(p[0].numel() for p in raw) * recipe.around.samples
    rows = torch.arange(len(raw[0])).split(max(1, HELD // max(size, 1)))
    found = [_shaken(recipe, model, raw, structure, some, pin, dict(call)) for some in rows]
    whole = joined(found)
    drop = (lambda t: t) if whole.several else (lambda t: t[0])
    return told(replace(whole, output=drop(output.cpu())), strict)


def _shaken(
    recipe: Recipe,
    model: Any,
    raw: Point,
    structure: Structure,
    rows: Tensor,
    pin: Pinned,
    call: dict[str, Any],
) -> Attribution:
    """Some rows, all their noisy copies in one call."""
    around, n = recipe.around, recipe.around.samples
    some = tuple(p[rows.to(p.device)] for p in raw)
    noisy = tuple(copies(p, around.sigma, n, call["seed"]) for p in some)
    index = rows.repeat_interleave(n)
    given = {k: v[index.to(v.device)] for k, v in (call.pop("given") or {}).items()}
    own = recipe.but(around=None, baseline=repeated(recipe.baseline, index))
    target = Pinned(pin.wanted, moved(pin, rows), n)
    found = answer(own, model, structure.close(noisy), target=target, given=given or None, **call)
    return folded(found, recipe.but(baseline=found.recipe.baseline, at=found.recipe.at), n)


def copies(x: Tensor, sigma: float, n: int, seed: int) -> Tensor:
    """N noisy copies of every row, one after the other: (r n, ...). The same noise for every row."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, *x.shape[1:], generator=generator).to(x.device, x.dtype)
    flat = x.reshape(len(x), -1)
    reach = (flat.amax(1) - flat.amin(1)).reshape(-1, 1, *(1,) * (x.ndim - 1))
    return (x[:, None] + sigma * reach * noise).flatten(0, 1)


def repeated(baseline: Any, index: Tensor) -> Any:
    """A baseline that knows its rows, once for each copy of each."""
    if baseline is None:
        return None
    known = as_baseline(baseline)
    return known.for_rows(index) if hasattr(known, "for_rows") else baseline


def moved(pin: Pinned, rows: Tensor) -> Any:
    """The bound target of some of its rows, counted from 0."""
    bound = pin.bound
    names = bound.names if bound.count else tuple(bound.names[i] for i in rows.tolist())
    at = lambda r: rows.to(r.device)[r]  # noqa: E731
    return replace(
        bound,
        extract=lambda output, r: bound.extract(output, at(r)),
        of=lambda found, r: bound.of(found, at(r)),
        names=names,
    )


def pin_to(
    recipe: Recipe, model: Any, x: Any, target: Any, call: dict[str, Any]
) -> tuple[Pinned, Tensor]:
    """The target, bound at x: one forward a row, counted with no member."""
    differentiable = call["differentiable"]
    with calm(model, differentiable):
        how = {k: call[k] for k in ("width", "differentiable", "dtype")}
        return pinned(opened(recipe, model, x, call["given"], None, **how), target)

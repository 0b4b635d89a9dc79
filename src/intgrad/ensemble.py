"""Several questions, one answer: baselines averaged, stretches of scale added, inputs shaken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Point, Structure, Tree, flatten, open_door
from intgrad.around import settle
from intgrad.attribution import CERTIFICATE_FIELDS, Attribution
from intgrad.baseline import Blurred, as_baseline, parts_of
from intgrad.caller import calm
from intgrad.certificate import report_convergence
from intgrad.errors import Unsupported
from intgrad.layers import conductance
from intgrad.model.bound import Pinned
from intgrad.model.places import places_of
from intgrad.path import PushedForward
from intgrad.question import ask, opened, pinned
from intgrad.recipe import Recipe

Several = Callable[..., Any]
COSTS = ("forwards", "backwards", "evaluations")
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
    return conductance(recipe, model, x, **call)


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
    return found


# ------------------------------------------------------------------------------ several baselines


def averaged(
    recipe: Recipe, parts: Sequence[Any], model: Any, x: Any, *, strict: bool | None, **call: Any
) -> Attribution:
    """The mean over several baselines, each explained to the tolerance."""
    own = recipe.but(baseline=tuple(as_baseline(p) for p in parts))
    found = each_of(own, model, x, call)
    worst = float((found.error / found.tolerance).max())
    if worst > 1 and hasattr(recipe.quadrature, "max_evaluations"):
        # the members met it, and the mean is smaller than they are: they cancel in part
        finer = replace(recipe.quadrature, rtol=0.9 * recipe.quadrature.rtol / worst)
        again = each_of(own.but(quadrature=finer), model, x, call)
        costs = {k: getattr(found, k) + getattr(again, k) for k in COSTS}
        run = replace(again.run, rtol=found.run.rtol)
        found = replace(again, recipe=found.recipe, run=run, **costs)
        found = replace(found.carried(found.values, found.error_map), members=again.members)
    return told(found, strict)


def each_of(recipe: Recipe, model: Any, x: Any, call: dict[str, Any]) -> Attribution:
    """Every baseline of a recipe once, and their mean."""
    found = []
    for part in recipe.baseline:
        found.append(answer(recipe.but(baseline=part), model, x, **call))
        call["check"] = False  # the model has been looked at
    return combine(found, 1 / len(found), recipe.but(at=found[0].recipe.at), len(found))


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
    if not x.is_floating_point():
        raise Unsupported(
            f"noise is added to x, and x is {x.dtype}: whole numbers have no neighbours. Pass the "
            f"embeddings themselves as x, or take a method without noise."
        )
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


# ------------------------------------------------------------------------------ putting together


def combine(found: Sequence[Attribution], weight: float, recipe: Recipe, ends: int) -> Attribution:
    """The weighted sum of answers to one question; `ends` of them share an end.

    Errors and residuals add like the values; costs add.
    """
    total = lambda name: weight * sum(getattr(a, name) for a in found)  # noqa: E731
    first, none = found[0], any(a.residual is None for a in found)
    values = added([a.values for a in found], weight)
    maps = [a.error_map for a in found]
    wrong = None if any(m is None for m in maps) else added(maps, weight)
    mixed = replace(
        first,
        residual=None if none else total("residual"),
        baseline_output=total("baseline_output") if ends > 1 else first.baseline_output,
        floor=weight * sum(_absolute(a) for a in found) / _norm(values, first.several),
        forwards=sum(a.forwards for a in found),
        backwards=sum(a.backwards for a in found),
        evaluations=sum(a.evaluations for a in found),
        rules=tuple(_listed(rules) for rules in zip(*(a.rules for a in found), strict=True)),
        recipe=recipe,
        run=replace(
            first.run,
            rule=_listed([a.run.rule for a in found]),
            checks=sum(a.run.checks for a in found),
            notes=tuple(dict.fromkeys(n for a in found for n in a.run.notes)),
        ),
    )
    return replace(mixed.carried(values, wrong), members=tuple(found))


def folded(found: Attribution, recipe: Recipe, n: int) -> Attribution:
    """The statistic of the recipe over n neighbouring rows each."""
    lead = 1 if found.several else 0
    points, structure = flatten(found.values, "values")
    maps = [None] * len(points) if found.error_map is None else flatten(found.error_map, "")[0]
    split = lambda p: p.unflatten(lead, (-1, n)).movedim(lead + 1, -1)  # noqa: E731
    parts = [
        settle(recipe.around, split(p), torch.zeros(()) if m is None else split(m))
        for p, m in zip(points, maps, strict=True)
    ]
    values, wrong = (structure.close(tuple(p)) for p in zip(*parts, strict=True))
    rows = lambda t: t.unflatten(-1, (-1, n))  # noqa: E731
    numbers = {k: rows(getattr(found, k)).mean(-1) for k in ("output", "baseline_output", "floor")}
    costs = {k: rows(getattr(found, k)).sum(-1) for k in COSTS}
    kind = type(recipe.around).__name__
    whole = replace(
        found.select(slice(0, None, n)),
        residual=None,
        recipe=recipe,
        rules=tuple(f"{rule}, on {n} noisy copies ({kind})" for rule in found.rules[::n]),
        run=replace(
            found.run,
            rtol=max(found.run.rtol, recipe.around.rtol),
            rule=f"{found.run.rule}, on {n} noisy copies ({kind})",
        ),
        **numbers,
        **costs,
    )
    return whole.carried(values, wrong)


def joined(found: Sequence[Attribution]) -> Attribution:
    """The rows of several answers, one after the other."""
    if len(found) == 1:
        return found[0]
    first = found[0]
    axis = 1 if first.several else 0
    both = lambda trees: _each(lambda *ps: torch.cat(ps, axis), trees)  # noqa: E731
    names = (*CERTIFICATE_FIELDS, *COSTS)
    numbers = {
        k: torch.cat([getattr(a, k) for a in found], -1)
        for k in names
        if getattr(first, k) is not None
    }
    return replace(
        first,
        values=both([a.values for a in found]),
        error_map=None if first.error_map is None else both([a.error_map for a in found]),
        rules=tuple(r for a in found for r in a.rules),
        targets=first.targets if first.several else tuple(t for a in found for t in a.targets),
        **numbers,
    )


def added(trees: Sequence[Tree], weight: float) -> Tree:
    """The weighted sum of trees, tensor by tensor."""
    return _each(lambda *parts: weight * sum(parts), trees)


def _each(change: Callable[..., Any], trees: Sequence[Tree]) -> Tree:
    points = [flatten(t, "values") for t in trees]
    return points[0][1].close(
        tuple(change(*parts) for parts in zip(*(p for p, _ in points), strict=True))
    )


def _norm(values: Tree, several: bool) -> Tensor:
    """L1 norm of every target and row."""
    point = flatten(values, "values")[0]
    parts = [p.detach().flatten(2 if several else 1).abs().sum(-1).double().cpu() for p in point]
    return torch.stack(parts).sum(0).clamp(min=torch.finfo(torch.float64).tiny)


def _absolute(a: Attribution) -> Tensor:
    return a.floor * _norm(a.values, a.several)


def _listed(rules: Sequence[str]) -> str:
    kinds = dict.fromkeys(rules)
    return f"{rules[0]}, {len(rules)} times" if len(kinds) == 1 else "; ".join(kinds)

"""Answers put together: added, averaged, joined row by row, rows exchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Tree, flatten
from intgrad.around import settle
from intgrad.attribution import CERTIFICATE_FIELDS, Attribution
from intgrad.recipe import Recipe

COSTS = ("forwards", "backwards", "evaluations")


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


def put(whole: Attribution, rows: Tensor, some: Attribution) -> Attribution:
    """The answer with some of its rows exchanged for finer ones; what those cost is added."""
    axis = 1 if whole.several else 0
    some = replace(some, run=whole.run)
    some = replace(some.carried(some.values, some.error_map), members=some.members)
    swap = lambda a, b: a.index_copy(axis, rows.to(a.device), b)  # noqa: E731
    known = [k for k in CERTIFICATE_FIELDS if getattr(whole, k) is not None]
    numbers = {k: getattr(whole, k).index_copy(-1, rows, getattr(some, k)) for k in known}
    costs = {k: getattr(whole, k).index_add(-1, rows, getattr(some, k)) for k in COSTS}
    rules = list(whole.rules)
    for row, rule in zip(rows.tolist(), some.rules, strict=True):
        rules[row] = rule
    maps = None
    if whole.error_map is not None:
        maps = _each(swap, [whole.error_map, some.error_map])
    pairs = zip(whole.members, some.members, strict=True)
    return replace(
        whole,
        values=_each(swap, [whole.values, some.values]),
        error_map=maps,
        rules=tuple(rules),
        members=tuple(put(m, rows, s) for m, s in pairs),
        **numbers,
        **costs,
    )


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

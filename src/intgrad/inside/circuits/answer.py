"""The answer about all edges: which sums must hold, and what several integrals make together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from intgrad.attribution import Attribution
from intgrad.certificate import Question
from intgrad.combine import COSTS
from intgrad.inside.circuits.graph import Graph
from intgrad.recipe import Recipe


def cuts(graph: Graph) -> Iterator[Tensor]:
    """Edges over each cut of the residual stream, (edges,): all that flows passes there."""
    upstream = torch.tensor(graph.upstream)[graph.reader]
    for written in sorted(set(graph.upstream)):
        yield (graph.source < written) & (upstream >= written)


def held_to(groups: list[Tensor], question: Question, a: Attribution) -> Attribution:
    """The answer with its residual: each group of edges should add up to what the target gains."""
    if not getattr(a.recipe.quadrature, "approximates", True):
        return a
    gain = question.gain[0].cpu()
    gaps = torch.stack([a.values[:, g].double().sum(1).cpu() for g in groups]) - gain
    return replace(a, residual=largest(gaps)).carried(a.values, a.error_map)


def largest(gaps: Tensor) -> Tensor:
    """Of each column the number that is furthest from 0."""
    return gaps.gather(0, gaps.abs().argmax(0, keepdim=True))[0]


def joined(graph: Graph, found: list[Attribution], sources: list[slice]) -> Attribution:
    """Edges of all parts in the order of the graph; costs add, the worst residual stays."""
    first = found[0]
    values = first.values.new_zeros(len(first), len(graph))
    wrong = None if first.error_map is None else values.clone()
    for a, own in zip(found, sources, strict=True):
        mine = (graph.source >= own.start) & (graph.source < own.stop)
        values[:, mine] = a.values
        if wrong is not None:
            wrong[:, mine] = a.error_map
    size = lambda v: v.double().abs().sum(1).cpu()  # noqa: E731
    floor = sum(a.floor * size(a.values) for a in found) / size(values).clamp(min=1e-300)
    costs = {name: sum(getattr(a, name) for a in found) for name in COSTS}
    gaps = [a.residual for a in found if a.residual is not None]
    residual = largest(torch.stack(gaps)) if gaps else None
    rules = zip(*(a.rules for a in found), strict=True)
    run = replace(
        first.run,
        rule=each([a.run.rule for a in found]),
        checks=sum(a.run.checks for a in found),
        notes=tuple(dict.fromkeys(n for a in found for n in a.run.notes)),
    )
    parts = {"residual": residual, "floor": floor, "run": run, "rules": tuple(map(each, rules))}
    return replace(first, **parts, **costs).carried(values, wrong)


def each(rules: Sequence[str]) -> str:
    """The rules of all parts, those that are the same once."""
    return f"{'; '.join(dict.fromkeys(rules))}, for each of {len(rules)} parts"


def named(recipe: Recipe, a: Attribution) -> Attribution:
    """The answer as the question was put, whatever was asked on the way."""
    own = recipe.but(at="embedding", baseline=a.recipe.baseline)
    return replace(a, recipe=own, run=replace(a.run, at="embedding"))

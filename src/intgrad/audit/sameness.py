"""What must not matter: wiring, names of features, units, the rows beside."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.audit.derived import Mixed, Rearranged, Rescaled
from intgrad.audit.explanation import explained
from intgrad.audit.question import Case, Row, check, numbers, relative, starts
from intgrad.audit.twins import Beside, twins


@check
def invariance(row: Row, twins_of_it: Sequence[tuple[str, Any]] | None = None) -> Iterator[Case]:
    r"""Networks equal in all their outputs get equal values; L1 distance relative to the L1 norm.

    Against `twins_of_it`, or the twins that `intgrad.audit.twins` makes: hidden units permuted and
    rescaled, BatchNorm folded, linear layers split and merged, and the paper's pair F - G = 0 added.
    Sundararajan, Taly, Yan 2017, arXiv:1703.01365, section 2.2.
    """
    for name, twin, of_model in _twins(row, twins_of_it):
        if of_model:
            a, b = row.own(), explained(row.explain, twin, row.x, row.target, row.slack)
        else:
            a, b = row.ask(row.score), row.ask(twin)
        off, scale = float((a.values - b.values).abs().sum()), float(torch.maximum(a.size, b.size))
        allowed = float(a.error + b.error) + 2 * row.rounding(row.score)
        where = {"twin": name, "values": a.values[0, :8].tolist(), "its": b.values[0, :8].tolist()}
        yield relative(off, scale, allowed, **where)


def _twins(row: Row, given: Sequence[tuple[str, Any]] | None) -> Iterator[tuple[str, Any, bool]]:
    """(name, twin, whether it stands for the model or for its one number)."""
    if given is not None:
        yield from ((name, twin, True) for name, twin in given)
        return
    if isinstance(row.model, nn.Module):
        for name, twin in twins(row.model, row.generator()):
            score = copy.copy(row.score)
            score._modules = {**score._modules, "model": twin}
            if _equal(row, row.score, score):  # shared weights come apart
                yield name, twin, True
    pair = _of_paper(row)
    if pair is not None:
        yield "the paper's F - G added", pair, False


def _equal(row: Row, f: nn.Module, g: nn.Module) -> bool:
    start = row.start()
    points = torch.cat([row.x, start, (row.x + start) / 2, 1.5 * row.x - 0.5 * start])
    near = torch.finfo(row.x.dtype).eps ** 0.5
    a, b = numbers(f, points), numbers(g, points)
    return bool((a - b).abs().max() <= near * (1 + a.abs().max()))


def _of_paper(row: Row) -> nn.Module | None:
    """The model plus F - G of two features, measured so that x is at (3, 1), as in the paper."""
    start, moved = row.start()[:1], row.features(2)
    if len(moved) < 2:
        return None
    much = abs(row.gain(row.score)) or 1.0
    return Beside(row.score, row.x, start, (moved[0], moved[1]), much)


@check
def symmetry(row: Row) -> Iterator[Case]:
    r"""Features that the model treats alike, equal in x and in the baseline, get equal values.

    Of f plus f with two features exchanged, where they are equal; relative to the L1 norm. Under a
    distribution the two must be exchangeable in it.
    Sundararajan, Taly, Yan 2017, arXiv:1703.01365, definition 3.
    """
    for i, j in _alike(row):
        order = torch.arange(row.x.numel(), device=row.x.device)
        order[[i, j]] = order[[j, i]]
        x = row.x.clone()
        x.flatten(1)[0, j] = x.flatten(1)[0, i]
        other = Rearranged(copy.deepcopy(row.score), order)
        both = Mixed(row.score, other, x.new_ones(2))
        a = row.ask(both, x)
        first, last = (float(a.values[0, k]) for k in (i, j))
        allowed = float(a.error[0]) + row.rounding(both, x)
        scale = max(float(a.size[0]), abs(row.gain(both, x)))
        where = {"features": [i, j], "found": [first, last]}
        yield relative(abs(first - last), scale, allowed, **where)


def _alike(row: Row) -> Iterator[tuple[int, int]]:
    """Two pairs of features that the starts treat alike once x does."""
    order = torch.randperm(row.x.numel(), generator=row.generator()).tolist()
    pairs = [(i, j) for n, i in enumerate(order[:12]) for j in order[n + 1 : n + 8]]
    left = 2
    for i, j in pairs:
        x = row.x.clone()
        x.flatten(1)[0, j] = x.flatten(1)[0, i]
        start = starts(row.baseline, x).flatten(1)
        swapped = start.clone()
        swapped[:, [i, j]] = start[:, [j, i]]
        if _same_rows(start, swapped):
            yield i, j
            left -= 1
        if not left:
            return


def _same_rows(a: Tensor, b: Tensor) -> bool:
    """Whether two sets of rows are one distribution."""
    return sorted(a.tolist()) == sorted(b.tolist())


@check
def scale(row: Row) -> Iterator[Case]:
    r"""In other units of x the values are the same; L1 distance relative to the L1 norm.

    :math:`A(Tx, Tx', f \circ T^{-1}) = A(x, x', f)` for :math:`T z = x' + c (z - x')`, c between 1/2
    and 2 or their negatives, another one a feature. T keeps the baseline, so the method needs no
    other one. Does not apply under a distribution.
    Affine scale invariance: Friedman, Moulin 1999; Lundstrom, Razaviyayn 2025, JMLR 26(177).
    """
    start = row.start()
    if len(start) > 1:
        return
    generator = row.generator()
    for _ in range(2):
        draw = torch.rand(row.x.shape, generator=generator, dtype=torch.float64)
        sign = torch.rand(row.x.shape, generator=generator).sub(0.5).sign()
        factor = (2 ** (2 * draw - 1) * sign).to(row.x)
        x = start + factor * (row.x - start)
        if not torch.equal(row.start(x), start):
            return
        a, b = row.ask(row.score), row.ask(Rescaled(row.score, factor, start), x)
        off, size = float((a.values - b.values).abs().sum()), float(torch.maximum(a.size, b.size))
        allowed = float(a.error + b.error) + 2 * row.rounding(row.score)
        at = int((a.values - b.values).abs().argmax())
        yield relative(off, size, allowed, features=[at], factor=float(factor.flatten()[at]))


@check
def rows_apart(row: Row) -> Iterator[Case]:
    r"""A row's values do not depend on the rows beside it; L1 distance relative to the L1 norm.

    Of x and two points on the way to it and beyond, each asked alone, and all three together. Not an
    axiom of the paper: every axiom is about a function of one row.
    """
    start = row.start()[:1]
    batch = torch.cat([start + s * (row.x - start) for s in (0.5, 1.0, 1.5)])
    if not bool(torch.isfinite(numbers(row.score, batch)).all()):
        batch = batch[:2]
    among = explained(row.explain, row.score, batch, 0, row.slack)
    for k, x in enumerate(batch.split(1)):
        alone = row.ask(row.score, x)
        off = float((alone.values[0] - among.values[k]).abs().sum())
        allowed = float(alone.error[0] + among.error[k]) + row.rounding(row.score, x)
        size = max(float(alone.size[0]), float(among.size[k]))
        yield relative(off, size, allowed, place=k, of=len(batch))

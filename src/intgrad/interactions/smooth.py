r"""Integrated Hessians of smooth models: log-weighted Gauss rules, on panels where one is not enough.

.. math:: \Gamma_{gh} = \int_0^1 (-u \ln u) \, v_g^T H(x' + u d) \, v_h \, du
          + \delta_{gh} \int_0^1 (-\ln u) \, v_g \cdot \nabla f(x' + u d) \, du

where :math:`v_g` is :math:`d = x - x'` on the features of group g and 0 elsewhere. Each integral has
the Gauss rule of its own weight. A row that misses its tolerance gets twice the nodes, then its worst
panels are halved: the weight's singularity stays in the rule of the first, and the others are smooth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from intgrad._types import chunks, like
from intgrad.integral import ATOL
from intgrad.interactions.groups import Groups
from intgrad.interactions.rule import gauss
from intgrad.model.oracle import gradients
from intgrad.path.curve import Curves

HELD = 1 << 24  # numbers that the sums over nodes of one block of curves may hold
DECAYS = 0.5  # null rules that fall by more than this from pair to pair belong to a series that converges


@dataclass(frozen=True)
class Ask:
    """What stays the same from node to node."""

    oracle: object
    curves: Curves
    groups: Groups
    mix: Tensor  # (k, g): the directions

    def at(self, curve: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points, rows and velocities (n, ...)."""
        (start,), (end,) = self.curves.start.take(curve), self.curves.end.take(curve)
        velocity = end - start
        return start + like(u.to(end.device), end) * velocity, self.curves.row[curve], velocity

    def slopes(self, curve: Tensor, u: Tensor) -> Tensor:
        """Directional derivatives by group (n, g)."""
        x, rows, velocity = self.at(curve, u)
        _, (gradient,) = gradients(self.oracle, (x,), rows)  # type: ignore[arg-type]
        return self.groups.read(gradient[0] * velocity).double().cpu()

    def curvatures(self, curve: Tensor, u: Tensor) -> Tensor:
        """Second directional derivatives (n, k, g)."""
        x, rows, velocity = self.at(curve, u)
        hvp = self.oracle.hvp  # type: ignore[attr-defined]
        found = hvp((x,), rows, (velocity,), self.groups.read, self.mix)[1]
        return found.movedim(1, 0).double().cpu()


@dataclass(frozen=True)
class Panels:
    """Columns of panels (p,): curve, from a to b, nodes; and what was found there, once it was.

    `value` and `error` are (p, k, g); `flat` (p, g) is integrated gradients by group.
    """

    curve: Tensor
    a: Tensor
    b: Tensor
    nodes: Tensor
    value: Tensor
    error: Tensor
    flat: Tensor

    @staticmethod
    def planned(curve: Tensor, a: Tensor, b: Tensor, nodes: Tensor) -> Panels:
        """Panels nobody has asked about."""
        none = torch.empty(0)
        return Panels(curve, a, b, nodes, none, none, none)

    def where(self, keep: Tensor) -> Panels:
        """Those that a mask names."""
        return Panels(*(getattr(self, f.name)[keep] for f in fields(self)))

    def and_(self, other: Panels) -> Panels:
        """Both."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Panels(*(torch.cat(pair) for pair in pairs))

    def halved(self) -> Panels:
        """Their halves, with as many nodes each."""
        mid = (self.a + self.b) / 2
        ends = torch.cat([self.a, mid]), torch.cat([mid, self.b])
        return Panels.planned(self.curve.repeat(2), *ends, self.nodes.repeat(2))


@dataclass(frozen=True)
class Sums:
    """What the panels of every row add up to: (r, k, g), (r, k, g), (r, g); and what that cost.

    `nodes` (r,) of each row, and Hessian-vector `products` (r,) there.
    """

    value: Tensor
    error: Tensor
    flat: Tensor
    nodes: Tensor
    products: Tensor

    def of(self, which: Tensor) -> Sums:
        """Only these directions."""
        return replace(self, value=self.value[:, which], error=self.error[:, which])

    def beside(self, other: Sums) -> Sums:
        """The same rows with the directions of another after its own."""
        value, error = (
            torch.cat([self.value, other.value], 1),
            torch.cat([self.error, other.error], 1),
        )
        nodes = torch.maximum(self.nodes, other.nodes)
        return Sums(value, error, self.flat, nodes, self.products + other.products)


@dataclass(frozen=True)
class Until:
    """When to stop.

    Attributes
    ----------
    nodes, most
        Nodes of the first rule on every curve; nodes a curve after which a row is left.
    rtol
        Relative L1 error of a row.
    scale
        (r,): max(|f(x)|, |f(baseline)|).
    gain
        (r,): f(x) - f(baseline), where the values must add up to it.
    """

    nodes: int
    most: int
    rtol: float
    scale: Tensor
    gain: Tensor | None = None

    def met(self, sums: Sums, mix: Tensor, rows: Tensor) -> Tensor:
        """Which of these rows are within the tolerance, by their null rules and by what adds up."""
        gain = None if self.gain is None else self.gain[rows]
        off = judged(sums.value, sums.error, sums.flat @ mix.T, gain)
        norm = sums.value.abs().sum((1, 2))
        return off <= torch.maximum(self.rtol * norm, ATOL * self.scale[rows])


def judged(value: Tensor, wrong: Tensor, expected: Tensor, gain: Tensor | None) -> Tensor:
    """The absolute L1 error of every row (r,): as estimated, or what does not add up if that is more.

    `expected` (r, k) is integrated gradients, to which the second groups add up.
    """
    parts = [wrong.sum((1, 2)), (value.sum(2) - expected).abs().sum(1)]
    parts += [] if gain is None else [(value.sum((1, 2)) - gain).abs()]
    return torch.stack(parts).amax(0)


def integrate(ask: Ask, rows: int, until: Until) -> Sums:
    """Value, error and integrated gradients of every row, each with nodes of its own."""
    width = len(ask.mix) * ask.groups.count
    per_row = -(-len(ask.curves) // rows)
    block = max(1, HELD // (8 * width * per_row))
    parts = [_block(ask, torch.arange(rows)[part], until) for part in chunks(rows, block)]
    return Sums(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Sums)))


def _block(ask: Ask, rows: Tensor, until: Until) -> Sums:
    """The same for some rows, whose panels are all held."""
    own = torch.isin(ask.curves.row, rows).nonzero()[:, 0]
    zeros = torch.zeros(len(own), dtype=torch.float64)
    place = ask.curves.row - rows[0]
    share = torch.bincount(place[own], minlength=len(rows))
    spent = torch.zeros(len(rows), dtype=torch.long)
    todo = Panels.planned(own, zeros, zeros + 1, torch.full_like(own, until.nodes))
    kept: Panels | None = None
    while True:
        spent.index_add_(0, place[todo.curve], todo.nodes)
        fresh = evaluate(ask, todo)
        kept = fresh if kept is None else kept.and_(fresh)
        sums = _summed(kept, place, ask.curves.weight, len(rows), spent)
        open_ = ~until.met(sums, ask.mix, rows) & (spent < until.most * share)
        worst = _worst(kept, place, ask.curves.weight, open_)
        if not bool(worst.any()):
            return sums
        todo, kept = _refined(kept.where(worst), until.nodes), kept.where(~worst)


def _summed(p: Panels, place: Tensor, weight: Tensor, rows: int, spent: Tensor) -> Sums:
    """Panels to rows, by the weight of their curves."""
    own, share = place[p.curve], weight[p.curve]

    def total(part: Tensor) -> Tensor:
        return part.new_zeros(rows, *part.shape[1:]).index_add(0, own, part * like(share, part))

    value, error, flat = total(p.value), total(p.error), total(p.flat)
    return Sums(value, error, flat, spent.clone(), spent * value.shape[1])


def _worst(p: Panels, place: Tensor, weight: Tensor, open_: Tensor) -> Tensor:
    """Of open rows, the panels whose error is at least a quarter of the row's largest."""
    own = place[p.curve]
    size = p.error.sum((1, 2)) * weight[p.curve].abs()
    top = torch.zeros(len(open_), dtype=size.dtype).scatter_reduce(0, own, size, "amax")
    return open_[own] & (size >= top[own] / 4) & (size > 0)


def _refined(p: Panels, first: int) -> Panels:
    """Twice the nodes where a panel had as many as the first rule; halves of the others."""
    few = p.nodes == first
    again = Panels.planned(p.curve[few], p.a[few], p.b[few], 2 * p.nodes[few])
    return again.and_(p.where(~few).halved())


def evaluate(ask: Ask, panels: Panels) -> Panels:
    """Ask the model at the nodes of all panels, and add up: value, error, and integrated gradients.

    Costs n (1 + 2k) + 2n evaluations for a panel of n nodes and k directions.
    """
    curved = _sums(ask, panels, "curvature")
    slope = _sums(ask, panels, "slope")
    flat = _sums(ask, panels, "flat")
    value, error = curved[:, 0], _error(curved[:, 1:], panels.nodes)
    beside = _error(slope[:, 1:, None], panels.nodes)[:, 0]
    value = value + ask.mix * slope[:, :1]
    error = error + ask.mix.abs() * beside[:, None]
    return Panels(panels.curve, panels.a, panels.b, panels.nodes, value, error, flat[:, 0])


def _error(nulls: Tensor, nodes: Tensor) -> Tensor:
    """Error of every number, from null rules (p, 4, k, g) of falling degree.

    The two highest are as large as the series' coefficients about degree n; a Gauss rule errs by
    those about degree 2n. Where a pair is less than half the pair below it, the series converges, and
    the estimate goes half that way: it falls by the ratio of the pairs, n / 4 times.
    """
    high = nulls[:, :2].square().sum(1).sqrt()
    low = nulls[:, 2:].square().sum(1).sqrt()
    ratio = high.sum((1, 2)) / low.sum((1, 2))
    falls = torch.where(ratio < DECAYS, ratio ** (nodes / 4), 1.0)
    return high * falls[:, None, None]


def _sums(ask: Ask, panels: Panels, kind: str) -> Tensor:
    """Weighted sums over the nodes of every panel, by the rule and its null rules: (p, 5, ...)."""
    rules = [
        gauss(kind, n, a, b)
        for n, a, b in zip(panels.nodes.tolist(), panels.a.tolist(), panels.b.tolist(), strict=True)
    ]
    panel = torch.repeat_interleave(torch.arange(len(rules)), panels.nodes)
    u = torch.cat([r.nodes for r in rules])
    columns = torch.cat([torch.cat([r.weights[:, None], r.nulls], 1) for r in rules])
    found: Tensor | None = None
    for part in _batches(ask, kind, len(u)):
        question = ask.curvatures if kind == "curvature" else ask.slopes
        each = question(panels.curve[panel[part]], u[part])
        if found is None:
            found = each.new_zeros(len(rules), 5, *each.shape[1:])
        for i in range(5):
            found[:, i].index_add_(0, panel[part], each * like(columns[part, i], each))
    assert found is not None
    return found


def _batches(ask: Ask, kind: str, n: int) -> Iterator[slice]:
    numbers = ask.groups.count * (len(ask.mix) if kind == "curvature" else 1)
    features = len(ask.groups.labels)
    return chunks(n, max(1, min(4096, HELD // 4 // max(numbers, features))))

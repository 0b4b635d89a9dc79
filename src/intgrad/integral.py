"""`LineIntegral`: what a quadrature sees. Units of work in, weighted sums out, in bounded memory.

A quadrature chooses nodes (curve, t, weight) or panels (curve, a, b); it knows nothing of models,
targets, paths or locations. Everything that scales (batching, many baselines, adaptivity a row,
several machines) is a slice of a list of such units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from intgrad._types import Point, chunks, each_target, magnitude
from intgrad.errors import ModelError
from intgrad.integrand import Integrand, NodeWork, PanelWork, contributions
from intgrad.model.oracle import Oracle, values
from intgrad.path.curve import Bank, Curves, Path, go
from intgrad.sums import add_in_order, along, behind, heights
from intgrad.units import Edges, Nodes, Panels

_TINY = torch.finfo(torch.float64).tiny
ATOL = 1e-6  # of max(|f(x)|, |f(baseline)|): an error below it is converged whatever the norm
ROUNDING = 64  # units in the last place; chosen beside float64, see benchmarks/floor.py
LEAST = 4  # units in the last place: no floor is measured smaller


@dataclass
class Witness:
    """The largest contribution seen of each row, kept to measure what rounding does to it.

    It was made at `t`, or by the panel from `t` to `end`. `mass` (T, rows) sums the weighted norms
    of all contributions.
    """

    norm: Tensor
    curve: Tensor
    t: Tensor
    end: Tensor
    mass: Tensor
    value: Point | None = None


@dataclass(frozen=True)
class LineIntegral:
    """The integrals of `integrand` along `curves`, summed to rows.

    Parameters
    ----------
    oracle
        Who is asked. Its ``width``, if it has one, bounds the points held at a time.
    curves, path
        Where the points are.
    rows
        How many examples the curves belong to.
    watch
        Whether to keep a witness for the floor (not while gradients flow through the sums).
    gain, scale
        f(x) - f(baseline) and the larger of |f(x)|, |f(baseline)|: (T, rows) in float64, where they
        are known. A rule that stops by itself reads them; `gain` is None where completeness does
        not apply.
    output
        The dtype of the model's output, where it is known.
    gains
        f(end) - f(start) of every curve, unweighted: (T, curves) in float64. None where `gain` is,
        and where some end was never asked, such as the inner knots of a polyline.
    """

    oracle: Oracle
    curves: Curves
    path: Path
    integrand: Integrand
    rows: int
    watch: bool = True
    gain: Tensor | None = None
    scale: Tensor | None = None
    output: torch.dtype | None = None
    gains: Tensor | None = None
    witness: Witness = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        zeros = torch.zeros(self.rows, dtype=torch.float64)
        start = zeros - 1, zeros.long(), zeros.clone(), zeros.clone(), zeros[None].clone()
        object.__setattr__(self, "witness", Witness(*start))

    @property
    def by_panel(self) -> bool:
        """Whether the units of this integrand are panels."""
        return self.integrand.unit == "panel"

    def through(self, oracle: Oracle) -> LineIntegral:
        """The same integral, asked through another oracle, with one witness for both."""
        other = replace(self, oracle=oracle)
        object.__setattr__(other, "witness", self.witness)
        return other

    @property
    def dtype(self) -> torch.dtype:
        """The coarsest of the points' and of the output's (autocast computes in another)."""
        known = [p.dtype for p in self.curves.end.points]
        if self.output is not None and self.output.is_floating_point:
            known.append(self.output)
        return max(known, key=lambda d: torch.finfo(d).eps)

    def slack(self, targets: int) -> Tensor:
        """The absolute error that counts as none: (targets, rows)."""
        if self.scale is None:
            return torch.zeros(targets, self.rows, dtype=torch.float64)
        return (ATOL * self.scale).cpu()

    def sums(self, nodes: Nodes) -> Point:
        """Weighted sums over nodes, in their order: (k, T, rows, ...), one for each weight column.

        Memory does not grow with the number of nodes. Costs one gradient a node and target.
        """
        return self._sum(self._node_work(nodes, weighted=True))

    def moments(self, nodes: Nodes, about: Tensor) -> tuple[Point, Point, Point]:
        """`sums`, and what a regression of the contributions on their own totals needs.

        With c a contribution without its curve's weight, h its sum over all features and
        d = h - about, a node adds its weights times (c, c d, d, d^2), each times the curve's weight.

        Parameters
        ----------
        about
            (T, rows): about where h is centred.

        Returns
        -------
        sums, products, spread
            Like `sums`; like `sums`; and two tensors (k, T, rows) in float64.
        """
        found = self._sum(self._with_products(nodes, about))
        size = len(found) // 2 - 1
        return found[:size], found[size:-2], found[-2:]

    def each(self, nodes: Nodes) -> Point:
        """The contributions themselves (T, n, ...), unweighted but for their curves' weights."""
        parts = [contribution for contribution, *_ in self._node_work(nodes)]
        return tuple(torch.cat(c, 1) for c in zip(*parts, strict=True))

    def sum_panels(self, panels: Panels) -> Point:
        """Sum of the panels' contributions: (1, T, rows, ...)."""
        return self._sum(self._panel_work(panels))

    def each_panel(self, panels: Panels) -> Point:
        """The panels' contributions (T, p, ...)."""
        parts = [contribution for contribution, *_ in self._panel_work(panels)]
        return tuple(torch.cat(c, 1) for c in zip(*parts, strict=True))

    def values(self, points: Bank, rows: Tensor) -> Tensor:
        """F at the points of a bank, (T, n), in calls of the oracle's width. A forward each."""
        every = torch.arange(len(rows))
        parts = chunks(len(rows), self._width())
        return torch.cat([values(self.oracle, points.take(every[p]), rows[p]) for p in parts], 1)

    def floor(self, value: Point) -> Tensor:
        """What rounding does to `value` (T, rows, ...), relative to its L1 norm: (T, rows).

        Rounding inside a model acts like a shift of its input by some `ROUNDING` units in the last
        place; where kinks are near, gradients jump. The largest node of every row is asked again
        after a shift 64 times as far, so that the count of jumps is not left to luck, and the
        change is scaled back, then multiplied by the row's mass (how far contributions cancel in
        the sum). Costs one gradient a row. It tells what to expect where kinks are near, so a row
        that met none by luck has suffered far less; `benchmarks/floor.py` sets it beside float64.
        """
        norm = each_target(value, magnitude)
        eps = torch.finfo(self.dtype).eps
        moved = torch.full_like(norm, LEAST * eps)
        if self.witness.value is not None:
            moved = torch.maximum(moved, self._moved(self.witness, eps).to(norm.device))
        mass = torch.where(self.witness.mass > 0, self.witness.mass, norm.cpu()).to(norm.device)
        return torch.where(norm > 0, moved * mass / norm.clamp(min=_TINY), 0.0)

    def _moved(self, witness: Witness, eps: float) -> Tensor:
        """Relative change (T, rows) of the witnesses under a shift of rounding size."""
        assert witness.value is not None
        shift = min(64 * ROUNDING * eps, 1 / 64)
        a, b = (
            torch.where(witness.end > 0.5, t - shift, t + shift) for t in (witness.t, witness.end)
        )
        alone = replace(self, watch=False)
        if self.by_panel:
            again = alone.each_panel(Panels(witness.curve, a.clamp(0, 1), b.clamp(0, 1)))
        else:
            again = alone.each(Nodes(witness.curve, b, torch.ones(self.rows, 1)))
        change = tuple(a - b for a, b in zip(again, witness.value, strict=True))
        moved = each_target(change, magnitude)
        norm = each_target(witness.value, magnitude).clamp(min=_TINY)
        return moved / norm * min(1.0, ROUNDING * eps / shift)

    def weigh(self, mass: Tensor, rows: Tensor) -> None:
        """Add weighted norms (T, n) of contributions to the mass of their rows (n,)."""
        if len(self.witness.mass) != len(mass):
            self.witness.mass = self.witness.mass.expand(len(mass), -1).clone()
        self.witness.mass.index_add_(1, rows, mass)

    # ------------------------------------------------------------------ units, call by call

    def _node_work(
        self, nodes: Nodes, weighted: bool = False
    ) -> Iterator[tuple[Point, Tensor, Tensor]]:
        start = 0
        while start < len(nodes):
            part = slice(start, min(start + self._width(), len(nodes)))
            start = part.stop
            curve, t = nodes.curve[part], nodes.t[part]
            rows = self.curves.row[curve]
            x, velocity = go(self.path, t, self.curves, curve)
            work = NodeWork(x, rows, velocity)
            found = contributions(self.integrand, self.oracle, work, partial(self._speak, curve))
            norm = self._norm(found, rows, t)
            if self.watch:
                self._remember(found, Panels(curve, t, t), rows, norm)
                if weighted:
                    self.weigh(norm * nodes.weight[part, 0].abs(), rows)
            yield found, rows, nodes.weight[part]

    def _with_products(self, nodes: Nodes, about: Tensor) -> Iterator[tuple[Point, Tensor, Tensor]]:
        start = 0
        for found, rows, weight in self._node_work(nodes, weighted=True):
            share = self.curves.weight[nodes.curve[start : start + len(rows)]].to(found[0].device)
            start += len(rows)
            d = heights(found) / share - about[:, rows.to(about.device)].to(share)
            products = tuple(f * behind(d, f) for f in found)
            yield (*found, *products, d * share, d * d * share), rows, weight

    def _panel_work(self, panels: Panels) -> Iterator[tuple[Point, Tensor, Tensor]]:
        start = 0
        while start < len(panels):
            points = Edges.of(panels, start, self._width("panel_width"))
            part = slice(start, start + len(points.first))
            start = part.stop
            rows = self.curves.row[points.curve]
            x, _ = go(self.path, points.t, self.curves, points.curve)
            work = PanelWork(x, rows, points.first, points.second)
            own = Panels(panels.curve[part], panels.a[part], panels.b[part])
            speak = partial(self._speak, own.curve)
            found = contributions(self.integrand, self.oracle, work, speak)
            rows = rows[points.first]
            norm = self._norm(found, rows, own.a)
            if self.watch:
                self._remember(found, own, rows, norm)
            yield found, rows, torch.ones(len(own), 1, dtype=torch.float64)

    def _width(self, kind: str = "width") -> int:
        return getattr(self.oracle, kind, 0) or getattr(self.oracle, "width", 0) or 64

    def _speak(self, curve: Tensor, found: Point) -> Point:
        """Weigh contributions by their curves, and keep what the curves speak for."""
        weight, mask = self.curves.weight[curve], self.curves.mask
        if not bool((weight == 1).all()):
            found = tuple(f * along(weight, f) for f in found)
        if mask is not None:
            found = tuple(f * m for f, m in zip(found, mask.take(curve), strict=True))
        return found

    def _norm(self, found: Point, rows: Tensor, t: Tensor) -> Tensor:
        """L1 norms (T, n) of contributions; what is not finite is refused by row and node."""
        norms = [f.detach().reshape(*f.shape[:2], -1).norm(p=1, dim=2).double() for f in found]
        norm = torch.stack(norms).sum(0).cpu()
        if not bool(torch.isfinite(norm).all()):
            i = int((~torch.isfinite(norm)).any(0).nonzero()[0])
            raise ModelError(
                f"the gradient of row {int(rows[i])} holds NaN or infinity at t = {float(t[i]):.4g} "
                f"of its path. Look at the model there: sqrt or log at 0, or an overflow."
            )
        return norm

    def _remember(self, found: Point, units: Panels, rows: Tensor, norms: Tensor) -> None:
        w, norm = self.witness, norms.sum(0)
        best = w.norm.scatter_reduce(0, rows, norm, "amax")
        new = ((norm == best[rows]) & (norm > w.norm[rows])).nonzero()[:, 0]
        if not len(new):
            return
        if w.value is None:
            w.value = tuple(f.new_zeros(f.shape[0], self.rows, *f.shape[2:]) for f in found)
        w.norm, where = best, rows[new]
        w.curve[where], w.t[where], w.end[where] = units.curve[new], units.a[new], units.b[new]
        for kept, f in zip(w.value, found, strict=True):
            kept[:, where.to(f.device)] = f[:, new.to(f.device)]

    def _sum(self, work: Iterator[tuple[Point, Tensor, Tensor]]) -> Point:
        total: list[Tensor] | None = None
        for found, rows, weight in work:
            if total is None:
                shapes = [(weight.shape[1], f.shape[0], self.rows, *f.shape[2:]) for f in found]
                total = [f.new_zeros(s) for f, s in zip(found, shapes, strict=True)]
            for sum_, f in zip(total, found, strict=True):
                add_in_order(sum_, f, rows, weight)
        if total is None:
            raise ValueError("a quadrature chose no nodes; expected at least one a curve.")
        return tuple(total)

"""Panel-averaged backpropagation: of second order on kinks, where pointwise rules are of first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Point, each_target, magnitude, total, whole_number
from intgrad.errors import Unsupported
from intgrad.integral import LineIntegral
from intgrad.model.oracle import ability
from intgrad.quadrature.adaptive import Adaptive
from intgrad.quadrature.leaves import Leaves, ask, edges, gather, groups, grow
from intgrad.quadrature.rule import Estimate, redo
from intgrad.units import Panels

BUDGET = 1 << 30  # bytes for the open panels of the rows in flight
TYPICAL = 128  # panels a row, on which the number of rows in flight is based


@dataclass(frozen=True)
class PanelAveraged:
    r"""Gradients averaged over panels by the model itself, times the panels' increments.

    .. math:: A_i = \sum_p \bar\partial_i f(p) \, (\gamma_i(b_p) - \gamma_i(a_p))

    One backward pass in which everything that is not linear uses its derivative averaged over the
    panel, its input taken to move straight. A single kink in a panel is then no error; pairs of
    them are: order 1.3 to 2, where Gauss, Simpson and Riemann rules have order 1. One panel is
    DeepLIFT's rescale rule (arXiv:1704.02685); the sum is complete to rounding at any number.

    Parameters
    ----------
    panels
        Equal panels a curve. None, the default: panels are halved, row by row, where the halves
        differ from the whole, until the error meets `rtol`.
    rtol
        Relative L1 error that counts as converged.
    max_evaluations
        Gradients a row, those of each target counted, after which the self-stopping form gives up.

    Notes
    -----
    Costs one gradient for each edge: n + 1 for n panels in a row, and, for an even n, half as many
    again for the coarser panels that the error comes from (NaN for an odd n). In the self-stopping
    form the error is the root of the sum of squares of the panels' differences to their halves,
    times 0.6 + 2 / sqrt(N), N being the number of panels that share it: few panels scatter.

    Completeness says nothing of the error here. It says whether everything in the model was
    averaged: a row whose residual is above 1e-5 of its L1 norm (1e-6 in float64) goes to
    `Adaptive`, and the certificate says so. The estimate lies when a panel and its halves miss the
    same feature: two kinks of one unit inside a fraction of a panel.
    """

    panels: int | None = None
    rtol: float = 1e-2
    max_evaluations: int = 2000

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Value and error of every row."""
        whole_number(self.max_evaluations, "max_evaluations", 1)
        if integral.by_panel and getattr(integral.integrand, "order", 0) >= 2:
            return self._own(integral)
        averaged = averaging(integral)
        seen = coverage_of(averaged)
        if seen is not None and seen.reason:
            return self._pointwise(integral, seen.reason)
        try:
            done = self._adapt(averaged) if self.panels is None else self._fixed(averaged)
        except Unsupported:
            if seen is None or not seen.reason:  # what the probe had not shown
                raise
            return self._pointwise(integral, seen.reason)
        missed = uncovered(averaged, done.value)
        if not bool(missed.any()):
            return done
        why = blame(integral.oracle)
        return redo(integral, missed, lambda some: self._pointwise(some, why), done)

    def _own(self, integral: LineIntegral) -> Estimate:
        """Panels of an integrand that has a rule of its own for them, of second order."""
        done = self._adapt(integral) if self.panels is None else self._fixed(integral)
        name = type(getattr(integral.integrand, "of", integral.integrand)).__name__
        rename = lambda rule: rule.replace("panel-averaged", name)  # noqa: E731
        return replace(
            done, rule=rename(done.rule), chosen=tuple(rename(rule) for rule in done.chosen)
        )

    def _fixed(self, integral: LineIntegral) -> Estimate:
        n = whole_number(self.panels, "panels", 1)
        value = tuple(s[0] for s in integral.sum_panels(equal(integral, n)))
        wrong: Point = tuple(torch.full_like(v, torch.nan) for v in value)
        if n % 2 == 0:
            coarse = integral.sum_panels(equal(integral, n // 2))
            wrong = tuple((v - c[0]).abs() for v, c in zip(value, coarse, strict=True))
        return Estimate(value, wrong, self.rtol, f"panel-averaged, {n} panels a curve")

    def _adapt(self, integral: LineIntegral) -> Estimate:
        rows: dict[int, Leaves] = {}
        sizes: dict[int, int] = {}
        values: dict[int, Point] = {}
        errors: dict[int, Point] = {}
        for group in groups(integral, TYPICAL, BUDGET):
            rows = self._halve(integral, group)
            sizes |= {row: len(leaves) for row, leaves in rows.items()}
            values |= {row: leaves.sum() for row, leaves in rows.items()}
            errors |= {row: leaves.error() for row, leaves in rows.items()}
        few, many = min(sizes.values()), max(sizes.values())
        rule = f"panel-averaged, {few} to {many} panels a row"
        chosen = tuple(f"panel-averaged, {sizes.get(r, 0)} panels" for r in range(integral.rows))
        count = integral.rows
        return Estimate(gather(values, count), gather(errors, count), self.rtol, rule, chosen)

    def _halve(self, integral: LineIntegral, group: list[int]) -> dict[int, Leaves]:
        """Halve panels of these rows, all in shared calls, until each is done or out of budget."""
        rows = begin(integral, group)
        live = list(group)
        grow(integral, rows, {row: torch.arange(len(rows[row])) for row in live})
        while live:
            picks = {}
            for row in live:
                tolerance = self._tolerance(integral, row, rows[row])
                if rows[row].excess(tolerance) > 1:
                    picks[row] = rows[row].worst(tolerance)
            targets = len(rows[live[0]].value[0])
            live = [
                row
                for row, which in picks.items()
                if targets * (rows[row].spent + edges(rows[row].halves(which)))
                <= self.max_evaluations
            ]
            if live:
                grow(integral, rows, {row: picks[row] for row in live})
        return rows

    def _tolerance(self, integral: LineIntegral, row: int, leaves: Leaves) -> Tensor:
        """The absolute error that is allowed, (T,)."""
        norm = each_target(leaves.sum(), magnitude)[:, 0].cpu()
        return torch.maximum(self.rtol * norm, integral.slack(len(norm))[:, row])

    def _pointwise(self, integral: LineIntegral, reason: str) -> Estimate:
        """The same tolerance by pointwise gradients, saying why."""
        found = Adaptive(self.rtol, self.max_evaluations)(integral)
        told = tuple(
            f"{rule}, not panel-averaged: {reason}" for rule in found.row_rules(integral.rows)
        )
        return replace(found, rule=f"{found.rule}, not panel-averaged: {reason}", chosen=told)


def averaging(integral: LineIntegral) -> LineIntegral:
    """The same integral with its gradients averaged over panels.

    Raises
    ------
    Unsupported
        The integrand has no such form.
    """
    form = getattr(integral.integrand, "averaged", None)
    if form is None:
        raise Unsupported(
            f"{type(integral.integrand).__name__} has no panel-averaged form; expected an integrand such "
            f"as GradientVelocity. Use {'ig.LeftRiemann(50)' if integral.by_panel else 'ig.Adaptive()'}."
        )
    ability(integral.oracle, "panels")
    return replace(integral, integrand=form)


def coverage_of(integral: LineIntegral) -> Any:
    """What the oracle knows of the model's operations; None where it is not one that looks."""
    probe = getattr(integral.oracle, "covered", None)
    if probe is None:
        return None
    first = torch.arange(1)
    return probe(integral.curves.end.take(first), integral.curves.row[first])


def blame(oracle: Any) -> str:
    """What the residual shows, by name where an operation is known."""
    names = sorted(getattr(getattr(oracle, "coverage", None), "uncovered", ()))
    known = ", ".join(names) or "a jump, or an operation that is not averaged"
    return f"its residual shows {known}"


def uncovered(integral: LineIntegral, value: Point) -> Tensor:
    """Rows (rows,) whose residual shows that something was not averaged."""
    lost = getattr(integral.integrand, "lost", None)
    if integral.gain is None and lost is None:
        return torch.zeros(integral.rows, dtype=torch.bool)
    eps = max(torch.finfo(p.dtype).eps for p in integral.curves.end.points)
    share = max(100 * eps, 1e-6)  # 1e-6 in float64, 1.2e-5 in float32
    if integral.gain is not None:
        residual = (each_target(value, total).cpu() - integral.gain.cpu()).abs()
    else:
        residual = lost(value).cpu().abs()  # type: ignore[misc]
    allowed = share * each_target(value, magnitude).cpu()
    if integral.scale is not None:
        allowed = allowed + 64 * eps * integral.scale.cpu()
    return (residual > allowed).any(0)


def equal(integral: LineIntegral, n: int) -> Panels:
    """N equal panels on every curve."""
    leaves = Leaves.equal(torch.arange(len(integral.curves)), n)
    return Panels(leaves.curve, leaves.a, leaves.b)


def begin(integral: LineIntegral, group: list[int]) -> dict[int, Leaves]:
    """Equal panels for each row: four on a single curve, fewer on each of many; twice where it bends."""
    rows = {}
    bends = 1 if getattr(integral.path, "straight", False) else 2
    for row in group:
        own = (integral.curves.row == row).nonzero()[:, 0]
        rows[row] = Leaves.equal(own, bends * (4 if len(own) == 1 else 2 if len(own) <= 4 else 1))
    panels = {row: Panels(v.curve, v.a, v.b) for row, v in rows.items()}
    found = ask(integral, panels)
    return {
        row: replace(leaves, value=found[row], spent=edges(panels[row]))
        for row, leaves in rows.items()
    }

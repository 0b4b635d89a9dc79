"""The default rule: given a tolerance, the cheapest rule that knows its own error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from intgrad.integral import LineIntegral
from intgrad.quadrature.adaptive import Adaptive
from intgrad.quadrature.gauss import GaussLegendre
from intgrad.quadrature.montecarlo import Lattice
from intgrad.quadrature.panel import PanelAveraged, coverage_of
from intgrad.quadrature.patterson import Patterson, excess
from intgrad.quadrature.rule import Estimate, redo
from intgrad.quadrature.tolerance import explicit

FIXED = 48  # Gauss points where gradients flow through the rule itself
MANY = 32  # curves a row, from which sampling them is cheaper than following each
LOOSE = 5e-2  # the tolerance of a sampled mean, where nobody named one


@dataclass(frozen=True)
class Automatic:
    """Chooses by what the model is made of; the certificate says what and why.

    ====================================  ============================================
    the model, seen by its operations     the rule
    ====================================  ============================================
    some have kinks, all can be averaged  `PanelAveraged`
    none has a kink, straight paths       7 Gauss-Patterson points, up to 63 where those do
                                          not meet the tolerance; then `Adaptive`
    none has a kink, other paths          `Adaptive`
    some cannot be seen into              `Adaptive`
    ====================================  ============================================

    Baselines that are a distribution, or more than 32 a row, are sampled by a `Lattice`, to 5 %
    unless a tolerance is named.

    Parameters
    ----------
    rtol
        Relative L1 error that counts as converged.
    max_evaluations
        Gradients a row, those of each target counted, after which it gives up.

    Notes
    -----
    Looking at the operations costs five bare forwards a call, counted as checks. Where gradients
    must flow through the attribution (``differentiable=True``) it is `GaussLegendre` with 48 points.
    The estimate lies where that of the chosen rule does; Gauss points on a smooth curve are
    accepted only if the residual is within the tolerance too.
    """

    rtol: float = 1e-2
    max_evaluations: int = 2000
    samples_baselines: ClassVar[bool] = True

    @property
    def baselines(self) -> int:
        """How many draws a distribution should give."""
        return self._lattice().baselines

    def _lattice(self) -> Lattice:
        rtol = explicit(self)
        return Lattice(rtol=LOOSE if rtol is None else rtol, max_evaluations=self.max_evaluations)

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Value and error of every row."""
        if not integral.by_panel and crowded(integral):
            return self._lattice()(integral)
        if getattr(integral.oracle, "differentiable", False):
            return GaussLegendre(FIXED, self.rtol)(integral)
        panels = PanelAveraged(None, self.rtol, self.max_evaluations)
        simpson = Adaptive(self.rtol, self.max_evaluations)
        if integral.by_panel:
            return panels(integral)
        seen = coverage_of(integral)
        if seen is None or seen.reason:
            found = simpson(integral)
            return found if seen is None else noted(found, seen.reason)
        if not seen.kinks:
            return self._smooth(integral, simpson)
        kinks = f"kinks of {', '.join(sorted(seen.kinks)[:3])}"
        rule = panels if hasattr(integral.integrand, "averaged") else simpson
        return noted(rule(integral), kinks)

    def _smooth(self, integral: LineIntegral, simpson: Adaptive) -> Estimate:
        """Nested Gauss points, as few as do; what they cannot settle goes to the adaptive rule.

        A path that is not straight may bend where it likes: Simpson's panels find such places.
        """
        if not getattr(integral.path, "straight", False):
            return noted(simpson(integral), "no operation has a kink, the path may")
        done = noted(Patterson(rtol=self.rtol)(integral), "no operation has a kink")
        return redo(integral, excess(integral, done) > 1, simpson, done)


def crowded(integral: LineIntegral) -> bool:
    """Whether rows have too many curves to follow each, or curves drawn from a population."""
    curves = integral.curves
    if curves.chain or curves.mask is not None:
        return False  # each is wanted, not their mean
    return curves.drawn or int(torch.bincount(curves.row, minlength=1).max()) > MANY


def noted(estimate: Estimate, why: str) -> Estimate:
    """The same estimate, its rule followed by the reason for it."""
    chosen = tuple(f"{rule} ({why})" for rule in estimate.chosen)
    return replace(estimate, rule=f"{estimate.rule} ({why})", chosen=chosen)

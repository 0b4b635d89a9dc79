"""Gauss-Legendre: spectrally accurate on smooth curves, first order (like every rule) on kinks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.errors import Unsupported
from intgrad.integral import LineIntegral
from intgrad.quadrature.rule import Estimate, estimate, merge, relative


@dataclass(frozen=True)
class GaussLegendre:
    r"""`nodes` Gauss-Legendre points on every curve, with an error from null rules.

    .. math:: Q = \sum_j w_j f(t_j), \qquad
              E^2 = \sum_{k=n-2}^{n-1} \Big(\sum_j u_{jk} f(t_j)\Big)^2

    where u are the weights times the two highest Legendre polynomials the nodes can tell apart,
    scaled to the Euclidean length of w. On polynomials of degree below n - 2 the null rules are 0;
    a jump of the gradient moves them as much as it moves Q (Berntsen and Espelid,
    doi:10.1145/103147.103154). The error costs no evaluation.

    Parameters
    ----------
    nodes
        Evaluations a curve.
    rtol
        Relative L1 error that counts as converged.
    max_nodes
        Rows that miss `rtol` are done again with twice the nodes, up to so many. Each round is
        paid anew (Gauss points do not nest). By default there is one round.

    Notes
    -----
    The estimate lies when a feature of the curve falls between all nodes: a step narrower than
    about 1/nodes that no node sees. The residual shows that, and enters the certificate's error
    from below.
    """

    nodes: int = 48
    rtol: float = 1e-2
    max_nodes: int | None = None

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Value and error of every row. Costs `nodes` gradients a curve."""
        whole_number(self.nodes, "nodes", 1)
        if integral.by_panel:
            raise Unsupported(
                f"{type(integral.integrand).__name__} contributes panel by panel, and Gauss points "
                f"cut no panels. Use a Riemann rule, such as ig.LeftRiemann({self.nodes})."
            )
        t, weight, null = tables(self.nodes)
        value, error = estimate(integral, t, weight, null)
        rule = f"Gauss-Legendre, {self.nodes} nodes a curve"
        done = Estimate(value, error, self.rtol, rule)
        if self.max_nodes is None or 2 * self.nodes > self.max_nodes:
            return done
        return self._again(integral, done)

    def _again(self, integral: LineIntegral, done: Estimate) -> Estimate:
        """Repeat the rows that miss the tolerance with twice the nodes."""
        assert done.error_map is not None
        missed = ~(relative(done.value, done.error_map) <= self.rtol).all(0).cpu()
        if not bool(missed.any()):
            return done
        keep = missed[integral.curves.row].nonzero()[:, 0]
        some = replace(integral, curves=integral.curves.where(keep), gains=None)
        finer = replace(self, nodes=2 * self.nodes)(some)
        doubled = f"{done.rule}; doubled for rows above the tolerance"
        return replace(merge(missed, finer, done), rule=doubled)


@cache
def tables(nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes (n,) and weights (n,) on [0, 1], and two null rules (n, 2); NaN where n < 3.

    Newton's method on the Legendre polynomial, in memory of order n: a matrix of n x n, as in the
    eigenvalue method, would be the largest thing a call with thousands of nodes holds.
    """
    x = torch.cos(
        torch.pi * (torch.arange(nodes, 0, -1, dtype=torch.float64) - 0.25) / (nodes + 0.5)
    )
    for _ in range(8):
        last, before, _ = legendre(nodes, x)
        x = x - last * (x * x - 1) / (nodes * (x * last - before))
    _, before, earlier = legendre(nodes, x)
    weight = (1 - x * x) / (nodes * before).square()
    null = weight[:, None] * torch.stack([earlier, before], 1)
    null = null * weight.norm() / null.norm(dim=0)
    unknown = torch.full_like(null, torch.nan)
    return (x + 1) / 2, weight / weight.sum(), unknown if nodes < 3 else null


def legendre(n: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The Legendre polynomials of degrees n, n - 1 and n - 2 at x, by their recurrence."""
    last, before, earlier = x, torch.ones_like(x), torch.zeros_like(x)
    for k in range(1, n):
        last, before, earlier = ((2 * k + 1) * x * last - k * before) / (k + 1), last, before
    return last, before, earlier

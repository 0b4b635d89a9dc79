r"""Gauss rules for the weights :math:`-u \ln u` and :math:`-\ln u`, on [0, 1] and on pieces of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from intgrad.quadrature.gauss import tables

WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "curvature": lambda u: -u * u.log(),
    "slope": lambda u: -u.log(),
    "flat": torch.ones_like,
}
GRADED = 64  # pieces, each half as long as the last, towards the singularity at 0
INNER = 96  # Gauss-Legendre points in each: exact far beyond the degrees that 64 nodes need


class Rule(NamedTuple):
    """Nodes (n,), weights (n,) and four null rules (n, 4), that of the highest degree first."""

    nodes: Tensor
    weights: Tensor
    nulls: Tensor


@cache
def gauss(kind: str, n: int, a: float = 0.0, b: float = 1.0) -> Rule:
    r"""The n-point Gauss rule of a weight on [a, b].

    Parameters
    ----------
    kind
        ``"curvature"``: :math:`-u \ln u`; ``"slope"``: :math:`-\ln u`; ``"flat"``: 1.

    Notes
    -----
    Exact for polynomials of degree 2n - 1. The weight is replaced by a fine discrete measure
    (Gauss-Legendre on pieces that halve towards 0), whose recurrence Stieltjes' procedure finds
    without cancellation; nodes and weights are then eigenvalues and first components of eigenvectors
    of its Jacobi matrix (Golub and Welsch 1969, doi:10.2307/2004418; Gautschi 2004, section 2.2).
    Moments agree with their closed forms to 1e-13 for n up to 64.

    A null rule is the weights times an orthogonal polynomial of degree n - 1 to n - 4, scaled to
    the Euclidean length of the weights: 0 on polynomials of lower degree.
    """
    points, mass = measure(kind, a, b)
    centre, square = stieltjes((2 * points - a - b) / (b - a), mass, n)
    beside = square[1:].sqrt()
    jacobi = torch.diag(centre) + torch.diag(beside, 1) + torch.diag(beside, -1)
    x, vectors = torch.linalg.eigh(jacobi)
    weights = square[0] * vectors[0].square()
    nulls = torch.full((n, 4), torch.nan, dtype=torch.float64)
    for i, k in enumerate(range(n - 1, max(n - 5, 0), -1)):
        own = vectors[0] * vectors[k]
        nulls[:, i] = own * weights.norm() / own.norm()
    return Rule((a + b) / 2 + (b - a) / 2 * x, weights, nulls)


def measure(kind: str, a: float, b: float) -> tuple[Tensor, Tensor]:
    """Many points on [a, b] and their masks of the weight: a discrete measure with its moments."""
    t, share, _ = tables(INNER)
    ends = [b - a, *((b - a) * 0.5**k for k in range(1, GRADED))] if a == 0 else [b - a]
    edges = torch.tensor([0.0, *reversed(ends)], dtype=torch.float64)
    width = edges.diff()[:, None]
    points = (a + edges[:-1, None] + width * t).flatten()
    return points, (width * share).flatten() * WEIGHTS[kind](points)


def stieltjes(x: Tensor, mass: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Coefficients of the three-term recurrence of a discrete measure: alpha (n,), beta (n,)."""
    total = mass.sum()
    before, last = torch.zeros_like(x), torch.ones_like(x) / total.sqrt()
    centre, square = [], [total]
    for _ in range(n):
        centre.append((mass * x * last * last).sum())
        rest = (x - centre[-1]) * last - (square[-1].sqrt() if len(centre) > 1 else 0.0) * before
        square.append((mass * rest * rest).sum())
        before, last = last, rest / square[-1].sqrt()
    return torch.stack(centre), torch.stack(square[:n])

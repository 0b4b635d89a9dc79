"""Gauss-Patterson: each rule keeps all nodes of the one before, so that asking again is half paid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from intgrad._types import Point, each_target, magnitude, total
from intgrad.errors import InputError, Unsupported
from intgrad.integral import LineIntegral
from intgrad.quadrature.rule import Estimate, merge, same_nodes

SIZES = (7, 15, 31, 63)
FAR = 1000  # times the tolerance: no doubling of 7 nodes makes up for that
NEAR = 10  # times the tolerance: what the next size promises to be within, or it is not asked
NULLS = 2  # null rules of each size


@dataclass(frozen=True)
class Patterson:
    r"""7 nodes on every curve, then 15, 31 and 63 for the rows that need them, none asked twice.

    .. math:: Q_m = \sum_{j \le m} w^{(m)}_j f(t_j), \qquad
              E_m^2 = \sum_{k=m-2}^{m-1} \Big(\sum_j u^{(m)}_{jk} f(t_j)\Big)^2

    Three Gauss points are extended to 7, 15, 31, 63 nodes by the zeros of the polynomial that makes
    each rule exact to the highest degree, 3 m / 2. The null rules u are orthogonal to all
    polynomials of lower degree, scaled to the Euclidean length of w. They feel degree m - 2, far
    below what the rule gets wrong, so on a smooth curve the error told is far too large. Where the
    value moved by more than they say, the geometric mean of both is told. It costs no evaluation.

    Parameters
    ----------
    rtol
        Relative L1 error that counts as converged. A row's residual counts as an error too.
    max_nodes
        The most nodes a curve: 7, 15, 31 or 63.

    Notes
    -----
    The nodes of a smaller rule are summed once with the weights of all larger ones, so nothing is
    kept a node. On an analytic curve twice the nodes square what the last doubling gained: a row that
    is not promised to come near the tolerance by that is left as it is. The estimate lies as that
    of `GaussLegendre` does: where a feature falls between all nodes. It is for models without kinks,
    where `Automatic` takes it: on kinks, of searches that end early, an error four times as large as
    the one told was seen.

    Patterson 1968, "The optimum addition of points to quadrature formulae",
    doi:10.1090/S0025-5718-68-99866-9.
    """

    rtol: float = 1e-2
    max_nodes: int = 63

    def __post_init__(self) -> None:
        if self.max_nodes not in SIZES:
            raise InputError(f"Patterson(max_nodes={self.max_nodes!r}); expected 7, 15, 31 or 63.")

    def __call__(self, integral: LineIntegral) -> Estimate:
        """Value and error of every row. Costs 7 gradients a curve, or 15, 31, 63 in all."""
        if integral.by_panel:
            raise Unsupported(
                f"{type(integral.integrand).__name__} contributes panel by panel, and these nodes cut "
                f"no panels. Use a Riemann rule, such as ig.LeftRiemann({self.max_nodes})."
            )
        sizes = SIZES[: SIZES.index(self.max_nodes) + 1]
        done, sums, value = None, None, None
        missed, before = torch.ones(integral.rows, dtype=torch.bool), None
        for size, (t, weight) in zip(sizes, nested(len(sizes)), strict=True):
            found = self._asked(integral, missed, t, weight)
            sums = found if sums is None else tuple(a + b for a, b in zip(sums, found, strict=True))
            null = tuple(s[1 : 1 + NULLS].square().sum(0).sqrt() for s in sums)
            last, value = value, tuple(s[0] for s in sums)
            rule = f"Gauss-Patterson, {size} nodes a curve"
            chosen = (rule,) * integral.rows
            new = Estimate(value, guarded(null, value, last), self.rtol, rule, chosen)
            done = new if done is None else merge(missed, new, done)
            over = excess(integral, done)
            missed = missed & (over > 1) & promising(over, before)
            if not bool(missed.any()):
                break
            before, sums = over, tuple(s[1 + NULLS :] for s in sums)
        assert done is not None
        return done

    def _asked(self, integral: LineIntegral, rows: Tensor, t: Tensor, weight: Tensor) -> Point:
        """Sums over new nodes of these rows, a column for each weight of the rules to come."""
        keep = rows[integral.curves.row].nonzero()[:, 0]
        some = replace(integral, curves=integral.curves.where(keep), gains=None)
        return some.sums(same_nodes(len(keep), t, weight))


def guarded(null: Point, value: Point, before: Point | None) -> Point:
    """The error map: the null rules', raised where the value moved far more than they say.

    Each (T, rows, ...). What the value moved by is the error of the smaller rule. Two null rules
    are small now and then where the error is not, and it is the small ones that end a search: the
    geometric mean of both is told, if it is larger.
    """
    if before is None:
        return null
    apart = tuple((v - b).abs() for v, b in zip(value, before, strict=True))
    moved, told = each_target(apart, total), each_target(null, total)
    more = (moved / told).nan_to_num(1.0, posinf=1.0).clamp(min=1).sqrt()
    return tuple(n * more.to(n).reshape(*more.shape, *(1,) * (n.ndim - 2)) for n in null)


def promising(over: Tensor, before: Tensor | None) -> Tensor:
    """Whether twice the nodes are worth asking, by how far over the tolerance rows are and were."""
    if before is None:
        return over <= FAR
    return over * (over / before).square() <= NEAR


def excess(integral: LineIntegral, done: Estimate) -> Tensor:
    """Error, or residual if that is larger, over the tolerance: (rows,), the worst target's."""
    assert done.error_map is not None
    wrong = each_target(done.error_map, total).cpu()
    if integral.gain is not None:
        residual = each_target(done.value, total).cpu() - integral.gain.cpu()
        wrong = torch.maximum(wrong, residual.abs())
    norm = each_target(done.value, magnitude).cpu()
    allowed = torch.maximum(done.rtol * norm, integral.slack(len(norm)))
    return torch.where(wrong == 0, 0.0, wrong / allowed).amax(0)


# ------------------------------------------------------------------------------ nodes and weights


@cache
def nested(count: int) -> list[tuple[Tensor, Tensor]]:
    """What each size adds: nodes (n,) of [0, 1], and their weights in all rules from that size on.

    Weights are columns (n, 3 k): the rule and its null rules, size after size.
    """
    x, rules = legendre.leggauss(3)[0], []
    for _ in range(count):
        x = extended(x)
        rules.append((x, weights(x)))
    found, known = [], np.empty(0)
    for i in range(count):
        new = rules[i][0][~np.isin(rules[i][0], known)]
        columns = [w[np.searchsorted(x, new)] for x, w in rules[i:]]
        found.append(
            (torch.from_numpy((new + 1) / 2), torch.from_numpy(np.concatenate(columns, 1)))
        )
        known = np.concatenate([known, new])
    return found


def extended(x: np.ndarray) -> np.ndarray:
    """N nodes of [-1, 1], symmetric, and n + 1 more between and beyond them.

    The new ones are the zeros of E, of degree n + 1, with the integral of E p over the product of all
    (x - x_j) equal to 0 for every p of degree n: an even function, found in Legendre's basis.
    """
    n = len(x)
    t, w = legendre.leggauss(2 * n + 2)
    product = np.prod(2 * (t[:, None] - x), 1)  # times 2, so that it does not vanish for many nodes
    basis = legendre.legvander(t, n + 1)
    odd, even = basis[:, 1 : n + 1 : 2], basis[:, : n + 1 : 2]
    weighted = (w * product)[:, None] * odd
    coefficients = np.zeros(n + 2)
    coefficients[: n + 1 : 2] = np.linalg.solve(weighted.T @ even, -weighted.T @ basis[:, n + 1])
    coefficients[n + 1] = 1
    new = legendre.legroots(coefficients).real
    slope = legendre.legder(coefficients)
    for _ in range(3):  # Newton's method, from the zeros of the companion matrix
        new = new - legendre.legval(new, coefficients) / legendre.legval(new, slope)
    new = np.sort(new)
    return np.sort(np.concatenate([x, (new - new[::-1]) / 2]))


def weights(x: np.ndarray) -> np.ndarray:
    """(n, 3): the weights on [0, 1] that are exact for every degree below n, and two null rules."""
    n = len(x)
    basis = legendre.legvander(x, n - 1)
    weight = np.linalg.solve(basis.T, np.eye(n)[0])
    root = np.sqrt(weight)[:, None]
    null = root * np.linalg.qr(root * basis)[0][:, -NULLS:]
    null *= np.linalg.norm(weight) / np.linalg.norm(null, axis=0)
    return np.concatenate([weight[:, None], null], 1)

"""Metrics of two maps of the same rows: whether they say the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from intgrad._types import whole_number
from intgrad.audit.order import places, ranks, runs
from intgrad.audit.units import Channels, as_units
from intgrad.errors import InputError


def kendall(a: Any, b: Any, channels: Channels = None) -> Tensor:
    r"""Kendall's rank correlation with ties, tau-b.

    .. math:: \tau_b = \frac{C - D}{\sqrt{(N - T_a)(N - T_b)}}, \qquad N = n(n - 1)/2

    for C pairs of units in the same order in both maps, D in opposite ones, T tied in one.
    Discordant pairs are counted while merging sorted halves, in O(n log² n) and O(n) memory a row.

    Parameters
    ----------
    a, b
        Tensors (rows, ...) of the same shape, or `Attribution`.
    channels
        The axes summed to one unit; axis 1 of four by default.

    Returns
    -------
    Tensor
        (rows,) in [-1, 1]; NaN where a map is constant. No forwards.

    References
    ----------
    Kendall 1945, "The treatment of ties in ranking problems", doi:10.1093/biomet/33.3.239;
    Knight 1966, doi:10.1080/01621459.1966.10480879.
    """
    a, b = _pair(a, b, channels)
    a, b = _sorted(b, a, b)
    a, b = _sorted(a, a, b)  # by a, and by b where a is tied
    pairs = a.shape[1] * (a.shape[1] - 1) // 2
    tied_a, tied_b, tied = _tied(a), _tied(b.sort(1).values), _tied(a, b)
    surplus = pairs - tied_a - tied_b + tied - 2 * _inversions(b)
    tau = surplus.double() / (pairs - tied_a).double().sqrt() / (pairs - tied_b).double().sqrt()
    return tau.clamp(-1, 1)


def spearman(a: Any, b: Any, channels: Channels = None) -> Tensor:
    """Spearman's rank correlation: Pearson's of the ranks, ties sharing their mean rank.

    Parameters as in `kendall`; (rows,) in [-1, 1], NaN where a map is constant. No forwards.

    References
    ----------
    Spearman 1904, "The proof and measurement of association between two things",
    doi:10.2307/1412159.
    """
    centred = [r - r.mean(1, keepdim=True) for r in map(ranks, _pair(a, b, channels))]
    return _angle(*centred)


def cosine(a: Any, b: Any, channels: Channels = None) -> Tensor:
    """Cosine of the angle between two maps.

    Parameters as in `kendall`; (rows,) in [-1, 1], NaN where a map is zero. No forwards.
    """
    return _angle(*_pair(a, b, channels))


def sign_agreement(a: Any, b: Any, channels: Channels = None) -> Tensor:
    """The share of units whose sign is the same in both maps; zero agrees with zero alone.

    Parameters as in `kendall`; (rows,) in [0, 1]. No forwards.

    References
    ----------
    Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning",
    arXiv:2202.01602; there of the top k units only.
    """
    a, b = _pair(a, b, channels)
    return (a.sign() == b.sign()).double().mean(1)


def top_k_intersection(a: Any, b: Any, k: int, channels: Channels = None) -> Tensor:
    """The share of the k largest units of one map that are among the k largest of the other.

    Parameters
    ----------
    a, b, channels
        As in `kendall`. Largest with their sign; for magnitudes pass absolute values. Where units
        are tied, the earlier one counts as larger.
    k
        How many, 1 to the number of units.

    Returns
    -------
    Tensor
        (rows,) in [0, 1]. No forwards.

    Raises
    ------
    InputError
        k is no number of units.

    References
    ----------
    Ghorbani, Abid, Zou 2019, "Interpretation of Neural Networks Is Fragile",
    doi:10.1609/aaai.v33i01.33013681.
    """
    a, b = _pair(a, b, channels)
    k = whole_number(k, "k", 1)
    if k > a.shape[1]:
        raise InputError(f"k={k} of {a.shape[1]} units; expected 1 to {a.shape[1]}.")
    return ((places(a) < k) & (places(b) < k)).double().sum(1) / k


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far several methods agree on the same rows.

    Attributes
    ----------
    names
        The M methods.
    rank, sign
        `spearman` and `sign_agreement` of every two, (rows, M, M), 1 on the diagonal.
    top
        `top_k_intersection` of absolute values, (rows, M, M).
    k
        How many units the top are.
    """

    names: tuple[str, ...]
    rank: Tensor
    sign: Tensor
    top: Tensor
    k: int


def agreement(maps: Mapping[str, Any], k: int, channels: Channels = None) -> Agreement:
    """Compare the maps of several methods, every two of them: order, signs, and the largest.

    Parameters
    ----------
    maps
        By name: tensors (rows, ...) of the same units, or `Attribution`.
    k
        As in `top_k_intersection`.
    channels
        As in `kendall`.

    Raises
    ------
    InputError
        Fewer than two maps, or maps of different rows or units.

    References
    ----------
    Krishna et al. 2022, "The Disagreement Problem in Explainable Machine Learning",
    arXiv:2202.01602.
    """
    if len(maps) < 2:
        raise InputError(f"{len(maps)} map(s) to compare; expected two or more, by name.")
    units = [as_units(m, channels, name) for name, m in maps.items()]
    sizes = [u.abs() for u in units]
    return Agreement(
        tuple(maps),
        _every_two(units, lambda a, b: spearman(a, b, ())),
        _every_two(units, lambda a, b: sign_agreement(a, b, ())),
        _every_two(sizes, lambda a, b: top_k_intersection(a, b, k, ())),
        k,
    )


def _every_two(units: list[Tensor], metric: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    found = torch.eye(len(units), dtype=torch.float64).repeat(len(units[0]), 1, 1)
    for i, j in combinations(range(len(units)), 2):
        found[:, i, j] = found[:, j, i] = metric(units[i], units[j]).cpu()
    return found


def _pair(a: Any, b: Any, channels: Channels) -> tuple[Tensor, Tensor]:
    one, two = as_units(a, channels, "a"), as_units(b, channels, "b")
    if one.shape != two.shape:
        raise InputError(
            f"a is {tuple(one.shape)} and b {tuple(two.shape)} once channels are summed; expected "
            f"two maps of the same rows and units."
        )
    return one.flatten(1).double(), two.flatten(1).double().to(one.device)


def _angle(a: Tensor, b: Tensor) -> Tensor:
    a, b = (v / v.abs().amax(1, keepdim=True) for v in (a, b))  # no square under- or overflows
    return ((a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()).clamp(-1, 1)


def _sorted(key: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    order = key.argsort(dim=1, stable=True)
    return tuple(other.gather(1, order) for other in others)


def _tied(*ordered: Tensor) -> Tensor:
    """Pairs of units that are equal in all sequences, which are sorted: (rows,)."""
    first, _ = runs(*ordered)
    return (torch.arange(first.shape[1], device=first.device) - first).sum(1)


def _inversions(values: Tensor) -> Tensor:
    """Pairs (i < j) with values[i] > values[j], counted while merging sorted halves: (rows,)."""
    rows, n = values.shape
    size = 1 << (n - 1).bit_length()
    halves = functional.pad(values, (0, size - n), value=torch.inf)
    found = torch.zeros(rows, dtype=torch.long, device=values.device)
    half = 1
    while half < size:
        left, right = halves.reshape(rows, -1, 2, half).unbind(2)
        smaller = torch.searchsorted(left.contiguous(), right.contiguous(), right=True)
        found += (half - smaller).sum((1, 2))
        half *= 2
        halves = halves.reshape(rows, -1, half).sort(2).values
    return found

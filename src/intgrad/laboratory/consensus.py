"""Maps of the same rows from several baselines: how far they agree, and what all of them say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.audit import metrics
from intgrad.audit.order import places
from intgrad.errors import InputError

FEWEST = 3  # units that "the largest" are, at least


@dataclass(frozen=True, eq=False)
class Consensus:
    """B maps of each row, compared unit by unit. A unit is a feature, word, pixel or group.

    Attributes
    ----------
    k
        How many units "the largest" are, by absolute value.
    spearman
        Rank correlation of the values, with their signs: (rows, B, B). NaN where a map is constant.
    signs
        Share of the units with the same sign, where 0 is like 0 alone: (rows, B, B).
    certain_signs
        The same of the units whose sign is certain in both maps: (rows, B, B). NaN where there is none.
    largest
        Share of the k largest units of one map that are among those of the other: (rows, B, B).
    certain
        Share of a map's absolute values whose sign is certain: (rows, B).
    live
        Units that some baseline gives something: (rows, units). Others, such as special tokens, are no
        conclusion.
    survivors
        Units with the same sign in all maps, certain in each: (rows, units).
    mass
        Share of a map's absolute values that survivors hold: (rows, B).
    common
        Units that are among the k largest of all maps: (rows, units).
    """

    k: int
    spearman: Tensor
    signs: Tensor
    certain_signs: Tensor
    largest: Tensor
    certain: Tensor
    live: Tensor
    survivors: Tensor
    mass: Tensor
    common: Tensor


def consensus(maps: Tensor, errors: Tensor | None, k: int | None) -> Consensus:
    """Compare maps (B, rows, units) whose values are wrong by `errors` at most, if at all.

    A sign is certain where the value is larger than its error. Without k a tenth of the units count
    as the largest, and 3 at least.
    """
    units = maps.shape[2]
    k = _largest(k, units)
    certain = maps.abs() > (0 if errors is None else errors)
    places_of = torch.stack([places(m.abs()) for m in maps])
    signs = torch.where(certain, maps.sign(), 0)
    survivors = (signs == signs[0]).all(0) & certain[0]
    return Consensus(
        k=k,
        spearman=pairwise(maps, metrics.spearman),
        signs=pairwise(maps, metrics.sign_agreement),
        certain_signs=pairwise(signs, _alike),
        largest=pairwise(maps.abs(), lambda a, b: metrics.top_k_intersection(a, b, k)),
        certain=_mass(maps, certain),
        live=(maps != 0).any(0),
        survivors=survivors,
        mass=_mass(maps, survivors.expand_as(maps)),
        common=((places_of < k) & (maps != 0)).all(0),
    )


def pairwise(maps: Tensor, metric: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A symmetric metric of every two of the maps (B, rows, units): (rows, B, B), 1 on the diagonal."""
    size, rows, _ = maps.shape
    found = torch.eye(size, dtype=torch.float64).repeat(rows, 1, 1)
    for i, j in combinations(range(size), 2):
        found[:, i, j] = found[:, j, i] = metric(maps[i], maps[j]).cpu()
    return found


def _alike(a: Tensor, b: Tensor) -> Tensor:
    """Of the units with a sign in both, the share with the same."""
    both = (a != 0) & (b != 0)
    return ((a == b) & both).double().sum(1) / both.double().sum(1)


def _mass(maps: Tensor, chosen: Tensor) -> Tensor:
    """The share of absolute values (B, rows, units) that stand on chosen units: (rows, B)."""
    sizes = maps.abs()
    return (torch.where(chosen, sizes, 0).sum(2) / sizes.sum(2)).T


def _largest(k: int | None, units: int) -> int:
    if k is None:
        return min(max(FEWEST, -(-units // 10)), units)
    if whole_number(k, "k", 1) > units:
        raise InputError(f"k={k} of {units} units; expected 1 to {units}.")
    return k

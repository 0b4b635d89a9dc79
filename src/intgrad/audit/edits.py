"""Whether a targeted edit moves a map more than edits that change nothing: null distributions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.audit.agreement import spearman
from intgrad.audit.asking import explained
from intgrad.audit.finding import Explain
from intgrad.errors import InputError

DRAWS = 10_000
EXACT = 12  # up to so many pairs every choice of signs is counted: 4,096 of them

Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Edits:
    """How far maps move under targeted edits, against edits that keep the meaning.

    Attributes
    ----------
    targeted
        (rows,): the distance from the map of x to that of its targeted edit.
    neutral
        (rows, edits): to those of its meaning-preserving edits, the null distribution of that row.
    rank
        (rows,): the share of a row's neutral edits that move the map as far or farther.
    p
        Of the paired permutation test over rows: how often chance alone makes targeted edits move maps
        so much farther than neutral ones on average.
    """

    targeted: Tensor
    neutral: Tensor
    rank: Tensor
    p: float


def edit_effect(
    explain: Explain,
    model: Callable[..., Any],
    x: Tensor,
    target: Any,
    *,
    targeted: Tensor,
    neutral: Tensor,
    distance: Distance = lambda a, b: 1 - spearman(a, b),
) -> Edits:
    """Compare maps under targeted edits with those under edits that should change nothing.

    An edit moves every map a little. Only what goes beyond the row's own null distribution is due
    to what the edit was about.

    Parameters
    ----------
    explain
        ``(model, x, target) -> values``.
    model, x, target
        As `explain` takes them.
    targeted
        Like x: each row with the edit of interest.
    neutral
        (rows, edits, ...): each row with edits that keep its meaning: paraphrases, shifts by a pixel,
        another name.
    distance
        (a, b) maps of the same rows -> (rows,); by default 1 - Spearman's correlation, of pixels with
        their channels summed. `divergence` is another.

    Returns
    -------
    Edits
        Costs 2 calls of explain, and one more for each neutral edit.

    Raises
    ------
    InputError
        Edits of another shape; what explain returned cannot be used.

    References
    ----------
    "Compared to What?" 2026, arXiv:2605.01048, of predictions; Fisher 1935, "The Design of
    Experiments", for the test.
    """
    _refuse_shapes(x, targeted, neutral)
    whole = explained(explain, model, x, target)
    ask = lambda edited: distance(whole, explained(explain, model, edited, target))  # noqa: E731
    hit = ask(targeted)
    null = torch.stack([ask(neutral[:, k]) for k in range(neutral.shape[1])], 1)
    rank = (null >= hit[:, None]).double().mean(1)
    return Edits(hit, null, rank, paired(hit, null.mean(1)))


def paired(a: Tensor, b: Tensor, *, draws: int = DRAWS, seed: int = 0) -> float:
    r"""One-sided p of the paired permutation test: that a is larger than b on average.

    Under the null hypothesis a pair's difference is as likely to have the other sign. Exact, by all
    :math:`2^n` choices of signs, up to 12 pairs; by random ones beyond, the observed one counted in.

    Parameters
    ----------
    a, b
        (n,) each, without NaN.

    References
    ----------
    Fisher 1935; Phipson, Smyth 2010, "Permutation P-values Should Never Be Zero",
    doi:10.2202/1544-6115.1585.
    """
    gap = (a - b).double().cpu()
    if gap.ndim != 1 or not len(gap) or not bool(torch.isfinite(gap).all()):
        raise InputError("the pairs hold NaN, or there are none; expected finite numbers (n,).")
    n, seen = len(gap), float(gap.sum())
    slack = 1e-12 * float(gap.abs().sum())
    if n <= EXACT:
        signs = torch.tensor(list(product((1.0, -1.0), repeat=n)), dtype=torch.float64)
        return float(((signs @ gap) >= seen - slack).double().mean())
    whole_number(draws, "draws", 1)
    coins = torch.rand(draws, n, generator=torch.Generator().manual_seed(seed)) < 0.5
    found = torch.where(coins, gap, -gap).sum(1)
    return (1 + int((found >= seen - slack).sum())) / (1 + draws)


def divergence(a: Tensor, b: Tensor) -> Tensor:
    r"""Jensen-Shannon divergence of two maps' absolute values as shares, in bits: (rows,) in [0, 1].

    References
    ----------
    Lin 1991, "Divergence measures based on the Shannon entropy", doi:10.1109/18.61115.
    """
    p, q = (_shares(m) for m in (a, b))
    middle = (p + q) / 2
    return (_entropy(middle) - (_entropy(p) + _entropy(q)) / 2).clamp(0, 1)


def _shares(maps: Tensor) -> Tensor:
    size = maps.flatten(1).double().abs()
    return size / size.sum(1, keepdim=True)


def _entropy(shares: Tensor) -> Tensor:
    return -torch.special.xlogy(shares, shares).sum(1) / math.log(2)


def _refuse_shapes(x: Tensor, targeted: Tensor, neutral: Tensor) -> None:
    if targeted.shape != x.shape or neutral.ndim != x.ndim + 1 or not neutral.shape[1]:
        raise InputError(
            f"targeted is {tuple(targeted.shape)} and neutral {tuple(neutral.shape)}; expected "
            f"{tuple(x.shape)} like x, and (rows, edits, ...) of it."
        )
    if (neutral.shape[0], *neutral.shape[2:]) != tuple(x.shape):
        raise InputError(
            f"neutral is {tuple(neutral.shape)}; expected ({len(x)}, edits, ...) of {tuple(x.shape)}."
        )

"""ROAD: removal that leaves no holes. What is gone is guessed from what stays around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from intgrad.audit.curves import Curve
from intgrad.audit.imputation import imputed
from intgrad.audit.order import places
from intgrad.audit.refined import by_pairs
from intgrad.audit.removal import as_scored, one_tensor, removing
from intgrad.audit.units import units_like
from intgrad.errors import InputError

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
NOISE = 0.01


def road(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    target: Any = None,
    fractions: Sequence[float] = FRACTIONS,
    noise: float = NOISE,
    seed: int = 0,
    **how: Any,
) -> Curve:
    r"""The score of x as its most important pixels are replaced by a guess from their neighbours.

    A pixel that is gone is the weighted mean of its eight neighbours, gone or not (1/6 for those
    that share an edge, 1/12 on the diagonal), plus noise. So the shape of what was removed cannot be
    read off, as it can from holes. All gone pixels are solved for at once by conjugate gradients,
    on the device of x.

    Parameters
    ----------
    model, target
        As in `deletion`: by default the probability of the class predicted at x is scored.
    x
        Pictures (rows, channels, height, width).
    attribution
        Like x, or with the channels summed. Large is important; for the least important first pass
        its negative.
    fractions
        Shares of the pixels that are gone, rising, above 0 and below 1: of none at all there is no
        guess.
    noise
        Its standard deviation, in units of x: 0.01 as published, for values in [0, 1].
    seed
        The only source of chance; the same draws for every row and method.
    **how
        ``given=`` and ``width=``, as in `deletion`.

    Returns
    -------
    Curve
        From 0 on, at the fractions. Costs one forward a row and fraction, and one more.

    Raises
    ------
    InputError, TargetError, ModelError, Unsupported
        In one sentence: what came, what was expected, what to do.

    References
    ----------
    Rong, Leemann, Borisov, Kasneci, Kasneci 2022, "A Consistent and Efficient Evaluation Strategy
    for Attribution Methods", arXiv:2202.00449.
    """
    shares = _rising(fractions)
    if one_tensor(x).ndim != 4 or not x.is_floating_point():
        raise InputError(
            f"x is {x.dtype} {tuple(x.shape)}; expected pictures (rows, channels, height, width) to "
            f"guess pixels from their neighbours. For other inputs use deletion."
        )
    values = units_like(attribution, x, None)
    place = places(values.flatten(1)).reshape(values.shape)
    counts = (shares.to(x.device) * values[0].numel()).round()
    draws = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(seed))
    grain = noise * draws.to(x.device, x.dtype)

    def filled(rows: Tensor, which: Tensor) -> Tensor:
        gone = place[rows] < counts[which].reshape(-1, 1, 1, 1)
        return imputed(x[rows].expand(len(which), *x.shape[1:]), gone, grain)

    with removing(model, x, as_scored(target), **how) as left:
        scores = torch.cat([left.whole[:, None], left.of(len(shares), filled)], 1)
    gone = torch.cat([torch.zeros(1, dtype=torch.float64), shares]).to(scores.device)
    return Curve(gone, scores, by_pairs(gone, scores))


def _rising(fractions: Sequence[float]) -> Tensor:
    shares = torch.tensor([float(f) for f in fractions], dtype=torch.float64)
    fits = len(shares) and bool((shares > 0).all() and (shares < 1).all())
    if not fits or bool((shares.diff() <= 0).any()):
        raise InputError(
            f"fractions={tuple(fractions)!r}; expected rising shares of the pixels, above 0 and below 1."
        )
    return shares

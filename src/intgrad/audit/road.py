"""ROAD: removal that leaves no holes. What is gone is guessed from what stays around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from intgrad._types import wide
from intgrad.audit.curves import Curve
from intgrad.audit.order import places
from intgrad.audit.refined import by_pairs
from intgrad.audit.removal import as_scored, one_tensor, removing
from intgrad.audit.units import units_like
from intgrad.errors import InputError

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
NOISE = 0.01
MOST = 2000  # steps of the conjugate gradient: a hole 224 pixels wide takes a few hundred
TINY = 1e-30  # for what is over: 0 / 0
CLOSE = 1e-5  # residual at which it ends, relative to the known pixels' pull


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


def imputed(x: Tensor, gone: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    r"""Pictures whose gone pixels are the weighted mean of their neighbours.

    Solves :math:`\sum_q w_{pq} (x_p - x_q) = 0` for every gone p, over the neighbours q inside the
    picture: the matrix of the gone pixels is symmetric and positive definite while one pixel stays.

    Parameters
    ----------
    x
        (rows, channels, height, width).
    gone
        (rows, 1, height, width) bool.
    noise
        Added to what was gone.
    """
    light = x.to(wide(x.dtype))
    mask = gone.to(light.dtype)
    degree = _around(torch.ones_like(mask))

    def matrix(v: Tensor) -> Tensor:  # of v that is 0 outside the mask
        return mask * (degree * v - _around(v))

    known = torch.where(gone, 0, light)
    found = _solved(matrix, mask * _around(known), mask / degree)
    return torch.where(gone, (known + found).to(x.dtype) + noise, x)


def _solved(matrix: Callable[[Tensor], Tensor], right: Tensor, inverse: Tensor) -> Tensor:
    """Conjugate gradients with the diagonal as preconditioner, of every channel by itself."""
    dot = lambda a, b: (a * b).sum((2, 3), keepdim=True)  # noqa: E731
    found, rest = torch.zeros_like(right), right
    way = toward = inverse * rest
    size = dot(rest, toward)
    enough = CLOSE**2 * size
    for _ in range(MOST):
        if bool((size <= enough).all()):
            break
        bent = matrix(way)
        step = size / dot(way, bent).clamp(min=TINY)
        found, rest = found + step * way, rest - step * bent
        toward = inverse * rest
        before, size = size, dot(rest, toward)
        way = toward + size / before.clamp(min=TINY) * way
    return found


def _around(v: Tensor) -> Tensor:
    """The weighted sum of every pixel's neighbours; outside the picture there are none.

    The weights and 1/3 of the pixel itself are the product of (1, 2, 1) along both sides, over 12.
    """
    across = 2 * v
    across[..., 1:] += v[..., :-1]
    across[..., :-1] += v[..., 1:]
    both = 2 * across
    both[..., 1:, :] += across[..., :-1, :]
    both[..., :-1, :] += across[..., 1:, :]
    return both.sub_(v, alpha=4).div_(12)


def _rising(fractions: Sequence[float]) -> Tensor:
    shares = torch.tensor([float(f) for f in fractions], dtype=torch.float64)
    fits = len(shares) and bool((shares > 0).all() and (shares < 1).all())
    if not fits or bool((shares.diff() <= 0).any()):
        raise InputError(
            f"fractions={tuple(fractions)!r}; expected rising shares of the pixels, above 0 and below 1."
        )
    return shares

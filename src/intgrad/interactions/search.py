r"""The strongest pairs without the whole matrix: sketches say which rows of it are worth asking for.

With independent random signs z, :math:`z_g (\Gamma z)_g` has the mean :math:`\Gamma_{gg}` and the
variance :math:`\sum_{h \ne g} \Gamma_{gh}^2`: a few products with signs tell how strongly every group
interacts with all others together, which no pair of it exceeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from intgrad.interactions.groups import one_hot
from intgrad.interactions.smooth import Sums

SKETCHES = 16  # the spread over so many is known to 18 %
MARGIN = 1.5  # times what is left, the weakest pair wanted must be


def strongest(ask: Callable[..., Sums], count: int, top: int, seed: int) -> tuple[Sums, Tensor]:
    """Rows of the matrix that hold the `top` strongest pairs of every example, and which they are.

    Groups are asked for in the order of their sketched strength, twice `top` at first and then twice
    as many, until the weakest pair wanted is `MARGIN` times as strong as any group left together with
    all others. That is as sure as the sketches: a group whose strength they understate by more is
    missed. Where sketches would not pay, the whole matrix is asked for.

    Parameters
    ----------
    ask
        Directions (k, g) -> integrals; with ``rough=True`` by the first rule alone.
    """
    if count <= 2 * SKETCHES:
        every = torch.arange(count)
        return ask(one_hot(every, count)), every
    generator = torch.Generator().manual_seed(seed)
    signs = 2.0 * torch.randint(2, (SKETCHES, count), generator=generator).double() - 1
    rough = ask(signs, rough=True)
    strength = (rough.value * signs).std(1)
    share = strength / strength.amax(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    order = share.amax(0).argsort(descending=True, stable=True)
    size = min(2 * top, count)
    sums = ask(one_hot(order[:size], count))
    while size < count and _open(sums, strength, order, size, top):
        more = order[size : 2 * size]
        sums, size = sums.beside(ask(one_hot(more, count))), min(2 * size, count)
    which, place = order[:size].sort()
    return replace(sums.of(place), products=sums.products + rough.products), which


def _open(sums: Sums, strength: Tensor, order: Tensor, size: int, top: int) -> bool:
    """Whether a group that was not asked for may hold a pair stronger than the weakest one wanted."""
    left = strength[:, order[size:]].amax(1)
    return bool((_weakest(sums, order[:size], top) < MARGIN * left).any())


def _weakest(sums: Sums, which: Tensor, top: int) -> Tensor:
    """The strength of the weakest pair wanted (r,)."""
    k, g = sums.value.shape[1:]
    place = torch.full((g,), k).scatter(0, which, torch.arange(k))
    later = place[None] > torch.arange(k)[:, None]  # each pair once, and no diagonal
    size = torch.where(later, sums.value.abs(), 0.0).flatten(1)
    return size.topk(min(top, size.shape[1]), 1).values[:, -1]

"""Whether an explanation stays where the input moves a little."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from intgrad._types import like, whole_number
from intgrad.audit.agreement import spearman
from intgrad.audit.asking import explained
from intgrad.audit.finding import Explain
from intgrad.errors import InputError, Unsupported

RADIUS = 0.02
SAMPLES = 8


def sensitivity_max(
    explain: Explain,
    model: Callable[..., Any],
    x: Tensor,
    target: Any,
    *,
    radius: float = RADIUS,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Tensor:
    r"""How far a map moves at most, relative to itself, where the input moves a little.

    .. math:: \max_{\lVert \delta \rVert_\infty \le r}
        \frac{\lVert A(x + \delta) - A(x) \rVert}{\lVert A(x) \rVert}

    over random deltas, uniform in the cube: a lower bound of the maximum. 0 is best, and a constant
    map reaches it; so low values alone say nothing.

    Parameters
    ----------
    explain
        ``(model, x, target) -> values``.
    model, x, target
        As `explain` takes them; x of real numbers. The target is the same at x and beside it.
    radius
        r in units of x's range: 0.02 of the distance from its least to its largest number.
    samples
        Deltas; the same for every row.
    seed
        The only source of chance.

    Returns
    -------
    Tensor
        (rows,) at least 0; NaN where the map is 0. Costs samples + 1 calls of explain.

    Raises
    ------
    Unsupported
        Token ids, which do not move a little.
    InputError, ModelError
        What explain returned cannot be used, or it changed the model.

    References
    ----------
    Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations", arXiv:1901.09392.
    """
    _refuse(x, radius, samples)
    whole = explained(explain, model, x, target).flatten(1).double()
    largest = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for moved in _moved(x, radius, samples, seed):
        other = explained(explain, model, moved, target).flatten(1).double()
        largest = torch.maximum(largest, (other - whole).norm(dim=1))
    size = whole.norm(dim=1)
    return torch.where(size > 0, largest / size, math.nan)


def noise_stability(
    explain: Explain,
    model: Callable[..., Any],
    x: Tensor,
    target: Any,
    *,
    radius: float = RADIUS,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Tensor:
    """The mean rank correlation of a map with those of noisy copies of the input.

    Parameters, cost and errors as in `sensitivity_max`; (rows,) in [-1, 1], 1 where the order of the
    units (pixels with their channels summed) stays. NaN where a map is constant.

    References
    ----------
    Ghorbani, Abid, Zou 2019, "Interpretation of Neural Networks Is Fragile",
    doi:10.1609/aaai.v33i01.33013681; there the worst of deltas that are sought, here the mean of random
    ones.
    """
    _refuse(x, radius, samples)
    whole = explained(explain, model, x, target)
    found = [
        spearman(whole, explained(explain, model, moved, target))
        for moved in _moved(x, radius, samples, seed)
    ]
    return torch.stack(found).mean(0)


def _refuse(x: Tensor, radius: float, samples: int) -> None:
    if not x.is_floating_point():
        raise Unsupported(
            f"x is {x.dtype}, which does not move a little; expected real numbers. For texts compare "
            f"edits that keep their meaning: intgrad.audit.edit_effect."
        )
    if isinstance(radius, bool) or not 0 < radius < math.inf:
        raise InputError(f"radius={radius!r}; expected a positive share of the range of x.")
    whole_number(samples, "samples", 1)


def _moved(x: Tensor, radius: float, samples: int, seed: int) -> Iterator[Tensor]:
    """Copies of x beside it, every row by the same direction and its own range."""
    flat, draw = x.detach().flatten(1), torch.Generator().manual_seed(seed)
    reach = like(radius * (flat.amax(1) - flat.amin(1)), x)
    for _ in range(samples):
        way = 2 * torch.rand(x.shape[1:], generator=draw) - 1
        yield x.detach() + reach * way.to(x.device, x.dtype)

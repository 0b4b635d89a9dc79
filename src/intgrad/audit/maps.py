"""Metrics of one map alone: how rough it is, and how concentrated."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from intgrad._types import whole_number
from intgrad.audit.units import Channels, as_units
from intgrad.errors import InputError

CLIP = 0.99  # of the pixels lie below what counts as 1
SHRINK = 1.5  # from one scale to the next


def total_variation(attribution: Any, channels: Channels = None) -> Tensor:
    r"""How rough a map is: mean absolute difference of neighbouring pixels.

    .. math:: \frac{1}{hw} \sum_{i \sim j} |S_i - S_j|

    over the pairs of pixels that share an edge, where S is the map's absolute value, from its
    least value to its 99th percentile, as 0 to 1. Lower is smoother: 0 for a constant map, 2 at most.

    Parameters
    ----------
    attribution
        Maps (rows, height, width) or (rows, channels, height, width), or an `Attribution`.
    channels
        The axes summed to one pixel; axis 1 of four by default.

    Returns
    -------
    Tensor
        (rows,). A map whose 99th percentile is its least value counts as 0 there and 1 above.
        No forwards.

    Raises
    ------
    InputError
        What is left has no height and width.

    References
    ----------
    Goh, Lapuschkin, Weber, Samek, Binder 2021, "Understanding Integrated Gradients with
    SmoothTaylor for Deep Neural Network Attribution", arXiv:2004.10484.
    """
    return _roughness(_pictures(attribution, channels))


def autvc(attribution: Any, channels: Channels = None, smallest: int = 30) -> Tensor:
    r"""Area under the total variation curve: `total_variation` at every scale, by Simpson's rule.

    The signed map is blurred and shrunk by 1.5 (a Gaussian pyramid, as scikit-image makes it) as
    long as no side falls below `smallest`; each scale is normalised by itself. A side of 224 gives
    six scales. Simpson's rule with spacing 1; an odd number of intervals ends in Cartwright's
    correction, as in scipy. Lower is smoother.

    Parameters
    ----------
    attribution, channels
        As in `total_variation`.
    smallest
        The least side of the smallest scale.

    Returns
    -------
    Tensor
        (rows,), between 0 and 2 for each interval. No forwards.

    Raises
    ------
    InputError
        The maps have one scale only, so there is no area.

    References
    ----------
    Goh, Lapuschkin, Weber, Samek, Binder 2021, arXiv:2004.10484.
    """
    smallest = whole_number(smallest, "smallest", 2)
    scale, found = _pictures(attribution, channels), []
    while min(scale.shape[1:]) >= smallest:
        found.append(_roughness(scale))
        scale = _shrunk(scale)
    if len(found) < 2:
        height, width = as_units(attribution, channels).shape[1:]
        raise InputError(
            f"maps of {height} x {width} have no second scale of {smallest} pixels, so there is no "
            f"area; use total_variation, or a smaller smallest=."
        )
    return simpson(torch.stack(found, 1))


def gini(attribution: Any, channels: Channels = None) -> Tensor:
    r"""How concentrated a map is: the Gini index of its absolute values.

    .. math:: \frac{\frac{1}{2 n^2} \sum_{ij} \left| |a_i| - |a_j| \right|}{\frac{1}{n} \sum_i |a_i|}

    0 for a constant map (and for zeros), 1 - 1/n if one of n units holds everything. Higher is
    sparser. By sorting, in O(n log n).

    Parameters
    ----------
    attribution
        Tensor (rows, ...) or `Attribution`.
    channels
        The axes summed to one unit; axis 1 of four by default.

    Returns
    -------
    Tensor
        (rows,). No forwards.

    References
    ----------
    Hurley, Rickard 2009, "Comparing Measures of Sparsity", doi:10.1109/TIT.2009.2027527; of
    attributions: Chalasani et al. 2020, arXiv:1810.06583.
    """
    size = as_units(attribution, channels).flatten(1).double().abs().sort(1).values
    n = size.shape[1]
    weight = 2 * torch.arange(1, n + 1, device=size.device) - n - 1
    whole = size.sum(1)
    return torch.where(whole > 0, (weight * size).sum(1) / (n * whole), 0.0)


def simpson(values: Tensor) -> Tensor:
    """Integrate values (rows, n >= 2) with spacing 1 by Simpson's rule; two by the trapezoid."""
    n = values.shape[1]
    if n == 2:
        return values.mean(1)
    odd = n - 1 + n % 2
    weight = torch.ones(odd, dtype=values.dtype, device=values.device)
    weight[1:-1:2], weight[2:-1:2] = 4, 2
    area = values[:, :odd] @ weight / 3
    if odd < n:
        area += (5 * values[:, -1] + 8 * values[:, -2] - values[:, -3]) / 12
    return area


def _pictures(attribution: Any, channels: Channels) -> Tensor:
    units = as_units(attribution, channels).double()
    if units.ndim != 3:
        raise InputError(
            f"the maps are {tuple(units.shape)} once channels are summed; expected (rows, height, "
            f"width). channels= says which axes are summed."
        )
    return units


def _roughness(maps: Tensor) -> Tensor:
    shade = _normalised(maps)
    steps = (shade.diff(dim=d).abs().sum((1, 2)) for d in (1, 2))
    return sum(steps, torch.zeros_like(shade[:, 0, 0])) / shade[0].numel()


def _normalised(maps: Tensor) -> Tensor:
    """Absolute values, from the least to the 99th percentile, as 0 to 1."""
    size = maps.abs()
    ordered = size.flatten(1).sort(1).values
    at = CLIP * (ordered.shape[1] - 1)
    below, above = ordered[:, math.floor(at)], ordered[:, math.ceil(at)]
    low, high = (v[:, None, None] for v in (ordered[:, 0], below + (at % 1) * (above - below)))
    return torch.where(high > low, (size - low) / (high - low), (size > low).double()).clamp(0, 1)


def _shrunk(maps: Tensor) -> Tensor:
    """The next scale: Gaussian blur cut at four sigmas, borders mirrored, then interpolation."""
    sigma = SHRINK / 3
    radius = int(4 * sigma + 0.5)
    tap = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    tap = torch.exp(-0.5 * (tap / sigma) ** 2)
    tap = tap / tap.sum()
    height, width = maps.shape[1:]
    padded = maps[:, _mirrored(height, radius)][:, :, _mirrored(width, radius)][:, None]
    blurred = functional.conv2d(padded, tap[None, None, :, None])
    blurred = functional.conv2d(blurred, tap[None, None, None, :])
    size = math.ceil(height / SHRINK), math.ceil(width / SHRINK)
    return functional.interpolate(blurred, size, mode="bilinear", align_corners=False)[:, 0]


def _mirrored(n: int, radius: int) -> list[int]:
    """Indices from -radius to n + radius, the border pixels doubled: 1 0 | 0 1 2 | 2 1."""
    return [min(i % (2 * n), 2 * n - 1 - i % (2 * n)) for i in range(-radius, n + radius)]

"""The heat kernel with reflecting borders, exact for every sigma: Gaussian blur by cosines."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from intgrad._types import wide


def heat(x: Tensor, sigma: float, axes: tuple[int, ...]) -> Tensor:
    """Blur `x` along `axes` with a Gaussian of `sigma` samples, mirrored at the borders.

    On cosines cos(pi k (i + 1/2) / n) the kernel multiplies by exp(-(pi k sigma / n)^2 / 2); no
    window is cut off and the mean is kept. An infinite sigma leaves the mean alone.
    """
    for axis in axes:
        kernel = _kernel(x.shape[axis], sigma).to(x.device, wide(x.dtype))
        x = (x.movedim(axis, -1).to(kernel.dtype) @ kernel.T).movedim(-1, axis).to(x.dtype)
    return x


def _kernel(n: int, sigma: float) -> Tensor:
    k = torch.arange(n, dtype=torch.float64)
    cosines = torch.cos(math.pi * k[:, None] * (k[None] + 0.5) / n)
    cosines[0] *= math.sqrt(0.5)
    decay = torch.exp(-0.5 * (math.pi * k * sigma / n) ** 2)
    decay[0] = 1.0  # inf * 0 would be NaN
    return (cosines * decay[:, None]).T @ cosines * (2 / n)

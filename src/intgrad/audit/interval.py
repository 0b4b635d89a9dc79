"""How sure a mean over rows is: Student's interval."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEVEL = 0.95
NODES = 2001  # of Simpson's rule; the integrand is a power of a cosine
FAR = 40.0  # beyond which there is nothing, from 30 degrees of freedom on


def half_width(values: Tensor, level: float = LEVEL) -> float:
    r"""Half of the interval about the mean of values (n,), by Student's t.

    .. math:: t_{n - 1} \, s / \sqrt{n}

    NaN for a single value: it does not say how far others would be.
    """
    n = len(values)
    if n < 2:
        return math.nan
    return student(n - 1, level) * float(values.double().std()) / math.sqrt(n)


def student(freedom: int, level: float = LEVEL) -> float:
    r"""The t within which Student's variable lies with probability `level`.

    With :math:`t = \sqrt{\nu} \tan\theta` its density becomes :math:`\cos^{\nu - 1}\theta`, of which
    the share up to theta is found by Simpson's rule and inverted.
    """
    most = math.pi / 2 if freedom < 30 else math.atan(FAR / math.sqrt(freedom))
    angle = torch.linspace(0, most, NODES, dtype=torch.float64)
    density = angle.cos().clamp(min=0) ** (freedom - 1)
    pairs = (density[:-2:2] + 4 * density[1:-1:2] + density[2::2]).cumsum(0)
    share, ends = pairs / pairs[-1], angle[2::2]
    i = int((share < level).sum())
    low, left = (float(share[i - 1]), float(ends[i - 1])) if i else (0.0, 0.0)
    part = (level - low) / (float(share[i]) - low)
    return math.sqrt(freedom) * math.tan(left + part * (float(ends[i]) - left))

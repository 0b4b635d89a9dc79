"""The straight line: the one path method that preserves symmetry (Sundararajan et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Straight:
    """gamma(t) = start + t (end - start), exact at both ends; velocity end - start."""

    def __call__(self, t: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Points at t; ``lerp`` meets both ends without rounding."""
        return torch.lerp(start, end, t)

    def velocity(self, t: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """The constant derivative end - start, shaped like the points."""
        return end - start

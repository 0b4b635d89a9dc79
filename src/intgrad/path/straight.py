"""The straight line: the one path method that preserves symmetry (Sundararajan et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Straight:
    """gamma(t) = start + t (end - start), exact at both ends; velocity end - start."""

    straight: ClassVar[bool] = True  # so that a rule may ask

    def __call__(self, t: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Points at t.

        One multiplication and one addition, each rounded once: a fused ``lerp`` rounds
        differently for different memory layouts, and a point would depend on its batch mates.
        """
        point = t * _difference(start, end)
        point = point + start if point.requires_grad else point.add_(start)
        last = t == 1
        return torch.where(last, end, point) if bool(last.any()) else point

    def velocity(self, t: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """The constant derivative end - start, shaped like the points."""
        return _difference(start, end).expand_as(end)


def _difference(start: Tensor, end: Tensor) -> Tensor:
    """End - start; computed once (1, ...) where all rows are views of one."""
    if start.stride(0) == 0 and end.stride(0) == 0:
        return end[:1] - start[:1]
    return end - start

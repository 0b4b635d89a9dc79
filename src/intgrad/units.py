"""The units of work that a quadrature chooses: points on curves, and stretches of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Nodes:
    """Points to be asked: curve (n,), t (n,) in float64, weights (n, k), one column a sum."""

    curve: Tensor
    t: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.t)


@dataclass(frozen=True)
class Panels:
    """Stretches of curves: curve (p,), from a (p,) to b (p,), in float64.

    Neighbours in the list that share an edge share its evaluation.
    """

    curve: Tensor
    a: Tensor
    b: Tensor

    def __len__(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class Edges:
    """The points of consecutive panels, shared edges once: curve, t, and the panels' two ends."""

    curve: Tensor
    t: Tensor
    first: Tensor
    second: Tensor

    @staticmethod
    def of(panels: Panels, start: int, width: int) -> Edges:
        """As many panels from `start` on as fit in `width` points (one panel at least)."""
        a, b = panels.a[start : start + width], panels.b[start : start + width]
        curve = panels.curve[start : start + width]
        follows = torch.cat([torch.tensor([False]), (curve[1:] == curve[:-1]) & (a[1:] == b[:-1])])
        opened = torch.cumsum((~follows).long(), 0)
        points = torch.arange(1, len(a) + 1) + opened  # points used once this panel is closed
        fit = max(1, int((points <= width).sum()))
        second = points[:fit] - 1
        first = second - 1
        t, which = (
            torch.empty(int(points[fit - 1]), dtype=torch.float64),
            curve.new_empty(int(points[fit - 1])),
        )
        t[first], t[second] = a[:fit], b[:fit]
        which[first] = which[second] = curve[:fit]
        return Edges(which, t, first, second)

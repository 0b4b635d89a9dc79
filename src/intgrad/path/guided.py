"""The way of least gradient: Guided IG, traced by asking the model, then integrated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from intgrad._types import Point, whole_number
from intgrad.errors import InputError, ModelError, Unsupported
from intgrad.path.curve import Curves, polyline

CLOSE = 1e-9  # relative and absolute: the L1 distance wanted is reached
ROUNDS = 1000  # selections within one step, after which it stalls


@dataclass(frozen=True)
class Guided:
    """In every step, only the features with the smallest gradients go on towards the input.

    A step reduces the L1 distance to x by 1/`steps`. It moves the `fraction` of features whose
    |gradient| is smallest, as far as the corridor allows: the way from baseline to input that each
    feature has made may differ from the step's share by `max_dist`. The knots become a polyline of
    `steps` segments, which the quadrature then integrates: the published rule stays with the one
    gradient it has at the beginning of each, and is of first order.

    Parameters
    ----------
    steps
        Segments. The path depends on their number, and so does the answer.
    fraction, max_dist
        As published; a `max_dist` of 0 is the straight line, of 1 no corridor at all.

    Notes
    -----
    `steps` gradients a curve to trace, and what the quadrature says for each segment. The path
    depends on the model, so it is not linear in it; every feature goes monotonically.

    References
    ----------
    Kapishnikov, Venugopalan, Avci, Wedin, Terry, Bolukbasi 2021, "Guided Integrated Gradients",
    arXiv:2106.09788.
    """

    steps: int = 20
    fraction: float = 0.25
    max_dist: float = 0.02
    monotone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole_number(self.steps, "steps", 1)
        if not (0 < self.fraction <= 1 and 0 <= self.max_dist <= 1):
            raise InputError(
                f"Guided(fraction={self.fraction}, max_dist={self.max_dist}); expected a fraction "
                f"above 0 and at most 1, and a max_dist from 0 to 1."
            )

    def trace(self, oracle: Any, curves: Curves) -> Curves:
        """Polylines of `steps` segments, from `steps` gradients a curve.

        Raises
        ------
        Unsupported
            Several targets, whose gradients differ.
        ModelError
            The trace stalls: gradients that are NaN, or a step that cannot be made.
        """
        if getattr(oracle, "targets", None):
            raise Unsupported(
                "a guided path follows the gradient of one target; several were given. Ask for them one "
                "by one."
            )
        every = torch.arange(len(curves))
        start, end = curves.start.take(every), curves.end.take(every)
        first, last = _flat(start), _flat(end)
        at, knots = first, [start]
        for step in range(self.steps - 1):
            _, gradient = oracle(knots[-1], curves.row)
            at = self._step(step, at, first, last, _flat(gradient).abs())
            knots.append(_shaped(at, end))
        knots.append(end)
        return polyline(tuple(torch.stack(k) for k in zip(*knots, strict=True)), curves)

    def _step(self, step: int, at: Tensor, first: Tensor, last: Tensor, size: Tensor) -> Tensor:
        """Where the points (c, F) are after a step, by the sizes of the gradients there."""
        if not bool(torch.isfinite(size).all()):
            raise ModelError(
                f"the guided path met a gradient that is NaN or infinite in step {step + 1}. Look at "
                f"the model there, or go straight: path=ig.Straight()."
            )
        share = (step + 1) / self.steps
        low, high = (
            first + min(max(share + d, 0.0), 1.0) * (last - first)
            for d in (-self.max_dist, self.max_dist)
        )
        whole = (last - first).abs().sum(1)
        target = whole * (1 - share)
        towards = (last - first).sign()
        at = torch.where((at - low) * towards < 0, low, at)
        open_ = torch.ones(len(at), dtype=torch.bool, device=at.device)
        for _ in range(ROUNDS):
            left = (last - at).abs().sum(1)
            far = left - target
            open_ = open_ & (far > CLOSE * torch.maximum(left, target) + CLOSE * whole)
            if not bool(open_.any()):
                return at
            size = torch.where(at == high, torch.inf, size)
            chosen = self._smallest(size) & open_[:, None]
            room = ((high - at).abs() * chosen).sum(1)
            gamma = torch.where(room > 0, far / room, torch.inf)
            whole_way = (gamma >= 1)[:, None]
            moved = torch.where(whole_way, high, at + gamma.clamp(max=1)[:, None] * (high - at))
            at = torch.where(chosen, moved, at)
            open_ = open_ & (gamma > 1)
        raise ModelError(
            f"the guided path stalls in step {step + 1} of {self.steps}: the features left cannot make "
            f"the way. Take a larger max_dist (now {self.max_dist}) or fewer steps."
        )

    def _smallest(self, size: Tensor) -> Tensor:
        """The `fraction` of features (c, F) with the smallest sizes, those that are infinite out."""
        rank = int(self.fraction * (size.shape[1] - 1)) + 1
        threshold = size.kthvalue(rank, dim=1, keepdim=True).values
        return (size <= threshold) & torch.isfinite(size)


def _flat(point: Point) -> Tensor:
    """All features of each row side by side, in float64: (n, F)."""
    return torch.cat([p.detach().reshape(len(p), -1).double() for p in point], 1)


def _shaped(flat: Tensor, like: Point) -> Point:
    """The inverse of `_flat`."""
    parts = flat.split([p[0].numel() for p in like], 1)
    return tuple(f.reshape(p.shape).to(p.dtype) for f, p in zip(parts, like, strict=True))

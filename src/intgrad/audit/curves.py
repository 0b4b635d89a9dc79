"""Removal curves: how a score falls as the most important units go, and rises as they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.audit.order import places
from intgrad.audit.refined import Score, by_pairs, refined
from intgrad.audit.removal import as_scored, one_tensor, removing
from intgrad.audit.units import Channels, units_like
from intgrad.errors import InputError

STEPS = 50  # equal ones
MOST = 500  # points, where they are found


@dataclass(frozen=True, eq=False)
class Curve:
    """A score against the share of units that were moved.

    Attributes
    ----------
    fractions
        Shares of the units from 0 to 1: (s,), or (rows, s) where they were found row by row.
    scores
        The score once so many were moved, (rows, s).
    error
        How far `auc` may be from that of the curve with every unit a step, (rows,); NaN of one step.
        It is told from every second point, and lies where a curve moves between points that agree.
    """

    fractions: Tensor
    scores: Tensor
    error: Tensor

    @property
    def auc(self) -> Tensor:
        """Area under each row's curve by the trapezoidal rule, (rows,)."""
        return torch.trapezoid(self.scores, self.fractions.expand_as(self.scores), dim=1)

    @property
    def aopc(self) -> Tensor:
        """How far the score falls on average, (rows,): a plain mean over points in equal steps.

        Of points found row by row it is the area over the curve.
        """
        if self.fractions.ndim == 2:
            return self.scores[:, 0] - self.auc
        return (self.scores[:, :1] - self.scores).mean(1)

    def mirrored(self) -> Curve:
        """Read from the other end: what `insertion` put in is what `lerf` has left, and vice versa."""
        return Curve(1 - self.fractions.flip(-1), self.scores.flip(1), self.error)


def deletion(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    target: Any = None,
    steps: int | None = None,
    rtol: float | None = None,
    channels: Channels = None,
    **how: Any,
) -> Curve:
    r"""The score of x as its units are replaced by the baseline, the most important first.

    .. math:: k \mapsto f(x_{-T_k})

    x without its k most important units, for k from none to all of them.

    Parameters
    ----------
    model
        Any callable on tensors, in evaluation mode.
    x
        One tensor, rows first: images, columns, embeddings, token ids.
    attribution
        A value for every unit: an `Attribution` or a tensor, like x or with the channels summed.
        Large is important, with its sign; for magnitudes pass absolute values. Of tied units the
        earlier goes first.
    target
        What is scored: the softmax probability of the class predicted at x (None), or of a class
        index, or of one index a row. For the raw number ``ig.Logit(3)``; any other target of
        `intgrad.attribute`, or a callable on the output, is scored as it is.
    steps
        Equal portions in which the units go, to the nearest unit; at most one portion a unit; 50 by
        default. With an `rtol`, the most points that a row may be asked at; 500 by default.
    rtol
        Finds the points by itself, row by row, until the area of the curve with every unit a step is
        known to this share of the range of its scores. A photo's score is often gone with the first
        hundredth of its pixels, and in equal steps its area is mostly the first trapezoid.
    channels
        The axes of x whose values are summed, and which go together as one unit: axis 1 of images
        (rows, channels, height, width), none otherwise; 2 for embeddings (rows, tokens, d).
    **how
        ``baseline=`` what replaces a unit, as in `intgrad.attribute`: zeros by default, `Blurred`,
        a tensor; for token ids `MaskToken`. ``given=`` extras aligned with the rows. ``width=`` rows
        a call of the model, found from memory by default, so that memory does not grow with steps.

    Returns
    -------
    Curve
        Its `auc` is low for a good attribution; its `error` says how far that may be off. Costs exactly
        steps + 1 forwards a row; and one row more, once, to find the width, or what fills up the last
        call where it is given. With an `rtol`, as many as it takes.

    Raises
    ------
    InputError, TargetError, ModelError, Unsupported
        In one sentence: what came, what was expected, what to do.

    References
    ----------
    Petsiuk, Das, Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", arXiv:1806.07421.
    """
    plan = _Plan(steps, rtol, channels, inserting=False)
    return _curve(model, x, attribution, target, plan, how)


def insertion(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    target: Any = None,
    steps: int | None = None,
    rtol: float | None = None,
    channels: Channels = None,
    **how: Any,
) -> Curve:
    """The score of the baseline as units of x are put into it, the most important first.

    Parameters, cost and errors as in `deletion`. The `auc` is high for a good attribution. RISE
    inserts into a blurred image: ``baseline=ig.Blurred(10)``.

    References
    ----------
    Petsiuk, Das, Saenko 2018, arXiv:1806.07421.
    """
    plan = _Plan(steps, rtol, channels, inserting=True)
    return _curve(model, x, attribution, target, plan, how)


def diff_id(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    **how: Any,
) -> Tensor:
    """Area under `insertion` minus area under `deletion`, (rows,): high for a good attribution.

    It is the area between the perturbation curves too, `abpc`: what is left when the least important
    units are gone is what was put in of the most important ones. Both see equally many holes, so what
    a model makes of holes as such largely cancels. Parameters and errors as in `deletion`. Costs
    exactly 2 (steps + 1) forwards a row, and twice the row that finds the width.

    References
    ----------
    Yang, Akhtar, Wen, Mian 2023, "Local Path Integration for Attribution",
    doi:10.1609/aaai.v37i3.25422; as areas, in Kim et al. 2026, arXiv:2605.19607. As `abpc`: Schulz,
    Sixt, Tombari, Landgraf 2020, "Restricting the Flow", arXiv:2001.00396.
    """
    rises = insertion(model, x, attribution, **how)
    return rises.auc - deletion(model, x, attribution, **how).auc


@dataclass(frozen=True)
class _Plan:
    """At which points, of which units, and which way."""

    steps: int | None
    rtol: float | None
    channels: Channels
    inserting: bool

    def moved(self, units: int) -> Tensor:
        """How many of the units were moved at each point of the curve, (s,)."""
        steps = min(self.most(STEPS), units)
        return (torch.arange(steps + 1) * units + steps // 2) // steps

    def most(self, default: int) -> int:
        """The number of steps, or of points."""
        return default if self.steps is None else whole_number(self.steps, "steps", 1)

    def tolerance(self) -> float | None:
        """The relative tolerance, if there is one."""
        if self.rtol is None or 0 < self.rtol < 1:
            return self.rtol
        raise InputError(
            f"rtol={self.rtol!r}; expected a share of the scores' range, such as 0.01."
        )


def _curve(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    target: Any,
    plan: _Plan,
    how: dict[str, Any],
) -> Curve:
    values = units_like(attribution, one_tensor(x), plan.channels)
    place = places(values.flatten(1)).reshape(values.shape).int()  # half as much to compare
    units, rtol = values[0].numel(), plan.tolerance()

    def keep(rows: Tensor, moved: Tensor) -> Tensor:
        cut = moved.reshape(-1, *(1,) * (place.ndim - 1))
        return place[rows] < cut if plan.inserting else place[rows] >= cut

    with removing(model, x, as_scored(target), **how) as left:
        points = left.keeping(keep)
        score: Score = lambda rows, moved: left.at(rows, moved, points)  # noqa: E731
        if rtol is None:
            return _in_steps(score, left.whole, plan, units)
        bare = score(torch.arange(len(x)), torch.full((len(x),), 0 if plan.inserting else units))
        ends = torch.stack([bare, left.whole] if plan.inserting else [left.whole, bare], 1)
        eps = torch.finfo(x.dtype if x.is_floating_point() else torch.float32).eps
        moved, scores, error = refined(score, ends, units, rtol, plan.most(MOST), eps)
        return Curve(moved.double() / units, scores, error)


def _in_steps(score: Score, whole: Tensor, plan: _Plan, units: int) -> Curve:
    """The same points for every row; at the end with nothing moved, or all put in, is x itself."""
    rows, moved = len(whole), plan.moved(units).to(whole.device)
    asked = moved[:-1] if plan.inserting else moved[1:]
    found = score(torch.arange(rows).repeat_interleave(len(asked)), asked.repeat(rows))
    parts = (found.reshape(rows, -1), whole[:, None])
    scores = torch.cat(parts if plan.inserting else parts[::-1], 1)
    fractions, every = moved.double() / units, len(asked) == units
    error = torch.zeros_like(scores[:, 0]) if every else by_pairs(fractions, scores)
    return Curve(fractions, scores, error)

"""Removal curves: how a score falls as the most important units go, and rises as they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.audit.order import places
from intgrad.audit.removal import as_scored, one_tensor, removing
from intgrad.audit.units import Channels, units_like


@dataclass(frozen=True, eq=False)
class Curve:
    """A score against the share of units that were moved.

    Attributes
    ----------
    fractions
        Shares of the units, (s,) from 0 to 1.
    scores
        The score once so many were moved, (rows, s).
    """

    fractions: Tensor
    scores: Tensor

    @property
    def auc(self) -> Tensor:
        """Area under each row's curve by the trapezoidal rule, (rows,)."""
        return torch.trapezoid(self.scores, self.fractions, dim=1)


def deletion(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    target: Any = None,
    steps: int = 50,
    channels: Channels = None,
    **how: Any,
) -> Curve:
    r"""The score of x as its units are replaced by the baseline, the most important first.

    .. math:: k \mapsto f(x_{-T_k})

    x without its k most important units, for k from none to all of them in equal portions.

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
        Equal portions in which the units go, to the nearest unit; at most one portion a unit.
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
        Its `auc` is low for a good attribution. Costs exactly steps + 1 forwards a row; and one row
        more, once, to find the width, or what fills up the last call where it is given.

    Raises
    ------
    InputError, TargetError, ModelError, Unsupported
        In one sentence: what came, what was expected, what to do.

    References
    ----------
    Petsiuk, Das, Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", arXiv:1806.07421.
    """
    return _curve(model, x, attribution, target, _Plan(steps, channels, inserting=False), how)


def insertion(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    target: Any = None,
    steps: int = 50,
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
    return _curve(model, x, attribution, target, _Plan(steps, channels, inserting=True), how)


def diff_id(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    **how: Any,
) -> Tensor:
    """Area under `insertion` minus area under `deletion`, (rows,): high for a good attribution.

    Parameters and errors as in `deletion`. Costs exactly 2 (steps + 1) forwards a row, and twice
    the row that finds the width.

    References
    ----------
    Yang, Akhtar, Wen, Mian 2023, "Local Path Integration for Attribution",
    doi:10.1609/aaai.v37i3.25422; as areas, in Kim et al. 2026, arXiv:2605.19607.
    """
    rises = insertion(model, x, attribution, **how)
    return rises.auc - deletion(model, x, attribution, **how).auc


@dataclass(frozen=True)
class _Plan:
    """In how many steps, of which units, and which way."""

    steps: int
    channels: Channels
    inserting: bool

    def moved(self, units: int) -> Tensor:
        """How many of the units were moved at each point of the curve, (s,)."""
        steps = min(whole_number(self.steps, "steps", 1), units)
        return (torch.arange(steps + 1) * units + steps // 2) // steps


def _curve(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    target: Any,
    plan: _Plan,
    how: dict[str, Any],
) -> Curve:
    values = units_like(attribution, one_tensor(x), plan.channels)
    place = places(values.flatten(1)).reshape(values.shape)
    moved = plan.moved(values[0].numel()).to(values.device)
    asked = moved[:-1] if plan.inserting else moved[1:]  # at the other end is x itself

    def keep(rows: Tensor, which: Tensor) -> Tensor:
        cut = asked[which].reshape(-1, *(1,) * (place.ndim - 1))
        return place[rows] < cut if plan.inserting else place[rows] >= cut

    with removing(model, x, as_scored(target), **how) as left:
        found = left(len(asked), keep)
        parts = (found, left.whole[:, None]) if plan.inserting else (left.whole[:, None], found)
        return Curve(moved.double() / moved[-1], torch.cat(parts, 1))

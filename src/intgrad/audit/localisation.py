"""Metrics of a map against the truth: whether it lies where it should."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from intgrad._types import whole_number
from intgrad.audit.order import places, ranks, runs
from intgrad.audit.units import Channels, as_mask, as_units, refuse_empty
from intgrad.errors import InputError


def iou(
    attribution: Any,
    mask: Tensor,
    *,
    threshold: float | None = None,
    valid: Tensor | None = None,
    channels: Channels = None,
) -> Tensor:
    r"""Intersection over union of the most important units and the mask, :math:`|P \cap M| / |P \cup M|`.

    Parameters
    ----------
    attribution
        Tensor (rows, ...) or `Attribution`, taken with its sign.
    mask
        Where the truth lies: bool or 0 and 1, shaped like the units.
    threshold
        P are the units of at least this value; by default as many of the largest as M has
        (of tied ones the earlier).
    valid
        Which units count, shaped like the mask; all by default.
    channels
        The axes summed to one unit; axis 1 of four by default.

    Returns
    -------
    Tensor
        (rows,) in [0, 1], higher is better. No forwards.

    Raises
    ------
    InputError
        A shape that does not fit; a row with an empty mask.

    References
    ----------
    Jaccard 1912, doi:10.1111/j.1469-8137.1912.tb05611.x.
    """
    told = _told(attribution, mask, valid, channels)
    chosen = told.chosen(threshold)
    return (chosen & told.truth).sum(1).double() / (chosen | told.truth).sum(1)


def dice(
    attribution: Any,
    mask: Tensor,
    *,
    threshold: float | None = None,
    valid: Tensor | None = None,
    channels: Channels = None,
) -> Tensor:
    r"""Dice coefficient of the most important units and the mask, :math:`2 |P \cap M| / (|P| + |M|)`.

    Parameters and errors as in `iou`; (rows,) in [0, 1], higher is better. No forwards.

    References
    ----------
    Dice 1945, doi:10.2307/1932409.
    """
    told = _told(attribution, mask, valid, channels)
    chosen = told.chosen(threshold)
    return 2 * (chosen & told.truth).sum(1).double() / (chosen.sum(1) + told.truth.sum(1))


def auprc(
    attribution: Any, mask: Tensor, *, valid: Tensor | None = None, channels: Channels = None
) -> Tensor:
    r"""Average precision: area under the precision-recall curve, by steps.

    .. math:: \sum_k (R_k - R_{k-1}) P_k

    over the distinct values as thresholds, so tied units enter together. A map that knows nothing
    scores the mask's share of the units. Parameters and errors as in `iou`; (rows,) in (0, 1],
    higher is better. No forwards.

    References
    ----------
    Davis, Goadrich 2006, "The Relationship Between Precision-Recall and ROC Curves",
    doi:10.1145/1143844.1143874; of rationales: DeYoung et al. 2020, arXiv:1911.03429.
    """
    told = _told(attribution, mask, valid, channels)
    ordered, order = told.scores.sort(1, descending=True)
    hit = told.truth.gather(1, order).double()
    _, last = runs(ordered)
    precision = hit.cumsum(1).gather(1, last) / (last + 1)
    return (hit * precision).sum(1) / hit.sum(1)


def auroc(
    attribution: Any, mask: Tensor, *, valid: Tensor | None = None, channels: Channels = None
) -> Tensor:
    r"""Area under the ROC curve: the chance that a unit of the mask is above one outside.

    .. math:: P(a_i > a_j) + \tfrac{1}{2} P(a_i = a_j), \qquad i \in M, \; j \notin M

    Parameters and errors as in `iou`; a mask that holds every unit is refused too. (rows,) in
    [0, 1], 0.5 by chance, higher is better. No forwards.

    References
    ----------
    Fawcett 2006, "An introduction to ROC analysis", doi:10.1016/j.patrec.2005.10.010.
    """
    told = _told(attribution, mask, valid, channels)
    refuse_empty(told.valid & ~told.truth, "unit outside the mask")
    inside = told.truth.sum(1)
    outside = told.valid.sum(1) - inside
    above = (ranks(told.scores) * told.truth).sum(1) - inside * (~told.valid).sum(1)
    return (above - inside * (inside + 1) / 2) / (inside * outside)


def pointing_game(
    attribution: Any,
    mask: Tensor,
    *,
    tolerance: int = 0,
    valid: Tensor | None = None,
    channels: Channels = None,
) -> Tensor:
    """Whether the most important unit lies in the mask: 1 or 0, or the share of tied ones that do.

    Parameters and errors as in `iou`; (rows,) in [0, 1], higher is better. No forwards.

    Parameters
    ----------
    tolerance
        A pixel so far from the mask, as the crow flies, is still a hit; the paper allows 15. For
        maps (rows, height, width) only.

    References
    ----------
    Zhang et al. 2018, "Top-Down Neural Attention by Excitation Backprop",
    doi:10.1007/s11263-017-1059-x.
    """
    told = _told(attribution, mask, valid, channels)
    truth = told.truth.reshape(mask.shape)
    near = _grown(truth, whole_number(tolerance, "tolerance", 0)).flatten(1)
    highest = told.scores == told.scores.amax(1, keepdim=True)
    return (highest & near).sum(1).double() / highest.sum(1)


@dataclass(frozen=True, eq=False)
class Told:
    """A map against the truth, (rows, n) each: scores -inf and truth False where not valid."""

    scores: Tensor
    truth: Tensor
    valid: Tensor

    def chosen(self, threshold: float | None) -> Tensor:
        """What the map points at."""
        if threshold is None:
            return places(self.scores) < self.truth.sum(1, keepdim=True)
        return self.scores >= threshold


def _told(attribution: Any, mask: Tensor, valid: Tensor | None, channels: Channels) -> Told:
    units = as_units(attribution, channels)
    truth = as_mask(mask, units.shape).to(units.device)
    counted = torch.ones_like(truth)
    if valid is not None:
        counted = as_mask(valid, units.shape, "valid").to(units.device)
        refuse_empty(counted, "valid unit")
        truth = truth & counted
    refuse_empty(truth, "unit in the mask")
    scores = units.masked_fill(~counted, -torch.inf)
    return Told(scores.flatten(1), truth.flatten(1), counted.flatten(1))


def _grown(mask: Tensor, by: int) -> Tensor:
    """The mask and every pixel at most `by` pixels from it."""
    if not by:
        return mask
    if mask.ndim != 3:
        raise InputError(
            f"tolerance={by} needs masks (rows, height, width); these are {tuple(mask.shape)}."
        )
    way = torch.arange(-by, by + 1, device=mask.device)
    disc = way[:, None] ** 2 + way**2 <= by**2
    return (
        functional.conv2d(mask[:, None].float(), disc[None, None].float(), padding=by)[:, 0] > 0.5
    )

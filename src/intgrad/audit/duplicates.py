"""Units that get the same value to the last digit although they differ: features that say too little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from intgrad.audit.units import Channels, as_units
from intgrad.errors import InputError

RTOL = 1e-6


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Groups of units whose values are equal.

    Attributes
    ----------
    groups
        For each row, the groups: indices of the units, flattened; the largest first.
    share
        (rows,): the share of the map's absolute values that they hold.
    """

    groups: tuple[tuple[tuple[int, ...], ...], ...]
    share: Tensor


def duplicates(
    attribution: Any,
    *,
    distinct: Tensor | None = None,
    rtol: float = RTOL,
    channels: Channels = None,
) -> Duplicates:
    """Find units with equal values: a model that cannot tell them apart, or a map that does not.

    Atoms of a molecule that get identical attributions despite different neighbours point at features
    that the network never mixes: all that tells them apart is lost before it is used.

    Parameters
    ----------
    attribution
        Tensor (rows, ...) or `Attribution`. Zeros are no duplicates: nothing was attributed.
    distinct
        What should tell units apart, whole numbers shaped like the units or like one row of them, such
        as a hash of an atom's neighbourhood. Groups whose units all have the same number are right to
        be equal, and left out. By default all units should differ.
    rtol
        Neighbours in size that differ by less than this, relative to the row's largest, are equal.
    channels
        The axes summed to one unit; axis 1 of four by default.

    Returns
    -------
    Duplicates
        No forwards.

    Raises
    ------
    InputError
        `distinct` of another shape.

    References
    ----------
    Sundararajan, Taly, Yan 2017, "Axiomatic Attribution for Deep Networks", arXiv:1703.01365, section
    on chemistry models: a network whose atoms could not be told apart.
    """
    units = as_units(attribution, channels)
    values = units.flatten(1).double().cpu()
    labels = _labels(distinct, units)
    found = [_of_row(row, own, rtol) for row, own in zip(values, labels, strict=True)]
    held = [
        row[[i for g in groups for i in g]].abs().sum()
        for row, groups in zip(values, found, strict=True)
    ]
    whole = values.abs().sum(1)
    share = torch.stack(held) / torch.where(whole > 0, whole, 1)
    return Duplicates(tuple(found), share)


def _of_row(row: Tensor, labels: Tensor, rtol: float) -> tuple[tuple[int, ...], ...]:
    slack = rtol * float(row.abs().max())
    ordered, order = row.sort(stable=True)
    begins = torch.cat([torch.ones(1, dtype=torch.bool), ordered.diff() > slack])
    groups = torch.tensor_split(order, begins.nonzero()[1:, 0])
    kept = [
        tuple(sorted(g.tolist()))
        for g in groups
        if len(g) > 1 and float(row[g].abs().max()) > slack and len(labels[g].unique()) > 1
    ]
    return tuple(sorted(kept, key=lambda g: (-len(g), g)))


def _labels(distinct: Tensor | None, units: Tensor) -> Tensor:
    shape = tuple(units.shape)
    if distinct is None:
        return torch.arange(units[0].numel()).expand(len(units), -1)
    if tuple(distinct.shape) not in (shape, shape[1:]):
        raise InputError(
            f"distinct is {tuple(distinct.shape)}; expected {shape}, or {shape[1:]} for all rows."
        )
    return distinct.cpu().expand(shape).flatten(1)

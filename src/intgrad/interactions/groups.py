"""Groups of features: words, superpixels, columns; what interacts with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.errors import InputError


@dataclass(frozen=True)
class Groups:
    """Labels (features,) of one row, flat; how many groups, and how many axes a row has."""

    labels: Tensor
    count: int
    axes: int

    def read(self, parts: Tensor) -> Tensor:
        """Add up features (..., *features) by group: (..., g)."""
        flat = parts.reshape(*parts.shape[: parts.ndim - self.axes], -1)
        out = flat.new_zeros(*flat.shape[:-1], self.count)
        return out.index_add(-1, self.labels.to(flat.device), flat)


def read_groups(groups: object, shape: torch.Size) -> Groups:
    """Groups as the user names them, of rows of this shape.

    Parameters
    ----------
    groups
        None: every number alone. A whole number: an axis of x, whose places are the groups. A
        tensor of whole numbers shaped like a row: the group of every number.

    Raises
    ------
    InputError
        Anything else.
    """
    if groups is None:
        return Groups(torch.arange(shape.numel()), shape.numel(), len(shape))
    if isinstance(groups, Tensor):
        return _labelled(groups, shape)
    axis = whole_number(groups, "groups")
    if not axis % (len(shape) + 1) >= 1 or not -len(shape) <= axis <= len(shape):
        raise InputError(
            f"groups={axis}; expected an axis of the features, 1 to {len(shape)} of x (axis 0 holds the "
            f"rows), or a tensor of whole numbers shaped {tuple(shape)}."
        )
    axis = axis % (len(shape) + 1) - 1
    places = torch.arange(shape[axis]).reshape(-1, *(1,) * (len(shape) - axis - 1))
    return Groups(places.expand(shape).flatten(), shape[axis], len(shape))


def _labelled(labels: Tensor, shape: torch.Size) -> Groups:
    whole = not labels.is_floating_point() and labels.dtype != torch.bool
    if labels.shape != shape or not whole or int(labels.min()) < 0:
        raise InputError(
            f"groups are {tuple(labels.shape)} {labels.dtype}; expected {tuple(shape)} whole numbers from "
            f"0, like one row of x."
        )
    return Groups(labels.flatten().long().cpu(), int(labels.max()) + 1, len(shape))


def chosen(of: Sequence[int] | None, count: int) -> Tensor:
    """The groups whose interactions with all are wanted: (k,); None for all of them."""
    if of is None:
        return torch.arange(count)
    found = [whole_number(i, "of", 0) for i in (of.tolist() if isinstance(of, Tensor) else of)]
    if not found or max(found) >= count or len(set(found)) < len(found):
        raise InputError(f"of={list(of)}; expected different groups, each 0 to {count - 1}.")
    return torch.tensor(found)


def one_hot(which: Tensor, count: int) -> Tensor:
    """Directions (k, g), each of which is one group."""
    return torch.eye(count, dtype=torch.float64)[which]

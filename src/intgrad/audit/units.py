"""Units: what is ranked, removed and counted. Pixels with their channels summed, tokens, columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from intgrad._types import plain, refuse_nonfinite, wide
from intgrad.attribution import Attribution
from intgrad.errors import InputError

Channels = int | Sequence[int] | None


def as_values(attribution: Any, name: str = "attribution") -> Tensor:
    """The values of an attribution, or a tensor of them: (rows, ...), float32 at least.

    Raises
    ------
    InputError
        Several targets or tensors; not real, not finite; no rows or nothing in them.
    """
    found = attribution.values if isinstance(attribution, Attribution) else attribution
    if isinstance(attribution, Attribution) and attribution.several:
        raise InputError(f"{name} explains several targets; pass one of them: {name}.target(0).")
    if not isinstance(found, Tensor):
        raise InputError(
            f"{name} holds a {type(found).__name__}; expected one tensor (rows, ...), or an "
            f"Attribution whose values are one."
        )
    if found.ndim < 2 or not found.numel():
        raise InputError(
            f"{name} has shape {tuple(found.shape)}; expected (rows, ...) with at least one unit."
        )
    if found.is_complex():
        raise InputError(f"{name} is {found.dtype}; expected real numbers.")
    refuse_nonfinite(found, name)
    return plain(found).to(wide(found.dtype))


def as_units(attribution: Any, channels: Channels, name: str = "attribution") -> Tensor:
    """Values with the channels summed to one unit, (rows, ...)."""
    values = as_values(attribution, name)
    dims = channel_dims(values.shape, channels)
    return values.sum(dims) if dims else values  # torch would sum everything over no dims


def units_like(attribution: Any, x: Tensor, channels: Channels) -> Tensor:
    """A value for every unit of x, shaped so that it multiplies x.

    Parameters
    ----------
    attribution
        Like x, or with its channels already summed (kept as 1, or gone).

    Raises
    ------
    InputError
        A shape that is none of these.
    """
    values = as_values(attribution).to(x.device)
    dims = channel_dims(x.shape, channels)
    kept = tuple(1 if d in dims else size for d, size in enumerate(x.shape))
    gone = tuple(size for d, size in enumerate(x.shape) if d not in dims)
    if tuple(values.shape) in (kept, gone):
        return values.reshape(kept)
    if values.shape != x.shape:
        raise InputError(
            f"attribution has shape {tuple(values.shape)} and x {tuple(x.shape)}; expected the same, "
            f"or {gone} with the channels summed. channels= says which axes of x are channels."
        )
    return values.sum(dims, keepdim=True)


def channel_dims(shape: Sequence[int], channels: Channels) -> tuple[int, ...]:
    """The axes summed to one unit: axis 1 of images (rows, channels, height, width), else none."""
    if channels is None:
        return (1,) if len(shape) == 4 else ()
    given = (channels,) if isinstance(channels, int) else tuple(channels)
    if not all(0 < d < len(shape) for d in given):
        raise InputError(
            f"channels={channels!r} of shape {tuple(shape)}; expected axes 1 to {len(shape) - 1}."
        )
    return given


def as_mask(mask: Any, shape: Sequence[int], name: str = "mask") -> Tensor:
    """A mask of this shape as bool.

    Raises
    ------
    InputError
        Another shape, or something other than True, False, 1 and 0.
    """
    if not isinstance(mask, Tensor) or tuple(mask.shape) != tuple(shape):
        got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise InputError(f"{name} is {got}; expected a tensor {tuple(shape)}, one entry a unit.")
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError(f"{name} holds more than 0 and 1; compare first, e.g. {name} > 0.5.")
    return plain(mask).bool()


def refuse_empty(mask: Tensor, what: str) -> None:
    """Name the first row of `mask` in which nothing is True."""
    empty = ~mask.reshape(len(mask), -1).any(1)
    if bool(empty.any()):
        raise InputError(
            f"row {int(empty.nonzero()[0])} has no {what}; expected at least one in every row."
        )

"""Somebody's explain function, asked with care: what it returns is looked at, the model kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from intgrad._types import plain, wide
from intgrad.attribution import Attribution
from intgrad.audit.finding import Explain
from intgrad.audit.kept import kept
from intgrad.errors import InputError


def explained(explain: Explain, model: Callable[..., Any], x: Tensor, target: Any) -> Tensor:
    """The values that an explain function gives, shaped like x or with its channels summed away.

    Parameters
    ----------
    explain
        ``(model, x, target) -> values``: a tensor, an array, or an `Attribution`.

    Raises
    ------
    InputError
        Something else, another shape, NaN or infinity; one sentence.
    ModelError
        The function changed the model, which is put back as it was.
    """
    wanted = "a tensor, an array or an Attribution with a value for every entry of x"
    values, _ = asked(explain, model, x, target, wanted)
    _refuse_shape(values, x)
    if not bool(torch.isfinite(values).all()):
        row = int((~torch.isfinite(values)).reshape(len(values), -1).any(1).nonzero()[0])
        raise InputError(f"explain returned NaN or infinity in row {row}; expected finite numbers.")
    return plain(values).to(x.device, wide(values.dtype))


def asked(
    explain: Explain, model: Callable[..., Any], x: Tensor, target: Any, wanted: str
) -> tuple[Tensor, Attribution | None]:
    """What an explain function returns, as a tensor, and the `Attribution` it came in, if it was one.

    `wanted` says in a refusal what was expected.
    """
    with kept(model):
        found = explain(model, x, target)
    values = found.values if isinstance(found, Attribution) else found
    if isinstance(values, np.ndarray):
        values = torch.as_tensor(values)
    if not isinstance(values, Tensor):
        raise InputError(f"explain returned a {type(values).__name__}; expected {wanted}.")
    return values, found if isinstance(found, Attribution) else None


def _refuse_shape(values: Tensor, x: Tensor) -> None:
    fits = values.ndim >= 2 and len(values) == len(x)
    same = fits and tuple(values.shape) == tuple(x.shape)
    summed = fits and x.ndim == 4 and tuple(values.shape) in _without_channels(x)
    if not (same or summed):
        less = f" or {_without_channels(x)[1]}" if x.ndim == 4 else ""
        raise InputError(
            f"explain returned shape {tuple(values.shape)}; expected {tuple(x.shape)}, like x{less}."
        )


def _without_channels(x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rows, _, *sides = x.shape
    return (rows, 1, *sides), (rows, *sides)

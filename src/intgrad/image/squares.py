"""Squares of a picture: units large enough for a sign to be certain, and for two answers to agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from intgrad._types import whole_number
from intgrad.attribution import Attribution

ACROSS = 16


def squares(across: int = ACROSS) -> Callable[[Attribution], Attribution]:
    """Values (rows, channels, height, width) added up in squares: what `group=` may be.

    Parameters
    ----------
    across
        How many squares the longer side has, at most; those at the right and at the bottom may be cut.

    Returns
    -------
    callable
        Attribution -> Attribution with values (rows, squares down, squares across). Completeness stays,
        errors add.
    """
    whole_number(across, "across", 1)

    def gather(a: Attribution) -> Attribution:
        height, width = a.values.shape[-2:]
        side = -(-max(height, width) // across)
        down, along = -(-height // side), -(-width // side)
        cell = torch.arange(height)[:, None] // side * along + torch.arange(width) // side
        found = a.group(cell.expand(a.values.shape[1:]))
        grid = lambda t: t.unflatten(-1, (down, along))  # noqa: E731
        wrong = None if found.error_map is None else grid(found.error_map)
        return replace(found, values=grid(found.values), error_map=wrong)

    return gather

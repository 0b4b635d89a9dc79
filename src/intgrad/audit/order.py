"""Orders of numbers, row by row: places, runs of equal neighbours, ranks with ties shared."""

from __future__ import annotations

import torch
from torch import Tensor


def places(scores: Tensor) -> Tensor:
    """Each entry's place from the largest on, 0 first; ties keep their order. (rows, n)."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    return torch.empty_like(order).scatter_(1, order, _counting(scores))


def runs(*sequences: Tensor) -> tuple[Tensor, Tensor]:
    """Where the run that each entry belongs to begins and ends, (rows, n) both.

    A run is a stretch in which no sequence (rows, n) changes.
    """
    index = _counting(sequences[0])
    opens = torch.ones_like(index, dtype=torch.bool)
    opens[:, 1:] = torch.stack([s[:, 1:] != s[:, :-1] for s in sequences]).any(0)
    closes = opens.roll(-1, 1)  # the first entry opens a run, so the last closes one
    first = torch.where(opens, index, 0).cummax(1).values
    last = torch.where(closes, index, index.shape[1]).flip(1).cummin(1).values.flip(1)
    return first, last


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1 on, the smallest first; equal values share the mean of theirs. (rows, n)."""
    ordered, order = values.sort(1)
    first, last = runs(ordered)
    shared = (first + last).double() / 2 + 1
    return torch.empty_like(shared).scatter_(1, order, shared)


def _counting(like: Tensor) -> Tensor:
    return torch.arange(like.shape[1], device=like.device).expand(like.shape)

"""Calls of a model that fit in memory: as many rows at a time as there is room for."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.errors import ModelError
from intgrad.model.memory import bytes_for_backward, out_of_memory, panel_width_for, width_for

Ask = Callable[[Point, Tensor], tuple[Tensor, ...]]


def in_calls(oracle: Any, x: Point, rows: Tensor, ask: Ask) -> tuple[Tensor, ...]:
    """Ask in calls of the oracle's width; results have rows on axis 1 and are joined there.

    A call that does not fit is halved.

    Raises
    ------
    ModelError
        A single row does not fit, or a call whose width the user fixed.
    """
    done: list[tuple[Tensor, ...]] = []
    start, n = 0, len(rows)
    while start < n:
        part = slice(start, min(start + (oracle.width or n), n))
        try:
            done.append(_padded(oracle, tuple(p[part] for p in x), rows[part], ask))
        except Exception as error:
            if not out_of_memory(error):
                raise
            _halve(oracle, part.stop - part.start, error)
        else:
            start = part.stop
            continue
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return done[0] if len(done) == 1 else tuple(torch.cat(c, 1) for c in zip(*done, strict=True))


def find_width(oracle: Any, raw: Point, rows: Tensor, ask: Ask) -> None:
    """How many rows a call holds, from the memory that one keeps for its backward pass."""
    one = lambda: ask(tuple(p[:1] for p in raw), rows[:1])  # noqa: E731
    try:
        with oracle.meter.aside(), torch.enable_grad():
            row = bytes_for_backward(oracle, one)
    except Exception as error:
        if out_of_memory(error):
            _halve(oracle, 1, error)
        raise
    oracle.width, oracle.backward.row = width_for(row, raw[0].device), row
    oracle.panel_width = panel_width_for(oracle.width, row)


def _padded(oracle: Any, x: Point, rows: Tensor, ask: Ask) -> tuple[Tensor, ...]:
    missing = oracle.width - len(rows) if oracle.padded else 0
    if missing <= 0:
        return ask(x, rows)
    filled = tuple(torch.cat([p, p[-1:].expand(missing, *p.shape[1:])]) for p in x)
    with oracle.meter.quiet(missing):
        found = ask(filled, torch.cat([rows, rows[-1:].expand(missing)]))
    return tuple(f[:, : len(rows)] for f in found)


def _halve(oracle: Any, tried: int, error: Exception) -> None:
    tried = max(tried, oracle.width) if oracle.padded else tried
    if oracle.padded or tried == 1:
        remedy = "choose a smaller width=" if tried > 1 else "use a smaller input or model"
        raise ModelError(f"a call of {tried} rows does not fit in memory; {remedy}.") from error
    oracle.width = tried // 2

"""How many rows fit in one call: counted from what a single row keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from intgrad._types import Point, wide
from intgrad.errors import ModelError

CPU_BUDGET = 32 << 20  # bytes one call keeps for its backward pass; fixed, so that calls repeat
CPU_MOST = 1 << 30  # what a call of at least `NARROWEST` rows may keep instead
NARROWEST, WIDEST = 4, 4096
PANELS = ((8, CPU_MOST), (16, 4 * CPU_BUDGET))  # so many points at least, if they keep no more
CPU_BATCH = 4 << 20  # bytes that a batch of cotangents works on: more falls out of the cache
FEWEST, MOST = 4, 16  # cotangents in a batch: fewer lose to a loop, more gain nothing
COPIES = 3  # of the gradients of all targets: found, times the velocity, times the weight


def bytes_for_backward(oracle: Any, ask: Callable[[], object]) -> int:
    """What one row keeps for its backward pass, counted without parameters, on any device."""
    own = set()
    if isinstance(oracle.model, nn.Module):
        own = {p.untyped_storage().data_ptr() for p in oracle.model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided and tensor.device.type != "meta":
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            ask()
    except ModelError as error:
        if "saved tensor hooks" not in str(error):
            raise
        return CPU_BUDGET // 64  # torch.func inside the model hides what it keeps
    features = sum(p[:1].numel() * p.element_size() for p in oracle.raw)
    return sum(kept.values()) + 4 * features


def width_for(row: int, device: torch.device) -> int:
    """The power of two of rows whose backward fits the budget: fixed numbers, so calls repeat."""
    budget, most = CPU_BUDGET, CPU_MOST
    if device.type == "cuda":
        budget = most = torch.cuda.get_device_properties(device).total_memory // 8
    row = max(row, 1)
    fit = min(WIDEST, max(budget // row, min(NARROWEST, most // row), 1))
    return 1 << (fit.bit_length() - 1)


def panel_width_for(width: int, row: int) -> int:
    """Points in a call that averages panels: more than `width`, where that is narrow.

    Of k points in a row it makes k - 1 panels, and it is more operations than a gradient, each with
    a price that does not depend on k.
    """
    return max(width, *(points for points, most in PANELS if points * row <= most), 1)


def width_for_targets(targets: int, features: Point) -> int:
    """How many rows' gradients (targets, rows, ...) may be held, `COPIES` of them, by that budget."""
    one = sum(p[0].numel() * wide(p.dtype).itemsize for p in features)
    return width_for(COPIES * targets * one, features[0].device)


def cotangents_for(call: int, device: torch.device) -> int:
    """How many targets go backward at once beside a call that keeps so many bytes; 1: a loop.

    On a CPU batches were faster than a loop for calls that keep up to about 1 MiB, and slower for
    larger ones (`benchmarks/targets.py`). On CUDA, where that was not measured, memory bounds them.
    """
    budget = CPU_BATCH
    if device.type == "cuda":
        budget = torch.cuda.get_device_properties(device).total_memory // 8
    fit = min(MOST, budget // max(call, 1))
    return fit if fit >= FEWEST else 1


def out_of_memory(error: BaseException) -> bool:
    """Whether this is memory running out, on any device."""
    return isinstance(
        error, torch.OutOfMemoryError | MemoryError
    ) or "can't allocate memory" in str(error)

"""Gradients of several values from one forward: a loop of backwards, or batches where those pay.

A batch runs the backward pass once for several cotangents (`torch.autograd.grad` with
``is_grads_batched``). That saves the cost of calls, and nothing else: where a call is wide enough to
keep the machine busy, the loop is as fast or faster, for its working set stays in the cache. Both
compute the same products in another order, so a target's gradient moves by rounding with the size
of its batch, and with the fixed call width, where bytes are promised, there is only the loop.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.errors import ModelError
from intgrad.model.memory import cotangents_for, out_of_memory
from intgrad.model.refusals import last_line


@dataclass
class Backward:
    """How a model's backward pass is run for several values at once.

    Attributes
    ----------
    row
        What one row keeps for its backward pass, in bytes; None: always one value at a time.
    batched
        Whether the model's backward can be batched; None: not tried yet. It cannot where an
        operation has no batching rule, or where a backward written in Python reads numbers.
    """

    row: int | None = None
    batched: bool | None = None

    def __call__(
        self, values: Tensor, leaves: Point, live: bool, again: Callable[[], Tensor] | None = None
    ) -> list[Tensor]:
        """Gradients (T, n, ...) of values (T, n), one tensor for each leaf (n, ...).

        Parameters
        ----------
        live
            Keep the graph, so that the gradients can be differentiated: always a loop.
        again
            Another forward, for models whose graph can be gone through only once.
        """
        if live or len(values) == 1:
            return _loop(values, leaves, live=live)
        try:
            return self._shared(values, leaves)
        except ModelError as error:
            if again is None or "donated buffers" not in str(error):  # a compiled part
                raise
        found = (_loop(again()[t : t + 1], leaves) for t in range(len(values)))
        return [torch.cat(parts) for parts in zip(*found, strict=True)]

    def _shared(self, values: Tensor, leaves: Point) -> list[Tensor]:
        """All the gradients from one graph."""
        out = [leaf.new_empty(len(values), *leaf.shape) for leaf in leaves]
        for part in self._parts(values):
            found = self._batch(values[part], leaves) if part.stop - part.start > 1 else None
            if found is None:
                found = _loop(values[part], leaves, keep=part.stop < len(values))
            for kept, some in zip(out, found, strict=True):
                kept[part] = some
        return out

    def _parts(self, values: Tensor) -> list[slice]:
        """Equal stretches of the targets, each small enough for one batch."""
        count, n = values.shape
        alone = self.row is None or self.batched is False
        most = 1 if alone else cotangents_for(self.row * n, values.device)  # type: ignore[operator]
        pieces = -(-count // most)
        edges = [count * i // pieces for i in range(pieces + 1)]
        return [slice(a, b) for a, b in pairwise(edges)]

    def _batch(self, values: Tensor, leaves: Point) -> list[Tensor] | None:
        """All gradients by one backward, or None where the model's backward refuses that."""
        if self.batched is False:
            return None
        try:
            return _batched(values, leaves) if self.batched else self._first(values, leaves)
        except Exception as error:
            if out_of_memory(error):
                raise
            self.batched = False  # the loop says what is wrong, if anything is
            return None

    def _first(self, values: Tensor, leaves: Point) -> list[Tensor]:
        """The first batch. Torch warns of operations it must run one by one: then a loop is better."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = _batched(values, leaves)
        slow = [w for w in said if "batching rule" in str(w.message)]
        self.batched = not slow
        for w in said:
            if w not in slow:  # the model's own
                warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
        return found


def _batched(values: Tensor, leaves: Point) -> list[Tensor]:
    """Gradients (k, n, ...) of values (k, n), in one backward of k cotangents."""
    k = len(values)
    one = torch.eye(k, dtype=values.dtype, device=values.device)[:, :, None].expand(
        k, *values.shape
    )
    found = torch.autograd.grad(
        values, leaves, one, retain_graph=True, allow_unused=True, is_grads_batched=True
    )
    return [
        leaf.new_zeros(k, *leaf.shape) if g is None else g
        for g, leaf in zip(found, leaves, strict=True)
    ]


def _loop(values: Tensor, leaves: Point, keep: bool = False, live: bool = False) -> list[Tensor]:
    """Gradients (k, n, ...) of values (k, n), one backward each; the last frees the graph, or not."""
    keep, end = keep or live, len(values) - 1
    found = [differentiate(v.sum(), leaves, keep or t < end, live) for t, v in enumerate(values)]
    return [_stacked([or_zeros(g[i], leaf) for g in found]) for i, leaf in enumerate(leaves)]


def differentiate(
    number: Tensor, leaves: Point, retain: bool = False, create: bool = False
) -> tuple[Tensor | None, ...]:
    """Gradients of a number, None where it does not depend on a leaf.

    Raises
    ------
    ModelError
        The backward pass failed, for another reason than memory.
    """
    try:
        return torch.autograd.grad(
            number, leaves, retain_graph=retain, create_graph=create, allow_unused=True
        )
    except Exception as error:
        if out_of_memory(error):
            raise
        raise ModelError(
            f"the model's backward pass failed: {type(error).__name__}: {last_line(error)}"
        ) from error


def or_zeros(gradient: Tensor | None, leaf: Tensor) -> Tensor:
    """The gradient, or the zeros that None stands for."""
    return torch.zeros_like(leaf) if gradient is None else gradient


def _stacked(parts: list[Tensor]) -> Tensor:
    """Tensors (n, ...) as one (T, n, ...); a single one is not copied."""
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)

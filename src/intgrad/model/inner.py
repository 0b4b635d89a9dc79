"""A `TorchOracle` asked about its layers, in calls that fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from intgrad._types import Point
from intgrad.model.calls import in_calls
from intgrad.model.observe import Place, Seen, observe, through


def observed(
    oracle: Any, x: Point, rows: Tensor, places: Sequence[Place], directions: Sequence[Point]
) -> tuple[Tensor, Tensor, list[Seen]]:
    """`observe`, and what it cost."""
    size, k = len(x), len(directions)

    def ask(packed: Point, which: Tensor) -> tuple[Tensor, ...]:
        point, *ways = (packed[i * size : (i + 1) * size] for i in range(k + 1))
        values, rise, seen = observe(_answer(oracle, which), point, places, ways)
        oracle.meter.count(which, len(values))
        for _ in ways:
            oracle.meter.tangent(which)
        parts = ((s.activation[None], s.tangents, s.gradient) for s in seen)
        return values, rise.transpose(1, 2), *(tensor for part in parts for tensor in part)

    packed = sum((tuple(d) for d in directions), tuple(x))
    values, rise, *found = in_calls(oracle, packed, rows, ask)
    triples = zip(*(iter(found),) * 3, strict=True)
    return values, rise.transpose(1, 2), [Seen(a[0], t, g) for a, t, g in triples]


def by_way_of(
    oracle: Any, x: Point, rows: Tensor, place: Place, pick: Callable[[Tensor], Tensor]
) -> Point:
    """Gradients (T, n, ...) by way of a part of one place; see `through`."""

    def ask(point: Point, which: Tensor) -> tuple[Tensor, ...]:
        found = through(_answer(oracle, which), point, place, pick)
        oracle.meter.count(which, len(found[0]))
        return tuple(found)

    return in_calls(oracle, x, rows, ask)[1:]


def _answer(oracle: Any, which: Tensor) -> Callable[[Point], Tensor]:
    """Points -> values (T, n), by one call of the model."""
    return lambda point: oracle._target(oracle._entered(point), which)

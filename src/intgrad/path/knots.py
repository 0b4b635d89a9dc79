"""Straight from point to point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from intgrad._types import flatten, plain, refuse_nonfinite
from intgrad.errors import InputError
from intgrad.path.curve import Curves, polyline


@dataclass(frozen=True, eq=False, repr=False)
class Polyline:
    """From the baseline through given points to the input, straight from each to the next.

    Parameters
    ----------
    through
        The points between, in order: a tensor (k, ...) of rows like x, the same for every row, or
        (k, rows, ...), each row its own. Where x is a tuple or dict, one of these for each of its
        tensors, as a tuple.

    Notes
    -----
    k + 1 segments a curve, each with the nodes of the rule; the values of the target at the points
    between are never asked for.
    """

    through: Any
    monotone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        points, _ = flatten(self.through, "Polyline")
        for part in points:
            refuse_nonfinite(part, "Polyline")
        object.__setattr__(self, "through", tuple(plain(p) for p in points))

    def trace(self, oracle: object, curves: Curves) -> Curves:
        """Segments through the points."""
        every = torch.arange(len(curves))
        ends = curves.start.take(every), curves.end.take(every)
        if len(self.through) != len(ends[0]):
            raise InputError(
                f"Polyline goes through {len(self.through)} tensors and x has {len(ends[0])}; expected "
                f"one for each."
            )
        rows = int(curves.row.max()) + 1
        parts = zip(*ends, self.through, strict=True)
        return polyline(tuple(_knots(*part, curves.row, rows) for part in parts), curves)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Polyline) or hash(self) != hash(other):
            return False
        return all(torch.equal(a, b) for a, b in zip(self.through, other.through, strict=True))

    def __hash__(self) -> int:
        return hash(tuple((tuple(p.shape), p.dtype) for p in self.through))

    def __repr__(self) -> str:
        return f"Polyline({self.name})"

    @property
    def name(self) -> str:
        """What a page says of it."""
        return f"{len(self.through[0])} points"


def _knots(start: Tensor, end: Tensor, through: Tensor, row: Tensor, rows: int) -> Tensor:
    """(k + 2, c, ...): start, the points between, end."""
    own, shared = (rows, *end.shape[1:]), tuple(end.shape[1:])
    found = through.to(end.device, end.dtype)
    if tuple(found.shape[1:]) == own:
        between = found[:, row.to(found.device)]
    elif tuple(found.shape[1:]) == shared:
        between = found[:, None].expand(-1, *end.shape)
    else:
        raise InputError(
            f"Polyline goes through points of shape {tuple(found.shape)}; expected (k, "
            f"{', '.join(map(str, shared))}), or (k, {', '.join(map(str, own))}), to match x."
        )
    return torch.cat([start[None], between, end[None]])

"""The door: a tensor, a tuple or a dict of tensors comes in, a `Point` goes through the house.

A point is a tuple of tensors whose first axis is the row. `open_door` checks what came and
remembers its structure; `Structure.close` gives results back in the shape the user knows.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from intgrad.errors import InputError

Point = tuple[Tensor, ...]
Tree = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


@dataclass(frozen=True)
class Structure:
    """How a `Point` looked when the user passed it: alone, a tuple, or a dict with these keys."""

    kind: str
    keys: tuple[str, ...] = ()

    def close(self, point: Point) -> Tree:
        """Give `point` the structure of what was passed in."""
        if self.kind == "tensor":
            return point[0]
        return point if self.kind == "tuple" else dict(zip(self.keys, point, strict=True))

    def names(self, size: int) -> tuple[str, ...]:
        """Name the tensors for messages: ``x``, ``x[0]``, ``x['ids']``."""
        if self.kind == "tensor":
            return ("x",) * size
        return tuple(f"x[{k!r}]" for k in (self.keys or range(size)))


def flatten(x: Any, name: str = "x") -> tuple[Point, Structure]:
    """Take a tensor, tuple, list or mapping of tensors apart."""
    if isinstance(x, Tensor):
        return (x,), Structure("tensor")
    if isinstance(x, Mapping):
        keys = tuple(str(k) for k in x)
        point, structure = tuple(x.values()), Structure("dict", keys)
    elif isinstance(x, tuple | list):
        point, structure = tuple(x), Structure("tuple")
    else:
        point, structure = (x,), Structure("tensor")
    for part in point:
        if not isinstance(part, Tensor):
            raise InputError(
                f"{name} holds a {type(part).__module__}.{type(part).__name__}; expected a torch "
                f"tensor, or a tuple or dict of them. Convert it first, e.g. torch.as_tensor(...)."
            )
    if not point:
        raise InputError(f"{name} is empty; expected at least one tensor.")
    return point, structure


def open_door(x: object) -> tuple[Point, Structure]:
    """Check the model's input and take it apart.

    Raises
    ------
    InputError
        Not tensors, no batch axis, no rows, unequal numbers of rows, NaN or infinity.
    """
    point, structure = flatten(x)
    names = structure.names(len(point))
    for name, part in zip(names, point, strict=True):
        if part.ndim == 0:
            raise InputError(f"{name} is a single number; expected rows first. Use x[None].")
        if part.shape[0] == 0:
            raise InputError(f"{name} has shape {tuple(part.shape)}: no rows to explain.")
        if part.is_meta:
            raise InputError(f"{name} is on the meta device: it has a shape and no values.")
        if part.is_complex():
            raise InputError(f"{name} is {part.dtype}; attribution needs real numbers.")
        if part.shape[0] != point[0].shape[0]:
            raise InputError(
                f"{names[0]} has {point[0].shape[0]} rows and {name} has {part.shape[0]}; "
                f"expected the same number of rows in every tensor."
            )
        refuse_nonfinite(part, name)
    return point, structure


def refuse_nonfinite(part: Tensor, name: str) -> None:
    """Name the first row of `part` that holds NaN or infinity."""
    if not part.is_floating_point() or bool(torch.isfinite(part).all()):
        return
    bad = ~torch.isfinite(part).reshape(part.shape[0], -1).all(1)
    row = int(bad.nonzero()[0])
    raise InputError(f"{name} holds NaN or infinity in row {row}; expected finite numbers.")


def whole_number(value: object, name: str, least: int | None = None) -> int:
    """A whole number, numpy's too; no bool, and no less than `least`.

    Raises
    ------
    InputError
        Anything else.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or (least is not None and number < least):
        bound = "" if least is None else f" of at least {least}"
        raise InputError(f"{name}={value!r}; expected a whole number{bound}.")
    return number


def plain(part: Tensor) -> Tensor:
    """Detach, and leave inference mode behind, without touching the user's tensor."""
    return part.clone() if part.is_inference() else part.detach()


def like(t: Tensor, part: Tensor) -> Tensor:
    """Shape the (n,) numbers `t` so that they multiply the rows of `part` (n, ...)."""
    return t.to(part.dtype).reshape(-1, *(1,) * (part.ndim - 1))


def wide(dtype: torch.dtype) -> torch.dtype:
    """Sums and velocities are float32 at least, whatever the model computes in."""
    return torch.promote_types(dtype, torch.float32)


def each_row(part: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a reduction row by row, so that a row's bytes never depend on its batch mates."""
    return torch.stack([function(row) for row in part]) if len(part) else part.new_zeros(0)


def total(point: Point) -> Tensor:
    """Sum everything but the first axis, in float64: (n,)."""
    parts = [each_row(p, lambda row: row.double().sum()) for p in point]
    return torch.stack(parts).sum(0)


def magnitude(point: Point) -> Tensor:
    """The L1 norm of each row over all its tensors, in float64: (n,)."""
    return total(tuple(p.abs() for p in point))


def each_target(point: Point, reduce: Callable[[Point], Tensor]) -> Tensor:
    """Reduce tensors (T, rows, ...) target by target: (T, rows)."""
    return torch.stack([reduce(tuple(p[t] for p in point)) for t in range(len(point[0]))])


def chunks(size: int, width: int) -> Iterator[slice]:
    """Cut range(size) in slices of at most `width`."""
    return (slice(i, min(i + width, size)) for i in range(0, size, width))


def arity(function: Callable[..., Any]) -> int:
    """How many positional arguments a user's function needs (a large number for ``*args``).

    Those with defaults are the user's own; a builtin that does not say is given one.
    """
    function = getattr(function, "forward", function)  # of an nn.Module, whose __call__ hides it
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return 1
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 99
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters)

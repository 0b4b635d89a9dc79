"""The one seam to the framework: asked for many points at once, returns values and gradients.

An oracle is any ``oracle(x, rows) -> (values, gradients)``. What more it can do are abilities,
asked for by name and refused by name when missing:

``value(x, rows)``
    values alone, without a backward pass
``cotangents(x, rows)``
    several targets from one forward: values (T, n), gradients (T, n, ...); ``targets`` is T
``panels(x, rows, first, second, places)``
    gradients averaged over the panels between consecutive points: (T, p, ...); with places also those at
    layers, and how layers and values move
``regions(x, rows, direction, room, units)``
    where the linear regions around points end, and their gradients
``observe(x, rows, at, tangents)``
    {location: (activation, tangent, gradient)}
``vocabulary()``
    the embeddings (V, d) of all words, where features are embeddings
``hvp(x, rows, velocity, read, mix)``
    slopes (n, g), and products of the Hessian with directions (k, n, g), by groups of features
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.errors import Unsupported


class Oracle(Protocol):
    """Points (n, ...) and which example each belongs to -> values (n,), gradients like x."""

    def __call__(self, x: Point, rows: Tensor, /) -> tuple[Tensor, Point]: ...


def ability(oracle: object, name: str) -> Any:
    """The oracle's method `name`, or a refusal that says what is missing.

    Raises
    ------
    Unsupported
        The oracle does not have it.
    """
    method = getattr(oracle, name, None)
    if method is None:
        raise Unsupported(f"this needs an oracle with {name!r}; {type(oracle).__name__} has none.")
    return method


def gradients(oracle: Oracle, x: Point, rows: Tensor) -> tuple[Tensor, Point]:
    """Values (T, n) and gradients (T, n, ...), with T = 1 for a single target."""
    if getattr(oracle, "targets", None):
        return ability(oracle, "cotangents")(x, rows)
    values, gradient = oracle(x, rows)
    return values[None], tuple(g[None] for g in gradient)


def values(oracle: Oracle, x: Point, rows: Tensor) -> Tensor:
    """Values alone (T, n); a plain function is asked for its gradient and that is thrown away."""
    ask = getattr(oracle, "value", None)
    if ask is None:
        return gradients(oracle, x, rows)[0]
    found = ask(x, rows)
    return found if found.ndim == 2 else found[None]


@dataclass
class Listener:
    """An oracle that remembers the values it was heard to answer with.

    Every gradient comes with a value, which integrands drop; a rule that chooses its nodes can use
    it, and it is free.
    """

    oracle: Any
    heard: list[Tensor] = field(default_factory=list)
    rounding: float = 0.0

    def __call__(self, x: Point, rows: Tensor) -> tuple[Tensor, Point]:
        """Values (n,) and gradients, as asked."""
        values, gradient = self.oracle(x, rows)
        self.heard.append(values[None])
        return values, gradient

    def cotangents(self, x: Point, rows: Tensor) -> tuple[Tensor, Point]:
        """Values (T, n) and gradients (T, n, ...), as asked."""
        values, gradient = ability(self.oracle, "cotangents")(x, rows)
        self.heard.append(values)
        return values, gradient

    def __getattr__(self, name: str) -> Any:
        return getattr(self.oracle, name)

    def values(self, n: int) -> Tensor:
        """Values (T, n) heard since they were last asked for; NaN where there were not so many.

        `rounding` is then four units in the last place of their dtype.
        """
        heard, self.heard = self.heard, []
        if sum(h.shape[1] for h in heard) != n:
            return torch.full((1, n), torch.nan, dtype=torch.float64)
        values = torch.cat(heard, 1)
        self.rounding = 4 * torch.finfo(values.dtype).eps
        return values.detach().double().cpu()

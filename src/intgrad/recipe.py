"""`Recipe`: the frozen parts of one method; printed, compared, saved, swept, called."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from intgrad.baseline import Zeros
from intgrad.errors import Unsupported
from intgrad.integrand import GradientVelocity
from intgrad.path import Straight
from intgrad.quadrature import Automatic


@dataclass(frozen=True, eq=False)
class Recipe:
    """One method: its name and its parts.

    Calling it is calling `attribute` with these parts::

        recipe = ig.methods.integrated_gradients(quadrature=ig.Midpoint(200))
        a = recipe(model, x, target=3)

    Two recipes are equal when their descriptions are; tensors count by their bytes.
    """

    name: str = "integrated_gradients"
    baseline: Any = Zeros()
    path: Any = Straight()
    quadrature: Any = Automatic()
    integrand: Any = GradientVelocity()
    at: Any = "input"
    around: Any = None

    def __call__(self, model: Any, x: Any, **call: Any) -> Any:
        """Attribute `model` at `x`; see `intgrad.attribute` for the rest of the call."""
        # the one look upwards: a recipe is a value, and calling it is a convenience
        from intgrad.attribute import explain

        return explain(self, model, x, **call)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.describe() == other.describe()

    def __hash__(self) -> int:
        return hash(repr(self.describe()))

    def __str__(self) -> str:
        own = ((f.name, getattr(self, f.name)) for f in fields(self)[1:])
        parts = [f"{name} {show(part)}" for name, part in own if name != "around" or part]
        return f"{self.name} ({', '.join(parts)})"

    def but(self, **parts: Any) -> Recipe:
        """The same recipe with some parts exchanged."""
        return replace(self, **parts)

    @property
    def complete(self) -> bool:
        """Whether the values must sum to f(x) - f(baseline)."""
        parts = self.integrand.complete, getattr(self.path, "complete", True), not self.around
        return all(parts) and getattr(self.quadrature, "approximates", True)

    @property
    def path_legs(self) -> bool:
        """Whether its path is followed stretch by stretch."""
        return bool(getattr(self.path, "scales", ()))

    def describe(self) -> dict[str, Any]:
        """The recipe as plain data, for saving and comparing."""
        return {f.name: describe(getattr(self, f.name)) for f in fields(self)}

    @staticmethod
    def restore(described: Mapping[str, Any]) -> Recipe:
        """The recipe from its description.

        Parts that were tensors or functions come back as `Lost`, which says so when used.
        """
        return Recipe(**{name: restore(part) for name, part in described.items()})


@dataclass(frozen=True)
class Lost:
    """A part of a saved recipe that cannot be brought back: a tensor, a function, a module.

    `described` is its whole description, so that a recipe is equal to what was saved of it.
    """

    description: str
    described: Any = None
    complete: ClassVar[bool] = True
    unit: ClassVar[str] = "node"

    def __call__(self, *args: Any) -> Any:
        """Refuse, and say what was lost."""
        raise Unsupported(
            f"this recipe was saved with {self.description}, which a file cannot bring back. Put the "
            f"part in again: recipe.but(baseline=...)."
        )


def describe(part: Any) -> Any:
    """Plain data for one part: numbers and strings as they are, dataclasses by name and fields."""
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, Integral | Real):  # numpy's
        return int(part) if isinstance(part, Integral) else float(part)
    if isinstance(part, Lost):
        return part.described
    if isinstance(part, tuple | list):
        return [describe(p) for p in part]
    if is_dataclass(part) and not isinstance(part, type):
        own = {f.name: describe(getattr(part, f.name)) for f in fields(part)}
        return {"part": type(part).__qualname__, "home": type(part).__module__, **own}
    return {"lost": _words(part)}


def _words(part: Any) -> str:
    if isinstance(part, Tensor):
        return f"a tensor {tuple(part.shape)} {part.dtype}, sha256 {_digest(part)}"
    return f"the {type(part).__name__} {getattr(part, '__qualname__', '')}".strip()


def restore(described: Any) -> Any:
    """One part back from its description; only classes of intgrad, already imported, are called."""
    if isinstance(described, list):
        return tuple(restore(d) for d in described)
    if not isinstance(described, dict):
        return described
    if "lost" in described:
        return Lost(described["lost"], described)
    home, name = str(described.get("home")), described["part"]
    values = {k: restore(v) for k, v in described.items() if k not in ("part", "home")}
    lost = [v.description for v in _leaves(tuple(values.values())) if isinstance(v, Lost)]
    if lost:
        return Lost(f"{name} of {', '.join(lost)}", described)
    kind = getattr(sys.modules.get(home), name, None) if home.startswith("intgrad.") else None
    if isinstance(kind, type) and is_dataclass(kind) and values.keys() <= _names(kind):
        return kind(**values)
    return Lost(f"the part {name} of {home}, which is not imported or not known here", described)


def _names(kind: Any) -> set[str]:
    return {f.name for f in fields(kind)}


def _leaves(part: Any) -> list[Any]:
    return [leaf for p in part for leaf in _leaves(p)] if isinstance(part, tuple) else [part]


def show(part: Any) -> str:
    """A part as one would write it."""
    if isinstance(part, str):
        return part
    if isinstance(part, Lost):
        return _written(part)
    if isinstance(part, tuple):
        return f"({', '.join(show(p) for p in part)})"
    if not is_dataclass(part) or isinstance(part, type):
        described = describe(part)
        return described["lost"] if isinstance(described, dict) else repr(part)
    return _called(part)


def _called(part: Any) -> str:
    """A dataclass as it would be called; fields that are None are not said."""
    own = {f.name: getattr(part, f.name) for f in fields(part)}
    if any(isinstance(v, Tensor) or _holds_tensors(v) for v in own.values()):
        return f"{type(part).__name__}({getattr(part, 'name', '...')})"
    said = [f"{k}={_quoted(v)}" for k, v in own.items() if v is not None]
    return f"{type(part).__name__}({', '.join(said)})"


def _quoted(part: Any) -> str:
    return repr(part) if isinstance(part, str) else show(part)


def _holds_tensors(part: Any) -> bool:
    return isinstance(part, tuple) and any(isinstance(p, Tensor) for p in part)


def _written(lost: Lost) -> str:
    """A lost part as it was written, where only its class is missing; else what was lost."""
    d = lost.described
    if not isinstance(d, dict) or "part" not in d or any(isinstance(v, dict) for v in d.values()):
        return lost.description
    own = ", ".join(f"{k}={v!r}" for k, v in d.items() if k not in ("part", "home"))
    return f"{d['part']}({own})"


def _digest(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()[:16]

"""Targets: which number of the model's output is explained, one a row.

A target turns the model's output into values. Those that name a class are bound once, to the
output at the input itself, so that "the predicted class" is one fixed class a row along the
whole path, and bad indices are refused before anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from intgrad._types import arity
from intgrad.errors import TargetError
from intgrad.model.bound import Bound, Several, reader
from intgrad.model.scores import (
    Entry,
    Index,
    class_of_each_row,
    entry_of,
    pick,
    refuse_shape,
    soften,
)


class Target(Protocol):
    """Model output -> one number a row, (n,); `rows` says which example each row belongs to."""

    def __call__(self, output: Any, rows: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Logit:
    """The raw score of a class; ``index=None`` is the class predicted at the input.

    Parameters
    ----------
    index
        A class, or one class a row (sequence or tensor of whole numbers).
    entry
        Which entry of a tuple or dict output holds the scores (n, classes); ``logits``, or the
        only tensor, is found by itself.
    """

    index: Index = None
    entry: Entry = None

    def __call__(self, output: Any, rows: Tensor) -> Tensor:
        return pick(entry_of(output, self.entry), self.index, rows)

    def bind(self, scores: Tensor) -> Bound:
        """Fix the class of every row and check that it exists."""
        return bind_class(self, scores, "logit")


@dataclass(frozen=True)
class Probability:
    """The softmax probability of a class; parameters as in `Logit`. Half types go by float32."""

    index: Index = None
    entry: Entry = None

    def __call__(self, output: Any, rows: Tensor) -> Tensor:
        return pick(soften(entry_of(output, self.entry)).softmax(-1), self.index, rows)

    def bind(self, scores: Tensor) -> Bound:
        """Fix the class of every row and check that it exists."""
        return bind_class(self, scores, "probability")


@dataclass(frozen=True)
class LogProbability:
    """The log of the softmax probability of a class; parameters as in `Logit`."""

    index: Index = None
    entry: Entry = None

    def __call__(self, output: Any, rows: Tensor) -> Tensor:
        return pick(soften(entry_of(output, self.entry)).log_softmax(-1), self.index, rows)

    def bind(self, scores: Tensor) -> Bound:
        """Fix the class of every row and check that it exists."""
        return bind_class(self, scores, "log-probability")


@dataclass(frozen=True)
class Margin:
    """Score of class `a` minus score of class `b`; by default predicted minus runner-up.

    It answers "why this and not that", and it is blind to what raises both.
    """

    a: Index = None
    b: Index = None
    entry: Entry = None

    def __call__(self, output: Any, rows: Tensor) -> Tensor:
        scores = entry_of(output, self.entry)
        return pick(scores, self.a, rows) - pick(scores, self.b, rows)

    def bind(self, scores: Tensor) -> Bound:
        """Fix both classes of every row."""
        refuse_shape(scores)
        if scores.shape[1] < 2:
            raise TargetError("a margin needs two classes; the model has one score a row.")
        a, _ = class_of_each_row(self.a, scores)
        rest = scores.detach().scatter(1, a[:, None], -torch.inf)
        b, _ = class_of_each_row(self.b, rest)
        names = tuple(
            f"class {i} minus class {j}" for i, j in zip(a.tolist(), b.tolist(), strict=True)
        )
        fixed = replace(self, a=a, b=b, entry=None)
        return Bound(lambda output, rows: entry_of(output, self.entry), fixed, names)


@dataclass(frozen=True)
class All:
    """Every class in one sweep: one forward a node, one backward a class.

    The values gain a leading target axis, and there is one certificate a target and row.
    """

    entry: Entry = None

    def __call__(self, output: Any, rows: Tensor) -> Tensor:
        return entry_of(output, self.entry).movedim(-1, 0)

    def bind(self, scores: Tensor) -> Bound:
        """Name every class."""
        refuse_shape(scores)
        names = tuple(f"logit of class {i}" for i in range(scores.shape[1]))
        fixed = replace(self, entry=None)
        return Bound(lambda output, rows: entry_of(output, self.entry), fixed, names, len(names))


@dataclass(frozen=True)
class Itself:
    """Regression: the one number the model returns for each row, (n,) or (n, 1)."""

    entry: Entry = None

    def __call__(self, output: Any, rows: Tensor) -> Tensor:
        return entry_of(output, self.entry).reshape(len(rows))

    def bind(self, scores: Tensor) -> Bound:
        """Check that there is one number a row."""
        if scores[0].numel() != 1:
            raise TargetError(
                f"the model returns {tuple(scores.shape[1:])} numbers a row; expected one. Name "
                f"which: a class index, or a callable such as target=lambda out: out[:, 0]."
            )
        read = lambda output, rows: entry_of(output, self.entry)  # noqa: E731
        return Bound(read, replace(self, entry=None), ("output",) * len(scores))


@dataclass(frozen=True)
class Predicted:
    """The default: the logit of the predicted class, or the number itself for regression."""

    entry: Entry = None

    def bind(self, scores: Tensor) -> Bound:
        """Decide by the shape of the output: (n,) and (n, 1) are regression."""
        kind = Itself if scores.ndim == 1 or scores[0].numel() == 1 else Logit
        return kind(entry=self.entry).bind(scores)


@dataclass(frozen=True)
class Custom:
    """A user's function of the output, or of (output, rows), giving (n,) numbers."""

    function: Callable[..., Tensor]

    def __call__(self, output: Any, rows: Tensor) -> Tensor:
        args = (output, rows) if arity(self.function) >= 2 else (output,)
        values = self.function(*args)
        if not isinstance(values, Tensor) or values.shape != rows.shape:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise TargetError(
                f"the target returned {got}; expected one number a row, ({len(rows)},)."
            )
        return values

    def reads(self, output: Any, rows: Tensor) -> Tensor:
        """The function reads the whole output; what is kept of it are its values."""
        return self(output, rows)

    def bind(self, scores: Tensor) -> Bound:
        """Name the function."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return Bound(self, lambda values, rows: values, (name,) * len(scores))


def as_target(target: object) -> Any:
    """Read the `target=` argument: None, an index, one index a row, a target, a callable, a list."""
    if isinstance(target, list | tuple) and any(_is_target(t) for t in target):
        return Several(tuple(_of_list(t) for t in target))
    if target is None:
        return Predicted()
    if isinstance(target, bool):
        raise TargetError(
            f"target={target} is a bool; expected a class index such as {int(target)}."
        )
    if isinstance(target, type):
        raise TargetError(f"target is the class {target.__name__}; write {target.__name__}(...).")
    if hasattr(target, "bind"):
        return target
    if _is_target(target):
        return Custom(target)  # type: ignore[arg-type]
    return Logit(target)  # type: ignore[arg-type]


def _is_target(item: object) -> bool:
    return not isinstance(item, Tensor) and (hasattr(item, "bind") or callable(item))


def _of_list(item: object) -> Any:
    if hasattr(item, "layer"):
        raise TargetError(f"{item!r} reads a layer and not the output: explain it alone.")
    if _is_target(item):
        return as_target(item)
    raise TargetError(
        f"the list of targets holds {item!r}; expected targets or callables only, such as "
        f"ig.Logit(3). (A list of class indices is one class a row.)"
    )


def bind_class(target: Any, scores: Tensor, noun: str) -> Bound:
    """Bind a target that has `index` and `entry` to the classes of these rows."""
    refuse_shape(scores)
    index, predicted = class_of_each_row(target.index, scores)
    note = " (predicted)" if predicted else ""
    names = tuple(f"{noun} of class {i}{note}" for i in index.tolist())
    entry = target.entry
    return Bound(
        lambda output, rows: entry_of(output, entry),
        replace(target, index=index, entry=None),
        names,
    )


__all__ = [
    "All",
    "Bound",
    "Custom",
    "Itself",
    "LogProbability",
    "Logit",
    "Margin",
    "Predicted",
    "Probability",
    "Several",
    "Target",
    "as_target",
    "bind_class",
    "reader",
]

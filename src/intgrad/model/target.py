"""Targets: which number of the model's output is explained, one a row.

A target turns the model's output into values. Those that name a class are bound once, to the
output at the input itself, so that "the predicted class" is one fixed class a row along the
whole path, and bad indices are refused before anything is computed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from intgrad._types import arity
from intgrad.errors import TargetError

Index = int | Sequence[int] | Tensor | None
Entry = int | str | None


class Target(Protocol):
    """Model output -> one number a row, (n,); `rows` says which example each row belongs to."""

    def __call__(self, output: Any, rows: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Bound:
    """A target tied to the rows of one call.

    Attributes
    ----------
    extract
        Output -> the tensor the target reads, rows first.
    of
        (that tensor, rows) -> values (n,), or (T, n) where `count` is T.
    names
        What is explained, one a row, or one a target where there are several.
    """

    extract: Callable[[Any, Tensor], Tensor]
    of: Callable[[Tensor, Tensor], Tensor]
    names: tuple[str, ...]
    count: int | None = None

    def __call__(self, output: Any, rows: Tensor) -> Tensor:
        return self.of(self.extract(output, rows), rows)


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

    def bind(self, scores: Tensor) -> Bound:
        """Name the function."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return Bound(self, lambda values, rows: values, (name,) * len(scores))


def as_target(target: object) -> Any:
    """Read the `target=` argument: None, an index, one index a row, a target, a callable."""
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
    if callable(target) and not isinstance(target, Tensor):
        return Custom(target)  # type: ignore[arg-type]
    return Logit(target)  # type: ignore[arg-type]


def reader(target: Any) -> Callable[[Any, Tensor], Tensor]:
    """What to keep of an output to bind `target` later: a tensor with rows first."""
    if isinstance(target, Custom):
        return target
    return lambda output, rows: entry_of(output, getattr(target, "entry", None))


def entry_of(output: Any, entry: Entry) -> Tensor:
    """Find the scores in a tensor, tuple, dict or ModelOutput.

    Raises
    ------
    TargetError
        No such entry; several and none named ``logits``; not a tensor of floats with rows.
    """
    if entry is not None:
        found = _named(output, entry)
    elif isinstance(output, Mapping):
        only = next(iter(output.values())) if len(output) == 1 else None
        found = output.get("logits", only)
    elif isinstance(output, tuple | list):
        found = output[0] if len(output) == 1 else None
    else:
        found = output
    if not isinstance(found, Tensor):
        raise TargetError(f"the model returned {_shape_of(output)}; {_ADVICE}")
    if found.ndim == 0:
        raise TargetError(
            "the model returned a single number, not one a row; expected (rows,) or (rows, "
            "classes). Is it reduced over the batch, as a loss is, or was the row of a call of one "
            "squeezed away? Then use squeeze(1)."
        )
    if not found.is_floating_point():
        raise TargetError(
            f"the model's output is {found.dtype}; expected floating-point scores. Labels such as "
            f"argmax have no gradient."
        )
    return found


_ADVICE = (
    "say which entry holds the scores, e.g. target=ig.Logit(3, entry='logits') or entry=0, or "
    "pass a callable on the output."
)


def _named(output: Any, entry: int | str) -> Any:
    try:
        return output[entry]
    except (KeyError, IndexError, TypeError) as error:
        raise TargetError(
            f"entry={entry!r} is not in the model's output, which is {_shape_of(output)}."
        ) from error


def _shape_of(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with entries {list(output)}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}"
    return f"a {type(output).__name__}"


def soften(scores: Tensor) -> Tensor:
    """Scores in float32 at least, so that a softmax in half precision does not saturate early."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def pick(scores: Tensor, index: Index, rows: Tensor) -> Tensor:
    """The score of each row's class: (n,)."""
    if isinstance(index, int):
        return scores[:, index]
    if not isinstance(index, Tensor):
        index, _ = class_of_each_row(index, scores)
    own = index.to(scores.device)[rows.to(scores.device)]
    return scores.gather(1, own[:, None])[:, 0]


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


def refuse_shape(scores: Tensor) -> None:
    """Classes need scores of shape (rows, classes)."""
    if scores.ndim != 2:
        raise TargetError(
            f"the model's scores have shape {tuple(scores.shape)}; a class index needs (rows, "
            f"classes). Pass a callable that picks one number a row, e.g. target=lambda out: "
            f"out[:, -1, 3]."
        )


def class_of_each_row(index: Index, scores: Tensor) -> tuple[Tensor, bool]:
    """One class index a row (r,), and whether it is the model's own choice."""
    rows, classes = scores.shape
    if index is None:
        return scores.detach().argmax(1), True
    chosen = _whole_numbers(index)
    if chosen.numel() == 1:
        chosen = chosen.reshape(1).expand(rows)
    if chosen.numel() != rows:
        raise TargetError(
            f"target has {chosen.numel()} class indices for {rows} rows; expected one, or one a row."
        )
    chosen = chosen.reshape(rows).to(scores.device)
    worst = int(chosen.max()) if int(chosen.max()) >= classes else int(chosen.min())
    if not 0 <= worst < classes:
        raise TargetError(
            f"target {worst} is not a class: the model has {classes}, counted 0 to {classes - 1}."
        )
    return chosen, False


def _whole_numbers(index: Any) -> Tensor:
    if isinstance(index, Tensor):
        if index.dtype == torch.bool or index.is_floating_point() or index.is_complex():
            raise TargetError(f"target is a tensor of {index.dtype}; expected whole class indices.")
        return index.detach().long()
    try:
        numbers = [operator.index(i) for i in _listed(index) if not isinstance(i, bool)]
    except TypeError:
        numbers = []
    if not numbers or len(numbers) != len(_listed(index)):
        raise TargetError(
            f"target={index!r} is not understood; expected a class index, one a row, an intgrad "
            f"target such as ig.Margin(3, 5), or a callable on the model's output."
        )
    return torch.tensor(numbers)


def _listed(index: Any) -> list[Any]:
    if isinstance(index, str | bytes) or not hasattr(index, "__iter__"):
        return [index]
    return list(index)

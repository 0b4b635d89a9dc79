"""Scores: found in whatever a model returns, and one class of them picked a row."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from intgrad.errors import TargetError

Index = int | Sequence[int] | Tensor | None
Entry = int | str | None


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

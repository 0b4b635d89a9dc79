"""Names: of classes, for a checkpoint's targets and predictions; of numbers, by where they stand."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from intgrad.subject import Predictions


def labels_of(model: object, labels: Sequence[str] | None) -> Sequence[str]:
    """The classes' names: those given, or the checkpoint's."""
    if labels is not None:
        return labels
    named = getattr(getattr(model, "config", None), "id2label", None) or {}
    return [str(named.get(i, f"class {i}")) for i in range(len(named))]


def named(target: str, labels: Sequence[str]) -> str:
    """A target's name with its classes' names in it."""

    def name(found: re.Match[str]) -> str:
        i = int(found[1])
        note = ", predicted" if found[2] else ""
        return f"'{labels[i]}' (class {i}{note})" if i < len(labels) else found[0]

    return re.sub(r"class (\d+)( \(predicted\))?", name, target)


def top(model: object, scores: Tensor | None, labels: Sequence[str]) -> Predictions:
    """The three most probable classes of one row; none where the output is not scores of classes."""
    if scores is None or scores.ndim != 2 or scores.shape[1] < 2:
        return ()
    kind = getattr(getattr(model, "config", None), "problem_type", None)
    one = scores[0].detach().cpu().double()
    sure = one.sigmoid() if kind == "multi_label_classification" else one.softmax(0)
    best: list[int] = sure.topk(min(3, len(sure))).indices.tolist()
    return tuple((labels[i] if i < len(labels) else f"class {i}", float(sure[i])) for i in best)


def index_name(position: int, point: tuple[Tensor, ...], names: list[str]) -> str:
    """Where a number of `line` stands in the values: ``[2, 5]``, ``['ids'][7]``."""
    for name, tensor in zip(names, point, strict=True):
        if position < tensor[0].numel():
            index = np.unravel_index(position, tensor.shape[1:])
            return name + str([int(i) for i in index]) if index else name or "the value"
        position -= tensor[0].numel()
    raise IndexError(position)

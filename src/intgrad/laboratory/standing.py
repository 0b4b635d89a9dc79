"""What the model itself says at a baseline: if it stands for absence, no class should stand out."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from intgrad._types import chunks
from intgrad.baseline import parts_of, populated
from intgrad.begin import begin, scores_entry
from intgrad.caller import calm
from intgrad.errors import TargetError
from intgrad.model.bound import Bound
from intgrad.model.scores import entry_of
from intgrad.model.target import as_target
from intgrad.model.torch_oracle import TorchOracle
from intgrad.path import Curves
from intgrad.question import opened
from intgrad.recipe import Recipe

NEARLY = 1e-2  # how far from 1 the probabilities of a half type may add up


@dataclass(frozen=True, eq=False)
class Standing:
    r"""The model's classes at a baseline, a row; the mean over its points, where it has several.

    Attributes
    ----------
    top, top_probability
        The class with the highest probability, and that probability: (rows,).
    probability
        Of the class that is explained (rows,); None where no single class is.
    entropy
        :math:`-\sum_c p_c \log p_c / \log C` (rows,): 0 where one class is certain, 1 where all C are
        alike. Of several points it is the mean of theirs, and not that of their mean.
    """

    top: Tensor
    top_probability: Tensor
    probability: Tensor | None
    entropy: Tensor

    def select(self, row: int) -> Standing:
        """One row."""
        own = (getattr(self, f.name) for f in fields(self))
        return Standing(*(None if t is None else t[row : row + 1] for t in own))  # type: ignore[arg-type]


def standing(
    recipe: Recipe,
    model: Any,
    x: Any,
    target: Any,
    *,
    given: dict[str, Tensor] | None = None,
    seed: int = 0,
    **how: Any,
) -> Standing | None:
    """Ask for the scores of every class at the points of the recipe's baseline.

    Parameters
    ----------
    **how
        ``width=`` and ``dtype=``, as in `intgrad.attribute.explain`.

    Returns
    -------
    Standing or None
        None where the output is no scores (rows, classes) of two classes or more.

    Notes
    -----
    Scores that are probabilities already (not negative, adding up to 1) are taken as they are, others
    go through a softmax. Costs a forward a row, and one for each of the baseline's points.
    """
    wanted = as_target(target)
    entry = scores_entry(wanted)
    with calm(model, False):
        asked = {"width": None, "dtype": None, **how, "differentiable": False}
        oracle = opened(recipe, model, x, given, None, **asked)
        read = lambda output, rows: entry_of(output, entry)  # noqa: E731
        every = torch.arange(len(oracle.raw[0]))
        try:
            features, scores = oracle.read(oracle.raw, every, read)
        except TargetError:
            return None
        if scores.ndim != 2 or scores.shape[1] < 2:
            return None
        bound = Bound(read, lambda found, rows: found.T, (), scores.shape[1])
        oracle.bound, oracle.features = bound, features  # not `bind`: no gradient is wanted
        parts = parts_of(recipe.baseline)
        curves = [
            begin(populated(part, recipe.quadrature)[0], oracle, seed, wanted) for part in parts
        ]
        return _gathered(oracle, curves, explained(target, scores))


def explained(target: Any, scores: Tensor) -> Tensor | None:
    """The class that a target explains in each row; of a margin, the one it speaks for."""
    of = as_target(target).bind(scores).of
    return getattr(of, "index", getattr(of, "a", None))


def distribution(scores: Tensor) -> Tensor:
    """Probabilities (n, classes) of scores, in float64."""
    wide = scores.detach().double().cpu()
    done = (wide >= 0).all(1) & ((wide.sum(1) - 1).abs() < NEARLY)
    return torch.where(done[:, None], wide / wide.sum(1, keepdim=True), wide.softmax(1))


def entropy(probabilities: Tensor) -> Tensor:
    """Shannon's (n,) of (n, classes), relative to that of all classes alike."""
    return torch.special.entr(probabilities).sum(1) / math.log(probabilities.shape[1])


def _gathered(oracle: TorchOracle, parts: list[Curves], own: Tensor | None) -> Standing:
    """The mean over the points where curves begin, a call of the model at a time."""
    assert oracle.bound is not None
    rows, classes = len(oracle.raw[0]), oracle.bound.count or 0
    mean, certain = torch.zeros(rows, classes).double(), torch.zeros(rows).double()
    for curves in parts:
        for part in chunks(len(curves), oracle.width):
            which = torch.arange(part.start, min(part.stop, len(curves)))
            row, weight = curves.row[which], curves.weight[which] / len(parts)
            found = distribution(oracle.value(curves.start.take(which), row).T)
            mean.index_add_(0, row, weight[:, None] * found)
            certain.index_add_(0, row, weight * entropy(found))
    best = mean.max(1)
    probability = None if own is None else mean.gather(1, own.cpu()[:, None])[:, 0]
    return Standing(best.indices, best.values, probability, certain)

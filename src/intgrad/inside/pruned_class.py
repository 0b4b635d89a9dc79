"""Class-specific neurons: accuracy on one class, and overall, as ranked neurons go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from intgrad._types import chunks
from intgrad.errors import InputError
from intgrad.inside.pruned import Pruned, orders, pruned, without
from intgrad.model.checks import refuse_training
from intgrad.model.scores import entry_of


@dataclass(frozen=True, eq=False)
class ClassPruning:
    """Accuracies (k, 2), on the class and overall, with so many neurons set to zero.

    Attributes
    ----------
    counts
        Neurons set to zero, (k,).
    without_top, without_bottom
        The highest gone, and the lowest.
    random, spread
        Mean and standard deviation over random choices of as many.
    """

    counts: Tensor
    without_top: Tensor
    without_bottom: Tensor
    random: Tensor
    spread: Tensor

    def table(self) -> str:
        """A line a count: class accuracy, then overall accuracy in brackets."""
        names = ("without_top", "without_bottom", "random")
        lines = ["pruned" + "".join(f"{name.replace('_', ' '):>18}" for name in names)]
        columns = [getattr(self, name).tolist() for name in names]
        for count, *pairs in zip(self.counts.tolist(), *columns, strict=True):
            cells = (f"{f'{own:.3f} ({overall:.3f})':>18}" for own, overall in pairs)
            lines.append(f"{count:6d}" + "".join(cells))
        return "\n".join(lines)


@torch.no_grad()
def prune_class(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    *,
    at: Any,
    ranking: Any,
    of: int,
    counts: Sequence[int],
    draws: int = 50,
    seed: int = 0,
) -> ClassPruning:
    """Accuracy on class `of`, and overall, without the highest, the lowest, and random neurons.

    A ranking by the class's mean conductance should need few neurons to lose the class, and few to
    keep it.

    Parameters
    ----------
    model, x, labels
        A module in evaluation mode, inputs (rows, ...), and their classes (rows,).
    at
        The layer whose neurons go.
    ranking
        Highest first: a tensor or `Attribution` (1, *layer), or (1, channels) for whole channels.
    counts
        How many neurons to set to zero.
    draws, seed
        Random choices of neurons for each count.

    Returns
    -------
    ClassPruning
        Costs len(counts) x (draws + 2) forwards a row.

    Raises
    ------
    InputError, ModelError
        In one sentence: what came, what was expected, what to do.
    """
    refuse_training(model)
    order, shape = orders(ranking, 1)
    n, own = order.shape[1], labels == of
    if labels.shape != (len(x),) or not bool(own.any()):
        raise InputError(
            f"labels are {tuple(labels.shape)}; expected ({len(x)},), some of class {of}."
        )
    if not all(0 <= count <= n for count in counts):
        raise InputError(f"counts={tuple(counts)}; the layer has {n} neurons.")
    net, generator = pruned(model, at), torch.Generator().manual_seed(seed)

    def accuracy(order: Tensor, count: int) -> Tensor:
        right = _right(net, x, labels, without(order, count, shape))
        return torch.stack([right[own].double().mean(), right.double().mean()])

    rows = []
    for count in counts:
        shuffled = (torch.randperm(n, generator=generator)[None] for _ in range(draws))
        chance = torch.stack([accuracy(some, count) for some in shuffled])
        ranked = accuracy(order, count), accuracy(order.flip(1), count)
        rows.append(torch.stack([*ranked, chance.mean(0), chance.std(0, correction=0)]))
    return ClassPruning(torch.tensor(counts), *torch.stack(rows, 1))


def _right(net: Pruned, x: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """Which rows the pruned model gets right, (rows,)."""
    keep = keep.to(x.device)
    parts = [x[part] for part in chunks(len(x), 500)]
    scores = [entry_of(net(p, keep=keep.expand(len(p), *keep.shape[1:])), None) for p in parts]
    return torch.cat(scores).argmax(1).cpu() == labels.cpu()

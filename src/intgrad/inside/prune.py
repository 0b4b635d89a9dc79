"""Pruning by rank: what is left of a prediction, and of a region, without the highest neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from intgrad._types import open_door
from intgrad.attribute import attribute
from intgrad.ensemble import pin_to
from intgrad.errors import InputError
from intgrad.inside.pruned import orders, pruned, without
from intgrad.inside.regional import ASKED, as_region
from intgrad.model.bound import Pinned
from intgrad.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Pruning:
    """What is left of a target, and of its attribution, as neurons go.

    Attributes
    ----------
    shares
        Shares of the layer's neurons that were set to zero, (s,).
    inside, outside
        Sums of integrated gradients in the region and out of it, (rows, s).
    output
        The target of what is left, (rows, s).
    """

    shares: Tensor
    inside: Tensor
    outside: Tensor
    output: Tensor

    @property
    def total(self) -> Tensor:
        """Inside and outside together: f(x) - f(baseline) of what is left, to the rule's error."""
        return self.inside + self.outside

    def table(self) -> str:
        """Means over the rows and, of several, their standard deviation; a line a share."""
        names = ("inside", "outside", "total", "output")
        columns = [_cells(getattr(self, name)) for name in names]
        wide = len(columns[0][0])
        head = f"{'pruned':>8}" + "".join(f"{name:>{wide}}" for name in names)
        rows = zip(self.shares.tolist(), *columns, strict=True)
        return "\n".join([head, *(f"{s:8.1%}" + "".join(cells) for s, *cells in rows)])

    def plot(self) -> Any:
        """Means over the rows against the share, as a matplotlib figure."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5, 3.5), layout="constrained")
        axes = figure.subplots()
        for name in ("inside", "outside", "total"):
            axes.plot(100 * self.shares, getattr(self, name).mean(0), marker="o", label=name)
        axes.set(xlabel="neurons set to zero, %", ylabel="integrated gradients")
        axes.legend()
        return figure


def _cells(numbers: Tensor) -> list[str]:
    """For each share the mean over rows (rows, s), and their standard deviation where there are several."""
    means = [f"{mean:10.3f}" for mean in numbers.mean(0).tolist()]
    if len(numbers) == 1:
        return means
    return [f"{m} ± {s:5.3f}" for m, s in zip(means, numbers.std(0).tolist(), strict=True)]


def prune(
    model: nn.Module,
    x: Tensor,
    *,
    at: Any,
    ranking: Any,
    shares: Sequence[float] = (0, 0.01, 0.03, 0.05, 0.1, 0.3, 0.5),
    region: Tensor | None = None,
    bottom: bool = False,
    **call: Any,
) -> Pruning:
    """Set the highest neurons of a layer to zero, and attribute what is left.

    A ranking that found the neurons behind a region takes the region's share away first, and leaves
    the rest.

    Parameters
    ----------
    model, x
        A module, and one tensor (rows, ...).
    at
        The layer whose neurons go.
    ranking
        Highest first: an `Attribution` or a tensor (rows, *layer), or (1, *layer) for all rows.
        (rows, channels) prunes whole channels.
    shares
        Of the layer's neurons, 0 to 1, to the nearest neuron.
    region
        True inside; broadcast to x. All of it by default.
    bottom
        Set the lowest to zero instead.
    **call
        ``target=``, ``baseline=``, ``quadrature=`` and the rest as in `intgrad.attribute`. The class
        explained is that of the intact model.

    Returns
    -------
    Pruning
        Costs an attribution for every share.

    Raises
    ------
    InputError, TargetError, ModelError, Unsupported
        In one sentence: what came, what was expected, what to do.

    References
    ----------
    Lundstrom, Huang, Razaviyayn 2022, arXiv:2202.11912.
    """
    (raw, *others), _ = open_door(x)
    if others:
        raise InputError(f"x has {1 + len(others)} tensors; expected one, the others in given=.")
    wrong = [s for s in shares if not 0 <= s <= 1]
    if wrong or not len(shares):
        raise InputError(f"shares={tuple(shares)}; expected numbers from 0 to 1.")
    inside = torch.ones_like(raw[:1], dtype=torch.bool) if region is None else as_region(region)
    order, shape = orders(ranking, len(raw))
    order = order.flip(1) if bottom else order
    model_of, given = pruned(model, at), call.pop("given", None) or {}
    target = _pin(model, x, call, given)
    found = []
    for share in shares:
        keep = without(order, round(share * order.shape[1]), shape)
        a = attribute(model_of, x, target=target, given={**given, "keep": keep}, **call)
        sums = [(a.values * m).flatten(1).sum(1).double() for m in (inside, ~inside)]
        found.append(torch.stack([*sums, a.output.to(sums[0])], 1).cpu())
    parts = torch.stack(found, 2).unbind(1)
    return Pruning(torch.tensor(shares, dtype=torch.float64), *parts)


def _pin(model: Any, x: Any, call: dict[str, Any], given: dict[str, Tensor]) -> Pinned:
    """The target, bound to the intact model's answer."""
    recipe = Recipe(at=call.get("at", "input"))
    how = {**ASKED, **{k: v for k, v in call.items() if k in ASKED}, "given": given}
    return pin_to(recipe, model, x, call.pop("target", None), how)[0]

"""A model with some neurons of one layer set to zero, for the length of a call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from intgrad.audit.units import as_values
from intgrad.errors import InputError, ModelError
from intgrad.model.gate import gate
from intgrad.model.observe import Place
from intgrad.model.places import places_of


class Pruned(nn.Module):
    """The model; where ``keep=`` (n, *neurons) is 0, the layer is too."""

    def __init__(self, model: nn.Module, place: Place) -> None:
        super().__init__()
        self.model, self.place = model, place
        self.training = model.training

    def forward(self, *args: Any, keep: Tensor, **named: Any) -> Any:
        """The model's own output."""
        calls: list[int] = []

        def silence(tensor: Tensor) -> Tensor:
            calls.append(1)
            return tensor * fitted(keep, tensor) if len(calls) == self.place.call + 1 else tensor

        handle = gate(self.place.module, self.place.entry, silence)
        try:
            found = self.model(*args, **named)
        finally:
            handle.remove()
        if len(calls) <= self.place.call:
            raise ModelError(f"the layer {self.place.label!r} was not reached; nothing was pruned.")
        return found


def fitted(keep: Tensor, output: Tensor) -> Tensor:
    """A mask (n, *neurons) shaped so that it multiplies a layer's output; channels hold all of theirs.

    Raises
    ------
    InputError
        It has another shape than the first axes of the output.
    """
    if keep.shape != output.shape[: keep.ndim]:
        raise InputError(
            f"ranking has neurons {tuple(keep.shape[1:])}; the layer's are {tuple(output.shape[1:])}, or "
            f"their first axes: channels."
        )
    return keep.to(output).reshape(*keep.shape, *(1,) * (output.ndim - keep.ndim))


def pruned(model: Any, at: Any) -> Pruned:
    """The model, ready to have neurons of one layer set to zero."""
    place, *others = places_of(model, at)
    if others:
        raise InputError(f"at={at!r} names several layers; expected one.")
    return Pruned(model, place)


def orders(ranking: Any, rows: int) -> tuple[Tensor, torch.Size]:
    """Each row's neurons from the highest rank to the lowest, (rows, neurons), and their shape.

    Parameters
    ----------
    ranking
        An attribution, or a tensor: (rows, *neurons); one row stands for all.

    Raises
    ------
    InputError
        Neither, or another number of rows.
    """
    values = as_values(ranking, "ranking")
    if len(values) not in (1, rows):
        raise InputError(
            f"ranking has {len(values)} rows and x has {rows}; expected as many, or one for all."
        )
    flat = values.expand(rows, *values.shape[1:]).reshape(rows, -1)
    return flat.argsort(dim=1, descending=True, stable=True), values.shape[1:]


def without(order: Tensor, count: int, shape: torch.Size) -> Tensor:
    """A mask (rows, *shape): 0 for the first `count` neurons of each row's order, else 1."""
    keep = torch.ones(order.shape, device=order.device)
    return keep.scatter(1, order[:, :count], 0.0).reshape(len(order), *shape)

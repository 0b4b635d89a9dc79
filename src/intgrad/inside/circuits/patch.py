"""A decoder run with some of its edges clean and the others corrupted."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.inside.circuits.decoder import Decoder
from intgrad.inside.circuits.parts import Part, Projection
from intgrad.inside.circuits.runs import Run


@dataclass(eq=False)
class Patch:
    r"""Gives every reader a stream of its own, put together from its edges.

    .. math:: x_v = x'_v + \sum_u w_{uv} (z_u - z'_u)

    where x' and z' are those of the corrupted run, and z is what u writes in *this* run, whose own
    edges are weighted too. Edges of weight 1 are kept, of weight 0 corrupted. With all of them this is
    the clean run, with none the corrupted one, to rounding.

    Attributes
    ----------
    decoder, corrupt
        Whose edges, and the corrupted run of the same rows.
    weights
        For each part, (readers, nodes upstream).
    moved
        z - z' so far, (nodes, n, words, width).
    """

    decoder: Decoder
    corrupt: Run
    weights: list[Tensor]
    moved: Tensor = field(init=False)

    def __post_init__(self) -> None:
        first, nodes = self.corrupt.streams[0], len(self.decoder.graph.nodes) - 1
        self.moved = first.new_zeros(nodes, *first.shape)

    @torch.no_grad()
    def __call__(self, model: nn.Module, ids: Tensor, given: dict[str, Tensor]) -> Any:
        """The model's output on clean ids."""
        with ExitStack() as stack:
            for hook in self._hooks():
                stack.callback(hook.remove)
            return model(ids, **given)

    def _hooks(self) -> list[Any]:
        parts = self.decoder.parts
        hooks = [parts[0].norm.module.register_forward_pre_hook(self._begin)]
        for i, part in enumerate(parts):
            if not part.projections:
                enter = partial(self._enter, i)
                hooks.append(part.norm.module.register_forward_pre_hook(enter))
            first = 0
            for p in part.projections:
                readers = slice(first, first + p.readers)
                hooks.append(
                    p.place.module.register_forward_hook(partial(self._project, i, p, readers))
                )
                first = readers.stop
            if part.wrote is not None and part.wrote.entry:
                wrote = lambda module, args, i=i: self._wrote(i, args[0])  # noqa: E731
                hooks.append(part.wrote.module.register_forward_pre_hook(wrote))
            elif part.wrote is not None:
                wrote = lambda module, args, out, i=i: self._wrote(i, _first(out))  # noqa: E731
                hooks.append(part.wrote.module.register_forward_hook(wrote))
        return hooks

    def _stream(self, i: int, readers: slice) -> Tensor:
        """What some readers of a part read, (readers, n, words, width)."""
        moved = self.moved[: self.decoder.parts[i].upstream]
        weights = self.weights[i][readers].to(moved)
        return self.corrupt.streams[i] + torch.einsum("vu,unld->vnld", weights, moved)

    def _begin(self, module: nn.Module, args: Any) -> None:
        self.moved[0] = args[0] - self.corrupt.streams[0]

    def _enter(self, i: int, module: nn.Module, args: Any) -> Any:
        return (self._stream(i, slice(0, 1))[0], *args[1:])

    def _project(
        self, i: int, own: Projection, readers: slice, module: nn.Module, args: Any, output: Tensor
    ) -> Tensor:
        """Queries, keys and values, each from a stream of its own."""
        read = self.decoder.parts[i].norm.module.forward(self._stream(i, readers))  # past its hooks
        found = torch.einsum("vnld,vkd->nlvk", read, own.weight().to(read)).flatten(2)
        bias = own.bias()
        return (found if bias is None else found + bias).to(output)

    def _wrote(self, i: int, wrote: Tensor) -> None:
        part: Part = self.decoder.parts[i]
        self.moved[part.own] = part.spread(wrote - self.corrupt.wrote[i])


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]

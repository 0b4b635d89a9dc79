"""The parts of a decoder: where each reads the residual stream, and what it writes to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intgrad._types import wide
from intgrad.errors import Unsupported
from intgrad.model.observe import Place

Reader = tuple[str, tuple[int, ...]]  # its name, and which of the part's nodes it serves


@dataclass(frozen=True, eq=False)
class Projection:
    """A module that some readers share: of its output, one after the other, `size` numbers are each's."""

    place: Place
    readers: int
    size: int

    def weight(self) -> Tensor:
        """(readers, size, width)."""
        return matrix(self.place).unflatten(0, (self.readers, self.size))

    def bias(self) -> Tensor | None:
        """(readers * size,), or None."""
        own = self.place.module.bias
        return own.detach() if isinstance(own, Tensor) else None


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a block, or the logits.

    Attributes
    ----------
    norm
        What goes into its norm: the residual stream, as it reads it.
    wrote
        What it writes: what goes into the output projection of heads, what comes out of another
        part; None for the logits, which write nothing.
    nodes, readers
        Its nodes' names; its readers, each with the nodes that it serves.
    projections
        Of queries, keys and values; none where its only reader is its norm.
    upstream
        How many nodes write before it reads.
    first
        The number of its first node.
    """

    norm: Place
    wrote: Place | None
    nodes: tuple[str, ...]
    readers: tuple[Reader, ...]
    projections: tuple[Projection, ...] = ()
    upstream: int = 0
    first: int = 0

    @property
    def own(self) -> slice:
        """Its nodes' numbers."""
        return slice(self.first, self.first + len(self.nodes))

    @property
    def location(self) -> nn.Module:
        """The module whose output is what it adds to the stream."""
        assert self.wrote is not None
        return self.wrote.module

    @property
    def looked_at(self) -> tuple[Place, ...]:
        """Where gradients tell what its readers make of the stream, its norm first."""
        return (self.norm, *(p.place for p in self.projections))

    def spread(self, wrote: Tensor) -> Tensor:
        """What it wrote (n, words, ...) as its nodes' shares of the stream, less a bias.

        Returns (nodes, n, words, width).
        """
        assert self.wrote is not None
        if not self.projections:
            return wrote[None]
        heads = len(self.nodes)
        own = matrix(self.wrote).unflatten(1, (heads, -1)).to(wrote)
        return torch.einsum("nlhk,dhk->hnld", wrote.unflatten(2, (heads, -1)), own)

    def read(self, stream: Tensor, gradients: list[Tensor]) -> Tensor:
        """Gradients in the stream, a reader's own: (readers, n, words, width).

        Parameters
        ----------
        stream
            What goes into the norm, (n, words, width).
        gradients
            (n, words, ...) at each place of `looked_at`.
        """
        if not self.projections:
            return gradients[0][None].to(wide(stream.dtype))
        pulled = [
            torch.einsum("nlvk,vkd->vnld", g.unflatten(2, (p.readers, p.size)), p.weight().to(g))
            for p, g in zip(self.projections, gradients[1:], strict=True)
        ]
        return through_norm(self.norm.module, stream, torch.cat(pulled))


def through_norm(norm: nn.Module, stream: Tensor, gradient: Tensor) -> Tensor:
    """Gradients (readers, n, words, width) behind the norm, carried to the stream before it."""
    with torch.enable_grad():
        copies = stream.expand_as(gradient).clone().requires_grad_()
        behind = norm.forward(copies)  # past its hooks: this is no call of the model
        (found,) = torch.autograd.grad(behind, copies, gradient)
    return found.to(wide(stream.dtype))


def matrix(place: Place) -> Tensor:
    """The weights of a linear module, (out, in); GPT-2's Conv1D holds them the other way.

    Raises
    ------
    Unsupported
        It is none.
    """
    weight = getattr(place.module, "weight", None)
    kind = type(place.module).__name__
    if isinstance(weight, Tensor) and weight.ndim == 2 and weight.is_floating_point():
        if isinstance(place.module, nn.Linear):
            return weight.detach()
        if kind == "Conv1D":
            return weight.detach().T
    raise Unsupported(
        f"{place.name!r} is a {kind}; a head's edges need its projections' weights as real numbers, in a "
        f"Linear or a Conv1D. Load the model without quantisation or adapters."
    )

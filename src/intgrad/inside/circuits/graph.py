"""The graph of a decoder: who writes to the residual stream, who reads it, every edge between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes that write, readers of the stream, and an edge from every node to every later reader.

    Attributes
    ----------
    nodes
        What writes to the residual stream, in order: ``input``, heads ``a0.h3``, ``m0``, ...; last
        ``logits``, which writes nothing.
    readers
        What reads it, each a copy of its own: ``a0.h3<q>``, ``a0.h2-3<k>`` (a key head that serves
        heads 2 and 3), ``m0``, ..., last ``logits``.
    upstream
        How many nodes have written before each reader.
    serves
        The nodes that each reader is a part of.
    """

    nodes: tuple[str, ...]
    readers: tuple[str, ...]
    upstream: tuple[int, ...]
    serves: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """How many edges there are: reader by reader, and for each in the order of the nodes."""
        return sum(self.upstream)

    @cached_property
    def source(self) -> Tensor:
        """The node that each edge comes from, (edges,)."""
        return torch.cat([torch.arange(n) for n in self.upstream])

    @cached_property
    def reader(self) -> Tensor:
        """The reader that each edge goes to, (edges,)."""
        return torch.arange(len(self.upstream)).repeat_interleave(torch.tensor(self.upstream))

    def names(self, edge: int) -> tuple[str, str]:
        """Where an edge comes from, and where it goes to."""
        return self.nodes[int(self.source[edge])], self.readers[int(self.reader[edge])]

    def find(self, source: str, reader: str) -> int:
        """The number of an edge between two names; ValueError where there is none."""
        u, v = self.nodes.index(source), self.readers.index(reader)
        if u >= self.upstream[v]:
            raise ValueError(f"{source} writes after {reader} has read; there is no such edge.")
        return sum(self.upstream[:v]) + u

    def between(self, nodes: Tensor) -> Tensor:
        """The edges between some nodes, (nodes,) True or False, and to the logits: (edges,)."""
        kept = torch.cat([nodes, torch.ones(1, dtype=torch.bool)])
        into = torch.tensor([bool(kept[list(serves)].any()) for serves in self.serves])
        return kept[self.source] & into[self.reader]

    def live(self, keep: Tensor) -> Tensor:
        """The edges of `keep` (edges,) that lie on a way from the input to the logits.

        The others change nothing: a node that nothing clean reaches puts out what it does on the
        corrupted prompt, and one that does not reach the logits is not heard.
        """
        by_reader = keep.split(self.upstream)
        reached = torch.zeros(len(self.nodes), dtype=torch.bool)
        reached[0] = True
        for kept, serves in zip(by_reader, self.serves, strict=True):
            if bool((kept & reached[: len(kept)]).any()):
                reached[list(serves)] = True
        heard = torch.zeros_like(reached)
        heard[-1] = True
        for kept, serves in zip(reversed(by_reader), reversed(self.serves), strict=True):
            if bool(heard[list(serves)].any()):
                heard[: len(kept)] |= kept
        into = torch.tensor([bool(heard[list(serves)].any()) for serves in self.serves])
        return keep & reached[self.source] & into[self.reader]

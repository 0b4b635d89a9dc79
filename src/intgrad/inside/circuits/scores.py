"""What a node of a path contributes to every edge: what its source moves, times what its reader makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intgrad._types import Point, wide
from intgrad.inside.circuits.decoder import Decoder
from intgrad.inside.circuits.parts import Part
from intgrad.inside.circuits.runs import spread
from intgrad.integrand import NodeWork
from intgrad.model.observe import Seen
from intgrad.model.oracle import Oracle, ability


@dataclass(frozen=True, eq=False)
class EdgeScores:
    r"""Source times gradient, for every edge from some sources: (1, n, edges).

    .. math:: (z_u - z'_u) \cdot \frac{\partial f}{\partial (\text{the copy of the stream that v reads})}

    Parameters
    ----------
    decoder
        Whose edges.
    moved
        z - z' of the input and of what each part wrote, rows first; None to take the tangents of the
        path instead: dz/dt, so that edges over a cut add up.
    sources
        The nodes whose edges are scored; all others are left out.
    """

    decoder: Decoder
    moved: tuple[Tensor, ...] | None
    sources: slice
    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = False  # not all edges are of one cut; see `answer`

    @property
    def readers(self) -> list[Part]:
        """The parts that some of the sources reach."""
        return [p for p in self.decoder.parts if p.upstream > self.sources.start]

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Contributions (1, n, edges), a gradient each; with tangents a pass in forward mode more."""
        writers = self.decoder.writers if self.moved is None else ()
        read = [place for part in self.readers for place in part.looked_at]
        places = (*read, *(w.wrote for w in writers if w.wrote is not None))
        ways = (work.velocity,) if self.moved is None else ()
        _, _, seen = ability(oracle, "observe")(work.x, work.rows, places, ways)
        moved = self._moves(work.rows, seen, len(read))
        found = []
        for part in self.readers:
            mine = [seen.pop(0) for _ in part.looked_at]
            gradient = part.read(mine[0].activation, [s.gradient[0] for s in mine])
            own = moved[: part.upstream - self.sources.start].to(gradient)
            found.append(products(gradient, own).flatten(1))
        return (torch.cat(found, 1)[None],)

    def _moves(self, rows: Tensor, seen: list[Seen], read: int) -> Tensor:
        """The sources' moves, (sources, n, words, width)."""
        if self.moved is None:
            along = [seen[0], *seen[read:]]
            moved = [s.tangents[0].to(wide(s.tangents.dtype)) for s in along]
        else:
            moved = [m[rows.to(m.device)] for m in self.moved]
        return spread(self.decoder, moved)[self.sources]


def products(gradient: Tensor, moved: Tensor) -> Tensor:
    """Every reader's gradient (v, n, words, width) times every source's move (u, ...): (n, v, u).

    As einsum would, without its copies.
    """
    return gradient.flatten(2).transpose(0, 1) @ moved.flatten(2).permute(1, 2, 0)

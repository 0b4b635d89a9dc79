"""Panels of curves as columns: how they begin, how they are halved, and which are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from intgrad.units import Nodes

AIM = 0.95  # of the tolerance: what a round of halving is expected to reach
GAINED = 0.75  # the share of its squared error that a kinked panel loses when it is halved
UNKNOWN = torch.zeros(1, 0)  # of panels whose nodes are still to be asked


@dataclass(frozen=True)
class Mesh:
    """Panels: curve (p,), left end and width (p,) in float64, and five nodes each (p, 5).

    The nodes of a panel are a quarter of its width apart; neighbours share the node between them.
    `node` says in which slot of a `Store` each is kept, or, if it is still to be asked, -1 minus
    its place in the list that is asked next. Known once asked: `wrong` (T, p), the L1 norm of a
    panel's error, and `mass` (T, p), the weighted norms of its contributions.
    """

    curve: Tensor
    left: Tensor
    width: Tensor
    node: Tensor
    wrong: Tensor = UNKNOWN
    mass: Tensor = UNKNOWN

    def __len__(self) -> int:
        return len(self.curve)

    def where(self, keep: Tensor | slice) -> Mesh:
        """The panels that `keep` (a mask, indices or a slice) names."""
        return Mesh(
            *(column[keep] for column in (self.curve, self.left, self.width, self.node)),
            *(m if m is UNKNOWN else m[:, keep] for m in (self.wrong, self.mass)),
        )

    def known(self, wrong: Tensor, mass: Tensor) -> Mesh:
        """The same panels, measured."""
        return replace(self, wrong=wrong, mass=mass)

    def placed(self, slots: Tensor) -> Mesh:
        """The same panels, when the nodes that were to be asked are kept in `slots`."""
        place = (-1 - self.node).clamp(min=0)
        return replace(self, node=torch.where(self.node < 0, slots[place], self.node))


def join(meshes: Sequence[Mesh]) -> Mesh:
    """The panels of several meshes, all of them measured or none."""
    columns = zip(*((m.curve, m.left, m.width, m.node) for m in meshes), strict=True)
    if any(m.wrong is UNKNOWN for m in meshes):
        return Mesh(*(torch.cat(c) for c in columns))
    known = zip(*((m.wrong, m.mass) for m in meshes), strict=True)
    return Mesh(*(torch.cat(c) for c in columns), *(torch.cat(k, 1) for k in known))


def both(first: Nodes, second: Nodes) -> Nodes:
    """The nodes of one list, and after them those of another."""
    pairs = (first.curve, second.curve), (first.t, second.t), (first.weight, second.weight)
    return Nodes(*(torch.cat(p) for p in pairs))


def begin(curve: Tensor, pieces: Tensor, first: int) -> tuple[Mesh, Nodes]:
    """Cut each curve (c,) into `pieces` (c,) equal panels; and the nodes, 4 a panel and one.

    `first` is the place of the first node in the list that is asked next.
    """
    size = 4 * pieces + 1
    start = first + torch.cumsum(size, 0) - size
    piece = _count_up(pieces)
    width = (1 / pieces.double()).repeat_interleave(pieces)
    place = (start.repeat_interleave(pieces) + 4 * piece)[:, None] + torch.arange(5)
    mesh = Mesh(curve.repeat_interleave(pieces), piece * width, width, -1 - place)
    t = _count_up(size) / (size - 1).double().repeat_interleave(size)
    return mesh, _nodes(curve.repeat_interleave(size), t)


def halve(mesh: Mesh) -> tuple[Mesh, Nodes]:
    """Two panels of each, which keep its nodes; and the four nodes a panel that are new."""
    n, old = len(mesh), mesh.node
    new = -1 - torch.arange(4 * n).reshape(n, 4)
    left = torch.stack([old[:, 0], new[:, 0], old[:, 1], new[:, 1], old[:, 2]], 1)
    right = torch.stack([old[:, 2], new[:, 2], old[:, 3], new[:, 3], old[:, 4]], 1)
    halves = Mesh(
        mesh.curve.repeat_interleave(2),
        torch.stack([mesh.left, mesh.left + mesh.width / 2], 1).reshape(-1),
        (mesh.width / 2).repeat_interleave(2),
        torch.stack([left, right], 1).reshape(-1, 5),
    )
    odd = torch.tensor([1, 3, 5, 7], dtype=torch.float64) / 8
    t = mesh.left[:, None] + mesh.width[:, None] * odd
    return halves, _nodes(mesh.curve.repeat_interleave(4), t.reshape(-1))


def choose(score: Tensor, row: Tensor, shrink: Tensor, room: Tensor) -> Tensor:
    """Which panels to halve: (p,) in bool.

    Of each row the largest scores, until they hold half of the row's sum, or until the root of its
    sum of squares is expected to be `shrink` (rows,) times what it is; at most `room` (rows,).
    """
    rows, own = torch.unique(row, return_inverse=True)
    order, count = torch.argsort(own, stable=True), torch.bincount(own)
    cell = own[order], _count_up(count)
    table = score.new_zeros(len(rows), int(count.max()) if len(rows) else 0)
    table[cell] = score[order]
    ranked, which = table.sort(dim=1, descending=True, stable=True)
    sums, squares = ranked.cumsum(1), ranked.square().cumsum(1)
    few = sums - ranked < sums[:, -1:] / 2
    left = (
        GAINED * (squares - ranked.square()) < (1 - shrink[rows, None].square()) * squares[:, -1:]
    )
    fits = torch.arange(table.shape[1]) < room[rows, None]
    chosen = torch.zeros_like(table, dtype=torch.bool)
    chosen.scatter_(1, which, few & left & fits & (ranked > 0))
    found = torch.zeros(len(score), dtype=torch.bool)
    found[order] = chosen[cell]
    return found


def _count_up(sizes: Tensor) -> Tensor:
    """0, 1, ..., size - 1 for each size, one after the other."""
    first = torch.cumsum(sizes, 0) - sizes
    return torch.arange(int(sizes.sum())) - first.repeat_interleave(sizes)


def _nodes(curve: Tensor, t: Tensor) -> Nodes:
    return Nodes(curve, t, torch.ones(len(t), 1, dtype=torch.float64))

"""`Refinement`: panels of many rows, halved together until each row is known well enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from intgrad._types import Point, chunks, each_target, total
from intgrad.errors import Unsupported
from intgrad.integral import LineIntegral
from intgrad.model.oracle import Listener
from intgrad.quadrature.mesh import AIM, Mesh, begin, both, choose, halve, join
from intgrad.quadrature.rule import judge
from intgrad.quadrature.store import WORST, Measured, Store, along
from intgrad.sums import add_in_order
from intgrad.units import Nodes

HELD = 1 << 30  # bytes of contributions kept, on a CPU; an eighth of a GPU's memory there
PIECE = 1 << 24  # bytes of contributions looked at in one operation
FINEST = 2.0**-20  # a panel no wider is not halved: what changes within it is a jump
TINY = 1e-100


class Sums(NamedTuple):
    """Sums over panels (T, rows, ...): of values, squared errors, and errors as the values tell."""

    value: Point
    square: Point
    drift: Point

    def error(self) -> Point:
        """The error map: the larger of the root of the squares, and the drift."""
        pairs = zip(self.square, self.drift, strict=True)
        return tuple(torch.maximum(s.sqrt(), d.abs()) for s, d in pairs)


class Refinement:
    """The rows of an integral, on their way to a tolerance.

    Rows are taken in their order, as many at a time as can keep all their nodes in `HELD` bytes; a
    single row that cannot closes the panels whose errors are least. What happens to a row depends
    on nothing but its own numbers.
    """

    # known from the first contributions on, of the closed panels of all rows: their sums (T, rows,
    # ...), and the squared norms of their errors and their masses (T, rows)
    sums: Sums
    closed: Tensor
    mass: Tensor

    def __init__(self, integral: LineIntegral, rtol: float, most: int) -> None:
        self.integral, self.rtol, self.most = integral, rtol, most
        self.listener = Listener(integral.oracle)
        self.heard = integral.through(self.listener)
        self.per_row = torch.bincount(integral.curves.row, minlength=integral.rows)
        self.pieces = torch.where(self.per_row == 1, 2, 1)
        self.least = (4 * self.pieces + 1) * self.per_row
        self.asked = torch.zeros(integral.rows, dtype=torch.long)
        self.waiting = self.per_row.nonzero()[:, 0]
        self.store = Store()
        self.mesh, _ = begin(self.waiting[:0], self.waiting[:0], 0)

    def run(self) -> tuple[Point, Point]:
        """Value and error map (T, rows, ...)."""
        fresh, nodes = self._admit(0)
        while len(nodes):
            self._ask(fresh, nodes)
            split = self._settle()
            halves, new = halve(self.mesh.where(split))
            self.mesh = self.mesh.where(~split)
            starts, more = self._admit(len(new))
            fresh, nodes = join([halves, starts]), both(new, more)
        return self.sums.value, self.sums.error()

    # ------------------------------------------------------------------ asking

    def _admit(self, first: int) -> tuple[Mesh, Nodes]:
        """The starting panels of rows there is room for; their nodes are asked from place `first`."""
        at_once = max(1, self._slots() // self.most) if self.store.kept else 1
        more = max(0, at_once - len(torch.unique(self._row(self.mesh))))
        rows, self.waiting = self.waiting[:more], self.waiting[more:]
        curve = torch.isin(self.integral.curves.row, rows).nonzero()[:, 0]
        return begin(curve, self.pieces[self.integral.curves.row[curve]], first)

    def _slots(self) -> int:
        """How many contributions are kept at most: enough for one row to begin, and go on."""
        device = self.store.kept[0].device
        cuda = device.type == "cuda"
        held = torch.cuda.get_device_properties(device).total_memory // 8 if cuda else HELD
        return max(held // max(self.store.bytes(), 1), 2 * int(self.least.max()))

    def _ask(self, fresh: Mesh, nodes: Nodes) -> None:
        """Ask in full calls, and measure the panels whose nodes are then all known."""
        used = torch.cat([self.mesh.node.reshape(-1), fresh.node[fresh.node >= 0]])
        most = self._slots() if self.store.kept else len(nodes)
        slots = self.store.room(used, len(nodes), most)
        for part in chunks(len(nodes), getattr(self.integral.oracle, "width", 0) or 64):
            some = Nodes(nodes.curve[part], nodes.t[part], nodes.weight[part])
            found = self.heard.each(some)
            _refuse_graph(found)
            self._open(found)
            self.store.put(slots[part], found, self.listener.values(len(some)))
        row = self.integral.curves.row[nodes.curve]
        self.asked += torch.bincount(row, minlength=self.integral.rows)
        parts = [self._known(p) for p in self._parts(fresh.placed(slots))]
        self.mesh = join([self.mesh, *parts]) if len(self.mesh) else join(parts)

    def _open(self, found: Point) -> None:
        if self.store.kept:
            return
        shapes = [(f.shape[0], self.integral.rows, *f.shape[2:]) for f in found]
        zeros = tuple(f.new_zeros(s) for f, s in zip(found, shapes, strict=True))
        self.sums = Sums(zeros, *(tuple(z.clone() for z in zeros) for _ in range(2)))
        self.closed, self.mass = torch.zeros(2, *shapes[0][:2], dtype=torch.float64)

    # ------------------------------------------------------------------ panels

    def _row(self, mesh: Mesh) -> Tensor:
        return self.integral.curves.row[mesh.curve]

    def _parts(self, mesh: Mesh) -> Iterator[Mesh]:
        """Panels, as many at a time as may be looked at at once."""
        step = max(1, PIECE // (5 * max(self.store.bytes(), 1)))
        return (mesh.where(part) for part in chunks(len(mesh), step))

    def _known(self, mesh: Mesh) -> Mesh:
        return mesh.known(self._measured(mesh)[0].wrong, self.store.mass(mesh))

    def _measured(self, mesh: Mesh) -> tuple[Measured, Point]:
        """Panels, with what the values of f show to be missed; and the errors they seem to be."""
        found = self.store.measure(mesh)
        if self.integral.gain is None:
            return found, found.drift(torch.zeros_like(found.wrong))
        change, size = self.store.change(mesh)
        share = self.integral.curves.weight[mesh.curve]
        off = (found.total() - share * change).nan_to_num(0.0)
        missed = off.abs() - share * self.listener.rounding * size
        return found.missing((missed - found.wrong).clamp(min=0.0)), found.drift(off)

    def _add(self, mesh: Mesh, place: Tensor, sums: Sums) -> None:
        """Add panels to sums (T, r, ...), each to its `place` in r."""
        largest, at = self._largest(self.mesh.wrong), 0
        for part in self._parts(mesh):
            found, drift = self._measured(part)
            row, one = place[at : at + len(part)], torch.ones(len(part), 1)
            at += len(part)
            worst = torch.where(part.wrong >= largest[:, self._row(part)], WORST, 1.0)
            squares = tuple((e * along(worst, e)).square() for e in found.errors)
            for totals, more in zip(sums, (found.sums, squares, drift), strict=True):
                for t, m in zip(totals, more, strict=True):
                    add_in_order(t[None], m, row, one)

    # ------------------------------------------------------------------ rows

    def _settle(self) -> Tensor:
        """Close the rows that are done or cannot go on; which panels of the others to halve."""
        row = self._row(self.mesh)
        mass = self.mass.index_add(1, row, self.mesh.mass)  # no norm is larger
        limit = torch.maximum(self.rtol * mass, self.integral.slack(len(mass))).clamp(min=TINY)
        excess = self._rough(self.mesh.wrong, self.closed) / limit
        near = torch.unique(row[(excess <= 1).all(0)[row]])
        if len(near):
            excess[:, near] = self._judge(near)
        split = self._make_room(self._pick(limit, excess))
        going = torch.zeros(self.integral.rows, dtype=torch.bool)
        going[self._row(self.mesh)[split]] = True
        stay = going[self._row(self.mesh)]
        self._close(~stay)
        return split[stay]

    def _largest(self, wrong: Tensor) -> Tensor:
        """The largest error of a panel: (T, rows)."""
        row = self._row(self.mesh).expand(len(wrong), -1)
        return torch.zeros_like(self.closed).scatter_reduce(1, row, wrong, "amax")

    def _rough(self, wrong: Tensor, squares: Tensor) -> Tensor:
        """Root of the sum of squared errors (T, p), the largest at its worst: (T, rows)."""
        squares = squares.index_add(1, self._row(self.mesh), wrong.square())
        return (squares + (WORST**2 - 1) * self._largest(wrong).square()).sqrt()

    def _judge(self, rows: Tensor) -> Tensor:
        """How many times too large the certificate's error would be, 0 where it is not: (T, r)."""
        place = torch.full((self.integral.rows,), -1).index_put((rows,), torch.arange(len(rows)))
        mine = self.mesh.where(place[self._row(self.mesh)] >= 0)
        sums = Sums(*(tuple(_take(p, rows) for p in s) for s in self.sums))
        self._add(mine, place[self._row(mine)], sums)
        value, device = sums.value, sums.value[0].device
        residual, scale = None, torch.zeros(len(value[0]), len(rows))
        if self.integral.gain is not None:
            residual = each_target(value, total) - _take(self.integral.gain, rows).to(device)
        if self.integral.scale is not None:
            scale = _take(self.integral.scale, rows)
        error, good = judge(value, sums.error(), residual, scale.to(device), self.rtol)
        return torch.where(good, 0.0, error / self.rtol).cpu()

    def _pick(self, limit: Tensor, excess: Tensor) -> Tensor:
        """The panels to halve, a row's for the target that is worst: (p,)."""
        row, wrong, live = self._row(self.mesh), self.mesh.wrong, self.mesh.width > FINEST
        none = torch.zeros_like(self.closed)
        jumps = (self._rough(wrong * ~live, none) > limit).any(0)  # halve the rest, then give up
        excess = torch.where(jumps, self._rough(wrong * live, none) / limit, excess)
        weight = torch.where(excess > 1, 1 / limit, 0.0)
        score = (wrong * weight[:, row]).amax(0) * live
        found = torch.zeros_like(excess[0]).index_add(0, row, score)
        blind = (excess > 1).any(0) & (found == 0)  # something is missed, and nothing says where
        score = torch.where(blind[row], self.mesh.width * live, score)
        shrink = (AIM / excess.amax(0)).clamp(max=1)
        return choose(score, row, shrink, (self.most - self.asked) // 4)

    def _make_room(self, split: Tensor) -> Tensor:
        """Close panels of the only row at work, if its nodes outgrow the store; what is left of `split`.

        Three nodes are free for every panel closed, those with the least error first.
        """
        free = self._slots() - len(torch.unique(self.mesh.node))
        need = 4 * int(split.sum()) - free
        if need <= 0:
            return split
        score = self.mesh.wrong.amax(0).masked_fill(split, torch.inf)
        least = torch.argsort(score, stable=True)[: min((need + 2) // 3, int((~split).sum()))]
        close = torch.zeros_like(split).index_fill(0, least, True)
        self._close(close)
        split = split[~close]
        free = self._slots() - len(torch.unique(self.mesh.node))
        return split & (torch.cumsum(split.long(), 0) <= free // 4)

    def _close(self, which: Tensor) -> None:
        """Take panels out of the mesh, and into the sums of their rows, for good."""
        gone = self.mesh.where(which)
        row = self._row(gone)
        self._add(gone, row, self.sums)
        self.closed.index_add_(1, row, gone.wrong.square())
        self.mass.index_add_(1, row, gone.mass)
        if self.integral.watch:
            self.integral.weigh(gone.mass, row)
        self.mesh = self.mesh.where(~which)


def _take(part: Tensor, rows: Tensor) -> Tensor:
    """The rows (T, r, ...) of (T, rows, ...), a copy."""
    return part.index_select(1, rows.to(part.device))


def _refuse_graph(found: Point) -> None:
    if any(f.requires_grad for f in found):
        raise Unsupported(
            "an adaptive rule chooses its nodes by what it sees, and a choice has no derivative. "
            "With differentiable=True use a fixed rule, such as quadrature=ig.GaussLegendre(16)."
        )

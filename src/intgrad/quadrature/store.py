"""Contributions kept until their panels are closed, and what five of them say of a panel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.quadrature.mesh import Mesh

TINY = 1e-30  # next to it, what is 1 has no direction in float32
ALIKE = 0.25  # how far differences may be from the proportion a single kink gives them
WORST = 2.0  # how many times its root mean square the error of a kinked panel is at worst


@dataclass(frozen=True)
class Measured:
    """Of panels: sums, third differences and errors (T, p, ...), and the errors' L1 norms (T, p).

    `single` (T, p) says which seem to hold one kink: their differences are in proportion 1 or 3.
    """

    sums: Point
    third: Point
    errors: Point
    wrong: Tensor
    single: Tensor

    def total(self) -> Tensor:
        """The sums of all features: (T, p)."""
        return fold(self.sums)

    def drift(self, off: Tensor) -> Point:
        """The errors (T, p, ...) of panels with a single kink that are `off` (T, p) by so much.

        The third difference is then the jump, and what it sums to says how far it has gone astray.
        """
        jump = fold(self.third)
        share = torch.where(self.single & (jump != 0), off / jump, 0.0).clamp(-WORST, WORST)
        return tuple(along(share, t) * t for t in self.third)

    def missing(self, more: Tensor) -> Measured:
        """With errors that are `more` (T, p) in L1 norm, spread over the features as the sums are."""
        if not bool((more > 0).any()):
            return self
        size = fold(tuple(s.abs() for s in self.sums))
        share = torch.where(size > TINY * more, more / size.clamp(min=TINY * TINY), 0.0)
        pairs = zip(self.errors, self.sums, strict=True)
        errors = tuple(e + along(share, e) * s.abs() for e, s in pairs)
        return replace(self, errors=errors, wrong=self.wrong + more)


def _nothing() -> Tensor:
    return torch.zeros(1, 0, dtype=torch.float64)


@dataclass
class Store:
    """Contributions (T, slots, ...) of the nodes of open panels, in slots that are used again.

    `norm` and `value` (T, slots) are the L1 norm of each and the target's value there, if known.
    """

    slots: int = 0
    kept: Point = ()
    norm: Tensor = field(default_factory=_nothing)
    value: Tensor = field(default_factory=_nothing)

    def bytes(self) -> int:
        """What one node takes."""
        return sum(k.shape[0] * k[0, :1].numel() * k.element_size() for k in self.kept)

    def room(self, used: Tensor, need: int, most: int) -> Tensor:
        """So many slots (need,) that are not `used`; half as many again, up to `most`, are made."""
        taken = torch.zeros(self.slots, dtype=torch.bool)
        taken[used] = True
        free = (~taken).nonzero()[:, 0]
        if len(free) < need:
            least = self.slots + need - len(free)
            grown = max(least, min(self.slots + self.slots // 2, most))
            free = torch.cat([free, torch.arange(self.slots, grown)])
            self.slots = grown
        return free[:need]

    def put(self, slots: Tensor, found: Point, value: Tensor) -> None:
        """Keep contributions (T, n, ...) and values (T, n) in `slots` (n,)."""
        t = found[0].shape[0]
        kept = self.kept or tuple(f.new_empty(t, 0, *f.shape[2:]) for f in found)
        self.kept = tuple(_grown(k, self.slots) for k in kept)
        for k, new in zip(self.kept, found, strict=True):
            k[:, slots.to(k.device)] = new
        self.norm = _grown(self.norm.expand(t, -1), self.slots)
        self.value = _grown(self.value.expand(t, -1), self.slots)
        self.norm[:, slots] = fold(tuple(f.abs() for f in found))
        self.value[:, slots] = value

    def measure(self, mesh: Mesh) -> Measured:
        """Simpson's sums of panels, and errors from differences; see `Adaptive`."""
        flat = [k.index_select(1, mesh.node.reshape(-1).to(k.device)) for k in self.kept]
        parts = [differences(f.unflatten(1, mesh.node.shape), mesh.width) for f in flat]
        sums, third, fourth = (tuple(p) for p in zip(*parts, strict=True))
        pairs = [(t.abs(), f.abs()) for t, f in zip(third, fourth, strict=True)]
        size = fold(tuple(f for _, f in pairs))
        kinked = size >= fold(tuple(t for t, _ in pairs))
        errors = tuple(torch.where(along(kinked, f), torch.maximum(t, f / 3), f) for t, f in pairs)
        apart = [fold(tuple((f - k * t).abs() for t, f in pairs)) for k in (1, 3)]
        single = kinked & (torch.minimum(*apart) <= ALIKE * size)
        return Measured(sums, third, errors, fold(errors), single)

    def mass(self, mesh: Mesh) -> Tensor:
        """The weighted norms of panels' contributions: (T, p)."""
        return differences(self.norm[:, mesh.node], mesh.width)[0]

    def change(self, mesh: Mesh) -> tuple[Tensor, Tensor]:
        """By how much the target changes over each panel, and the larger of its two values: (T, p)."""
        before, after = self.value[:, mesh.node[:, 0]], self.value[:, mesh.node[:, 4]]
        return after - before, torch.maximum(before.abs(), after.abs())


def differences(nodes: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Simpson's sum, the third difference and the fourth: (T, p, ...).

    Of contributions (T, p, 5, ...), each times a twelfth of the panel's width (p,).
    """
    a, b, c, d, e = nodes.unbind(2)
    share = (width / 12).to(a.device, a.dtype).reshape(1, -1, *(1,) * (a.ndim - 2))
    ends, quarters = a + e, b + d
    third = (e - a) + 2 * (b - d)
    fourth = ends - 4 * quarters + 6 * c
    return share * (ends + 4 * quarters + 2 * c), share * third, share * fourth


def fold(point: Point) -> Tensor:
    """Sum everything but the first two axes, in float64, on the CPU: (T, n).

    Halves are added to halves: elementwise additions alone, so that no sum depends on how many
    others are made beside it.
    """
    sums = [_folded(p.reshape(*p.shape[:2], -1).double()) for p in point]
    return sum(sums[1:], start=sums[0]).cpu()


def _folded(flat: Tensor) -> Tensor:
    while (half := flat.shape[2] // 2) > 0:
        pairs = flat[:, :, :half] + flat[:, :, half : 2 * half]
        flat = torch.cat([pairs, flat[:, :, 2 * half :]], 2)
    return flat.sum(2)


def _grown(kept: Tensor, slots: int) -> Tensor:
    if kept.shape[1] >= slots:
        return kept
    new = kept.new_empty(kept.shape[0], slots, *kept.shape[2:])
    new[:, : kept.shape[1]] = kept
    return new


def along(numbers: Tensor, part: Tensor) -> Tensor:
    """Shape (T, p) numbers so that they go with (T, p, ...)."""
    if numbers.is_floating_point():
        numbers = numbers.to(part.dtype)
    return numbers.to(part.device).reshape(*numbers.shape, *(1,) * (part.ndim - 2))

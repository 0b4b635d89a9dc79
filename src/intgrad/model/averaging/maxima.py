r"""Maxima over many: each element has the share of the panel in which it is the largest.

The elements move straight, so their maximum is an upper envelope. An element that is the largest at
both ends is the largest in between: the maximum is convex and cannot exceed the chord, which is that
element. Only windows whose winner changes need a walk along the envelope, winner by winner; in narrow
panels they are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from intgrad.model.averaging.ends import Ends, argument, first, second, wide
from intgrad.model.averaging.memory import arranged, flat, rows_lie_apart
from intgrad.model.tape import Step, run


def envelope(a: Tensor, b: Tensor, winner: Tensor) -> Tensor:
    """Shares (m, k) of [0, 1] in which each of k lines from a (m, k) to b (m, k) is on top.

    Parameters
    ----------
    winner
        (m,) which is on top at 0.
    """
    shares = torch.zeros_like(a)
    slope, active = b - a, torch.arange(len(a), device=a.device)
    t, own = torch.zeros(len(a), dtype=a.dtype, device=a.device), winner.clone()
    for _ in range(a.shape[1]):
        at, rate = a[active], slope[active]
        mine = own[active][:, None]
        gap, closing = at.gather(1, mine) - at, rate - rate.gather(1, mine)
        meets = torch.where(closing > 0, gap / closing, torch.inf)
        now = t[active]
        meets = torch.maximum(meets, now[:, None])
        when = meets.amin(1)
        # of those that meet together, the steepest goes on top
        after = torch.where(meets == when[:, None], rate, -torch.inf).argmax(1)
        done = when >= 1
        stop = torch.where(done, 1.0, when)
        shares[active, own[active]] += stop - now
        go = ~done
        active = active[go]
        if not len(active):
            break
        t[active], own[active] = when[go], after[go]
    return shares


def max_dim(step: Step, node: Node, g: Tensor) -> Tensor:
    """The maximum along one dimension, as ``max(dim)`` gives it with its indices."""
    dim = step.args[1]
    keep = bool(step.args[2]) if len(step.args) > 2 else bool(step.kwargs.get("keepdim", False))
    return along(argument(step, 0), g if keep else g.unsqueeze(dim), dim)


def amax(step: Step, node: Node, g: Tensor, sign: float = 1.0) -> Tensor:
    """The maximum over some dimensions, or the minimum (`sign` -1)."""
    z = argument(step, 0)
    dims = step.args[1] if len(step.args) > 1 else ()
    dims = [dims] if isinstance(dims, int) else list(dims) or list(range(z.a.ndim))
    keep = bool(step.args[2]) if len(step.args) > 2 else bool(step.kwargs.get("keepdim", False))
    dims = sorted(d % z.a.ndim for d in dims)
    if not keep:
        for d in dims:
            g = g.unsqueeze(d)
    rest = [d for d in range(z.a.ndim) if d not in dims]
    order = rest + dims
    shape = [z.a.shape[d] for d in order]
    flat = lambda t: t.permute(order).flatten(len(rest))  # noqa: E731
    pulled = along(Ends(sign * flat(z.a), sign * flat(z.b)), flat(g), -1)
    back = [order.index(d) for d in range(z.a.ndim)]
    return pulled.reshape(shape).permute(back)


def along(z: Ends, g: Tensor, dim: int) -> Tensor:
    """Pull g (one entry in `dim`) back to shares of the maximum along `dim`."""
    a, b = z.a.movedim(dim, -1), z.b.movedim(dim, -1)
    flat_a, flat_b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    at_a, at_b = flat_a.argmax(1), flat_b.argmax(1)
    shares = torch.zeros_like(flat_a).scatter_(1, at_a[:, None], 1.0)
    moved = (at_a != at_b).nonzero()[:, 0]
    if len(moved):
        shares[moved] = envelope(flat_a[moved], flat_b[moved], at_a[moved])
    return shares.reshape(a.shape).movedim(-1, dim) * g


# ---------------------------------------------------------------------- windows


def max_pool(step: Step, node: Node, grad: Tensor) -> Tensor:
    """Max-pooling with indices: where the winner stays autograd's own rule, elsewhere the envelope.

    Returns the gradient for the whole input, rows and all.
    """
    axis = step.axes[1]
    assert axis is not None
    index = step.outs[1]
    at_a, at_b = first(index, axis), second(index, axis)
    changed = at_a != at_b
    stays = grad.clone()
    first(stays, axis).masked_fill_(changed, 0)
    stays.narrow(axis[0], stays.shape[axis[0]] - axis[1], axis[1]).zero_()
    found = run(node, (stays,))[0]
    assert found is not None
    if bool(changed.any()):
        z = step.tensors[0] if rows_lie_apart(step.tensors[0]) else step.tensors[0].contiguous()
        found = arranged(found, z)
        _share_out(step, z, changed, found, first(grad, axis))
    return found


def _share_out(step: Step, z: Tensor, changed: Tensor, found: Tensor, g: Tensor) -> None:
    """Add to `found`, in place, the shares of windows whose winner changes.

    Where the first winner hands over to the last one directly, nothing else being above them when
    they meet, their shares are where they meet; only the rest needs the whole envelope.
    """
    axis = step.axes[0]
    assert axis is not None
    space = 3 if "3d" in step.name else 2
    place = changed.nonzero(as_tuple=True)
    base = torch.zeros_like(place[0])
    for p, stride in zip(place[:-space], z.stride(), strict=False):
        base = base + p * stride
    where = _addresses(z, space)
    at_a, at_b = (where[t(step.outs[1], axis)[place]] + base for t in (first, second))
    cell = place[-space]
    for d in range(1 - space, 0):
        cell = cell * changed.shape[d] + place[d]
    table = windows(step, z.shape).flatten(0, space - 1).to(z.device)
    table = torch.where(table < 0, -1, where[table])
    lines = Lines(flat(z), axis[1] * z.stride(0), base, table, cell, at_a)
    meet = lines.meeting(at_b)
    direct = lines.top(meet) <= lines.value(at_a, meet) + lines.slack(at_a)
    weight, out = g[place], flat(found)
    meet, weight = meet.to(out.dtype), weight.to(out.dtype)
    out.index_add_(0, at_a[direct], (weight * meet)[direct])
    out.index_add_(0, at_b[direct], (weight * (1 - meet))[direct])
    rest = (~direct).nonzero()[:, 0]
    if len(rest):
        members = lines.members(rest)
        own = (members == at_a[rest, None]).to(torch.uint8).argmax(1)
        shares = envelope(lines.ends(members, 0), lines.ends(members, 1), own)
        own_weight = weight[rest, None] * shares.to(out.dtype)
        out.index_add_(0, members.reshape(-1), own_weight.reshape(-1))


@dataclass(frozen=True)
class Lines:
    """Windows whose members move from where they are in `memory` to one row (`step`) further on.

    `base`, `cell` and `winner` are (m,): where a window's plane starts, which row of `table` lists
    its members' addresses in the plane (-1 outside), and the address of its first winner.
    """

    memory: Tensor
    step: int
    base: Tensor
    table: Tensor
    cell: Tensor
    winner: Tensor

    def ends(self, address: Tensor, row: int) -> Tensor:
        """Values at addresses, at the start (0) or the end (1) of the panel."""
        return wide(self.memory[address + row * self.step])

    def meeting(self, other: Tensor) -> Tensor:
        """When the winner's line meets another, which is above it at the end."""
        mine, its = ([self.ends(p, r) for r in (0, 1)] for p in (self.winner, other))
        gap, closing = mine[0] - its[0], (its[1] - its[0]) - (mine[1] - mine[0])
        return torch.where(closing > 0, gap / closing, 1.0).clamp_(0, 1)

    def value(self, address: Tensor, t: Tensor) -> Tensor:
        """Where a line is at t."""
        return torch.lerp(self.ends(address, 0), self.ends(address, 1), t)

    def slack(self, address: Tensor) -> Tensor:
        """What rounding does to such a value."""
        size = self.ends(address, 0).abs() + self.ends(address, 1).abs()
        return 4 * torch.finfo(size.dtype).eps * size

    def members(self, which: Tensor | slice = slice(None)) -> Tensor:
        """Addresses of these windows' members (m, k); the winner's own in place of outsiders."""
        own = self.table[self.cell[which]]
        return torch.where(own < 0, self.winner[which, None], own + self.base[which, None])

    def top(self, t: Tensor) -> Tensor:
        """The largest member at t, column by column of the table."""
        best = torch.full_like(t, -torch.inf)
        for column in self.table.T:
            own = column[self.cell]
            address = torch.where(own < 0, self.winner, own + self.base)
            best = torch.maximum(best, self.value(address, t))
        return best


def _addresses(z: Tensor, space: int) -> Tensor:
    """The place in memory, from the start of its plane, of every position in a plane."""
    found = torch.zeros(1, dtype=torch.long, device=z.device)
    for size, stride in zip(z.shape[-space:], z.stride()[-space:], strict=True):
        line = torch.arange(size, device=z.device) * stride
        found = (found[:, None] + line).reshape(-1)
    return found


def windows(step: Step, shape: Sequence[int]) -> Tensor:
    """Flat positions in the plane of every window's members: (*cells, k); -1 outside the plane."""
    space = 3 if "3d" in step.name else 2
    size, cells = [list(s)[-space:] for s in (shape, step.outs[0].shape)]
    lines = [_line(step, d, size[d], cells[d]) for d in range(space)]
    found = torch.zeros(*cells, 1, dtype=torch.long)
    valid = torch.ones(*cells, 1, dtype=torch.bool)
    for d, line in enumerate(lines):
        own = line.reshape(*(1,) * d, cells[d], *(1,) * (space - d - 1), 1, -1)
        found = (found[..., None] * size[d] + own.clamp(min=0)).flatten(-2)
        valid = (valid[..., None] & (own >= 0)).flatten(-2)
    return torch.where(valid, found, -1)


def _line(step: Step, d: int, size: int, cells: int) -> Tensor:
    """Positions along one axis of every window there: (cells, k); -1 outside."""
    if step.name.startswith("adaptive"):
        starts = [i * size // cells for i in range(cells)]
        stops = [-(-(i + 1) * size // cells) for i in range(cells)]
        width = max(b - a for a, b in zip(starts, stops, strict=True))
        own = torch.tensor(starts)[:, None] + torch.arange(width)
        return torch.where(own < torch.tensor(stops)[:, None], own, -1)
    kernel = _option(step, 1, "kernel_size", 1, d)
    stride = _option(step, 2, "stride", kernel, d)
    padding = _option(step, 3, "padding", 0, d)
    dilation = _option(step, 4, "dilation", 1, d)
    own = (torch.arange(cells) * stride - padding)[:, None] + torch.arange(kernel) * dilation
    return torch.where((own >= 0) & (own < size), own, -1)


def _option(step: Step, place: int, name: str, default: int, d: int) -> int:
    value: Any = step.args[place] if len(step.args) > place else step.kwargs.get(name)
    if value is None or (isinstance(value, list | tuple) and not value):
        return default
    if isinstance(value, int):
        return value
    return list(value)[d if len(value) > 1 else 0]

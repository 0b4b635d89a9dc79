r"""Maxima over many: each element has the share of the panel in which it is the largest.

The elements move straight, so their maximum is an upper envelope. An element that is the largest at
both ends is the largest in between: the maximum is convex and cannot exceed the chord, which is that
element. Only windows whose winner changes need a walk along the envelope, winner by winner; in narrow
panels they are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from intgrad.model.averaging.ends import Ends, argument, first, incoming, second
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

    Returns the gradient for the whole input: the rule of the rows that stay is autograd's.
    """
    axis = step.axes[1]
    assert axis is not None
    z, index = step.tensors[0], step.outs[1]
    at_a, at_b = first(index, axis), second(index, axis)
    changed = at_a != at_b
    stays = grad.clone()
    first(stays, axis).masked_fill_(changed, 0)
    stays.narrow(axis[0], stays.shape[axis[0]] - axis[1], axis[1]).zero_()
    found = run(node, (stays,))[0]
    assert found is not None
    if bool(changed.any()):
        _share_out(step, z, changed, at_a, incoming(step, grad), found)
    return found


def _share_out(
    step: Step, z: Tensor, changed: Tensor, at_a: Tensor, g: Tensor, found: Tensor
) -> None:
    """Add the shares of windows whose winner changes to `found`."""
    axis = step.axes[0]
    assert axis is not None
    kernel = windows(step, z.shape)
    space = len(kernel.shape) - 1
    planes = lambda t: t.flatten(t.ndim - space).flatten(0, -2)  # noqa: E731
    kernel = kernel.flatten(0, space - 1).to(z.device)  # (cells, k), -1 outside
    flat_a, flat_b = (planes(t(z, axis)) for t in (first, second))
    plane, cell = planes(changed).nonzero(as_tuple=True)
    members = kernel[cell]
    inside = members >= 0
    where = members.clamp(min=0)
    low = torch.finfo(flat_a.dtype).min
    a, b = (torch.where(inside, f[plane[:, None], where], low) for f in (flat_a, flat_b))
    winner = planes(at_a)[plane, cell]
    own = (members == winner[:, None]).to(torch.uint8).argmax(1)
    shares = envelope(a, b, own) * planes(g)[plane, cell][:, None]
    target = planes(found)
    rows = plane[:, None].expand_as(where)
    if target.data_ptr() != found.data_ptr():  # not one memory: add in a copy, then write back
        shared = torch.zeros_like(target).index_put_((rows, where), shares, accumulate=True)
        found += shared.reshape(found.shape)
        return
    target.index_put_((rows, where), shares.to(target.dtype), accumulate=True)


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
    return value[d] if len(value) > 1 else value[0]

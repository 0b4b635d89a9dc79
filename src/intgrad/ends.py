"""What the target is at the ends of curves, each point asked once."""

from __future__ import annotations

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.errors import ModelError
from intgrad.integral import LineIntegral
from intgrad.path import Bank


def difference(integral: LineIntegral, output: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """f(end) - f(start) and f(start), summed over curves by weight (T, rows); of each (T, curves).

    All in float64. Points that several curves share are asked once; those whose weights cancel, such
    as the inner knots of a polyline, not at all: what single curves gain is then not known, and
    None. With masks the sum is f(x) minus the mean f(start).
    """
    curves, weight = integral.curves, integral.curves.weight
    if curves.mask is not None:
        mass = torch.zeros(integral.rows, dtype=torch.float64).index_add(0, curves.row, weight)
        weight = weight / mass[curves.row]
    ends = [(curves.start, -weight, curves.row), (curves.end, weight, curves.row)]
    if curves.start.shares(curves.end):
        index = torch.cat([curves.start.index, curves.end.index])
        both = curves.end.at(index), torch.cat([-weight, weight]), curves.row.repeat(2)
        ends = [both]
    parts = [weigh_ends(integral, bank, share, row, output) for bank, share, row in ends]
    start, end = torch.cat([at for _, at in parts], 1).chunk(2, 1)
    gains = end - start
    whole = torch.stack([summed for summed, _ in parts]).sum(0)
    if bool(gains.isnan().any()):
        return whole, output - whole, None
    before = torch.zeros_like(whole).index_add(
        1, curves.row.to(start.device), start * weight.to(start)
    )
    return whole, before, gains


def weigh_ends(
    integral: LineIntegral, bank: Bank, weight: Tensor, row: Tensor, output: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum of weight x f over the points of a bank (T, rows), and f at each of them (T, points).

    Each (row, point) is asked once, and where its weights cancel never: it is NaN then.
    """
    keys, where = torch.unique(torch.stack([row, bank.index]), dim=1, return_inverse=True)
    share = torch.zeros(keys.shape[1], dtype=torch.float64).index_add(0, where, weight)
    live = (share.abs() > 1e-12).nonzero()[:, 0]
    rows, share = keys[0, live], share[live].to(output.device)
    known = getattr(integral.oracle, "features", None)
    if known and bank.holds(known):
        found = output[:, rows.to(output.device)]
    else:
        found = integral.values(bank.at(keys[1, live]), rows)
        refuse_nan(found, "a baseline")
    found = found.detach().to(output.device, torch.float64)
    at = found.new_full((len(output), keys.shape[1]), torch.nan)
    at[:, live.to(at.device)] = found
    out = torch.zeros(output.shape, dtype=torch.float64, device=output.device)
    summed = out.index_add(1, rows.to(output.device), found * share)
    return summed, at[:, where.to(at.device)]


def gains(integral: LineIntegral) -> Tensor:
    """f(end) - f(start) of every curve (T, curves), in float64; known, or asked for now."""
    curves = integral.curves
    if integral.gains is not None:
        return integral.gains
    if curves.start.shares(curves.end):
        both = curves.start.at(torch.cat([curves.start.index, curves.end.index]))
        start, end = _distinct(integral, both, curves.row.repeat(2)).chunk(2, 1)
    else:
        start, end = (_distinct(integral, b, curves.row) for b in (curves.start, curves.end))
    return end - start


def _distinct(integral: LineIntegral, bank: Bank, row: Tensor) -> Tensor:
    keys, where = torch.unique(torch.stack([row, bank.index]), dim=1, return_inverse=True)
    found = integral.values(bank.at(keys[1]), keys[0]).detach().double()
    refuse_nan(found, "a point on the way")
    return found[:, where.to(found.device)]


def moved(integral: LineIntegral, which: Tensor) -> Point:
    """Equal shares of the features that differ between the ends of curves `which` (n,): (n, ...).

    They add up to 1 over the features of a curve, or to 0 where none moves.
    """
    curves = integral.curves
    ends = zip(curves.start.take(which), curves.end.take(which), strict=True)
    found = [a != b for a, b in ends]
    if curves.mask is not None:
        masks = curves.mask.take(which)
        found = [f & (m != 0) for f, m in zip(found, masks, strict=True)]
    count = torch.stack([f.flatten(1).sum(1) for f in found]).sum(0).clamp(min=1)
    wide = torch.float64
    return tuple(f.to(wide) / count.reshape(-1, *(1,) * (f.ndim - 1)) for f in found)


def refuse_nan(values: Tensor, where: str) -> None:
    """Name the first row of (T, rows) whose output is NaN or infinite."""
    bad = ~torch.isfinite(values.detach()).all(0)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise ModelError(
            f"the model's output is NaN or infinite at {where}, row {row}; expected a finite number."
        )

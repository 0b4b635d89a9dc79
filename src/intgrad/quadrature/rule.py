"""What a quadrature is, what it returns, and what fixed rules share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from intgrad._types import Point, each_target, magnitude, total
from intgrad.integral import ATOL, LineIntegral
from intgrad.units import Nodes


@dataclass(frozen=True)
class Estimate:
    """An integral and how well it is known, a row.

    Attributes
    ----------
    value
        (T, rows, ...): the integral, summed over the curves of each row.
    error_map
        Like `value`: estimated absolute error, a feature; None where nothing is approximated.
        NaN where the rule cannot tell.
    rtol
        The relative L1 error that counts as converged.
    rule
        Which rule was used, and why, in words.
    chosen
        The same for each row, where rows differ; empty where they do not.
    """

    value: Point
    error_map: Point | None
    rtol: float
    rule: str
    chosen: tuple[str, ...] = ()

    def row_rules(self, rows: int) -> tuple[str, ...]:
        """The rule of every row."""
        return self.chosen or (self.rule,) * rows


class Quadrature(Protocol):
    """Chooses nodes of a `LineIntegral` and returns an `Estimate`.

    ``samples_baselines`` (False unless stated) says whether it can draw baselines by itself.
    """

    def __call__(self, integral: LineIntegral, /) -> Estimate: ...


def same_nodes(curves: int, t: Tensor, weight: Tensor) -> Nodes:
    """The rule (t (n,), weight (n, k)) on every curve, curve after curve."""
    n = len(t)
    return Nodes(
        torch.arange(curves).repeat_interleave(n), t.repeat(curves), weight.repeat(curves, 1)
    )


def estimate(
    integral: LineIntegral, t: Tensor, weight: Tensor, null: Tensor
) -> tuple[Point, Point]:
    """Value and error map of a fixed rule with null rules, from the same evaluations.

    Parameters
    ----------
    weight, null
        (n,) weights of the rule, and (n, m) weights of null rules: combinations that vanish on
        what the rule integrates exactly, scaled to the size of its error. The error map is the
        root of the sum of their squares.
    """
    columns = torch.cat([weight[:, None], null], 1)
    sums = integral.sums(same_nodes(len(integral.curves), t, columns))
    value = tuple(s[0] for s in sums)
    return value, tuple(s[1:].square().sum(0).sqrt() for s in sums)


def relative(value: Point, error: Point) -> Tensor:
    """Relative L1 error (T, rows): sum of the error map over the L1 norm of the value.

    Zero where both vanish, infinite where only the value does.
    """
    rows = []
    for t in range(len(value[0])):
        norm, wrong = magnitude(tuple(v[t] for v in value)), magnitude(tuple(e[t] for e in error))
        rows.append(torch.where(wrong == 0, 0.0, wrong / norm))
    return torch.stack(rows)


def merge(rows: Tensor, new: Estimate, old: Estimate) -> Estimate:
    """The new estimate where `rows` (rows,) is true, the old one elsewhere."""
    assert new.error_map is not None
    assert old.error_map is not None
    chosen = zip(rows.tolist(), new.row_rules(len(rows)), old.row_rules(len(rows)), strict=True)
    every = bool(rows.all())
    return Estimate(
        pick_rows(rows, new.value, old.value),
        pick_rows(rows, new.error_map, old.error_map),
        old.rtol,
        new.rule if every else f"{old.rule}; {int(rows.sum())} of {len(rows)} rows: {new.rule}",
        tuple(n if pick else o for pick, n, o in chosen),
    )


def redo(integral: LineIntegral, rows: Tensor, rule: Quadrature, done: Estimate) -> Estimate:
    """Answer some rows anew by another rule."""
    if not bool(rows.any()):
        return done
    left = rows[integral.curves.row].nonzero()[:, 0]
    return merge(rows, rule(replace(integral, curves=integral.curves.where(left))), done)


def pick_rows(rows: Tensor, new: Point, old: Point) -> Point:
    """Rows of `new` (T, rows, ...) where `rows` is true, of `old` elsewhere."""
    pick = [rows.to(o.device).reshape(1, -1, *(1,) * (o.ndim - 2)) for o in old]
    return tuple(torch.where(p, n, o) for p, n, o in zip(pick, new, old, strict=True))


def judge(
    value: Point,
    error_map: Point | None,
    residual: Tensor | None,
    scale: Tensor,
    held_to: Tensor | float,
) -> tuple[Tensor, Tensor]:
    """The relative error of each target and row, and whether it is small enough: (T, rows).

    Parameters
    ----------
    value, error_map
        (T, rows, ...).
    residual, scale, held_to
        (T, rows); `scale` is the larger of |f(x)| and |f(baseline)|, `held_to` the tolerance, which
        may be one number.
    """
    norm = each_target(value, magnitude)
    wrong = torch.zeros_like(norm) if error_map is None else each_target(error_map, total)
    if residual is not None:
        wrong = torch.maximum(wrong, residual.abs())
    error = torch.where(wrong == 0, 0.0, wrong / norm)
    return error, (error <= torch.as_tensor(held_to).to(error)) | (wrong <= ATOL * scale.to(wrong))

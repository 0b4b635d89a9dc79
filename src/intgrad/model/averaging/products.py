r"""Products of two tensors that both move: each factor's gradient takes the other one's mean.

.. math:: a_b c_b - a_a c_a = \Delta a \, \bar c + \bar a \, \Delta c

exactly, and it is the average of the derivative where both move straight. Quotients are products
with a reciprocal; a switch between two branches is a product with an indicator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from intgrad.model.averaging.ends import Ends, argument
from intgrad.model.tape import Step


def mul(step: Step, g: Tensor) -> list[Tensor | None]:
    """Element by element, a * c."""
    a, c = argument(step, 0), argument(step, 1)
    return [g * c.mean if step.live[0] else None, g * a.mean if step.live[1] else None]


def bmm(step: Step, g: Tensor) -> list[Tensor | None]:
    """A @ C, batch by batch."""
    a, c = argument(step, 0), argument(step, 1)
    left = torch.bmm(g, c.mean.transpose(1, 2)) if step.live[0] else None
    return [left, torch.bmm(a.mean.transpose(1, 2), g) if step.live[1] else None]


def div(step: Step, g: Tensor) -> list[Tensor | None]:
    """A / c: the product with 1/c, whose secant is -1 / (c_a c_b)."""
    a, c = argument(step, 0), argument(step, 1)
    one = Ends(1 / c.a, 1 / c.b)
    top = g * one.mean if step.live[0] else None
    return [top, -(g * a.mean) * (one.a * one.b) if step.live[1] else None]


def where(step: Step, g: Tensor) -> list[Tensor | None]:
    """One branch or the other: each has the share of the panel in which it is chosen.

    Where the condition changes, the branches are taken to meet in between, as they do in a
    continuous function. If they do not meet there is a jump, which no gradient explains: it stays
    in the residual.
    """
    u, v = argument(step, 1), argument(step, 2)
    chosen = argument(step, 0)
    share = _share(chosen.a, chosen.b, u.a - v.a, u.b - v.b).to(g.dtype)
    return [None, g * share if step.live[1] else None, g * (1 - share) if step.live[2] else None]


def _share(at_a: Tensor, at_b: Tensor, gap_a: Tensor, gap_b: Tensor) -> Tensor:
    """The part of the panel in which the first branch is chosen."""
    meets = gap_a / (gap_a - gap_b)
    meets = torch.where(torch.isfinite(meets), meets, 0.5).clamp(0, 1)
    switching = torch.where(at_a, meets, 1 - meets)
    return torch.where(at_a == at_b, at_a.to(switching.dtype), switching)


def masked_fill(step: Step, g: Tensor) -> list[Tensor | None]:
    """A tensor, but a constant where the mask says so."""
    z, mask = argument(step, 0), argument(step, 1)
    value = step.args[2]
    gap = (z.a - value, z.b - value)
    own = _share(~mask.a, ~mask.b, *gap).to(g.dtype)
    return [g * own]


def maximum(step: Step, g: Tensor) -> list[Tensor | None]:
    """The larger of two: each has the share of the panel in which it is the larger."""
    u, v = argument(step, 0), argument(step, 1)
    gap_a, gap_b = u.a - v.a, u.b - v.b
    share = _above(gap_a, gap_b).to(g.dtype)
    return [g * share if step.live[0] else None, g * (1 - share) if step.live[1] else None]


def minimum(step: Step, g: Tensor) -> list[Tensor | None]:
    """The smaller of two."""
    u, v = maximum(step, g)
    one = [g - w if w is not None else None for w in (u, v)]
    return one


def _above(gap_a: Tensor, gap_b: Tensor) -> Tensor:
    """The share of the panel in which a gap that moves straight is positive; 1/2 where it is 0."""
    meets = gap_a / (gap_a - gap_b)
    same = gap_a * gap_b >= 0
    sign = (gap_a + gap_b).sign()
    return torch.where(same, (1 + sign) / 2, torch.where(gap_a > 0, meets, 1 - meets))

"""Linear regions along straight paths, for a `TorchOracle`: a pass of tangents finds both borders.

In a region of a piecewise-linear model everything is affine in t, so the value and the rate of a
number in a single point say when it is 0. All points of a curve that share their branches form one
interval, since the set they share them on is convex. One pass in forward mode gives both borders of
the region around a point, and one gradient is the gradient everywhere between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.autograd.forward_ad as forward
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from intgrad._types import Point
from intgrad.errors import ModelError, Unsupported
from intgrad.model import kinks
from intgrad.model.calls import in_calls
from intgrad.model.heads import averaged, hidden
from intgrad.model.panels import taped, unnoted
from intgrad.model.tape import Step, learn_axes
from intgrad.model.watch import REMEDY, Layout, Unit, Watch


@dataclass(frozen=True)
class Regions:
    """Around each of n points: how far its region reaches in t, and the gradient there.

    Attributes
    ----------
    low, high
        (n,) in float64: from the point to the borders; infinite where there is none.
    gradient
        (T, n, ...): constant in the region; under a smooth head its mean over the region.
    units
        For each point, which units cross at `high`; empty unless asked for.
    """

    low: Tensor
    high: Tensor
    gradient: Point
    units: list[tuple[Unit, ...]]


TOGETHER = 2e-13  # of a path: units this near cross at one border; a walk leaves no gap as narrow
WRITTEN = ("CopySlices", "AsStridedBackward0")  # writes into views, which tangents follow


def watched(oracle: Any, watch: Watch, x: Point, rows: Tensor, direction: Point) -> Watch:
    """One pass in forward mode under `watch`; counted as a tangent pass."""
    with torch.no_grad(), forward.dual_level(), sdpa_kernel(SDPBackend.MATH):
        moving = [
            forward.make_dual(p.detach().clone(), d.to(p.dtype).clone())
            for p, d in zip(x, direction, strict=True)
        ]
        with watch:
            oracle._target(tuple(moving), rows)
    oracle.meter.tangent(rows)
    return watch


def probe(oracle: Any, x: Point, rows: Tensor, direction: Point) -> Layout:
    """Run two equal rows and then three, to see which operations run and where rows lie.

    Costs passes of 2, 2, 3 and 3 rows, counted as checks.

    Raises
    ------
    Unsupported
        The model is not piecewise linear, or cannot be seen into: the operations by name.
    """
    if torch.finfo(x[0].dtype).bits < 32:
        raise Unsupported(
            f"Exact needs float32 or float64; the features are {x[0].dtype}. {REMEDY}"
        )
    if oracle.differentiable:
        raise Unsupported(
            "Exact finds borders that move with the parameters and does not differentiate them. "
            "With differentiable=True use a fixed rule, such as quadrature=ig.GaussLegendre(16)."
        )
    many = lambda n: tuple(p[:1].expand(n, *p.shape[1:]) for p in x)  # noqa: E731
    with oracle.meter.aside():
        _refuse_opaque(oracle, many(2), rows[:1].expand(2))
        seen = []
        for n in (2, 3):
            speed = tuple(d[:1].expand(n, *d.shape[1:]) for d in direction)
            seen.append(_try(oracle, Watch(n), many(n), rows[:1].expand(n), speed))
            _refuse(seen[-1].lost)
        layout = learn_axes(*(_Noted(w.steps) for w in seen))  # pyright: ignore[reportArgumentType]
        if layout is None or not _placed(seen[0].steps, layout):
            raise Unsupported(
                f"Exact cannot tell the rows of this model's operations apart. {REMEDY}"
            )
        _refuse_interleaved(oracle, layout, many(3), rows[:1].expand(3), direction)
    return layout


@dataclass(frozen=True)
class _Noted:
    """What `learn_axes` reads of a tape."""

    steps: dict[int, Step]


def _try(oracle: Any, watch: Watch, x: Point, rows: Tensor, direction: Point) -> Watch:
    try:
        return watched(oracle, watch, x, rows, direction)
    except ModelError as error:
        _refuse(watch.lost)
        raise Unsupported(f"Exact cannot see into this model: {error} {REMEDY}") from error


def _refuse(lost: Any) -> None:
    if lost:
        raise Unsupported(
            f"Exact needs a piecewise-linear model; this one uses {', '.join(list(lost)[:4])}. {REMEDY}"
        )


def _refuse_opaque(oracle: Any, x: Point, rows: Tensor) -> None:
    tape, values, _ = taped(oracle, x, rows)
    oracle.meter.count(rows, 0)
    opaque = sorted(n for n in unnoted(values, tape) if not n.endswith(WRITTEN))
    if opaque:
        raise Unsupported(
            f"Exact needs a piecewise-linear model; this one has {', '.join(opaque[:4])}, which cannot "
            f"be seen into. {REMEDY}"
        )
    _refuse(hidden(values, tape))


def _placed(steps: dict[int, Step], layout: Layout) -> bool:
    """Whether rows lie in everything that bends, apart from what is reduced."""
    for step, axes in zip(steps.values(), layout, strict=True):
        axis = axes[len(step.live)] if step.name in kinks.LEVELS else axes[0]
        named = kinks.by_name(step.op, step.args, step.kwargs)
        if axis is None or (step.name in kinks.REDUCED and kinks.whole(step, named, axis)):
            return False
        space = 3 if "3d" in step.name else 2
        if step.name in kinks.POOLED and axis[0] >= step.tensors[0].ndim - space:
            return False
    return True


def _refuse_interleaved(
    oracle: Any, layout: Layout, x: Point, rows: Tensor, direction: Point
) -> None:
    """Move one row of three: the others must meet no border."""
    alone = torch.tensor([0.0, 1.0, 0.0])
    speed = tuple(
        d[:1] * alone.to(d.device, d.dtype).reshape(3, *(1,) * (d.ndim - 1)) for d in direction
    )
    low, high = watched(oracle, Watch(3, layout), x, rows, speed).borders()
    if bool(torch.isfinite(low[[0, 2]]).any()) or bool(torch.isfinite(high[[0, 2]]).any()):
        raise Unsupported(f"Exact cannot tell the rows of this model's operations apart. {REMEDY}")


def around(
    oracle: Any, x: Point, rows: Tensor, direction: Point, room: tuple[Tensor, Tensor], units: bool
) -> Regions:
    """The regions around points x (n, ...) that move in `direction`; see `Regions`.

    Parameters
    ----------
    room
        (n,) each: from the point to where interest begins and ends; what a mean is taken over.

    Notes
    -----
    One tangent pass, one forward and T backwards for every point.
    """
    if oracle.layout is None:
        oracle.layout = probe(oracle, x, rows, direction)
    listed: list[tuple[Unit, ...]] = []
    k = len(x)

    def one(point: Point, which: Tensor) -> tuple[Tensor, ...]:
        window = max(TOGETHER, 64 * torch.finfo(point[0].dtype).eps) if units else None
        watch = Watch(len(which), oracle.layout, window)
        watched(oracle, watch, point[:k], which, point[k : 2 * k])
        low, high = watch.borders()
        if watch.count != len(oracle.layout) or watch.lost:
            raise Unsupported(f"Exact needs the same operations in every call. {REMEDY}")
        if watch.heads:
            ends = torch.maximum(low, point[-2]), torch.minimum(high, point[-1])
            gradient = averaged(oracle, point[:k], which, watch.heads, ends)
        else:
            gradient = oracle._gradients(point[:k], which)[1:]
        if units:
            listed.extend(watch.units()[: len(which) - oracle.meter.unseen])
        return (low[None], high[None], *gradient)

    low, high, *gradient = in_calls(oracle, (*x, *direction, *room), rows, one)
    return Regions(low[0], high[0], tuple(gradient), listed)

"""Linear regions along straight paths, for a `TorchOracle`: a pass of tangents finds both borders.

In a region of a piecewise-linear model everything is affine in t, so the value and the rate of a
number in a single point say when it is 0. All points of a curve that share their branches form one
interval, since the set they share them on is convex. One pass in forward mode gives both borders of
the region around a point, and one gradient is the gradient everywhere between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.autograd.forward_ad as forward
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import enable_reentrant_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from intgrad._types import Point
from intgrad.errors import ModelError, Unsupported
from intgrad.model import kinks
from intgrad.model.heads import SMOOTH, Head, averaged, hidden
from intgrad.model.panels import taped, unnoted
from intgrad.model.tape import Axis, Step, learn_axes, short_name, tensors_in

Layout = list[tuple[Axis | None, ...]]
Unit = tuple[int, int]  # which operation with kinks, in their order; which of a row's numbers there

REMEDY = "Use quadrature=ig.PanelAveraged() or ig.Adaptive()."


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


@dataclass
class Watch(TorchDispatchMode):
    """Reads value and tangent of whatever bends, below autograd, while it is entered.

    Attributes
    ----------
    rows, layout
        How many rows a call has, and where they lie in the noted operations; without a layout the
        operations are noted in `steps`.
    window
        Units that cross within so much of the first are listed; None lists none.
    heads
        Smooth operations, with their inputs and tangents.
    lost
        Operations that are neither.
    """

    rows: int
    layout: Layout | None = None
    window: float | None = None
    steps: dict[int, Step] = field(default_factory=dict)
    heads: list[Head] = field(default_factory=list)
    lost: dict[str, None] = field(default_factory=dict)
    count: int = 0
    low: Tensor | None = None
    high: Tensor | None = None
    near: list[tuple[int, Tensor, Tensor, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        live = tuple(tangent(t) is not None for t in tensors_in((args, kwargs)))
        if not any(live) or kinks.is_affine(short_name(func), args, live):
            return func(*args, **kwargs)
        self.count += 1
        return self._note(func, args, kwargs, live)

    def _note(self, func: Any, args: Any, kwargs: dict[str, Any], live: tuple[bool, ...]) -> Any:
        name, named = short_name(func), kinks.by_name(func, args, kwargs)
        axes = self._axes()
        lines: list[kinks.Line] = []
        bends = name in kinks.LEVELS and not kinks.jumps(name, named)
        if bends and axes:  # before it may overwrite its argument
            axis = axes[len(live)]
            assert axis is not None
            lines += kinks.bends(name, named, rate, axis)
        out = func(*args, **kwargs)
        step = Step(func, args, kwargs, out, live, ())
        if name in SMOOTH and live[0] and sum(live) == 1:
            self.heads.append(Head(name, args[0], rate(args[0]), axes[0] if axes else None))
        elif self._reduces(step, named):
            lines += [self._reach(step, named, axes[0])] if axes and axes[0] else []
        elif not bends or (self.heads and name in kinks.COMPARED):
            self.lost[name.lstrip("_")] = None
        if self.layout is None:
            self.steps[self.count - 1] = step
        for line in lines:
            self._narrow(line)
        return out

    def _axes(self) -> tuple[Axis | None, ...]:
        if self.layout is None:
            return ()
        if self.count > len(self.layout):
            raise Unsupported(f"Exact needs the same operations in every call. {REMEDY}")
        return self.layout[self.count - 1]

    def _reduces(self, step: Step, named: dict[str, Any]) -> bool:
        return step.name in kinks.POOLED or (step.name in kinks.REDUCED and "dim" in named)

    def _reach(self, step: Step, named: dict[str, Any], axis: Axis) -> kinks.Line:
        if step.name in kinks.POOLED:
            return kinks.pooled(step, rate, axis)
        return kinks.reduced(step, named, rate, axis)

    def _narrow(self, line: kinks.Line) -> None:
        when = kinks.times(line, self.rows)
        low, high = kinks.nearest(when)
        self.low = low if self.low is None else torch.maximum(self.low, low)
        self.high = high if self.high is None else torch.minimum(self.high, high)
        if self.window is not None:
            row, unit = ((when >= 0) & (when <= high[:, None] + self.window)).nonzero(as_tuple=True)
            self.near.append((self.count - 1, row, unit, when[row, unit]))

    def borders(self) -> tuple[Tensor, Tensor]:
        """Time to the last border before and the first after every point: (rows,) in float64."""
        if self.low is None or self.high is None:
            ends = torch.full((2, self.rows), torch.inf, dtype=torch.float64)
            return -ends[0], ends[1]
        return self.low.double().cpu(), self.high.double().cpu()

    def units(self) -> list[tuple[Unit, ...]]:
        """Which units cross first, a row."""
        found: list[list[Unit]] = [[] for _ in range(self.rows)]
        high = self.borders()[1]
        for op, row, unit, when in self.near:
            first = when.double().cpu() <= high[row.cpu()] + (self.window or 0)
            for r, u in zip(row.cpu()[first].tolist(), unit.cpu()[first].tolist(), strict=True):
                found[r].append((op, u))
        return [tuple(sorted(set(f))) for f in found]


def tangent(tensor: Tensor) -> Tensor | None:
    """The rate of a tensor that moves, from within a dispatch mode; None of one that does not."""
    if not tensor.is_floating_point():
        return None
    with enable_reentrant_dispatch():
        return forward.unpack_dual(tensor).tangent


def rate(value: Any) -> Any:
    """The same, 0 for what does not move, numbers too."""
    if not isinstance(value, Tensor):
        return 0.0
    found = tangent(value)
    return torch.zeros_like(value) if found is None else found


# ---------------------------------------------------------------------- asking


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

    Costs five forwards, counted as checks.

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
    opaque = sorted(unnoted(values, tape))
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


def ask(
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
        window = 64 * torch.finfo(point[0].dtype).eps if units else None
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

    low, high, *gradient = oracle._in_calls((*x, *direction, *room), rows, one)
    return Regions(low[0], high[0], tuple(gradient), listed)

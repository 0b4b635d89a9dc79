"""Whatever bends in a forward pass, with the rate at which it moves: a mode below autograd."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.autograd.forward_ad as forward
from torch import Tensor
from torch.overrides import enable_reentrant_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from intgrad.errors import Unsupported
from intgrad.model import kinks
from intgrad.model.heads import SMOOTH, Head
from intgrad.model.tape import Axis, Step, short_name, tensors_in

Layout = list[tuple[Axis | None, ...]]
Unit = tuple[int, int]  # which operation with kinks, in their order; which of a row's numbers there

_VIEWS = torch._C.DispatchKey.ADInplaceOrView
REMEDY = "Use quadrature=ig.PanelAveraged() or ig.Adaptive()."


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
        if torch._C._dispatch_tls_is_dispatch_key_excluded(_VIEWS):
            return None  # inside an operation that was seen as a whole
        return forward.unpack_dual(tensor).tangent


def rate(value: Any) -> Any:
    """The same, 0 for what does not move, numbers too."""
    if not isinstance(value, Tensor):
        return 0.0
    found = tangent(value)
    return torch.zeros_like(value) if found is None else found

"""Gradients averaged over panels, for a `TorchOracle`: one forward at the edges, one backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from intgrad._types import Point, wide
from intgrad.errors import IntgradError, ModelError, Unsupported
from intgrad.model.averaging import Averager
from intgrad.model.memory import out_of_memory
from intgrad.model.observe import Place, expect, recording
from intgrad.model.tape import Axis, Tape, learn_axes, place_axes, pull

KINKED = frozenset(
    """
    relu leaky_relu rrelu_with_noise _prelu_kernel threshold clamp clamp_min clamp_max hardtanh
    hardswish hardsigmoid hardshrink softshrink elu celu abs maximum minimum fmax fmin max min amax
    amin where max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d
    adaptive_max_pool3d sort topk median kthvalue cummax cummin norm linalg_vector_norm sgn sign
    """.split()
)


@dataclass
class Coverage:
    """What is known of a model's operations after a probe, and after every averaged call.

    Attributes
    ----------
    axes
        Where rows lie in every noted operation; None where panels cannot be averaged at all.
    operations
        Names of the operations that are not linear.
    approximate
        Those averaged at Gauss points, complete to their error.
    uncovered
        Those that used the derivative where the panel starts.
    reason
        Why panels cannot be averaged, in words; empty where they can.
    used
        Whether any panel was averaged.
    """

    axes: list[tuple[Axis | None, ...]] | None
    operations: frozenset[str]
    approximate: set[str] = field(default_factory=set)
    uncovered: set[str] = field(default_factory=set)
    reason: str = ""
    used: bool = False

    @property
    def fused(self) -> bool:
        """Whether attention that is one operation ran, in averaged calls, as its mathematical form."""
        return self.used and "_safe_softmax" in self.operations

    @property
    def kinks(self) -> frozenset[str]:
        """Operations whose derivative jumps."""
        return self.operations & KINKED


def probe(oracle: Any, x: Point, rows: Tensor) -> Coverage:
    """Run two rows and then three, equal ones, to see which operations run and where rows lie.

    Costs five forwards, counted as checks.
    """
    tapes = []
    try:
        for n in (2, 3):
            points = tuple(p[:1].expand(n, *p.shape[1:]) for p in x)
            with oracle.meter.aside():
                tape, values, _ = taped(oracle, points, rows[:1].expand(n))
            tapes.append(tape)
            opaque = unnoted(values, tape)
    except IntgradError as error:
        return Coverage(None, frozenset(), reason=f"the model cannot be intercepted: {error}")
    names = frozenset(s.name for s in tapes[1].steps.values())
    axes = learn_axes(*tapes)
    lost = sorted(opaque | set(tapes[1].lost))
    if lost:
        return Coverage(None, names, reason=f"{', '.join(lost[:4])} cannot be seen into")
    if axes is None:
        reason = "the operations of a call depend on its number of rows"
        return Coverage(None, names, reason=reason)
    return Coverage(axes, names)


def taped(oracle: Any, x: Point, rows: Tensor) -> tuple[Tape, Tensor, Point]:
    """One forward with its tape: values (T, n), and the leaves gradients are asked of.

    Fused attention is one operation with kernels of its own; it runs as its mathematical form.
    """
    leaves = tuple(p.detach().requires_grad_() for p in x)
    tape = Tape()
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        entered = oracle._entered(leaves)
        with tape:
            values = oracle._target(entered, rows)
    if not values.requires_grad:
        raise ModelError("the model's output does not depend on the input through autograd.")
    return tape, values, leaves


def unnoted(values: Tensor, tape: Tape) -> set[str]:
    """Names of autograd nodes that are on no tape: custom functions, compiled or scripted pieces."""
    found, seen = set(), set()
    stack = [values.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen or hasattr(node, "variable"):
            continue
        seen.add(node)
        if node._sequence_nr() not in tape.known and not node.name().endswith(PLAIN):
            found.add(node.name())
        stack += [after for after, _ in node.next_functions]
    return found


PLAIN = ("CopySlices", "AsStridedBackward0")  # writes into views; what is not linear is `Tape.lost`


def averaged(
    oracle: Any,
    coverage: Coverage,
    x: Point,
    rows: Tensor,
    first: Tensor,
    places: Sequence[Place] = (),
) -> Point:
    """Gradients averaged over panels from first[p] to first[p] + 1: (T, p, ...).

    With `places`, behind those of x the gradients at each place, then how each place moves over a panel,
    (1, p, ...), and the values, (T, p). One forward and T backwards for every point; the last point of a
    chain starts no panel.
    """
    with recording(places) as seen:
        tape, values, leaves = taped(oracle, x, rows)
    expect(seen, places)
    if coverage.axes is None or not place_axes(tape, coverage.axes, len(rows)):
        coverage.reason = coverage.reason or "the operations change from call to call"
        raise Unsupported(
            f"panels cannot be averaged: {coverage.reason}. Use quadrature=ig.Adaptive()."
        )
    coverage.used = True
    moves = [*(_moved(y, first, 0)[None] for y in seen), _moved(values, first, 1)] if places else []
    seeds, root = torch.zeros_like(values), [values.grad_fn, values.output_nr]
    del values  # a node is freed once it is done, unless somebody holds what came of it
    rule = Averager(coverage.approximate, coverage.uncovered)
    found = _pulled(tape, root, seeds, (*leaves, *seen), first, rule)
    oracle.meter.count(rows, len(seeds))
    return (*found, *moves)


def _moved(points: Tensor, first: Tensor, axis: int) -> Tensor:
    """How far something moves over each panel, in float32 at least."""
    wider, first = points.detach().to(wide(points.dtype)), first.to(points.device)
    return wider.index_select(axis, first + 1) - wider.index_select(axis, first)


def _pulled(
    tape: Tape, root: list[Any], seeds: Tensor, ends: Point, first: Tensor, rule: Averager
) -> list[Tensor]:
    """Averaged gradients (T, p, ...) of the values at leaves and places; `root` is emptied."""
    found = []
    for t in range(len(seeds)):
        seed = torch.zeros_like(seeds)
        seed[t, first.to(seed.device)] = 1
        start = [*root, seed]
        if t == len(seeds) - 1:
            root.clear()
        with torch.no_grad():
            found.append(pull(tape, start, ends, rule, keep=t < len(seeds) - 1))
    return [
        torch.stack([torch.zeros_like(end) if g[i] is None else g[i] for g in found])[:, first]
        for i, end in enumerate(ends)
    ]


def average(
    oracle: Any,
    coverage: Coverage,
    x: Point,
    rows: Tensor,
    first: Tensor,
    places: Sequence[Place] = (),
) -> Point:
    """`averaged`, padded to the fixed width, and halved where a call does not fit in memory."""
    try:
        missing = oracle.width - len(rows) if oracle.padded else 0
        if missing <= 0:
            return averaged(oracle, coverage, x, rows, first, places)
        filled = tuple(torch.cat([p, p[-1:].expand(missing, *p.shape[1:])]) for p in x)
        with oracle.meter.quiet(missing):
            more = torch.cat([rows, rows[-1:].expand(missing)])
            return averaged(oracle, coverage, filled, more, first, places)
    except Exception as error:
        if not out_of_memory(error) or oracle.padded or len(first) < 2:
            raise
    oracle.panel_width = max(2, len(rows) // 2)
    half = len(first) // 2
    parts = []
    for some in (first[:half], first[half:]):
        low, high = int(some[0]), int(some[-1]) + 2
        cut = tuple(p[low:high] for p in x)
        parts.append(average(oracle, coverage, cut, rows[low:high], some - low, places))
    return tuple(torch.cat(p, 1) for p in zip(*parts, strict=True))

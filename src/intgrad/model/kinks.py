"""Where operations bend: numbers u that are affine in a linear region and 0 at its border.

A unit of a piecewise-linear operation keeps its branch as long as such a number keeps its sign:
relu's is its input, a maximum's are the distances of the winner from all others. With its rate v
along a straight path it is 0 a time -u / v from now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from intgrad.model.averaging.maxima import windows
from intgrad.model.linear import is_linear
from intgrad.model.tape import Axis, Step

STILL = (
    64  # units in the last place of the largest: what is no larger, and no faster, is 0 for good
)

Named = dict[str, Any]
Tangent = Callable[[Any], Any]  # of a tensor d/dt, of a number 0

# numbers (or tensors) at which a function of one number changes its slope; or what it is compared to
LEVELS: dict[str, Callable[[Named], list[Any]]] = {
    "relu": lambda n: [0.0],
    "leaky_relu": lambda n: [0.0],
    "_prelu_kernel": lambda n: [0.0],
    "abs": lambda n: [0.0],
    "threshold": lambda n: [n["threshold"]],
    "hardtanh": lambda n: [n["min_val"], n["max_val"]],
    "hardsigmoid": lambda n: [-3.0, 3.0],
    "softshrink": lambda n: [-n["lambd"], n["lambd"]],
    "clamp": lambda n: [n["min"], n["max"]],
    "clamp_min": lambda n: [n["min"]],
    "clamp_max": lambda n: [n["max"]],
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), lambda n: [n["other"]]),
    **dict.fromkeys(("gt", "ge", "lt", "le"), lambda n: [n["other"]]),
}
COMPARED = frozenset("gt ge lt le".split())
REDUCED = {"max": 1.0, "amax": 1.0, "min": -1.0, "amin": -1.0}
POOLED = frozenset(
    "max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d".split()
)

# linear whatever decides them, which is noted by itself; or with nothing to differentiate
_DECIDED = frozenset(
    """
    where masked_fill masked_scatter zero fill eq ne isnan isinf isfinite is_same_size sum_to_size
    _has_same_storage_numel _fw_primal _make_dual _unpack_dual _new_zeros_with_same_feature_meta
    """.split()
)


class Line(NamedTuple):
    """Numbers that move straight, `at` now, with their `rate`; rows lie in dimension `dim`.

    `size` and `speed` are what rounding in them is relative to.
    """

    at: Tensor
    rate: Tensor
    size: Tensor
    speed: Tensor
    dim: int


def is_affine(name: str, args: tuple[Any, ...], live: tuple[bool, ...]) -> bool:
    """Whether the operation is affine in those of its tensors that move."""
    return name in _DECIDED or is_linear(name, args, live)


def by_name(func: Any, args: tuple[Any, ...], kwargs: Named) -> Named:
    """The arguments of an operation by their names, defaults included."""
    declared = func._schema.arguments
    found = {a.name: a.default_value for a in declared if a.has_default_value()}
    return found | dict(zip((a.name for a in declared), args, strict=False)) | kwargs


def jumps(name: str, named: Named) -> bool:
    """Whether the operation's value jumps, so that no gradient tells of it."""
    return name == "threshold" and named["threshold"] != named["value"]


# ---------------------------------------------------------------------- one by one


def bends(name: str, named: Named, tangent: Tangent, axis: Axis) -> Iterator[Line]:
    """Of elementwise operations: the distance to each level."""
    z = named["self"]
    for level in LEVELS[name](named):
        if level is not None:
            at, rate = z - level, tangent(z) - tangent(level)
            size, speed = abs(z) + abs(level), abs(tangent(z)) + abs(tangent(level))
            at, rate, size, speed = torch.broadcast_tensors(at, rate, size, speed)
            yield Line(at, rate, size, speed, axis[0])


def reduced(step: Step, named: Named, tangent: Tangent, axis: Axis) -> Line:
    """Of maxima and minima over dimensions: the winner's distances to all."""
    z, sign = named["self"], REDUCED[step.name]
    dims = named["dim"]
    dims = sorted(d % z.ndim for d in ([dims] if isinstance(dims, int) else dims))
    rest = [d for d in range(z.ndim) if d not in dims]
    flat = lambda t: sign * t.permute(rest + dims).flatten(len(rest))  # noqa: E731
    own, moved = flat(z), flat(tangent(z))
    winner = own.argmax(-1, keepdim=True)
    at, rate = own.gather(-1, winner) - own, moved.gather(-1, winner) - moved
    return Line(at, rate, own.abs(), moved.abs(), rest.index(axis[0]))


def whole(step: Step, named: Named, axis: Axis) -> bool:
    """Whether rows are reduced together."""
    dims, ndim = named.get("dim"), named["self"].ndim
    dims = [dims] if isinstance(dims, int) else list(dims or ())
    return not dims or axis[0] in [d % ndim for d in dims]


def pooled(step: Step, tangent: Tangent, axis: Axis) -> Line:
    """Of max-pools: the winner's distances to all members of its window."""
    z = step.tensors[0]
    space = 3 if "3d" in step.name else 2
    own, moved = z.flatten(-space), tangent(z).flatten(-space)
    winner = step.outs[1].flatten(-space)
    table = windows(step, z.shape).flatten(0, space - 1).to(z.device)
    members = torch.where(table < 0, winner[..., None], table)
    reach = lambda t: t.gather(-1, members.flatten(-2)).unflatten(-1, table.shape)  # noqa: E731
    top = lambda t: t.gather(-1, winner)[..., None]  # noqa: E731
    mine, its = reach(own), reach(moved)
    return Line(top(own) - mine, top(moved) - its, mine.abs(), its.abs(), axis[0])


# ---------------------------------------------------------------------- when they are 0


def times(line: Line, rows: int) -> Tensor:
    """Time until each number is 0, (rows, units); NaN where it never is, or always.

    What does not move is never 0; what is 0 and stays (a black pixel's unit without bias, equal
    members of a maximum) up to rounding, has no border.
    """
    at, rate, size, speed = (t.movedim(line.dim, 0).reshape(rows, -1) for t in line[:4])
    fine = STILL * torch.finfo(at.dtype).eps
    still = (rate.abs() <= fine * speed.amax(1, True)) & (at.abs() <= fine * size.amax(1, True))
    found = -at / rate
    return torch.where(still | ~torch.isfinite(found), torch.nan, found)


def nearest(when: Tensor) -> tuple[Tensor, Tensor]:
    """The last time before now and the first after it: (rows,), infinite where there is none."""
    before = torch.where(when <= 0, when, -torch.inf)
    after = torch.where(when >= 0, when, torch.inf)
    if not when.shape[1]:
        return when.new_full((len(when),), -torch.inf), when.new_full((len(when),), torch.inf)
    return before.amax(1), after.amin(1)

"""Where a margin falls to zero, near to where one stands: the search behind `Boundary`.

It knows an oracle of one number a row, the *margin*, and the box the features live in; nothing of
classes, layers or attributions. All reductions go row by row, so a row's way is its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from intgrad._types import Point, like, total, wide
from intgrad.model.oracle import Oracle, gradients, values
from intgrad.path import Straight
from intgrad.path.curve import travel

NEAR = 1e-8  # of the margin at x: a point across the boundary is on it when its margin is so small
ROUNDING = 32  # units in the last place, where that is more
CUTS = 128  # of a segment, at most; false position needs 4 to 8
TURNS = 6  # tries to turn towards a nearer point, each half as far
ENOUGH = 1e-5  # a round that comes nearer by less, relatively, is the last
KNEES = 64  # at most, of the way along the wall of a box


@dataclass(frozen=True)
class Box:
    """Every feature lies in [low, high]; None where there is no such wall."""

    low: float | None = None
    high: float | None = None

    @property
    def walls(self) -> bool:
        """Whether there are any."""
        return self.low is not None or self.high is not None

    def clip(self, z: Point) -> Point:
        """The nearest point in the box."""
        if not self.walls:
            return z
        return tuple(p.clamp(self.low, self.high) for p in z)

    def project(self, z: Point, gradient: Point, drop: Tensor) -> Point:
        """The nearest point of the box to z (n, ...) where ``gradient . (z - point) = drop`` (n,).

        It is clip(z - s gradient) for a step s that Newton finds from below: the drop is concave
        and piecewise linear in s. Without a box the first step is exact; where the box holds no
        such point, the last one is its corner.
        """
        step = torch.zeros_like(drop)
        for _ in range(KNEES):
            found = self.clip(along(z, gradient, -step))
            missing = drop - dot(gradient, difference(z, found))
            free = self._free(found, gradient)
            slope = dot(free, free)
            more = torch.where(slope > 0, missing / slope, 0.0)
            step = step + more
            if not self.walls or not bool((more > 4 * torch.finfo(z[0].dtype).eps * step).any()):
                break
        return self.clip(along(z, gradient, -step))

    def _free(self, z: Point, gradient: Point) -> Point:
        """The gradient of those features that can still go against it."""
        low = -torch.inf if self.low is None else self.low
        high = torch.inf if self.high is None else self.high
        pairs = zip(z, gradient, strict=True)
        return tuple(g * torch.where(g > 0, p > low, p < high) for p, g in pairs)


@dataclass
class Search:
    """Rows on their way, and the nearest zero that each has found.

    Attributes
    ----------
    ask
        The margin: positive at x, (n,) numbers and their gradients.
    x, rows, margin
        Where the rows stand (n, ...), which examples they are, and their margin there.
    point, distance
        The nearest point found with a margin of zero or just below, and how far it is from x;
        infinity where there is none.
    least, farthest
        The smallest margin met, and how far the rows went: what a refusal tells.
    """

    ask: Oracle
    x: Point
    rows: Tensor
    margin: Tensor
    box: Box
    point: Point = field(init=False)
    distance: Tensor = field(init=False)
    least: Tensor = field(init=False)
    farthest: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.point = tuple(p.clone() for p in self.x)
        self.distance = torch.full_like(self.margin, torch.inf)
        self.least, self.farthest = self.margin.clone(), torch.zeros_like(self.margin)

    def attempt(self, start: Point, steps: int, overshoot: float, rounds: int) -> None:
        """Walk across, go back to the boundary, slide along it; keep what is nearer."""
        own, z, margin = self.walk(start, steps, overshoot)
        if not len(own):
            return
        z = self.cross(own, z, margin)
        z = self.slide(own, z, rounds)
        far = self.far(own, z)
        nearer = far < self.distance[own]
        put(self.point, own[nearer], take(z, nearer.nonzero()[:, 0]))
        self.distance[own] = torch.minimum(far, self.distance[own])

    def walk(self, start: Point, steps: int, overshoot: float) -> tuple[Tensor, Point, Tensor]:
        """DeepFool: to where the linearised margin is a little below zero, until the margin is.

        Returns
        -------
        own, z, margin
            Which rows got across, where they are, and their margin there.
        """
        z, todo = tuple(p.clone() for p in start), torch.arange(len(self.rows))
        margin = torch.full_like(self.margin, torch.nan)
        for _ in range(steps):
            here = take(z, todo)
            margin[todo], gradient = self._gradient(todo, here)
            go = ((margin[todo] > 0) & steep(gradient)).nonzero()[:, 0]
            here, gradient, todo = take(here, go), take(gradient, go), todo[go]
            ahead = self.box.project(here, gradient, (1 + overshoot) * margin[todo])
            put(z, todo, ahead)
            todo = todo[norm(difference(ahead, here)) > 0]
            if not len(todo):
                break
        else:
            margin[todo] = self._value(todo, take(z, todo))
        own = ((margin <= 0) & torch.isfinite(norm(z))).nonzero()[:, 0]
        return own, take(z, own), margin[own]

    def cross(self, own: Tensor, end: Point, margin: Tensor) -> Point:
        """Where the segment from x to `end` (whose margin is below zero) leaves the class.

        False position after Illinois, aimed just behind the boundary, with a bisection every
        fourth time for margins that bend or jump. The margin of the point found is not positive.
        """
        x, margin = take(self.x, own), margin.clone()
        eps = torch.finfo(x[0].dtype).eps
        near = max(NEAR, ROUNDING * eps) * self.margin[own]
        fine = eps * (1 + norm(x) / norm(difference(end, x)))
        low, high = torch.zeros_like(margin), torch.ones_like(margin)
        above, below = self.margin[own] + near / 2, margin + near / 2
        last = torch.zeros_like(margin)
        for cut in range(CUTS):
            todo = ((margin < -near) & (high - low > fine * high)).nonzero()[:, 0]
            if not len(todo):
                break
            a, b, f, g = low[todo], high[todo], above[todo], below[todo]
            t = false_position(a, b, f, g) if cut % 4 < 3 else (a + b) / 2
            found = self._value(own[todo], between(take(x, todo), take(end, todo), t))
            across, new = found <= 0, found + near[todo] / 2
            low[todo], high[todo] = torch.where(across, a, t), torch.where(across, t, b)
            # an end that stays twice counts half, or it would stay for ever
            above[todo] = torch.where(across, torch.where(last[todo] > 0, f / 2, f), new)
            below[todo] = torch.where(across, new, torch.where(last[todo] < 0, g / 2, g))
            last[todo] = torch.where(across, 1.0, -1.0).double()
            margin[todo] = torch.where(across, found, margin[todo])
        return between(x, end, high)

    def slide(self, own: Tensor, z: Point, rounds: int) -> Point:
        """Along the boundary towards x: each round turns to x's projection on the tangent at z.

        Where that is not nearer, half as far, and so on. Rows that come no nearer stop.
        """
        z, todo = tuple(p.clone() for p in z), torch.arange(len(own))
        for _ in range(rounds):
            here, x = take(z, todo), take(self.x, own[todo])
            margin, gradient = self._gradient(own[todo], here)
            drop = margin + dot(gradient, difference(x, here))
            aim = self.box.project(x, gradient, drop)
            far = self.far(own[todo], here)
            can = ((drop > 0) & steep(gradient)).nonzero()[:, 0]
            turned, ahead, margin = self._turn(
                own[todo[can]], take(here, can), take(aim, can), far[can]
            )
            todo, far = todo[can[turned]], far[can[turned]]
            ahead = self.cross(own[todo], ahead, margin)
            gain = 1 - self.far(own[todo], ahead) / far
            put(z, todo[gain > 0], take(ahead, (gain > 0).nonzero()[:, 0]))
            todo = todo[gain > ENOUGH]
            if not len(todo):
                break
        return z

    def _turn(self, own: Tensor, z: Point, aim: Point, far: Tensor) -> tuple[Tensor, Point, Tensor]:
        """Points as far from x as z, turned towards `aim` as far as they are across the boundary.

        Across there, the boundary is nearer in that direction.
        """
        x, todo = take(self.x, own), torch.arange(len(own))
        ways = difference(z, x), difference(aim, x)
        there = scaled(ways[1], far / norm(ways[1]))
        z, margin = tuple(p.clone() for p in z), torch.full_like(far, torch.nan)
        for turn in range(TURNS):
            if not len(todo):
                break
            pairs = zip(take(ways[0], todo), take(there, todo), strict=True)
            way = tuple(torch.lerp(a, b, 0.5**turn) for a, b in pairs)
            here = self.box.clip(along(take(x, todo), way, far[todo] / norm(way)))
            put(z, todo, here)
            margin[todo] = self._value(own[todo], here)
            todo = todo[~(margin[todo] <= 0)]
        done = (margin <= 0).nonzero()[:, 0]
        return done, take(z, done), margin[done]

    def far(self, own: Tensor, z: Point) -> Tensor:
        """How far points are from where their rows stand: L2 over all features."""
        return norm(difference(z, take(self.x, own)))

    def _gradient(self, own: Tensor, z: Point) -> tuple[Tensor, Point]:
        margins, found = gradients(self.ask, z, self.rows[own])
        margin = margins[0].detach().double().cpu()
        self._saw(own, z, margin)
        return margin, tuple(g[0] for g in found)

    def _value(self, own: Tensor, z: Point) -> Tensor:
        margin = values(self.ask, z, self.rows[own])[0].detach().double().cpu()
        self._saw(own, z, margin)
        return margin

    def _saw(self, own: Tensor, z: Point, margin: Tensor) -> None:
        self.least[own] = torch.fmin(self.least[own], margin)
        self.farthest[own] = torch.fmax(self.farthest[own], self.far(own, z))


def false_position(a: Tensor, b: Tensor, f: Tensor, g: Tensor) -> Tensor:
    """Where the line through (a, f > 0) and (b, g < 0) is zero; halfway where that is not between."""
    t = a + (b - a) * (f / (f - g))
    return torch.where((t > a) & (t < b), t, (a + b) / 2)


def between(x: Point, end: Point, t: Tensor) -> Point:
    """Points on the segments from x to `end`, exact at both."""
    return travel(Straight(), t, x, end)[0]


# ---------------------------------------------------------------------- points as vectors


def take(z: Point, index: Tensor) -> Point:
    """The rows of a point that `index` names."""
    return tuple(p.index_select(0, index.to(p.device)) for p in z)


def put(z: Point, index: Tensor, rows: Point) -> None:
    """Write rows into a point, in place."""
    for part, row in zip(z, rows, strict=True):
        part[index.to(part.device)] = row.to(part.dtype)


def difference(a: Point, b: Point) -> Point:
    """The difference a - b, in float32 at least."""
    pairs = zip(a, b, strict=True)
    return tuple(p.to(wide(p.dtype)) - q.to(wide(q.dtype)) for p, q in pairs)


def scaled(z: Point, factor: Tensor) -> Point:
    """Each row times its factor (n,), in float32 at least."""
    return tuple(p.to(wide(p.dtype)) * like(factor.to(p.device), p.to(wide(p.dtype))) for p in z)


def along(z: Point, way: Point, t: Tensor) -> Point:
    """The points z + t way, with a t for each row, in the dtype of z."""
    return tuple((p + w).to(p.dtype) for p, w in zip(z, scaled(way, t), strict=True))


def dot(a: Point, b: Point) -> Tensor:
    """Inner products of rows, in float64: (n,)."""
    return total(tuple(p.double() * q.double() for p, q in zip(a, b, strict=True))).cpu()


def norm(z: Point) -> Tensor:
    """L2 norms of rows over all tensors, in float64: (n,)."""
    return dot(z, z).sqrt()


def steep(gradient: Point) -> Tensor:
    """Which rows have a gradient one can follow: finite, and not zero."""
    slope = dot(gradient, gradient)
    return torch.isfinite(slope) & (slope > 0)

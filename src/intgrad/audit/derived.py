"""Models made of one number of a model, for which an axiom says what the answer must be.

Each is a module (n, ...) -> (n, 1). What bends is `nn.ReLU`, and what is weighed and added up after it
`nn.Linear`, so that methods which work by the kind of module see what they know.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from intgrad.model.bound import Bound


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """The affine map with this matrix (out, in) and these offsets (out,)."""
    out, size = weight.shape
    how = {"dtype": weight.dtype, "device": weight.device}
    made: Any = skip_init(nn.Linear, size, out, bias is not None, **how)  # draws no random numbers
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None:
            made.bias.copy_(bias)
    return made.requires_grad_(False)


class Score(nn.Module):
    """The number of a model that is explained in one row."""

    def __init__(self, model: Any, bound: Bound) -> None:
        super().__init__()
        self.model, self.bound, self.training = model, bound, False

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        rows = torch.zeros(len(z), dtype=torch.long, device=z.device)
        return self.bound(self.model(z), rows)[:, None]


class Mixed(nn.Module):
    """a f + b g."""

    def __init__(self, f: nn.Module, g: nn.Module, weights: Tensor) -> None:
        super().__init__()
        self.f, self.g, self.mix = f, g, linear(weights.reshape(1, 2))

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        return self.mix(torch.cat([self.f(z), self.g(z)], 1))


class Held(nn.Module):
    """f with the features off the mask held where `point` has them: it depends on the others alone."""

    def __init__(self, f: nn.Module, free: Tensor, point: Tensor) -> None:
        super().__init__()
        self.f, self.free, self.rest = f, free.to(point), torch.where(free, 0.0, point)

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        return self.f(z * self.free + self.rest)


class Capped(nn.Module):
    """min(f, level), or max where sign is -1: flat beyond the level, as a saturated unit is."""

    def __init__(self, f: nn.Module, level: float, sign: float, like: Tensor) -> None:
        super().__init__()
        one = like.new_ones(1, 1)
        self.f, self.relu = f, nn.ReLU()
        self.below = linear(-sign * one, like.new_tensor([sign * level]))
        self.above = linear(-sign * one, like.new_tensor([level]))

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        return self.above(self.relu(self.below(self.f(z))))


class Rearranged(nn.Module):
    """f of the features in another order."""

    def __init__(self, f: nn.Module, order: Tensor) -> None:
        super().__init__()
        self.f, self.order = f, order

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        return self.f(z.flatten(1)[:, self.order].reshape(z.shape))


class Rescaled(nn.Module):
    """f in other units: of origin + (z - origin) / factor."""

    def __init__(self, f: nn.Module, factor: Tensor, origin: Tensor) -> None:
        super().__init__()
        self.f, self.factor, self.origin = f, factor, origin

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        return self.f(self.origin + (z - self.origin) / self.factor)


class Pooled(nn.Module):
    """f of start + (x - start) times the mean way of the features: they matter by their sum alone."""

    def __init__(self, f: nn.Module, x: Tensor, start: Tensor) -> None:
        super().__init__()
        way = (x - start).flatten()
        share = torch.ones_like(way) / way.abs().sum()
        self.f, self.shape = f, x.shape[1:]
        self.pool = linear(share[None], -(share @ start.flatten())[None])
        self.spread = linear(way[:, None], start.flatten())

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        return self.f(self.spread(self.pool(z.flatten(1))).reshape(-1, *self.shape))


class Together(nn.Module):
    """f of a point whose feature i is z_i + z_j and whose feature j is held: equal slopes in both."""

    def __init__(self, f: nn.Module, pair: tuple[int, int], point: Tensor, start: Tensor) -> None:
        super().__init__()
        i, j = pair
        self.f, self.pair, self.away = f, pair, float(start.flatten()[j])
        flat = torch.zeros_like(point).flatten()
        flat[i] = 1.0
        self.one = flat.reshape(point.shape)
        flat = torch.ones_like(point).flatten()
        flat[j] = 0.0
        self.free = flat.reshape(point.shape)
        self.rest = point * (1 - self.free)

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        more = z.flatten(1)[:, self.pair[1]] - self.away
        more = more.reshape(-1, *(1,) * (z.ndim - 1))
        return self.f(z * self.free + self.rest + more * self.one)


class Plus(nn.Module):
    """f plus a linear function."""

    def __init__(self, f: nn.Module, weight: Tensor) -> None:
        super().__init__()
        self.f, self.line = f, linear(weight.reshape(1, -1))
        self.mix = linear(weight.new_ones(1, 2))

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        return self.mix(torch.cat([self.f(z), self.line(z.flatten(1))], 1))


class Rising(nn.Module):
    """A random net that never falls on a monotone way to x from any of `start` (m, ...).

    Its kinks lie on the way, and it goes from 0 to 1 at most. Features that lie between their starts do
    not count; where all do, it is 0.
    """

    UNITS = 8

    def __init__(self, x: Tensor, start: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        end, starts = x.flatten(), start.flatten(1)
        below, above = (starts <= end).all(0), (starts >= end).all(0)
        far = torch.where(below, starts.amin(0), starts.amax(0))
        way = end - far
        counts = (below | above) & (way.abs() > 1e-6 * way.abs().max())
        self.counting = int(counts.sum())
        drawn = torch.rand(self.UNITS, len(end) + 1, generator=generator, dtype=torch.float64).to(x)
        weights = drawn[:, 1:] * counts
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-12)  # of the way gone, 0 to 1
        slopes = weights / torch.where(counts, way, 1.0)
        bends = torch.linspace(0.0, 0.9, self.UNITS, dtype=torch.float64).to(x)
        heights = (drawn[:, 0] + 0.1)[None]
        self.below, self.relu = linear(slopes, -(slopes @ far) - bends), nn.ReLU()
        self.above = linear(heights / heights.sum())

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        return self.above(self.relu(self.below(z.flatten(1))))


class Outside(nn.Module):
    """0 in the box between `start` (m, ...) and x; sign times something that grows outside it.

    While a feature is out of the box, the others' way to x changes the output: by much, and by the same
    for every feature.
    """

    STEEP = 100.0  # a hundredth of its own way out is as much as the whole way of all features
    MARGIN = 0.01  # of that way: what rounding takes for outside changes nothing

    def __init__(self, x: Tensor, start: Tensor, sign: float) -> None:
        super().__init__()
        ends = torch.cat([x, start]).flatten(1)
        self.low, self.high = ends.amin(0), ends.amax(0)
        self.wide = torch.where(self.high > self.low, self.high - self.low, 1.0)
        up = torch.where(x.flatten() >= start.flatten(1).mean(0), 1.0, -1.0).to(x)
        far = torch.where(up > 0, self.low, self.high)
        share = up / self.wide / len(up)
        self.gone = linear(share[None], -(share @ far)[None] - 1 - self.MARGIN)
        self.out = linear(x.new_full((1, 1), sign))
        self.under, self.over, self.both = nn.ReLU(), nn.ReLU(), nn.ReLU()

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        flat = z.flatten(1)
        under = self.under((self.low - flat) / self.wide)
        over = self.over((flat - self.high) / self.wide)
        excess = (under + over).sum(1, keepdim=True)
        return self.out(self.both(self.STEEP * excess + self.gone(flat)))

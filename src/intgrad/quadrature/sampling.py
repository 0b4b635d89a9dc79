"""What rules that sample share: rounds, replicates, the control variate, the standard error.

Each of `replicates` independent replicates estimates the whole integral; the answer is their mean
and its error their spread. All sums are taken node by node, so memory does not grow with the
number of samples: it is 3 replicates + 2 times the values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from intgrad._types import Point, each_target, magnitude, total, whole_number
from intgrad.errors import InputError, Unsupported
from intgrad.integral import LineIntegral, Nodes
from intgrad.quadrature.rule import Estimate

FIRST = 16  # nodes of a replicate in the first round of a rule that stops by itself
UNSEEN = 4.0  # standard errors beyond which the mean of the control variate is no accident
NOISE = 1e3  # units in the last place below which its variance is rounding


class Draws(NamedTuple):
    """Nodes of one replicate: place among the curves (n,), t (n,), weight (n,).

    Their mean of weight x (a curve's weight x its integrand) has the integral as expectation.
    """

    place: Tensor
    t: Tensor
    weight: Tensor


class Sampler(Protocol):
    """A rule that draws curves and times together; see `sample` for its parts."""

    @property
    def samples(self) -> int | None: ...
    @property
    def replicates(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def rtol(self) -> float: ...
    @property
    def max_evaluations(self) -> int: ...

    def stops(self, curves: int) -> Sequence[int]:
        """How many nodes a replicate has after each round, with so many curves."""
        ...

    def draw(self, share: Tensor, replicate: int, start: int, stop: int) -> Draws:
        """The nodes from `start` to `stop` of a replicate, over curves with these shares of 1."""
        ...


def per_replicate(rule: Sampler) -> int:
    """How many nodes a replicate may have.

    Raises
    ------
    InputError
        No whole numbers, fewer samples than replicates, or no replicates to tell when to stop.
    """
    replicates = whole_number(rule.replicates, "replicates", 1)
    whole_number(rule.seed, "seed")
    if rule.samples is not None:
        return whole_number(rule.samples, "samples", replicates) // replicates
    if replicates < 2:
        name = type(rule).__name__
        raise InputError(
            f"{name} with one replicate has no standard error to stop by; expected replicates=4, "
            f"or a number of samples: {name}(samples=1000, replicates=1)."
        )
    return whole_number(rule.max_evaluations, "max_evaluations", replicates) // replicates


def doubling(rule: Sampler) -> list[int]:
    """The rounds of a rule: all its samples at once, or twice as many each time."""
    last = per_replicate(rule)
    if rule.samples is not None:
        return [last]
    return [*powers(FIRST, last), last]


def powers(first: int, below: int) -> list[int]:
    """First, 2 first, 4 first, ... below `below`."""
    found = []
    while first < below:
        found.append(first)
        first *= 2
    return found


def stream(rule: Sampler, replicate: int, start: int) -> int:
    """The seed of one round of one replicate: unlike any other, and unlike the baselines'."""
    text = f"{type(rule).__name__} {rule.seed} {replicate} {start}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def generator(rule: Sampler, replicate: int, start: int) -> torch.Generator:
    """A generator on the CPU, the same on every machine."""
    return torch.Generator().manual_seed(stream(rule, replicate, start))


def by_share(share: Tensor, u: Tensor, t: Tensor) -> Draws:
    """Curves at u (n,) of their cumulated shares: each drawn as often as it weighs."""
    cumulated = share.cumsum(0)
    place = torch.searchsorted(cumulated / cumulated[-1], u, right=True).clamp(max=len(share) - 1)
    return Draws(place, t, 1 / share[place])


# ---------------------------------------------------------------------------- the rounds


def sample(integral: LineIntegral, rule: Sampler, name: str) -> Estimate:
    """Ask round after round, until the standard error meets the tolerance or nothing is left.

    A row goes on alone; what it has asked is never asked again.
    """
    if integral.by_panel:
        raise Unsupported(
            f"{type(integral.integrand).__name__} contributes panel by panel, and random points cut "
            f"no panels. Use a Riemann rule, such as ig.LeftRiemann(50)."
        )
    rows = Rows.of(integral, rule)
    tally = Tally(Control.of(integral, rule.replicates), torch.zeros(integral.rows, dtype=torch.float64))
    active = list(range(integral.rows))
    while True:
        spans = {row: span for row in active if (span := rows.span(row, int(tally.taken[row])))}
        if not spans:
            break
        tally.add(integral, rows.nodes(spans))
        for row, (_, stop) in spans.items():
            tally.taken[row] = stop
        value, error = tally.settle()
        active = [row for row in spans if not bool(done(value, error, integral, rule.rtol)[row])]
    integral.witness.mass /= rule.replicates * tally.taken
    return Estimate(value, error, rule.rtol, words(integral, rule, name, tally))


def done(value: Point, error: Point, integral: LineIntegral, rtol: float) -> Tensor:
    """Which rows meet the tolerance for all targets: (rows,)."""
    norm, wrong = each_target(value, magnitude), each_target(error, total)
    near = integral.slack(len(norm)).to(norm.device)
    return (wrong <= torch.maximum(rtol * norm, near)).all(0)


def words(integral: LineIntegral, rule: Sampler, name: str, tally: Tally) -> str:
    """What was done, and what the error is about."""
    taken, curves = tally.taken, integral.curves.row.bincount(minlength=integral.rows)
    spread = lambda n: " to ".join(dict.fromkeys(f"{int(k)}" for k in (n.min(), n.max())))  # noqa: E731
    about = "the population's mean" if integral.curves.drawn else "the mean over these curves"
    error = f"standard error of {about}" if rule.replicates > 1 else "no standard error"
    control = ", completeness as control variate" if tally.control is not None else ""
    return (
        f"{name}, {rule.replicates} x {spread(taken)} nodes on {spread(curves)} curves a row, "
        f"seed {rule.seed}{control}; {error}"
    )


@dataclass
class Rows:
    """The curves of each row, and the tables of nodes that rows with equal curves share."""

    rule: Sampler
    own: tuple[Tensor, ...]
    share: tuple[Tensor, ...]
    drawn: bool
    tables: dict[tuple[bytes, int, int], Nodes] = field(default_factory=dict)

    @staticmethod
    def of(integral: LineIntegral, rule: Sampler) -> Rows:
        """Sort the curves by row."""
        curves = integral.curves
        size = curves.row.bincount(minlength=integral.rows).tolist()
        own = torch.argsort(curves.row, stable=True).split(size)
        weight = [curves.weight[c].abs() for c in own]
        return Rows(rule, own, tuple(w / w.sum() for w in weight), curves.drawn)

    def span(self, row: int, taken: int) -> tuple[int, int] | None:
        """The row's next round, as nodes of a replicate from and to; None after the last."""
        curves = len(self.own[row])
        stops = self.rule.stops(curves // self.rule.replicates if self.drawn else curves)
        return next(((taken, stop) for stop in stops if stop > taken), None)

    def nodes(self, spans: dict[int, tuple[int, int]]) -> Nodes:
        """The nodes of a round, row after row; weights: all replicates, then each one alone."""
        parts = [(self.own[row], self.table(self.share[row], *span)) for row, span in spans.items()]
        return Nodes(
            torch.cat([own[table.curve] for own, table in parts]),
            torch.cat([table.t for _, table in parts]),
            torch.cat([table.weight for _, table in parts]),
        )

    def table(self, share: Tensor, start: int, stop: int) -> Nodes:
        """The nodes of all replicates, on places among the curves of a row."""
        key = share.numpy().tobytes(), start, stop
        if key not in self.tables:
            self.tables[key] = self._table(share, start, stop)
        return self.tables[key]

    def _table(self, share: Tensor, start: int, stop: int) -> Nodes:
        count = self.rule.replicates
        draw = self._block if self.drawn else self.rule.draw
        found = [draw(share, r, start, stop) for r in range(count)]
        size = stop - start
        column = torch.eye(count, dtype=torch.float64).repeat_interleave(size, 0)
        column = torch.cat([torch.ones(count * size, 1), column], 1) if count > 1 else column
        place, t, weight = (torch.cat(part) for part in zip(*found, strict=True))
        return Nodes(place, t, weight[:, None] * column)

    def _block(self, share: Tensor, replicate: int, start: int, stop: int) -> Draws:
        """Of a population every replicate has draws of its own, and uses each once."""
        size = len(share) // self.rule.replicates
        block = torch.full((size,), 1 / size, dtype=torch.float64)
        place = torch.arange(start, stop) + replicate * size
        t = self.rule.draw(block, replicate, start, stop).t
        return Draws(place, t, 1 / share[place])


# ---------------------------------------------------------------------------- the answer


@dataclass(frozen=True)
class Control:
    """What completeness says beforehand.

    about (T, rows): the mean over curves of f(end) - f(start); gain (R, T, rows): its sum over the
    curves of each replicate; mass (rows,): the sum of the curves' weights.
    """

    about: Tensor
    gain: Tensor
    mass: Tensor

    @staticmethod
    def of(integral: LineIntegral, replicates: int) -> Control | None:
        """None where completeness does not apply, or gradients flow through the sums."""
        curves, gain = integral.curves, integral.gain
        if gain is None or not integral.watch or bool((curves.weight <= 0).any()):
            return None
        mass = torch.zeros(integral.rows, dtype=torch.float64)
        mass = mass.index_add(0, curves.row, curves.weight).to(gain.device)
        known = gain.expand(replicates, *gain.shape)
        if curves.drawn:
            assert integral.gains is not None, "draws are not known one by one"
            known = replicates * _by_block(integral, integral.gains, replicates)
        return Control(gain / mass, known, mass)


def _by_block(integral: LineIntegral, gains: Tensor, replicates: int) -> Tensor:
    """The gain of the draws of each replicate, not scaled up: (R, T, rows)."""
    weighted = gains * integral.curves.weight.to(gains)
    blocks = weighted.reshape(len(gains), integral.rows, replicates, -1)  # row after row
    return torch.stack([each_target((b,), total) for b in blocks.unbind(2)])


@dataclass
class Tally:
    """Sums so far; `taken` (rows,) counts the nodes of a replicate."""

    control: Control | None
    taken: Tensor
    parts: tuple[Point, ...] = ()

    def add(self, integral: LineIntegral, nodes: Nodes) -> None:
        """Ask the nodes, and add what they say."""
        if self.control is None:
            found: tuple[Point, ...] = (integral.sums(nodes),)
        else:
            found = integral.moments(nodes, self.control.about)
        if self.parts:
            pairs = zip(self.parts, found, strict=True)
            found = tuple(tuple(a + b for a, b in zip(*pair, strict=True)) for pair in pairs)
        self.parts = found

    def settle(self) -> tuple[Point, Point]:
        """Mean of the replicates and its standard error (T, rows, ...); NaN of a single one."""
        count = max(1, len(self.parts[0][0]) - 1)
        each = [self.replicate(r, count) for r in range(count)]
        found = [torch.stack(part) for part in zip(*each, strict=True)]
        value = tuple(f.mean(0) for f in found)
        if count == 1:
            return value, tuple(torch.full_like(v.detach(), torch.nan) for v in value)
        return value, tuple(f.detach().std(0) / count**0.5 for f in found)

    def replicate(self, r: int, count: int) -> Point:
        """One replicate's answer, corrected by slopes that the other replicates found.

        Its own slopes would depend on what they correct, which biases; a single one has no others.
        """
        alone = count == 1
        own = tuple(_over(s[0 if alone else r + 1], self.taken) for s in self.parts[0])
        if self.control is None:
            return own
        rest, size = (0, self.taken) if alone else (r + 1, (count - 1) * self.taken)
        others = [
            tuple(_over(s[0] if alone else s[0] - s[rest], size) for s in part)
            for part in self.parts
        ]
        short = each_target(own, total) - self.control.gain[r].to(own[0].device)
        slope = slopes(others, self.control, self.trusted(count))
        return tuple(v - b * _ahead(short, v) for v, b in zip(own, slope, strict=True))

    def trusted(self, count: int) -> Tensor:
        """Where the control variate varies, and its mean is 0 up to chance: (T, rows).

        A mean further off is what no node saw: a jump, a narrow step. Sharing it out would hide it;
        left alone it stays in the residual.
        """
        assert self.control is not None
        size = count * self.taken
        mean, square = (_over(s[0], size) / self.control.mass for s in self.parts[2])
        variance = square - mean.square()
        precision = NOISE * max(torch.finfo(s.dtype).eps for s in self.parts[0])
        noise = precision**2 * (self.control.about.square() + square)
        allowed = UNSEEN**2 * variance / size.to(variance.device)
        return (variance > noise) & (mean.square() <= allowed)


def slopes(parts: Sequence[Point], control: Control, trusted: Tensor) -> Point:
    """Least squares of every feature's contributions on their total; 0 where not trusted.

    They sum to one over the features, so what they correct is complete.
    """
    sums, products, (mean, square) = parts
    mean, square = mean / control.mass, square / control.mass
    variance = torch.where(trusted, square - mean.square(), torch.inf)
    return tuple(
        (_over(p, control.mass) - _over(s, control.mass) * _ahead(mean, s)) / _ahead(variance, s)
        for s, p in zip(sums, products, strict=True)
    )


def _over(sums: Tensor, count: Tensor) -> Tensor:
    """Divide (..., T, rows, features) by a number a row: sums come as (T, rows, ...)."""
    return sums / count.to(sums).reshape(1, -1, *(1,) * (sums.ndim - 2))


def _ahead(numbers: Tensor, like: Tensor) -> Tensor:
    """Shape (T, rows) numbers so that they multiply (T, rows, ...)."""
    return numbers.to(like).reshape(*numbers.shape, *(1,) * (like.ndim - 2))

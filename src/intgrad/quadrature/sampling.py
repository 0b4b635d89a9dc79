"""What rules that sample share: how many nodes, on which curves, round after round."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from intgrad._types import each_target, magnitude, total, whole_number
from intgrad.errors import InputError, Unsupported
from intgrad.integral import LineIntegral
from intgrad.quadrature.replicates import Control, Tally
from intgrad.quadrature.rule import Estimate
from intgrad.units import Nodes

FIRST = 32  # nodes of a replicate in the first round of a rule that stops by itself


class Draws(NamedTuple):
    """Nodes of one replicate: place among the curves (n,), t (n,), weight (n,).

    Their mean of weight x (a curve's weight x its integrand) has the integral as expectation.
    """

    place: Tensor
    t: Tensor
    weight: Tensor


class Sampler(Protocol):
    """A rule that draws curves and times together.

    `controlled` says whether completeness corrects its replicates; the rest is as in `MonteCarlo`.
    """

    controlled: ClassVar[bool]

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
    control = Control.of(integral, rule.replicates) if rule.controlled else None
    tally = Tally(integral, control)
    active: Iterable[int] = range(integral.rows)
    while spans := rows.spans(active, tally.taken):
        tally.add(rows.nodes(spans))
        for row, (_, stop) in spans.items():
            tally.taken[row] = stop
        active = unmet(tally, rule, spans) if rule.samples is None else ()
    integral.witness.mass /= rule.replicates * tally.taken
    value, error = tally.settle()
    return Estimate(value, error, rule.rtol, words(integral, rule, name, tally))


def unmet(tally: Tally, rule: Sampler, rows: Iterable[int]) -> list[int]:
    """Which of these rows miss the tolerance for some target."""
    value, error = tally.settle()
    norm, wrong = each_target(value, magnitude), each_target(error, total)
    near = tally.integral.slack(len(norm)).to(norm.device)
    met = (wrong <= torch.maximum(rule.rtol * norm, near)).all(0)
    return [row for row in rows if not bool(met[row])]


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

    def spans(self, rows: Iterable[int], taken: Tensor) -> dict[int, tuple[int, int]]:
        """The next round of each of these rows that has one, as nodes of a replicate from and to."""
        found = {}
        for row in rows:
            size, start = len(self.own[row]), int(taken[row])
            stops = self.rule.stops(size // self.rule.replicates if self.drawn else size)
            later = [stop for stop in stops if stop > start]
            if later:
                found[row] = start, later[0]
        return found

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

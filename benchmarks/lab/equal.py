"""How many evaluations a rule needs for an error, read off its measured curve."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .curves import Key, Point, mean
from .real import REAL
from .zoo import ZOO

GAUSS = "Captum Gauss-Legendre"
SURE = 3.0  # claims stop at so many times the doubt of the reference
ROUNDING = 1e-7  # Captum keeps its weights in float32


@dataclass(frozen=True)
class Curve:
    """Mean error of one rule on one net and head, by size.

    `alone` leaves out f(x), f(baseline) and the floor's gradient.
    """

    sizes: tuple[float, ...]
    error: tuple[float, ...]
    evaluations: tuple[float, ...]
    alone: tuple[float, ...]
    doubt: float
    rows: int

    @property
    def resolution(self) -> float:
        """The smallest error that is told from the reference's own."""
        return SURE * self.doubt

    def at(self, level: float, against: Sequence[float] | None = None) -> Need | None:
        """What is needed for this error and all that are smaller; None below the resolution."""
        if not math.isfinite(level) or level < max(self.resolution, ROUNDING):
            return None
        return crossing(tuple(against or self.evaluations), self.error, level)


@dataclass(frozen=True)
class Need:
    """Evaluations for an error: within the measured ones, or extrapolated by 1/n."""

    number: float
    beyond: bool = False
    at_most: bool = False

    def __str__(self) -> str:
        shown = f"{self.number:.0f}" if self.number >= 10 else f"{self.number:.1f}"
        return f"{'≤ ' if self.at_most else ''}{shown}{'*' if self.beyond else ''}"


def crossing(spent: Sequence[float], error: Sequence[float], level: float) -> Need | None:
    """Where the curve falls below the level for good, by straight lines between logarithms."""
    order = sorted(range(len(spent)), key=lambda i: spent[i])
    x, y = [spent[i] for i in order], [error[i] for i in order]
    above = [i for i, e in enumerate(y) if not e <= level]
    if not x:
        return None
    if not above:
        return Need(x[0], at_most=True)
    i = above[-1]
    if i == len(x) - 1:
        return Need(x[i] * y[i] / level, beyond=True)
    share = math.log(y[i] / level) / math.log(y[i] / max(y[i + 1], 1e-300))
    return Need(x[i] * (x[i + 1] / x[i]) ** share)


def slope(curve: Curve, least: float = 16) -> float | None:
    """Order of convergence: minus the slope of log error over log nodes, by least squares."""
    known = zip(curve.alone, curve.error, strict=True)
    pairs = [(n, e) for n, e in known if n >= least and e > max(curve.resolution, ROUNDING)]
    if len(pairs) < 3:
        return None
    x, y = [math.log(n) for n, _ in pairs], [math.log(e) for _, e in pairs]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - mx) ** 2 for a in x)
    return -sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / over


def curves(
    points: dict[Key, dict[str, Point]],
) -> Iterator[tuple[tuple[str, str], dict[str, Curve]]]:
    """For each (net, head): the curve of every rule, over the rows that Gauss with 50 was asked."""
    for case, head in sorted({key[:2] for key in points}, key=lambda k: (order(k[0]), k)):
        cell = {k[2:]: rows for k, rows in points.items() if k[:2] == (case, head)}
        if (GAUSS, 50) in cell:
            base = sorted(cell[GAUSS, 50])
            rules = dict.fromkeys(rule for rule, _ in cell)
            found = {rule: curve(cell, rule, base) for rule in rules}
            yield (case, head), {r: c for r, c in found.items() if c.sizes}


def order(case: str) -> int:
    """Nets in the order of the zoo, then the real ones."""
    names = [*ZOO, *REAL]
    return names.index(case) if case in names else len(names)


def curve(cell: dict[tuple[str, float], dict[str, Point]], rule: str, rows: Sequence[str]) -> Curve:
    """The mean of a rule over rows, at the sizes at which it was asked about all of them."""
    sizes = sorted(s for r, s in cell if r == rule and all(k in cell[r, s] for k in rows))
    means = [mean(cell[rule, s], rows) for s in sizes]
    spent = [m.evaluations for m in means]
    return Curve(
        tuple(sizes),
        tuple(m.error for m in means),
        tuple(spent),
        tuple(m.evaluations - m.bare for m in means),
        max((m.doubt for m in means), default=math.nan),
        len(rows),
    )

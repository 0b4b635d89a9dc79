"""Seconds, in float32 as it is used: to the error of GL-50, and of an averaged panel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any

import torch

import intgrad as ig

from . import reference, rules
from .case import Case
from .curves import errors, points
from .equal import GAUSS, Curve, curves
from .rules import Answer, Rule, timed
from .store import Clock
from .tables import gauss_at, table

BATCHES = (1, 2, 4, 8, 16, 32, 64)


def nodes_for(curve: Curve, level: float) -> int | None:
    """The size at which a rule reaches an error."""
    need = curve.at(level, curve.sizes)
    return None if need is None or need.beyond else max(2, round(need.number + 0.499))


def contestants(case: Case, head: str) -> Iterator[tuple[Rule, int]]:
    """Ours by nodes, each at the size that reaches the error of GL-50."""
    found = dict(curves(points([case.name]))).get((case.name, head), {})
    if GAUSS not in found:
        return
    level = gauss_at(found[GAUSS], 50)
    for rule in rules.catalogue():
        if rule.name in found and not rule.stops and not rule.name.startswith("Captum"):
            n = nodes_for(found[rule.name], level)
            if n is not None:
                yield rule, n


def best_batch(case: Case, head: str) -> tuple[int, float]:
    """Captum's fastest internal batch for 50 nodes, and its seconds."""
    tried = [len(case) * b for b in BATCHES]
    runs = {
        b: timed(lambda b=b: rules.captum("gausslegendre", case, head, 50, b))[1] for b in tried
    }
    best = min(runs, key=lambda b: runs[b])
    return best, runs[best]


def race(case: Case, head: str, pairs: int, clock: Clock) -> None:
    """Captum's GL-50 and ours to the same error, taking turns."""
    single, truth = case.single(), reference.known(case, head)
    ours = list(contestants(case, head))
    if truth is None or not ours:
        print(f"\n{case.name}, {head}: no curve yet, or a smooth net; measure it first.")
        return
    batch, _ = best_batch(single, head)
    runs: dict[str, Callable[[], Answer]] = {
        f"Captum Gauss-Legendre, 50, batch {batch}": lambda: rules.captum(
            "gausslegendre", single, head, 50, batch
        )
    }
    for rule, n in ours:
        runs[f"{rule.name}, {n}"] = lambda rule=rule, n=n: rule.ask(single, head, n)
    times = take_turns(runs, pairs, clock)
    first = next(iter(runs))
    lines = []
    for who, run in runs.items():
        error = sum(errors(run().values, truth[0])) / len(case)
        ratio = median(a / b for a, b in zip(times[first], times[who], strict=True))
        lines.append((who, f"{error:.1e}", f"{median(times[who]):.3f}", f"{ratio:.2f}×"))
    columns = ("rule", "mean true error in float32", "seconds", "Captum's seconds over it")
    threads = torch.get_num_threads()
    table(f"{case.name}, {head}, {len(case)} rows: seconds to the error of GL-50, {threads} threads, "
          f"medians of {pairs} turns", columns, lines)  # fmt: skip


def take_turns(
    runs: Mapping[str, Callable[[], object]], pairs: int, clock: Clock
) -> dict[str, list[float]]:
    """Seconds of each, one after the other, so many times."""
    times: dict[str, list[float]] = {who: [] for who in runs}
    for _ in range(pairs):
        clock.check()
        for who, run in runs.items():
            times[who].append(timed(run)[1])
    return times


def panels(cases: list[Case], n: int, pairs: int, clock: Clock) -> None:
    """Seconds of one averaged panel over one plain gradient, each at the width the library finds."""
    if not hasattr(ig, "PanelAveraged"):
        print("This version has no PanelAveraged; there is nothing to time.")
        return
    n |= 1  # an even number costs more, for its estimate
    averaged: Any = getattr(ig, "PanelAveraged")  # noqa: B009
    lines = [one_panel(case.single(), averaged, n, pairs, clock) for case in cases]
    columns = ("net", "family", "rows", "width", "gradient, ms", "panel, ms", "panel over gradient")
    title = (
        f"An averaged panel beside a plain gradient: {n} of each a row, float32, "
        f"{torch.get_num_threads()} threads, medians of {pairs} turns"
    )
    table(title, columns, lines)


def one_panel(case: Case, averaged: Any, n: int, pairs: int, clock: Clock) -> tuple[object, ...]:
    """One line of the table."""
    ask = partial(rules.asked, case, case.heads[0])
    width = ask(ig.Midpoint(4)).run.width
    runs = {
        "gradient": lambda: ask(ig.Midpoint(n)),
        "panel": lambda: ask(averaged(n)),
    }
    times = take_turns(runs, pairs, clock)
    ratio = median(p / g for p, g in zip(times["panel"], times["gradient"], strict=True))
    each = [f"{1000 * median(times[k]) / n / len(case):.3g}" for k in runs]
    return (case.name, case.family, len(case), width, *each, f"{ratio:.2f}×")

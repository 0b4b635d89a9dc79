"""True error against evaluations: measured a row, noted line by line, resumed where it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

import intgrad as ig

from . import reference, store
from .case import Case
from .rules import TOLERANCES, Rule, asked, timed
from .store import Clock

PART = "curves"
Key = tuple[str, str, str, float]  # case, head, rule, size


@dataclass(frozen=True)
class Plan:
    """What is measured on a case."""

    rules: Sequence[Rule]
    grid: Sequence[int]
    tolerances: Sequence[float] = TOLERANCES
    again: bool = False

    def sizes(self, rule: Rule, case: Case) -> Sequence[float]:
        """Nodes, or tolerances where the rule stops by itself; none where it is not for the case."""
        if not rule.fits(case):
            return ()
        if not rule.stops:
            return self.grid
        dear = rule.doubles and case.most < 5120
        return [t for t in self.tolerances if t >= 1e-2 or not dear]


def measure(case: Case, plan: Plan, clock: Clock) -> None:
    """Ask every rule at every size, about the rows that are not noted yet."""
    done = {} if plan.again else points([case.name])
    for head in case.heads:
        truth = reference.known(case, head)
        assert truth is not None, "prepare the references first"
        for rule in plan.rules:
            for size in plan.sizes(rule, case):
                there = done.get((case.name, head, rule.name, size), {})
                rows = [i for i, key in enumerate(case.keys) if key not in there]
                clock.check()
                if rows and not one(case.take(rows), head, rule, size, pick(truth, rows)):
                    break


def one(case: Case, head: str, rule: Rule, size: float, truth: tuple[Tensor, list[float]]) -> bool:
    """Ask one rule, and note what is true of its answer; False where it refuses the case."""
    what = {"case": case.name, "head": head, "rule": rule.name, "size": size}
    try:
        answer, seconds = timed(lambda: rule.ask(case, head, size))
    except ig.Unsupported as refusal:
        print(f"{case.name}, {head}, {rule.name}: refused, {refusal}")
        return False
    facts = {
        "rows": case.keys,
        "error": errors(answer.values, truth[0]),
        "doubt": truth[1],
        "evaluations": answer.evaluations,
        "bare": answer.bare,
        "estimate": answer.estimate,
        "converged": answer.converged,
        "seconds": seconds,
    }
    store.note(PART, {**what, **facts})
    return True


def pick(truth: tuple[Tensor, list[float]], rows: list[int]) -> tuple[Tensor, list[float]]:
    """Some rows of a reference."""
    return truth[0][rows], [truth[1][i] for i in rows]


def errors(found: Tensor, truth: Tensor) -> list[float]:
    """Relative L1 error of every row."""
    off = (found.double() - truth).abs().flatten(1).sum(1)
    return (off / truth.abs().flatten(1).sum(1)).tolist()


# --------------------------------------------------------------------------------- the floors


def floors(case: Case) -> None:
    """What float32 does at the same nodes, and what the certificates say, in both dtypes."""
    if any(r["rows"] == case.keys for r in store.noted("floors")):
        return
    rule, single = ig.GaussLegendre(16), case.single()
    for head in case.heads:
        wide, narrow = (asked(c, head, rule) for c in (case, single))
        facts = {"rows": case.keys, "off": errors(narrow.values, wide.values)}
        said = {"float64": wide.floor.tolist(), "float32": narrow.floor.tolist()}
        store.note("floors", {"case": case.name, "head": head, **facts, **said})


# --------------------------------------------------------------------------- reading them back


@dataclass(frozen=True)
class Point:
    """One rule at one size on one row."""

    error: float
    doubt: float
    evaluations: float
    bare: float
    estimate: float | None
    converged: bool | None


def points(cases: Iterable[str] | None = None) -> dict[Key, dict[str, Point]]:
    """All measurements, the last of each row: {(case, head, rule, size): {row: point}}."""
    wanted = None if cases is None else set(cases)
    found: dict[Key, dict[str, Point]] = {}
    for r in store.noted(PART):
        if wanted is None or r["case"] in wanted:
            cell = found.setdefault((r["case"], r["head"], r["rule"], r["size"]), {})
            for i, row in enumerate(r["rows"]):
                cell[row] = point_of(r, i)
    return found


def point_of(record: dict[str, Any], i: int) -> Point:
    """The i-th row of a record."""
    several = ("error", "doubt", "evaluations", "estimate", "converged")
    return Point(bare=record["bare"], **{k: record[k] and record[k][i] for k in several})


def mean(cell: dict[str, Point], rows: Sequence[str]) -> Point:
    """The mean over rows of errors, doubts and evaluations."""
    chosen = [cell[r] for r in rows]
    average = lambda xs: sum(xs) / len(xs)  # noqa: E731
    return replace(
        chosen[0],
        error=average([p.error for p in chosen]),
        doubt=average([p.doubt for p in chosen]),
        evaluations=average([p.evaluations for p in chosen]),
        estimate=None,
        converged=None,
    )

"""The family side by side: every image method of the catalogue on the same photos, by four metrics.

    python benchmarks/family.py                            # SqueezeNet and MobileNet, as tables
    python benchmarks/family.py --net squeezenet --photos 4
    python benchmarks/family.py --tables                   # only what is kept
    python benchmarks/family.py --smoke                    # all of it, tiny

The probability of the predicted class is explained, in float32 on one thread, on photos of 224 x 224
pixels of [0, 1], from black where a method has a baseline. Insertion and deletion are areas under
25 steps, and are taken twice: with a black picture for what is absent, and with the photo blurred
(sigma 10). What explains by a black baseline is flattered by the first, what explains by blur by the
second. Maps are summed over colours with their sign; sensitivities by absolute value
(lab/maps.py says which). AUTVC is of magnitudes, and low is smooth.

A mean over a few photos orders few methods for sure. So each has a standard error, and two methods
are told apart by Student's t of their differences, photo by photo, at 95 %; of many such pairs one
in twenty is told apart by chance. Costs are medians. SmoothTaylor runs in the units of its paper, and
the search for its noise with fewer copies than there.

Kept and resumed as in accuracy.py: INTGRAD_BENCH_CACHE, --minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from math import nan, sqrt
from statistics import mean, median, stdev
from typing import Any

import torch
from lab import scenes
from lab.maps import METHODS, SMALL, Effort, timed
from lab.page import table
from lab.published import SMOOTH_TAYLOR, SPECTRAL, Published
from lab.real import DATA
from lab.scenes import Scene
from lab.store import Clock, OutOfTime, noted, remembered
from scipy.stats import t as student
from torch import Tensor

import intgrad as ig
from intgrad.audit import metrics

PART = "family"
ABSENT = {"black": ig.Zeros(), "blurred": ig.Blurred(10.0)}
NETS = ("squeezenet", "mobilenet_v1")
Record = dict[str, Any]
Numbers = dict[str, list[float]]  # of each method one a photo


# -------------------------------------------------------------------------------------- measuring


def measured(scene: Scene, name: str, effort: Effort) -> Record:
    """One method on one photo."""
    found, seconds = timed(METHODS[name], scene, effort)
    scores = {
        f"{kind} {absent}": area(scene, found.map, kind, absent, effort.steps)
        for absent in ABSENT
        for kind in ("insertion", "deletion")
    }
    scores |= {f"DiffID {a}": scores[f"insertion {a}"] - scores[f"deletion {a}"] for a in ABSENT}
    scores["AUTVC"] = float(metrics.autvc(found.map))
    facts = {"evaluations": found.evaluations, "converged": found.converged, "seconds": seconds}
    return {"scores": scores, **facts}


def area(scene: Scene, heat: Tensor, kind: str, absent: str, steps: int) -> float:
    """The area under a removal curve."""
    how = {"target": scene.best, "steps": steps, "baseline": ABSENT[absent], "width": 8}
    return float(getattr(metrics, kind)(scene.model, scene.x, heat, **how).auc)


def key_of(scene: Scene, name: str, effort: Effort) -> Record:
    """What a measurement is kept under."""
    return {"scene": scene.key, "method": name, "effort": repr(effort)}


def measure(found: Sequence[Scene], effort: Effort, clock: Clock) -> None:
    """Every method on every photo that is not kept yet."""
    for scene in found:
        for name in METHODS:
            clock.check()
            ask = lambda s=scene, n=name: measured(s, n, effort)  # noqa: E731
            remembered(PART, key_of(scene, name, effort), ask)


def kept(found: Sequence[Scene], effort: Effort) -> dict[str, list[Record]]:
    """The records of each method, of the photos on which all methods were measured."""
    wanted = {(s.key, repr(effort)): s for s in found}
    by_scene: dict[str, dict[str, Record]] = {}
    for record in noted(PART):
        if (record["scene"], record["effort"]) in wanted:
            by_scene.setdefault(record["scene"], {})[record["method"]] = record
    whole = [r for r in by_scene.values() if set(METHODS) <= set(r)]
    return {name: [r[name] for r in whole] for name in METHODS} if whole else {}


# --------------------------------------------------------------------------------------- statistics


def error_of(values: Sequence[float]) -> float:
    """The standard error of a mean."""
    return stdev(values) / sqrt(len(values)) if len(values) > 1 else nan


def told_apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the mean difference, photo by photo, is outside chance at 95 %."""
    gaps = [a - b for a, b in zip(one, other, strict=True)]
    if len(gaps) < 2:
        return False
    return bool(abs(mean(gaps)) > student.ppf(0.975, len(gaps) - 1) * error_of(gaps))


def numbers(records: dict[str, list[Record]], score: str) -> Numbers:
    """One score of every method."""
    return {name: [r["scores"][score] for r in found] for name, found in records.items()}


# -------------------------------------------------------------------------------------------- tables


def overview(net: str, records: dict[str, list[Record]]) -> None:
    """All methods, all scores."""
    photos = len(next(iter(records.values())))
    lines = []
    for name, found in records.items():
        cost = median(r["evaluations"] for r in found), median(r["seconds"] for r in found)
        met = sum(r["converged"] for r in found)
        cells = [shown(records, name, column) for column in COLUMNS]
        lines.append((name, f"{cost[0]:.0f}", f"{cost[1]:.1f}", f"{met}/{photos}", *cells))
    table(
        f"{net}, {photos} photos: means (± standard errors)",
        ("method", "evaluations", "processor seconds", "met its tolerance", *COLUMNS),
        lines,
    )


COLUMNS = (
    "insertion black", "deletion black", "DiffID black",
    "insertion blurred", "deletion blurred", "DiffID blurred", "AUTVC",
)  # fmt: skip


def shown(records: dict[str, list[Record]], name: str, score: str) -> str:
    """A mean, and its standard error where it is compared."""
    values = numbers(records, score)[name]
    if score.startswith(("insertion", "deletion")):
        return f"{mean(values):.3f}"
    return f"{mean(values):.3f} ± {error_of(values):.3f}"


def beside(
    paper: Published, nets: dict[str, dict[str, list[Record]]], scores: Iterable[str]
) -> None:
    """Our order of the methods that a paper has too, and where it differs."""
    lines, turned = [], []
    for net, records in nets.items():
        for score in scores:
            own = {name: numbers(records, score)[name] for name in paper.numbers}
            taus = [
                tau(own, {n: v[k] for n, v in paper.numbers.items()})
                for k in range(len(paper.nets))
            ]
            lines.append(
                (net, score, *(f"{v:.2f}" for v in taus), " > ".join(ranked(own, paper.low)))
            )
            turned += differing(paper, net, score, own)
    table(
        f"{paper.source}: rank correlation (Kendall) of our means with its {paper.metric}, and our "
        f"order, the best first",
        ("net", "ours", *(f"with {net}" for net in paper.nets), "our order"),
        lines,
    )
    table(
        "Where the order differs from that of all its nets",
        ("net", "ours", "the paper has", "here (ours), the mean of the photos", "told apart"),
        turned,
    )


def tau(own: Numbers, theirs: dict[str, float]) -> float:
    """Kendall's tau-b of two orders of the same methods."""
    row = lambda found: torch.tensor([list(found)], dtype=torch.float64)  # noqa: E731
    return float(metrics.kendall(row(mean(own[name]) for name in theirs), row(theirs.values())))


def ranked(own: Numbers, low: bool) -> list[str]:
    """Methods by their mean, the best first."""
    return sorted(own, key=lambda name: mean(own[name]), reverse=not low)


def differing(paper: Published, net: str, score: str, own: Numbers) -> Iterable[tuple[str, ...]]:
    """Pairs that all nets of a paper have in one order and our mean has in the other."""
    for pair in combinations(paper.numbers, 2):
        first, second = (paper.numbers[name] for name in pair)
        gaps = [a - b for a, b in zip(first, second, strict=True)]
        one, other = pair if better(gaps, paper.low) else pair[::-1]
        gap = mean(own[one]) - mean(own[other])
        unanimous = all(g > 0 for g in gaps) or all(g < 0 for g in gaps)
        if unanimous and (gap > 0) == paper.low and gap:
            sure = "yes" if told_apart(own[one], own[other]) else "no"
            here = f"{mean(own[one]):.3f} and {mean(own[other]):.3f}"
            yield net, score, f"{one} before {other}", here, sure


def better(gaps: Sequence[float], low: bool) -> bool:
    """Whether the first of two is the better one."""
    return (sum(gaps) < 0) == low


def leaders(net: str, records: dict[str, list[Record]]) -> tuple[str, ...]:
    """Which methods cannot be told apart from the best, by each score."""
    cells = []
    for score, low in (("DiffID black", False), ("DiffID blurred", False), ("AUTVC", True)):
        own = numbers(records, score)
        best, *others = ranked(own, low)
        near = [n for n in others if not told_apart(own[best], own[n])]
        cells.append(f"{best}; not told from it: {len(near)} of {len(others)}")
    return net, *cells


def tables(nets: dict[str, dict[str, list[Record]]]) -> None:
    """All that is measured."""
    for net, records in nets.items():
        overview(net, records)
    heads = ("net", "best DiffID black", "best DiffID blurred", "smoothest")
    table("The best of each column", heads, [leaders(n, r) for n, r in nets.items()])
    beside(SMOOTH_TAYLOR, nets, ("AUTVC",))
    beside(SPECTRAL, nets, ("DiffID black", "DiffID blurred"))


# -------------------------------------------------------------------------------------- the run


def run(
    nets: dict[str, Callable[[], list[Scene]]], effort: Effort, clock: Clock, only_tables: bool
) -> None:
    """Measure what is missing, and print what is there, also where time runs out."""
    found: dict[str, list[Scene]] = {}
    try:
        for net, make in nets.items():
            found[net] = make()
            if not only_tables:
                measure(found[net], effort, clock)
    finally:
        records = {net: kept(s, effort) for net, s in found.items()}
        tables({net: r for net, r in records.items() if r})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--net", nargs="*", choices=NETS, default=NETS)
    add("--photos", type=int, nargs="*", default=[4, 2], help="of each net; usually 4 and 2")
    add("--minutes", type=float, default=9.0)
    add("--tables", action="store_true", help="measure nothing")
    add("--smoke", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ig.NotConverged)  # it is in the table
    warnings.filterwarnings("ignore", category=ResourceWarning)  # the loaders beside the data
    if args.smoke:
        with tempfile.TemporaryDirectory() as where:
            os.environ["INTGRAD_BENCH_CACHE"] = where
            return run({"tiny": lambda: list(scenes.tiny(2))}, SMALL, Clock(args.minutes), False)
    if not DATA.is_dir():
        sys.exit(f"no data at {DATA}; set INTGRAD_DATA to their folder.")
    counts = [*args.photos, *[args.photos[-1]] * len(args.net)]
    nets = {
        name: lambda n=name, c=count: list(scenes.photos(n, c))
        for name, count in zip(args.net, counts, strict=False)
    }
    try:
        run(nets, Effort(), Clock(args.minutes), args.tables)
    except OutOfTime:
        sys.exit(f"\nStopped after {args.minutes:g} minutes; run it again to go on from here.")


if __name__ == "__main__":
    main()

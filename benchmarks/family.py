"""The family side by side: every image method of the catalogue on the same photos, by four metrics.

    python benchmarks/family.py                            # SqueezeNet and MobileNet, as tables
    python benchmarks/family.py --net squeezenet --photos 4
    python benchmarks/family.py --tables                   # only what is kept
    python benchmarks/family.py --smoke                    # all of it, tiny

The probability of the predicted class is explained, in float32 on one thread, on photos of 224 x 224
pixels of [0, 1], from black where a method has a baseline. Maps are summed over colours with their
sign; sensitivities by absolute value (lab/maps.py says which). Insertion, deletion and their
difference (DiffID) are taken three times:

    black       pixel by pixel, black for what is absent; flatters what explains from black
    blocks      black too, but 16 x 16 pixels at a time, by the sum of their map
    blurred     pixel by pixel, the photo blurred (sigma 10) for what is absent; flatters blur

SqueezeNet says next to nothing of a photo of which one pixel in 25 is black, whichever they are: hence
the blocks. AUTVC is of magnitudes, and low is smooth.

A mean over a few photos orders few methods for sure. So each has a standard error, and two methods
are told apart by Student's t of their differences, photo by photo, at 95 %; of many such pairs one
in twenty is told apart by chance. Costs are medians. SmoothTaylor runs in the units of its paper, and
the search for its noise with fewer copies than there. Its paper explains logits: so for its order the
AUTVC of those maps is taken too.

Kept and resumed as in accuracy.py: INTGRAD_BENCH_CACHE, --minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

import torch
from lab import scenes
from lab.maps import METHODS, SMALL, Effort, timed
from lab.orders import Numbers, differing, error_of, ranked, tau, told_apart
from lab.page import table
from lab.published import SMOOTH_TAYLOR, SPECTRAL, Published
from lab.real import DATA
from lab.scenes import Scene
from lab.store import Clock, OutOfTime, noted, remembered
from torch import Tensor
from torch.nn import functional

import intgrad as ig
from intgrad.audit import metrics

PART = "family"
NETS = ("squeezenet", "mobilenet_v1")
LOGITS, OF_LOGIT = f"{PART}-logits", "AUTVC of the logit"
IN_PAPER = SMOOTH_TAYLOR.numbers
Record = dict[str, Any]
Records = dict[str, list[Record]]  # of each method one a photo


@dataclass(frozen=True)
class Removal:
    """What stands for absence, and how many pixels go together."""

    absent: Any
    block: int = 1

    def area(self, scene: Scene, heat: Tensor, kind: str, steps: int) -> float:
        """The area under a curve of `metrics.insertion` or `metrics.deletion`."""
        if self.block > 1:  # pixels of equal value go one after the other: block by block
            steps = heat.shape[1] // self.block
            means = functional.avg_pool2d(heat[None], self.block)
            heat = functional.interpolate(means, scale_factor=float(self.block))[0]
        how = {"target": scene.best, "steps": steps, "baseline": self.absent, "width": 8}
        return float(getattr(metrics, kind)(scene.model, scene.x, heat, **how).auc)


REMOVALS = {
    "black": Removal(ig.Zeros()),
    "blocks": Removal(ig.Zeros(), 16),
    "blurred": Removal(ig.Blurred(10.0)),
}


# -------------------------------------------------------------------------------------- measuring


def measured(scene: Scene, name: str, effort: Effort) -> Record:
    """One method on one photo."""
    found, seconds = timed(METHODS[name], scene, effort)
    scores = {
        f"{kind} {name}": removal.area(scene, found.map, kind, effort.steps)
        for name, removal in REMOVALS.items()
        for kind in ("insertion", "deletion")
    }
    scores |= {f"DiffID {n}": scores[f"insertion {n}"] - scores[f"deletion {n}"] for n in REMOVALS}
    scores["AUTVC"] = float(metrics.autvc(found.map))
    facts = {"evaluations": found.evaluations, "converged": found.converged, "seconds": seconds}
    return {"scores": scores, **facts}


def smoothness(scene: Scene, name: str, effort: Effort) -> Record:
    """AUTVC alone, of the map of the logit."""
    found = METHODS[name](replace(scene, kind=ig.Logit), effort)
    return {"scores": {OF_LOGIT: float(metrics.autvc(found.map))}}


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
        for name in IN_PAPER:
            clock.check()
            ask = lambda s=scene, n=name: smoothness(s, n, effort)  # noqa: E731
            remembered(LOGITS, key_of(scene, name, effort), ask)


def kept(found: Sequence[Scene], effort: Effort) -> Records:
    """The records of each method, of the photos on which everything was measured."""
    rows: list[dict[str, Record]] = []
    for scene in found:
        of = [r for part in (PART, LOGITS) for r in noted(part) if r["scene"] == scene.key]
        row: dict[str, Record] = {}
        for record in (r for r in of if r["effort"] == repr(effort)):
            before = row.get(record["method"], {"scores": {}})
            scores = {**before["scores"], **record["scores"]}
            row[record["method"]] = {**before, **record, "scores": scores}
        if row.keys() >= METHODS.keys() and all(OF_LOGIT in row[n]["scores"] for n in IN_PAPER):
            rows.append(row)
    return {name: [row[name] for row in rows] for name in METHODS} if rows else {}


def numbers(records: Records, score: str, names: Iterable[str] = METHODS) -> Numbers:
    """One score of some methods."""
    return {name: [r["scores"][score] for r in records[name]] for name in names}


# -------------------------------------------------------------------------------------------- tables


def overview(net: str, records: Records) -> None:
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


COLUMNS = [f"{kind} {n}" for n in REMOVALS for kind in ("insertion", "deletion", "DiffID")] + [
    "AUTVC"
]


def shown(records: Records, name: str, score: str) -> str:
    """A mean, and its standard error where it is compared."""
    (values,) = numbers(records, score, [name]).values()
    if score.startswith(("insertion", "deletion")):
        return f"{mean(values):.3f}"
    return f"{mean(values):.3f} ± {error_of(values):.3f}"


def beside(paper: Published, nets: dict[str, Records], scores: Iterable[str]) -> None:
    """Our order of the methods that a paper has too, and where it differs."""
    lines, turned = [], []
    for net, records in nets.items():
        for score in scores:
            own = numbers(records, score, paper.numbers)
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


def leaders(net: str, records: Records) -> tuple[str, ...]:
    """Which methods cannot be told apart from the best, by each score."""
    cells = []
    for score, low in (*((f"DiffID {n}", False) for n in REMOVALS), ("AUTVC", True)):
        own = numbers(records, score)
        best, *others = ranked(own, low)
        near = [n for n in others if not told_apart(own[best], own[n])]
        cells.append(f"{best}; not told from it: {len(near)} of {len(others)}")
    return net, *cells


def tables(nets: dict[str, Records]) -> None:
    """All that is measured."""
    for net, records in nets.items():
        overview(net, records)
    heads = ("net", *(f"best DiffID {n}" for n in REMOVALS), "smoothest")
    table("The best of each column", heads, [leaders(n, r) for n, r in nets.items()])
    beside(SMOOTH_TAYLOR, nets, ("AUTVC", OF_LOGIT))
    beside(SPECTRAL, nets, [f"DiffID {n}" for n in REMOVALS])


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

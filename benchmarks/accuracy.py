"""True error against evaluations and seconds: every rule of intgrad and of Captum, side by side.

    python benchmarks/accuracy.py zoo                        # small nets of every kind
    python benchmarks/accuracy.py real --net squeezenet --photos 2
    python benchmarks/accuracy.py stopping --runs 500        # do rules that stop by themselves hold?
    python benchmarks/accuracy.py seconds --net resnet56     # beside Captum's best batch
    python benchmarks/accuracy.py panels                     # an averaged panel beside a gradient
    python benchmarks/accuracy.py tables                     # all that is measured, as Markdown
    python benchmarks/accuracy.py plot                       # the curves, into benchmarks/
    python benchmarks/accuracy.py references --net resnet20  # the references alone
    python benchmarks/accuracy.py --smoke                    # all of it, tiny

Errors are relative L1 errors of the values, in float64, against references by two rules that share
no node (lab/reference.py). Zoo nets are trained here, from seeds; real ones are read from
INTGRAD_DATA, or ../shared/data. Weights, references and measurements are kept in
INTGRAD_BENCH_CACHE, or ~/.cache/intgrad-bench: what is there is not done again (but with --again),
a run stops after --minutes, and the next one goes on from there.

Evaluations of ours are all that `Attribution.evaluations` counts: nodes or panels, a gradient a row
for the floor, 0.45 for each forward at x and at the baseline. Checks of the model are not in it:
two gradients and a few forwards a call, whatever its rows. Captum's are its nodes alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from lab import curves, plot, real, reference, rules, seconds, tables, zoo
from lab.case import Case
from lab.store import Clock, OutOfTime

PICTURE = Path(__file__).with_name("accuracy")
RACES = ("resnet56", "squeezenet")
PANELS = ("mlp_digits", "resnet20", "resnet56", "mobilenet", "cnn_digits", "squeezenet",
          "relu_transformer", "trec_bert", "stories260k")  # fmt: skip


def cases(args: argparse.Namespace, usual: tuple[str, ...], rows: int | None = None) -> list[Case]:
    """The nets named, or the usual ones whose data are there."""
    found = []
    for name in args.net or usual:
        if name in zoo.ZOO:
            found.append(zoo.case(name, args.rows or rows))
        elif real.DATA.is_dir():
            found.append(real.case(name, args.rows or rows))
        else:
            print(f"{name}: no data at {real.DATA}; set INTGRAD_DATA to their folder.")
    return found


def grid(name: str, args: argparse.Namespace) -> tuple[int, ...]:
    """The numbers of nodes at which fixed rules are asked."""
    if args.nodes:
        return tuple(args.nodes)
    return rules.GRID if name in zoo.ZOO else real.REAL[name][2]


def prepare(case: Case, args: argparse.Namespace, clock: Clock) -> None:
    """References as good as asked for."""
    fine = 1e-4 if case.name in zoo.ZOO else 2e-4
    reference.prepare(case, args.goal or fine, args.limit, clock)
    if args.improve:
        reference.improve(case, clock, args.improve)


# --------------------------------------------------------------------------------------- parts


def references(args: argparse.Namespace, clock: Clock) -> None:
    """Refine the references, and say how well they are known."""
    lines = []
    for case in cases(args, (*zoo.ZOO, *real.REAL)):
        prepare(case, args, clock)
        for head in case.heads:
            states = [reference.State.load(reference.place(case, i)) for i in range(len(case))]
            best = [s.best(head) for s in states]
            how = "; ".join(sorted({b[2] for b in best}))
            worst = max(s.apart[head] for s in states), max(b[1] for b in best)
            lines.append((case.name, head, len(case), how, *(f"{w:.1e}" for w in worst)))
    columns = ("net", "target", "rows", "reference", "two rules apart, worst row", "doubt")
    tables.table("How well the references are known", columns, lines)


def measured(args: argparse.Namespace, clock: Clock, names: tuple[str, ...]) -> None:
    """Every rule at every size on these nets, and the tables."""
    chosen, found = rules.named(args.rules), cases(args, names)
    try:
        for case in found:
            prepare(case, args, clock)
            plan = curves.Plan(chosen, grid(case.name, args), args.tolerances, args.again)
            curves.measure(case, plan, clock)
            curves.floors(case)
    finally:
        tables.everything(curves.points([c.name for c in found]))


def small(args: argparse.Namespace, clock: Clock) -> None:
    """The zoo."""
    measured(args, clock, tuple(zoo.ZOO))


def trained(args: argparse.Namespace, clock: Clock) -> None:
    """Real nets."""
    measured(args, clock, tuple(real.REAL))


def stopping(args: argparse.Namespace, clock: Clock) -> None:
    """Rules that stop by themselves, on many rows of the zoo."""
    names = tuple(args.net or zoo.ZOO)
    rows = -(-args.runs // (2 * len(names)))
    chosen = [r for r in rules.named(args.rules) if r.stops]
    found = cases(args, names, rows)
    args.goal = args.goal or 3e-4
    for case in found:
        prepare(case, args, clock)
        curves.measure(case, curves.Plan(chosen, (), (1e-2, 1e-3), args.again), clock)
    points = curves.points([c.name for c in found])
    tables.stopped(points)
    tables.costs(points)
    tables.estimates(points)


def raced(args: argparse.Namespace, clock: Clock) -> None:
    """Seconds to the error of GL-50, beside Captum with its best internal batch."""
    for case in cases(args, RACES):
        for head in case.heads:
            seconds.race(case, head, args.pairs, clock)


def averaged(args: argparse.Namespace, clock: Clock) -> None:
    """Seconds of an averaged panel over those of a gradient."""
    seconds.panels(cases(args, PANELS, 2), args.panels, args.pairs, clock)


def assembled(args: argparse.Namespace, clock: Clock) -> None:
    """All tables."""
    tables.everything(curves.points(args.net))


def drawn(args: argparse.Namespace, clock: Clock) -> None:
    """The curves, as PNG and SVG."""
    plot.draw(curves.points(args.net), tuple(args.heads), Path(args.out))


PARTS = {
    "zoo": small,
    "real": trained,
    "stopping": stopping,
    "seconds": raced,
    "panels": averaged,
    "tables": assembled,
    "plot": drawn,
    "references": references,
}


def smoke(args: argparse.Namespace) -> None:
    """Every part, on two small nets and a cache that is thrown away."""
    with tempfile.TemporaryDirectory() as where:
        os.environ["INTGRAD_BENCH_CACHE"] = where
        args.net, args.rows, args.pairs, args.panels = ["mlp_cancer", "gelu_mlp"], 2, 1, 4
        args.nodes, args.limit, args.out = [5, 20, 50, 100], 1024, str(Path(where) / "accuracy")
        for name, part in PARTS.items():
            print(f"\n## {name}")
            part(args, Clock(args.minutes))


def options() -> argparse.ArgumentParser:
    """What may be said on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("part", nargs="?", choices=PARTS)
    add("--net", nargs="*", metavar="NET", help=f"of {', '.join([*zoo.ZOO, *real.REAL])}")
    rows = ("--rows", "--photos", "--images", "--questions", "--prompts")
    add(*rows, type=int, dest="rows", help="rows of each net")
    add("--rules", nargs="*", metavar="WORD", help="only rules whose names hold one of these words")
    add("--nodes", nargs="*", type=int, help="sizes of fixed rules, in place of the usual grid")
    add("--tolerances", nargs="*", type=float, default=rules.TOLERANCES)
    add("--minutes", type=float, default=9.0)
    add("--again", action="store_true", help="measure anew what is already there")
    add("--goal", type=float, help="how far apart the two rules of a reference may be")
    add("--limit", type=int, default=2**15, help="panels at which a reference is left as it is")
    add("--improve", type=int, default=0, metavar="PANELS", help="better references by our own")
    add("--runs", type=int, default=500)
    add("--pairs", type=int, default=3, help="turns of every contestant")
    add("--panels", type=int, default=128)
    add("--heads", nargs="*", default=["logit", "probability"])
    add("--out", default=str(PICTURE))
    add("--smoke", action="store_true")
    return parser


def main() -> None:
    parser = options()
    args = parser.parse_args()
    if not (args.part or args.smoke):
        parser.error(f"name a part: {', '.join(PARTS)}; or --smoke.")
    warnings.filterwarnings("ignore", category=ResourceWarning)  # the loaders beside the data
    # torch, in its own forward mode
    warnings.filterwarnings("ignore", ".torch.jit.script. is deprecated", DeprecationWarning)
    torch.backends.mha.set_fastpath_enabled(False)  # one arithmetic, with and without gradients
    try:
        smoke(args) if args.smoke else PARTS[args.part](args, Clock(args.minutes))
    except OutOfTime:
        sys.exit(f"\nStopped after {args.minutes:g} minutes; run it again to go on from here.")


if __name__ == "__main__":
    main()

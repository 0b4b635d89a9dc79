"""True error against evaluations and seconds: every rule of intgrad and of Captum, side by side.

    python benchmarks/accuracy.py zoo                            # small nets of every kind
    python benchmarks/accuracy.py real --net squeezenet --photos 2
    python benchmarks/accuracy.py stopping --runs 500            # do self-stopping rules keep their word?
    python benchmarks/accuracy.py seconds --net resnet56         # beside Captum's best batch
    python benchmarks/accuracy.py panels                         # an averaged panel beside a gradient
    python benchmarks/accuracy.py tables                         # all that is measured, as Markdown
    python benchmarks/accuracy.py plot                           # the curves, into benchmarks/
    python benchmarks/accuracy.py --smoke                        # all of it, tiny

Errors are relative L1 errors of the values, in float64, against references by two rules that share
no node (lab/reference.py). Zoo nets are trained here, from seeds; real ones are read from
INTGRAD_DATA, or ../shared/data. Weights, references and measurements are kept in
INTGRAD_BENCH_CACHE, or ~/.cache/intgrad-bench: what is there is not done again, a run stops after
--minutes, and the next one goes on from there.

Evaluations of ours are all that `Attribution.evaluations` counts: nodes or panels, a gradient a row
for the floor, 0.45 for each forward at x and at the baseline ("alone": without these three).
Checks of the model are not in it: two gradients and a forward a call, whatever its rows. Captum's
are its nodes alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings

import torch
from lab import curves, real, reference, rules, zoo
from lab.case import Case
from lab.store import Clock, OutOfTime

import intgrad as ig


def cases(args: argparse.Namespace) -> list[Case]:
    """The nets named, with so many rows."""
    known = [*zoo.ZOO, *real.REAL] if args.net is None else args.net
    found = []
    for name in known:
        make = zoo.case if name in zoo.ZOO else real.case
        if name in zoo.ZOO or real.DATA.is_dir():
            found.append(make(name, args.rows))
        elif args.net is not None:
            sys.exit(f"{real.DATA} is not there; set INTGRAD_DATA to the folder of models and inputs.")
    return found


def references(args: argparse.Namespace, clock: Clock) -> None:
    """Refine the references, and say how well they are known."""
    print("| net | head | rows | reference | two rules apart, worst | doubt, worst |")
    print("|---|---|---|---|---|---|")
    for case in cases(args):
        reference.prepare(case, args.goal, args.limit, clock)
        if args.improve:
            reference.improve(case, clock, args.improve)
        for head in case.heads:
            states = [reference.State.load(reference.place(case, i)) for i in range(len(case))]
            how = ", ".join(sorted({s.how[head] for s in states}))
            apart = max(s.apart[head] for s in states)
            doubt = max(s.doubt[head] for s in states)
            print(f"| {case.name} | {head} | {len(case)} | {how} | {apart:.1e} | {doubt:.1e} |", flush=True)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("part", nargs="?", choices=PARTS, help="what to do")
    parser.add_argument("--net", nargs="*", help=f"of {', '.join([*zoo.ZOO, *real.REAL])}")
    rows = ["--rows", "--photos", "--images", "--questions", "--prompts"]
    parser.add_argument(*rows, type=int, dest="rows", help="rows of each net")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--goal", type=float, default=1e-4, help="how far apart two rules may be")
    parser.add_argument("--limit", type=int, default=2**15, help="panels at which they give up")
    parser.add_argument("--improve", type=int, default=0, metavar="PANELS")
    return parser


PARTS = {"references": references}


def main() -> None:
    args = options().parse_args()
    torch.backends.mha.set_fastpath_enabled(False)  # one arithmetic, with and without gradients
    try:
        PARTS[args.part](args, Clock(args.minutes))
    except OutOfTime:
        print(f"\nStopped after {args.minutes:g} minutes; run it again to go on from here.")


if __name__ == "__main__":
    main()

"""Inside a network: every layer from one sweep, regions, memory, sums; beside Captum and the papers' rules.

    python benchmarks/inside.py                  # all of it, as Markdown tables
    python benchmarks/inside.py layers captum    # some of it
    python benchmarks/inside.py --smoke          # small random nets, in seconds

layers    Conductance of every residual block of a CIFAR-10 ResNet-56 from one sweep, beside one run of
          Captum's LayerConductance a block.
regional  The neurons behind a region, beside the finite differences of the paper's code (ResNet-20).
memory    Peak memory of a call against the number of nodes, in processes of their own (ResNet-20; Linux).
sums      What the values of every layer of four trained nets add up to.
captum    Each layer method of Captum beside ours: the same to rounding, converging, or another number.

Evaluations are rows through the network with a backward pass. Gauss points carry a tangent through the
forward pass as well, which is counted as one more: 2 a node. An even number of panels asks half as many
again, to know its error. Errors are relative L1 errors against a reference of ours in float64, whose own
doubt is printed. Trained nets are read from INTGRAD_DATA, or
from ../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from lab.inner import (
    PUSHED,
    Case,
    averaged,
    counted,
    errors,
    gauss,
    needed,
    panelled,
    resnet,
    spent,
    stated,
    table,
    toy,
)
from torch import Tensor, nn

import intgrad as ig


def layers(case: Case, steps: Sequence[int], nodes: Sequence[int]) -> None:
    """All blocks in one sweep, and in as many runs of Captum."""
    sweep: Callable[[Any], Any] = lambda rule: ig.attribute(  # noqa: E731
        case.net, case.x, at=list(case.layers), path=PUSHED, quadrature=rule, **case.how
    )
    values = lambda found: {name: a.values for name, a in found.items()}  # noqa: E731
    true = values(sweep(averaged(case.finest)))
    doubts = [
        errors(values(sweep(rule)), true)
        for rule in (averaged(case.finest // 2), gauss(case.points))
    ]
    rows, k = len(case.x), len(case.layers)
    print(
        f"{case.name}, {rows} rows, {k} blocks, {case.x.dtype}. The reference, {case.finest} panels, is"
    )
    print(
        f"{max(doubts[0]):.1e} from half as many, {max(doubts[1]):.1e} from {case.points} Gauss points.\n"
    )
    curve: list[tuple[float, float]] = []
    captum: list[tuple[int, float, float]] = []

    def lines() -> Iterable[Sequence[Any]]:
        for name, rule, cost in (
            ("ours, panels", averaged, panelled),
            ("ours, Gauss", gauss, spent),
        ):
            for n in nodes:
                begin = time.perf_counter()
                found: Any = sweep(rule(n))
                seconds, wrong = time.perf_counter() - begin, errors(values(found), true)
                evaluations = cost(found[case.layers[0]])
                if rule is averaged:
                    curve.append((evaluations, sum(wrong) / len(wrong)))
                yield name, n, f"{evaluations:.0f}", *stated(wrong), f"{seconds:.1f}"
        for n in steps:
            theirs, through, seconds = counted(case.net, partial(layer_by_layer, case, n))
            wrong = errors(theirs, true)
            captum.append((n, through / rows, sum(wrong) / len(wrong)))
            yield (
                "Captum, a run a block",
                n,
                f"{through / rows:.0f}",
                *stated(wrong),
                f"{seconds:.1f}",
            )

    table("rule | n | evaluations a row | mean error | worst | seconds", lines())
    table(
        "Captum's n | its mean error | its evaluations | ours at that error | times fewer",
        [fewer(n, cost, e, needed(curve, e)) for n, cost, e in captum],
    )


def fewer(n: int, cost: float, error: float, need: Any) -> tuple[Any, ...]:
    """What Captum spends, and what we do for the same error."""
    return n, f"{error:.1e}", f"{cost:.0f}", need, f"{cost / need.number:.0f}"


def layer_by_layer(case: Case, steps: int) -> dict[str, Tensor]:
    """Captum's conductance, one layer after the other."""
    from captum.attr import LayerConductance

    modules, found = dict(case.net.named_modules()), {}
    for name in case.layers:
        ask: Any = LayerConductance(case.net, modules[name]).attribute
        how = {"baselines": case.start, "target": case.how["target"], "n_steps": steps}
        found[name] = ask(case.x, internal_batch_size=64, **how).detach()
    return found


PARTS = ("layers", "regional", "memory", "sums", "captum")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--smoke", action="store_true", help="small random nets")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--peak", nargs=2, metavar=("WHAT", "NODES"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ig.NotConverged)
    warnings.filterwarnings("ignore", ".torch.jit.script.", DeprecationWarning)  # torch's own
    make = toy if args.smoke else resnet
    if args.peak:
        from lab.peaks import peak

        case = toy(1) if args.smoke else resnet(1, 20)
        print(peak(case, args.peak[0], int(args.peak[1])))
        return
    for part in args.parts or PARTS:
        print(f"## {part}\n", flush=True)
        run(part, make, args.rows, args.smoke)


def run(part: str, make: Callable[[int], Case], rows: int, smoke: bool) -> None:
    """One part."""
    steps = (4, 8) if smoke else (10, 20, 50)
    nodes = (4, 16, 64) if smoke else (5, 10, 20, 50, 100, 200)
    if part == "layers":
        layers(make(rows), steps, nodes)
    elif part == "regional":
        at = "2" if smoke else "layer2"
        from lab.boxes import regional, seconds_of_regions

        case = toy(rows) if smoke else resnet(rows, 20)
        regional(case, at, (16,) if smoke else (16, 64, 256), nodes)
        if not smoke:
            regional(toy(rows, nn.functional.gelu), "2", (16, 64, 256), (2, 3, 4, 6, 8, 12))
        seconds_of_regions(case, at)
    elif part == "memory":
        from lab.peaks import peaks

        peaks((4, 16) if smoke else (20, 200), smoke)
    elif part == "sums":
        from lab.cuts import sums

        sums(smoke)
    else:
        from lab.parity import parity

        parity()


if __name__ == "__main__":
    main()

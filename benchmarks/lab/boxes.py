"""The neurons behind a region, ours and by the paper's rule: error, evaluations, processor seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch

import intgrad as ig

from .inner import PUSHED, Case, gauss, needed, off, spent, stated, table


def regional(case: Case, at: str, steps: Sequence[int], nodes: Sequence[int]) -> None:
    """The neurons behind a box, ours and as published."""
    box = torch.zeros(case.x.shape[-2:], dtype=torch.bool)
    side = len(box) // 4
    box[side : 2 * side, side : 3 * side] = True
    ask = lambda rule: ig.inside.regional(  # noqa: E731
        case.net, case.x, at=at, region=box, quadrature=rule, **case.how
    )
    true = ask(gauss(case.points)).values
    doubt = max(off(ask(gauss(case.points // 2)).values, true))
    print(
        f"{case.name}, {len(case.x)} rows, neurons of {at}. The reference, {case.points} Gauss points,"
    )
    print(f"is {doubt:.1e} from half as many.\n")
    curve: list[tuple[float, float]] = []
    published: list[tuple[int, float, float]] = []

    def lines() -> Iterable[Sequence[Any]]:
        for name, rule, n in [
            *(("ours, Gauss", gauss(n), n) for n in nodes),
            *(("as published", ig.inside.PublishedRule(n), n) for n in steps),
        ]:
            begin = time.perf_counter()
            a = ask(rule)
            wrong, seconds = off(a.values, true), time.perf_counter() - begin
            mean = sum(wrong) / len(wrong)
            if name == "as published":  # a gradient a step, and one a region
                cost = float(a.evaluations.double().mean())
                published.append((n, cost, mean))
            else:
                cost = spent(a)
                curve.append((cost, mean))
            yield name, n, f"{cost:.0f}", *stated(wrong), f"{seconds:.1f}"

    table("rule | n | evaluations a row | mean error | worst | seconds", lines())
    last, cost, wrong = published[-1]
    for what, level in ((f"the error of {last} published steps", wrong), ("1 %", 0.01)):
        ours = needed(curve, level)
        times = cost / ours.number
        print(
            f"To {what} ({level:.1e}): {ours} evaluations, {times:.1f} times fewer than {cost:.0f}."
        )
    print()


def seconds_of_regions(case: Case, at: str, nodes: int = 16) -> None:
    """Processor seconds of integrated gradients, conductance, one region and four, at equal nodes."""
    rule, half = gauss(nodes), case.x.shape[-1] // 2
    boxes = torch.zeros(4, *case.x.shape[-2:], dtype=torch.bool)
    for i, box in enumerate(boxes):
        box[(i // 2) * half :][:half, (i % 2) * half :][:, :half] = True
    whole = partial(ig.attribute, case.net, case.x, quadrature=rule, **case.how)
    part = partial(ig.inside.regional, case.net, case.x, at=at, quadrature=rule, **case.how)
    calls = {
        "integrated gradients": whole,
        "conductance": partial(whole, at=at, path=PUSHED),
        "one region": partial(part, region=boxes[0]),
        "four regions": partial(part, region=list(boxes)),
    }
    best = dict.fromkeys(calls, math.inf)
    for _ in range(4):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            best[name] = min(best[name], time.process_time() - begin)
    base = best["integrated gradients"]
    print(f"{case.name}, {len(case.x)} rows, {nodes} nodes, best of four\n")
    table(
        "what | processor seconds | times integrated gradients",
        [(name, f"{s:.2f}", f"{s / base:.1f}") for name, s in best.items()],
    )

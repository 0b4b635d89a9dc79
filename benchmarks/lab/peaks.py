"""Peak memory of a call inside a network, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import intgrad as ig

from . import memory

INSIDE = Path(__file__).resolve().parents[1] / "inside.py"


def calls(case: Any, nodes: int) -> dict[str, Callable[[], Any]]:
    """What is measured."""
    rule, how = ig.GaussLegendre(nodes, rtol=float("inf")), case.how
    region = torch.ones(case.x.shape[-2:], dtype=torch.bool)
    ask = lambda at: ig.attribute(  # noqa: E731
        case.net, case.x, at=at, path=ig.PushedForward(), quadrature=rule, **how
    )
    part = lambda: ig.inside.regional(  # noqa: E731
        case.net, case.x, at=case.layers[-1], region=region, quadrature=rule, **how
    )
    return {
        "conductance of one block": lambda: ask(case.layers[-1]),
        "conductance of all blocks": lambda: ask(list(case.layers)),
        "one region": part,
    }


NAMES = ("conductance of one block", "conductance of all blocks", "one region")


def peak(case: Any, what: str, nodes: int) -> int:
    """Peak resident bytes of one call, in this process."""
    return memory.peak(calls(case, nodes)[what])


def in_child(what: str, nodes: int, smoke: bool) -> int:
    """The peak, measured in a process of its own."""
    return memory.in_child(INSIDE, *(["--smoke"] if smoke else []), "--peak", what, nodes)


def peaks(sizes: tuple[int, ...], smoke: bool) -> None:
    """A line a call, a column a number of nodes."""
    columns = " | ".join(f"{n} nodes" for n in sizes)
    print(
        f"| peak memory of a call, MiB | {columns} | most / fewest |\n|{'---|' * (len(sizes) + 2)}"
    )
    for what in NAMES:
        found = [in_child(what, n, smoke) / 2**20 for n in sizes]
        cells = " | ".join(f"{mib:.0f}" for mib in found)
        print(f"| {what} | {cells} | {found[-1] / max(found[0], 1e-9):.2f} |", flush=True)
    print()

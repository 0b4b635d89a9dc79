"""Peak memory of a call inside a network, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import intgrad as ig

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
    """Peak resident bytes of one call above those before it, in this process (Linux)."""
    from overhead import resident

    run = calls(case, nodes)[what]
    before, most, done = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.002):
            most = max(most, resident())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        run()
    finally:
        done.set()
        thread.join()
    return max(most, resident()) - before


def in_child(what: str, nodes: int, smoke: bool) -> int:
    """The peak, measured in a process of its own."""
    argv = [
        sys.executable,
        str(INSIDE),
        *(["--smoke"] if smoke else []),
        "--peak",
        what,
        str(nodes),
    ]
    # memory that is freed goes back at once, so that the peak is what is held and not what was
    plain = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    env = {**os.environ, **plain, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=600, env=env)
    return int(done.stdout.strip().splitlines()[-1])


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

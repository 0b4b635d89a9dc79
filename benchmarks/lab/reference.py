"""The truth, or near it: integrals by hand, in float64, by two rules that share no node.

Kinked nets: the trapezoid rule on N panels and the midpoint rule on the same panels. Their mean is
the trapezoid rule on 2 N panels, so each round keeps all work of the last. Their relative L1
distance `apart` says how well the mean is known: for gradients that jump at random places the
mean's own error is apart / 3.5 (root mean square), and `doubt` is apart / 2. Smooth nets: Gauss
points on 32 and on 48 panels, and doubt is their distance. Nothing here is code under test.

Where the library has rules that are far more exact, `improve` puts their answer in the place of
the mean, if it lies within the distance that the two rules have from each other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import intgrad as ig

from . import store
from .case import HEADS, Case
from .rules import asked
from .store import Clock, Tensors

FIRST = 64  # panels of the first round
BLOCK = 1024  # nodes between two looks at the clock
SAVE = 20.0  # seconds between two savings of a round that is not complete


@dataclass
class State:
    """What is known of one row, a head: `total` by `panels` panels, and how far two rules are apart.

    `part` sums the first `done` midpoints of the next round. `better` is a far more exact answer,
    with its `doubts` and `whence`, where there is one.
    """

    total: Tensors = field(default_factory=dict)
    part: Tensors = field(default_factory=dict)
    better: Tensors = field(default_factory=dict)
    apart: dict[str, float] = field(default_factory=dict)
    doubt: dict[str, float] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)
    doubts: dict[str, float] = field(default_factory=dict)
    whence: dict[str, str] = field(default_factory=dict)
    panels: int = 0
    done: int = 0

    @staticmethod
    def load(path: Path) -> State:
        tensors, facts = store.read(path)
        state = State(**facts)
        for name, tensor in tensors.items():
            kind, head = name.split(".")
            getattr(state, kind)[head] = tensor
        return state

    def save(self, path: Path) -> None:
        kinds = {"total": self.total, "part": self.part, "better": self.better}
        tensors = {f"{k}.{head}": t for k, found in kinds.items() for head, t in found.items()}
        names = ("apart", "doubt", "how", "doubts", "whence", "panels", "done")
        store.write(path, tensors, **{n: getattr(self, n) for n in names})

    def best(self, head: str) -> tuple[Tensor, float, str]:
        """Values, doubt, and how they were found."""
        if self.doubts.get(head, math.inf) < self.doubt[head]:
            return self.better[head], self.doubts[head], self.whence[head]
        return self.total[head], self.doubt[head], self.how[head]


def place(case: Case, row: int) -> Path:
    """Where the reference of a row is kept."""
    return store.folder("references") / f"{case.name}-{case.keys[row]}.safetensors"


def known(case: Case, head: str) -> tuple[Tensor, list[float]] | None:
    """Values (rows, ...) and doubt of every row; None where some row has none."""
    states = [State.load(place(case, row)) for row in range(len(case))]
    if not all(head in s.doubt for s in states):
        return None
    found = [s.best(head) for s in states]
    return torch.stack([values for values, *_ in found]), [doubt for _, doubt, _ in found]


def prepare(case: Case, goal: float, limit: int, clock: Clock) -> None:
    """Refine the references of all rows until two rules are within `goal`, or at `limit` panels."""
    for row in range(len(case)):
        path = place(case, row)
        one = case.take([row])
        if case.kinked:
            nested(one, path, goal, limit, clock)
        elif not path.is_file():
            clock.check()
            gauss(one, path)


# ----------------------------------------------------------------------------------- two rules


def nested(case: Case, path: Path, goal: float, limit: int, clock: Clock) -> None:
    """Trapezoid and midpoint rules on N, 2 N, 4 N, ... panels; kept from block to block."""
    state = State.load(path)
    if not state.panels:
        weights = torch.full((FIRST + 1,), 1 / FIRST, dtype=torch.float64)
        weights[[0, -1]] /= 2
        edges = torch.linspace(0, 1, FIRST + 1, dtype=torch.float64)
        state = State(total=integrate(case, edges, weights), panels=FIRST)
    saved = time.monotonic()
    while state.panels < limit and not (state.apart and max(state.apart.values()) <= goal):
        clock.check()
        step(case, state)
        if time.monotonic() > saved + SAVE:
            state.save(path)
            saved = time.monotonic()
    state.save(path)


def step(case: Case, state: State) -> None:
    """One more block of midpoints; where they are complete, one more round."""
    n, to = state.panels, min(state.done + BLOCK, state.panels)
    t = (torch.arange(state.done, to, dtype=torch.float64) + 0.5) / n
    more = integrate(case, t, torch.full_like(t, 1 / n))
    state.part = {h: state.part[h] + v if state.part else v for h, v in more.items()}
    state.done = to
    if to < n:
        return
    state.apart = {h: distance(state.part[h], v) for h, v in state.total.items()}
    state.doubt = {h: a / 2 for h, a in state.apart.items()}
    state.total = {h: (state.part[h] + v) / 2 for h, v in state.total.items()}
    state.how = dict.fromkeys(state.total, f"trapezoid and midpoint, {n} panels each")
    state.panels, state.done, state.part = 2 * n, 0, {}


def gauss(case: Case, path: Path) -> None:
    """Sixteen Gauss points on each of 32 panels, and on each of 48."""
    coarse, fine = (integrate(case, *composite(panels, 16)) for panels in (32, 48))
    apart = {h: distance(coarse[h], v) for h, v in fine.items()}
    how = dict.fromkeys(fine, "Gauss, 16 points on each of 32 and of 48 panels")
    State(fine, apart=apart, doubt=apart, how=how).save(path)


def composite(panels: int, points: int) -> tuple[Tensor, Tensor]:
    """Gauss points and weights on equal panels of [0, 1]."""
    t, w = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(points))
    t = (torch.arange(panels)[:, None] + (t + 1) / 2) / panels
    return t.flatten(), (w / 2 / panels).repeat(panels)


def distance(a: Tensor, b: Tensor) -> float:
    """Relative L1 distance."""
    return float((a - b).abs().sum() / b.abs().sum())


def integrate(case: Case, t: Tensor, weight: Tensor) -> Tensors:
    """Sum over nodes of weight x gradient x (end - start), of a case of one row, for every head."""
    total: Tensors = {}
    delta = (case.features - case.start)[0]
    for part in parts(len(t), case.width):
        for head, gradient in gradients(case, t[part]).items():
            along = weight[part].to(gradient) @ gradient.flatten(1)
            total[head] = total.get(head, 0) + along.reshape(delta.shape) * delta
    return total


def parts(n: int, width: int) -> Iterator[slice]:
    """Slices of at most `width`."""
    return (slice(i, min(i + width, n)) for i in range(0, n, width))


def gradients(case: Case, t: Tensor) -> Tensors:
    """Gradients (nodes, ...) of every head, from one forward."""
    share = t.to(case.features).reshape(-1, *(1,) * (case.features.ndim - 1))
    points = (case.start + share * (case.features - case.start)).requires_grad_()
    given = [g.expand(len(t), *g.shape[1:]) for g in case.given.values()]
    scores = case.scores(case.model, points, *given)
    values = {h: HEADS[h](scores)[:, case.classes[0]].sum() for h in case.heads}
    found = {}
    for head, value in values.items():
        (found[head],) = torch.autograd.grad(value, points, retain_graph=True)
    return found


# ------------------------------------------------------------------- what is far more exact


def improve(case: Case, clock: Clock, panels: int) -> None:
    """Replace the mean of two rules by a far more exact answer that lies within their distance."""
    for row in range(len(case)):
        path = place(case, row)
        state, one = State.load(path), case.take([row])
        for head in [h for h in state.doubt if state.best(h)[1] > 1e-6]:
            clock.check()
            better = exact(one, head) or averaged(one, head, panels)
            if better is None or better[1] >= state.best(head)[1]:
                continue
            apart = distance(better[0], state.total[head])
            if apart > state.apart[head] + better[1]:
                print(f"{case.name}, row {row}, {head}: {better[2]} is {apart:.1e} off: not taken")
                continue
            state.better[head], state.doubts[head], state.whence[head] = better
            state.save(path)


def exact(case: Case, head: str) -> tuple[Tensor, float, str] | None:
    """All linear regions, where the library finds them."""
    if not (hasattr(ig, "Exact") and case.linear):
        return None
    rule: Any = getattr(ig, "Exact")()  # noqa: B009
    try:
        a = asked(case, head, rule)
    except ig.IntgradError:
        return None
    return a.values[0], max(float(a.error), 1e-12), "every linear region"


def averaged(case: Case, head: str, panels: int) -> tuple[Tensor, float, str] | None:
    """Averaged panels, whose doubt is their distance from those on half as many."""
    if not (hasattr(ig, "PanelAveraged") and case.kinked):
        return None
    rule: Any = getattr(ig, "PanelAveraged")  # noqa: B009
    try:
        fine, coarse = (asked(case, head, rule(n)).values[0] for n in (panels + 1, panels // 2 + 1))
    except ig.IntgradError:
        return None
    return fine, distance(coarse, fine), f"{panels + 1} averaged panels"

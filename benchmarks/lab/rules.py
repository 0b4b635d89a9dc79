"""The rules that are compared: Captum's, ours, and the habits of today."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from captum.attr import IntegratedGradients
from torch import Tensor

import intgrad as ig

from .case import HEADS, Case

GRID = (2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256, 320, 400,
        512, 640, 800, 1000)  # fmt: skip
TOLERANCES = (0.03, 1e-2, 3e-3, 1e-3)
T = TypeVar("T")
HABIT = 5120  # nodes at which doubling gives up
_BARE: dict[str, float] = {}  # evaluations that no node is, by net


@dataclass(frozen=True)
class Answer:
    """Values (rows, ...); for each row its evaluations, its own estimate of the error, its verdict."""

    values: Tensor
    evaluations: list[float]
    estimate: list[float] | None = None
    converged: list[bool] | None = None
    bare: float = 0.0  # of the evaluations: f(x), f(baseline), the floor's gradient


@dataclass(frozen=True)
class Rule:
    """A rule by size: how many nodes (or panels), or the tolerance at which it stops by itself."""

    name: str
    ask: Callable[[Case, str, Any], Answer]
    stops: bool = False
    fits: Callable[[Case], bool] = lambda case: True


# -------------------------------------------------------------------------------------- Captum


def captum(method: str, case: Case, head: str, nodes: int, width: int | None = None) -> Answer:
    """Captum's IntegratedGradients; its evaluations are its nodes."""

    def forward(z: Tensor, *given: Tensor) -> Tensor:
        return HEADS[head](case.scores(case.model, z, *given))

    values = IntegratedGradients(forward).attribute(
        case.features, case.start, target=case.classes,
        additional_forward_args=tuple(case.given.values()) or None,
        n_steps=nodes, method=method, internal_batch_size=max(width or case.width, len(case)),
    )  # fmt: skip
    assert isinstance(values, Tensor)
    return Answer(values.detach(), [float(nodes)] * len(case))


def doubling(times: int, case: Case, head: str, tolerance: float) -> Answer:
    """Today's habit: Captum's Gauss rule with 5, 10, 20, ... nodes, until the residual is small.

    Relative to f(x) - f(baseline), and `times` in a row.
    """
    gain = difference(case, head)
    values = torch.zeros_like(case.features)
    spent, passed = torch.zeros(len(case)), torch.zeros(len(case))
    nodes, open_ = 5, list(range(len(case)))
    while open_ and nodes <= HABIT:
        found = captum("gausslegendre", case.take(open_), head, nodes)
        gap = (found.values.flatten(1).sum(1) - gain[open_]).abs() / gain[open_].abs()
        values[open_], spent[open_] = found.values, spent[open_] + nodes
        passed[open_] = torch.where(gap < tolerance, passed[open_] + 1, 0.0)
        open_ = [i for i in open_ if passed[i] < times]
        nodes *= 2
    return Answer(values, spent.tolist(), None, [i not in open_ for i in range(len(case))])


@torch.no_grad()
def difference(case: Case, head: str) -> Tensor:
    """f(x) - f(baseline)."""
    given = case.given.values()
    ends = [HEADS[head](case.scores(case.model, z, *given)) for z in (case.features, case.start)]
    return (ends[0] - ends[1]).gather(1, case.classes[:, None])[:, 0]


# ---------------------------------------------------------------------------------------- ours


def ours(make: Callable[[Any], Any], case: Case, head: str, size: Any) -> Answer:
    """Ours: everything but the checks of the model is counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ig.NotConverged)
        a = case.attribute(head, make(size))
    evaluations, estimate = ([float(x) for x in t.flatten()] for t in (a.evaluations, a.error))
    return Answer(a.values, evaluations, estimate, a.converged.flatten().tolist(), bare(case))


def bare(case: Case) -> float:
    """Evaluations of a row that no node is: the floor's gradient, and forwards at both ends."""
    if case.weights not in _BARE:
        rule = ig.GaussLegendre(3, rtol=float("inf"))
        a = case.take([0]).attribute(case.heads[0], rule)
        _BARE[case.weights] = float(a.evaluations) - 3
    return _BARE[case.weights]


def fixed(name: str) -> Callable[[Any], Any]:
    """A rule of the library by size."""
    return lambda n: getattr(ig, name)(n)


def stopping(name: str, **more: Any) -> Callable[[Any], Any]:
    """A rule of the library by tolerance."""
    return lambda rtol: getattr(ig, name)(rtol=rtol, **more)


def catalogue() -> list[Rule]:
    """All rules that this version of the library has, after Captum's and the habits."""
    found = [
        Rule("Captum Gauss-Legendre", partial(captum, "gausslegendre")),
        Rule("Captum trapezoid", partial(captum, "riemann_trapezoid")),
        Rule("Captum midpoint", partial(captum, "riemann_middle")),
        Rule("GL doubling, gap", partial(doubling, 1), stops=True),
        Rule("GL doubling, gap twice", partial(doubling, 2), stops=True),
        Rule("Gauss-Legendre", partial(ours, fixed("GaussLegendre"))),
        Rule("midpoint", partial(ours, fixed("Midpoint"))),
        Rule("trapezoid", partial(ours, fixed("Trapezoid"))),
    ]
    coming = [
        ("panels", "PanelAveraged", False),
        ("panels, self-stopping", "PanelAveraged", True),
        ("adaptive", "Adaptive", True),
        ("automatic", "Automatic", True),
    ]
    for name, public, stops in coming:
        if hasattr(ig, public):
            make = stopping(public) if stops else fixed(public)
            found.append(Rule(name, partial(ours, make), stops))
    doubled = stopping("GaussLegendre", nodes=12, max_nodes=HABIT)
    found.append(Rule("Gauss-Legendre, doubled", partial(ours, doubled), stops=True))
    if hasattr(ig, "Exact"):
        exact = partial(ours, lambda _: getattr(ig, "Exact")())  # noqa: B009
        small = lambda case: case.linear and case.features[0].numel() < 100  # noqa: E731
        found.append(Rule("exact", exact, stops=True, fits=small))
    return found


def named(names: Sequence[str] | None) -> list[Rule]:
    """Rules whose name holds one of these words; all where there are none."""
    return [r for r in catalogue() if not names or any(n in r.name for n in names)]


def timed(run: Callable[[], T]) -> tuple[T, float]:
    """An answer, and its seconds."""
    begin = time.perf_counter()
    answer = run()
    return answer, time.perf_counter() - begin

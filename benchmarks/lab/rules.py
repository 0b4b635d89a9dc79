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
    doubles: bool = False
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
    while open_ and nodes <= case.most:
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


def asked(case: Case, head: str, rule: Any, **call: Any) -> ig.Attribution:
    """An attribution, converged or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ig.NotConverged)
        return case.attribute(head, rule, **call)


def ours(rule: Any, case: Case, head: str) -> Answer:
    """Ours: everything but the checks of the model is counted."""
    a = asked(case, head, rule)
    evaluations, estimate = ([float(x) for x in t.flatten()] for t in (a.evaluations, a.error))
    return Answer(a.values, evaluations, estimate, a.converged.flatten().tolist(), bare(case))


def bare(case: Case) -> float:
    """Evaluations of a row that no node is: the floor's gradient, and forwards at both ends."""
    if case.weights not in _BARE:
        a = asked(case.take([0]), case.heads[0], ig.GaussLegendre(3))
        _BARE[case.weights] = float(a.evaluations) - 3
    return _BARE[case.weights]


def fixed(name: str, case: Case, head: str, nodes: int) -> Answer:
    """A rule of the library with so many nodes."""
    return ours(getattr(ig, name)(nodes), case, head)


def stopping(name: str, case: Case, head: str, tolerance: float) -> Answer:
    """A rule of the library that stops by itself, as its users get it."""
    return ours(getattr(ig, name)(rtol=tolerance), case, head)


def doubled(case: Case, head: str, tolerance: float) -> Answer:
    """Our Gauss rule, rows above the tolerance done again with twice the nodes."""
    return ours(ig.GaussLegendre(12, rtol=tolerance, max_nodes=case.most), case, head)


def panels(odd: bool, case: Case, head: str, nodes: int) -> Answer:
    """About so many averaged panels: an odd number, which has no estimate to pay for, or an even one."""
    count = nodes - (nodes % 2 != odd)
    return ours(getattr(ig, "PanelAveraged")(count), case, head)  # noqa: B009


def exact(case: Case, head: str, tolerance: float) -> Answer:
    """Every linear region."""
    return ours(getattr(ig, "Exact")(), case, head)  # noqa: B009


def small(case: Case) -> bool:
    """Whether its linear regions are few."""
    return case.linear and case.features[0].numel() < 100


def catalogue() -> list[Rule]:
    """All rules that this version of the library has, after Captum's and the habits."""
    found = [
        Rule("Captum Gauss-Legendre", partial(captum, "gausslegendre")),
        Rule("Captum trapezoid", partial(captum, "riemann_trapezoid")),
        Rule("Captum midpoint", partial(captum, "riemann_middle")),
        Rule("GL doubling, gap", partial(doubling, 1), stops=True, doubles=True),
        Rule("GL doubling, gap twice", partial(doubling, 2), stops=True, doubles=True),
        Rule("Gauss-Legendre", partial(fixed, "GaussLegendre")),
        Rule("midpoint", partial(fixed, "Midpoint")),
        Rule("trapezoid", partial(fixed, "Trapezoid")),
        Rule("Gauss-Legendre, doubled", doubled, stops=True, doubles=True),
    ]
    coming = {
        "PanelAveraged": [
            Rule("panels", partial(panels, True)),
            Rule("panels, with error", partial(panels, False)),
            Rule("panels, self-stopping", partial(stopping, "PanelAveraged"), stops=True),
        ],
        "Adaptive": [Rule("adaptive", partial(stopping, "Adaptive"), stops=True)],
        "Automatic": [Rule("automatic", partial(stopping, "Automatic"), stops=True)],
        "Exact": [Rule("exact", exact, stops=True, fits=small)],
    }
    return found + [r for name, rules in coming.items() if hasattr(ig, name) for r in rules]


def named(names: Sequence[str] | None) -> list[Rule]:
    """Rules whose name holds one of these words; all where there are none."""
    return [r for r in catalogue() if not names or any(n in r.name for n in names)]


def timed(run: Callable[[], T]) -> tuple[T, float]:
    """An answer, and its seconds."""
    begin = time.perf_counter()
    answer = run()
    return answer, time.perf_counter() - begin

"""Metrics of faithfulness as an audit asks them: of a `Task` and one map, a score a row."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from intgrad.audit import metrics
from intgrad.audit.finding import Finding
from intgrad.audit.task import Task, measured
from intgrad.model import Logit

Metric = Callable[[Task, Tensor], Tensor]

STEPS = 20  # of what counts steps


def area(name: str) -> Metric:
    """The area under a removal curve, at points found for it; curves are asked once for all checks."""
    return lambda task, values: task.curve(name, values).auc


def fall(task: Task, values: Tensor) -> Tensor:
    """How far the score falls on average."""
    return task.curve("deletion", values).aopc


def between(task: Task, values: Tensor) -> Tensor:
    """The area between the two curves."""
    return task.curve("insertion", values).auc - task.curve("deletion", values).auc


def monotonicity(task: Task, values: Tensor) -> Tensor:
    """The share of equal steps that go the way the map says."""
    how = {"target": task.target, "steps": STEPS, **task.removed}
    return metrics.monotonicity(task.model, task.x, values, **how)


def road(task: Task, values: Tensor) -> Tensor:
    """The area under ROAD's curve."""
    how = {"target": task.target, "seed": task.seed, "width": task.width}
    return metrics.road(task.model, task.x, values, **how).auc


def infidelity(task: Task, values: Tensor) -> Tensor:
    """`scaled_infidelity` of the raw score, from the method's own baseline, or the mean of several."""
    raw = Logit(task.target) if isinstance(task.target, Tensor) else task.target
    how = {"baseline": task.point, "width": task.width, "seed": task.seed}
    return metrics.scaled_infidelity(task.model, task.x, values, target=raw, **how)


def pointing_game(task: Task, values: Tensor) -> Tensor:
    """Whether the largest unit lies in the mask."""
    assert task.masks is not None
    return metrics.pointing_game(values, task.masks)


def compared(name: str, metric: Metric, high: bool) -> Callable[[Task], Finding]:
    """A check that holds the method against a random map."""

    def check(task: Task) -> Finding:
        scores = {who: metric(task, values) for who, values in task.maps.items()}
        return measured(name, scores, high, "random")

    return check

"""How much noise SmoothTaylor should add: a line search for each row, on a metric of its map."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.attribution import Attribution
from intgrad.audit.maps import autvc
from intgrad.audit.removal import one_tensor
from intgrad.ensemble import moved, pin_to
from intgrad.errors import InputError, Unsupported
from intgrad.methods import smooth_taylor
from intgrad.model.bound import Pinned
from intgrad.model.cost import FORWARD

Metric = Callable[[Tensor], Tensor]

FIRST = 0.1  # the first step of sigma
SHRINK = 0.9  # of the step, once one made it worse
PATIENCE = 3  # steps in a row that may make it worse; the next one ends the search


@dataclass(frozen=True)
class Trial:
    """A sigma that was tried, and the metric of its map."""

    sigma: float
    metric: float


@dataclass(frozen=True, eq=False)
class Noise:
    """The noise found for each row.

    Attributes
    ----------
    sigma, metric
        (rows,) float64: the best sigma of those tried, in units of x, and the metric there.
    trials
        All that were tried for each row, in order.
    attributions
        SmoothTaylor's answers at the best sigma, one a row.
    evaluations
        (rows,): the cost of all trials.
    """

    sigma: Tensor
    metric: Tensor
    trials: tuple[tuple[Trial, ...], ...]
    attributions: tuple[Attribution, ...]
    evaluations: Tensor


def adaptive_noise(
    model: Callable[..., Any],
    x: Tensor,
    *,
    metric: Metric = autvc,
    target: Any = None,
    samples: int = 150,
    steps: int = 20,
    **call: Any,
) -> Noise:
    r"""Find the sigma of `intgrad.methods.smooth_taylor` at which a metric of the map is least.

    From :math:`\sigma = \operatorname{mean}|x|` on (0.1 where that is 0), a step tries
    :math:`\sigma + \alpha` and, where the metric is larger there, goes to :math:`|\sigma - \alpha|`,
    better or worse. Alpha is 0.1 at first and shrinks by a tenth after each step that made it worse;
    the fourth of these in a row is the last. The best of all that were tried is kept.

    **The metric is made small on the very input that is explained.** It no longer judges that map:
    it comes out too good, and cannot be compared with that of a method that was not fitted to it.
    Judge the answer by another metric. And one that looks at the map alone, as `autvc` does, likes
    the smoothest map best, not the truest.

    Parameters
    ----------
    model
        Any callable on tensors, in evaluation mode.
    x
        One tensor, rows first, in units in which 0.1 is a small step: a normalised picture, as
        published.
    metric
        Values (1, ...) of a row -> one number, low for a good map. For one that asks the model about
        x, pass a row at a time: ``metric=lambda v: metrics.deletion(model, x[:1], v).auc``.
    target
        As in `intgrad.attribute`: one a row.
    samples
        Noisy copies a trial: the same draws for every row and trial, scaled by its sigma.
    steps
        At most so many, of one or two trials each.
    **call
        ``given=``, ``seed=``, ``width=``, ``dtype=``, as in `intgrad.attribute`. Rows are searched one
        by one, so none depends on its batch mates.

    Returns
    -------
    Noise
        Costs a forward a row, and what SmoothTaylor costs for each of up to 1 + 2 `steps` trials; what
        the metric asks of the model is not counted.

    Raises
    ------
    InputError
        A metric that is not one finite number.
    Unsupported
        Several targets.

    References
    ----------
    Goh, Lapuschkin, Weber, Samek, Binder 2021, "Understanding Integrated Gradients with
    SmoothTaylor for Deep Neural Network Attribution", arXiv:2004.10484, algorithm 1.
    """
    whole_number(steps, "steps", 1)
    how = {"given": None, "width": None, "differentiable": False, "dtype": None, **call}
    pin, _ = pin_to(smooth_taylor(), model, one_tensor(x), target, how)
    if pin.bound.count:
        raise Unsupported(
            f"the target names {pin.bound.count} numbers a row, and each has a best noise of its own. "
            f"Pass them one by one."
        )
    asked, trials = [], []
    for i in range(len(x)):
        asked.append(_Asked(_row(model, x, i, pin, samples, call), metric))
        start = float(x[i].detach().double().abs().mean())
        trials.append(search(asked[-1], start or FIRST, steps))  # without noise there is no map
        call = {**call, "check": False}  # the model has been looked at
    return _noise(asked, trials)


def search(metric: Callable[[float], float], sigma: float, steps: int) -> tuple[Trial, ...]:
    """Everything that the line search tries from `sigma` on, in order."""
    trials: list[Trial] = []

    def go(to: float) -> Trial:
        trials.append(Trial(to, metric(to)))
        return trials[-1]

    here, step, worse = go(sigma), FIRST, 0
    for _ in range(steps):
        there = go(here.sigma + step)
        if there.metric > here.metric:
            there = go(abs(here.sigma - step) or step / 2)
        if there.metric <= here.metric:
            worse = 0
        elif worse < PATIENCE:
            worse, step = worse + 1, SHRINK * step
        else:
            break
        here = there
    return tuple(trials)


@dataclass
class _Asked:
    """The metric of one row's map at any sigma; keeps the best map, and what all of them cost."""

    ask: Callable[[float], Attribution]
    metric: Metric
    best: Attribution | None = None
    least: float = math.inf
    spent: float = FORWARD  # the target is bound once

    def __call__(self, sigma: float) -> float:
        answer = self.ask(sigma)
        found = _number(self.metric(answer.values))
        self.spent += float(answer.evaluations)
        if found < self.least:
            self.best, self.least = answer, found
        return found


def _row(
    model: Callable[..., Any], x: Tensor, i: int, pin: Pinned, samples: int, call: dict[str, Any]
) -> Callable[[float], Attribution]:
    """SmoothTaylor of row i alone, at any sigma."""
    target = Pinned(pin.wanted, moved(pin, torch.tensor([i])))
    given = {k: v[i : i + 1] for k, v in (call.get("given") or {}).items()} or None
    how = {**call, "target": target, "given": given}
    return lambda sigma: smooth_taylor(sigma, samples)(model, x[i : i + 1], **how)


def _number(found: object) -> float:
    """What a metric says of one row, as a number."""
    if not isinstance(found, Tensor) or found.numel() != 1 or not bool(found.isfinite().all()):
        said = f"{tuple(found.shape)} {found}" if isinstance(found, Tensor) else repr(found)
        raise InputError(
            f"the metric said {said} of one row's values; expected a tensor of one finite number, low "
            f"for a good map."
        )
    return float(found)


def _noise(asked: list[_Asked], trials: list[tuple[Trial, ...]]) -> Noise:
    best = [min(tried, key=lambda t: t.metric) for tried in trials]
    column = lambda found: torch.tensor(found, dtype=torch.float64)  # noqa: E731
    return Noise(
        sigma=column([b.sigma for b in best]),
        metric=column([b.metric for b in best]),
        trials=tuple(trials),
        attributions=tuple(a.best for a in asked if a.best is not None),
        evaluations=column([a.spent for a in asked]),
    )

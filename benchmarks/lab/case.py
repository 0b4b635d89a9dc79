"""A case: a net, its inputs and where they start from, for ours, for Captum and for the reference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

import intgrad as ig

from . import store

Family = Literal["ReLU", "max-pool", "smooth", "transformer"]

# A head is what is made of the scores (n, classes) before the class is picked.
HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "logit": lambda s: s,
    "probability": lambda s: s.softmax(-1),
    "log-probability": lambda s: s.log_softmax(-1),
}
TARGETS: dict[str, Any] = {
    "logit": ig.Logit,
    "probability": ig.Probability,
    "log-probability": ig.LogProbability,
}


@cache
def digest_of(model: nn.Module) -> str:
    """A short name for a net, by its weights."""
    state = model.state_dict()
    return store.digest(state[k] for k in sorted(state))


@dataclass(frozen=True, eq=False)
class Case:
    """A net on some rows.

    Attributes
    ----------
    scores
        (model, features, *given) -> scores (n, classes): the net from the features on.
    x, baseline, at
        As `intgrad.attribute` is asked; `x` may be token ids.
    features, start
        The two ends of every row's line, (rows, ...).
    given
        What is aligned with the rows but not explained.
    kinked
        Whether the gradient jumps along the line (ReLU, max-pool).
    linear
        Whether the logits are piecewise linear along it.
    width
        Rows that one call of the reference and of Captum holds.
    most
        Nodes at which rules that double give up; on nets where a gradient is dear, fewer, and
        tolerances below 1 % are not asked of them.
    """

    name: str
    family: Family
    model: nn.Module
    scores: Callable[..., Tensor]
    x: Tensor
    baseline: Any
    features: Tensor
    start: Tensor
    given: dict[str, Tensor] = field(default_factory=dict)
    at: str = "input"
    kinked: bool = True
    linear: bool = False
    width: int = 64
    most: int = 5120
    heads: tuple[str, ...] = ("logit", "probability")

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def classes(self) -> Tensor:
        """The predicted class of every row."""
        with torch.no_grad():
            return self.scores(self.model, self.features, *self.given.values()).argmax(-1)

    @cached_property
    def weights(self) -> str:
        """The digest of the net."""
        return store.digest([], self.name, digest_of(self.model))

    @cached_property
    def keys(self) -> list[str]:
        """One name a row, that changes with the net, the row, its start and its class."""
        given = [self.given[k] for k in sorted(self.given)]
        parts = [self.features, self.start, self.classes, *given]
        rows = range(len(self))
        return [store.digest([p[i] for p in parts], self.weights) for i in rows]

    def take(self, rows: list[int]) -> Case:
        """Some of the rows."""
        i = torch.tensor(rows, dtype=torch.long)
        fixed = self.baseline[i] if isinstance(self.baseline, Tensor) else self.baseline
        return replace(
            self,
            x=self.x[i],
            baseline=fixed,
            features=self.features[i],
            start=self.start[i],
            given={k: v[i] for k, v in self.given.items()},
        )

    def single(self) -> Case:
        """The same in float32."""
        to = lambda t: t.float() if t.is_floating_point() else t  # noqa: E731
        return replace(
            self,
            model=copy.deepcopy(self.model).float(),
            x=to(self.x),
            baseline=to(self.baseline) if isinstance(self.baseline, Tensor) else self.baseline,
            features=self.features.float(),
            start=self.start.float(),
        )

    def attribute(self, head: str, rule: Any, **call: Any) -> ig.Attribution:
        """Ours."""
        target = TARGETS[head](self.classes)
        return ig.attribute(
            self.model,
            self.x,
            target=target,
            baseline=self.baseline,
            quadrature=rule,
            at=self.at,
            given=dict(self.given) or None,
            **call,
        )

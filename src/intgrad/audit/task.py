"""What an audit looks at: a method, a model, inputs; and the maps that everybody's are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from intgrad import methods
from intgrad._types import plain
from intgrad.audit.asking import explained
from intgrad.audit.curves import Curve, deletion, insertion
from intgrad.audit.finding import Explain, Finding
from intgrad.audit.interval import half_width
from intgrad.audit.origin import one_point
from intgrad.audit.removal import one_tensor
from intgrad.audit.units import units_like
from intgrad.errors import InputError
from intgrad.integrand import Summed
from intgrad.model.checks import refuse_training
from intgrad.model.scores import entry_of

AREA = 0.01  # of the scores' range: how well an area is known


@dataclass(frozen=True, eq=False)
class Task:
    """A method under audit.

    Attributes
    ----------
    target
        As explain takes it: the class of each row (rows,), or a function of the output.
    baseline
        Where the method's paths start, as in `intgrad.attribute`.
    absent
        What stands for a unit that is removed; the baseline by default.
    masks
        Where the truth lies, for `pointing_game`: shaped like the units, or None.
    shuffled
        The same network trained on shuffled labels, for `label_randomisation`, or None.
    traced
        Whether the method asks the model where to start, so that nothing is measured from there.
    """

    explain: Explain
    model: Callable[..., Any]
    x: Tensor
    target: Any
    baseline: Any = None
    absent: Any = None
    masks: Tensor | None = None
    shuffled: Callable[..., Any] | None = None
    seed: int = 0
    width: int | None = None
    traced: bool = False
    curves: dict[tuple[str, int], tuple[Tensor, Curve]] = field(default_factory=dict, repr=False)

    @property
    def removed(self) -> dict[str, Any]:
        """How units are removed."""
        start = self.point if self.absent is None else self.absent
        return {"baseline": start, "width": self.width}

    @cached_property
    def point(self) -> Any:
        """The baseline, or the mean of several: a unit is replaced by one."""
        return one_point(self.baseline, self.x, self.seed)

    def curve(self, name: str, values: Tensor) -> Curve:
        """The `deletion` or `insertion` of a map, asked once; known to `AREA` of the scores' range."""
        key = (name, id(values))
        if key not in self.curves:
            how = {"target": self.target, "rtol": AREA, **self.removed}
            found = {"deletion": deletion, "insertion": insertion}[name](
                self.model, self.x, values, **how
            )
            self.curves[key] = (values, found)  # a tensor that is held keeps its id
        return self.curves[key][1]

    @cached_property
    def scores(self) -> Tensor | None:
        """What the model says of x, (rows, classes); None of one number a row."""
        return scores_of(self.model, self.x)

    def ask(self, x: Tensor | None = None) -> Tensor:
        """The method's map."""
        return explained(self.explain, self.model, self.x if x is None else x, self.target)

    @cached_property
    def values(self) -> Tensor:
        """The method's map at x."""
        return self.ask()

    @cached_property
    def units(self) -> Tensor:
        """The same with channels summed: (rows, ...)."""
        dims = 1 if self.x.ndim == 4 else ()
        units = units_like(self.values, self.x, None)
        return units.squeeze(dims) if dims else units

    @cached_property
    def random(self) -> Tensor:
        """A map that knows nothing, like `units`."""
        draw = torch.Generator().manual_seed(self.seed)
        return torch.randn(self.units.shape, generator=draw).to(self.units)

    def by_gradient(self, model: Callable[..., Any], x: Tensor, target: Any) -> Any:
        """The model's own gradient, times the way from the baseline: the cheapest contribution."""
        recipe = methods.gradient_x_input()
        if self.baseline is not None:
            recipe = recipe.but(baseline=self.baseline)
        if not x.is_floating_point():
            recipe = recipe.but(at="embedding", integrand=Summed(recipe.integrand))
        return recipe(model, x, target=target, width=self.width, check=False)

    @cached_property
    def gradient(self) -> Tensor:
        """Its map at x."""
        return explained(self.by_gradient, self.model, self.x, self.target)

    @cached_property
    def maps(self) -> dict[str, Tensor]:
        """The method's, and those it is compared with."""
        return {"method": self.values, "random": self.random, "gradient": self.gradient}


@dataclass(frozen=True)
class Measured(Finding):
    """A finding that compares the method with maps known to be poor, row by row.

    Its size is how far the method is behind `against` on average, 0 if it is ahead; allowed is half the
    95 % interval of that difference over the rows, Student's, and 0 of a single row.

    Attributes
    ----------
    scores
        ``method``, ``random`` and ``gradient``, as far as they apply: the metric of each row, (rows,).
    high
        Whether a high score is good.
    against
        The one it is held against.
    """

    scores: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    high: bool = True
    against: str = "random"

    def mean(self, who: str = "method") -> float:
        """Mean score over the rows."""
        return float(self.scores[who].nanmean())

    def interval(self, who: str = "method") -> float:
        """Half of its 95 % interval; NaN of a single row."""
        return half_width(self.scores[who][~self.scores[who].isnan()])


def measured(check: str, scores: Mapping[str, Tensor], high: bool, against: str) -> Measured:
    """Compare the scores of the method with those of another, row by row."""
    found = {who: s.detach().double().cpu() for who, s in scores.items()}
    ahead = (found["method"] - found[against]) * (1 if high else -1)
    known = ahead[~ahead.isnan()]
    if not len(known):
        return Measured(check, float("nan"), 0.0, note="it is defined for none of these rows.")
    row = int(torch.where(ahead.isnan(), torch.inf, ahead).argmin())
    return Measured(
        check=check,
        size=max(0.0, -float(known.mean())),
        allowed=half_width(known) if len(known) > 1 else 0.0,
        worst={"row": row, **{who: float(s[row]) for who, s in found.items()}},
        note=f"how far behind {OTHERS[against]}, on average over the rows.",
        scores=found,
        high=high,
        against=against,
    )


OTHERS = {
    "random": "a random map",
    "gradient": "the model's gradient times the way to the baseline",
}


def scores_of(model: Callable[..., Any], x: Tensor) -> Tensor | None:
    """What a model says of x, (rows, classes); None of one number a row."""
    with torch.no_grad():
        found = entry_of(model(one_tensor(x)), None)
    several = found.ndim == 2 and found.shape[1] > 1
    return plain(found) if several else None


def target_of(model: Callable[..., Any], x: Tensor, target: Any) -> Any:
    """A class for each row (rows,), the predicted one by default; or a function of the output.

    Raises
    ------
    InputError
        A number of classes other than that of rows.
    ModelError
        Training mode.
    """
    refuse_training(model)
    if callable(target):
        return target
    scores = scores_of(model, x)
    if scores is None:
        return lambda output: entry_of(output, None).flatten()
    if target is None:
        return scores.argmax(1)
    named = torch.as_tensor(target, dtype=torch.long, device=x.device).flatten()
    if len(named) not in (1, len(x)):
        raise InputError(f"{len(named)} targets for {len(x)} rows; expected one, or one a row.")
    return named.expand(len(x)).clone()

"""Where the paths of pictures start: on the picture, brought to the crop; or on the crop itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.baseline import Zeros, parts_of
from intgrad.errors import Unsupported
from intgrad.image.view import View
from intgrad.path import Bank, Curves, ScaleSpace
from intgrad.recipe import Recipe


@dataclass(frozen=True)
class Origin:
    """The baselines of a recipe, as pictures.

    Attributes
    ----------
    shown
        Each is applied to the original pictures, then resized and cropped like them.
    inner
        One that begins where the model is asked instead, on the crop: a boundary that the model
        must be asked for, or None for a path with a place of its own to begin at.
    """

    shown: tuple[Any, ...]
    inner: Any = None
    outside: bool = True
    whole: Any = None  # the one baseline that stands for several

    @staticmethod
    def of(recipe: Recipe) -> Origin:
        """Those of a recipe; black where none is named."""
        baseline = recipe.baseline
        natural = baseline is None and isinstance(recipe.path, ScaleSpace)
        if natural or traced(baseline):
            return Origin((Zeros(),), baseline, outside=False)
        whole = baseline if hasattr(baseline, "parts") else None
        return Origin((Zeros(),) if baseline is None else parts_of(baseline), whole=whole)

    @property
    def named(self) -> Any:
        """The baseline as its user knows it; None where only the engine can say."""
        if not self.outside:
            return self.inner
        if self.whole is not None:
            return self.whole
        first, *others = self.shown
        return self.shown if others else first

    def asked(self, looks: Sequence[Sequence[View]]) -> Any:
        """What the engine is given as ``baseline=``."""
        if not self.outside:
            return self.inner
        starts = [Starts.of(views) for views in looks]
        return starts if len(starts) > 1 else starts[0]


@dataclass(frozen=True, eq=False)
class Starts:
    """The baselines of all rows, given: crops (k, 3, h, w), the row and the weight of each."""

    crops: Tensor
    row: Tensor
    weight: Tensor

    @staticmethod
    def of(views: Sequence[View]) -> Starts:
        """Those of these views, row after row."""
        counts = torch.tensor([len(v.weight) for v in views])
        row = torch.arange(len(views)).repeat_interleave(counts)
        return Starts(
            torch.cat([v.starts for v in views]), row, torch.cat([v.weight for v in views])
        )

    def for_rows(self, index: Tensor) -> Starts:
        """The starts of rows chosen by `index`, which may name one several times."""
        own = [(self.row == i).nonzero()[:, 0] for i in index.tolist()]
        row = torch.arange(len(own)).repeat_interleave(torch.tensor([len(o) for o in own]))
        chosen = torch.cat(own)
        return Starts(self.crops[chosen], row, self.weight[chosen])

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve from each."""
        crops = self.crops.to(x[0].device, x[0].dtype)
        index = torch.arange(len(self.row))
        return Curves(self.row, Bank((crops,), index), Bank(x, self.row), self.weight)


def traced(baseline: Any) -> bool:
    """Whether the model must be asked for it (tensors have a trace too, but of another kind)."""
    return hasattr(baseline, "trace") and not isinstance(baseline, Tensor)


def recipe_of(call: dict[str, Any], baseline: Any, quadrature: Any) -> Recipe:
    """The recipe that a call asks for, its parts taken out of the call."""
    recipe = call.pop("recipe", None)
    at = call.pop("at", getattr(recipe, "at", "input"))
    if call.get("differentiable") or at != "input":
        raise Unsupported(
            "pictures are explained at their pixels, and outside a loss; for another location, or "
            "differentiable=True, call intgrad.attribute on the processor's tensors."
        )
    given = {"path": call.pop("path", None), "integrand": call.pop("integrand", None)}
    parts = {n: p for n, p in given.items() if p is not None}
    name = "path_method" if parts else "integrated_gradients"
    base = recipe or Recipe(name, baseline=None)
    start = base.baseline if baseline is None else baseline
    return base.but(baseline=start, quadrature=quadrature, **parts)

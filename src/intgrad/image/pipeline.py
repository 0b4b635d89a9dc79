"""From crops to the engine: the net as a function of light, and where its paths start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from intgrad._types import Point
from intgrad.image.lens import Lens
from intgrad.image.view import View
from intgrad.path import Bank, Curves


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

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve from each."""
        crops = self.crops.to(x[0].device, x[0].dtype)
        index = torch.arange(len(self.row))
        return Curves(self.row, Bank((crops,), index), Bank(x, self.row), self.weight)


class Pipeline(nn.Module):
    """Normalise, then the net: a module, so that the engine finds the net's parameters."""

    def __init__(self, net: nn.Module, eye: Lens) -> None:
        super().__init__()
        self.net, self.eye = net, eye

    def forward(self, light: Tensor) -> Any:
        """Whatever the net returns for a picture of this light."""
        return self.net(self.eye.numbers(light))


def pipeline(model: Any, eye: Lens, light: Tensor) -> tuple[Callable[..., Any], Tensor]:
    """The model as a function of light, and light (n, 3, h, w) where and as it computes."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    like = next((p for p in parameters if p.is_floating_point()), torch.zeros(()))
    x = light.to(like.device, like.dtype)
    if isinstance(model, nn.Module) and not compiled(model):
        return Pipeline(model, eye), x
    return lambda light: model(eye.numbers(light)), x


def compiled(model: nn.Module) -> bool:
    """Whether the engine calls the module as it is, its parameters out of reach."""
    return hasattr(model, "_orig_mod") or isinstance(model, torch.jit.ScriptModule)

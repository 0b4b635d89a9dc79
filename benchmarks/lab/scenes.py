"""Photos as the image methods of the catalogue are asked about them: in pixels of [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

import intgrad as ig

from . import real, store

MEAN, STD = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # of ImageNet: the units of SmoothTaylor
OTHERS = 5  # photos that expected gradients start from


class Before(nn.Module):
    """A net behind a change of units."""

    def __init__(self, units: Callable[[Tensor], Tensor], net: nn.Module) -> None:
        super().__init__()
        self.units, self.net = units, net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.units(x))


@dataclass(frozen=True)
class Scene:
    """One photo of one net.

    Attributes
    ----------
    model
        Pixels (n, 3, h, w) of [0, 1] -> scores (n, classes).
    x, others
        The photo (1, 3, h, w), and some more of its kind.
    key
        Changes with all of these.
    kind
        What is explained of the class: `Probability` or `Logit`.
    """

    net: str
    model: nn.Module
    x: Tensor
    others: Tensor
    key: str
    kind: Callable[[int], Any] = ig.Probability

    @property
    def target(self) -> Any:
        """What is explained."""
        return self.kind(self.best)

    @cached_property
    def best(self) -> int:
        """The class that is predicted."""
        with torch.no_grad():
            return int(self.model(self.x).argmax())

    @cached_property
    def standard(self) -> tuple[nn.Module, Tensor]:
        """The same model and photo in units of ImageNet's mean and deviation."""
        mean, deviation = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
        return Before(lambda z: z * deviation + mean, self.model).eval(), (
            self.x - mean
        ) / deviation


def scene(name: str, model: nn.Module, x: Tensor, others: Tensor) -> Scene:
    """A scene and its key."""
    key = store.digest([x, others, *model.state_dict().values()], name)
    return Scene(name, model, x, others, key)


def photos(name: str, count: int) -> Iterator[Scene]:
    """The first named photos, then those of the paper; the last named ones as others."""
    net, prepare, _ = getattr(real.nets(), name)()
    named = real.photos(100)
    pictures, others = torch.cat([named[:-OTHERS], real.photos(100, "ig")]), named[-OTHERS:]
    model = Before(prepare, net.requires_grad_(False)).eval()
    for picture in pictures[:count]:
        yield scene(name, model, picture[None], others)


def tiny(count: int) -> Iterator[Scene]:
    """A net of random weights on noise: for trying a run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: Any = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(726, 4)
        )
        pictures = torch.rand(count + 2, 3, 48, 48)
    for i in range(count):
        yield scene("tiny", net.requires_grad_(False).eval(), pictures[i : i + 1], pictures[-2:])

"""Nets that are looked into, and how far an answer is from the truth, for `benchmarks/inside.py`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import intgrad as ig

PUSHED = ig.PushedForward()


def gauss(nodes: int) -> ig.GaussLegendre:
    """So many points, and no word about their error: it is measured here."""
    return ig.GaussLegendre(nodes, rtol=math.inf)


def averaged(panels: int) -> ig.PanelAveraged:
    """So many panels."""
    return ig.PanelAveraged(panels, rtol=math.inf)


@dataclass(frozen=True)
class Case:
    """A net, a row or some, where their paths start, their classes, and the layers that are looked at."""

    name: str
    net: nn.Module
    x: Tensor
    start: Tensor
    layers: tuple[str, ...]
    finest: int = 512  # panels of the reference
    points: int = 1024  # Gauss points that it is held against

    @property
    def how(self) -> dict[str, Any]:
        """What all are asked about."""
        with torch.no_grad():
            classes = self.net(self.x).argmax(1).tolist()
        return {"target": classes, "baseline": self.start}


class Block(nn.Module):
    """A residual block of the small net."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.act = act
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.two(self.act(self.one(x))))


def toy(rows: int, act: Callable[[Tensor], Tensor] = torch.relu) -> Case:
    """Three residual blocks, random: (n, 3, 8, 8) -> (n, 5)."""
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 4, 3, padding=1), Block(act), Block(act), Block(act), nn.Flatten()]
    net = nn.Sequential(*body, nn.Linear(256, 5)).double().eval().requires_grad_(False)
    x = torch.rand(rows, 3, 8, 8, dtype=torch.float64)
    name = "small random net" if act is torch.relu else "small random net, smooth"
    return Case(name, net, x, torch.zeros_like(x), ("1", "2", "3"), 128, 256)


def resnet(rows: int, depth: int = 56) -> Case:
    """A CIFAR-10 ResNet and all its residual blocks."""
    from . import real  # it needs the data

    found = real.cifar(depth, rows)
    names = [n for n, _ in found.model.named_modules()]
    blocks = tuple(n for n in names if n.startswith("layer") and n.count(".") == 1)
    return Case(f"CIFAR-10 ResNet-{depth}", found.model, found.x, found.start, blocks)


def off(found: Tensor, true: Tensor) -> list[float]:
    """Relative L1 error of every row."""
    size = lambda t: t.flatten(1).abs().sum(1)  # noqa: E731
    return (size(found - true) / size(true)).tolist()


def errors(found: dict[str, Tensor], true: dict[str, Tensor]) -> list[float]:
    """Of all layers and rows."""
    return [e for name in true for e in off(found[name], true[name])]


def counted(net: nn.Module, call: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a call returns, the rows it sent through the net, and its seconds."""
    rows = 0

    def count(module: nn.Module, given: Any) -> None:
        nonlocal rows
        rows += len(given[0])

    handle, begin = net.register_forward_pre_hook(count), time.perf_counter()
    try:
        found = call()
    finally:
        handle.remove()
    return found, rows, time.perf_counter() - begin


def table(head: str, lines: Iterable[Sequence[Any]]) -> None:
    """A Markdown table, line by line as they come."""
    names = head.split(" | ")
    print(f"| {head} |\n|{'---|' * len(names)}", flush=True)
    for line in lines:
        print(f"| {' | '.join(map(str, line))} |", flush=True)
    print()


def spent(a: ig.Attribution) -> float:
    """Gradients a row, and one more for each tangent: one a node."""
    return float((a.evaluations + a.backwards).double().mean())


def panelled(a: ig.Attribution) -> float:
    """Gradients a row: panels need no tangent."""
    return float(a.evaluations.double().mean())


def needed(curve: list[tuple[float, float]], level: float) -> Any:
    """Evaluations at which a curve (evaluations, error) has this error, between logarithms."""
    from .equal import crossing  # it needs scikit-learn

    found = crossing([cost for cost, _ in curve], [error for _, error in curve], level)
    assert found is not None
    return found


def stated(wrong: list[float]) -> tuple[str, str]:
    """The mean and the worst."""
    return f"{sum(wrong) / len(wrong):.1e}", f"{max(wrong):.1e}"

"""How far areas under removal curves are off, in equal steps and at points found for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import intgrad as ig
from intgrad.audit import metrics
from intgrad.audit.refined import by_pairs, refined

from . import scenes
from .page import table

FINE = 1024  # steps of the curves that are taken for the truth
EQUAL = (16, 32, 64, 128)
TOLERANCES = (0.02, 0.01, 0.005)


def curves(found: list[scenes.Scene], maps: dict[str, Any]) -> Iterator[Tensor]:
    """Deletion and insertion of every map, from black and from a blur: (1, FINE + 1) each."""
    for scene in found:
        for method in maps.values():
            values = method(scene.model, scene.x, target=scene.best)
            for baseline in (None, ig.Blurred(10.0)):
                how = {"target": scene.best, "steps": FINE, "baseline": baseline}
                for curve in (metrics.deletion, metrics.insertion):
                    yield curve(scene.model, scene.x, values, **how).scores


def areas(found: list[scenes.Scene], maps: dict[str, Any]) -> None:
    """One table: forwards, how far off, and whether the error that was told is above that."""
    every = torch.cat(list(curves(found, maps)))
    truth = torch.trapezoid(every, dx=1 / FINE, dim=1)
    spread = every.amax(1) - every.amin(1)

    def line(how: str, area: Tensor, error: Tensor, forwards: Tensor) -> list[str]:
        off = (area - truth).abs() / spread
        low = ((area - truth).abs() > error).double().mean()
        mean, most = float(forwards.double().mean()), int(forwards.max())
        cells = [
            how,
            f"{mean:.0f}",
            str(most),
            f"{float(off.mean()):.4f}",
            f"{float(off.max()):.4f}",
        ]
        return [*cells, f"{float(low):.1%}"]

    lines = []
    for steps in EQUAL:
        part = every[:, :: FINE // steps]
        at = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        asked = torch.full((len(every),), steps + 1)
        area = torch.trapezoid(part, at, dim=1)
        lines.append(line(f"{steps} equal steps", area, by_pairs(at, part), asked))
    for rtol in TOLERANCES:
        asked = torch.full((len(every),), 2)

        def score(rows: Tensor, moved: Tensor, asked: Tensor = asked) -> Tensor:
            asked.index_add_(0, rows, torch.ones_like(rows))
            return every[rows, moved]

        moved, scores, error = refined(score, every[:, [0, -1]], FINE, rtol, FINE)
        area = torch.trapezoid(scores, moved.double() / FINE, dim=1)
        lines.append(line(f"rtol={rtol}", area, error, asked))
    title = (
        f"{found[0].net}: areas of {len(every)} curves of {FINE} steps, as shares of their range"
    )
    heads = ("points", "forwards", "most", "mean off", "most off", "error told too small")
    table(title, heads, lines)

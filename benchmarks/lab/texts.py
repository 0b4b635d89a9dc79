"""What both parts of the benchmark of texts share: who is compared, and how they are asked."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import intgrad as ig
from intgrad import text
from intgrad.path import MaxCount

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("INTGRAD_DATA") or ROOT.parent / "shared" / "data")
TOGETHER = 64  # texts a call, of about the same length


def methods(args: argparse.Namespace) -> dict[str, ig.Recipe]:
    """Who is compared; their baseline is named later."""
    m, rule = ig.methods, ig.Automatic(args.rtol)
    near = {"steps": args.steps, "quadrature": rule}
    return {
        "IG": m.integrated_gradients(quadrature=rule),
        "Discretized IG, greedy": m.discretized_ig(**near),
        "Discretized IG, max count": m.discretized_ig(choose=MaxCount(), **near),
        "Sequential IG": m.sequential_ig(quadrature=rule),
        "occlusion": m.occlusion(),
        f"Shapley, {args.orders} orders": m.shapley_path(axis=1, samples=args.orders),
        "gradient x input": m.gradient_x_input(),
    }


@dataclass(frozen=True)
class Scores:
    """Values (tokens,) of each text, and the mean cost of one."""

    values: list[Tensor]
    evaluations: float = 0.0
    seconds: float = 0.0


def explained(
    found: Any, texts: Sequence[str], recipe: ig.Recipe, baseline: Any, target: Any = None
) -> Scores:
    """Every text by one method, those of about the same length in one call."""
    if recipe.name == "gradient_x_input":
        baseline = text.ZeroEmbedding()
    began, values, cost = time.perf_counter(), [torch.zeros(0)] * len(texts), 0.0
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for first in range(0, len(order), TOGETHER):
        some = order[first : first + TOGETHER]
        ask = {"baseline": baseline, "recipe": recipe}
        ask["target"] = None if target is None else [target[i] for i in some]
        several = text.explain(found.model, found.processor, [texts[i] for i in some], **ask)
        for i, a in zip(some, several, strict=True):
            values[i] = a.values[0]
            cost += float(a.evaluations)
    return Scores(values, cost / len(texts), (time.perf_counter() - began) / len(texts))

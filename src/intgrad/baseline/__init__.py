"""Baselines: where paths start. One point, a few, or a distribution.

A baseline is asked for the curves that end at x. Those that are random draw by an explicit seed,
on the CPU, and give every row the same draws: so that a row's answer does not depend on where it
stands in a batch, or on the machine.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from intgrad._types import Point
from intgrad.baseline.data import Dataset, Mean
from intgrad.baseline.noise import Around, Gaussian, Uniform, populated
from intgrad.baseline.points import (
    BlackAndWhite,
    Blurred,
    Constant,
    Fixed,
    Invert,
    Zeros,
    fit,
)
from intgrad.baseline.read import as_baseline, parts_of
from intgrad.baseline.tokens import MaskToken
from intgrad.path.curve import Curves, bind, bind_rows


class Baseline(Protocol):
    """x (r, ...) -> curves that end there.

    `rows` numbers the examples; `seed` is the only source of chance. A baseline of token ids says
    ``tokens = True`` and is given ids; any other is given real numbers. One that must ask the model
    for its starts also has ``trace(oracle, entry, seed)``, and is called by that.
    """

    def __call__(self, x: Point, rows: Tensor, seed: int, /) -> Curves:
        """Curves that end at x."""
        ...


__all__ = [
    "Around",
    "Baseline",
    "BlackAndWhite",
    "Blurred",
    "Constant",
    "Dataset",
    "Fixed",
    "Gaussian",
    "Invert",
    "MaskToken",
    "Mean",
    "Uniform",
    "Zeros",
    "as_baseline",
    "bind",
    "bind_rows",
    "fit",
    "parts_of",
    "populated",
]

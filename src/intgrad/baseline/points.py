"""Baselines that are a point: zeros, a number, a tensor, the input blurred or inverted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.errors import InputError
from intgrad.path.curve import Curves, bind, bind_rows
from intgrad.path.heat import heat, spatial


@dataclass(frozen=True)
class Zeros:
    """All zeros: a black picture before normalisation, the absence of a standardised feature."""

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row."""
        return bind(tuple(torch.zeros_like(p[:1]) for p in x), x)


@dataclass(frozen=True)
class Constant:
    """The same number everywhere."""

    value: float = 0.0

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row."""
        return bind(tuple(torch.full_like(p[:1], self.value) for p in x), x)


@dataclass(frozen=True)
class Fixed:
    """Given points: one row for all, or one a row. What a tensor passed as baseline becomes."""

    points: Point
    name: str = "tensor"
    tokens: bool = False

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row."""
        own = [fit(b, p) for b, p in zip(self.points, x, strict=True)]
        if all(len(b) == 1 for b in own):
            return bind(tuple(own), x)
        return bind_rows(tuple(b.expand(p.shape) for b, p in zip(own, x, strict=True)), x)

    def for_rows(self, index: Tensor) -> Fixed:
        """The points of rows chosen by `index`, which may name one several times."""
        own = (p if len(p) == 1 else p[index.to(p.device)] for p in self.points)
        return Fixed(tuple(own), self.name, self.tokens)


@dataclass(frozen=True)
class Blurred:
    """The input without its detail: Gaussian blur of `sigma` samples, mirrored at the borders.

    Blurs `axes`, counted with the row as 0; by default all after rows and channels, as in
    (r, c, length), (r, c, height, width), ...
    """

    sigma: float = 20.0
    axes: tuple[int, ...] | None = None

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row."""
        starts = (heat(p, self.sigma, spatial(p, self.axes, "Blurred")) for p in x)
        return bind_rows(tuple(starts), x)


@dataclass(frozen=True)
class Invert:
    """The negative of the input: low + high - x, as far from mid-grey as x is, on the other side."""

    low: float = 0.0
    high: float = 1.0

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row."""
        return bind_rows(tuple(self.low + self.high - p for p in x), x)


@dataclass(frozen=True)
class BlackAndWhite:
    """Both extremes, averaged: no value between is taken for absence by itself.

    Either extreme alone gives features of its own value nothing. The two are explained one by one,
    so the spread between them is known: `Attribution.spread`.
    """

    low: float = 0.0
    high: float = 1.0

    @property
    def parts(self) -> tuple[Constant, Constant]:
        """The two baselines that it averages."""
        return Constant(self.low), Constant(self.high)

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """Two curves a row."""
        ends = (torch.full_like(p[:1], v) for p in x for v in (self.low, self.high))
        pairs = zip(ends, ends, strict=True)
        return bind(tuple(torch.cat(pair) for pair in pairs), x)


def fit(baseline: Tensor, x: Tensor) -> Tensor:
    """The baseline in x's dtype and on its device, with one row or as many as x.

    Raises
    ------
    InputError
        A shape that is neither.
    """
    one, every = (1, *x.shape[1:]), tuple(x.shape)
    if tuple(baseline.shape) not in (one, every):
        missing = " Is the batch axis missing?" if tuple(baseline.shape) == every[1:] else ""
        raise InputError(
            f"baseline has shape {tuple(baseline.shape)}; expected {every} or {one} to match x.{missing}"
        )
    return baseline.to(x.device, x.dtype)

"""Values of any other kind: the largest, with their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intgrad._types import flatten
from intgrad.attribution import Attribution
from intgrad.naming import index_name
from intgrad.report.say import part

LARGEST = 15


@dataclass(frozen=True)
class Piece:
    """A feature, token or region: its name, its value, the value's error, its share of the largest."""

    name: str
    value: float
    error: float | None
    strength: float = 0.0

    @property
    def sign(self) -> str:
        """On which side it stands; a class in the style sheet."""
        return "ig-pos" if self.value > 0 else "ig-neg" if self.value < 0 else "ig-zero"

    @property
    def unsure(self) -> bool:
        """Whether the error is larger than the value, so that the sign is not known."""
        return self.error is not None and not self.error <= abs(self.value)


@dataclass(frozen=True)
class Features:
    """The largest values of a row, and what they are the largest of."""

    template: ClassVar[str] = "features.html.j2"
    shape: str
    size: int
    held: str
    pieces: tuple[Piece, ...]
    remark: str = ""


def features(one: Attribution, remark: str = "") -> Features:
    """The largest features of a single row by absolute value, ties in order."""
    point, structure = flatten(one.values, "values")
    names = [name[1:] for name in structure.names(len(point))]
    values, errors = line(one.values), lines_of_error(one)
    order = values.abs().sort(descending=True, stable=True).indices[:LARGEST]
    mass = float(values.abs().sum())
    chosen = list(zip(order.tolist(), strengths(values[order]), strict=True))
    pieces = tuple(
        Piece(index_name(i, point, names), float(values[i]), errors[i] if errors else None, s)
        for i, s in chosen
    )
    held = part(float(values[order].abs().sum()) / mass) if mass else "all"
    return Features(shapes(point, names), len(values), held, pieces, remark)


def line(tree: object) -> Tensor:
    """All numbers of a single row, one after the other, in float64."""
    parts = flatten(tree, "values")[0]
    return torch.cat([p.detach().double().cpu().reshape(-1) for p in parts])


def lines_of_error(one: Attribution) -> list[float] | None:
    """The errors like `line`, or None where nothing is approximated."""
    return None if one.error_map is None else line(one.error_map).tolist()


def strengths(values: Tensor) -> list[float]:
    """Absolute values as shares of the largest."""
    top = float(values.abs().max()) if len(values) else 0.0
    return (values.abs() / top).tolist() if top else [0.0] * len(values)


def shapes(point: tuple[Tensor, ...], names: list[str]) -> str:
    """The shape of each tensor of a row, without the row axis."""
    return ", ".join(f"{n} {tuple(p.shape[1:])}".strip() for n, p in zip(names, point, strict=True))

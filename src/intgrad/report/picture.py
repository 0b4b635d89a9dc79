"""A picture: itself, its heat map, one over the other, and where the heat lies in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from intgrad._types import flatten
from intgrad.attribution import Attribution
from intgrad.report import colour, png
from intgrad.report.features import Piece
from intgrad.report.say import about, part, visible
from intgrad.subject import Picture

WIDEST = 512  # dots of a heat map: more would be megabytes a page, and no screen shows them
CLIP = 99.5  # percentile of |sum|: one pixel in 200 may be stronger than the strongest colour
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


@dataclass(frozen=True)
class Drawing:
    """A heat map ready to be painted: what is shown, how strong, on which picture.

    Attributes
    ----------
    sums
        What each dot stands for: the channels' sum over `cell` x `cell` pixels.
    strength
        `sums` / `scale`, clipped to [-1, 1].
    """

    sums: Tensor
    strength: Tensor
    scale: float
    cell: int
    pixels: Tensor


@dataclass(frozen=True)
class Pictures:
    """Three pictures side by side, and the same in words and numbers."""

    template: ClassVar[str] = "picture.html.j2"
    name: str
    size: str
    tiny: bool
    original: str
    heat: str
    overlay: str
    story: str
    scale: str
    cell: int
    regions: tuple[tuple[str, tuple[Piece, ...]], ...]


def covers(one: Attribution, picture: Picture) -> bool:
    """Whether a single row's values lie in the picture's own pixel grid."""
    point, _ = flatten(one.values, "values")
    grid = tuple(picture.pixels.shape[:2])
    return len(point) == 1 and point[0].ndim in (3, 4) and tuple(point[0].shape[-2:]) == grid


def pictures(one: Attribution, picture: Picture) -> Pictures:
    """Picture, heat map and overlay of a single row."""
    drawing = draw(one, picture)
    height, width = picture.pixels.shape[:2]
    sums = flat(one.values)
    return Pictures(
        name=visible(picture.name),
        size=f"{width} × {height} pixels",
        tiny=max(height, width) <= 128,
        original=png.data_uri(drawing.pixels),
        heat=png.data_uri(colour.heat(drawing.strength)),
        overlay=png.data_uri(colour.overlay(drawing.strength, drawing.pixels)),
        story=story(sums, visible(one.targets[0])),
        scale=about(drawing.scale),
        cell=drawing.cell,
        regions=regions(sums, None if one.error_map is None else flat(one.error_map)),
    )


def draw(one: Attribution, picture: Picture, dots: int = WIDEST) -> Drawing:
    """Sum over channels, add up cells so that it is at most 512 dots wide and high, and scale."""
    cell = cell_of(picture, dots)
    sums = pool(flat(one.values), cell)
    scale = strongest(sums)
    strength = (sums / scale if scale else sums).nan_to_num().clamp(-1, 1)
    return Drawing(sums, strength, scale, cell, shrink(picture.pixels.detach().cpu(), cell))


def cell_of(picture: Picture, dots: int = WIDEST) -> int:
    """How many pixels a side one dot stands for."""
    return -(-max(picture.pixels.shape[:2]) // dots)


def flat(tree: object) -> Tensor:
    """A single row's values or errors, summed over channels: (height, width) float64."""
    (row,) = flatten(tree, "values")[0]
    return row[0].detach().double().cpu().reshape(-1, *row.shape[-2:]).sum(0)


def pool(sums: Tensor, cell: int) -> Tensor:
    """Add up cells of `cell` x `cell` pixels; those at the edge may be smaller."""
    height, width = sums.shape
    padded = pad(sums, (0, -width % cell, 0, -height % cell))
    return padded.reshape(-(-height // cell), cell, -(-width // cell), cell).sum((1, 3))


def shrink(pixels: Tensor, cell: int) -> Tensor:
    """The picture with a dot a cell, the mean of its pixels."""
    if cell == 1:
        return pixels
    channels = pixels.permute(2, 0, 1).double()
    mean = avg_pool2d(channels, cell, ceil_mode=True)
    return mean.permute(1, 2, 0).round().to(torch.uint8)


def strongest(sums: Tensor) -> float:
    """The scale: the 99.5th percentile of |sum|, or the largest where most are zero."""
    sizes = sums.abs().numpy()
    return float(np.percentile(sizes, CLIP)) or float(sizes.max())


# ---------------------------------------------------------------------- in words and numbers


def regions(sums: Tensor, errors: Tensor | None) -> tuple[tuple[str, tuple[Piece, ...]], ...]:
    """The values added up in three by three regions, row by row."""
    values = thirds(sums).tolist()
    wrong = None if errors is None else thirds(errors).tolist()
    return tuple(
        (
            side,
            tuple(
                Piece(c, values[i][j], wrong[i][j] if wrong else None)
                for j, c in enumerate(COLUMNS)
            ),
        )
        for i, side in enumerate(ROWS)
    )


def thirds(sums: Tensor) -> Tensor:
    """Sums over three by three regions, (3, 3)."""
    bands = [band.tensor_split(3, dim=1) for band in sums.tensor_split(3, dim=0)]
    return torch.stack([torch.stack([block.sum() for block in band]) for band in bands])


def story(sums: Tensor, target: str) -> str:
    """Say where it lies: the share that speaks for the target, and in which ninth most of it is."""
    plus, minus = sums.clamp(min=0), (-sums).clamp(min=0)
    mass = float(plus.sum() + minus.sum())
    if not mass > 0:
        return f"No pixel contributes to {target}."
    lines = [f"{part(float(plus.sum()) / mass)} of the absolute value speaks for {target}"]
    if bool(plus.any()):
        lines[0] += f", most strongly in the {where(plus)}"
    if bool(minus.any()):
        lines.append(f"what pulls away is strongest in the {where(minus)}")
    return "; ".join(lines) + "."


def where(mass: Tensor) -> str:
    """The ninth of the picture that holds most of a mass, and its share."""
    ninths = thirds(mass)
    row, column = divmod(int(ninths.argmax()), 3)
    share = part(float(ninths.max() / ninths.sum()))
    return f"{ninth(row, column)} ({share} of it in that ninth of the picture)"


def ninth(row: int, column: int) -> str:
    """The name of a ninth: ``top left``, ``left``, ``centre``."""
    names = [ROWS[row]] * (row != 1) + [COLUMNS[column]] * (column != 1)
    return " ".join(names) or "centre"

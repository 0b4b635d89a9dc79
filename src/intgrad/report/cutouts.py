"""Regions of a picture as a matplotlib figure: their heat, and what is left of the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from intgrad.attribution import Attribution
from intgrad.errors import InputError
from intgrad.report import colour
from intgrad.report.figure import PLAIN, Figure, scale
from intgrad.report.picture import Drawing, covers, draw, flat, pool
from intgrad.report.say import part, percent, signed, visible
from intgrad.subject import Picture

FAINT = 0.12  # of the picture outside a cut-out: enough to know where one is
HEADROOM = 1.25  # of the scale above the best region: the picture is seen through it
BEST = (0.1, 0.2, 0.3)


def cutouts(
    heat: Attribution, top: Callable[[float], Tensor], fractions: Sequence[float] = BEST
) -> Figure:
    """Draw a picture, the heat of its regions, and what the best of them alone show.

    Parameters
    ----------
    heat
        A single row with a value for every pixel, such as ``xrai.regions(...)[0].heat``.
    top
        From a fraction of the area to the pixels (height, width), bool, of the best regions, such
        as ``xrai.regions(...)[0].regions.top``.
    fractions
        How much of the area to show at most, a cut-out each.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot, so nothing has to be closed. Above each cut-out stands what it
        adds up to: it may be more than the whole, as other regions pull away.

    Raises
    ------
    InputError
        The row is no picture, or its values are not in the picture's pixel grid.
    """
    picture = heat.subjects[0] if len(heat.subjects) == 1 else None
    if not isinstance(picture, Picture) or heat.several or not covers(heat, picture):
        raise InputError(
            "cut-outs are of one picture and one target, with a value for every pixel; expected an "
            "attribution such as xrai.regions(...)[0].heat. Pick one with a.select(i), a.target(k)."
        )
    values, drawing = flat(heat.values), to_the_best(draw(heat, picture))
    painted = colour.overlay(drawing.strength, drawing.pixels)
    whole = f"regions\nsum {signed(float(values.sum()))}"
    shown = {"picture\n": drawing.pixels, whole: painted}
    for fraction in fractions:
        mask = top(fraction)
        shown[legend(values, mask, fraction)] = inside(drawing, mask)
    return beside(shown, drawing, f"{visible(picture.name)}: {visible(heat.targets[0])}")


def to_the_best(drawing: Drawing) -> Drawing:
    """Scaled by the largest value: what pulls away most is small, chosen last, and clipped."""
    scale = HEADROOM * float(drawing.sums.max())
    if not scale > 0:
        return drawing
    return replace(drawing, scale=scale, strength=(drawing.sums / scale).clamp(-1, 1))


def legend(values: Tensor, mask: Tensor, fraction: float) -> str:
    """What a cut-out is, and what it is worth."""
    area, worth = float(mask.double().mean()), float(values[mask].sum())
    return f"best regions within {part(fraction)}\n{percent(area)} of the area, sum {signed(worth)}"


def inside(drawing: Drawing, mask: Tensor) -> Tensor:
    """The picture inside a mask, faint and grey outside: (height, width, 3) uint8."""
    share = pool(mask.double(), drawing.cell) / pool(torch.ones(mask.shape), drawing.cell)
    pixels = drawing.pixels.double()
    faint = 255 - FAINT * (255 - pixels.mean(-1, keepdim=True))
    kept = share[..., None]
    return (kept * pixels + (1 - kept) * faint).round().to(torch.uint8)


def beside(shown: dict[str, Tensor], drawing: Drawing, heading: str) -> Figure:
    """Pictures in a row, each with its name, and the scale of the heat."""
    height, width = drawing.pixels.shape[:2]
    figure = Figure(figsize=(3 * len(shown), 1.3 + 3 * height / width), layout="constrained")
    axes = figure.subplots(1, len(shown))
    for axis, (name, pixels) in zip(axes, shown.items(), strict=True):
        axis.imshow(pixels.numpy())
        axis.set_title(name, fontsize="small")
        axis.set_axis_off()
    scale(figure, axes.tolist(), drawing.scale, f"{HEADROOM} times the best region")
    figure.suptitle(heading, fontsize="medium", **PLAIN)
    return figure

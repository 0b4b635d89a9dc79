"""One row as a matplotlib figure."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from intgrad._types import flatten
from intgrad.attribution import Attribution
from intgrad.errors import InputError
from intgrad.report import colour
from intgrad.report.facts import verdict
from intgrad.report.features import Piece, features, line
from intgrad.report.picture import CLIP, Drawing, covers, draw, strongest
from intgrad.report.say import percent, visible
from intgrad.report.sentence import spells, words
from intgrad.subject import Picture, Sentence

try:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError(
        'figures are drawn by matplotlib, which is not installed: pip install "intgrad[image]"'
    ) from error

PLAIN: dict[str, Any] = {"parse_math": False}  # a dollar sign in a name is a dollar sign


def plot(attribution: Attribution, row: int = 0) -> Figure:
    """Draw one row: picture, heat map and overlay; a bar a word; or bars and maps of values.

    Parameters
    ----------
    row
        Which row. Of several targets, the one with the highest f(x); `a.target(k)` picks another.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot, so nothing has to be closed.

    Raises
    ------
    InputError
        There is no such row.
    """
    one = single(attribution, row)
    subject = one.subjects[0] if one.subjects else None
    if isinstance(subject, Picture) and covers(one, subject):
        figure = three(draw(one, subject))
    elif isinstance(subject, Sentence) and spells(one, subject):
        told = words(one, subject)
        figure = bars(told.words)
    else:
        figure = anything(one)
    name = visible(subject.name) if subject else f"row {row}"
    heading = f"{name}: {visible(one.targets[0])}"
    sure = f"error {percent(float(one.error[0]))}, converged: {verdict(one)}"
    figure.suptitle(f"{heading}\n{sure}", fontsize="medium", **PLAIN)
    return figure


def single(a: Attribution, row: int) -> Attribution:
    """One row and one target."""
    if not -len(a) <= row < len(a):
        raise InputError(f"row={row}; expected 0 to {len(a) - 1}, as there are {len(a)} rows.")
    if a.several:
        a = a.target(int(a.output[:, row].argmax()))
    return a.select([row])


def three(drawing: Drawing) -> Figure:
    """Picture, heat map and overlay side by side, and the scale."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    painted = colour.overlay(drawing.strength, drawing.pixels)
    shown = (drawing.pixels, colour.heat(drawing.strength), painted)
    for axis, pixels, name in zip(axes, shown, ("picture", "heat map", "overlay"), strict=True):
        axis.imshow(pixels.numpy())
        axis.set_title(name, fontsize="small")
        axis.set_axis_off()
    scale(figure, axes.tolist(), drawing.scale)
    return figure


def scale(
    figure: Figure, axes: list[Axes], top: float, end: str = f"percentile {CLIP} of |value|"
) -> None:
    """A colour bar from what pulls away to what speaks for; `end` says where it ends."""
    limits = Normalize(-top, top) if top else Normalize(-1, 1)
    bar = figure.colorbar(
        ScalarMappable(limits, colours()), ax=axes, orientation="horizontal", shrink=0.5, aspect=40
    )
    bar.set_label(f"pulls away  <  0  <  speaks for     (ends at {end})")


def colours() -> ListedColormap:
    """The heat map's colours on white paper."""
    strength = torch.linspace(-1, 1, 255, dtype=torch.float64)[None]
    return ListedColormap((colour.heat(strength)[0].double() / 255).numpy(), "intgrad")


def bars(pieces: tuple[Piece, ...]) -> Figure:
    """A signed bar each, from the top, with its error; what pulls away is hatched."""
    figure = Figure(figsize=(7, 1.6 + 0.26 * len(pieces)), layout="constrained")
    axis = figure.subplots()
    for place, piece in enumerate(pieces):
        positive = piece.value > 0
        tint = tuple(c / 255 for c in (colour.POSITIVE if positive else colour.NEGATIVE))
        axis.barh(
            place,
            piece.value,
            xerr=piece.error,
            color=tint,
            hatch=None if positive else "//",
            edgecolor="white",
            error_kw={"elinewidth": 1, "capsize": 2},
        )
    axis.set_yticks(range(len(pieces)), [p.name for p in pieces], **PLAIN)
    axis.set_xlabel("pulls away  <  0  <  speaks for")
    axis.axvline(0, color="0.4", linewidth=0.8)
    axis.invert_yaxis()
    axis.spines[["top", "right", "left"]].set_visible(False)
    return figure


def anything(one: Attribution) -> Figure:
    """A heat map where the values are a table; else bars of the largest."""
    point, _ = flatten(one.values, "values")
    if len(point) == 1 and point[0].ndim == 3 and min(point[0].shape[1:]) > 1:
        return table(line(one.values).reshape(point[0].shape[1:]))
    return bars(features(one).pieces)


def table(values: Tensor) -> Figure:
    """Values (rows, columns) as a heat map."""
    top = strongest(values)
    strength = (values / top if top else values).clamp(-1, 1)
    figure = Figure(figsize=(7, 5), layout="constrained")
    axis = figure.subplots()
    axis.imshow(colour.heat(strength).numpy(), aspect="auto", interpolation="nearest")
    axis.set_xlabel("second index")
    axis.set_ylabel("first index")
    scale(figure, [axis], top)
    return figure

"""Interactions of one row as a matplotlib figure: the matrix, a bar for each strong pair, a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from intgrad.errors import InputError
from intgrad.interactions.result import Interactions
from intgrad.report import colour
from intgrad.report.figure import PLAIN, Axes, Figure, scale
from intgrad.report.say import percent, visible

LABELLED = 24  # groups: more labels run into each other
THICK = 6.0  # points: the line of the strongest pair
Pair = tuple[int, int, float, float]


def plot(
    found: Interactions, row: int = 0, top: int = 10, names: Sequence[str] | None = None
) -> Figure:
    """Draw one row: the matrix, its strongest pairs of different groups as bars, and as a network.

    Parameters
    ----------
    top
        How many pairs.
    names
        Of all groups; their numbers by default.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot, so nothing has to be closed.

    Raises
    ------
    InputError
        There is no such row, or not as many names as groups.
    """
    found.refuse_row(row)
    count = found.values.shape[2]
    if names is not None and len(names) != count:
        raise InputError(f"names has {len(names)} entries; expected {count}, one a group.")
    say: Callable[[int], str] = str if names is None else [visible(n) for n in names].__getitem__
    figure = Figure(figsize=(14, 4.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 0.7, 1))
    matrix(figure, left, found, row, say)
    pairs = found.pairs(row, top)
    bars(middle, pairs, say)
    network(right, pairs, say)
    sure = f"error {percent(float(found.error[row]))}, converged: {bool(found.converged[row])}"
    heading = f"row {row % len(found)}: {visible(found.targets[row])}"
    figure.suptitle(f"{heading}\n{sure}", fontsize="medium", **PLAIN)
    return figure


def matrix(
    figure: Figure, axis: Axes, found: Interactions, row: int, say: Callable[[int], str]
) -> None:
    """The values as colours, as strong as the strongest pair; what groups do alone may go beyond."""
    values = found.values[row]
    pairs = values.masked_fill(found.of[:, None] == torch.arange(values.shape[1]), 0)
    largest = float(pairs.abs().max()) or float(values.abs().max())
    strength = (values / largest if largest else values).clamp(-1, 1)
    axis.imshow(colour.heat(strength).numpy(), aspect="auto", interpolation="nearest")
    asked, named = found.of.tolist(), say is not str
    if len(asked) <= LABELLED and (named or len(asked) < values.shape[1]):
        axis.set_yticks(range(len(asked)), [say(i) for i in asked], **PLAIN)
    else:
        axis.set_ylabel("group")
    if named:
        axis.set_xticks([])
    axis.set_xlabel("groups, in the same order" if named else "group")
    scale(figure, [axis], largest, "the strongest pair")


def tint(value: float) -> tuple[float, ...]:
    """The colour of a sign."""
    return tuple(c / 255 for c in (colour.POSITIVE if value > 0 else colour.NEGATIVE))


def bars(axis: Axes, pairs: Sequence[Pair], say: Callable[[int], str]) -> None:
    """A signed bar for each pair, from the top, with its error; what pulls away is hatched."""
    for place, (_, _, value, error) in enumerate(pairs):
        axis.barh(
            place,
            value,
            xerr=error,
            color=tint(value),
            hatch=None if value > 0 else "//",
            edgecolor="white",
            error_kw={"elinewidth": 1, "capsize": 2},
        )
    axis.set_yticks(range(len(pairs)), [f"{say(i)} and {say(j)}" for i, j, *_ in pairs], **PLAIN)
    axis.set_xlabel("pulls away  <  0  <  speaks for")
    axis.axvline(0, color="0.4", linewidth=0.8)
    axis.invert_yaxis()
    axis.spines[["top", "right", "left"]].set_visible(False)


def network(axis: Axes, pairs: Sequence[Pair], say: Callable[[int], str]) -> None:
    """The same pairs as lines between their groups, on a circle; what pulls away is dashed."""
    groups = sorted({i for pair in pairs for i in pair[:2]})
    turn = 2 * math.pi / max(len(groups), 1)
    place = {g: (math.sin(k * turn), math.cos(k * turn)) for k, g in enumerate(groups)}
    largest = max((abs(value) for *_, value, _ in pairs), default=1.0) or 1.0
    for i, j, value, _ in reversed(pairs):  # the strongest on top
        (x, y), (u, v) = place[i], place[j]
        share, dashes = abs(value) / largest, "-" if value > 0 else (0, (2, 1))
        width = max(0.5, THICK * share)
        axis.plot([x, u], [y, v], color=tint(value), linewidth=width, linestyle=dashes, zorder=1)
    for g, (x, y) in place.items():
        axis.plot(x, y, "o", color="0.25", markersize=6, zorder=2)
        side = "center" if abs(x) < 0.2 else "left" if x > 0 else "right"
        at = {"ha": side, "va": "center" if abs(x) >= 0.2 else "bottom" if y > 0 else "top"}
        axis.text(1.1 * x, 1.1 * y, say(g), fontsize="small", **at, **PLAIN)
    axis.set(aspect="equal", xlim=(-1.9, 1.9), ylim=(-1.3, 1.3))
    axis.axis("off")

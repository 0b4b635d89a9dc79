"""Interactions of one row as a matplotlib figure: the matrix, and a bar for each strong pair."""

from __future__ import annotations

from intgrad.interactions.result import Interactions
from intgrad.report import colour
from intgrad.report.figure import PLAIN, Axes, Figure, scale
from intgrad.report.picture import strongest
from intgrad.report.say import percent, visible

LABELLED = 24  # groups asked for: more labels run into each other


def plot(found: Interactions, row: int = 0, top: int = 10) -> Figure:
    """Draw one row: the matrix on the left, its strongest pairs of different groups on the right.

    Returns
    -------
    matplotlib.figure.Figure
        Not registered with pyplot, so nothing has to be closed.

    Raises
    ------
    InputError
        There is no such row.
    """
    found.refuse_row(row)
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    values = found.values[row]
    largest = strongest(values)
    strength = (values / largest if largest else values).clamp(-1, 1)
    left.imshow(colour.heat(strength).numpy(), aspect="auto", interpolation="nearest")
    left.set_xlabel("group")
    left.set_ylabel("group")
    if len(found.of) < min(values.shape[1], LABELLED):
        left.set_yticks(range(len(found.of)), [str(i) for i in found.of.tolist()])
    scale(figure, [left], largest)
    bars(right, found.pairs(row, top))
    sure = f"error {percent(float(found.error[row]))}, converged: {bool(found.converged[row])}"
    heading = f"row {row % len(found)}: {visible(found.targets[row])}"
    figure.suptitle(f"{heading}\n{sure}", fontsize="medium", **PLAIN)
    return figure


def bars(axis: Axes, pairs: list[tuple[int, int, float, float]]) -> None:
    """A signed bar for each pair, from the top, with its error; what pulls away is hatched."""
    for place, (_, _, value, error) in enumerate(pairs):
        tint = tuple(c / 255 for c in (colour.POSITIVE if value > 0 else colour.NEGATIVE))
        axis.barh(
            place,
            value,
            xerr=error,
            color=tint,
            hatch=None if value > 0 else "//",
            edgecolor="white",
            error_kw={"elinewidth": 1, "capsize": 2},
        )
    axis.set_yticks(range(len(pairs)), [f"{i} and {j}" for i, j, *_ in pairs], **PLAIN)
    axis.set_xlabel("pulls away  <  0  <  speaks for")
    axis.axvline(0, color="0.4", linewidth=0.8)
    axis.invert_yaxis()
    axis.spines[["top", "right", "left"]].set_visible(False)

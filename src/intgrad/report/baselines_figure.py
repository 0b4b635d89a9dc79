"""One row under every baseline as a matplotlib figure, with the ranks' agreement."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from intgrad._types import flatten
from intgrad.errors import InputError
from intgrad.laboratory import BaselineReport
from intgrad.laboratory.table import shortened
from intgrad.report import colour
from intgrad.report.baselines_card import DOTS, Unit, largest, surviving
from intgrad.report.figure import PLAIN
from intgrad.report.files import make_folder, write
from intgrad.report.picture import cell_of, covers, draw, shrink, strongest
from intgrad.report.pngs import name_of
from intgrad.report.say import visible
from intgrad.subject import Picture, Sentence

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError(
        'figures are drawn by matplotlib, which is not installed: pip install "intgrad[image]"'
    ) from error


def save_pngs(reports: Sequence[BaselineReport], folder: str | PathLike[str]) -> list[Path]:
    """Write the figure of every row, ``001-name.png``, ``002-name.png``, ...

    Raises
    ------
    InputError
        The folder cannot be written. Nothing is written unless every row can be drawn.
    """
    rows = [(r, row) for r in reports for row in range(len(r))]
    drawn = [(name_of(r.members[0].select([row])), encoded(r.plot(row))) for r, row in rows]
    home = make_folder(folder)
    return [write(home / f"{i:03d}-{name}.png", data) for i, (name, data) in enumerate(drawn, 1)]


def encoded(figure: Figure) -> bytes:
    """A figure as a PNG file, the same bytes for the same figure."""
    held = BytesIO()
    figure.savefig(held, format="png", dpi=120, metadata={"Software": None})
    return held.getvalue()


def plot(report: BaselineReport, row: int = 0) -> Figure:
    """Draw one row: the attributions side by side, what survives, the rank correlations.

    Parameters
    ----------
    row
        Which row.

    Returns
    -------
    matplotlib.figure.Figure
        Pictures: each baseline above its overlay, and last the picture above what survives. Words
        and features: their bars. Not registered with pyplot, so nothing has to be closed.

    Raises
    ------
    InputError
        There is no such row.
    """
    if not -len(report) <= row < len(report):
        raise InputError(
            f"row={row}; expected 0 to {len(report) - 1}, as there are {len(report)} rows."
        )
    row %= len(report)
    members = [a.select([row]) for a in report.members]
    subject = members[0].subjects[0] if members[0].subjects else None
    (values, *others) = flatten(report.units[0].values, "values")[0]
    if isinstance(subject, Picture) and covers(members[0], subject):
        figure = gallery(report, row, subject)
    elif values.ndim == 3 and not others and min(values.shape[1:]) > 1:
        figure = maps(report, row)
    else:
        figure = bars(report, row, isinstance(subject, Sentence))
    name = visible(subject.name) if subject else f"row {row}"
    figure.suptitle(f"{name}: {visible(members[0].targets[0])}", fontsize="medium", **PLAIN)
    return figure


def gallery(report: BaselineReport, row: int, picture: Picture) -> Figure:
    """A picture: baselines above, overlays below; then the picture, and what survives."""
    names = captions(report, row)
    tall, wide = picture.pixels.shape[:2]
    figure, grid, last = board(len(names) + 1, 2, min(max(1.7 * tall / wide, 0.8), 3) + 0.2)
    cell = cell_of(picture, DOTS)
    above = [shrink(p, cell) for p in report.pictures]
    for b, (name, member) in enumerate(zip(names, report.members, strict=True)):
        drawing = draw(member.select([row]), picture, DOTS)
        if above:
            show(grid[0][b], above[b], name)
        painted = colour.overlay(drawing.strength, drawing.pixels)
        show(grid[1][b], painted, "" if above else name)
    show(grid[0][-1], shrink(picture.pixels, cell), "the picture\n")
    units = [a.select([row]) for a in report.units]
    kept = surviving(units, report.consensus.survivors[row], picture)
    grid[1][-1].set_axis_off()
    if kept is not None:
        show(grid[1][-1], kept, "survives all")
    agreement(last, report, row)
    return figure


def maps(report: BaselineReport, row: int) -> Figure:
    """Values (rows, columns): a heat map a baseline, and the mean of what survives."""
    names = captions(report, row)
    figure, grid, last = board(len(names) + 1, 1, 2.3)
    found = [flatten(a.values, "values")[0][0][row].detach().double().cpu() for a in report.units]
    kept = report.consensus.survivors[row].reshape(found[0].shape)
    found.append(torch.where(kept, torch.stack(found).mean(0), 0))
    for axis, values, name in zip(grid[0], found, [*names, "survives all\n"], strict=True):
        top = strongest(values)
        heat = colour.heat((values / top if top else values).clamp(-1, 1))
        axis.imshow(heat.numpy(), interpolation="nearest")
        axis.set_title(name, fontsize=7, **PLAIN)
        axis.set_xticks([])
        axis.set_yticks([])
    agreement(last, report, row)
    return figure


def bars(report: BaselineReport, row: int, ordered: bool) -> Figure:
    """Words or features: signed bars under each baseline; names of survivors are bold."""
    units, _ = largest(report, [a.select([row]) for a in report.units], row, ordered)
    names = captions(report, row)
    height = 1.6 + 0.24 * max(len(units), 8)
    figure, grid, last = board(len(names), 1, height - 1.1, narrow=1.9)
    for b, (axis, name) in enumerate(zip(grid[0], names, strict=True)):
        strip(axis, units, b)
        axis.set_title(name, fontsize=7, **PLAIN)
        axis.set_yticks(range(len(units)), [u.name for u in units] if not b else [], **PLAIN)
        axis.set_ylim(len(units) - 0.4, -0.6)
    for label, unit in zip(grid[0][0].get_yticklabels(), units, strict=True):
        label.set_fontweight("bold" if unit.survives else "normal")
    agreement(last, report, row)
    figure.supxlabel("pulls away  <  0  <  speaks for.  Bold: survives every baseline", fontsize=8)
    return figure


def strip(axis: Axes, units: Sequence[Unit], b: int) -> None:
    """The bars of one baseline with their errors; what pulls away is hatched."""
    for place, unit in enumerate(units):
        piece = unit.pieces[b]
        side = colour.POSITIVE if piece.value > 0 else colour.NEGATIVE
        axis.barh(
            place,
            piece.value,
            xerr=piece.error,
            color=tuple(c / 255 for c in side),
            hatch=None if piece.value > 0 else "//",
            edgecolor="white",
            error_kw={"elinewidth": 1, "capsize": 2},
        )
    axis.axvline(0, color="0.4", linewidth=0.8)
    axis.tick_params(labelsize=7)
    axis.locator_params(axis="x", nbins=4)
    axis.spines[["top", "right", "left"]].set_visible(False)


def agreement(axis: Axes, report: BaselineReport, row: int) -> None:
    """The rank correlation of every two baselines, as numbers on grey."""
    numbers, names = report.consensus.spearman[row], [visible(n) for n in shortened(report.names)]
    grey = numbers.clamp(min=0).nan_to_num() * 0.6
    grey.fill_diagonal_(0)
    axis.imshow(grey.numpy(), cmap="Greys", vmin=0, vmax=1)
    for i, j in torch.combinations(torch.arange(len(names))).tolist():
        for x, y in ((i, j), (j, i)):
            said = float(numbers[i, j])
            text = "-" if said != said else f"{said:.2f}"
            axis.text(x, y, text, ha="center", va="center", fontsize=7)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7, **PLAIN)
    axis.set_yticks(range(len(names)), names, fontsize=7, **PLAIN)
    axis.set_title("rank correlation\n", fontsize=7)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)


# ------------------------------------------------------------------------------ the canvas


def board(
    columns: int, rows: int, height: float, narrow: float = 1.7
) -> tuple[Figure, list[list[Axes]], Axes]:
    """Axes in columns and rows, and one more at the right over all rows."""
    figure = Figure(figsize=(narrow * columns + 2.9, 0.9 + height * rows), layout="constrained")
    ratios = [1.0] * columns + [1.35]
    spec = figure.add_gridspec(rows, columns + 1, width_ratios=ratios)
    axes = [[figure.add_subplot(spec[r, c]) for c in range(columns)] for r in range(rows)]
    return figure, axes, figure.add_subplot(spec[:, columns])


def show(axis: Axes, pixels: Tensor, title: str) -> None:
    """Pixels under a title."""
    axis.imshow(pixels.numpy())
    axis.set_title(title, fontsize=7, **PLAIN)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_color("0.8")  # so that white is seen on white


def captions(report: BaselineReport, row: int) -> list[str]:
    """The baselines, and under each what the model sees there."""
    said = []
    for b, name in enumerate(shortened(report.names)):
        one = report.standings[b]
        note = f"\nentropy {float(one.entropy[row]):.2f}" if one is not None else "\n"
        said.append(visible(name) + note)
    return said

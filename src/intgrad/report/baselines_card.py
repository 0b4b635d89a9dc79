"""One row under several baselines, as a page shows it: drawn, told, and in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from intgrad._types import flatten
from intgrad.attribution import Attribution
from intgrad.laboratory import BaselineReport
from intgrad.laboratory.result import combined
from intgrad.laboratory.table import shortened
from intgrad.report import colour, png
from intgrad.report.features import Piece, line, lines_of_error, strengths
from intgrad.report.picture import (
    COLUMNS,
    ROWS,
    cell_of,
    covers,
    draw,
    flat,
    ninth,
    shrink,
    strongest,
    thirds,
)
from intgrad.report.say import counted, number, part, visible
from intgrad.subject import Picture, Sentence

LARGEST = 15  # units of a table
DOTS = 160  # of a small picture: in finer ones the heat of single pixels could not be seen

MATRICES = {
    "spearman": "Spearman",
    "signs": "Same sign",
    "certain_signs": "Same sign, certain",
    "largest": "Largest",
}


@dataclass(frozen=True)
class Matrix:
    """An agreement of every two baselines: text and tint of each cell."""

    name: str
    rows: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]


@dataclass(frozen=True)
class Panel:
    """A row under one baseline, drawn: pictures as addresses, words with their strengths."""

    name: str
    note: str
    start: str = ""
    image: str = ""
    words: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Unit:
    """A word, feature or region under every baseline, and whether its sign survives."""

    name: str
    pieces: tuple[Piece, ...]
    survives: bool


@dataclass(frozen=True)
class Card:
    """One row: drawn, told, and in numbers."""

    anchor: str
    name: str
    target: str
    story: str
    converged: str
    panels: tuple[Panel, ...]
    survivors: str
    caption: str
    units: tuple[Unit, ...]
    matrices: tuple[Matrix, ...]


def matrix(name: str, numbers: Tensor, names: Sequence[str]) -> Matrix:
    """Numbers (B, B) as a table without its diagonal."""
    rows = [
        (own, tuple(_cell(float(v)) if i != j else ("", 0.0) for j, v in enumerate(values)))
        for i, (own, values) in enumerate(zip(names, numbers, strict=True))
    ]
    return Matrix(name, tuple(rows))


def _cell(value: float) -> tuple[str, float]:
    return ("-", 0.0) if value != value else (f"{value:.2f}", max(value, 0.0))


def card(report: BaselineReport, row: int, anchor: str) -> Card:
    """A row under every baseline."""
    members = [a.select([row]) for a in report.members]
    units = [a.select([row]) for a in report.units]
    subject = members[0].subjects[0] if members[0].subjects else None
    names = [visible(n) for n in shortened(report.names)]
    missed = [n for n, a in zip(names, members, strict=True) if not bool(a.converged[0])]
    picture = subject if isinstance(subject, Picture) and covers(members[0], subject) else None
    told, caption = (
        (regions(members), "Values added up over three by three regions")
        if picture
        else largest(report, units, row, isinstance(subject, Sentence))
    )
    kept = surviving(units, report.consensus.survivors[row], picture) if picture else None
    return Card(
        anchor=anchor,
        name=visible(subject.name) if subject else f"row {row}",
        target=visible(members[0].targets[0]),
        story=story(report, row),
        converged=f"not converged under {', '.join(missed)}" if missed else "",
        panels=tuple(panels(report, row, members, units)),
        survivors="" if kept is None else png.data_uri(kept),
        caption=caption,
        units=told,
        matrices=tuple(
            matrix(title, getattr(report.consensus, field)[row], names)
            for field, title in MATRICES.items()
        ),
    )


def story(report: BaselineReport, row: int) -> str:
    """What survives, in a sentence or two."""
    c = report.consensus
    size, of = int(c.survivors[row].sum()), int(c.live[row].sum())
    mass = float(c.mass[row].nanmean())
    held = "" if mass != mass else f"; they hold {part(mass)} of the absolute values"
    common = int(c.common[row].sum())
    return (
        f"The sign of {size} of {counted(of, 'unit')} is the same and certain under every baseline{held}. "
        f"{common} of the {c.k} largest are the same under all."
    )


def panels(
    report: BaselineReport, row: int, members: Sequence[Attribution], units: Sequence[Attribution]
) -> list[Panel]:
    """A drawing of each baseline's answer, where rows are pictures, texts, or maps."""
    subject = members[0].subjects[0] if members[0].subjects else None
    said = [(visible(name), note(report, b, row)) for b, name in enumerate(report.names)]
    if isinstance(subject, Picture) and covers(members[0], subject):
        drawings = [draw(a, subject, DOTS) for a in members]
        starts = [png.data_uri(shrink(p, drawings[0].cell)) for p in report.pictures]
        images = [png.data_uri(colour.overlay(d.strength, d.pixels)) for d in drawings]
        shown = zip(said, starts or [""] * len(images), images, strict=True)
        return [Panel(*words, start, image) for words, start, image in shown]
    if isinstance(subject, Sentence) and len(report.unit_names(row)) == len(line(units[0].values)):
        names = report.unit_names(row)
        told = zip(said, units, strict=True)
        return [Panel(*words, words=pieces(a, names)) for words, a in told]
    maps = [grid(a) for a in units]
    shown = zip(said, maps, strict=True)
    return [Panel(*words, image=png.data_uri(m)) for words, m in shown if m is not None]


def grid(one: Attribution) -> Tensor | None:
    """The heat of values (1, height, width), as pixels; None of any other."""
    values, *others = flatten(one.values, "values")[0]
    if others or values.ndim != 3 or min(values.shape[1:]) < 2:
        return None
    sums = values[0].detach().double().cpu()
    top = strongest(sums)
    return colour.heat((sums / top if top else sums).clamp(-1, 1))


def note(report: BaselineReport, b: int, row: int) -> str:
    """What the model says of a row's baseline."""
    said, a = report.standings[b], report.members[b]
    if said is None:
        return f"f(baseline) {number(float(a.baseline_output[row]))}"
    best = int(said.top[row])
    name = report.labels[best] if best < len(report.labels) else f"class {best}"
    top = f"{float(said.top_probability[row]):.2g}"
    return f"seen as {visible(name)} ({top}), entropy {float(said.entropy[row]):.2f}"


def pieces(one: Attribution, names: Sequence[str]) -> tuple[Piece, ...]:
    """All values of a row with their names, errors and strengths."""
    values, errors = line(one.values), lines_of_error(one)
    return tuple(
        Piece(visible(name), float(v), errors[i] if errors else None, s)
        for i, (name, v, s) in enumerate(zip(names, values, strengths(values), strict=True))
    )


def largest(
    report: BaselineReport, units: Sequence[Attribution], row: int, ordered: bool
) -> tuple[tuple[Unit, ...], str]:
    """Units under every baseline: all words of a text in order, else the largest by their mean."""
    names, kept = report.unit_names(row), report.consensus.survivors[row].tolist()
    sizes = line(combined(units).values).abs()
    chosen = sizes.sort(descending=True, stable=True).indices[:LARGEST].tolist()
    live = report.consensus.live[row].nonzero()[:, 0].tolist()
    ordered = ordered and len(live) <= 4 * LARGEST
    order = live if ordered else [i for i in chosen if i in live]
    each = [pieces(a, names) for a in units]
    told = tuple(Unit(visible(names[i]), tuple(own[i] for own in each), kept[i]) for i in order)
    how = "in order" if ordered else "the largest by their mean over the baselines"
    return told, f"{len(told)} of {counted(len(live), 'unit')} that get anything, {how}"


def regions(members: Sequence[Attribution]) -> tuple[Unit, ...]:
    """The nine regions of a picture under every baseline."""
    sums = torch.stack([thirds(flat(a.values)) for a in members])
    maps = [a.error_map for a in members]
    wrong = torch.stack([torch.zeros(3, 3) if e is None else thirds(flat(e)) for e in maps])
    sign = torch.where(sums.abs() > wrong, sums.sign(), 0)
    kept = ((sign == sign[0]).all(0) & (sign[0] != 0)).tolist()
    shares = (sums.abs() / sums.abs().amax((1, 2), keepdim=True).clamp(min=1e-300)).tolist()
    return tuple(
        Unit(
            ninth(i, j),
            tuple(
                Piece("", float(sums[b, i, j]), float(wrong[b, i, j]), shares[b][i][j])
                for b in range(len(members))
            ),
            kept[i][j],
        )
        for i in range(len(ROWS))
        for j in range(len(COLUMNS))
    )


def surviving(units: Sequence[Attribution], kept: Tensor, picture: Picture) -> Tensor | None:
    """The mean of what survives, over the picture (height, width, 3) uint8; None of units but squares."""
    (values,) = flatten(combined(units).values, "values")[0]
    height, width = picture.pixels.shape[:2]
    cell = cell_of(picture, DOTS)
    if values.ndim != 3:
        return None
    down, across = values.shape[1:]
    side = -(-max(height, width) // max(down, across))
    if (down, across) != (-(-height // side), -(-width // side)):
        return None
    strength = torch.where(kept.reshape(down, across), values[0].double().cpu(), 0)
    strength = strength / strength.abs().max().clamp(min=1e-300)
    pixels = shrink(picture.pixels.detach().cpu(), cell)
    rows, columns = (torch.arange(n) * cell // side for n in pixels.shape[:2])
    return colour.overlay(strength[rows][:, columns], pixels)

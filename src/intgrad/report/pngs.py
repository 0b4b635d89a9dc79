"""Overlays as PNG files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from intgrad.attribution import Attribution
from intgrad.errors import InputError
from intgrad.report import colour, png
from intgrad.report.files import make_folder, write
from intgrad.report.picture import covers, draw
from intgrad.report.view import one_by_one, refuse
from intgrad.subject import Picture


def save_pngs(attributions: Sequence[Attribution], folder: str | PathLike[str]) -> list[Path]:
    """Write an overlay for every row: the picture in greys, orange for, blue away.

    Files are numbered and named after the picture, ``001-cat.png``; where there are several
    targets, each row has a file for each of the three with the highest f(x).

    Raises
    ------
    InputError
        A row is no picture, its values are not in the picture's pixel grid, or the folder cannot
        be written. Nothing is written unless every row can be drawn.
    """
    refuse(attributions)
    rows = [one for a in attributions for _, _, one in one_by_one(a, len(a))]
    drawn = [(name_of(one), overlay(one)) for one in rows]
    home = make_folder(folder)
    return [write(home / f"{i:03d}-{name}.png", data) for i, (name, data) in enumerate(drawn, 1)]


def overlay(one: Attribution) -> bytes:
    """The overlay of a single row as a PNG file."""
    picture = one.subjects[0] if one.subjects else None
    if not isinstance(picture, Picture) or not covers(one, picture):
        raise InputError(
            "a row is not a picture with a value for every pixel, so it has no overlay; use "
            "intgrad.report.page, or a.plot(row).savefig(...)."
        )
    drawing = draw(one, picture)
    return png.encode(colour.overlay(drawing.strength, drawing.pixels))


def name_of(one: Attribution) -> str:
    """A file name from the picture's or text's: letters and digits alone, so it stays in its folder."""
    subject = one.subjects[0] if one.subjects else None
    name = subject.name if subject else ""
    name = Path(name).stem if isinstance(subject, Picture) else name
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "row"

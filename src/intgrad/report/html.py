"""Pages and fragments: self-contained, without scripts, the same bytes for the same input."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from intgrad.attribution import Attribution
from intgrad.report import colour
from intgrad.report.facts import MEANINGS
from intgrad.report.files import write
from intgrad.report.say import about, signed, visible
from intgrad.report.view import default_title, provenances, refuse, sections

PAGE_ROWS = 100  # of an attribution; a page with thousands would not open
FRAGMENT_ROWS = 8  # a notebook cell shows a glimpse


def environment() -> Environment:
    """Templates that escape everything and refuse what is not defined."""
    made = Environment(
        loader=PackageLoader("intgrad.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(signed=signed, about=about)
    return made


ENVIRONMENT = environment()


def page(
    attributions: Sequence[Attribution],
    path: str | PathLike[str] | None = None,
    title: str | None = None,
) -> str:
    """A whole page: each row drawn, its certificate under it, recipe and versions at the end.

    Parameters
    ----------
    attributions
        At least one; up to 100 rows of each are shown, and the page says how many are not.
    path
        Where to write it as well (UTF-8), whole or not at all.
    title
        Plain text; by default what is shown.

    Returns
    -------
    str
        HTML without scripts or outside resources.

    Raises
    ------
    InputError
        Nothing to show, or `path` cannot be written.
    """
    refuse(attributions)
    text = render("page.html.j2", attributions, PAGE_ROWS, title, anchors=True)
    if path is not None:
        write(path, text.encode("utf-8"))
    return text


def fragment(attributions: Sequence[Attribution]) -> str:
    """The same for a notebook: one element with its own style, the first 8 rows of each."""
    refuse(attributions)
    # no anchors: several fragments may share one page, and an id must be unique
    return render("fragment.html.j2", attributions, FRAGMENT_ROWS, None, anchors=False)


def render(
    template: str,
    attributions: Sequence[Attribution],
    rows: int,
    title: str | None,
    anchors: bool,
) -> str:
    """Fill a template."""
    shown = sections(attributions, rows)
    filled: dict[str, Any] = {
        "title": visible(title) if title else default_title(attributions),
        "sections": shown,
        "summary": [block for section in shown for block in section.blocks],
        "provenances": provenances(attributions),
        "meanings": MEANINGS,
        "anchors": anchors,
        "colour": colour,
    }
    return ENVIRONMENT.get_template(template).render(filled)

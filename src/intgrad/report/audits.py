"""Audits as a page: every check with its verdict, and the rows where it went worst, drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from intgrad.audit.finding import Finding
from intgrad.audit.run import Audit
from intgrad.audit.task import Measured
from intgrad.report import colour, png
from intgrad.report.baselines_card import DOTS
from intgrad.report.facts import Fact
from intgrad.report.features import LARGEST, Piece, strengths
from intgrad.report.files import write
from intgrad.report.html import ENVIRONMENT
from intgrad.report.picture import cell_of, pool, shrink, strongest
from intgrad.report.say import counted, visible
from intgrad.report.view import Provenance
from intgrad.subject import Picture, Sentence

MEANINGS = (
    Fact("Size", "The worst violation that was found, or how far the method is behind what it is compared "
         "with; 0 for none. The note of a check says in what unit."),
    Fact("Allowed", "What rounding, the method's own error or chance explain. A size above it is broken."),
    Fact("Method, random, gradient", "The mean of the metric over the rows for the method, for a random map, "
         "and for the model's own gradient times the way from the baseline, each with half of its 95 % "
         "interval. A method that is no better than random is of no use; one no better than the gradient is "
         "not worth its cost on these rows."),
    Fact("Threshold", "What audit.toml asks for. Only thresholds decide whether an audit passes."),
)  # fmt: skip


PALE = 0.3  # of a picture's contrast is left outside the mask


@dataclass(frozen=True)
class Line:
    """A check in the table."""

    check: str
    verdict: str
    good: bool | None
    size: str
    allowed: str
    scores: tuple[str, str, str]
    anchor: str
    note: str


@dataclass(frozen=True)
class Card:
    """A row that is the worst of some checks: drawn, with what they found there."""

    anchor: str
    name: str
    facts: tuple[Fact, ...]
    original: str = ""
    heat: str = ""
    masked: bool = False
    words: tuple[Piece, ...] = ()
    units: tuple[Piece, ...] = ()


def page(audit: Audit, path: str | PathLike[str] | None = None, title: str | None = None) -> str:
    """A whole page on an audit.

    Parameters
    ----------
    path
        Where to write it as well (UTF-8), whole or not at all.
    title
        Plain text; by default the method's name.

    Returns
    -------
    str
        HTML without scripts or outside resources, everything escaped.

    Raises
    ------
    InputError
        `path` cannot be written.
    """
    rows = counted(len(audit.values), "row")
    facts = (Fact("Method", visible(audit.method)), Fact("Rows", str(len(audit.values))))
    filled = {
        "title": visible(title or f"Audit of {audit.method} on {rows}"),
        "lines": [line(f) for f in audit.findings],
        "cards": list(cards(audit)),
        "missed": [visible(why) for why in audit.missed],
        "asked": len(audit.thresholds),
        "provenances": [Provenance("", facts)],
        "meanings": MEANINGS,
        "colour": colour,
    }
    text = ENVIRONMENT.get_template("audit.html.j2").render(filled)
    if path is not None:
        write(path, text.encode("utf-8"))
    return text


def line(finding: Finding) -> Line:
    """A finding as a line of the table."""
    applies = finding.applies
    verdict = "does not apply" if not applies else "holds" if finding.holds else "BROKEN"
    return Line(
        visible(finding.check),
        verdict,
        finding.holds if applies else None,
        f"{finding.size:.3g}" if applies else "-",
        f"{finding.allowed:.3g}" if applies else "-",
        (score(finding, "method"), score(finding, "random"), score(finding, "gradient")),
        f"r{finding.worst['row']}" if "row" in finding.worst else "",
        visible(finding.note),
    )


def score(finding: Finding, who: str) -> str:
    """A mean and half its interval."""
    if not isinstance(finding, Measured) or who not in finding.scores:
        return "-"
    mean, half = finding.mean(who), finding.interval(who)
    return f"{mean:.3g}" + ("" if half != half else f" ± {half:.1g}")


def cards(audit: Audit) -> Iterator[Card]:
    """Each row that is the worst of a check, broken ones first."""
    applying = sorted((f for f in audit.findings if "row" in f.worst), key=lambda f: f.holds)
    for row in dict.fromkeys(int(f.worst["row"]) for f in applying):
        facts = tuple(
            Fact(visible(f.check), visible(worst(f))) for f in applying if f.worst["row"] == row
        )
        subject = audit.subjects[row] if audit.subjects else None
        name = visible(subject.name) if subject else f"row {row}"
        yield Card(f"r{row}", name, facts, **drawn(audit, row))


def worst(finding: Finding) -> str:
    """What is known of the worst case, in words."""
    told = {k: v for k, v in finding.worst.items() if k != "row"}
    said = "; ".join(f"{k} {spelled(v)}" for k, v in told.items()) or "here"
    return said if finding.holds else f"broken: {said}"


def spelled(value: Any) -> str:
    """A number in three digits, anything else as it is, not too long."""
    if isinstance(value, float):
        return f"{value:.3g}"
    said = str(value)
    return said if len(said) <= 120 else f"{said[:117]}..."


def drawn(audit: Audit, row: int) -> dict[str, Any]:
    """A row's map: over its picture, under its words, or as its largest units."""
    subject = audit.subjects[row] if audit.subjects else None
    units = audit.units[row].detach().double()
    if isinstance(subject, Picture) and tuple(units.shape) == tuple(subject.pixels.shape[:2]):
        return of_picture(units, subject, None if audit.masks is None else audit.masks[row])
    if isinstance(subject, Sentence):
        own = units.flatten()[: len(subject.tokens)]
        return {"words": pieces(subject.tokens, own)}
    if units.ndim == 2 and min(units.shape) > 1:
        return {"heat": png.data_uri(colour.heat(strength(units)))}
    flat = units.flatten()
    order = flat.abs().sort(descending=True, stable=True).indices[:LARGEST].tolist()
    return {"units": pieces([f"[{i}]" for i in order], flat[order])}


def of_picture(units: Tensor, picture: Picture, mask: Tensor | None) -> dict[str, Any]:
    """The picture, pale outside its mask, and the heat over it."""
    cell = cell_of(picture, 2 * DOTS)
    pixels = shrink(picture.pixels.detach().cpu(), cell)
    over = colour.overlay(strength(pool(units, cell)), pixels)
    if mask is not None:
        inside = pool(mask.detach().cpu().double(), cell)[..., None] / cell**2
        pixels = (
            (255 - (255 - pixels.double()) * (PALE + (1 - PALE) * inside)).round().to(pixels.dtype)
        )
    drawn = {"original": png.data_uri(pixels), "heat": png.data_uri(over)}
    return drawn | {"masked": mask is not None}


def strength(sums: Tensor) -> Tensor:
    """A map on its own scale, from -1 to 1."""
    top = strongest(sums)
    return (sums / top if top else torch.zeros_like(sums)).clamp(-1, 1)


def pieces(names: tuple[str, ...] | list[str], values: Tensor) -> tuple[Piece, ...]:
    """Values with their names and strengths."""
    told = zip(names, values.tolist(), strengths(values), strict=True)
    return tuple(Piece(visible(n), v, None, s) for n, v, s in told)

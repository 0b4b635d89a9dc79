"""Reports on baselines as a page: what the model sees in each, who agrees, what survives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import torch
from torch import Tensor

from intgrad.errors import InputError
from intgrad.laboratory import BaselineReport
from intgrad.laboratory.table import SURE, commonest, shortened
from intgrad.report import colour
from intgrad.report.baselines_card import MATRICES, Matrix, card, matrix
from intgrad.report.facts import Fact, provenance
from intgrad.report.files import write
from intgrad.report.html import ENVIRONMENT
from intgrad.report.say import counted, number, percent, visible
from intgrad.report.view import Provenance

PAGE_ROWS = 40  # a page of pictures under five baselines is large

MEANINGS = (
    Fact("Entropy", "Of the classes' probabilities at the baseline, relative to all alike: 1 where the model "
         "knows nothing, 0 where it is certain. Absence should be near 1. It is necessary and not "
         "sufficient, and not to be asked where one class is the model's default."),
    Fact("p", "Probability of the explained class at the baseline; near 0 is expected of absence."),
    Fact("Spearman", "Rank correlation of the values of all units, with their signs."),
    Fact("Same sign", "Share of all units; 0 is like 0 alone."),
    Fact("Same sign, certain", "Share of those units whose values are larger than their errors under both."),
    Fact("Survives", "The sign is the same under every baseline, and certain under each."),
    Fact("Largest", "Shared among the k largest units by absolute value."),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A baseline in the first table."""

    name: str
    top: str
    probability: str
    entropy: str
    low: bool
    start: str
    residual: str
    error: str
    evaluations: str
    converged: bool


def page(
    reports: Sequence[BaselineReport],
    path: str | PathLike[str] | None = None,
    title: str | None = None,
) -> str:
    """A whole page on several reports of the same baselines.

    Parameters
    ----------
    reports
        At least one; up to 40 rows of each are shown.
    path
        Where to write it as well (UTF-8), whole or not at all.
    title
        Plain text; by default how many baselines are compared.

    Returns
    -------
    str
        HTML without scripts or outside resources, everything escaped.

    Raises
    ------
    InputError
        Reports on other baselines than the first, or `path` cannot be written.
    """
    if not reports or any(r.names != reports[0].names for r in reports):
        raise InputError("expected one report on baselines or more, all on the same baselines.")
    names = [visible(name) for name in reports[0].names]
    rows = sum(map(len, reports))
    filled = {
        "title": visible(title or f"{len(names)} baselines on {counted(rows, 'row')}"),
        "names": [visible(n) for n in shortened(reports[0].names)],
        "lines": [baseline(reports, b, name) for b, name in enumerate(names)],
        "classes": all(s is not None for r in reports for s in r.standings),
        "matrices": matrices([r.consensus for r in reports], names) if rows > 1 else (),
        "cards": [
            card(r, row, f"r{i}-{row}")
            for i, r in enumerate(reports)
            for row in range(min(len(r), PAGE_ROWS))
        ],
        "rows": rows,
        "provenances": [
            Provenance(n, provenance(a)) for n, a in zip(names, reports[0].members, strict=True)
        ],
        "meanings": MEANINGS,
        "colour": colour,
    }
    text = ENVIRONMENT.get_template("baselines.html.j2").render(filled)
    if path is not None:
        write(path, text.encode("utf-8"))
    return text


# ------------------------------------------------------------------------------ of all rows


def baseline(reports: Sequence[BaselineReport], b: int, name: str) -> Line:
    """What the model says at a baseline and how sure its attributions are, over all rows."""
    members = [r.members[b] for r in reports]
    said = [s for r in reports if (s := r.standings[b]) is not None]
    known = [s.probability for s in said if s.probability is not None]
    gaps = [a.residual.abs() for a in members if a.residual is not None]
    doubt = mean([s.entropy for s in said]) if said else 1.0
    return Line(
        name=name,
        top=visible(commonest(reports, b, 60)) if said else "",
        probability=f"{mean(known):.3g}" if known else "-",
        entropy=f"{doubt:.2f}" if said else "-",
        low=doubt < SURE,
        start=number(mean([a.baseline_output for a in members])),
        residual=f"{float(torch.cat(gaps).max()):.1e}" if gaps else "not defined",
        error=percent(float(torch.cat([a.error for a in members]).max())),
        evaluations=f"{mean([a.evaluations for a in members]):.0f}",
        converged=all(bool(a.converged.all()) for a in members),
    )


def matrices(found: Sequence[object], names: Sequence[str]) -> tuple[Matrix, ...]:
    """The agreements of every two baselines, averaged over rows."""
    return tuple(
        matrix(title, torch.cat([getattr(c, field) for c in found]).nanmean(0), names)
        for field, title in MATRICES.items()
    )


def mean(parts: Sequence[Tensor]) -> float:
    """Of all numbers in several tensors."""
    return float(torch.cat([p.double().cpu() for p in parts]).mean())

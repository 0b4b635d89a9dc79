"""A report on baselines as plain text, in 80 columns: what each is, who agrees, what survives."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from intgrad._types import flatten
from intgrad.headline import percent, spread

LONGEST = 18  # letters of a baseline's name
TOP = 16  # and of a class
ROWS = 8  # whose survivors are listed
SHOWN = 6  # survivors of a row
SURE = 0.5  # an entropy below it is worth a word


def summary(reports: Sequence[Any]) -> str:
    """The tables of reports on the same baselines, averaged over all their rows."""
    names = shortened(reports[0].names)
    parts = (head(reports), standings(reports, names), doubts(reports, names))
    told = (*parts, agreement(reports, names), survival(reports))
    return "\n".join(line for part in told for line in part)


def head(reports: Sequence[Any]) -> list[str]:
    """What was explained, and how."""
    first, rows = reports[0].members[0], sum(map(len, reports))
    said = list(dict.fromkeys(name for r in reports for name in r.members[0].targets))
    more = f" and {len(said) - 1} more" if len(said) > 1 else ""
    output = torch.cat([r.members[0].output for r in reports])
    return [
        f"{len(reports[0].names)} baselines compared on {'1 row' if rows == 1 else f'{rows} rows'}: "
        f"{first.recipe.name}, at {first.run.at}",
        f"target: {said[0]}{more}; f(x) {spread(output)}",
    ]


def standings(reports: Sequence[Any], names: Sequence[str]) -> list[str]:
    """A line a baseline: what the model says there, and how sure the attribution is."""
    classes = all(s is not None for r in reports for s in r.standings)
    heads = ["top class", "p", "entropy", "f(base)"] if classes else ["prediction"]
    heads = ["baseline", *heads, "error", "evals"]
    lines = [_baseline(reports, b, name, classes) for b, name in enumerate(names)]
    return ["", *columns([heads, *lines], left=2 if classes else 1)]


def _baseline(reports: Sequence[Any], b: int, name: str, classes: bool) -> list[str]:
    members = [r.members[b] for r in reports]
    worst = torch.cat([a.error for a in members])
    own = [
        f"{_mean([a.baseline_output for a in members]):.4g}",
        percent(worst) + ("" if all(bool(a.converged.all()) for a in members) else " !"),
        f"{_mean([a.evaluations for a in members]):.0f}",
    ]
    return [name, *(_standing(reports, b) if classes else ()), *own]


def _standing(reports: Sequence[Any], b: int) -> list[str]:
    said = [r.standings[b] for r in reports]
    known = [s.probability for s in said if s.probability is not None]
    return [
        commonest(reports, b),
        f"{_mean(known):.2f}" if known else "-",
        f"{_mean([s.entropy for s in said]):.2f}",
    ]


def commonest(reports: Sequence[Any], b: int, most: int = TOP) -> str:
    """The class that the model sees in a baseline: the most frequent one, where rows differ."""
    seen = Counter(int(i) for r in reports for i in r.standings[b].top)
    (best, times), *rest = seen.most_common()
    labels = reports[0].labels
    share = f", {times}/{seen.total()}" if rest else ""
    return cut(labels[best] if best < len(labels) else f"class {best}", most - len(share)) + share


def doubts(reports: Sequence[Any], names: Sequence[str]) -> list[str]:
    """Where the model is sure of a class at a baseline; which have rows that are not converged."""
    lines = []
    said = [[r.standings[b] for r in reports] for b in range(len(names))]
    for b, name in enumerate(names):
        known = [s.entropy for s in said[b] if s is not None]
        if known and _mean(known) < SURE:
            lines.append(
                f"{name}: an entropy of {_mean(known):.2f} is low, the model sees {commonest(reports, b)}"
            )
        members = [r.members[b] for r in reports]
        missed = sum(int((~a.converged).sum()) for a in members)
        if missed:
            lines.append(f"{name}: NOT CONVERGED, {missed} of {sum(map(len, members))} rows")
    return lines


def agreement(reports: Sequence[Any], names: Sequence[str]) -> list[str]:
    """A line for every two baselines: the mean over rows, and the row with the lowest rank correlation."""
    c = [r.consensus for r in reports]
    sizes = sorted({one.k for one in c})
    k = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    lines = [["alike", "Spearman", "least", "signs", "certain", f"top {k}"]]
    for i, j in combinations(range(len(names)), 2):
        rank = torch.cat([one.spearman[:, i, j] for one in c])
        shares = (
            torch.cat([getattr(one, name)[:, i, j] for one in c])
            for name in ("signs", "certain_signs", "largest")
        )
        known = rank[~rank.isnan()]
        least = f"{float(known.min()):.2f}" if len(known) else "-"
        lines.append([f"{names[i]} ~ {names[j]}", number(rank), least, *map(share, shares)])
    return ["", *columns(lines, left=1)]


def survival(reports: Sequence[Any]) -> list[str]:
    """What is the same under every baseline, of all rows and then of each."""
    c = [r.consensus for r in reports]
    kept = torch.cat([one.survivors.double().sum(1) / one.live.sum(1) for one in c])
    mass = torch.cat([one.mass.nanmean(1) for one in c])
    common = torch.cat([one.common.double().sum(1) / one.k for one in c])
    said = (
        f"survives every baseline: the sign of {share(kept)} of the units, with {share(mass)} of the "
        f"absolute values; {share(common)} of the largest"
    )
    lines = ["", *textwrap.wrap(said, 79)]
    rows = [(r, row) for r in reports for row in range(len(r))]
    lines += [survivors(r, row) for r, row in rows[:ROWS]]
    return [*lines, f"and {len(rows) - ROWS} more rows"] if len(rows) > ROWS else lines


def survivors(report: Any, row: int) -> str:
    """The survivors of a row with their mean values, the largest first, in one line."""
    mask = report.consensus.survivors[row]
    a = report.members[0]
    name = cut(a.subjects[row].name, 24) if a.subjects else f"row {row}"
    count = f"  {name}: {int(mask.sum())} of {int(report.consensus.live[row].sum())}"
    if not bool(mask.any()) or len(mask) > 1000:
        return count
    mean, names = means(report, row), report.unit_names(row)
    order = torch.where(mask, mean.abs(), -1).sort(descending=True, stable=True).indices
    best = order[: min(SHOWN, int(mask.sum()))].tolist()
    return fitted(f"{count}:", [f"{cut(names[i], 20)} {float(mean[i]):+.2g}" for i in best])


def fitted(line: str, parts: Sequence[str]) -> str:
    """A line with as many of the parts as fit in 80 columns."""
    for part in parts:
        if len(line) + len(part) + 2 > 79:
            return line
        line += f"  {part}"
    return line


def means(report: Any, row: int) -> Tensor:
    """The mean over baselines of each unit of a row: (units,), in float64."""
    maps = [flatten(u.values, "values")[0] for u in report.units]
    flat = [
        torch.cat([p[row].detach().double().cpu().reshape(-1) for p in parts]) for parts in maps
    ]
    return torch.stack(flat).mean(0)


# ------------------------------------------------------------------------------ words and columns


def shortened(names: Sequence[str]) -> list[str]:
    """Names that fit, and are still different: without keywords, cut, numbered."""
    keywords = re.compile(r"\b\w+=")
    names = [n if len(n) <= LONGEST else keywords.sub("", n) for n in names]
    short = [cut(name, LONGEST) for name in names]
    if len(set(short)) == len(short):
        return short
    return [f"{i} {cut(name, LONGEST - 3)}" for i, name in enumerate(names, 1)]


def cut(text: str, most: int) -> str:
    """So many characters of a text, on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def columns(lines: Sequence[Sequence[str]], left: int) -> list[str]:
    """Lines of cells as columns two blanks apart; the first `left` begin at their left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        [
            c.ljust(w) if i < left else c.rjust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    )
    return ["  ".join(line).rstrip() for line in aligned]


def number(values: Tensor) -> str:
    """The mean of those that are known."""
    found = float(values.nanmean())
    return "-" if found != found else f"{found:.2f}"


def share(values: Tensor) -> str:
    """The mean share, in whole percents."""
    found = float(values.nanmean())
    return "-" if found != found else f"{100 * found:.0f} %"


def _mean(parts: Sequence[Tensor]) -> float:
    return float(torch.cat([p.double().cpu() for p in parts]).mean())

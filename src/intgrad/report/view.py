"""Attributions as what a page shows: sections of blocks, one a row and target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from intgrad.attribution import Attribution
from intgrad.errors import InputError
from intgrad.report.facts import Fact, found, provenance, sure
from intgrad.report.features import Features, features
from intgrad.report.picture import Pictures, covers, pictures
from intgrad.report.say import counted, number, percent, visible
from intgrad.report.sentence import Words, spells, words
from intgrad.subject import Picture, Sentence

TARGETS = 3  # of several targets, so many are shown a row: those with the highest f(x)

Content = Pictures | Words | Features


@dataclass(frozen=True)
class Block:
    """One row and one target: what is drawn, the certificate, and a line of the summary."""

    anchor: str
    name: str
    target: str
    method: str
    content: Content
    found: tuple[Fact, ...]
    sure: tuple[Fact, ...]
    converged: bool
    brief: dict[str, str]


@dataclass(frozen=True)
class Section:
    """One attribution: its blocks, and what is not shown of it."""

    heading: str
    blocks: tuple[Block, ...]
    omitted: tuple[str, ...]


@dataclass(frozen=True)
class Provenance:
    """How some attributions were made."""

    heading: str
    facts: tuple[Fact, ...]


def one_by_one(a: Attribution, rows: int) -> Iterator[tuple[int, int, Attribution]]:
    """The first rows of an attribution, each with its foremost targets: (row, target, attribution)."""
    for row in range(min(rows, len(a))):
        if not a.several:
            yield row, 0, a.select([row])
            continue
        order = a.output[:, row].sort(descending=True, stable=True).indices
        for k in sorted(order[:TARGETS].tolist()):
            yield row, k, a.target(k).select([row])


def sections(attributions: Sequence[Attribution], rows: int) -> tuple[Section, ...]:
    """A section for every attribution."""
    many = len(attributions) > 1
    return tuple(
        Section(
            f"{i}. {title_of(a)}" if many else title_of(a), blocks(a, i, rows), omitted(a, rows)
        )
        for i, a in enumerate(attributions, 1)
    )


def blocks(a: Attribution, number_of: int, rows: int) -> tuple[Block, ...]:
    """The blocks of one attribution."""
    several = len(a.targets) if a.several else 0
    return tuple(
        block(one, f"a{number_of}-r{row}-t{k}", row, several) for row, k, one in one_by_one(a, rows)
    )


def block(one: Attribution, anchor: str, row: int, several: int) -> Block:
    """Everything to be said about a single row and target."""
    subject = one.subjects[0] if one.subjects else None
    gain = float(one.output[0]) - float(one.baseline_output[0])
    brief = {
        "f(x)": number(float(one.output[0])),
        "f(x) − f(baseline)": number(gain),
        "Error": percent(float(one.error[0])),
        "Evaluations": number(float(one.evaluations[0])),
    }
    return Block(
        anchor=anchor,
        name=visible(subject.name) if subject else f"row {row}",
        target=visible(one.targets[0]),
        method=title_of(one),
        content=content(one),
        found=found(one),
        sure=sure(one, several),
        converged=bool(one.converged[0]),
        brief=brief,
    )


def content(one: Attribution) -> Content:
    """Draw a single row as what it is; as numbers where its values do not fit its subject."""
    subject = one.subjects[0] if one.subjects else None
    if isinstance(subject, Picture):
        if covers(one, subject):
            return pictures(one, subject)
        return features(one, "The values are not in the picture's pixel grid, so they are listed.")
    if isinstance(subject, Sentence):
        if spells(one, subject):
            return words(one, subject)
        return features(one, "The values are not one a token, so they are listed.")
    return features(one)


def title_of(a: Attribution) -> str:
    """The method, as one would say it, and the layer where one was named."""
    name = a.recipe.name.replace("_", " ")
    return name if a.subjects or a.run.at == "input" else f"{name} at {visible(a.run.at)}"


def omitted(a: Attribution, rows: int) -> tuple[str, ...]:
    """What is not shown, and how to see it."""
    lines = []
    if len(a) > rows:
        lines.append(f"The first {rows} of {len(a):,} rows are shown; a.select(...) picks others.")
    if a.several and len(a.targets) > TARGETS:
        lines.append(
            f"The {TARGETS} targets with the highest f(x) are shown for each row, "
            f"{len(a.targets) - TARGETS:,} more are not; a.target(k) picks one."
        )
    return tuple(lines)


def provenances(attributions: Sequence[Attribution]) -> tuple[Provenance, ...]:
    """How they were made, said once for those that were made alike."""
    alike: dict[tuple[Fact, ...], list[int]] = {}
    for i, a in enumerate(attributions, 1):
        alike.setdefault(provenance(a), []).append(i)
    return tuple(Provenance(_heading(which), facts) for facts, which in alike.items())


def _heading(which: list[int]) -> str:
    return ("Attribution " if len(which) == 1 else "Attributions ") + ", ".join(map(str, which))


def default_title(attributions: Sequence[Attribution]) -> str:
    """The name of the only row, or how many there are."""
    rows = sum(len(a) for a in attributions)
    first = attributions[0]
    if rows == 1 and first.subjects:
        return f"Attribution of {visible(first.subjects[0].name)}"
    if len(attributions) == 1:
        return f"Attribution of {counted(rows, 'row')}"
    return f"{len(attributions)} attributions, {counted(rows, 'row')}"


def refuse(attributions: object) -> None:
    """Only a sequence of attributions can be shown, and not an empty one."""
    if isinstance(attributions, Attribution):
        raise InputError("got one attribution; expected a sequence of them. Write [a].")
    if not isinstance(attributions, Sequence) or not attributions:
        raise InputError("there is no attribution to show; expected a list of at least one.")

"""A text: its words coloured, and every number as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intgrad._types import flatten
from intgrad.attribution import Attribution
from intgrad.report.features import Piece, strengths
from intgrad.report.say import visible
from intgrad.subject import Sentence

PADDING = "(padding)"


@dataclass(frozen=True)
class Word(Piece):
    """A word; its tokens where it has several."""

    special: bool = False
    tokens: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Words:
    """A text to be shown: its words in order, the largest absolute value, the sum."""

    template: ClassVar[str] = "sentence.html.j2"
    words: tuple[Word, ...]
    scale: float
    total: float

    @property
    def many(self) -> bool:
        """Whether the table is long enough to be folded away."""
        return len(self.words) > 30


def spells(one: Attribution, sentence: Sentence) -> bool:
    """Whether a single row's values can be told token by token, or word by word."""
    point, _ = flatten(one.values, "values")
    if len(point) != 1 or point[0].ndim < 2:
        return False
    positions = point[0].shape[1]
    return positions >= len(sentence.tokens) or positions == len(sentence.words)


def words(one: Attribution, sentence: Sentence) -> Words:
    """The words of a single row: the values of a word's tokens added, and their errors."""
    values = by_position(one.values)
    errors = None if one.error_map is None else by_position(one.error_map)
    told = tell(sentence, values, errors)
    size = len(told.words)
    gathered = gather(values, told.owner, size)
    wrong = None if errors is None else gather(errors, told.owner, size).tolist()
    shown = tuple(
        Word(
            visible(told.words[w]), float(gathered[w]), wrong[w] if wrong else None, strength,
            told.special[w], tokens_of(w, told, values, errors),
        )
        for w, strength in enumerate(strengths(gathered))
    )  # fmt: skip
    return Words(shown, float(gathered.abs().max()), float(values.sum()))


@dataclass(frozen=True)
class Told:
    """To which word each position belongs, and what words and positions are called."""

    owner: Tensor
    names: tuple[str, ...]
    words: tuple[str, ...]
    special: tuple[bool, ...]


def tell(sentence: Sentence, values: Tensor, errors: Tensor | None) -> Told:
    """Match positions with tokens; padding that holds anything becomes a word of its own."""
    words, special, count = sentence.words, sentence.special, len(sentence.tokens)
    if len(values) < count:  # grouped by word already
        return Told(torch.arange(len(values)), words, words, special)
    extra = len(values) - count
    owner = torch.tensor((*sentence.word_of, *(len(words),) * extra), dtype=torch.long)
    names = (*sentence.tokens, *(PADDING,) * extra)
    filled = any(bool((t[count:] != 0).any()) for t in (values, errors) if t is not None)
    if not filled:
        return Told(owner[:count], names, words, special)
    return Told(owner, names, (*words, PADDING), (*special, True))


def by_position(tree: object) -> Tensor:
    """One number a position: all other axes added, in float64."""
    (row,) = flatten(tree, "values")[0]
    return row[0].detach().double().cpu().reshape(row.shape[1], -1).sum(1)


def gather(values: Tensor, owner: Tensor, size: int) -> Tensor:
    """Add the values of each owner; positions without one hold nothing."""
    return values.new_zeros(size).index_add(0, owner, values[: len(owner)])


def tokens_of(word: int, told: Told, values: Tensor, errors: Tensor | None) -> tuple[Piece, ...]:
    """The tokens of a word that has more than one."""
    own = (told.owner == word).nonzero().flatten().tolist()
    if len(own) < 2 or told.names[own[0]] == PADDING:
        return ()
    wrong = None if errors is None else errors.tolist()
    return tuple(
        Piece(visible(told.names[i]), float(values[i]), wrong[i] if wrong else None) for i in own
    )

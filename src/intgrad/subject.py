"""What a row is, in its domain's own words: carried by an attribution so that it can be shown."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

Predictions = tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as its owner knows it: name, pixels (height, width, 3) uint8, top predictions."""

    name: str
    pixels: Tensor
    predictions: Predictions = ()


@dataclass(frozen=True)
class Sentence:
    """A text as its owner knows it: tokens, the words they belong to, top predictions.

    Attributes
    ----------
    words
        The words in order; specials such as [CLS] are words of their own.
    word_of
        For each token, the index of its word.
    special
        For each word, whether the tokenizer put it there.
    """

    name: str
    tokens: tuple[str, ...]
    words: tuple[str, ...]
    word_of: tuple[int, ...]
    special: tuple[bool, ...]
    predictions: Predictions = ()


Subject = Picture | Sentence

"""Baselines of texts: what stands in the place of every word. There is no default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.baseline import Fixed
from intgrad.errors import InputError
from intgrad.path import Curves
from intgrad.path.curve import bind_rows
from intgrad.text.tokens import Batch

CHOICE = "text.Mask(), text.Pad(), text.Unknown() or text.ZeroEmbedding()"


class Absence(Protocol):
    """A baseline of texts."""

    def start(self, tokenizer: Any, batch: Batch, /) -> Any:
        """The engine's baseline for these rows."""
        ...


@dataclass(frozen=True)
class Mask:
    """The mask token in the place of every word: "some word was here"."""

    def start(self, tokenizer: Any, batch: Batch) -> Fixed:
        """Token ids, specials kept."""
        return _swapped(self, tokenizer, batch, "mask_token")


@dataclass(frozen=True)
class Pad:
    """The padding token in the place of every word, not masked out: "nothing was here"."""

    def start(self, tokenizer: Any, batch: Batch) -> Fixed:
        """Token ids, specials kept."""
        return _swapped(self, tokenizer, batch, "pad_token")


@dataclass(frozen=True)
class Unknown:
    """The unknown token in the place of every word: "a word I do not know was here"."""

    def start(self, tokenizer: Any, batch: Batch) -> Fixed:
        """Token ids, specials kept."""
        return _swapped(self, tokenizer, batch, "unk_token")


@dataclass(frozen=True)
class ZeroEmbedding:
    """Zeros in the place of every word's embedding: no token at all, and none the model has seen."""

    def start(self, tokenizer: Any, batch: Batch) -> Silence:
        """Embeddings, those of specials kept."""
        return Silence(batch.special)


@dataclass(frozen=True, eq=False)
class Silence:
    """Embeddings e (r, tokens, d) -> themselves where `special` (r, tokens), zeros elsewhere."""

    special: Tensor

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row."""
        stay = self.special[..., None]
        return bind_rows(tuple(torch.where(stay, p, torch.zeros_like(p)) for p in x), x)


def _swapped(baseline: object, tokenizer: Any, batch: Batch, name: str) -> Fixed:
    token = getattr(tokenizer, f"{name}_id", None)
    if token is None:
        raise InputError(
            f"baseline={baseline!r} needs a {name}, and this tokenizer has none; take another of "
            f"{CHOICE}."
        )
    ids = batch.inputs["input_ids"]
    return Fixed((torch.where(batch.special, ids, torch.full_like(ids, token)),), name, tokens=True)


def refuse_unnamed(baseline: object) -> None:
    """Texts have no baseline of their own accord."""
    if isinstance(baseline, type) or not hasattr(baseline, "start"):
        raise InputError(
            f"baseline={baseline!r} does not say what stands in the place of a word; expected "
            f"{CHOICE}. It must be named, because it changes the answer."
        )

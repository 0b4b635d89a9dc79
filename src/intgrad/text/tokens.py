"""A text as tokens and words, and several as one padded batch."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.errors import InputError, ModelError, TargetError
from intgrad.model.scores import entry_of
from intgrad.subject import Sentence

NOT_INPUTS = ("special_tokens_mask", "offset_mapping", "length", "overflowing_tokens")


@dataclass(frozen=True, eq=False)
class Batch:
    """Texts as the model takes them.

    Attributes
    ----------
    inputs
        What the tokenizer returns for the model, (rows, tokens) whole numbers each.
    special
        (rows, tokens): put there by the tokenizer, padding too.
    own
        (rows, tokens): not padding.
    """

    inputs: dict[str, Tensor]
    special: Tensor
    own: Tensor

    @property
    def ids(self) -> Tensor:
        """The token ids."""
        return self.inputs["input_ids"]


@dataclass(frozen=True, eq=False)
class Reading:
    """One text: alone as the model takes it, and as its reader knows it."""

    batch: Batch
    subject: Sentence


def read(model: nn.Module, tokenizer: Any, text: object, i: int) -> Reading:
    """Tokenize one text; nothing is cut off.

    Raises
    ------
    InputError
        No text, an empty one, or one longer than the model takes.
    """
    if not isinstance(text, str):
        raise InputError(f"text {i} is a {type(text).__name__}; expected a string.")
    fast = bool(getattr(tokenizer, "is_fast", False))
    found = tokenizer(
        text, return_special_tokens_mask=True, return_offsets_mapping=fast, verbose=False
    )
    special = [bool(s) for s in found["special_tokens_mask"]]
    if not text.strip() or all(special):
        raise InputError(f"text {i} is empty: {text!r}; expected at least one word.")
    _refuse_long(model, tokenizer, text, i, len(special))
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    inputs = {k: torch.tensor([v], device=device) for k, v in found.items() if k not in NOT_INPUTS}
    mark = torch.tensor([special], device=device)
    tokens = tuple(tokenizer.convert_ids_to_tokens(found["input_ids"]))
    spans = list(zip(found["offset_mapping"], found.word_ids(0), strict=True)) if fast else None
    return Reading(
        Batch(inputs, mark, torch.ones_like(mark)), sentence(text, tokens, special, spans)
    )


def _refuse_long(model: nn.Module, tokenizer: Any, text: str, i: int, size: int) -> None:
    config = getattr(model, "config", None)
    limits = (
        getattr(config, "max_position_embeddings", None),
        getattr(tokenizer, "model_max_length", None),
    )
    most = min((n for n in limits if isinstance(n, int) and n > 0), default=size)
    if size > most:
        raise InputError(
            f"text {i} ({textwrap.shorten(text, 40)}) has {size} tokens, and the model takes {most}; "
            f"shorten or split it. Nothing is cut off silently."
        )


# ---------------------------------------------------------------------- words


Span = tuple[tuple[int, int], int | None]  # characters from and to, and the tokenizer's own word


def sentence(
    text: str, tokens: tuple[str, ...], special: Sequence[bool], spans: Sequence[Span] | None
) -> Sentence:
    """The words of a text, in its own characters; tokens where the tokenizer keeps no offsets."""
    name = textwrap.shorten(text, 60, placeholder=" …")
    if spans is None:
        return Sentence(name, tokens, tokens, tuple(range(len(tokens))), tuple(special))
    first = [i for i in range(len(tokens)) if i == 0 or _opens(text, i, special, spans)]
    last = [*(i - 1 for i in first[1:]), len(tokens) - 1]
    shown = [
        _shown(text, tokens[a : b + 1], special[a], spans[a], spans[b])
        for a, b in zip(first, last, strict=True)
    ]
    opened = [i in set(first) for i in range(len(tokens))]
    word_of = tuple((torch.tensor(opened).cumsum(0) - 1).tolist())
    return Sentence(name, tokens, tuple(shown), word_of, tuple(special[i] for i in first))


def _opens(text: str, i: int, special: Sequence[bool], spans: Sequence[Span]) -> bool:
    """Whether token i begins a word: the tokenizer says so, or there is a blank before it."""
    if special[i] or special[i - 1] or spans[i][1] is None or spans[i][1] != spans[i - 1][1]:
        return True
    (_, before), (start, end) = spans[i - 1][0], spans[i][0]
    between = text[before : start + 1] if end > start else ""
    return any(c.isspace() for c in between)


def _shown(text: str, tokens: Sequence[str], special: bool, first: Span, last: Span) -> str:
    """The characters a word was made of; its tokens where there are none."""
    written = "" if special else text[first[0][0] : last[0][1]].strip()
    return written or "".join(tokens)


# ---------------------------------------------------------------------- batches


def together(
    model: nn.Module, tokenizer: Any, readings: Sequence[Reading], alone: Sequence[Tensor | None]
) -> Batch:
    """All texts in one batch, padded on the side that leaves each text's scores as they are.

    Positions are counted from the left by some models and not by others: so the tokenizer's own
    side is tried first, and what it does to the scores is looked at. Costs a forward a text, two
    if the first side is wrong; none where no padding is needed.

    Raises
    ------
    InputError
        Padding is needed, and the tokenizer has no token for it.
    ModelError
        Either side changes the scores.
    """
    batches = [r.batch for r in readings]
    if len({b.ids.shape[1] for b in batches}) == 1:
        return pad(batches, tokenizer, "right")
    own = getattr(tokenizer, "padding_side", "right")
    moved = 0.0
    for side in (own, "left" if own == "right" else "right"):
        batch = pad(batches, tokenizer, side)
        moved = _moved(scores(model, batch), alone)
        if moved == 0.0:
            return batch
    raise ModelError(
        f"padding changes the scores of a text by {moved:.2g}, whichever side it is on: the model does "
        f"not leave out what attention_mask says. Explain texts of different lengths one by one."
    )


def pad(batches: Sequence[Batch], tokenizer: Any, side: str) -> Batch:
    """Rows of unequal length as one batch: padding ids, and zeros in everything else."""
    size = max(b.ids.shape[1] for b in batches)
    fill = {"input_ids": getattr(tokenizer, "pad_token_id", None)}
    fill["token_type_ids"] = getattr(tokenizer, "pad_token_type_id", 0)
    if fill["input_ids"] is None and any(b.ids.shape[1] < size for b in batches):
        raise InputError(
            "these texts have different lengths and the tokenizer has no padding token; set "
            "tokenizer.pad_token and model.config.pad_token_id, or explain them one by one."
        )

    def join(parts: Sequence[Tensor], value: Any) -> Tensor:
        gaps = [size - p.shape[1] for p in parts]
        ends = [(g, 0) if side == "left" else (0, g) for g in gaps]
        filled = [
            nn.functional.pad(p, e, value=value or 0) for p, e in zip(parts, ends, strict=True)
        ]
        return torch.cat(filled)

    inputs = {k: join([b.inputs[k] for b in batches], fill.get(k)) for k in batches[0].inputs}
    special = join([b.special for b in batches], True)
    return Batch(inputs, special, join([b.own for b in batches], False))


def scores(model: nn.Module, batch: Batch, width: int = 32) -> Tensor | None:
    """The model's scores (rows, classes), in calls of `width` rows; None if it has none."""
    found = []
    with torch.no_grad():
        for first in range(0, len(batch.ids), width):
            part = {k: v[first : first + width] for k, v in batch.inputs.items()}
            try:
                found.append(entry_of(model(**part), None))
            except TargetError:
                return None
    return torch.cat(found)


def _moved(found: Tensor | None, alone: Sequence[Tensor | None]) -> float:
    """How far scores went from those of each text alone; 0 within what rounding does."""
    if found is None or any(s is None for s in alone):
        return 0.0
    before = torch.cat([s for s in alone if s is not None])
    slack = torch.finfo(before.dtype).eps ** 0.5 * before.abs().max().clamp(min=1e-3)
    moved = (found - before).abs().max()
    return 0.0 if bool(moved <= slack) else float(moved)

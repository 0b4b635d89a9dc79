"""What a decoder's parts read and write on given prompts, and whether that is all there is."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.errors import InputError, ModelError, Unsupported
from intgrad.inside.circuits.decoder import Decoder
from intgrad.model.observe import expect, recording
from intgrad.model.target import as_target


class Uncached(nn.Module):
    """A decoder that keeps no keys and values for later: each call is a whole text."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.named = {}
        if "use_cache" in inspect.signature(model.forward).parameters:
            self.named["use_cache"] = False
        self.training = model.training  # of this module alone

    def forward(self, *args: Any, **named: Any) -> Any:
        """The model's own output."""
        return self.model(*args, **named, **self.named)


@dataclass(frozen=True, eq=False)
class Run:
    """One run of some prompts.

    Attributes
    ----------
    output
        What the model put out.
    streams
        What each part read, (n, words, width), the logits last; the first is the node `input`.
    wrote
        What each part but the logits wrote, before it is spread over its nodes.
    """

    output: Any
    streams: tuple[Tensor, ...]
    wrote: tuple[Tensor, ...]


@torch.no_grad()
def run(decoder: Decoder, model: nn.Module, ids: Tensor, given: dict[str, Tensor]) -> Run:
    """Run the model as it is, and look on."""
    places = [*(p.norm for p in decoder.parts), *(p.wrote for p in decoder.writers)]
    with recording(places) as seen:  # type: ignore[arg-type]
        output = model(ids, **given)
    expect(seen, places)  # type: ignore[arg-type]
    split = len(decoder.parts)
    return Run(output, tuple(seen[:split]), tuple(seen[split:]))


def moves(clean: Run, corrupt: Run) -> tuple[Tensor, ...]:
    """By how much the input, and what each part wrote, is different on the clean prompts."""
    before = (corrupt.streams[0], *corrupt.wrote)
    after = (clean.streams[0], *clean.wrote)
    return tuple(a - b for a, b in zip(after, before, strict=True))


def spread(decoder: Decoder, moved: Sequence[Tensor]) -> Tensor:
    """Moves as shares of the stream, a node each: (nodes, n, words, width)."""
    shares = [p.spread(m) for p, m in zip(decoder.writers, moved[1:], strict=True)]
    return torch.cat([moved[0][None], *shares])


def refuse_gaps(decoder: Decoder, clean: Run, corrupt: Run, nodes: Tensor) -> None:
    """What the parts write must add up to what each part reads.

    Raises
    ------
    ModelError
        It does not: something else writes, or changes what was written.
    """
    for part, after, before in zip(decoder.parts, clean.streams, corrupt.streams, strict=True):
        wanted, found = after - before, nodes[: part.upstream].sum(0)
        size = torch.cat([after, before]).abs().max()
        off = (wanted - found).abs().max()
        if not bool(off <= torch.finfo(after.dtype).eps ** 0.5 * size):
            raise ModelError(
                f"what the parts write does not add up to what {part.norm.name!r} reads: it is off by "
                f"{float(off):.2g} of {float(size):.2g}. Something else writes there, or a norm or a factor "
                f"stands behind a part, as in Gemma 2; edges are of plain residual streams only."
            )


def read_output(target: Any) -> Any:
    """The `target=` argument, which must read the model's output.

    Raises
    ------
    Unsupported
        It reads a layer.
    """
    wanted = as_target(target)
    if hasattr(wanted, "layer"):
        raise Unsupported(f"{wanted!r} reads a layer; expected a target of the model's output.")
    return wanted


def refuse_prompts(clean: Any, corrupt: Any) -> None:
    """Clean and corrupted prompts are ids, word for word.

    Raises
    ------
    InputError
        They are not.
    """
    for name, ids in (("clean", clean), ("corrupt", corrupt)):
        if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.ndim != 2:
            got = tuple(ids.shape) if isinstance(ids, Tensor) else type(ids).__name__
            raise InputError(f"{name} is {got}; expected token ids (rows, words), whole numbers.")
    if clean.shape != corrupt.shape:
        raise InputError(
            f"clean prompts are {tuple(clean.shape)} and corrupt ones {tuple(corrupt.shape)}; expected "
            f"pairs of as many tokens, word for word: a part's output is exchanged where it stands."
        )

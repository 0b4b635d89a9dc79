"""The caller's world, kept as it was: inference mode, random state, buffers; and the bar it sees."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm.auto import tqdm

from intgrad.errors import InputError


@contextlib.contextmanager
def calm(model: object, differentiable: bool) -> Iterator[None]:
    """Leave inference mode, keep the caller's random state and buffers, and double backward."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.random.fork_rng(devices))
        if differentiable:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.callback(keep_buffers(model))
        yield


def keep_buffers(model: object) -> Callable[[], None]:
    """Copy a module's buffers; what it returns writes back those that changed.

    Most models run on copies anyway; compiled and scripted ones are called as they are.
    """
    buffers = list(model.buffers()) if isinstance(model, nn.Module) else []
    before = [(b, b.detach().clone()) for b in buffers]

    def restore() -> None:
        with torch.no_grad():
            for buffer, kept in before:
                if not torch.equal(buffer, kept):
                    buffer.copy_(kept)

    return restore


@contextlib.contextmanager
def bar(progress: bool | Callable[[int], None]) -> Iterator[Callable[[int], None] | None]:
    """A tqdm bar, the caller's own function, or nothing."""
    if not isinstance(progress, bool) and not callable(progress):
        raise InputError(f"progress={progress!r}; expected True, or a function of a row count.")
    if progress is True:
        with tqdm(unit=" rows", desc="intgrad", leave=False) as shown:

            def tick(rows: int) -> None:
                shown.update(rows)

            yield tick
    else:
        yield progress or None

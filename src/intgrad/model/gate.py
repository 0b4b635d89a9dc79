"""The gate of a module: one tensor that goes in or comes out, exchanged by a hook."""

from __future__ import annotations

import copy
from collections.abc import Callable, MutableMapping
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from intgrad.errors import Unsupported

Change = Callable[[Tensor], Tensor]


def gate(module: nn.Module, entry: bool, change: Change, prepend: bool = False) -> RemovableHandle:
    """Let `change` exchange the first tensor that a module puts out or, at its entry, is given.

    Returns
    -------
    RemovableHandle
        Whoever opened the gate closes it: ``.remove()``.
    """
    if entry:
        hand = lambda module, args, named: _given(args, named, change)  # noqa: E731
        return module.register_forward_pre_hook(hand, prepend=prepend, with_kwargs=True)
    take = lambda module, args, output: _put_out(output, change)  # noqa: E731
    return module.register_forward_hook(take, prepend=prepend)


def _given(args: tuple[Any, ...], named: dict[str, Any], change: Change) -> Any:
    for i, value in enumerate(args):
        if isinstance(value, Tensor):
            return (*args[:i], change(value), *args[i + 1 :]), named
    for key, value in named.items():
        if isinstance(value, Tensor):
            return args, {**named, key: change(value)}
    raise Unsupported("the layer is given no tensor; explain its output, without ':input'.")


def _put_out(output: Any, change: Change) -> Any:
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        return (change(output[0]), *output[1:])
    if isinstance(output, MutableMapping):  # what models of transformers return
        for key, value in output.items():
            if isinstance(value, Tensor):
                changed = copy.copy(output)
                changed[key] = change(value)
                return changed
    raise Unsupported(
        f"the layer returns a {type(output).__name__} without a tensor; expected a tensor, or a tuple or "
        f"mapping that holds one."
    )

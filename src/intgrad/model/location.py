"""Where the features live: the input, the embedding layer's output, or any layer's output.

Nothing is replaced in the user's model. A layer's output is read, or exchanged for a point of
the path, by a hook that lives only inside one call and is removed whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from intgrad.errors import InputError, ModelError, Unsupported


@dataclass(frozen=True)
class Location:
    """A name, and the module whose output holds the features (None: the input itself)."""

    name: str = "input"
    module: nn.Module | None = field(default=None, compare=False, repr=False)

    @contextmanager
    def reading(self, live: bool = False) -> Iterator[list[Tensor]]:
        """Collect what the layer puts out: leaves that gradients can be asked for, or `live` tensors.

        The network goes on with a copy, for it may write into it.
        """
        seen: list[Tensor] = []

        def keep(output: Tensor) -> Tensor:
            leaf = output.detach().requires_grad_(output.is_floating_point())
            seen.append(output if live else leaf)
            return seen[-1].clone()

        with self._hook(keep):
            yield seen
        self._expect_one(len(seen))

    @contextmanager
    def replacing(self, point: Tensor) -> Iterator[None]:
        """Give a copy of `point` to the rest of the network in place of the layer's own output."""
        calls = []

        def exchange(output: Tensor) -> Tensor:
            calls.append(1)
            return point.clone()

        with self._hook(exchange):
            yield
        self._expect_one(len(calls))

    def vocabulary(self) -> Tensor:
        """What an embedding layer puts out for every id it has: (ids, width).

        Raises
        ------
        Unsupported
            The location is another layer, or the input.
        """
        if not isinstance(self.module, nn.Embedding):
            raise Unsupported(
                f"words are taken from an embedding layer, and features are at {self.name!r}. Explain "
                f"at='embedding', or pass the table of words: ig.Anchored(table)."
            )
        ids = torch.arange(self.module.num_embeddings, device=self.module.weight.device)
        copies = {n: p.detach().clone() for n, p in self.module.named_parameters()}
        with torch.no_grad():  # of copies, for a layer with max_norm writes into its weight
            return functional_call(self.module, copies, (ids,))

    @contextmanager
    def _hook(self, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        assert self.module is not None
        exchange = lambda module, args, out: _swap(out, change)  # noqa: E731
        # before all others, so that whoever watches this layer sees what it was exchanged for
        handle = self.module.register_forward_hook(exchange, prepend=True)
        try:
            yield
        finally:
            handle.remove()

    def _expect_one(self, calls: int) -> None:
        if calls != 1:
            raise ModelError(
                f"the layer {self.name!r} ran {calls} times in one forward pass; expected once. "
                f"Name a layer that runs once, so that it is clear which call is explained."
            )


def _swap(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        return (change(output[0]), *output[1:])
    raise Unsupported(f"the layer returns a {type(output).__name__}; expected a tensor or a tuple.")


def locate(model: object, at: str | nn.Module) -> Location:
    """Find the location `at=` names in `model`.

    Parameters
    ----------
    at
        ``"input"``; ``"embedding"`` (the model's own input embedding, or its only `nn.Embedding`);
        a dotted module name; or a module of the model.

    Raises
    ------
    InputError
        No such module, several embeddings, or a callable that is no `nn.Module`.
    Unsupported
        A compiled model, whose inner layers hooks do not reach.
    """
    if isinstance(at, str) and at == "input":
        return Location()
    if not isinstance(model, nn.Module):
        raise InputError(
            f"at={at!r} names a layer, but the model is a {type(model).__name__} and not an "
            f"nn.Module; pass the module itself, or explain at='input'."
        )
    if hasattr(model, "_orig_mod"):
        raise Unsupported("layers inside a compiled model cannot be reached; pass model._orig_mod.")
    names = {module: name for name, module in model.named_modules()}
    module = _embedding(model) if at == "embedding" else at
    if isinstance(module, str):
        module = _by_name(model, module)
    if not isinstance(module, nn.Module) or module not in names:
        raise InputError(f"at= is a {type(module).__name__} that is not part of this model.")
    return Location(names[module], module)


def _by_name(model: nn.Module, name: str) -> nn.Module:
    modules = dict(model.named_modules())
    if name not in modules or name == "":
        known = ", ".join(list(modules)[1:9])
        raise InputError(f"at={name!r} is not a module of the model; it has {known}, ...")
    return modules[name]


def _embedding(model: nn.Module) -> nn.Module:
    own = getattr(model, "get_input_embeddings", None)
    if own is not None:
        return own()
    found = [
        (n, m) for n, m in model.named_modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)
    ]
    if len(found) != 1:
        names = ", ".join(n for n, _ in found) or "none"
        raise InputError(
            f"at='embedding' needs one embedding layer; the model has {names}. Name one."
        )
    return found[0][1]

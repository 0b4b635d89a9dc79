"""Where the features live: the input, the embedding layer's output, or what any layer puts out or is given.

Nothing is replaced in the user's model. A layer's output is read, or exchanged for a point of
the path, by a hook that lives only inside one call and is removed whatever happens.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from intgrad.errors import InputError, ModelError, Unsupported
from intgrad.model.gate import gate


@dataclass(frozen=True)
class Location:
    """A name, and the module whose output, or input, holds the features (None: the model's own input).

    With a `call`, that one of a module that runs several times, counted from 0; else it runs once.
    """

    name: str = "input"
    module: nn.Module | None = field(default=None, compare=False, repr=False)
    call: int | None = field(default=None, compare=False, repr=False)
    entry: bool = field(default=False, compare=False, repr=False)

    @contextmanager
    def reading(self, live: bool = False) -> Iterator[list[Tensor]]:
        """Collect what is seen there: leaves that gradients can be asked for, or `live` tensors.

        The network goes on with a copy, for it may write into it; so may whoever gave what goes in.
        """
        seen: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            own = tensor.clone() if self.entry else tensor
            leaf = own.detach().requires_grad_(own.is_floating_point())
            seen.append(own if live else leaf)
            return seen[-1].clone()

        with self._hook(keep):
            yield seen

    @contextmanager
    def replacing(self, point: Tensor) -> Iterator[None]:
        """Give a copy of `point` to the rest of the network in place of the layer's own output."""
        with self._hook(lambda output: point.clone()):
            yield

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
        calls = 0

        def pass_on(tensor: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return change(tensor) if self.call in (None, calls - 1) else tensor

        # before all others, so that whoever watches this layer sees what it was exchanged for
        handle = gate(self.module, self.entry, pass_on, prepend=True)
        try:
            yield
        finally:
            handle.remove()
        self._expect(calls)

    def _expect(self, calls: int) -> None:
        if self.call is None and calls != 1:
            raise ModelError(
                f"the layer {self.name!r} ran {calls} times in one forward pass; expected once. "
                f"Name a layer that runs once, or one of its calls: {self.name.partition(':')[0]}#0."
            )
        if self.call is not None and calls <= self.call:
            raise ModelError(
                f"the layer {self.name!r} ran {calls} times in one forward pass; expected "
                f"{self.call + 1}, for calls are counted from 0."
            )


@dataclass(frozen=True)
class Named:
    """A layer by name: its module's, which of its calls, and whether what goes in is meant."""

    module: str
    call: int | None = None
    entry: bool = False

    @property
    def label(self) -> str:
        """As the user writes it."""
        number = "" if self.call is None else f"#{self.call}"
        return f"{self.module}{number}{':input' if self.entry else ''}"


def named(at: str) -> Named:
    """Read ``"name"``, ``"name#2"``, ``"name:input"``, ``"name#2:input"``.

    Raises
    ------
    InputError
        Something else behind '#' or ':'.
    """
    before, colon, side = at.partition(":")
    name, sharp, number = before.partition("#")
    if sharp and not number.isdecimal():
        raise InputError(f"at={at!r}: behind '#' stands the number of a call, as in {name}#0.")
    if colon and side not in ("input", "output"):
        raise InputError(f"at={at!r}: behind ':' stands input or output, as in {before}:input.")
    return Named(name, int(number) if sharp else None, side == "input")


def locate(model: object, at: str | nn.Module) -> Location:
    """Find the location `at=` names in `model`.

    Parameters
    ----------
    at
        ``"input"``; ``"embedding"`` (the model's own input embedding, or its only `nn.Embedding`);
        a module of the model, or its dotted name: its output. ``"name:input"`` is what goes into it,
        ``"name#2"`` the third call of one that runs several times.

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
    return layer(model, at)


def layer(model: nn.Module, at: str | nn.Module) -> Location:
    """The location of a layer, in `locate`'s words.

    Raises
    ------
    InputError
        No such module; the nearest names are offered.
    """
    names = {module: name for name, module in model.named_modules()}
    if isinstance(at, str):
        found = named(at)
        module = module_of(model, found.module)
        if found.module == "embedding":
            found = replace(found, module=names[module])
        return Location(found.label, module, found.call, found.entry)
    if not isinstance(at, nn.Module) or at not in names:
        raise InputError(f"at= is a {type(at).__name__} that is not part of this model.")
    return Location(names[at], at)


def module_of(model: nn.Module, name: str) -> nn.Module:
    """The module of this name, or the model's own embedding.

    Raises
    ------
    InputError
        There is none; the nearest names are offered.
    """
    modules = dict(model.named_modules(remove_duplicate=False))  # a shared one has several names
    if name == "embedding" and name not in modules:
        return _embedding(model)
    if name not in modules or not name:
        near = difflib.get_close_matches(name, modules, 3, 0.3) or list(modules)[1:4]
        raise InputError(
            f"at={name!r} is no module of the model; the nearest are {', '.join(near)}."
        )
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

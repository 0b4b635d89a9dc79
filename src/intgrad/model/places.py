"""Which layers `at=` names: one, several, all; and which of their calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from typing import Any

from torch import Tensor, nn

from intgrad._types import Point
from intgrad.errors import InputError, ModelError, Unsupported
from intgrad.model.gate import gate
from intgrad.model.location import layer, named
from intgrad.model.observe import Place
from intgrad.model.oracle import Oracle, ability


def places_of(model: Any, at: Any) -> list[Place]:
    """The places that ``at=`` names.

    Parameters
    ----------
    at
        A module, a dotted name, ``"all"`` (every module without children; see `on_the_way`), or a list
        of modules and names. ``"name#2"`` is the third call of a module that runs several times; without
        a number it is the first. ``"name:input"`` is what goes into a module, ``"name#2:input"`` in
        that call.

    Raises
    ------
    InputError
        No such module; the nearest names are offered.
    Unsupported
        A compiled model, whose inner layers hooks do not reach.
    """
    if not isinstance(model, nn.Module):
        raise InputError(
            f"layers are those of an nn.Module; the model is a {type(model).__name__}. Pass the module."
        )
    if hasattr(model, "_orig_mod"):
        raise Unsupported("layers inside a compiled model cannot be reached; pass model._orig_mod.")
    if isinstance(at, str) and at == "all":
        leaves = [(n, m) for n, m in model.named_modules() if n and not any(m.children())]
        return [Place(n, m) for n, m in leaves]
    several = at if isinstance(at, Sequence) and not isinstance(at, str) else [at]
    if not several:
        raise InputError("at=[] names no layer; expected at least one.")
    return [_place(model, one) for one in several]


def _place(model: nn.Module, at: Any) -> Place:
    found = layer(model, at)
    assert found.module is not None
    name = named(found.name).module
    return Place(name, found.module, found.call or 0, found.entry)


def on_the_way(places: Sequence[Place], oracle: Oracle, x: Point, rows: Tensor) -> list[Place]:
    """Of some modules, every call that moves with x and that the target asks.

    What is left out has no say in the answer: a dropout that does not run, the embedding of positions.
    Costs one gradient.

    Raises
    ------
    ModelError
        There is none.
    """
    passed: set[Place] = set()
    with ExitStack() as stack:
        for place in places:
            stack.callback(gate(place.module, place.entry, _marking(place, passed)).remove)
        ability(oracle, "probe")(x, rows)
    found = [p for place in places for p in sorted(passed, key=_call) if p.module is place.module]
    if not found:
        raise ModelError("no layer without children is on the way from x to the target; name one.")
    return found


def _marking(place: Place, passed: set[Place]) -> Callable[[Tensor], Tensor]:
    """Watch a module, and note each call of it that a gradient comes back through."""
    calls = count()

    def mark(tensor: Tensor) -> Tensor:
        this = replace(place, call=next(calls))
        if tensor.requires_grad:
            tensor.register_hook(lambda gradient: passed.add(this))
        return tensor

    return mark


def _call(place: Place) -> int:
    return place.call

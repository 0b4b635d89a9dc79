"""Which layers `at=` names: one, several, all; and which of their calls."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from torch import nn

from intgrad.errors import InputError, Unsupported
from intgrad.model.location import locate
from intgrad.model.observe import Place


def places_of(model: Any, at: Any) -> list[Place]:
    """The places that ``at=`` names.

    Parameters
    ----------
    at
        A module, a dotted name, ``"all"`` (every module without children), or a list of modules and
        names. ``"name#2"`` is the third call of a module that runs several times; without a number it
        is the first.

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
    if not isinstance(at, str):
        found = locate(model, at)
        assert found.module is not None
        return Place(found.name, found.module)
    name, _, number = at.partition("#")
    if number and not number.isdecimal():
        raise InputError(f"at={at!r}: behind '#' stands the number of a call, as in {name}#0.")
    modules = dict(model.named_modules())
    if name == "embedding" and name not in modules:
        found = locate(model, name)
        assert found.module is not None
        return Place(found.name, found.module, int(number or 0))
    if name not in modules or not name:
        near = difflib.get_close_matches(name, modules, 3, 0.3) or list(modules)[1:4]
        raise InputError(f"at={at!r} is no module of the model; the nearest are {', '.join(near)}.")
    return Place(name, modules[name], int(number or 0))

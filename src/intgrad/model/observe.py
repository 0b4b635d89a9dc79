"""Layers seen from inside: what each puts out, how that moves, and what the target makes of it.

A forward pass in forward mode carries a direction of the input to every layer; one backward pass
carries the gradient of the target back to every layer. No second derivative is taken: the tangents
are gone before the backward pass begins.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from intgrad._types import Point
from intgrad.errors import ModelError, Unsupported
from intgrad.model.gate import gate
from intgrad.model.refusals import last_line

Ask = Callable[[Point], Tensor]


@dataclass(frozen=True)
class Place:
    """A layer of a model: its name, its module, which of its calls, counted from 0, and which side."""

    name: str
    module: nn.Module
    call: int = 0
    entry: bool = False

    @property
    def label(self) -> str:
        """Its name, with the number of the call where it is not the first, and the side if it is the input."""
        number = f"#{self.call}" if self.call else ""
        return f"{self.name}{number}{':input' if self.entry else ''}"


@dataclass(frozen=True)
class Seen:
    """At one place: activation (n, ...), tangents (k, n, ...), gradients (T, n, ...)."""

    activation: Tensor
    tangents: Tensor
    gradient: Tensor


def observe(
    ask: Ask, x: Point, places: Sequence[Place], directions: Sequence[Point]
) -> tuple[Tensor, Tensor, list[Seen]]:
    """Values (T, n) of the target, their derivatives (k, T, n), and what is seen at each place.

    Parameters
    ----------
    ask
        Points -> values (T, n), by one call of the model.
    directions
        Of the input, each like x. One pass in forward mode each; with none, none.

    Raises
    ------
    Unsupported
        An operation has no forward mode.
    ModelError
        A place is not reached, or the target does not depend on it.
    """
    leaves = tuple(p.detach().requires_grad_() for p in x)
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        moved = [carried(ask, leaves, d, places)[2] for d in directions[1:]]
        if directions:
            values, outputs, tangents = carried(ask, leaves, directions[0], places)
            moved.insert(0, tangents)
        else:
            with recording(places) as outputs:
                values = ask(leaves)
            expect(outputs, places)
        gradients = pulled(values, outputs, places)
    rise, *along = [torch.stack(t) for t in zip(*moved, strict=True)] or [
        o.new_zeros(0, *o.shape) for o in (values, *outputs)
    ]
    parts = zip(outputs, along, gradients, strict=True)
    return values.detach(), rise, [Seen(o.detach(), t.detach(), g) for o, t, g in parts]


def through(ask: Ask, x: Point, place: Place, pick: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Values (T, n) of the target, and its gradients (T, n, ...) by way of a part of one place.

    Parameters
    ----------
    pick
        The place's output -> the part of it that counts, a view.
    """
    leaves = tuple(p.detach().requires_grad_() for p in x)
    with torch.enable_grad(), recording((place,)) as outputs:
        values = ask(leaves)
    expect(outputs, (place,))
    (output,) = outputs
    rows = []
    for value in values:
        (gradient,) = pulled(value[None], outputs, (place,), keep=True)
        part = torch.zeros_like(output)
        pick(part).copy_(pick(gradient[0]))
        found = torch.autograd.grad(output, leaves, part, retain_graph=True, allow_unused=True)
        rows.append(
            [torch.zeros_like(p) if g is None else g for g, p in zip(found, x, strict=True)]
        )
    return [values.detach(), *(torch.stack(g) for g in zip(*rows, strict=True))]


def carried(
    ask: Ask, leaves: Point, direction: Point, places: Sequence[Place]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Values (T, n), the places' outputs in the graph, and the tangents of both along a direction."""
    with forward_ad.dual_level():
        pairs = zip(leaves, direction, strict=True)
        duals = tuple(dual(p, d.detach().to(p)) for p, d in pairs)
        with recording(places) as outputs:
            try:
                values = ask(duals)
            except (ModelError, NotImplementedError) as error:
                refuse_backward_only(error)
                raise
        expect(outputs, places)
        tangents = [tangent_of(o) for o in (values, *outputs)]
        return forward_ad.unpack_dual(values).primal, outputs, tangents


def dual(point: Tensor, direction: Tensor) -> Tensor:
    """A dual number; the first of a process makes torch warn of its own scripting."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script", DeprecationWarning)
        return forward_ad.make_dual(point, direction)


def tangent_of(output: Tensor) -> Tensor:
    """The tangent a dual number carries, apart from it; zeros where it carries none."""
    found = forward_ad.unpack_dual(output).tangent
    return torch.zeros_like(output).detach() if found is None else found.detach().clone()


@contextmanager
def recording(places: Sequence[Place]) -> Iterator[list[Any]]:
    """What is seen at the places, in their order, None until then; the network goes on with copies."""
    outputs: list[Any] = [None] * len(places)
    with ExitStack() as stack:
        for module, entry in dict.fromkeys((p.module, p.entry) for p in places):
            own = [i for i, p in enumerate(places) if (p.module, p.entry) == (module, entry)]
            note = _noting(outputs, {i: places[i].call for i in own}, entry)
            stack.callback(gate(module, entry, note).remove)
        yield outputs


def _noting(outputs: list[Any], own: dict[int, int], entry: bool) -> Callable[[Tensor], Tensor]:
    """Keep one module's tensors where they belong, {place: call}, and hand on copies.

    What goes in is a copy already: whoever gave it may use it beside the module, and write into it.
    """
    call = -1

    def note(tensor: Tensor) -> Tensor:
        nonlocal call
        call += 1
        mine = [i for i, wanted in own.items() if wanted == call]
        if not mine:
            return tensor
        kept = tensor.clone() if entry else tensor
        for i in mine:
            outputs[i] = kept
        return kept.clone()  # the network may write into it

    return note


def expect(outputs: Sequence[Any], places: Sequence[Place]) -> None:
    """Refuse places that were not reached."""
    for output, place in zip(outputs, places, strict=True):
        if output is None:
            raise ModelError(
                f"the layer {place.label!r} was not reached {place.call + 1} times in one forward pass; "
                f"expected it to run. Is it used at all for this input?"
            )


def pulled(
    values: Tensor, outputs: Sequence[Tensor], places: Sequence[Place], keep: bool = False
) -> list[Tensor]:
    """Gradients (T, n, ...) of every value at every place."""
    for output, place in zip(outputs, places, strict=True):
        if not output.requires_grad:
            raise ModelError(
                f"the layer {place.label!r} does not depend on what moves along the path; expected one "
                f"behind it."
            )
    rows = []
    for t, value in enumerate(values):
        more = keep or t < len(values) - 1
        found = torch.autograd.grad(value.sum(), outputs, retain_graph=more, allow_unused=True)
        for g, place in zip(found, places, strict=True):
            if g is None:
                raise ModelError(
                    f"the target does not depend on the layer {place.label!r}; expected one on its way."
                )
        rows.append(found)
    return [torch.stack(g) for g in zip(*rows, strict=True)]


def refuse_backward_only(error: Exception) -> None:
    """Say which layer method needs no forward mode, where an operation has none."""
    said = f"{error} {error.__cause__ or ''}".lower()
    if "forward ad" in said or "forward mode" in said or "forward-mode" in said:
        raise Unsupported(
            f"an operation of the model has no forward mode ({last_line(error.__cause__ or error)}), and "
            f"that is what carries the path into its layers. Explain each layer along a straight line "
            f"of its own: at= the layer, without path=ig.PushedForward()."
        ) from error

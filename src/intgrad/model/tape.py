"""A tape of one forward pass: which operations were not linear, and what they were given.

Autograd's graph names every operation of a forward pass, whatever Python, hooks or modules called
it, but keeps only what its own derivative needs: relu keeps its output, and an average over a panel
needs its input. So a dispatch mode below autograd notes the arguments of all that is not linear.
A node and its note find each other by autograd's sequence number, which is drawn just before the
operation is dispatched.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils._python_dispatch import TorchDispatchMode

from intgrad._types import Point
from intgrad.model.linear import is_linear

Axis = tuple[int, int]  # (dimension, entries a row): rows lie in this dimension, so many apiece


@dataclass(frozen=True)
class Step:
    """One operation that is not linear: what it was given and gave.

    Attributes
    ----------
    op
        The operation, out of place.
    args, kwargs, out
        As at the call; `out` is a tensor or a tuple.
    live
        For each tensor among the arguments, in order, whether gradients flow to it.
    axes
        For each of those tensors, and then each output, where its rows lie; None where it has none.
        Empty until the layout is known.
    versions
        Counters of writes, so that a later write into an argument is noticed.
    """

    op: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    live: tuple[bool, ...]
    versions: tuple[int, ...]
    axes: tuple[Axis | None, ...] = ()

    @property
    def name(self) -> str:
        """The operation's name, such as ``relu``."""
        return short_name(self.op)

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments, in order."""
        return tensors_in((self.args, self.kwargs))

    @property
    def outs(self) -> list[Tensor]:
        """The outputs that are tensors."""
        return tensors_in(self.out)

    def intact(self) -> bool:
        """Whether nothing was written into the arguments since."""
        return self.versions == tuple(t._version for t in self.tensors)


def short_name(op: Any) -> str:
    """``aten::relu_`` and all its overloads are ``relu``; other libraries keep their prefix."""
    space, _, name = op._schema.name.partition("::")
    plain = name[:-1] if name.endswith("_") and not name.endswith("__") else name
    return plain if space == "aten" else f"{space}::{plain}"


def tensors_in(tree: Any) -> list[Tensor]:
    """Every tensor in nested tuples, lists and dicts, in order. Asked of every operation: kept plain."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, list | tuple):
        return []
    return [tensor for part in tree for tensor in tensors_in(part)]


@dataclass
class Tape(TorchDispatchMode):
    """Notes operations while it is entered.

    Attributes
    ----------
    steps
        By sequence number of their autograd node: what is not linear.
    known
        Sequence numbers of everything seen, linear or not.
    lost
        Names of operations whose effect cannot be noted.
    """

    steps: dict[int, Step] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = tensors_in((args, kwargs))
        if not torch.is_grad_enabled() or not any(t.requires_grad for t in given):
            return func(*args, **kwargs)
        number = _sequence_number()
        if func._schema.is_mutable:  # a copy of what it overwrites may have been saved in between
            while number in self.known:
                number -= 1
        if number in self.known:
            return func(*args, **kwargs)
        self.known.add(number)
        live = tuple(t.requires_grad for t in given)
        if is_linear(short_name(func), args, live):
            return func(*args, **kwargs)
        return self._note(number, func, args, kwargs, live)

    def _note(
        self, number: int, func: Any, args: Any, kwargs: dict[str, Any], live: tuple[bool, ...]
    ) -> Any:
        kept, op = args, func
        if func._schema.is_mutable:
            op = _out_of_place(func)
            if op is None or args[0]._is_view():
                self.lost.append(short_name(func))
                return func(*args, **kwargs)
            with torch.no_grad():
                kept = (args[0].clone(), *args[1:])
        versions = tuple(t._version for t in tensors_in((kept, kwargs)))
        out = func(*args, **kwargs)
        self.steps[number] = Step(op, kept, kwargs, out, live, versions)
        return out


def _sequence_number() -> int:
    """That of the autograd node which was made last on this thread."""
    return torch._C._autograd._get_sequence_nr() - 1  # pyright: ignore[reportAttributeAccessIssue]


def _out_of_place(func: Any) -> Any:
    """``relu`` for ``relu_``, or None."""
    packet = getattr(torch.ops.aten, short_name(func), None)
    return getattr(packet, func._overloadname, None) if packet is not None else None


# ---------------------------------------------------------------------- where rows lie


def learn_axes(two: Tape, three: Tape) -> list[tuple[Axis | None, ...]] | None:
    """Where rows lie in each tensor of each step, from tapes of two rows and of three.

    None where the passes differ in more than the number of rows.
    """
    if [s.name for s in two.steps.values()] != [s.name for s in three.steps.values()]:
        return None
    found = []
    for a, b in zip(two.steps.values(), three.steps.values(), strict=True):
        pairs = zip([*a.tensors, *a.outs], [*b.tensors, *b.outs], strict=True)
        axes = [_axis(p.shape, q.shape) for p, q in pairs]
        if any(axis == () for axis in axes):
            return None
        found.append(tuple(axes))
    return found


def _axis(two: Sequence[int], three: Sequence[int]) -> Any:
    """The dimension that grew from 2k to 3k; None where none grew, () where it is not clear."""
    if len(two) != len(three):
        return ()
    grown = [d for d in range(len(two)) if two[d] != three[d]]
    if not grown:
        return None
    d = grown[0]
    return (d, two[d] // 2) if len(grown) == 1 and 3 * two[d] == 2 * three[d] else ()


def place_axes(tape: Tape, axes: list[tuple[Axis | None, ...]], rows: int) -> bool:
    """Give every step of a tape of so many rows its axes; False where they do not fit."""
    if len(axes) != len(tape.steps):
        return False
    for (number, step), own in zip(tape.steps.items(), axes, strict=True):
        tensors = [*step.tensors, *step.outs]
        if len(tensors) != len(own):
            return False
        for tensor, axis in zip(tensors, own, strict=True):
            if axis is not None and tensor.shape[axis[0]] != axis[1] * rows:
                return False
        tape.steps[number] = replace(step, axes=own)
    return True


# ---------------------------------------------------------------------- backwards, step by step

Rule = Callable[[Step, Node, tuple[Tensor | None, ...]], Sequence[Tensor | None]]


def pull(
    tape: Tape, start: list[Any], leaves: Point, rule: Rule, keep: bool
) -> list[Tensor | None]:
    """Pull a gradient back to the leaves: autograd, but for the steps on the tape.

    Those are handed to `rule`; everything else does what autograd does.

    Parameters
    ----------
    start
        The node and slot of the output, and the gradient there; emptied, so that nothing holds it.
    leaves
        Where gradients are wanted: leaves of the graph, or tensors inside it.
    keep
        Whether the tape is needed again. If not, what a node has saved is freed once it is done, as
        in autograd: memory that was just in use is faster than new memory.
    """
    node, slot, seed = start
    start.clear()
    found: dict[int, Tensor] = {}
    inner = {
        (leaf.grad_fn, leaf.output_nr): id(leaf) for leaf in leaves if leaf.grad_fn is not None
    }
    waiting: dict[Node, list[Tensor | None]] = {node: []}
    _add(waiting[node], slot, seed)
    queue = [(-_number(node), 0, node)]
    del node, seed
    while queue:
        node = heapq.heappop(queue)[2]
        given = tuple(waiting.pop(node))
        given += (None,) * (len(node._input_metadata) - len(given))
        for slot, grad in enumerate(given):
            if grad is not None and (node, slot) in inner:
                found[inner[node, slot]] = grad
        step = tape.steps.get(_number(node)) if keep else tape.steps.pop(_number(node), None)
        grads = run(node, given) if step is None else rule(step, node, given)
        del given, step
        for grad, (after, slot) in zip(grads, node.next_functions, strict=True):
            if grad is None or after is None:
                continue
            variable = getattr(after, "variable", None)
            if variable is not None:
                before, own = found.get(id(variable)), _fit(grad, variable)
                found[id(variable)] = own if before is None else before + own
                continue
            if after not in waiting:
                waiting[after] = []
                heapq.heappush(queue, (-_number(after), id(after), after))
            _add(waiting[after], slot, _fit(grad, after._input_metadata[slot]))
        grad = grads = after = None
    return [found.get(id(leaf)) for leaf in leaves]


def _fit(grad: Tensor, wanted: Any) -> Tensor:
    """Sum over what was broadcast and keep the type: what autograd's engine does between nodes."""
    if grad.shape != wanted.shape:
        grad = grad.sum_to_size(wanted.shape)
    return grad if grad.dtype == wanted.dtype else grad.to(wanted.dtype)


def run(node: Any, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """What autograd itself does at this node."""
    found = node(*grads)
    return found if isinstance(found, tuple) else (found,)


def _number(node: Node) -> int:
    return node._sequence_nr()


def _add(slots: list[Tensor | None], slot: int, grad: Tensor) -> None:
    slots.extend([None] * (slot + 1 - len(slots)))
    before = slots[slot]
    slots[slot] = grad if before is None else before + grad

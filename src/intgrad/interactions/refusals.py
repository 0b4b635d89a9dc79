"""What can be explained, and by which rule; the rest is refused in a sentence."""

from __future__ import annotations

from typing import Any

import torch

from intgrad._types import open_door, whole_number
from intgrad.certificate import Question
from intgrad.errors import InputError, Unsupported
from intgrad.model.hessian import Seen, operations
from intgrad.model.precision import name_of
from intgrad.quadrature.tolerance import is_half

SILENT = "at which autograd's second derivative is silently 0"


def bent(question: Question, check: bool) -> bool:
    """Whether the model is piecewise linear, with kinks; unchecked, no other kinks are refused."""
    try:
        return piecewise_linear(question)
    except Unsupported:
        if check:
            raise
        return False


def piecewise_linear(question: Question) -> bool:
    """Whether the model is piecewise linear.

    Raises
    ------
    Unsupported
        It has kinks and is not: its Hessian misses what happens at them.
    """
    curves, oracle = question.integral.curves, question.oracle
    seen = operations(oracle, curves.end.take(torch.tensor([0]))[0], curves.row[:1])
    if not seen.bent:
        return False
    kinks = f"this model has kinks ({', '.join(n.lower() for n in seen.bent[:3])})"
    if seen.smooth:
        raise Unsupported(
            f"{kinks}, {SILENT}, and {seen.smooth[0].lower()} as well. A logit of a piecewise-linear model "
            f"can be explained exactly; {_remedy(seen)}."
        )
    if question.integral.dtype != torch.float64:
        raise Unsupported(
            f"{kinks}; jumps of its gradient are told from rounding in float64 only, not in "
            f"{name_of(question.integral.dtype)}. Pass dtype='float64'."
        )
    try:
        _follow(question)
    except Unsupported as error:
        why = str(error).split(". ")[0]
        raise Unsupported(
            f"{kinks}, {SILENT}, and is not piecewise linear ({why}); {_remedy(seen)}."
        ) from error
    return True


def _remedy(seen: Seen) -> str:
    """Which twin without kinks there is."""
    if set(seen.bent) == {"Relu"}:
        return (
            "its twin without kinks has an answer: ig.softened(model, beta=50), larger beta nearer to "
            "the model and dearer. check=False integrates what autograd sees"
        )
    return (
        "a twin without kinks has an answer: logsumexp(beta z) / beta for a maximum, "
        "ig.softened(model, beta=50) for nn.ReLU. check=False integrates what autograd sees"
    )


def _follow(question: Question) -> None:
    """Ask for the first linear region, which finds out whether there are any; counted as a check."""
    curves, oracle, first = question.integral.curves, question.oracle, torch.tensor([0])
    ends = zip(curves.start.take(first), curves.end.take(first), strict=True)
    way = tuple(end - start for start, end in ends)
    room = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    with oracle.meter.aside():
        oracle.regions(curves.end.take(first), curves.row[:1], way, room=room, units=False)


def refuse_several(x: Any) -> None:
    """A pair lies in one tensor."""
    point, _ = open_door(x)
    if len(point) > 1:
        raise Unsupported(
            f"x has {len(point)} tensors; interactions are of one. Put what is not explained in given=, or "
            f"wrap the model so that it takes one tensor apart."
        )


def refuse_numbers(rtol: object, nodes: object, most: object, of: object, top: object) -> None:
    """A positive tolerance, whole numbers of nodes, and one way to choose pairs."""
    if isinstance(rtol, bool) or not isinstance(rtol, int | float) or not rtol > 0:
        raise InputError(f"rtol={rtol!r}; expected a positive number, such as 1e-2.")
    whole_number(most, "max_nodes", whole_number(nodes, "nodes", 3))
    if top is not None and whole_number(top, "top", 1) and of is not None:
        raise InputError(
            "of= and top= are both given; expected groups to ask for, or how many pairs to find."
        )


def refuse_question(question: Question) -> None:
    """One target, whole paths, and a dtype that can be differentiated twice."""
    if question.oracle.targets is not None:
        raise Unsupported(
            f"target names {question.oracle.targets} targets; interactions are of one. Ask for each."
        )
    if question.integral.curves.mask is not None:
        raise Unsupported("this baseline moves a part of the features at a time; name one point.")
    if is_half(question.integral.dtype):
        raise Unsupported(
            f"second derivatives need float32 or float64, not {name_of(question.integral.dtype)}. Pass "
            f"dtype='float32'."
        )

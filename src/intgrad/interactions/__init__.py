"""`interactions`: Integrated Hessians, which features matter together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from intgrad._types import open_door, whole_number
from intgrad.caller import bar, calm
from intgrad.certificate import Question, outside
from intgrad.errors import InputError, NotConverged, Unsupported
from intgrad.integral import ATOL
from intgrad.interactions.groups import Groups, chosen, read_groups
from intgrad.interactions.jumps import exact
from intgrad.interactions.result import Interactions, judged
from intgrad.interactions.search import strongest
from intgrad.interactions.smooth import Ask, Sums, integrate
from intgrad.interactions.soften import softened
from intgrad.model.checks import refuse_training
from intgrad.model.hessian import operations
from intgrad.model.precision import name_of
from intgrad.quadrature.tolerance import is_half
from intgrad.question import opened, prepare
from intgrad.recipe import Recipe


def interactions(
    model: Callable[..., Any],
    x: Any,
    *,
    target: Any = None,
    baseline: Any = None,
    at: Any = "input",
    groups: int | Tensor | None = None,
    of: Sequence[int] | None = None,
    top: int | None = None,
    rtol: float = 1e-2,
    nodes: int = 6,
    max_nodes: int = 400,
    max_regions: int = 10_000,
    given: dict[str, Tensor] | None = None,
    seed: int = 0,
    width: int | None = None,
    check: bool = True,
    strict: bool = False,
    dtype: torch.dtype | str | None = None,
    progress: bool | Callable[[int], None] = False,
) -> Interactions:
    r"""How much each pair of features contributed to a prediction, compared with a baseline.

    .. math:: \Gamma_{ij}(x) = \phi_i(\phi_j(x)) = d_i d_j \int_0^1 (-u \ln u) \,
              \partial_i \partial_j f(x' + u d) \, du
              + \delta_{ij} \, d_i \int_0^1 (-\ln u) \, \partial_i f(x' + u d) \, du

    Integrated Hessians (Janizek, Sturmfels, Lee 2021, arXiv:2002.04138), :math:`\phi` being integrated
    gradients and d = x - x'. Their double integral is one integral here, for u = alpha beta has the
    density -ln u. Rows sum to integrated gradients, and the matrix to f(x) - f(x'). Over several
    baselines it is their mean (expected Hessians).

    Parameters
    ----------
    model, target, baseline, at, given, seed, width, check, strict, dtype, progress
        As in `attribute` and `explain`; a single target, a single tensor, straight paths.
    groups
        What interacts: None for every number; an axis of the features (1 for the words of an
        embedding (n, words, width), or the channels of a picture); a tensor of whole numbers from 0,
        shaped like a row of x: words, superpixels, columns. Values of a group are sums over it.
    of
        Groups whose interactions with all others are wanted; None for all. The cost is theirs.
    top
        Search for so many strongest pairs instead: random sketches say how strongly each group interacts
        with all others, and the strongest groups are asked for exactly until the pairs found outweigh
        what may be left (`strongest`). With several rows the groups of all are asked for.
    rtol
        Relative L1 error of each row at which it stops.
    nodes
        Of the first rule; rows that miss `rtol` get twice as many, then halves of their worst panels.
    max_nodes
        Nodes a baseline after which a row is left, and `NotConverged` is warned of.
    max_regions
        Linear regions a row, of piecewise-linear models.

    Returns
    -------
    Interactions
        Smooth models cost n gradients with 2k backwards for their k Hessian-vector products (k groups
        asked for), and 2n gradients. Piecewise-linear models (ReLU, max-pools) cost one gradient and
        one tangent pass a linear region whatever k is: their second derivative is 0 wherever autograd
        looks, and the answer is in the jumps of the gradient.

    Raises
    ------
    InputError, TargetError, ModelError
        In one sentence: what came, what was expected, what to do.
    Unsupported
        Several targets or tensors; a half type; a model with kinks that is not piecewise linear, whose
        `softened` twin has an answer. With ``check=False`` its kinks are not looked for.

    Warns
    -----
    NotConverged
        Some row's error is above its tolerance.
    """
    whole_number(nodes, "nodes", 3)
    whole_number(max_nodes, "max_nodes", nodes)
    seed = whole_number(seed, "seed")
    refuse_tolerance(rtol)
    refuse_several(x)
    if top is not None and whole_number(top, "top", 1) and of is not None:
        raise InputError(
            "of= and top= are both given; expected groups to ask for, or how many pairs to find."
        )
    recipe = Recipe("integrated_hessians", at=at).but(baseline=baseline)
    with calm(model, differentiable=True), bar(progress) as tick:
        how = {"width": width, "differentiable": False, "dtype": dtype}
        oracle = opened(recipe, model, x, given, tick, **how)
        if check:
            refuse_training(model)
        question = prepare(recipe, oracle, target, seed, check)
        refuse_question(question)
        own = read_groups(groups, question.integral.curves.end.points[0].shape[1:])
        which = chosen(of, own.count)
        kinked = bent(question, check)
        if kinked:
            sums = exact(question.integral, own, max_regions)
            wanted = {"value": sums.value[:, which], "error": sums.error[:, which]}
            sums = replace(sums, **wanted)
        else:
            ask = asker(question, own, nodes, max_nodes, rtol)
            eye = torch.eye(own.count, dtype=torch.float64)
            if top is None:
                sums = ask(eye[which])
            else:
                sums, which = strongest(ask, own.count, top, seed)
    return certified(question, sums, which, rtol, kinked, strict)


def asker(
    question: Question, own: Groups, nodes: int, most: int, rtol: float
) -> Callable[..., Sums]:
    """Integrals of products with given directions (k, g); roughly: by the first rule alone."""
    assert question.integral.scale is not None
    scale, rows = question.integral.scale[0].cpu().double(), question.integral.rows

    def ask(mix: Tensor, rough: bool = False) -> Sums:
        part = Ask(question.oracle, question.integral.curves, own, mix)
        return integrate(part, rows, nodes, nodes if rough else most, rtol, scale)

    return ask


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
    kinks = ", ".join(n.lower() for n in seen.bent[:3])
    remedy = (
        "its twin without kinks has an answer: ig.softened(model, beta=50), larger beta nearer to the "
        "model and dearer"
    )
    if set(seen.bent) != {"Relu"}:
        remedy = (
            "a twin without kinks has an answer: logsumexp(beta z) / beta for a maximum, "
            "ig.softened(model, beta=50) for nn.ReLU"
        )
    if seen.smooth:
        raise Unsupported(
            f"this model has kinks ({kinks}), at which autograd's second derivative is silently 0, and "
            f"{seen.smooth[0].lower()} as well. A logit of a piecewise-linear model can be explained "
            f"exactly; {remedy}."
        )
    if question.integral.dtype != torch.float64:
        raise Unsupported(
            f"this model has kinks ({kinks}); jumps of its gradient are told from rounding in float64 "
            f"only, not in {name_of(question.integral.dtype)}. Pass dtype='float64'."
        )
    try:
        every = torch.tensor([0])
        point, end = curves.start.take(every), curves.end.take(every)
        way = tuple(b - a for a, b in zip(point, end, strict=True))
        room = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        with oracle.meter.aside():
            oracle.regions(end, curves.row[:1], way, room=room, units=False)
    except Unsupported as error:
        raise Unsupported(
            f"this model has kinks ({kinks}), at which autograd's second derivative is silently 0, and it "
            f"is not piecewise linear ({str(error).split('. ')[0]}); {remedy}."
        ) from error
    return True


def certified(
    question: Question, sums: Sums, which: Tensor, rtol: float, kinked: bool, strict: bool
) -> Interactions:
    """Values, error, residuals and cost together; warns where a row has not converged."""
    oracle, value = question.oracle, sums.value
    whole = len(which) == sums.flat.shape[1]
    residual = value.sum((1, 2)) - question.gain[0].cpu() if whole else None
    beside = value.sum(2) - sums.flat[:, which]
    absolute = judged(value, sums.error, beside, residual)
    output, before = question.output[0].cpu(), question.before[0].cpu()
    scale = torch.maximum(output.abs(), before.abs())
    norm = value.abs().sum((1, 2))
    converged = (absolute <= rtol * norm) | (absolute <= ATOL * scale)
    what = "linear regions, exact" if kinked else "log-weighted Gauss nodes"
    zero = (absolute == 0) & (norm == 0)
    found = Interactions(
        values=value,
        error_map=sums.error,
        attribution=sums.flat,
        residual=residual,
        row_residual=beside,
        error=torch.where(zero, 0.0, absolute / norm),
        output=output,
        baseline_output=before,
        of=which,
        forwards=oracle.meter.forwards.clone(),
        backwards=oracle.meter.backwards.clone(),
        evaluations=oracle.meter.evaluations(),
        products=sums.products,
        converged=converged,
        rtol=float(rtol),
        at=oracle.location.name,
        dtype=name_of(question.integral.dtype),
        targets=question.names,
        rules=tuple(f"{n} {what}" for n in sums.nodes.tolist()),
    )
    report(found, strict)
    return found


def report(found: Interactions, strict: bool) -> None:
    """Warn of rows above their tolerance, or raise if `strict`."""
    missed = (~found.converged).nonzero()[:, 0].tolist()
    if not missed:
        return
    worst = float(found.error[missed].max())
    names = ", ".join(f"row {row}" for row in missed[:8]) + (" ..." if missed[8:] else "")
    message = NotConverged(
        f"{names}: an estimated error of up to {worst:.2g}, above the tolerance of {found.rtol:.2g}. Raise "
        f"max_nodes=, compute in float64, or accept it with a larger rtol."
    )
    if strict:
        raise message
    warnings.warn(message, stacklevel=outside())


# ---------------------------------------------------------------------- refusals


def refuse_several(x: Any) -> None:
    """A pair lies in one tensor."""
    point, _ = open_door(x)
    if len(point) > 1:
        raise Unsupported(
            f"x has {len(point)} tensors; interactions are of one. Put what is not explained in given=, or "
            f"wrap the model so that it takes one tensor apart."
        )


def refuse_tolerance(rtol: object) -> None:
    """A positive number."""
    if isinstance(rtol, bool) or not isinstance(rtol, int | float) or not rtol > 0:
        raise InputError(f"rtol={rtol!r}; expected a positive number, such as 1e-2.")


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


__all__ = ["Interactions", "interactions", "softened"]

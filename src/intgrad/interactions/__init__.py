"""`interactions`: Integrated Hessians, which features matter together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.caller import bar, calm
from intgrad.certificate import Question, outside
from intgrad.errors import NotConverged
from intgrad.integral import ATOL
from intgrad.interactions.groups import Groups, chosen, one_hot, read_groups
from intgrad.interactions.jumps import exact
from intgrad.interactions.refusals import bent, refuse_numbers, refuse_question, refuse_several
from intgrad.interactions.result import Interactions
from intgrad.interactions.search import strongest
from intgrad.interactions.smooth import Ask, Sums, Until, integrate, judged
from intgrad.interactions.soften import softened
from intgrad.model.checks import refuse_training
from intgrad.model.precision import name_of
from intgrad.quadrature import GaussLegendre
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
        what may be left (`strongest`). With several rows the groups of all are asked for. Of
        piecewise-linear models the whole matrix costs no more, and is returned.
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
        `softened` twin has an answer. With ``check=False`` it is integrated regardless, and only the
        residual tells what is missed.

    Warns
    -----
    NotConverged
        Some row's error is above its tolerance.
    """
    refuse_numbers(rtol, nodes, max_nodes, of, top)
    refuse_several(x)
    seed = whole_number(seed, "seed")
    rule = GaussLegendre(nodes)  # nodes are fixed before baselines are drawn
    recipe = Recipe("integrated_hessians", baseline, quadrature=rule, at=at)
    with calm(model, differentiable=True), bar(progress) as tick:
        how = {"width": width, "differentiable": False, "dtype": dtype}
        oracle = opened(recipe, model, x, given, tick, **how)
        oracle.twice = True
        if check:
            refuse_training(model)
        question = prepare(recipe, oracle, target, seed, check)
        refuse_question(question)
        own = read_groups(groups, question.integral.curves.end.points[0].shape[1:])
        which = chosen(of, own.count)
        kinked = bent(question, check)
        if kinked:
            sums = exact(question.integral, own, max_regions).of(which)
        else:
            known = scale_of(question), question.gain[0].cpu()
            ask = asker(question, own, Until(nodes, max_nodes, float(rtol), *known))
            if top is not None:
                sums, which = strongest(ask, own.count, top, seed)
            else:
                sums = ask(one_hot(which, own.count))
    return certified(question, sums, which, rtol, kinked, strict)


def asker(question: Question, own: Groups, until: Until) -> Callable[..., Sums]:
    """Integrals of products with given directions (k, g); roughly: by the first rule alone."""
    rows = question.integral.rows

    def ask(mix: Tensor, rough: bool = False) -> Sums:
        part = Ask(question.oracle, question.integral.curves, own, mix)
        most = until.nodes if rough else until.most
        gain = until.gain if len(mix) == own.count and not rough else None
        return integrate(part, rows, replace(until, most=most, gain=gain))

    return ask


def scale_of(question: Question) -> Tensor:
    """max(|f(x)|, |f(baseline)|) of every row: (r,)."""
    return torch.maximum(question.output[0].abs(), question.before[0].abs()).double().cpu()


def certified(
    question: Question, sums: Sums, which: Tensor, rtol: float, kinked: bool, strict: bool
) -> Interactions:
    """Values, error, residuals and cost together; warns where a row has not converged."""
    oracle, value = question.oracle, sums.value
    whole = len(which) == sums.flat.shape[1]
    expected = sums.flat[:, which]
    gain = question.gain[0].cpu() if whole else None
    absolute = judged(value, sums.error, expected, gain)
    scale = scale_of(question)
    norm = value.abs().sum((1, 2))
    converged = (absolute <= rtol * norm) | (absolute <= ATOL * scale)
    what = "linear regions, exact" if kinked else "log-weighted Gauss nodes"
    zero = (absolute == 0) & (norm == 0)
    found = Interactions(
        values=value,
        error_map=sums.error,
        attribution=sums.flat,
        residual=None if gain is None else value.sum((1, 2)) - gain,
        row_residual=value.sum(2) - expected,
        error=torch.where(zero, 0.0, absolute / norm),
        output=question.output[0].cpu(),
        baseline_output=question.before[0].cpu(),
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


__all__ = ["Interactions", "interactions", "softened"]

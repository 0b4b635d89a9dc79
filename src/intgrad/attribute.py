"""`attribute`: door -> oracle -> curves -> integral -> quadrature -> `Attribution`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Point, Structure, open_door, plain, whole_number
from intgrad.attribution import Attribution
from intgrad.baseline import populated
from intgrad.begin import begin, moving, refuse_ids
from intgrad.caller import bar, calm
from intgrad.certificate import Question, certify, difference, refuse_nan
from intgrad.errors import InputError, ModelError, Unsupported
from intgrad.integral import LineIntegral
from intgrad.model.checks import refuse_impure, refuse_training
from intgrad.model.cost import Meter
from intgrad.model.location import locate
from intgrad.model.precision import as_dtype, cast, refuse_casts
from intgrad.model.refusals import row_extras
from intgrad.model.target import as_target, reader
from intgrad.model.torch_oracle import TorchOracle
from intgrad.path import Straight
from intgrad.quadrature.tolerance import reachable
from intgrad.recipe import Recipe


def attribute(
    model: Callable[..., Any],
    x: Any,
    *,
    target: Any = None,
    baseline: Any = None,
    path: Any = None,
    quadrature: Any = None,
    integrand: Any = None,
    at: Any = "input",
    **call: Any,
) -> Attribution:
    r"""How much each feature of x contributed to a prediction, compared with a baseline.

    .. math:: A_i(x) = \sum_c w_c \int_0^1 \partial_i f(\gamma_c(t)) \, \dot\gamma_{c,i}(t) \, dt

    By default integrated gradients (Sundararajan, Taly, Yan 2017, arXiv:1703.01365): one straight
    line from zeros to x. Each part can be exchanged; the parts of a published method are in
    `intgrad.methods`.

    Parameters
    ----------
    model
        Any callable on tensors. Modules must be in evaluation mode.
    x
        What is explained: a tensor, tuple or dict of tensors, rows first. A tuple is passed as
        positional arguments, a dict by name.
    target
        Which number of the output: None (the predicted class, or the output itself for
        regression), a class index, one index a row, `Logit`, `Probability`, `LogProbability`,
        `Margin`, a callable on the output that gives one number a row, or several targets from
        the same forwards: `All`, or a list of targets.
    baseline
        Where paths start: a tensor like x (one row, or one a row), or a baseline such as `Zeros`
        (the default), `Blurred`, `Uniform`. It lives in the model's input and is carried to the
        location by the model; where the input is token ids, `MaskToken` or a tensor of ids is
        carried, and real numbers mean the location's own units.
    path
        How to go: `Straight` (the default), or any ``(t, start, end) -> point``.
    quadrature
        How to integrate: `Automatic` (1 % by default) takes a tolerance and finds the nodes; rules
        with fixed nodes, such as `GaussLegendre(50)`, are there to reproduce a paper.
    integrand
        What a node contributes; gradient times velocity by default.
    at
        Where the features live: ``"input"``, ``"embedding"``, a module, or its dotted name.
    **call
        Who is asked and how; see `explain`.

    Returns
    -------
    Attribution
        Values shaped like x (with several targets, a leading target axis), and the certificate.
        Costs what the quadrature says, a row; one gradient more for the rounding floor, and a bare
        forward for f(x) and each f(baseline).

    Raises
    ------
    InputError, TargetError, ModelError, Unsupported
        In one sentence: what came, what was expected, what to do.

    Warns
    -----
    NotConverged
        Some row's error is above its tolerance.
    ToleranceRaised
        Rounding in a half type is above the usual tolerance, so rows are held to their floor.
    """
    given: dict[str, Any] = {"path": path, "quadrature": quadrature, "integrand": integrand}
    parts = {name: part for name, part in given.items() if part is not None}
    recipe = Recipe(
        "integrated_gradients" if not parts.keys() & {"path", "integrand"} else "path_method"
    )
    return explain(recipe.but(baseline=baseline, at=at, **parts), model, x, target=target, **call)


def explain(
    recipe: Recipe,
    model: Callable[..., Any],
    x: Any,
    *,
    target: Any = None,
    given: dict[str, Tensor] | None = None,
    seed: int = 0,
    width: int | None = None,
    check: bool = True,
    strict: bool = False,
    differentiable: bool = False,
    dtype: torch.dtype | str | None = None,
    progress: bool | Callable[[int], None] = False,
) -> Attribution:
    """Attribute by a recipe.

    Parameters
    ----------
    given
        Extras aligned with the rows but not explained, passed to the model by name.
    seed
        The only source of chance, for baselines that draw.
    width
        Rows in every call of the model, the last call padded: a row's bytes then do not depend on
        its batch mates. Found from memory by default.
    check
        Probe whether rows leak into each other and whether the model repeats itself.
    strict
        Raise `NotConverged` instead of warning.
    differentiable
        Keep the graph, through parameters and x, for attributions inside a loss. Fused attention
        has no second derivative and runs as its mathematical form for the length of the call.
    dtype
        ``torch.float64`` (or ``"float64"``) or float32: the model runs in it for this call, on copies
        of its parameters and buffers; x, baseline and given real numbers are cast.
    progress
        True for a bar, or a function told how many rows went through the model.
    """
    width = None if width is None else whole_number(width, "width", 1)
    seed = whole_number(seed, "seed")
    refuse_parts(recipe)
    with calm(model, differentiable), bar(progress) as tick:
        raw, structure = open_door(x)
        wanted = as_dtype(dtype)
        raw = tuple(cast(p if differentiable else plain(p), wanted) for p in raw)
        rows = raw[0].shape[0]
        meter = Meter(rows, tick)
        extras = {k: cast(v, wanted) for k, v in row_extras(given, rows).items()}
        location = locate(model, recipe.at)
        if location.module is None:
            refuse_ids(raw, structure)
        if check:
            refuse_training(model)
        oracle = TorchOracle(
            model, raw, structure, extras, location, meter, width, differentiable, wanted
        )
        question = prepare(recipe, oracle, target, seed, check)
        rule = reachable(recipe.quadrature, question.integral.dtype)
        return certify(recipe, question, rule(question.integral), seed, strict)


def prepare(recipe: Recipe, oracle: TorchOracle, target: Any, seed: int, check: bool) -> Question:
    """Run the model at x, bind the target, draw the curves, check the model."""
    every = torch.arange(oracle.raw[0].shape[0])
    wanted = as_target(target)
    read = reader(wanted)
    x, scores = oracle.read(oracle.raw, every, read)
    if check and oracle.dtype is not None:
        refuse_casts(oracle, read)
    bound = wanted.bind(scores)
    oracle.bind(bound, x)
    output = bound.of(scores, every)
    output = output if bound.count else output[None]
    refuse_nan(output, "x")
    inner = oracle.location.module is not None
    structure = Structure("tensor") if inner else oracle.structure
    baseline, drawn = populated(recipe.baseline, recipe.quadrature)
    curves = replace(begin(baseline, oracle, seed, wanted), drawn=drawn)
    if check and oracle.width > 1 and (longest := moving(curves)) is not None:
        ends = curves.end.take(longest), curves.start.take(longest)
        pair = tuple(torch.cat(p) for p in zip(*ends, strict=True))
        known = output[:, int(curves.row[longest])].detach()
        refuse_impure(oracle, pair, curves.row[longest].repeat(2), known)
    if inner:
        refuse_detour(oracle, x, output)
    path: Any = recipe.path
    if hasattr(path, "trace"):
        refuse_drawn(recipe, drawn)
        curves, path = path.trace(oracle, curves), Straight()
    watch = not oracle.differentiable
    integral = LineIntegral(oracle, curves, path, recipe.integrand, len(every), watch)
    output = output.detach().double()
    gain, gains = difference(integral, output)
    scale = torch.maximum(output.abs(), (output - gain).abs())
    known = {"gain": gain, "gains": gains} if recipe.complete and curves.mask is None else {}
    integral = replace(integral, scale=scale, output=scores.dtype, **known)
    return Question(oracle, structure, integral, output, gain, bound.names)


def refuse_parts(recipe: Recipe) -> None:
    """Refuse numbers, strings and classes where a path, a quadrature or an integrand is meant."""
    wanted = {
        "path": "a callable (t, start, end) -> point, such as ig.Straight()",
        "quadrature": "a rule, such as ig.Automatic(1e-3) or ig.GaussLegendre(48)",
        "integrand": "an integrand, such as intgrad.integrand.GradientVelocity()",
    }
    for name, example in wanted.items():
        part = getattr(recipe, name)
        usable = callable(part) or (name == "path" and hasattr(part, "trace"))
        if isinstance(part, type) or not usable:
            raise InputError(f"{name}={part!r} is not understood; expected {example}.")


def refuse_drawn(recipe: Recipe, drawn: bool) -> None:
    """The segments of a traced path are curves of their own: which draw each is of is lost."""
    if drawn:
        kind, path = type(recipe.baseline).__name__, type(recipe.path).__name__
        raise Unsupported(
            f"{path} asks the model for its way, and a rule cannot tell the draws of {kind} apart on "
            f"such ways. Name the number of draws: {kind}(samples=16)."
        )


def refuse_detour(oracle: TorchOracle, x: Point, output: Tensor) -> None:
    """Check, every row, that giving the layer its own output changes nothing."""
    rows = torch.arange(output.shape[-1])
    with oracle.meter.aside():
        again = oracle.value(x, rows).reshape(output.shape)
    slack = torch.finfo(x[0].dtype).eps ** 0.5 * output.detach().abs().max().clamp(min=1e-3)
    moved = (again - output).detach().abs().max()
    if not bool(moved <= slack):
        raise ModelError(
            f"the model answers {float(moved):.2g} differently when {oracle.location.name!r} is given its "
            f"own output back: more of it is used than its output. Choose another layer."
        )

"""One question answered: door -> oracle -> curves -> integral -> quadrature -> `Attribution`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Point, Structure, open_door, plain, whole_number
from intgrad.attribution import Attribution
from intgrad.baseline import populated
from intgrad.begin import begin, beginning, moving, refuse_ids, refuse_missed
from intgrad.caller import bar, calm
from intgrad.certificate import Question, certify
from intgrad.ends import difference, refuse_nan
from intgrad.errors import InputError, ModelError, Unsupported
from intgrad.integral import LineIntegral
from intgrad.model.bound import Pinned
from intgrad.model.checks import refuse_impure, refuse_training
from intgrad.model.cost import Meter
from intgrad.model.location import locate
from intgrad.model.places import places_of
from intgrad.model.precision import as_dtype, cast, refuse_casts
from intgrad.model.refusals import row_extras
from intgrad.model.target import as_target, reader
from intgrad.model.torch_oracle import TorchOracle
from intgrad.path import Straight
from intgrad.path.curve import prepared
from intgrad.quadrature.tolerance import reachable
from intgrad.recipe import Recipe


def ask(
    recipe: Recipe,
    model: Callable[..., Any],
    x: Any,
    *,
    target: Any = None,
    given: dict[str, Tensor] | None = None,
    seed: int = 0,
    width: int | None = None,
    check: bool = True,
    strict: bool | None = False,
    differentiable: bool = False,
    dtype: torch.dtype | str | None = None,
    progress: bool | Callable[[int], None] = False,
) -> Attribution:
    """Attribute by a recipe that is one question; parameters as in `intgrad.attribute.explain`.

    With ``strict=None`` nobody is told of rows that have not converged: whoever puts several answers
    together does that.
    """
    width = None if width is None else whole_number(width, "width", 1)
    seed = whole_number(seed, "seed")
    recipe = recipe.but(baseline=beginning(recipe))
    with calm(model, differentiable), bar(progress) as tick:
        how = {"width": width, "differentiable": differentiable, "dtype": dtype}
        oracle = opened(recipe, model, x, given, tick, **how)
        if check:
            refuse_training(model)
        question = prepare(recipe, oracle, target, seed, check)
        rule = reachable(recipe.quadrature, question.integral.dtype)
        return certify(recipe, question, rule(question.integral), seed, strict)


def opened(
    recipe: Recipe,
    model: Callable[..., Any],
    x: Any,
    given: dict[str, Tensor] | None,
    tick: Callable[[int], None] | None,
    **how: Any,
) -> TorchOracle:
    """The model behind its door, about to be asked at the recipe's location."""
    raw, structure = open_door(x)
    wanted = as_dtype(how["dtype"])
    raw = tuple(cast(p if how["differentiable"] else plain(p), wanted) for p in raw)
    rows = raw[0].shape[0]
    extras = {k: cast(v, wanted) for k, v in row_extras(given, rows).items()}
    location = locate(model, recipe.at)
    if location.module is None:
        refuse_ids(raw, structure)
    meter, asked = Meter(rows, tick), (how["width"], how["differentiable"], wanted)
    return TorchOracle(model, raw, structure, extras, location, meter, *asked)


def read_by(oracle: TorchOracle, target: Any) -> Any:
    """The target, and where it is a neuron, the oracle told to answer with its layer's output."""
    wanted = as_target(target)
    layer = getattr(getattr(wanted, "wanted", wanted), "layer", None)
    if layer is not None:
        (oracle.inner,) = places_of(oracle.model, [layer])
    return wanted


def pinned(oracle: TorchOracle, target: Any) -> tuple[Pinned, Tensor]:
    """The target bound to the model's answer at x, and its values there (T, rows)."""
    every = torch.arange(oracle.raw[0].shape[0])
    wanted = read_by(oracle, target)
    _, scores = oracle.read(oracle.raw, every, reader(wanted))
    bound = wanted.bind(scores)
    output = bound.of(scores, every)
    return Pinned(wanted, bound), output if bound.count else output[None]


def prepare(recipe: Recipe, oracle: TorchOracle, target: Any, seed: int, check: bool) -> Question:
    """Run the model at x, bind the target, draw the curves, check the model."""
    every = torch.arange(oracle.raw[0].shape[0])
    wanted = read_by(oracle, target)
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
    elif not isinstance(path, Straight):
        curves = prepared(path, curves)
        refuse_missed(path, curves)
    watch = not oracle.differentiable
    integral = LineIntegral(oracle, curves, path, recipe.integrand, len(every), watch)
    output = output.detach().double()
    gain, before, gains = difference(integral, output)
    scale = torch.maximum(output.abs(), before.abs())
    known = {"gain": gain, "gains": gains} if recipe.complete and curves.mask is None else {}
    integral = replace(integral, scale=scale, output=scores.dtype, **known)
    return Question(oracle, structure, integral, output, gain, before, bound.names)


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

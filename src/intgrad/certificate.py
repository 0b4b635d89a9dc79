"""The certificate: f at the ends, residual, error, floor, cost, and what to warn of."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor

from intgrad._types import Point, Structure, each_target, magnitude, total
from intgrad.attribution import Attribution, Run
from intgrad.baseline import as_baseline
from intgrad.errors import NotConverged, ToleranceRaised
from intgrad.integral import ATOL, LineIntegral
from intgrad.model.precision import name_of
from intgrad.model.torch_oracle import TorchOracle
from intgrad.quadrature.rule import Estimate, judge
from intgrad.quadrature.tolerance import explicit, is_half, refuse_below, tolerance
from intgrad.recipe import Recipe


@dataclass(frozen=True)
class Question:
    """All that is fixed before the first node: who is asked, along which curves, from what values."""

    oracle: TorchOracle
    structure: Structure
    integral: LineIntegral
    output: Tensor  # f(x), (T, rows)
    gain: Tensor  # f(end) - f(start), (T, rows), in float64
    before: Tensor  # f(baseline), (T, rows), in float64
    names: tuple[str, ...]


def certify(
    recipe: Recipe,
    question: Question,
    estimate: Estimate,
    seed: int,
    strict: bool | None,
    *,
    floor: Tensor | None = None,
    complete: bool = True,
) -> Attribution:
    """Put value, error, residual, floor and cost together, and warn where it is not converged.

    With `strict` the warning is raised; with None there is none. A `floor` that is known is not
    measured again; without `complete` the values need not add up to the difference.
    """
    oracle, integral, output = question.oracle, question.integral, question.output
    value = tuple(v.detach() for v in estimate.value)
    wrong = estimate.error_map and tuple(e.detach() for e in estimate.error_map)
    gain = question.gain.to(value[0].device)
    floor = integral.floor(value) if floor is None else floor
    complete = complete and recipe.complete and integral.curves.mask is None
    residual = each_target(value, total) - gain if complete else None
    baseline = question.before.to(output.device)
    scale = torch.maximum(output.abs(), baseline.abs())
    worst = above(recipe, estimate, value, floor, scale)
    note = rounding(recipe, estimate, integral.dtype, worst)
    held_to = tolerance(estimate.rtol, floor, integral.dtype)
    error, converged = judge(value, wrong, residual, scale, held_to)
    drop = (lambda t: t) if oracle.targets else (lambda t: t[0])
    numbers = {"output": output, "baseline_output": baseline, "residual": residual, "floor": floor}
    numbers |= {"error": error, "converged": converged}
    structure = question.structure if len(value) == len(oracle.features) else Structure("tuple")
    found = Attribution(
        values=structure.close(tuple(drop(v) for v in estimate.value)),
        error_map=wrong and structure.close(tuple(drop(w) for w in wrong)),
        forwards=oracle.meter.forwards.clone(),
        backwards=oracle.meter.backwards.clone(),
        evaluations=oracle.meter.evaluations(),
        targets=question.names,
        rules=estimate.row_rules(integral.rows),
        recipe=recipe.but(at=oracle.location.name, baseline=as_baseline(recipe.baseline)),
        run=circumstances(oracle, estimate, seed, integral.dtype, note),
        several=oracle.targets is not None,
        **{name: None if n is None else drop(n).cpu() for name, n in numbers.items()},  # type: ignore[arg-type]
    )
    if strict is not None:
        report_convergence([found], strict)
    return found


def above(recipe: Recipe, estimate: Estimate, value: Point, floor: Tensor, scale: Tensor) -> float:
    """The largest floor above the tolerance asked for, 0 if none is.

    Rows to which next to nothing happened are left out, as they converge whatever their share.
    """
    asked = getattr(recipe.quadrature, "rtol", estimate.rtol)
    if not 0 < asked < float(floor.max()):
        return 0.0
    counts = floor * each_target(value, magnitude) > ATOL * scale.to(floor)
    worst = float(torch.where(counts, floor, 0.0).max())
    return worst if asked < worst else 0.0


def rounding(
    recipe: Recipe, estimate: Estimate, dtype: torch.dtype, worst: float
) -> tuple[str, ...]:
    """What there is to say where rounding may exceed the tolerance.

    Half types are held to the floor, with a warning, or refused where somebody chose a tolerance
    below it. In other types the floor mostly overstates, and the answer stands with a note.
    """
    if not worst:
        return ()
    if not is_half(dtype):
        return (
            f"rounding alone may make {worst:.2g}, above the tolerance of {estimate.rtol:.2g}; "
            f"dtype='float64' shows what it made",
        )
    if (asked := explicit(recipe.quadrature)) is not None:
        refuse_below(asked, worst, dtype)
    name = name_of(dtype)
    warnings.warn(
        ToleranceRaised(
            f"{name} cannot meet the usual tolerance: rounding alone makes up to {worst:.2g}, and each "
            f"row is held to its own floor instead. Pass dtype='float32' for a finer answer, or "
            f"an rtol above that to accept this one."
        ),
        stacklevel=outside(),
    )
    return (f"held to the floor of {name}, up to {worst:.2g}",)


def report_convergence(found: Sequence[Attribution], strict: bool) -> None:
    """Warn of rows above their tolerance, or raise if `strict`."""
    missed = [(a, row) for a in found for row in _missed(a)]
    if not missed:
        return
    errors = torch.stack([a.error[..., row].max() for a, row in missed])
    known = "an error that is not known"
    if bool(torch.isfinite(errors).all()):
        known = f"an estimated error of up to {float(errors.max()):.2g}"
    names = [a.subjects[row].name if a.subjects else f"row {row}" for a, row in missed]
    spent = max(int(a.backwards.max()) // (len(a.targets) if a.several else 1) for a in found)
    held_to = float(torch.stack([a.tolerance[..., row].max() for a, row in missed]).max())
    message = NotConverged(
        f"{', '.join(names[:8])}{' ...' if names[8:] else ''}: {known}, above the tolerance of "
        f"{held_to:.2g}. {remedy(found[0].recipe, spent)}, "
        f"or accept it with a larger rtol; rounding alone makes "
        f"{max(float(a.floor.max()) for a in found):.1g}."
    )
    if strict:
        raise message
    warnings.warn(message, stacklevel=outside())


def remedy(recipe: Recipe, spent: int) -> str:
    """What to try next, after a rule that spent so many gradients a row."""
    rule = recipe.quadrature
    for part in (recipe.around, recipe.path):
        if getattr(part, "samples", None):
            return f"Raise samples= of {type(part).__name__} (now {part.samples})"
    if hasattr(rule, "samples"):
        again = f"quadrature=ig.Lattice({4 * spent})"
        return f"Four times the samples halve the error at least, as {again}"
    if hasattr(rule, "max_evaluations"):
        return f"Raise max_evaluations= of the rule (now {rule.max_evaluations})"
    return "Use a rule that finds its nodes, such as quadrature=ig.Automatic()"


def _missed(a: Attribution) -> list[int]:
    return (~a.converged).reshape(-1, len(a)).any(0).nonzero()[:, 0].tolist()


def outside() -> int:
    """How many frames up the caller's own code is, so that a warning points there."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("intgrad"):
        level, frame = level + 1, frame.f_back
    return level


def circumstances(
    oracle: TorchOracle, estimate: Estimate, seed: int, dtype: torch.dtype, notes: tuple[str, ...]
) -> Run:
    """What else decides the bytes of this call."""
    if oracle.dtype is not None:
        notes = (f"the model ran on copies of its parameters in {name_of(oracle.dtype)}", *notes)
    if oracle.differentiable or (oracle.coverage is not None and oracle.coverage.fused):
        notes = ("fused attention ran as its mathematical form", *notes)
    notes = (*notes, *oracle.notes)
    return Run(
        rule=estimate.rule,
        rtol=estimate.rtol,
        at=oracle.location.name,
        dtype=name_of(dtype),
        device=oracle.raw[0].device.type,
        width=oracle.width,
        seed=seed,
        threads=torch.get_num_threads(),
        checks=oracle.meter.checks,
        versions=f"intgrad {version('intgrad')}, torch {torch.__version__}",
        notes=notes,
    )

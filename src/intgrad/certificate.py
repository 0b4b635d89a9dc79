"""The certificate: f at the ends, residual, error, floor, cost, and what to warn of."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Point, Structure, chunks, each_target, magnitude, total
from intgrad.attribution import Attribution, Run
from intgrad.baseline import as_baseline
from intgrad.errors import ModelError, NotConverged, ToleranceRaised
from intgrad.integral import ATOL, LineIntegral
from intgrad.model.oracle import values as values_of
from intgrad.model.precision import name_of
from intgrad.model.torch_oracle import TorchOracle
from intgrad.path import Bank
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
    gain: Tensor  # f(x) - f(baseline), (T, rows), in float64
    names: tuple[str, ...]


def certify(
    recipe: Recipe, question: Question, estimate: Estimate, seed: int, strict: bool
) -> Attribution:
    """Put value, error, residual, floor and cost together, and warn where it is not converged."""
    oracle, integral, output = question.oracle, question.integral, question.output
    value = tuple(v.detach() for v in estimate.value)
    wrong = estimate.error_map and tuple(e.detach() for e in estimate.error_map)
    gain = question.gain.to(value[0].device)
    floor = integral.floor(value)
    complete = recipe.complete and integral.curves.mask is None
    residual = each_target(value, total) - gain if complete else None
    baseline = output - gain.to(output.device)
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
        stacklevel=_outside(),
    )
    return (f"held to the floor of {name}, up to {worst:.2g}",)


def difference(integral: LineIntegral, output: Tensor) -> tuple[Tensor, Tensor | None]:
    """f(end) - f(start), in float64: summed over curves by weight (T, rows), and of each (T, curves).

    Points that several curves share are asked once; those whose weights cancel, such as the inner
    knots of a polyline, not at all: what single curves gain is then not known, and None. With masks
    the sum is f(x) minus the mean f(start).
    """
    curves, weight = integral.curves, integral.curves.weight
    if curves.mask is not None:
        mass = torch.zeros(integral.rows, dtype=torch.float64).index_add(0, curves.row, weight)
        weight = weight / mass[curves.row]
    ends = [(curves.start, -weight, curves.row), (curves.end, weight, curves.row)]
    if curves.start.points[0] is curves.end.points[0]:
        index = torch.cat([curves.start.index, curves.end.index])
        both = Bank(curves.end.points, index), torch.cat([-weight, weight]), curves.row.repeat(2)
        ends = [both]
    parts = [weigh_ends(integral, bank, share, row, output) for bank, share, row in ends]
    start, end = torch.cat([at for _, at in parts], 1).chunk(2, 1)
    gains = end - start
    whole = torch.stack([summed for summed, _ in parts]).sum(0)
    return whole, None if bool(gains.isnan().any()) else gains


def weigh_ends(
    integral: LineIntegral, bank: Bank, weight: Tensor, row: Tensor, output: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum of weight x f over the points of a bank (T, rows), and f at each of them (T, points).

    Each (row, point) is asked once, and where its weights cancel never: it is NaN then.
    """
    keys, where = torch.unique(torch.stack([row, bank.index]), dim=1, return_inverse=True)
    share = torch.zeros(keys.shape[1], dtype=torch.float64).index_add(0, where, weight)
    live = (share.abs() > 1e-12).nonzero()[:, 0]
    rows, share = keys[0, live], share[live].to(output.device)
    known = getattr(integral.oracle, "features", None)
    if known is not None and bank.points[0] is known[0]:
        found = output[:, rows.to(output.device)]
    else:
        found = ask_ends(integral, Bank(bank.points, keys[1, live]), rows)
        refuse_nan(found, "a baseline")
    found = found.detach().to(output.device, torch.float64)
    at = found.new_full((len(output), keys.shape[1]), torch.nan)
    at[:, live.to(at.device)] = found
    out = torch.zeros(output.shape, dtype=torch.float64, device=output.device)
    summed = out.index_add(1, rows.to(output.device), found * share)
    return summed, at[:, where.to(at.device)]


def ask_ends(integral: LineIntegral, bank: Bank, rows: Tensor) -> Tensor:
    """Values (T, n) at the points of a bank, in memory bounded by the oracle's width."""
    every = torch.arange(len(rows))
    parts = chunks(len(rows), getattr(integral.oracle, "width", 0) or 64)
    found = [values_of(integral.oracle, bank.take(every[p]), rows[p]) for p in parts]
    return torch.cat(found, 1)


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
        f"{held_to:.2g}. {remedy(found[0].recipe.quadrature, spent)}, "
        f"or accept it with a larger rtol; rounding alone makes "
        f"{max(float(a.floor.max()) for a in found):.1g}."
    )
    if strict:
        raise message
    warnings.warn(message, stacklevel=_outside())


def remedy(rule: Any, spent: int) -> str:
    """What to try next, after a rule that spent so many gradients a row."""
    if hasattr(rule, "samples"):
        again = f"quadrature=ig.Lattice({4 * spent})"
        return f"Four times the samples halve the error at least, as {again}"
    if hasattr(rule, "max_evaluations"):
        return f"Raise max_evaluations= of the rule (now {rule.max_evaluations})"
    return "Use a rule that finds its nodes, such as quadrature=ig.Automatic()"


def _missed(a: Attribution) -> list[int]:
    return (~a.converged).reshape(-1, len(a)).any(0).nonzero()[:, 0].tolist()


def _outside() -> int:
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


def refuse_nan(values: Tensor, where: str) -> None:
    """Name the first row of (T, rows) whose output is NaN or infinite."""
    bad = ~torch.isfinite(values.detach()).all(0)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise ModelError(
            f"the model's output is NaN or infinite at {where}, row {row}; expected a finite number."
        )

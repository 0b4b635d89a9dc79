"""`attribute`: door -> oracle -> curves -> integral -> quadrature -> `Attribution`."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm.auto import tqdm

from intgrad._types import Point, Structure, open_door, plain, total
from intgrad.attribution import Attribution, Run, judge
from intgrad.baseline import as_baseline
from intgrad.errors import InputError, ModelError, NotConverged
from intgrad.integral import LineIntegral
from intgrad.model.checks import refuse_impure, refuse_training
from intgrad.model.cost import Meter
from intgrad.model.location import locate
from intgrad.model.oracle import values as values_of
from intgrad.model.target import as_target, reader
from intgrad.model.torch_oracle import TorchOracle, row_extras
from intgrad.path import Bank, Curves, Straight
from intgrad.quadrature import Estimate
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
        `Margin`, `All`, or a callable on the output that gives one number a row.
    baseline
        Where paths start: a tensor like x (one row, or one a row), or a baseline such as `Zeros`
        (the default), `Blurred`, `Uniform`. It lives in the model's input and is carried to the
        location by the model; where the input is token ids, `MaskToken` or a tensor of ids is
        carried, and real numbers mean the location's own units.
    path
        How to go: `Straight` (the default), or any ``(t, start, end) -> point``.
    quadrature
        How to integrate: `GaussLegendre` (48 nodes by default), `Midpoint`, ...
    integrand
        What a node contributes; gradient times velocity by default.
    at
        Where the features live: ``"input"``, ``"embedding"``, a module, or its dotted name.
    **call
        Who is asked and how; see `explain`.

    Returns
    -------
    Attribution
        Values shaped like x, and the certificate. Costs nodes x curves gradients a row, one more
        for the rounding floor, and a bare forward for f(x) and each f(baseline).

    Raises
    ------
    InputError, TargetError, ModelError, Unsupported
        In one sentence: what came, what was expected, what to do.

    Warns
    -----
    NotConverged
        Some row's error is above its tolerance.
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
    progress
        True for a bar, or a function told how many rows went through the model.
    """
    if width is not None and (isinstance(width, bool) or not isinstance(width, int) or width < 1):
        raise InputError(f"width={width!r}; expected a whole number of rows, at least 1.")
    with calm(differentiable), bar(progress) as tick:
        raw, structure = open_door(x)
        raw = raw if differentiable else tuple(plain(p) for p in raw)
        rows = raw[0].shape[0]
        meter = Meter(rows, tick)
        extras = row_extras(given, rows)
        location = locate(model, recipe.at)
        if location.module is None:
            refuse_ids(raw, structure)
        if check:
            refuse_training(model)
        oracle = TorchOracle(model, raw, structure, extras, location, meter, width, differentiable)
        question = prepare(recipe, oracle, target, seed, check)
        integral = replace(question.integral, watch=not differentiable)
        estimate = recipe.quadrature(integral)
        return certify(recipe, question, integral, estimate, seed, strict)


@dataclass(frozen=True)
class Question:
    """All that is fixed before the first node: who is asked, along which curves, from what values."""

    oracle: TorchOracle
    structure: Structure
    integral: LineIntegral
    output: Tensor
    names: tuple[str, ...]


def prepare(recipe: Recipe, oracle: TorchOracle, target: Any, seed: int, check: bool) -> Question:
    """Run the model at x, bind the target, draw the curves, check the model."""
    every = torch.arange(oracle.raw[0].shape[0])
    wanted = as_target(target)
    read = reader(wanted)
    x, scores = oracle.read(oracle.raw, every, read)
    bound = wanted.bind(scores)
    oracle.bound, oracle.features = bound, x
    output = bound.of(scores, every)
    refuse_nan(output, "x")
    inner = oracle.location.module is not None
    structure = Structure("tensor") if inner else oracle.structure
    curves = (
        begin(recipe.baseline, oracle, x, seed, read) if inner else start(recipe.baseline, x, seed)
    )
    if check and oracle.width > 1:
        probe = curves.end.take(torch.tensor([0])), curves.start.take(torch.tensor([0]))
        pair = tuple(torch.cat(p) for p in zip(*probe, strict=True))
        refuse_impure(oracle, pair, curves.row[[0, 0]])
    if inner:
        refuse_detour(oracle, x, output)
    path = recipe.path
    if hasattr(path, "trace"):
        curves, path = path.trace(oracle, curves), Straight()
    if not callable(path):
        raise InputError(
            f"path={path!r} is not a path; expected a callable (t, start, end) -> point."
        )
    integral = LineIntegral(oracle, curves, path, recipe.integrand, len(every))
    return Question(oracle, structure, integral, output, bound.names)


def start(baseline: Any, x: Point, seed: int) -> Curves:
    """Curves in the features' own space."""
    rows = torch.arange(x[0].shape[0])
    chosen = as_baseline(baseline)
    if isinstance(baseline, tuple | list | dict) and len(chosen.points) != len(x):
        raise InputError(
            f"baseline has {len(chosen.points)} tensors and x has {len(x)}; expected as many."
        )
    if getattr(chosen, "points", None) is not None and len(chosen.points) != len(x):
        raise InputError(
            f"baseline is one tensor and x has {len(x)}; expected one for each of x's."
        )
    return chosen(x, rows, seed)


def begin(
    baseline: Any, oracle: TorchOracle, x: Point, seed: int, read: Callable[..., Tensor]
) -> Curves:
    """Curves at a layer: from where the model carries the baseline, to where it carries x."""
    ids = not any(p.is_floating_point() for p in oracle.raw)
    if ids and baseline is None:
        raise InputError(
            "a text baseline must be named: baseline=ig.MaskToken(tokenizer.mask_token_id, "
            "keep=special ids), or ig.Zeros() for zero embeddings."
        )
    chosen = as_baseline(baseline)
    if ids and not getattr(chosen, "tokens", False):
        return start(chosen, x, seed)
    raw = start(chosen, oracle.raw, seed)
    carried, _ = oracle.read(raw.start.take(torch.arange(len(raw))), raw.row, read)
    return Curves(
        raw.row, Bank(carried, torch.arange(len(raw))), Bank(x, raw.end.index), raw.weight
    )


def refuse_ids(raw: Point, structure: Structure) -> None:
    """At the input, only real numbers can be explained."""
    for name, part in zip(structure.names(len(raw)), raw, strict=True):
        if not part.is_floating_point():
            raise InputError(
                f"{name} is {part.dtype}; there is no path between whole numbers. For token ids use "
                f"at='embedding'; for pixels convert with x.float(); what is not explained goes in given=."
            )


def refuse_nan(values: Tensor, where: str) -> None:
    """Name the first row whose output is NaN or infinite."""
    bad = ~torch.isfinite(values.detach()).reshape(-1, values.shape[-1]).all(0)
    if bool(bad.any()):
        raise ModelError(
            f"the model's output is NaN or infinite at {where}, row {int(bad.nonzero()[0])}; "
            f"expected a finite number."
        )


def refuse_detour(oracle: TorchOracle, x: Point, output: Tensor) -> None:
    """Check, every row, that giving the layer its own output changes nothing."""
    rows = torch.arange(output.shape[-1])
    with oracle.meter.aside():
        again = oracle.value(x, rows)
    slack = torch.finfo(x[0].dtype).eps ** 0.5 * output.detach().abs().max().clamp(min=1e-3)
    moved = (again - output).detach().abs().max()
    if not bool(moved <= slack):
        raise ModelError(
            f"the model answers {float(moved):.2g} differently when {oracle.location.name!r} is given its "
            f"own output back, so it is not the only way through. Choose another layer."
        )


# ---------------------------------------------------------------------- the certificate


def certify(
    recipe: Recipe,
    question: Question,
    integral: LineIntegral,
    estimate: Estimate,
    seed: int,
    strict: bool,
) -> Attribution:
    """Put value, error, residual, floor and cost together."""
    oracle, meter = question.oracle, question.oracle.meter
    several = oracle.targets is not None
    output = question.output if several else question.output[None]
    gain = difference(integral, output)
    floor = integral.floor(tuple(v.detach() for v in estimate.value))
    complete = recipe.complete and integral.curves.mask is None
    sums = torch.stack([total(tuple(v[t] for v in estimate.value)) for t in range(len(output))])
    residual = sums - gain.to(sums.device) if complete else None
    row = (lambda t: t) if several else (lambda t: t[0])
    value = tuple(row(v) for v in estimate.value)
    wrong = None if estimate.error_map is None else tuple(row(e) for e in estimate.error_map)
    out, base = row(output).double(), row(output.double() - gain.to(output.device))
    gap = None if residual is None else row(residual)
    rtol = estimate.rtol
    error, converged = judge(
        tuple(v.detach() for v in value),
        wrong,
        None if gap is None else gap.detach(),
        out,
        base,
        rtol,
        several,
    )
    structure = question.structure if len(value) == len(oracle.raw) else Structure("tuple")
    found = Attribution(
        values=structure.close(value),
        output=out.cpu(),
        baseline_output=base.cpu(),
        residual=None if gap is None else gap.cpu(),
        error=error.detach().cpu(),
        error_map=None if wrong is None else structure.close(tuple(w.detach() for w in wrong)),
        floor=row(floor).cpu(),
        forwards=meter.forwards.clone(),
        backwards=meter.backwards.clone(),
        evaluations=meter.evaluations(),
        converged=converged.cpu(),
        targets=question.names,
        recipe=recipe.but(at=oracle.location.name, baseline=as_baseline(recipe.baseline)),
        run=circumstances(oracle, estimate, seed),
        several=several,
    )
    report_convergence(found, strict)
    return found


def difference(integral: LineIntegral, output: Tensor) -> Tensor:
    """Sum over curves of weight x (f(end) - f(start)): (T, rows), in float64.

    Points that several curves share are asked once; those whose weights cancel, such as the inner
    knots of a polyline, not at all. With masks it is f(x) minus the mean f(start).
    """
    curves, rows = integral.curves, output.shape[-1]
    weight = curves.weight
    if curves.mask is not None:
        weight = (
            weight
            / torch.zeros(rows, dtype=torch.float64).index_add(0, curves.row, weight)[curves.row]
        )
    shared = curves.start.points[0] is curves.end.points[0]
    gain = torch.zeros(len(output), rows, dtype=torch.float64, device=output.device)
    ends = [(curves.start, -weight), (curves.end, weight)]
    if shared:
        both = torch.cat([curves.start.index, curves.end.index])
        parts = [
            (Bank(curves.end.points, both), torch.cat([-weight, weight]), curves.row.repeat(2))
        ]
    else:
        parts = [(bank, w, curves.row) for bank, w in ends]
    for bank, w, row in parts:
        gain = gain + weigh_ends(integral, bank, w, row, output)
    return gain


def weigh_ends(
    integral: LineIntegral, bank: Bank, weight: Tensor, row: Tensor, output: Tensor
) -> Tensor:
    """Sum of weight x f over the points of a bank, asking each (row, point) once."""
    oracle, rows = integral.oracle, output.shape[-1]
    keys, where = torch.unique(torch.stack([row, bank.index]), dim=1, return_inverse=True)
    share = torch.zeros(keys.shape[1], dtype=torch.float64).index_add(0, where, weight)
    live = (share.abs() > 1e-12).nonzero()[:, 0]
    out = torch.zeros(len(output), rows, dtype=torch.float64, device=output.device)
    x = getattr(oracle, "features", None)
    if x is not None and bank.points[0] is x[0]:
        found = output[:, keys[0, live].to(output.device)]
    else:
        part = Bank(bank.points, keys[1, live])
        found = ask_ends(integral, part, keys[0, live])
        refuse_nan(found, "a baseline")
    share = share[live].to(output.device)
    return out.index_add(1, keys[0, live].to(output.device), found.to(out.dtype) * share)


def ask_ends(integral: LineIntegral, bank: Bank, rows: Tensor) -> Tensor:
    """Values (T, n) at the points of a bank, in memory bounded by the oracle's width."""
    step = getattr(integral.oracle, "width", 0) or 64
    found = []
    for i in range(0, len(rows), step):
        part = torch.arange(i, min(i + step, len(rows)))
        found.append(values_of(integral.oracle, bank.take(part), rows[part]))
    return torch.cat(found, 1)


def report_convergence(a: Attribution, strict: bool) -> None:
    """Warn of rows above their tolerance, or raise if `strict`."""
    missed = (~a.converged).reshape(-1, len(a)).any(0).nonzero()[:, 0].tolist()
    if not missed:
        return
    worst = float(a.error.nan_to_num(torch.inf).max())
    rows = ", ".join(map(str, missed[:8])) + (" ..." if len(missed) > 8 else "")
    known = (
        f"an estimated error of {worst:.2g}" if worst < torch.inf else "an error that is not known"
    )
    message = NotConverged(
        f"rows {rows} have {known}; the tolerance is {a.run.rtol:.2g}. Use more nodes, such as "
        f"quadrature=ig.GaussLegendre({4 * max(12, int(a.backwards.max()))}), or accept it with a "
        f"larger rtol; floating-point rounding alone makes {float(a.floor.max()):.1g}."
    )
    if strict:
        raise message
    warnings.warn(message, stacklevel=4)


def circumstances(oracle: TorchOracle, estimate: Estimate, seed: int) -> Run:
    """What else decides the bytes of this call."""
    notes = ("fused attention ran as its mathematical form",) if oracle.differentiable else ()
    return Run(
        rule=estimate.rule,
        rtol=estimate.rtol,
        at=oracle.location.name,
        dtype=str(oracle.raw[0].dtype).removeprefix("torch."),
        device=oracle.raw[0].device.type,
        width=oracle.width,
        seed=seed,
        threads=torch.get_num_threads(),
        checks=oracle.meter.checks,
        versions=f"intgrad {version('intgrad')}, torch {torch.__version__}",
        notes=notes,
    )


# ---------------------------------------------------------------------- the caller's world


@contextlib.contextmanager
def calm(differentiable: bool) -> Iterator[None]:
    """Leave inference mode, keep the caller's random state, and double backward possible."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.random.fork_rng(devices))
        if differentiable:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


@contextlib.contextmanager
def bar(progress: bool | Callable[[int], None]) -> Iterator[Callable[[int], None] | None]:
    """A tqdm bar, the caller's own function, or nothing."""
    if progress is True:
        with tqdm(unit=" rows", desc="intgrad", leave=False) as shown:
            yield lambda rows: bool(shown.update(rows))
    else:
        yield progress or None

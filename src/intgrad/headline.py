"""An attribution in at most four lines: what was explained, and how sure it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from intgrad._types import flatten
from intgrad.recipe import show


def headline(a: Any) -> str:
    """What was explained, of which target, how sure, at what cost."""
    point, _ = flatten(a.values, "values")
    shapes = ", ".join(f"{tuple(p.shape)} {str(p.dtype).removeprefix('torch.')}" for p in point)
    rows = "1 row" if len(a) == 1 else f"{len(a)} rows"
    start = "" if "baseline" in a.recipe.name else f" from {show(a.recipe.baseline)}"
    return "\n".join(
        [
            f"Attribution of {rows}: {a.recipe.name}{start}, at {a.run.at}, values {shapes}",
            f"target: {targets(a)}; f(x) {spread(a.output)}, f(baseline) {spread(a.baseline_output)}",
            certainty(a),
            f"cost: {spread(a.evaluations)} gradient evaluations a row; {a.run.rule}; floor {percent(a.floor)}",
        ]
    )


def targets(a: Any) -> str:
    """The names of the targets, the first few of many."""
    names = list(dict.fromkeys(a.targets))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def certainty(a: Any) -> str:
    """How wrong the values may be, and whether that meets the tolerance."""
    missed = int((~a.converged).sum())
    error = percent(a.error)
    held_to, worst = float(a.tolerance.max()), float(a.floor.max())
    verdict = f"within the tolerance of {held_to:.2g}" if a.run.rtol else "nothing is approximated"
    if missed:
        verdict = (
            f"NOT CONVERGED: {missed} of {a.converged.numel()} above the tolerance of {held_to:.2g}"
        )
    elif a.run.rtol and worst > held_to:
        verdict += f", but rounding may make {worst:.2g}"
    elif a.run.rtol and worst == held_to:
        verdict += f", the floor of {a.run.dtype}"
    if a.spread is not None:
        verdict += f"; the baselines' answers spread by {percent(spread_share(a))}"
    gap = "not defined" if a.residual is None else f"{float(a.residual.abs().max()):.1e} at most"
    return f"error: {error} of the values' L1 norm, {verdict}; residual {gap}"


def spread_share(a: Any) -> Tensor:
    """The spread over several baselines, summed over features, over the values' L1 norm: (T * rows,)."""
    lead = 2 if a.several else 1
    size = lambda tree: sum(  # noqa: E731
        p.detach().abs().flatten(lead).sum(lead).double().cpu() for p in flatten(tree, "values")[0]
    )
    share = size(a.spread) / size(a.values)
    assert isinstance(share, Tensor)
    return share.nan_to_num(0.0)


def spread(numbers: Tensor) -> str:
    """One number, or the range of several."""
    low, high = float(numbers.min()), float(numbers.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def percent(numbers: Tensor) -> str:
    """The worst of some relative errors, in percent where that reads well."""
    if bool(torch.isnan(numbers).any()):
        return "unknown"
    worst = float(numbers.max())
    return f"{100 * worst:.2g} %" if worst >= 1e-4 else f"{worst:.1e}"

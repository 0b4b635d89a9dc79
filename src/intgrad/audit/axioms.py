r"""The axioms, as measurements: how far an ``explain(model, x, target)`` is from each, and where most.

For most of them the model at hand says nothing: it need not have a feature it ignores, or two that it
treats alike. So each check makes such a model out of it (`intgrad.audit.derived`) and looks what the
method says of that one. A check returns a `Finding`: a size without dimension, what rounding and the
method's own error allow, and the worst case found, which ``x[row : row + 1]`` with its seed shows again.

Every check is called ``check(explain, model, x, target=None, *, baseline=None, seed=0, slack=0.01)``:

* `explain` is ``explain(model, x, target)`` -> values shaped like x: a tensor, an array, an `Attribution`. It
  is asked about the model and about modules made of it, whose one output is target 0.
* `model` is any callable on tensors, in evaluation mode. Re-parametrised twins need an `nn.Module`.
* `x` is one tensor (rows, ...) of floats; rows are looked at one by one.
* `target` is as in `intgrad.attribute`: a class, one a row, a callable; None is the predicted class.
* `baseline` is where the method's paths start: None is zeros; one point (1, ...); the m of a distribution
  (m, ...), all equally likely; or a function from a row (1, ...) to them. The axioms for distributions
  are those of Lundstrom, Huang, Razaviyayn 2022, arXiv:2202.11912.
* `seed` decides every draw: row r has seed + r.
* `slack` is the relative L1 error allowed to an answer that says none of its own. An `Attribution` is
  allowed three times its estimated error and its floor; where it missed its tolerance, the tolerance.

It costs 2 to 14 explanations a row and check, and a copy of the model's tensors.

**When it misleads.** A check looks at four features, and at a few models: what it finds broken is broken,
what it does not find may be. A method that works by the kind of module (LRP) sees modules here that it may
not know, and what an estimate of an error misses, `allowed` misses too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from intgrad.audit.adding_up import completeness, dummy, linearity, sensitivity
from intgrad.audit.finding import Explain, Finding
from intgrad.audit.proportion import monotonicity, positivity, proportionality
from intgrad.audit.question import SLACK, Check, Start
from intgrad.audit.sameness import invariance, rows_apart, scale, symmetry
from intgrad.errors import InputError

CHECKS: dict[str, Check] = {
    one.__name__: one
    for one in (
        completeness,
        sensitivity,
        dummy,
        invariance,
        linearity,
        symmetry,
        scale,
        proportionality,
        positivity,
        monotonicity,
        rows_apart,
    )
}


def axioms(
    explain: Explain,
    model: Any,
    x: Any,
    target: Any = None,
    checks: Sequence[str] | None = None,
    *,
    baseline: Start = None,
    seed: int = 0,
    slack: float = SLACK,
) -> list[Finding]:
    """Every check, or those named; see the module for the parameters.

    A method that cannot be asked about one of the derived models gets a finding that does not apply and
    says why.

    Raises
    ------
    InputError
        A check that does not exist; an explain function that returns another shape or NaN, or changes
        the model; a baseline that is not where the method starts.
    """
    names = list(CHECKS) if checks is None else list(checks)
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise InputError(f"no check is called {unknown[0]!r}; there are {', '.join(CHECKS)}.")
    how = {"baseline": baseline, "seed": seed, "slack": slack}
    return [_tried(name, explain, model, x, target, how) for name in names]


def _tried(
    name: str, explain: Explain, model: Any, x: Any, target: Any, how: dict[str, Any]
) -> Finding:
    try:
        return CHECKS[name](explain, model, x, target, **how)
    except InputError:
        raise
    except Exception as error:
        said = str(error).split("\n")[0][:160]
        note = (
            f"the method refused a model that the check is made of: {type(error).__name__}: {said}"
        )
        return Finding(name, float("nan"), 0.0, note=note)

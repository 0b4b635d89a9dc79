"""What a user may pass as ``baseline=``."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from intgrad._types import flatten, plain, refuse_nonfinite
from intgrad.baseline.data import refuse_complex
from intgrad.baseline.points import Fixed, Zeros
from intgrad.errors import InputError


def as_baseline(baseline: object) -> Any:
    """Read the `baseline=` argument: None, a tensor (tuple, dict), or a baseline."""
    if baseline is None:
        return Zeros()
    if isinstance(baseline, Tensor | tuple | list | dict):
        points, _ = flatten(baseline, "baseline")
        for part in points:
            refuse_complex(part, "baseline")
            refuse_nonfinite(part if part.ndim else part[None], "baseline")
        return Fixed(tuple(plain(p) for p in points), tokens=not points[0].is_floating_point())
    if isinstance(baseline, type):
        name = baseline.__name__
        raise InputError(f"baseline is the class {name}; write {name}(...).")
    if not callable(baseline):
        got = repr(baseline) if isinstance(baseline, int | float | str) else type(baseline).__name__
        raise InputError(
            f"baseline={got} is not understood; expected a tensor like x, or a baseline such "
            f"as ig.Zeros(), ig.Constant(0.5), ig.Blurred(20)."
        )
    return baseline


def parts_of(baseline: object) -> tuple[Any, ...]:
    """The baselines that one stands for, which are explained one by one; itself if it is one.

    Raises
    ------
    InputError
        An empty list.
    """
    if isinstance(baseline, list | tuple):
        if not baseline:
            raise InputError("baseline is an empty list; expected at least one baseline.")
        if any(callable(b) and not isinstance(b, Tensor) for b in baseline):
            return tuple(baseline)
    return tuple(getattr(baseline, "parts", (baseline,)))

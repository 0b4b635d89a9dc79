"""What tolerance a dtype allows: half types round so coarsely that the usual one has no meaning."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from intgrad.errors import InputError
from intgrad.integral import LEAST

HALF = 1e-4  # dtypes whose unit in the last place is larger: float16 (1e-3), bfloat16 (8e-3)


def is_half(dtype: torch.dtype | str) -> bool:
    """Whether rounding in this dtype is near the tolerances people ask for."""
    found = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    return torch.finfo(found).eps > HALF


def tolerance(rtol: float, floor: Tensor, dtype: torch.dtype | str) -> Tensor:
    """The relative error that each target and row is held to: rtol, and in half types the floor.

    Parameters
    ----------
    floor
        What rounding does, (T, rows) or (rows,).
    """
    asked = torch.full_like(floor, rtol)
    return torch.maximum(asked, floor) if is_half(dtype) else asked


def explicit(rule: Any) -> float | None:
    """The tolerance somebody chose for this rule; None where it has none, or that of its class."""
    if not is_dataclass(rule) or not hasattr(rule, "rtol"):
        return None
    default = {f.name: f.default for f in fields(rule)}.get("rtol", MISSING)
    return None if rule.rtol == default else rule.rtol  # type: ignore[attr-defined]


def reachable(rule: Any, dtype: torch.dtype) -> Any:
    """The rule itself, or in half types one that aims no lower than rounding can let it.

    No floor is measured smaller than `LEAST` units in the last place: 3 % in bfloat16, 0.4 % in
    float16. A rule that refines until its tolerance is met would never end below that.

    Raises
    ------
    InputError
        Somebody asked for less than that.
    """
    least = LEAST * torch.finfo(dtype).eps
    if not is_half(dtype) or not 0 < getattr(rule, "rtol", 0.0) < least:
        return rule
    if explicit(rule) is not None:
        refuse_below(rule.rtol, least, dtype)
    return replace(rule, rtol=least) if is_dataclass(rule) else rule  # type: ignore[type-var]


def refuse_below(rtol: float, floor: float, dtype: torch.dtype | str) -> None:
    """Refuse a tolerance that is smaller than what rounding does.

    Raises
    ------
    InputError
        Always.
    """
    raise InputError(
        f"rtol={rtol:.2g} is below what rounding makes in {str(dtype).removeprefix('torch.')}, "
        f"{floor:.2g}: no answer can be known to be that exact. Pass dtype='float32' or 'float64', or "
        f"an rtol of at least {1.1 * floor:.2g}."
    )

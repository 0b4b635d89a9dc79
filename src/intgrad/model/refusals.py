"""Why a model refused its input, and which extras belong to its rows, in sentences."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from intgrad._types import Point, plain
from intgrad.errors import InputError, TargetError
from intgrad.model.precision import blame


def last_line(error: BaseException) -> str:
    """What an exception says last, which is mostly the point."""
    return (str(error).strip().splitlines() or [""])[-1]


def explain(error: Exception, oracle: Any, x: Point, rows: Tensor) -> str:
    """Say in one sentence why the model refused its input, with the likely cause first."""
    model, given = oracle.model, oracle.given
    shapes = ", ".join(f"{tuple(p.shape)} {p.dtype} on {p.device}" for p in x)
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    cause = ""
    floating = {p.dtype for p in parameters if p.is_floating_point()}
    mine = {p.dtype for p in x if p.is_floating_point()}
    devices = {p.device for p in parameters}
    if devices and not {p.device for p in x} <= devices:
        cause = f" The model is on {sorted(map(str, devices))}: move x there with x.to(device)."
    elif oracle.dtype is not None:
        cause = blame(model, oracle.dtype)
    elif mine and floating and not mine <= floating:
        cause = f" The model computes in {sorted(map(str, floating))}: pass x.to(that dtype)."
    elif given:
        cause = f" given= passed {sorted(given)}, one entry a row; constants go into a closure."
    said = f"{type(error).__name__}: {last_line(error)}"
    return f"the model failed on {len(rows)} rows ({shapes}): {said}{cause}"


def row_extras(given: object, rows: int) -> dict[str, Tensor]:
    """Check `given=`: tensors by name, one entry a row.

    Raises
    ------
    InputError
        Not a dict of tensors, or a tensor that does not have one entry a row.
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InputError(f"given is a {type(given).__name__}; expected a dict of named tensors.")
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"given[{name!r}] is a {type(value).__name__}; expected a tensor with one entry a "
                f"row. Put constants into a closure: lambda x: model(x, {name}=...)."
            )
        if value.ndim == 0 or value.shape[0] != rows:
            raise InputError(
                f"given[{name!r}] has shape {tuple(value.shape)}; expected {rows} rows like x. If it "
                f"does not belong to the rows, put it into a closure: lambda x: model(x, {name}=...)."
            )
    return {str(k): plain(v) for k, v in given.items()}


def refuse_rows(found: Tensor, rows: Tensor) -> None:
    """Every row has an output of its own.

    Raises
    ------
    TargetError
        There are more rows or fewer.
    """
    if found.shape[0] != len(rows):
        raise TargetError(
            f"the model returned {found.shape[0]} rows for {len(rows)}; expected one output a "
            f"row. Is something reduced over the batch?"
        )

"""Another dtype for the length of one call: the model runs on copies, the user's own is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from intgrad._types import plain
from intgrad.errors import InputError, ModelError, Unsupported

DTYPES = {"float32": torch.float32, "float64": torch.float64}
CASTS = {"aten::_to_copy": "new", "aten::copy_": "first"}  # where the result goes


def as_dtype(dtype: object) -> torch.dtype | None:
    """Read the `dtype=` argument: None (the model's own), float32 or float64, or their names.

    Raises
    ------
    InputError
        Anything else.
    """
    found = DTYPES.get(dtype, dtype) if isinstance(dtype, str) else dtype
    if found is None or found in DTYPES.values():
        return found  # type: ignore[return-value]
    raise InputError(
        f"dtype={dtype!r}; expected torch.float64 ('float64'), torch.float32 ('float32'), or None for "
        f"the model's own. For half types, convert model and x: model.half(), x.half()."
    )


def cast(part: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Real numbers in `dtype`; None and whole numbers as they are."""
    return part if dtype is None or not part.is_floating_point() else part.to(dtype)


def held(
    model: object, differentiable: bool, dtype: torch.dtype | None
) -> dict[str, Tensor] | None:
    """Stand-ins for a module's tensors; None to call it as it is.

    Parameters are detached views, buffers copies; with a `dtype`, both are copies in it. Parameters
    that gradients are wanted for keep their graph.

    Raises
    ------
    Unsupported
        A dtype is asked for, and the tensors of this model cannot be exchanged.
    """
    if not isinstance(model, nn.Module):
        return None
    if isinstance(model, torch.jit.ScriptModule) or hasattr(model, "_orig_mod"):
        _refuse_built_in(model, dtype)
        return None
    live = _each(model, nn.Module.named_parameters)
    if dtype is None:
        live = [(n, p) for n, p in live if p.requires_grad or p.is_inference()]
        live = [] if differentiable else live
    buffers = [(n, b) for n, b in _each(model, nn.Module.named_buffers) if type(b) is Tensor]
    own: dict[int, Tensor] = {
        id(p): cast(p if differentiable else plain(p), dtype) for _, p in live
    }
    own |= {id(b): cast(b.clone(), dtype) for _, b in buffers}
    return {n: own[id(t)] for n, t in [*live, *buffers]} or None


def _each(model: nn.Module, named: Callable[..., Any]) -> list[tuple[str, Tensor]]:
    """Every module's own tensors, under one name of the module and all names of the tensor.

    Of a module that has two names, exchanging a tensor under both would leave the stand-in behind.
    """
    return [
        (f"{where}.{name}" if where else name, tensor)
        for where, module in model.named_modules()
        for name, tensor in named(module, recurse=False, remove_duplicate=False)
    ]


def _refuse_built_in(model: nn.Module, dtype: torch.dtype | None) -> None:
    """A compiled or scripted model may run as it is only where it has nothing of another dtype."""
    tensors = [*model.parameters(), *model.buffers()]
    others = {t.dtype for t in tensors if t.is_floating_point()} - {dtype}
    if dtype is not None and others:
        kind = "scripted" if isinstance(model, torch.jit.ScriptModule) else "compiled"
        raise Unsupported(
            f"dtype={name_of(dtype)!r} exchanges the parameters of a module, and those of a {kind} model "
            f"cannot be exchanged; pass the module it was made of, such as model._orig_mod."
        )


def name_of(dtype: torch.dtype) -> str:
    """What torch calls it: ``float64``."""
    return str(dtype).removeprefix("torch.")


def blame(model: object, dtype: torch.dtype) -> str:
    """Why a model may fail in a dtype that is not its own, as the end of a sentence."""
    name = name_of(dtype)
    if isinstance(model, nn.Module):
        return (
            f"; dtype={name!r} exchanges parameters and buffers; something else in this model has "
            f"another dtype: a tensor that is no buffer, or a cast such as .float()."
        )
    return (
        f"; dtype={name!r} cannot reach what a {type(model).__name__} holds: pass the nn.Module itself, "
        f"or a function that computes in the dtype of x."
    )


class Casts(TorchDispatchMode):
    """Watches what runs for real numbers that are cast to a coarser dtype than `dtype`."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype, self.found = dtype, list[Any]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation, and remember a cast: ``.float()``, ``.to()``, a copy into another tensor."""
        if (into := CASTS.get(func.name().split(".")[0])) is not None:
            source = args[1] if into == "first" else args[0]
            dtype = args[0].dtype if into == "first" else (kwargs or {}).get("dtype")
            if (
                isinstance(source, Tensor)
                and source.dtype == self.dtype
                and coarser(dtype, self.dtype)
            ):
                self.found.append(dtype)
        return func(*args, **(kwargs or {}))


def coarser(dtype: object, than: torch.dtype) -> bool:
    """Whether this is a dtype of real numbers that keeps fewer digits."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        return False
    return torch.finfo(dtype).eps > torch.finfo(than).eps


def refuse_casts(oracle: Any, keep: Any) -> None:
    """Refuse a model that computes in a coarser dtype than the one asked for: one forward of a row.

    Raises
    ------
    ModelError
        Something in it is cast down.
    """
    first, seen = tuple(p[:1] for p in oracle.raw), Casts(oracle.dtype)
    with oracle.meter.aside(), seen:
        oracle.read(first, torch.zeros(1, dtype=torch.long), keep)
    if seen.found:
        raise ModelError(
            f"dtype={name_of(oracle.dtype)!r} was asked for, and the model casts to "
            f"{name_of(seen.found[0])} inside: its answer would not be that exact. Remove the cast, "
            f"or pass check=False to go on regardless."
        )

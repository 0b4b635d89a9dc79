"""Somebody's explain function, asked with care: what it returns is looked at, the model kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intgrad._types import plain, wide
from intgrad.attribution import Attribution
from intgrad.audit.finding import Explain
from intgrad.errors import InputError, ModelError


def explained(explain: Explain, model: Callable[..., Any], x: Tensor, target: Any) -> Tensor:
    """The values that an explain function gives, shaped like x or with its channels summed away.

    Parameters
    ----------
    explain
        ``(model, x, target) -> values``: a tensor, an array, or an `Attribution`.

    Raises
    ------
    InputError
        Something else, another shape, NaN or infinity; one sentence.
    ModelError
        The function changed the model, which is put back as it was.
    """
    with kept(model):
        found = explain(model, x, target)
    values = found.values if isinstance(found, Attribution) else found
    if isinstance(values, np.ndarray):
        values = torch.as_tensor(values)
    if not isinstance(values, Tensor):
        raise InputError(
            f"explain returned a {type(values).__name__}; expected a tensor, an array or an "
            f"Attribution with a value for every entry of x."
        )
    _refuse_shape(values, x)
    if not bool(torch.isfinite(values).all()):
        row = int((~torch.isfinite(values)).reshape(len(values), -1).any(1).nonzero()[0])
        raise InputError(f"explain returned NaN or infinity in row {row}; expected finite numbers.")
    return plain(values).to(x.device, wide(values.dtype))


@contextmanager
def kept(model: object) -> Iterator[None]:
    """Watch a module while somebody else holds it; what they changed is put back, and said.

    Gradients left in parameters are taken away without a word: many methods call ``backward``.
    """
    if not isinstance(model, nn.Module):
        yield
        return
    before = _Kept(model)
    try:
        yield
    finally:
        changed = before.restore(model)
    if changed:
        raise ModelError(
            f"explain changed the model: {', '.join(changed[:3])}; expected it as it was. It has been "
            f"put back: let the function work on a copy, or undo what it does."
        )


class _Kept:
    """What of a module must not change: weights, buffers, modes, hooks."""

    def __init__(self, model: nn.Module) -> None:
        self.state = {n: t.detach().clone() for n, t in _tensors(model).items()}
        self.wanted = {n: p.requires_grad for n, p in model.named_parameters()}
        self.gradients = {n: p.grad for n, p in model.named_parameters()}
        self.modes = {n: m.training for n, m in model.named_modules()}
        self.hooks = {n: [dict(h) for h in _hooks(m)] for n, m in model.named_modules()}

    def restore(self, model: nn.Module) -> list[str]:
        """Put everything back; what was different, in words."""
        changed = [*self._tensors(model), *self._flags(model)]
        for name, parameter in model.named_parameters():
            parameter.grad = self.gradients.get(name)
        for name, module in model.named_modules():
            for now, then in zip(_hooks(module), self.hooks.get(name, []), strict=False):
                if dict(now) != then:
                    changed.append(f"hooks on {name or 'the model'}")
                    now.clear()
                    now.update(then)
        return changed

    def _tensors(self, model: nn.Module) -> Iterator[str]:
        now = _tensors(model)
        with torch.no_grad():
            for name, before in self.state.items():
                if name in now and not torch.equal(now[name], before):
                    now[name].copy_(before)
                    yield f"{name} holds other numbers"

    def _flags(self, model: nn.Module) -> Iterator[str]:
        for name, parameter in model.named_parameters():
            if parameter.requires_grad is not self.wanted.get(name, parameter.requires_grad):
                parameter.requires_grad_(self.wanted[name])
                yield f"requires_grad of {name}"
        for name, module in model.named_modules():
            if module.training is not self.modes.get(name, module.training):
                module.training = self.modes[name]
                yield f"training mode of {name or 'the model'}"


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _hooks(module: nn.Module) -> tuple[Any, ...]:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return tuple(getattr(module, name) for name in names)


def _refuse_shape(values: Tensor, x: Tensor) -> None:
    fits = values.ndim >= 2 and len(values) == len(x)
    same = fits and tuple(values.shape) == tuple(x.shape)
    summed = fits and x.ndim == 4 and tuple(values.shape) in _without_channels(x)
    if not (same or summed):
        less = f" or {_without_channels(x)[1]}" if x.ndim == 4 else ""
        raise InputError(
            f"explain returned shape {tuple(values.shape)}; expected {tuple(x.shape)}, like x{less}."
        )


def _without_channels(x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rows, _, *sides = x.shape
    return (rows, 1, *sides), (rows, *sides)

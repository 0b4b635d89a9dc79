"""A model in somebody else's hands: watched, and put back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.errors import ModelError


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
                    changed.append(f"the hooks of {name or 'the module'}")
                    now.clear()
                    now.update(then)
        return changed

    def _tensors(self, model: nn.Module) -> Iterator[str]:
        now = _tensors(model)
        with torch.no_grad():
            for name, before in self.state.items():
                if name in now and not torch.equal(now[name].nan_to_num(), before.nan_to_num()):
                    now[name].copy_(before)
                    yield f"the numbers of {name}"

    def _flags(self, model: nn.Module) -> Iterator[str]:
        for name, parameter in model.named_parameters():
            if parameter.requires_grad is not self.wanted.get(name, parameter.requires_grad):
                parameter.requires_grad_(self.wanted[name])
                yield f"requires_grad of {name}"
        for name, module in model.named_modules():
            if module.training is not self.modes.get(name, module.training):
                module.training = self.modes[name]
                yield f"the mode of {name or 'the module'}"


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _hooks(module: nn.Module) -> tuple[Any, ...]:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return tuple(getattr(module, name) for name in names)

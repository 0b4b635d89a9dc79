"""An explanation, whatever a method returns it as: checked, and with what is known of its error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from intgrad.attribution import Attribution
from intgrad.audit.finding import Explain
from intgrad.errors import InputError

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


UNSURE = 3.0  # an estimated error may be a third of the true one


class Misfit(InputError):
    """What an explain function returned, or did, cannot be audited."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """The values of a few rows, in float64.

    Attributes
    ----------
    values
        (rows, features).
    error
        (rows,): the absolute L1 error that the method owns up to.
    certificate
        The `Attribution` it came in, if it was one.
    """

    values: Tensor
    error: Tensor
    certificate: Attribution | None = None

    @property
    def size(self) -> Tensor:
        """(rows,): the L1 norm of the values."""
        return self.values.abs().sum(1)


def explained(explain: Explain, model: Any, x: Tensor, target: Any, slack: float) -> Explanation:
    """Ask a method about rows, and look at what it returns and at the model afterwards.

    Parameters
    ----------
    slack
        Relative L1 error allowed to a method that does not say its own.

    Raises
    ------
    Misfit
        Not one array shaped like x; NaN or infinity; a model that is no longer what it was. Its tensors,
        flags and mode are put back first.
    """
    with unchanged(model):
        found = explain(model, x.detach().clone(), target)
    values = _values(found, x)
    size = values.abs().sum(1)
    if not isinstance(found, Attribution):
        return Explanation(values, slack * size)
    own = torch.where(found.converged, UNSURE * found.error, found.tolerance).double().cpu()
    own = torch.where(torch.isfinite(own), own, slack) + found.floor.double().cpu()
    return Explanation(values, own * size, found)


def _values(found: Any, x: Tensor) -> Tensor:
    values = found.values if isinstance(found, Attribution) else found
    if isinstance(values, np.ndarray):
        values = torch.as_tensor(values)
    if not isinstance(values, Tensor):
        raise Misfit(
            f"explain returned a {type(values).__name__}; expected one tensor or array shaped like x, "
            f"{tuple(x.shape)}, or an Attribution of one target."
        )
    if values.shape != x.shape:
        raise Misfit(
            f"explain returned shape {tuple(values.shape)} for x {tuple(x.shape)}; expected the same. "
            f"An audit needs a value a feature: return them before they are summed or scaled."
        )
    if values.is_complex() or not bool(torch.isfinite(values).all()):
        bad = ~torch.isfinite(values).reshape(len(x), -1).all(1)
        row = int(bad.nonzero()[0]) if bool(bad.any()) else 0
        raise Misfit(
            f"explain returned NaN, infinity or complex numbers in row {row}; expected finite numbers. "
            f"Look at the model's gradient there first."
        )
    return values.detach().cpu().double().flatten(1)


@contextmanager
def unchanged(model: Any) -> Iterator[None]:
    """Put a module back as it was, and refuse what changed it."""
    if not isinstance(model, nn.Module):
        yield
        return
    restore = [_modes(model), _tensors(model), _hooks(model)]
    try:
        yield
    finally:
        changed = [what for put_back in restore for what in put_back()]
    if changed:
        raise Misfit(
            f"explain changed the model: {', '.join(changed[:4])}. Let it work on copy.deepcopy(model), "
            f"or put back what it changes."
        )


Restore = Callable[[], list[str]]


def _modes(model: nn.Module) -> Restore:
    before = [(name, m, m.training) for name, m in model.named_modules()]

    def put_back() -> list[str]:
        changed = [(name, m, was) for name, m, was in before if m.training != was]
        for _, m, was in changed:
            m.training = was
        return [f"the mode of {name or 'the module'}" for name, _, _ in changed]

    return put_back


def _tensors(model: nn.Module) -> Restore:
    held = [*model.named_parameters(), *model.named_buffers()]
    before = [(name, t, t.detach().clone(), t.requires_grad) for name, t in held]

    def put_back() -> list[str]:
        changed = []
        for name, t, was, wanted in before:
            if t.requires_grad != wanted:
                t.requires_grad_(wanted)
                changed.append(f"requires_grad of {name}")
            if not torch.equal(t, was) and not bool((t.isnan() & was.isnan()).any()):
                with torch.no_grad():
                    t.copy_(was)
                changed.append(name)
        return changed

    return put_back


def _hooks(model: nn.Module) -> Restore:
    def now() -> dict[str, list[list[int]]]:
        found = model.named_modules()
        return {name: [list(getattr(m, kind)) for kind in HOOKS] for name, m in found}

    before = now()

    def put_back() -> list[str]:
        after = now()
        return [f"the hooks of {n or 'the module'}" for n in after if after[n] != before.get(n)]

    return put_back

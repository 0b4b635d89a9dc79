"""An explanation, whatever a method returns it as: checked, and with what is known of its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from intgrad.attribution import Attribution
from intgrad.audit.asking import asked
from intgrad.audit.finding import Explain
from intgrad.errors import InputError

UNSURE = 3.0  # an estimated error may be a third of the true one


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
    InputError
        Not one array shaped like x; NaN or infinity.
    ModelError
        A model that is no longer what it was; it is put back first.
    """
    wanted = f"one tensor or array shaped like x, {tuple(x.shape)}, or an Attribution of one target"
    values, found = asked(explain, model, x.detach().clone(), target, wanted)
    values = _checked(values, x)
    size = values.abs().sum(1)
    if found is None:
        return Explanation(values, slack * size)
    own = torch.where(found.converged, UNSURE * found.error, found.tolerance).double().cpu()
    own = torch.where(torch.isfinite(own), own, slack) + found.floor.double().cpu()
    return Explanation(values, own * size, found)


def _checked(values: Tensor, x: Tensor) -> Tensor:
    """(rows, features) in float64: a finite number for every entry of x."""
    if values.shape != x.shape:
        raise InputError(
            f"explain returned shape {tuple(values.shape)} for x {tuple(x.shape)}; expected the same. "
            f"An audit needs a value a feature: return them before they are summed or scaled."
        )
    if values.is_complex() or not bool(torch.isfinite(values).all()):
        bad = ~torch.isfinite(values).reshape(len(x), -1).all(1)
        row = int(bad.nonzero()[0]) if bool(bad.any()) else 0
        raise InputError(
            f"explain returned NaN, infinity or complex numbers in row {row}; expected finite numbers. "
            f"Look at the model's gradient there first."
        )
    return values.detach().cpu().double().flatten(1)

r"""Functions of one number: the average derivative over a panel is the secant's slope.

.. math:: \int_0^1 f'(z_a + s \Delta) \, ds = \frac{f(z_b) - f(z_a)}{\Delta}, \qquad \Delta = z_b - z_a

exactly, for whatever f. Where Delta is small the quotient cancels; f' at the middle is then closer,
and off by f''' Delta^2 / 24. Some functions have a form that never cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from intgrad.model.averaging.ends import Ends, argument, output
from intgrad.model.tape import Step


def phi(x: Tensor) -> Tensor:
    """(1 - exp(-x)) / x for x >= 0, 1 at 0."""
    return torch.where(x == 0, 1.0, torch.expm1(-x).neg_() / x)


def log_mean(y: Ends, delta: Tensor) -> Tensor:
    """(y_b - y_a) / delta for y = exp(u), delta = u_b - u_a; 0 where both are 0."""
    top = torch.maximum(y.a, y.b)
    return torch.where(top == 0, 0.0, top * phi(delta.abs()))


def small(z: Ends) -> Tensor:
    """Where an increment is so small that the quotient loses more digits than the middle does."""
    threshold = (24 * torch.finfo(z.a.dtype).eps) ** (1 / 3)
    return z.delta.abs() <= threshold * (1 + z.a.abs())


def slope(step: Step) -> Tensor:
    """The average derivative of an elementwise step over every panel."""
    z, y = argument(step, step.live.index(True)), output(step)
    special = SLOPES.get(step.name)
    found = special(step, z, y) if special is not None else None
    return secant(step, z, y) if found is None else found


def secant(step: Step, z: Ends, y: Ends) -> Tensor:
    """The quotient, and where it cancels the derivative in the middle."""
    found = y.delta / z.delta
    close = small(z)
    if bool(close.any()):
        found = torch.where(close, derivative(step, z.mean), found)
    return found


def derivative(step: Step, at: Tensor) -> Tensor:
    """The operation's own derivative at other arguments."""
    with torch.enable_grad():
        point = at.detach().requires_grad_()
        (found,) = torch.autograd.grad(replay(step, point).sum(), point)
    return found


def replay(step: Step, point: Tensor) -> Tensor:
    """The operation again, at `point` in place of the tensor gradients flow to."""
    where = step.live.index(True)
    seen = -1

    def exchange(value: Any) -> Any:
        nonlocal seen
        if not isinstance(value, Tensor):
            return value
        seen += 1
        return point if seen == where else argument(step, seen).a

    args = tuple(exchange(a) for a in step.args)
    return step.op(*args, **{k: exchange(v) for k, v in step.kwargs.items()})


def _relu(step: Step, z: Ends, y: Ends) -> Tensor:
    # never cancels: on one side the quotient is 1 or 0, across it numerator and denominator add up
    flat = z.delta == 0
    return torch.where(flat, (z.a > 0).to(y.a.dtype), y.delta.div_(z.delta))


def _exp(step: Step, z: Ends, y: Ends) -> Tensor:
    return log_mean(y, z.delta)


def _log(step: Step, z: Ends, y: Ends) -> Tensor:
    x = z.delta / z.a
    return torch.where(x == 0, 1.0, torch.log1p(x) / x) / z.a


def _sqrt(step: Step, z: Ends, y: Ends) -> Tensor:
    return 1 / (y.a + y.b)


def _rsqrt(step: Step, z: Ends, y: Ends) -> Tensor:
    product = y.a * y.b
    return -(product * product) / (y.a + y.b)


def _reciprocal(step: Step, z: Ends, y: Ends) -> Tensor:
    return -(y.a * y.b)


def _tanh(step: Step, z: Ends, y: Ends) -> Tensor:
    return _tanhc(z.delta) * (1 - y.a * y.b)


def _sigmoid(step: Step, z: Ends, y: Ends) -> Tensor:
    return _tanhc(z.delta / 2) * (y.mean - y.a * y.b)


def _tanhc(x: Tensor) -> Tensor:
    """tanh(x) / x."""
    return torch.where(x == 0, 1.0, torch.tanh(x) / x)


def _pow(step: Step, z: Ends, y: Ends) -> Tensor | None:
    power = step.args[1] if not isinstance(step.args[1], Tensor) else None
    forms: dict[Any, Callable[[], Tensor]] = {
        2: lambda: z.a + z.b,
        3: lambda: z.a * z.a + z.a * z.b + z.b * z.b,
        0.5: lambda: 1 / (y.a + y.b),
        -0.5: lambda: _rsqrt(step, z, y),
        -1: lambda: -(y.a * y.b),
    }
    return forms[power]() if power in forms else None


Slope = Callable[[Step, Ends, Ends], Tensor | None]
SLOPES: dict[str, Slope] = {
    "relu": _relu,
    "exp": _exp,
    "log": _log,
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
    "reciprocal": _reciprocal,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "pow": _pow,
}

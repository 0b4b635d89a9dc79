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

from intgrad.model.averaging.ends import Ends, argument, ends, first, wide
from intgrad.model.averaging.memory import arranged, flat, rows_lie_apart
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


BLOCK = 1 << 16  # numbers at a time: what is computed of them stays in the cache


def pull(step: Step, grad: Tensor) -> Tensor:
    """Pull a gradient (rows and all) back through a function of one number: all rows, the last 0.

    Memory bound, so it goes block by block where the rows lie one after the other in memory.
    """
    place = step.live.index(True)
    z, y, axis = step.tensors[place], step.outs[0], step.axes[place]
    assert axis is not None
    found = torch.empty_like(z)
    if axis[0] != 0 or not rows_lie_apart(z) or found.stride() != z.stride() or _others(step):
        own = first(grad, axis) * slope(step, ends(z, axis), ends(y, axis))
        first(found, axis).copy_(own)
        found.narrow(axis[0], z.shape[axis[0]] - axis[1], axis[1]).zero_()
        return found
    row = axis[1] * z.stride(0)
    size, out = z.numel() - row, flat(found)
    z, y, grad = (flat(arranged(t, z)) for t in (z, y, grad))
    for i in range(0, size, BLOCK):
        j = min(i + BLOCK, size)
        at = [Ends(wide(t[i:j]), wide(t[i + row : j + row])) for t in (z, y)]
        torch.mul(slope(step, *at).to(out.dtype), grad[i:j], out=out[i:j])
    out[size:].zero_()
    return found


def _others(step: Step) -> bool:
    """Whether there are tensors that would have to be cut along, such as the weight of prelu."""
    return any(t.ndim for t, alive in zip(step.tensors, step.live, strict=True) if not alive)


def slope(step: Step, z: Ends, y: Ends) -> Tensor:
    """The average derivative of an elementwise step between the ends z, where it gave y."""
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


def share_above(z: Ends, level: float = 0.0) -> Tensor:
    """The part of a panel in which z is above a level.

    Without a branch: the quotient is above 1 or below 0 where z stays on one side.
    """
    width = (z.b - z.a).abs_().clamp_min_(torch.finfo(z.a.dtype).tiny)
    top = torch.maximum(z.a, z.b)
    return (top if level == 0 else top.sub_(level)).div_(width).clamp_(0, 1)


def _relu(step: Step, z: Ends, y: Ends) -> Tensor:
    return share_above(z)


def _leaky_relu(step: Step, z: Ends, y: Ends) -> Tensor:
    below = step.args[1] if len(step.args) > 1 else 0.01
    return share_above(z).mul_(1 - below).add_(below)


def _abs(step: Step, z: Ends, y: Ends) -> Tensor:
    return share_above(z).mul_(2).sub_(1)


def _clamp(step: Step, z: Ends, y: Ends) -> Tensor | None:
    low, high = (*step.args[1:], step.kwargs.get("max"))[:2] if len(step.args) > 1 else (-1.0, 1.0)
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return None
    inside = torch.ones_like(z.a) if low is None else share_above(z, low)
    return inside if high is None else inside.sub_(share_above(z, high))


def _hardsigmoid(step: Step, z: Ends, y: Ends) -> Tensor:
    return share_above(z, -3.0).sub_(share_above(z, 3.0)).div_(6)


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
    "leaky_relu": _leaky_relu,
    "abs": _abs,
    "hardtanh": _clamp,
    "clamp": _clamp,
    "hardsigmoid": _hardsigmoid,
    "exp": _exp,
    "log": _log,
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
    "reciprocal": _reciprocal,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "pow": _pow,
}

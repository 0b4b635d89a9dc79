r"""Softmax and normalisations: closed averages that keep completeness to rounding, without nodes.

Softmax in the coordinates :math:`u = z - \operatorname{lse}(z)` is an exponential, whose secant is
the logarithmic mean :math:`L_i = (y_i^b - y_i^a) / \Delta u_i`. Because y sums to one at both ends,
:math:`\sum_i L_i \Delta u_i = 0`, so that

.. math:: \Delta \operatorname{lse} = \sum_i w_i \Delta z_i, \quad w = L / \textstyle\sum_j L_j,
          \qquad \Delta y = (\operatorname{diag}(L) - L L^T / \textstyle\sum_j L_j) \Delta z

hold exactly: an average Jacobian that is symmetric, like the pointwise one, and of second order.
Normalisations are products with a power of a mean square, and each factor has its exact secant.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from intgrad.model.averaging.elementwise import log_mean
from intgrad.model.averaging.ends import Ends, argument, first, output, second, wide
from intgrad.model.tape import Step


def softmax(step: Step, g: Tensor) -> list[Tensor | None]:
    """softmax(z) along a dimension."""
    dim, y = step.args[1], output(step)
    mean = _log_mean(step, y, dim)
    pulled = g * mean
    return [pulled - mean * (pulled.sum(dim, True) / _mass(mean, dim))]


def log_softmax(step: Step, g: Tensor) -> list[Tensor | None]:
    """Softmax's logarithm, z - lse(z)."""
    dim, u = step.args[1], output(step)
    mean = log_mean(Ends(u.a.exp(), u.b.exp()), (u.b - u.a).nan_to_num(0.0, 0.0, 0.0))
    return [g - mean * (g.sum(dim, True) / _mass(mean, dim))]


def logsumexp(step: Step, g: Tensor) -> list[Tensor | None]:
    """Logarithm of the sum of exp(z) over some dimensions."""
    z, dims = argument(step, 0), step.args[1]
    dims = [dims] if isinstance(dims, int) else list(dims)
    keep = bool(step.args[2]) if len(step.args) > 2 else bool(step.kwargs.get("keepdim", False))
    lse = output(step)
    if not keep:
        lse, g = Ends(_open(lse.a, dims), _open(lse.b, dims)), _open(g, dims)
    u = Ends(z.a - lse.a, z.b - lse.b)
    mean = log_mean(Ends(u.a.exp(), u.b.exp()), u.delta.nan_to_num(0.0, 0.0, 0.0))
    return [g * mean / _mass(mean, dims)]


def _open(tensor: Tensor, dims: list[int]) -> Tensor:
    """Put reduced dimensions back, with one entry."""
    full = tensor.ndim + len(dims)
    for d in sorted(d % full for d in dims):
        tensor = tensor.unsqueeze(d)
    return tensor


def _log_mean(step: Step, y: Ends, dim: int) -> Tensor:
    """The logarithmic mean of a softmax at both ends; its exponents without a second softmax."""
    z, out, axis = wide(step.tensors[0]), wide(step.outs[0]), step.axes[0]
    top, where = out.max(dim, True)
    lse = z.gather(dim, where) - top.log()
    u = z - lse
    if axis is None:
        return out
    delta = (second(u, axis) - first(u, axis)).nan_to_num(0.0, 0.0, 0.0)  # masked: -inf at both
    return log_mean(y, delta)


def _mass(mean: Tensor, dims: Any) -> Tensor:
    total = mean.sum(dims, True)
    return torch.where(total == 0, 1.0, total)


def layer_norm(step: Step, g: Tensor) -> list[Tensor | None]:
    """(z - mean) / sqrt(variance + eps) over the last dimensions, times a weight, plus a bias."""
    z, eps = argument(step, 0), step.args[4]
    weight = step.args[2]
    dims = tuple(range(-len(step.args[1]), 0))
    scaled = g if weight is None else g * wide(weight)
    return [normalised(z, scaled, dims, eps, centred=True), None, None]


def rms_norm(step: Step, g: Tensor) -> list[Tensor | None]:
    """Z / sqrt(mean square + eps) over the last dimensions, times a weight."""
    z = argument(step, 0)
    shape, weight, eps = step.args[1], step.args[2], step.args[3]
    dims = tuple(range(-len(shape), 0))
    eps = torch.finfo(step.tensors[0].dtype).eps if eps is None else eps
    scaled = g if weight is None else g * wide(weight)
    return [normalised(z, scaled, dims, eps, centred=False), None]


def group_norm(step: Step, g: Tensor) -> list[Tensor | None]:
    """Layer normalisation over groups of channels, with a weight and bias a channel."""
    z, weight = argument(step, 0), step.args[1]
    groups, eps = step.args[6], step.args[7]
    split = lambda t: t.reshape(t.shape[0], groups, -1)  # noqa: E731
    if weight is not None:
        g = g * wide(weight).reshape(1, -1, *(1,) * (g.ndim - 2))
    pulled = normalised(Ends(split(z.a), split(z.b)), split(g), (-1,), eps, centred=True)
    return [pulled.reshape(g.shape), None, None]


def normalised(z: Ends, g: Tensor, dims: tuple[int, ...], eps: float, centred: bool) -> Tensor:
    """Pull g back through c / sqrt(mean(c^2) + eps), c = z or z - mean(z): exact secants."""
    if centred:
        z = Ends(z.a - z.a.mean(dims, True), z.b - z.b.mean(dims, True))
    rho = Ends(*((c.square().mean(dims, True) + eps).rsqrt() for c in (z.a, z.b)))
    product = rho.a * rho.b
    slope = -(product * product) / (rho.a + rho.b)  # of v -> v^-1/2
    size = math.prod(z.a.shape[d] for d in dims)
    pulled = g * rho.mean + z.mean * ((g * z.mean).sum(dims, True) * slope * (2 / size))
    return pulled - pulled.mean(dims, True) if centred else pulled

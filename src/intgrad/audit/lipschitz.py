r"""How much an answer moves when the input does: local constants, a bound, jumps, and their cause.

Where :math:`\nabla F` is L-Lipschitz on the box between baseline and inputs, with
:math:`|\partial_i F| \le M` there, integrated gradients obey

.. math:: |IG_i(x) - IG_i(y)| \le \left(M + \tfrac{1}{2} L R_i\right) \lVert x - y \rVert,
          \qquad R_i = |y_i - x'_i|,

for the first factor of IG moves by :math:`|x_i - y_i|`, and the integral by at most
:math:`\int_0^1 L t \lVert x - y \rVert dt`. Networks of ReLU and max have no such L, and none is possible:
of :math:`\max(x_1, x_2)` at (1 ± e, 1) from 0 they are (1 + e, 0) and (0, 1). `jump` finds such places,
`kink` names the unit, `smoothed` is the network's twin that has none.

Lundstrom, Huang, Razaviyayn 2022, "A Rigorous Study of Integrated Gradients Method and Extensions to
Internal Neuron Attributions", arXiv:2202.11912.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.audit.explanation import explained
from intgrad.audit.finding import Explain, Finding
from intgrad.audit.question import SLACK, Case, Row, Start, check, rows, starts
from intgrad.errors import Unsupported
from intgrad.interactions.soften import softened

smoothed = softened

# of elementwise functions: the largest slope, and the largest slope of the slope
SMOOTH: dict[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (1.0, 4 / (3 * math.sqrt(3))),
    nn.Sigmoid: (1 / 4, 1 / (6 * math.sqrt(3))),
    nn.Softplus: (1.0, 1 / 4),  # times beta
    nn.GELU: (1.129, math.sqrt(2 / math.pi)),
    nn.SiLU: (1.0999, 1 / 2),
}
STILL = (nn.Identity, nn.Dropout, nn.Flatten)
DIRECTIONS, HALVINGS = 4, 24
STEEP = 1e3  # what moves more than so many times as far as x, relative to itself, jumps
NODES = 65  # on a path that is looked at for kinks


@dataclass(frozen=True)
class Smoothness:
    """Bounds that hold everywhere, in the Euclidean norm.

    Attributes
    ----------
    slope
        M: of the gradient.
    bend
        L: the Lipschitz constant of the gradient.
    """

    slope: float
    bend: float


def smoothness(model: nn.Module, target: int = 0) -> Smoothness:
    r"""M and L of one output of a smooth multilayer perceptron, from its weights alone.

    .. math:: M_{g \circ f} = M_g M_f, \qquad L_{g \circ f} = L_g M_f^2 + M_g L_f,

    with the spectral norm of a linear layer, the norm of the target's row in the last one, and the
    extreme slopes of the activations. True bounds, and loose ones: they grow with every layer.

    Raises
    ------
    Unsupported
        Anything but an `nn.Sequential` of linear layers, tanh, sigmoid, softplus, GELU (exact) and SiLU.
    """
    parts = list(model) if isinstance(model, nn.Sequential) else [model]
    slope, bend = 1.0, 0.0
    for i, part in enumerate(parts):
        m, b = _bounds(part, target if i == len(parts) - 1 else None)
        slope, bend = m * slope, b * slope**2 + m * bend
    return Smoothness(slope, bend)


def _bounds(part: nn.Module, target: int | None) -> tuple[float, float]:
    """(M, L) of one layer."""
    if isinstance(part, nn.Linear):
        weight = part.weight if target is None else part.weight[target : target + 1]
        return float(torch.linalg.matrix_norm(weight.detach().double(), 2)), 0.0
    if isinstance(part, STILL):
        return 1.0, 0.0
    approximate = isinstance(part, nn.GELU) and part.approximate != "none"
    if type(part) not in SMOOTH or approximate:
        raise Unsupported(
            f"no bound of the gradient's change is known for {type(part).__name__}; expected an "
            f"nn.Sequential of linear layers and smooth activations. smoothed(model, beta=50) has "
            f"softplus in the place of ReLU."
        )
    slope, bend = SMOOTH[type(part)]
    return slope, bend * (part.beta if isinstance(part, nn.Softplus) else 1.0)


def lipschitz_bound(
    model: nn.Module, x: Tensor, target: int = 0, *, baseline: Start = None, radius: float = 0.0
) -> Tensor:
    """M + L R / 2 for every feature: how much integrated gradients can move, for each unit x moves.

    Parameters
    ----------
    radius
        Euclidean distance from x within which the bound holds.

    Returns
    -------
    Tensor
        Like x, float64. No forwards.
    """
    known = smoothness(model, target)
    away = torch.cat(
        [(r - starts(baseline, r)).abs().amax(0, keepdim=True).double() for r in x.split(1)]
    )
    return known.slope + known.bend * (away + radius) / 2


@dataclass(frozen=True, eq=False)
class Local:
    """How fast an answer moves near x, as found by trying: the true constants are no smaller.

    Attributes
    ----------
    constant
        (rows,): the largest change of all values over the distance, Euclidean both.
    each
        Like x: the largest change of each value over the distance.
    towards
        Like x: the point at which `constant` was found.
    """

    constant: Tensor
    each: Tensor
    towards: Tensor


def local_lipschitz(
    explain: Explain,
    model: Any,
    x: Tensor,
    target: Any = None,
    *,
    radius: float = 1e-3,
    samples: int = 32,
    seed: int = 0,
) -> Local:
    """The local Lipschitz constant of an attribution, by random points at a distance.

    Parameters
    ----------
    explain, model, x, target
        As in `intgrad.audit.axioms`; any method.
    radius
        Euclidean distance from x, in its units.
    samples
        Points tried a row, in one call.

    Returns
    -------
    Local
        Costs `samples` + 1 explanations a row. Errors of the method count as movement: at a small
        radius ask for a tolerance well below it.
    """
    found = []
    for row in rows(explain, model, x, target, None, seed, SLACK):
        points = row.x + radius * _directions(row, samples)
        batch = torch.cat([row.x, points])
        values = explained(explain, row.score, batch, 0, SLACK).values
        moved = (values[1:] - values[:1]) / radius
        best = int(moved.norm(dim=1).argmax())
        each = moved.abs().amax(0).reshape(row.x.shape)
        found.append((moved[best].norm()[None], each, points[best : best + 1]))
    return Local(*(torch.cat(part) for part in zip(*found, strict=True)))


def _directions(row: Row, count: int) -> Tensor:
    """Random unit vectors (count, ...)."""
    shape = (count, *row.x.shape[1:])
    drawn = torch.randn(shape, generator=row.generator(), dtype=torch.float64)
    length = drawn.flatten(1).norm(dim=1).reshape(-1, *(1,) * (row.x.ndim - 1))
    return (drawn / length).to(row.x)


@check
def jump(row: Row, radius: float = 0.1) -> Iterator[Case]:
    r"""Values do not jump: the change that is left over no distance, relative to the L1 norm.

    On straight lines through x in random directions, out to `radius` times the length of x - x', the half
    in which the values change more is followed until nothing is left of it but rounding. Costs 100
    explanations a row. It finds the largest of few jumps; of many small ones, some.
    """
    length = float((row.x - row.start()[:1]).norm()) or 1.0
    way = radius * length * _directions(row, DIRECTIONS)
    low, high = row.x - way, row.x + way
    least = explained(row.explain, row.score, low, 0, row.slack)
    most = explained(row.explain, row.score, high, 0, row.slack)
    a, b, wrong = least.values, most.values, least.error + most.error
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        at = explained(row.explain, row.score, middle, 0, row.slack)
        up = (b - at.values).abs().sum(1) > (at.values - a).abs().sum(1)
        left = up.reshape(-1, *(1,) * (row.x.ndim - 1))
        low, high = torch.where(left, middle, low), torch.where(left, high, middle)
        a, b = torch.where(up[:, None], at.values, a), torch.where(up[:, None], b, at.values)
        wrong = torch.maximum(wrong, 2 * at.error)
    gap = 2 * radius * length / 2**HALVINGS
    for k in range(DIRECTIONS):
        size, moved = float(a[k].abs().sum()), float((a[k] - b[k]).abs().sum())
        allowed = float(wrong[k]) / max(size, 1e-300) + STEEP * gap / length
        where = {"from x": float((low[k] - row.x[0]).norm()), "found": a[k, :8].tolist()}
        yield Case(moved / max(size, 1e-300), allowed, {**where, "beyond": b[k, :8].tolist()})


def kink(model: nn.Module, x: Tensor, *, baseline: Start = None) -> Finding:
    """Whether the straight path runs along a kink: where integrated gradients jump, and at which unit.

    A unit of an `nn.ReLU` sits on its kink when its input is 0 for some stretch of the path, while
    features that move act on it: each of two answers is as good as the other, and the least change of x
    decides. The size is the longest such stretch, a share of the path.

    Notes
    -----
    Costs 65 forwards a row, and a gradient for a unit that is still; it looks at 64 of those at most.
    Kinks that are no `nn.ReLU` (max-pooling, functions in a forward) are not seen: `jump` sees them.
    """
    worst: tuple[float, dict[str, Any]] = (0.0, {})
    for r, one in enumerate(x.split(1)):
        start = starts(baseline, one)[:1]
        for share, where in _still(model, one, start):
            if share > worst[0]:
                worst = share, {"row": r, **where}
    note = "the path runs along no kink of an nn.ReLU."
    if worst[1]:
        note = (
            f"the path runs along a kink of {worst[1]['module']!r}: the least change of x decides between "
            f"different answers. Explain smoothed(model), or take the mean over noisy copies of x."
        )
    return Finding("kink", worst[0], 0.0, worst[1], note)


def _still(model: nn.Module, x: Tensor, start: Tensor) -> Iterator[tuple[float, dict[str, Any]]]:
    """Units whose input is 0 along a stretch: (its share of the path, where)."""
    t = torch.linspace(0, 1, NODES, dtype=torch.float64).to(x)
    nodes = start + t.reshape(-1, *(1,) * (x.ndim - 1)) * (x - start)
    with torch.no_grad():
        inputs = _into_relus(model, nodes)
    for name, u in inputs.items():
        flat = u.detach().reshape(NODES, -1).abs()
        zero = flat <= 64 * torch.finfo(x.dtype).eps * flat.max()
        runs = zero[1:] & zero[:-1]
        for unit in runs.any(0).nonzero()[:64, 0].tolist():
            along = runs[:, unit] & _acted_on(
                model, (nodes[1:] + nodes[:-1]) / 2, name, unit, x - start
            )
            if bool(along.any()):
                where = {"module": name, "unit": unit, "from": float(t[int(along.nonzero()[0])])}
                yield float(along.double().mean()), where


def _acted_on(model: nn.Module, points: Tensor, name: str, unit: int, way: Tensor) -> Tensor:
    """Where on the path features that move have any slope, (n,)."""
    with torch.enable_grad():
        z = points.detach().requires_grad_()
        u = _into_relus(model, z)[name].reshape(len(z), -1)[:, unit]
        (slope,) = torch.autograd.grad(u.sum(), z)
    return (slope * way).flatten(1).abs().amax(1) > 0


def _into_relus(model: nn.Module, z: Tensor) -> dict[str, Tensor]:
    """What goes into each `nn.ReLU` at its first call."""
    found: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            found.setdefault(name, given[0].clone())  # in place, it would be overwritten

        return hook

    modules = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.ReLU)]
    hooks = [m.register_forward_pre_hook(note(n)) for n, m in modules]
    try:
        model(z)
    finally:
        for hook in hooks:
            hook.remove()
    return found

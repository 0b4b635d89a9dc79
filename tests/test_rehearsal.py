"""Type rehearsal: methods that do not exist yet run through the public seams, built on the spot.

Each test plays a part that later becomes a file: if one of these needs a change of a seam, the
seam is wrong.
"""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

import intgrad as ig
from intgrad.integral import LineIntegral
from intgrad.integrand import GradientVelocity, NodeWork, PanelWork
from intgrad.model.oracle import ability, gradients
from intgrad.path import Bank, Curves, Straight, polyline
from intgrad.quadrature import Estimate, GaussLegendre
from intgrad.units import Nodes, Panels


def net(seed: int = 0, act: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), act(), nn.Linear(8, 6), act(), nn.Linear(6, 3)).double()


X = torch.linspace(-1, 2, 8, dtype=torch.float64).reshape(2, 4)


@dataclass(frozen=True)
class SquaredShares:
    """IDGI: shares of the change in value, by squared gradient."""

    unit: ClassVar[str] = "panel"
    complete: ClassVar[bool] = True

    def __call__(self, oracle, work: PanelWork):
        value, (gradient,) = gradients(oracle, work.x, work.rows)
        share = gradient.square() / gradient.square().sum(-1, keepdim=True)
        gain = value[:, work.second] - value[:, work.first]
        return (share[:, work.first] * gain[..., None],)


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
@pytest.mark.parametrize("width", [2, 3, 64])
def test_idgi_is_complete_at_any_number_of_steps(width):
    a = ig.attribute(net(), X, integrand=SquaredShares(), quadrature=ig.LeftRiemann(5), width=width)
    assert a.residual.abs().max() < 1e-14
    assert torch.isnan(a.error).all()  # it is no approximation whose error is known
    again = ig.attribute(net(), X, integrand=SquaredShares(), quadrature=ig.LeftRiemann(5))
    assert torch.allclose(a.values, again.values, atol=1e-14)


def test_a_panel_integrand_is_refused_by_gauss():
    with pytest.raises(ig.Unsupported, match="LeftRiemann"):
        ig.attribute(net(), X, integrand=SquaredShares())


@dataclass(frozen=True)
class Greedy:
    """A guided path: each of `steps` moves the half of the features with the smallest gradient."""

    steps: int = 4

    def trace(self, oracle, curves: Curves) -> Curves:
        every = torch.arange(len(curves))
        (at,), (end,) = curves.start.take(every), curves.end.take(every)
        knots = [at.clone()]
        for left in range(self.steps, 0, -1):
            _, (gradient,) = oracle((at,), curves.row)
            near = gradient.abs() <= gradient.abs().median(1, keepdim=True).values
            at = end if left == 1 else torch.where(near, at + (end - at) / left, at)
            knots.append(at.clone())
        return polyline((torch.stack(knots),), curves)


def test_a_guided_trace_is_integrated_to_completeness_and_its_cost_is_counted():
    a = ig.attribute(net(), X, path=Greedy(4), quadrature=GaussLegendre(12))
    assert a.residual.abs().max() < 1e-12
    assert a.backwards.tolist() == [4 + 4 * 12 + 1] * 2  # trace, four segments, floor
    assert not torch.allclose(a.values, ig.attribute(net(), X).values, rtol=1e-3)


@dataclass(frozen=True)
class OneAtATime:
    """One curve a feature, each starting where that feature alone is 0 and speaking for it alone."""

    def __call__(self, x, rows, seed):
        (x,) = x
        r, n = x.shape
        starts = (x[:, None] * (1 - torch.eye(n, dtype=x.dtype))).reshape(r * n, n)
        row, every = torch.arange(r).repeat_interleave(n), torch.arange(r * n)
        masks = Bank((torch.eye(n, dtype=x.dtype),), torch.arange(n).repeat(r))
        weight = torch.ones(r * n, dtype=torch.float64)
        return Curves(row, Bank((starts,), every), Bank((x,), row), weight, masks)


def test_one_word_at_a_time_is_several_masked_curves_a_row():
    model = net()
    a = ig.attribute(model, X, target=1, baseline=OneAtATime(), quadrature=GaussLegendre(20))
    expected = torch.empty_like(X)
    for i in range(4):
        without = X.clone()
        without[:, i] = 0
        expected[:, i] = (model(X) - model(without))[:, 1]
    assert torch.allclose(a.values, expected, atol=1e-12)
    assert a.residual is None  # completeness does not apply across curves with masks


def test_all_targets_ride_on_one_forward():
    model = net()
    a = ig.attribute(model, X, target=ig.All())
    assert a.values.shape == (3, 2, 4)
    for k in range(3):
        one = ig.attribute(model, X, target=k)
        assert torch.allclose(a.values[k], one.values, atol=1e-13)
        assert torch.allclose(a.target(k).residual, one.residual, atol=1e-13)
    assert a.backwards[0] == 3 * a.forwards[0] - 3 * 2  # f(x) and f(baseline) have no backward


class Secant:
    """sum(w * relu(x)): an oracle whose panels average the derivative exactly."""

    def __init__(self, w):
        self.w, self.width = w, 8

    def __call__(self, x, rows):
        return (self.w * x[0].relu()).sum(1), (self.w * (x[0] > 0),)

    def panels(self, x, rows, first, second):
        a, b = x[0][first], x[0][second]
        return ((self.w * (b.relu() - a.relu()) / (b - a))[None],)


def test_one_averaged_panel_integrates_a_kink_exactly():
    w, x = torch.tensor([2.0, -1.0, 3.0]), torch.tensor([[1.0, -2.0, 0.5]])
    start = torch.tensor([[-1.0, 1.0, -2.0]])
    zero = torch.tensor([0])
    curves = Curves(zero, Bank((start,), zero), Bank((x,), zero), torch.ones(1).double())
    integral = LineIntegral(Secant(w), curves, Straight(), ig.integrand.AveragedGradient(), 1)
    (value,) = integral.sum_panels(Panels(zero, torch.zeros(1).double(), torch.ones(1).double()))
    assert torch.allclose(value[0, 0], w * (x.relu() - start.relu()))
    with pytest.raises(ig.Unsupported, match="panels"):
        ability(lambda x, rows: None, "panels")


class TwoLayers:
    """A model cut at two layers: observe gives activation, tangent and gradient of each."""

    def __init__(self, model, target):
        self.model, self.target, self.width = model, target, 16

    def observe(self, x, rows, at, tangents):
        found = {}
        for name, k in at.items():
            first, second = self.model[:k], self.model[k:]
            y, moved = torch.func.jvp(first, (x[0],), (tangents[0],))
            pull = torch.func.grad(lambda y, second=second: second(y)[:, self.target].sum())
            found[name] = y, moved, pull(y)
        return found


@dataclass(frozen=True)
class Conductance:
    """gradient . tangent at every layer: the curve of the input, seen from inside."""

    at: tuple[tuple[str, int], ...]
    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = True

    def __call__(self, oracle, work: NodeWork):
        seen = ability(oracle, "observe")(work.x, work.rows, dict(self.at), work.velocity)
        return tuple((moved * gradient)[None] for _, moved, gradient in seen.values())


def test_conductance_of_two_layers_comes_from_one_sweep():
    model = net()
    zero = torch.zeros_like(X[:1])
    row = torch.arange(2)
    curves = Curves(row, Bank((zero,), row * 0), Bank((X,), row), torch.ones(2).double())
    layers = Conductance((("first", 2), ("second", 4)))
    integral = LineIntegral(TwoLayers(model, 1), curves, Straight(), layers, 2)
    done = GaussLegendre(24)(integral)
    gain = (model(X) - model(zero))[:, 1]
    assert [tuple(v.shape) for v in done.value] == [(1, 2, 8), (1, 2, 6)]
    for layer in done.value:
        assert torch.allclose(layer[0].sum(1), gain, atol=1e-10)


@dataclass(frozen=True)
class Lattice:
    """Every baseline a regular grid in t, rotated so that their union is one: NUMERICS' lattice."""

    k: int

    def __call__(self, integral: LineIntegral) -> Estimate:
        curves = len(integral.curves)
        own = torch.arange(curves, dtype=torch.float64) % 2 / 2 + 0.25
        t = (torch.arange(self.k, dtype=torch.float64) + own[:, None]) / self.k
        nodes = Nodes(
            torch.arange(curves).repeat_interleave(self.k),
            t.reshape(-1),
            torch.full((curves * self.k, 1), 1 / self.k, dtype=torch.float64),
        )
        (value,) = integral.sums(nodes)
        return Estimate((value[0],), (torch.full_like(value[0], torch.nan),), 0.05, "lattice")


@dataclass(frozen=True)
class Two:
    """Two baselines a row, weight one half each."""

    def __call__(self, x, rows, seed):
        return ig.baseline.bind((torch.stack([torch.zeros(4), torch.ones(4)]).to(x[0]),), x)


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
def test_a_lattice_over_two_baselines_averages_them():
    lattice = ig.attribute(net(), X, target=0, baseline=Two(), quadrature=Lattice(200))
    halves = [
        ig.attribute(net(), X, target=0, baseline=b).values
        for b in (torch.zeros(1, 4).double(), torch.ones(1, 4).double())
    ]
    # each baseline's own grid is off centre by a quarter step: first order, 1 / (4 * 200)
    assert torch.allclose(lattice.values, sum(halves) / 2, atol=1 / 800)
    assert lattice.residual.abs().max() < 1 / 800


def test_an_integrand_of_velocity_is_a_plain_value():
    assert GradientVelocity() == GradientVelocity()
    assert ig.Recipe().but(quadrature=GaussLegendre(3)) != ig.Recipe()

"""How much answers move: a bound that holds, jumps where there are any, and what causes them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import intgrad as ig
from intgrad.audit.lipschitz import (
    jump,
    kink,
    lipschitz_bound,
    local_lipschitz,
    smoothed,
    smoothness,
)
from nets import noise, relu_mlp, untouched
from strategies import points, seeds

D = torch.float64
quick = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def integrated(model, x, target):
    rule = ig.Automatic(rtol=1e-6)
    return ig.attribute(model, x, target=target, quadrature=rule, strict=None)


class Maximum(nn.Module):
    """max(x1, x2) by a ReLU."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, z):
        return (self.relu(z[:, 0] - z[:, 1]) + z[:, 1])[:, None]


def smooth_net(seed, act, width=6):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = nn.Linear(4, width), act(), nn.Linear(width, width), act(), nn.Linear(width, 2)
        return nn.Sequential(*parts).to(D).eval()


@quick
@given(seeds, st.sampled_from([nn.Tanh, nn.Sigmoid, nn.Softplus, nn.GELU, nn.SiLU]))
def test_integrated_gradients_of_smooth_nets_move_no_faster_than_the_bound(seed, act):
    net, x = smooth_net(seed, act), points(seed, 2, 4, D)
    bound = lipschitz_bound(net, x, 1, radius=0.5)
    for radius in (1e-2, 0.5):
        found = local_lipschitz(integrated, net, x, 1, radius=radius, samples=16, seed=seed)
        assert bool((found.each <= bound).all())
        assert bool((found.constant > 0).all())


@pytest.mark.parametrize("act", [nn.Tanh, nn.Sigmoid, nn.Softplus, nn.GELU, nn.SiLU])
def test_the_slopes_of_activations_are_their_largest(act):
    z = torch.linspace(-8, 8, 20001, dtype=D, requires_grad=True)
    (first,) = torch.autograd.grad(act()(z).sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), z)
    known = smoothness(nn.Sequential(act()))
    assert 0.999 * known.slope <= float(first.detach().abs().max()) <= known.slope * (1 + 1e-12)
    assert 0.999 * known.bend <= float(second.abs().max()) <= known.bend * (1 + 1e-12)


def test_softplus_bends_by_its_beta():
    assert smoothness(nn.Sequential(nn.Softplus(8.0))).bend == 2
    soft = smoothed(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)), beta=10)
    twice = smoothed(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)), beta=20)
    assert smoothness(soft).bend > 0
    assert isinstance(twice[1], nn.Softplus)


def test_a_linear_model_moves_as_its_weights_say():
    net, x = nn.Sequential(nn.Linear(4, 1)).to(D), noise(2, 4, dtype=D)
    weight = net[0].weight.detach().abs()
    found = local_lipschitz(integrated, net, x, radius=0.1, samples=400)
    assert bool((found.each <= weight * (1 + 1e-6)).all())
    assert bool((found.each >= 0.85 * weight).all())
    assert bool((found.constant <= weight.max() * (1 + 1e-6)).all())
    assert smoothness(net).bend == 0
    assert float(lipschitz_bound(net, x).max()) == pytest.approx(float(weight.norm()))


def test_relu_has_no_bound_and_its_twin_has():
    net, x = relu_mlp(0, D), noise(1, 6, dtype=D)
    with pytest.raises(ig.Unsupported, match=r"known for ReLU.*smoothed\(model, beta=50\)"):
        lipschitz_bound(net, x)
    assert bool((lipschitz_bound(smoothed(net, beta=50), x) > 0).all())
    with pytest.raises(ig.Unsupported, match="GELU"):
        smoothness(nn.Sequential(nn.GELU(approximate="tanh")))


def test_the_maximum_jumps_by_twice_its_value():
    found = jump(integrated, Maximum(), torch.ones(1, 2, dtype=D))
    assert found.size == pytest.approx(2)  # from (1, 0) to (0, 1), whose norm is 1
    assert not found.holds
    assert found.worst["from x"] < 1e-6
    ends = sorted([found.worst["found"], found.worst["beyond"]])
    assert ends == [pytest.approx([0, 1], abs=1e-6), pytest.approx([1, 0], abs=1e-6)]


def test_a_jump_is_found_at_a_distance_and_not_beyond_it():
    x = torch.tensor([[1.0, 1.1]], dtype=D)
    length = float(x.norm())
    away = 0.1 / 2**0.5  # to the diagonal
    assert not jump(integrated, Maximum(), x, radius=3 * away / length).holds
    assert jump(integrated, Maximum(), x, radius=0.9 * away / length).holds


@pytest.mark.parametrize("seed", range(2))
def test_smooth_nets_do_not_jump(seed):
    net, x = smooth_net(seed, nn.Tanh), noise(1, 4, seed=seed, dtype=D)
    assert jump(integrated, net, x, 0).holds
    assert jump(integrated, smoothed(Maximum(), beta=20), torch.ones(1, 2, dtype=D)).holds


def test_a_path_along_a_kink_is_named():
    with untouched(Maximum()):
        found = kink(Maximum(), torch.ones(1, 2, dtype=D))
    assert (found.size, found.holds) == (1.0, False)
    assert found.worst["module"] == "relu"
    assert "runs along a kink of 'relu'" in found.note
    assert kink(Maximum(), torch.tensor([[1.0, 1.1]], dtype=D)).holds


def test_a_path_that_runs_along_a_kink_for_a_part_of_its_way():
    class Later(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.ReLU(), nn.ReLU()

        def forward(self, z):  # 0 until the features are one half, then along the diagonal
            late = self.first(z - 0.5)
            return self.second(late[:, :1] - late[:, 1:])

    found = kink(Later(), torch.ones(1, 2, dtype=D))
    assert found.worst["module"] == "second"
    assert 0.45 < found.size < 0.55


def test_crossing_kinks_and_units_that_nothing_acts_on_are_no_warning():
    net, x = relu_mlp(0, D), noise(3, 6, dtype=D)
    with untouched(net):
        assert kink(net, x).holds
    dead = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU()).to(D)
    nn.init.zeros_(dead[0].weight)
    assert kink(dead, torch.ones(1, 2, dtype=D)).holds

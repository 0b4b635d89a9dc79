"""Hand-checkable answers: integrated gradients where the truth is known on paper."""

import math
from itertools import pairwise

import pytest
import torch

import intgrad as ig

D = torch.float64
DENSE = ig.GaussLegendre(64)


def row(*numbers):
    return torch.tensor([numbers], dtype=D)


def between(f, x, kinks=(), start=None, **parts):
    """Integrated gradients as an exact sum over the stretches between known kinks."""
    total, edges = 0, [0.0, *kinks, 1.0]
    start = torch.zeros_like(x) if start is None else start
    for a, b in pairwise(edges):
        ends = start + a * (x - start), start + b * (x - start)
        total = total + ig.attribute(f, ends[1], baseline=ends[0], quadrature=DENSE, **parts).values
    return total


def first(x):
    return torch.relu(torch.relu(x[:, 0]) - 1 - torch.relu(x[:, 1]))


def second(x):
    return torch.relu(torch.relu(x[:, 0] - 1) - torch.relu(x[:, 1]))


@pytest.mark.parametrize("net", [first, second])
def test_equal_functions_get_equal_attributions_whatever_their_wiring(net):
    # kinks at t = 1/3 (x1 = 1) and t = 1/2 (x1 - 1 = x2)
    values = between(net, row(3, 1), kinks=(1 / 3, 1 / 2))
    assert torch.allclose(values, row(1.5, -0.5), atol=1e-12)


def test_the_two_wirings_agree_at_every_fixed_rule():
    x = row(3, 1)
    for rule in (ig.GaussLegendre(7), ig.Midpoint(9), ig.LeftRiemann(11), ig.Trapezoid(5)):
        a, b = (
            ig.attribute(f, x, quadrature=rule.__class__(rule.nodes, rtol=9.0))
            for f in (first, second)
        )
        assert torch.equal(a.values, b.values)


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
def test_a_residual_of_zero_is_no_proof():
    # the gradient (1, 0) of guided backpropagation: each feature wrong by 0.5, the sum right
    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g.clamp(min=0) * (x > 0)

    def guided(x):
        return Guided.apply(Guided.apply(x[:, 0]) - 1 - Guided.apply(x[:, 1]))

    x, start = row(3, 1), row(2, 1)
    a = ig.attribute(guided, x, baseline=start, quadrature=ig.At(1.0))
    assert torch.equal(a.values, row(1, 0))
    wide = ig.attribute(guided, x, baseline=row(2, 0.5), quadrature=ig.Midpoint(3))
    assert wide.values[0, 1] == 0  # and yet the true partial derivative is -1


def test_saturation_is_seen_through():
    f = lambda x: 1 - torch.relu(1 - x[:, 0])  # noqa: E731
    assert torch.allclose(between(f, row(2.0), kinks=(0.5,)), row(1.0), atol=1e-12)
    gradient = ig.methods.gradient_x_input()(f, row(2.0))
    assert gradient.values.item() == 0


def test_a_product_is_shared_and_a_sum_is_not():
    f = lambda x: x[:, 0] * x[:, 1] + x[:, 2]  # noqa: E731
    a = ig.attribute(f, row(1, 1, 1))
    assert torch.allclose(a.values, row(0.5, 0.5, 1), atol=1e-12)
    b = ig.attribute(f, row(1, 1, 2))
    assert b.values[0, 0] == b.values[0, 1]


@pytest.mark.parametrize("powers", [(1, 2, 3), (4, 1, 0), (2, 2, 5)])
def test_a_monomial_is_shared_by_its_powers(powers):
    x, m = row(1.5, -2.0, 0.7), torch.tensor(powers, dtype=D)
    f = lambda x: (x**m).prod(1)  # noqa: E731
    a = ig.attribute(f, x)
    assert torch.allclose(a.values, m / m.sum() * f(x)[:, None], atol=1e-9)


@pytest.mark.parametrize(("shift", "expected"), [(1e-3, (1.001, 0.0)), (-1e-3, (0.0, 1.0))])
def test_the_maximum_makes_attribution_jump(shift, expected):
    f = lambda x: x.max(1).values  # noqa: E731
    assert torch.allclose(ig.attribute(f, row(1 + shift, 1)).values, row(*expected), atol=1e-12)


def test_conductance_is_the_sum_over_neurons_of_the_layer():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)).double()
    x = torch.randn(4, 3, dtype=D)
    layer = ig.attribute(net, x, target=1, at="0")  # affine below: layer path = pushed path
    gain = net(x)[:, 1] - net(torch.zeros(1, 3, dtype=D))[:, 1]
    assert torch.allclose(layer.values.sum(1), gain, atol=1e-12)


def test_the_error_of_a_single_kink_is_told():
    f = lambda x: torch.relu(x[:, 0] - 0.3)  # noqa: E731
    for nodes in (8, 20, 48, 100):
        a = ig.attribute(f, row(1.0), quadrature=ig.GaussLegendre(nodes, rtol=1.0))
        true = abs(a.values.item() - 0.7) / a.values.item()
        assert a.error.item() >= true / 3


def test_a_spike_between_the_nodes_is_not_called_converged():
    f = lambda x: torch.sigmoid(500 * (x[:, 0] - 0.3017))  # noqa: E731
    for nodes in (5, 11, 21):
        with pytest.warns(ig.NotConverged):
            a = ig.attribute(f, row(1.0), quadrature=ig.GaussLegendre(nodes))
        assert not a.converged
    with pytest.warns(ig.NotConverged):
        missed = ig.attribute(f, row(1.0), quadrature=ig.Midpoint(7))
    assert math.isinf(missed.error.item()) or missed.error.item() > 0.5


def test_the_residual_bounds_the_error_from_below():
    f = lambda x: torch.sigmoid(500 * (x[:, 0] - 0.3017))  # noqa: E731
    with pytest.warns(ig.NotConverged):
        a = ig.attribute(f, row(1.0), quadrature=ig.GaussLegendre(6))
    assert a.error >= a.residual.abs() / a.values.abs().sum()


def test_a_path_of_zero_length_gives_exactly_zero():
    x = row(1.0, 2.0)
    a = ig.attribute(lambda x: x.square().sum(1), x, baseline=x)
    assert torch.equal(a.values, torch.zeros(1, 2, dtype=D))
    assert a.converged
    assert a.error == 0

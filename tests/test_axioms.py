"""The axioms, as properties of random nets: what makes integrated gradients the one answer."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import nn

import intgrad as ig
from strategies import activations, depths, dtypes, features, mlp, points, rows, seeds

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
pytestmark = pytest.mark.filterwarnings("ignore::intgrad.NotConverged")

RULES = (ig.GaussLegendre(40), ig.Midpoint(40), ig.Trapezoid(40), ig.LeftRiemann(40))


def close(a, b, dtype):
    scale = 1 + max(a.abs().max(), b.abs().max())
    return bool((a - b).abs().max() <= (1e-11 if dtype == torch.float64 else 2e-5) * scale)


@quick
@given(seeds, rows, features, depths, activations, dtypes)
def test_completeness_holds_to_the_certificate(seed, n, inputs, depth, activation, dtype):
    net, x = mlp(seed, inputs, depth, activation, dtype), points(seed, n, inputs, dtype)
    a = ig.attribute(net, x, target=0)
    gain = (net(x) - net(torch.zeros_like(x)))[:, 0]
    assert close(a.values.sum(1) - a.residual.to(dtype), gain, dtype)
    within = a.error * a.values.abs().sum(1) + 1e-5 * (1 + a.output.abs())
    assert bool((a.residual.abs() <= within).all())


@quick
@given(seeds, features, depths, dtypes)
def test_completeness_is_exact_on_smooth_nets(seed, inputs, depth, dtype):
    net, x = mlp(seed, inputs, depth, "tanh", dtype), points(seed, 3, inputs, dtype)
    a = ig.attribute(net, x, target=1, quadrature=ig.GaussLegendre(48))
    assert a.residual.abs().max() <= (1e-10 if dtype == torch.float64 else 1e-5)


@quick
@given(seeds, features, depths, activations, dtypes)
def test_linearity(seed, inputs, depth, activation, dtype):
    f, g = (mlp(seed + k, inputs, depth, activation, dtype) for k in (0, 1))
    x = points(seed, 2, inputs, dtype)
    for rule in RULES:
        a, b, both = (
            ig.attribute(m, x, target=0, quadrature=rule).values
            for m in (f, g, lambda z: 2 * f(z) - 3 * g(z))
        )
        assert close(2 * a - 3 * b, both, dtype)


@quick
@given(seeds, features, depths, activations, dtypes)
def test_a_feature_the_model_ignores_gets_exactly_zero(seed, inputs, depth, activation, dtype):
    net, x = mlp(seed, inputs, depth, activation, dtype), points(seed, 2, inputs + 1, dtype)
    a = ig.attribute(lambda z: net(z[:, 1:]), x, target=0)
    assert torch.equal(a.values[:, 0], torch.zeros(2, dtype=a.values.dtype))


@quick
@given(seeds, features, depths, activations)
def test_symmetric_features_with_equal_values_get_equal_attributions(seed, inputs, depth, act):
    net, x = (
        mlp(seed, inputs + 1, depth, act, torch.float64),
        points(seed, 2, inputs + 1, torch.float64),
    )
    x = torch.cat([x[:, :1], x], 1)  # features 0 and 1 are equal

    def symmetric(z):
        flipped = torch.cat([z[:, 1:2], z[:, :1], z[:, 2:]], 1)
        return net(z[:, 1:]) + net(flipped[:, 1:])

    a = ig.attribute(symmetric, x, target=0)
    assert close(a.values[:, 0], a.values[:, 1], torch.float64)


@quick
@given(seeds, features, depths)
def test_implementation_invariance_under_rewiring(seed, inputs, depth):
    net, x = mlp(seed, inputs, depth, "relu", torch.float64), points(seed, 2, inputs, torch.float64)
    twin = mlp(seed, inputs, depth, "relu", torch.float64)
    with torch.no_grad():
        for i in range(0, 2 * depth, 2):
            order, scale = torch.randperm(7), torch.rand(7).double() + 0.5
            twin[i].weight.copy_(twin[i].weight[order] * scale[:, None])
            twin[i].bias.copy_(twin[i].bias[order] * scale)
            twin[i + 2].weight.copy_(twin[i + 2].weight[:, order] / scale)
    for rule in RULES:
        a, b = (ig.attribute(m, x, target=2, quadrature=rule).values for m in (net, twin))
        assert (a - b).abs().max() <= 1e-9


@quick
@given(seeds, features, depths, activations)
def test_affine_scale_invariance(seed, inputs, depth, activation):
    net, x = (
        mlp(seed, inputs, depth, activation, torch.float64),
        points(seed, 2, inputs, torch.float64),
    )
    scale, shift = (
        points(seed + 1, 2, inputs, torch.float64).abs()[:1] + 0.5,
        x.mean(0, keepdim=True),
    )
    start = points(seed + 2, 1, inputs, torch.float64)
    a = ig.attribute(net, x, target=0, baseline=start)
    b = ig.attribute(
        lambda z: net((z - shift) / scale),
        x * scale + shift,
        target=0,
        baseline=start * scale + shift,
    )
    assert (a.values - b.values).abs().max() <= 1e-9


@quick
@given(seeds, features, depths, activations, dtypes)
def test_a_linear_model_is_exact_at_any_rule_and_number_of_nodes(seed, inputs, depth, act, dtype):
    w, x = points(seed, 3, inputs, dtype), points(seed + 1, 2, inputs, dtype)
    for rule in (
        ig.GaussLegendre(1),
        ig.LeftRiemann(3),
        ig.RightRiemann(4),
        ig.Midpoint(2),
        ig.Trapezoid(2),
    ):
        a = ig.attribute(lambda z: z @ w.T, x, target=1, quadrature=rule)
        assert close(a.values, x * w[1], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_inputs_are_complete_together(dtype):
    class Two(nn.Module):
        def forward(self, a, b):
            return (a.sum((1, 2)) * b.prod(1))[:, None]

    a, b = torch.rand(3, 2, 2, dtype=dtype), torch.rand(3, 4, dtype=dtype)
    found = ig.attribute(Two(), (a, b))
    total = found.values[0].sum((1, 2)) + found.values[1].sum(1)
    assert torch.allclose(total, Two()(a, b)[:, 0], atol=1e-5)
    by_name = ig.attribute(lambda a, b: Two()(a, b), {"a": a, "b": b})
    assert torch.equal(by_name.values["b"], found.values[1])

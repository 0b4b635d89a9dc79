"""Fixed rules: degree, order, weights, and errors that are honest."""

import itertools

import numpy as np
import pytest
import torch

import intgrad as ig
from intgrad.quadrature.gauss import tables
from intgrad.quadrature.patterson import SIZES, Patterson, nested
from intgrad.quadrature.riemann import linear_weights
from strategies import mlp, points

D = torch.float64
UNIFORM = (ig.LeftRiemann, ig.RightRiemann, ig.Midpoint, ig.Trapezoid)
pytestmark = pytest.mark.filterwarnings("ignore::intgrad.NotConverged")


def integral_of(derivative, rule):
    """The rule's answer for the integral of `derivative` over [0, 1], through the whole engine."""

    class F(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x[:, 0] * 0

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g[:, None] * derivative(x)

    return ig.attribute(F.apply, torch.ones(1, 1, dtype=D), quadrature=rule, check=False)


@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 12, 48])
def test_gauss_integrates_polynomials_to_twice_its_nodes(nodes):
    for degree in range(2 * nodes):
        a = integral_of(lambda t, k=degree: t**k, ig.GaussLegendre(nodes))
        assert abs(a.values.item() - 1 / (degree + 1)) < 1e-13


@pytest.mark.parametrize(
    ("rule", "degree"), [*((r, 0) for r in UNIFORM), (ig.Midpoint, 1), (ig.Trapezoid, 1)]
)
@pytest.mark.parametrize("nodes", [2, 3, 10, 51])
def test_uniform_rules_integrate_polynomials_to_their_degree(rule, degree, nodes):
    a = integral_of(lambda t: t**degree, rule(nodes))
    assert abs(a.values.item() - 1 / (degree + 1)) < 1e-14


@pytest.mark.parametrize("rule", UNIFORM)
@pytest.mark.parametrize("nodes", [2, 5, 50, 300])
def test_weights_sum_to_one_so_a_linear_model_is_exact(rule, nodes):
    # Captum's riemann_trapezoid is 2 % low here at 50 nodes, 50 % at 2
    w = torch.tensor([[2.0, -1.0, 0.5]], dtype=D)
    a = ig.attribute(lambda x: (x * w).sum(1), torch.ones(1, 3, dtype=D), quadrature=rule(nodes))
    assert torch.allclose(a.values, w, atol=1e-14)


@pytest.mark.parametrize(
    ("rule", "order"),
    [(ig.LeftRiemann, 1), (ig.RightRiemann, 1), (ig.Midpoint, 2), (ig.Trapezoid, 2)],
)
def test_order_of_convergence_on_a_smooth_curve(rule, order):
    truth = (torch.exp(torch.tensor(1.0, dtype=D)) - 1).item()
    errors = [abs(integral_of(torch.exp, rule(n)).values.item() - truth) for n in (20, 40, 80)]
    rates = [torch.log2(torch.tensor(a / b)).item() for a, b in itertools.pairwise(errors)]
    assert all(abs(r - order) < 0.1 for r in rates)


@pytest.mark.parametrize("nodes", [1, 2, 3, 7, 48, 301, 1000])
def test_nodes_and_weights_are_those_of_numpy(nodes):
    x, w = np.polynomial.legendre.leggauss(nodes)
    t, weight, _ = tables(nodes)
    assert np.abs(t.numpy() - (x + 1) / 2).max() < 1e-15
    assert np.abs(weight.numpy() - w / 2).max() < 1e-13  # numpy loses digits too


@pytest.mark.parametrize("nodes", [3, 4, 9, 48])
def test_null_rules_vanish_on_polynomials_and_are_as_long_as_the_rule(nodes):
    t, w, null = tables(nodes)
    for degree in range(nodes - 2):
        assert (null * (t**degree)[:, None]).sum(0).abs().max() < 1e-14
    assert torch.allclose(null.norm(dim=0), w.norm().expand(2))


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("nodes", [3, 4, 7, 20])
def test_the_comparison_rule_is_exact_for_lines(nodes, shift):
    t = (torch.arange(nodes, dtype=D) + shift) / nodes
    for every in (1, 2):
        weight = linear_weights(t, every)
        assert torch.allclose(weight.sum(), torch.tensor(1.0, dtype=D))
        assert torch.allclose((weight * t).sum(), torch.tensor(0.5, dtype=D))


def honesty(rule, net, x, target):
    truth = ig.attribute(net, x, target=target, quadrature=ig.Midpoint(4000)).values
    a = ig.attribute(net, x, target=target, quadrature=rule)
    true = (a.values - truth).abs().sum(1) / a.values.abs().sum(1)
    return a.error / true.clamp(min=1e-12)


@pytest.mark.parametrize("target", [0, ig.Probability(0)], ids=["logit", "probability"])
@pytest.mark.parametrize("rule", [ig.GaussLegendre, *UNIFORM])
@pytest.mark.parametrize("nodes", [12, 48])
def test_the_error_of_kinked_nets_is_honest(rule, nodes, target):
    net, x = mlp(1, 20, 3, "relu", D), points(1, 40, 20, D)
    ratio = honesty(rule(nodes), net, x, target)
    assert ratio.median() >= 0.8
    assert ratio.min() >= 1 / 3  # no row's error is understated threefold
    assert ratio.median() <= 4  # and none is cried up out of use


@pytest.mark.parametrize("rule", [ig.LeftRiemann, ig.Midpoint, ig.Trapezoid])
def test_the_error_of_smooth_nets_is_honest(rule):
    net, x = mlp(2, 20, 3, "gelu", D), points(2, 10, 20, D)
    ratio = honesty(rule(30), net, x, 0)
    assert ratio.min() >= 0.5


def test_gauss_on_smooth_nets_reaches_rounding_and_says_so():
    net, x = mlp(2, 20, 3, "gelu", D), points(2, 10, 20, D)
    a = ig.attribute(net, x, target=0, quadrature=ig.GaussLegendre(48))
    b = ig.attribute(net, x, target=0, quadrature=ig.GaussLegendre(96))
    assert (a.values - b.values).abs().max() < 1e-12
    assert a.error.max() < 1e-8
    assert a.converged.all()


def test_too_few_nodes_say_that_the_error_is_unknown():
    net, x = mlp(2, 4, 1, "relu", D), points(2, 2, 4, D)
    for rule in (ig.GaussLegendre(2), ig.Midpoint(2)):
        with pytest.warns(ig.NotConverged, match="not known"):
            a = ig.attribute(net, x, target=0, quadrature=rule)
        assert torch.isnan(a.error).all()
        assert not a.converged.any()
        assert "unknown" in repr(a)


def test_doubling_repeats_only_rows_that_miss_the_tolerance():
    net, x = mlp(4, 8, 2, "relu", D), points(4, 12, 8, D)
    x[0] = 0  # no path: done at once
    rule = ig.GaussLegendre(24, rtol=5e-3, max_nodes=24 * 64)
    a = ig.attribute(net, x, target=0, quadrature=rule)
    assert a.converged.all()
    assert a.backwards.min() == 24 + 1
    assert a.backwards.max() > 48
    truth = ig.attribute(net, x, target=0, quadrature=ig.Midpoint(20000)).values
    true = (a.values - truth).abs().sum(1) / a.values.abs().sum(1).clamp(min=1e-12)
    assert true.max() <= 5e-3


def test_memory_does_not_grow_with_nodes():
    net, x = mlp(4, 3, 1, "relu", D), points(4, 2, 3, D)
    seen = []

    def watched(z):
        seen.append(len(z))
        return net(z)

    ig.attribute(watched, x, target=0, quadrature=ig.Midpoint(3000), width=16)
    assert max(seen) == 16


# ------------------------------------------------------------------------------ Gauss-Patterson


def laid(size):
    """Nodes of the rule of so many, and its columns: weights and two null rules."""
    count = SIZES.index(size) + 1
    parts = nested(count)
    return torch.cat([t for t, _ in parts]), torch.cat([w[:, -3:] for _, w in parts])


@pytest.mark.parametrize(("size", "degree"), [(7, 11), (15, 23), (31, 47), (63, 95)])
def test_patterson_is_exact_half_as_far_again_as_it_has_nodes(size, degree):
    t, columns = laid(size)
    assert len(t) == size
    x = 2 * t.numpy() - 1
    values = np.polynomial.legendre.legvander(x, degree)
    off = columns[:, 0].numpy() @ values
    assert off[0] == pytest.approx(1, abs=1e-14)
    assert np.abs(off[1:]).max() < 1e-12
    assert (columns[:, 0] > 0).all()


def test_patterson_s_nodes_are_the_published_ones():
    x = 2 * laid(15)[0].sort().values - 1
    published = [0.888459232872257, 0.960491268708020, 0.993831963212755]
    assert x[-3:].tolist() == pytest.approx(published, abs=1e-14)


@pytest.mark.parametrize("size", [7, 15, 31, 63])
def test_patterson_s_null_rules_vanish_on_polynomials_and_are_as_long_as_the_rule(size):
    t, columns = laid(size)
    values = np.polynomial.legendre.legvander(2 * t.numpy() - 1, size - 3)
    assert np.abs(columns[:, 1:].numpy().T @ values).max() < 1e-13
    assert torch.allclose(columns.norm(dim=0), columns[:, 0].norm().expand(3))


def test_patterson_asks_no_node_twice_and_each_row_as_often_as_it_needs():
    net, x = mlp(2, 20, 3, "gelu", D), points(2, 12, 20, D)
    x[:4] *= 8
    seen = []
    watched = lambda z: seen.append(z.detach().clone()) or net(z)  # noqa: E731
    a = ig.attribute(watched, x, target=0, quadrature=Patterson(rtol=1e-6), check=False)
    size = torch.tensor([int(rule.split()[1]) for rule in a.rules])
    assert set(size.tolist()) <= set(SIZES)
    assert len(set(size.tolist())) > 1
    beside = a.backwards - size  # the floor's, where it is asked
    assert beside.min() >= 0
    assert beside.max() <= 1
    every = torch.cat(seen)
    assert len(torch.unique(every, dim=0)) >= int(size.sum())
    alone = ig.attribute(net, x[3:4], target=0, quadrature=Patterson(rtol=1e-6))
    assert alone.backwards[0] == a.backwards[3]
    assert torch.allclose(alone.values, a.values[3:4], rtol=1e-12)


@pytest.mark.parametrize("target", [0, ig.Probability(0)], ids=["logit", "probability"])
@pytest.mark.parametrize("size", [7, 15, 31])
def test_the_error_of_patterson_is_honest(size, target):
    net, x = mlp(2, 20, 3, "tanh", D), 3 * points(2, 40, 20, D)
    truth = ig.attribute(net, x, target=target, quadrature=ig.GaussLegendre(400)).values
    a = ig.attribute(net, x, target=target, quadrature=Patterson(1e-9, size), strict=None)
    true = (a.values - truth).abs().sum(1) / truth.abs().sum(1)
    seen = true > 1e-10
    assert bool(seen.any())
    assert (a.error / true)[seen].min() >= 1 / 3


def test_a_row_that_will_not_come_near_is_left_early():
    steep = lambda z: torch.sigmoid(4000 * (z[:, :1] - 0.3137))  # noqa: E731
    x = torch.ones(1, 2, dtype=D)
    with pytest.warns(ig.NotConverged):
        a = ig.attribute(steep, x, quadrature=Patterson(rtol=1e-2))
    assert a.backwards[0] < 63
    assert ig.attribute(steep, x).converged.all()  # the default goes on by another rule


def test_patterson_has_four_sizes():
    with pytest.raises(ig.InputError, match="expected 7, 15, 31 or 63"):
        Patterson(max_nodes=16)
    with pytest.raises(ig.Unsupported, match="cut no panels"):
        ig.methods.idgi(quadrature=Patterson())(mlp(2, 4, 1, "relu", D), points(2, 1, 4, D))

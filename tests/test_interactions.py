"""Integrated Hessians: closed forms, axioms, the exact rule of kinks, the search, the refusals."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import intgrad as ig
from intgrad.interactions.rule import gauss
from nets import attention_net, conv_net, gelu_mlp, noise, relu_mlp, tiny_transformer, untouched

D = torch.float64
fewer = settings(max_examples=25, deadline=None)


def ask(f, x, **how):
    """Values, which must have converged."""
    found = ig.interactions(f, x, strict=True, **how)
    assert bool(found.converged.all())
    return found


def matrix(f, x, **how):
    return ask(f, x, **how).values


# ------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize("n", [1, 2, 3, 6, 12, 24, 40, 64])
@pytest.mark.parametrize(("kind", "power"), [("curvature", 2), ("slope", 1)])
def test_a_rule_has_the_moments_of_its_weight(kind, power, n):
    rule, k = gauss(kind, n), torch.arange(2 * n, dtype=D)
    found = (rule.weights[:, None] * rule.nodes[:, None] ** k).sum(0)
    assert torch.allclose(found, 1 / (k + power) ** 2, rtol=1e-13, atol=1e-16)
    assert bool((rule.weights > 0).all())
    assert bool((rule.nodes.diff() > 0).all())
    assert rule.nodes[0] > 0
    assert rule.nodes[-1] < 1


def test_two_nodes_are_those_of_the_tables():
    assert gauss("curvature", 2).nodes.tolist() == pytest.approx([0.23581993, 0.69594478], abs=1e-8)
    assert gauss("slope", 2).weights.tolist() == pytest.approx([0.71853932, 0.28146068], abs=1e-8)


@pytest.mark.parametrize("kind", ["curvature", "slope"])
def test_pieces_add_up_to_the_whole(kind):
    edges, k = [0.0, 0.25, 0.5, 0.75, 1.0], torch.arange(24, dtype=D)
    parts = [gauss(kind, 12, a, b) for a, b in pairwise(edges)]
    moments = lambda r: (r.weights[:, None] * r.nodes[:, None] ** k).sum(0)  # noqa: E731
    whole = moments(gauss(kind, 12))
    assert torch.allclose(sum(moments(p) for p in parts), whole, rtol=1e-13)


def test_null_rules_are_zero_on_lower_degrees():
    rule = gauss("curvature", 8)
    for i, degree in enumerate((7, 6, 5, 4)):
        low = (rule.nulls[:, i, None] * rule.nodes[:, None] ** torch.arange(degree, dtype=D)).sum(0)
        assert low.abs().max() < 1e-15
        assert rule.nulls[:, i].norm() == pytest.approx(float(rule.weights.norm()), rel=1e-12)


# ------------------------------------------------------------------------------------- closed forms


def test_the_product_of_two_is_shared_by_four():
    found = ask(lambda z: z.prod(1), torch.ones(1, 2, dtype=D))
    assert torch.allclose(found.values, torch.full((1, 2, 2), 0.25, dtype=D), atol=1e-9)
    assert torch.allclose(found.attribution, torch.full((1, 2), 0.5, dtype=D), atol=1e-9)
    assert found.values.sum().item() == pytest.approx(1, abs=1e-9)


@fewer
@given(
    st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any),
    st.lists(st.floats(0.5, 2), min_size=3, max_size=3),
)
def test_monomials_share_by_their_exponents(powers, x):
    """phi_j of a monomial from 0 is m_j / M of it, and so again."""
    m, point = torch.tensor(powers, dtype=D), torch.tensor([x], dtype=D)
    found = matrix(lambda z: (z**m).prod(1) + 0 * z.sum(1), point)
    share = m / m.sum()
    true = share[:, None] * share * (point**m).prod()
    assert torch.allclose(found[0], true, rtol=1e-9, atol=1e-12)


def test_one_integral_is_the_double_integral():
    model, x = gelu_mlp(dtype=D), 2 * noise(1, 6, dtype=D)
    f = lambda z: model(z[None])[0, 1]  # noqa: E731
    rule, (d,) = gauss("flat", 24), x
    true = torch.zeros(6, 6, dtype=D)
    for a, v in zip(rule.nodes, rule.weights, strict=True):
        for b, w in zip(rule.nodes, rule.weights, strict=True):
            curved = torch.func.jacrev(torch.func.grad(f))(a * b * d).detach()
            slope = torch.func.grad(f)(a * b * d).detach()
            true += v * w * (a * b * d[:, None] * d * curved + torch.diag(d * slope))
    assert torch.allclose(matrix(model, x, target=1, rtol=1e-9)[0], true, rtol=1e-8, atol=1e-12)


# ------------------------------------------------------------------------------------- axioms


@pytest.mark.parametrize("target", [ig.Logit(2), ig.Probability(0)])
def test_rows_sum_to_integrated_gradients_and_all_to_the_difference(target):
    model, x, start = gelu_mlp(dtype=D), noise(3, 6, dtype=D), noise(1, 6, seed=1, dtype=D)
    found = ask(model, x, target=target, baseline=start, rtol=1e-8)
    a = ig.attribute(model, x, target=target, baseline=start, quadrature=ig.GaussLegendre(64))
    assert torch.allclose(found.values.sum(2), a.values, atol=1e-10)
    assert torch.allclose(found.attribution, a.values, atol=1e-10)
    assert torch.allclose(found.values.sum((1, 2)), a.output - a.baseline_output, atol=1e-10)
    assert found.residual.abs().max() < 1e-10


@fewer
@given(st.integers(0, 10_000), st.floats(-2, 2), st.floats(-2, 2))
def test_symmetry_linearity_and_dummies(seed, a, b):
    f, g = gelu_mlp(seed, dtype=D, features=4), gelu_mlp(seed + 1, dtype=D, features=4)
    x = torch.cat([noise(2, 4, seed=seed, dtype=D), torch.full((2, 1), 3.0, dtype=D)], 1)
    one, two = (lambda z, m=m: m(z[:, :4])[:, 0] for m in (f, g))
    how = {"nodes": 16, "rtol": 1e-6}
    first, second = matrix(one, x, **how), matrix(two, x, **how)
    both = ig.interactions(lambda z: a * one(z) + b * two(z), x, **how).values
    assert torch.allclose(both, a * first + b * second, atol=1e-10)
    assert torch.allclose(first, first.mT, atol=1e-12)
    assert bool((first[:, 4] == 0).all())
    assert bool((first[:, :, 4] == 0).all())


def test_equal_roles_get_equal_shares():
    f = lambda z: torch.tanh(z[:, 0] * z[:, 1] + z[:, 0] + z[:, 1]) * z[:, 2].exp()  # noqa: E731
    found = matrix(f, torch.tensor([[0.7, 0.7, 0.3]], dtype=D), rtol=1e-6)[0]
    swapped = found[[1, 0, 2]][:, [1, 0, 2]]
    assert torch.allclose(found, swapped, atol=1e-14)


def test_features_that_add_do_not_interact():
    f = lambda z: torch.tanh(z[:, 0]) + torch.exp(z[:, 1]) * z[:, 2]  # noqa: E731
    found = matrix(f, torch.tensor([[1.0, 0.5, 2.0]], dtype=D), rtol=1e-6)[0]
    assert found[0, 1:].abs().max() == 0
    assert found[1, 2] > 0.1


# ------------------------------------------------------------------------------------- groups and rows


def test_groups_are_sums_over_their_features():
    model, x = attention_net(dtype=D), noise(2, 5, 4, dtype=D)
    full = matrix(model, x, target=0, rtol=1e-6).reshape(2, 5, 4, 5, 4)
    words = matrix(model, x, target=0, rtol=1e-6, groups=1)
    columns = matrix(model, x, target=0, rtol=1e-6, groups=-1)
    halves = (torch.arange(20).reshape(5, 4) >= 10).long()
    assert torch.allclose(words, full.sum((2, 4)), atol=1e-7)
    assert torch.allclose(columns, full.sum((1, 3)), atol=1e-7)
    two = matrix(model, x, target=0, rtol=1e-6, groups=halves)
    inside = (halves.flatten()[:, None] == torch.arange(2)).double()
    assert torch.allclose(two, inside.T @ full.reshape(2, 20, 20) @ inside, atol=1e-7)


def test_chosen_rows_are_rows_of_the_matrix_and_cost_less():
    model, x = gelu_mlp(dtype=D), noise(2, 6, dtype=D)
    full, some = ask(model, x, rtol=1e-6), ask(model, x, rtol=1e-6, of=[4, 1])
    assert torch.allclose(some.values, full.values[:, [4, 1]], atol=1e-7)
    assert some.residual is None
    assert some.row_residual.abs().max() < 1e-8
    assert bool((3 * some.products <= full.products).all())


@pytest.mark.parametrize("net", [gelu_mlp, relu_mlp])
def test_several_baselines_give_their_mean(net):
    model, x = net(dtype=D), noise(2, 6, dtype=D)
    starts = ig.Uniform(-1, 1, samples=3)
    found = ask(model, x, target=1, baseline=starts, rtol=1e-7, seed=5)
    points = starts((x,), torch.arange(2), 5).start.points[0][:3]
    each = [matrix(model, x, target=1, baseline=p[None], rtol=1e-7) for p in points]
    assert torch.allclose(found.values, torch.stack(each).mean(0), atol=1e-8)
    assert found.residual.abs().max() < 1e-8


def test_calls_of_one_row_give_the_same():
    model, x = gelu_mlp(dtype=D), noise(3, 6, dtype=D)
    assert torch.allclose(matrix(model, x, width=1), matrix(model, x), atol=1e-13)


def test_words_interact_at_the_embedding():
    model, ids = tiny_transformer(dtype=D), torch.tensor([[3, 9, 4, 9, 2]])
    found = ask(model, ids, at="embedding", groups=1, baseline=ig.MaskToken(0), max_nodes=2000)
    assert found.values.shape == (1, 5, 5)
    assert torch.allclose(found.values, found.values.mT, atol=1e-3)
    a = ig.attribute(model, ids, at="embedding", baseline=ig.MaskToken(0)).sum(-1)
    assert torch.allclose(found.attribution, a.values, atol=0.02)


def test_a_linear_model_has_only_a_diagonal():
    model, x = nn.Linear(3, 1).double(), noise(2, 3, dtype=D)
    found = matrix(model, x)
    assert torch.allclose(found, torch.diag_embed(x * model.weight), atol=1e-13)


def test_nothing_happens_at_the_baseline():
    found = ask(gelu_mlp(dtype=D), torch.zeros(1, 6, dtype=D))
    assert bool((found.values == 0).all())
    assert found.error.item() == 0


# ------------------------------------------------------------------------------------- the certificate


def sharp(scale):
    model = gelu_mlp(dtype=D)
    for p in model.parameters():
        p.data *= scale
    return model


@pytest.mark.parametrize("target", [ig.Logit(0), ig.Probability(0)])
@pytest.mark.parametrize("rtol", [1e-1, 1e-2, 1e-4])
def test_what_it_tells_is_no_less_than_the_error(target, rtol):
    model, x = sharp(4), 2 * noise(4, 6, dtype=D)
    true = matrix(model, x, target=target, rtol=1e-7, max_nodes=4000)
    found = ask(model, x, target=target, rtol=rtol)
    off = (found.values - true).abs().sum((1, 2)) / true.abs().sum((1, 2))
    assert bool((off <= found.error + 1e-9).all())
    assert bool((found.error <= rtol).all())


def test_a_saturated_target_is_cut_into_panels():
    model, x = sharp(6), 2 * noise(4, 6, dtype=D)
    found = ask(model, x, target=ig.Probability(1), rtol=1e-5, max_nodes=4000)
    assert found.products.max() > 6 * (6 + 12)
    assert bool((found.residual.abs() <= 1e-5 * found.values.abs().sum((1, 2))).all())


def test_too_few_nodes_are_told():
    model, x = sharp(6), 2 * noise(2, 6, dtype=D)
    how = {"target": ig.Probability(1), "rtol": 1e-8, "max_nodes": 12}
    with pytest.warns(ig.NotConverged, match="max_nodes"):
        found = ig.interactions(model, x, **how)
    assert not found.converged.any()
    assert "NOT CONVERGED" in repr(found)
    with pytest.raises(ig.NotConverged):
        ig.interactions(model, x, strict=True, **how)


def test_the_cost_is_what_it_says():
    found = ask(lambda z: z.prod(1), torch.ones(2, 3, dtype=D))
    assert found.products.tolist() == [18, 18]
    # 6 nodes with 3 products, counted twice, and twice 6 gradients; f(x), f(baseline) and no more
    assert bool((found.backwards == 6 * (1 + 2 * 3) + 2 * 6).all())
    assert "18 of its Hessian-vector products" in repr(found)


def test_the_model_is_left_as_it_was():
    for model in (gelu_mlp(dtype=D), relu_mlp(dtype=D)):
        with untouched(model):
            ig.interactions(model, noise(2, 6, dtype=D))


# ------------------------------------------------------------------------------------- kinks


def layer_by_hand(w, b, c, d):
    """One hidden layer of ReLU from 0 to d, unit by unit."""
    z, rate = b, w @ d
    total = torch.zeros(len(d), len(d), dtype=D)
    for unit in range(len(b)):
        t = float(-z[unit] / rate[unit]) if rate[unit] != 0 else -1.0
        crosses = 0 < t < 1
        low, high = (t, 1.0) if crosses and rate[unit] > 0 else (0.0, t if crosses else 1.0)
        if not crosses and float(z[unit] + rate[unit] / 2) <= 0:
            continue
        own = c[unit] * d * w[unit]
        area = lambda u: u - u * math.log(u) if u > 0 else 0.0  # noqa: E731
        total += torch.diag(own) * (area(high) - area(low))
        if crosses:
            total += -t * math.log(t) * torch.outer(own, d * w[unit]) / abs(float(rate[unit]))
    return total


@pytest.mark.parametrize("seed", range(5))
def test_a_layer_of_relu_is_exact_unit_by_unit(seed):
    net = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 1)).double()
    net.requires_grad_(False)
    net[0].weight.copy_(noise(12, 4, seed=seed, dtype=D))
    net[0].bias.copy_(noise(12, seed=seed + 50, dtype=D))
    x = noise(1, 4, seed=seed + 99, dtype=D)
    true = layer_by_hand(net[0].weight, net[0].bias, net[2].weight[0], x[0])
    found = ask(net, x)
    assert torch.allclose(found.values[0], true, atol=1e-12)
    assert found.residual.abs().max() < 1e-12


def test_units_that_cross_together_are_told_apart():
    """Equal pixels, and hidden units that look at one or two of them: half of them cross together."""
    w = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 0], [1, 1, 0], [0, -1, 0]], dtype=D)
    b = torch.tensor([-0.5, -0.5, -0.5, -1.0, -1.0, 0.5], dtype=D)
    c = torch.tensor([[1.0, -2.0, 3.0, 0.5, 1.5, -1.0]], dtype=D)
    net = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 1)).double().requires_grad_(False)
    for into, what in ((net[0].weight, w), (net[0].bias, b), (net[2].weight, c)):
        into.copy_(what)
    x = torch.ones(1, 3, dtype=D)
    found = ask(net, x)
    assert torch.allclose(found.values[0], layer_by_hand(w, b, c[0], x[0]), atol=1e-10)
    assert found.residual.abs().max() < 1e-10


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_two_hinges_at_one_place_do_not_interact(sign):
    f = lambda z: torch.relu(z[:, 0] - 0.5) + sign * torch.relu(z[:, 1] - 0.5)  # noqa: E731
    found = matrix(f, torch.ones(1, 2, dtype=D))[0]
    assert found[0, 1].abs() < 1e-12
    assert found.diagonal().tolist() == pytest.approx([0.5, 0.5 * sign], abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_relu_network_adds_up(seed):
    model, x = relu_mlp(seed, dtype=D), 3 * noise(3, 6, seed=seed, dtype=D)
    found = ask(model, x)
    a = ig.attribute(model, x, quadrature=ig.Exact())
    scale = found.values.abs().sum((1, 2))
    assert bool((found.residual.abs() <= 1e-10 * scale).all())
    assert torch.allclose(found.values.sum(2), a.values, atol=1e-10)
    assert torch.allclose(found.values, found.values.mT, atol=1e-12)
    assert found.products.tolist() == [0, 0, 0]


def small_cnn(pool):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), pool, nn.Conv2d(4, 4, 3)
        return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).double().eval()


def test_max_pools_add_up():
    found = ask(small_cnn(nn.MaxPool2d(2)), noise(2, 1, 8, 8, dtype=D))
    assert bool((found.residual.abs() <= 1e-10 * found.values.abs().sum((1, 2))).all())
    assert torch.allclose(found.values, found.values.mT, atol=1e-12)


def test_flat_pictures_are_the_limit_of_others():
    """Equal patches make dozens of units cross together; a little noise makes them cross alone."""
    net = small_cnn(nn.AvgPool2d(2))
    block = noise(1, 1, 4, 4, dtype=D).abs().round()
    x = torch.cat([torch.ones(1, 1, 8, 8), block.repeat_interleave(2, 2).repeat_interleave(2, 3)])
    found = ask(net, x, target=0)
    scale = found.values.abs().sum((1, 2))
    assert bool((found.residual.abs() <= 1e-10 * scale).all())
    near = matrix(net, x * (1 + 1e-7 * noise(2, 1, 8, 8, seed=1, dtype=D)), target=0)
    assert bool(((found.values - near).abs().sum((1, 2)) <= 1e-5 * scale).all())


def test_ties_along_the_whole_line_are_refused():
    net, x = small_cnn(nn.MaxPool2d(2)), torch.ones(1, 1, 8, 8, dtype=D)
    with pytest.raises(ig.Unsupported, match="Add noise to the baseline"):
        ig.interactions(net, x)
    found = ask(net, x, baseline=1e-3 * noise(1, 1, 8, 8, dtype=D))
    assert found.residual.abs().max() < 1e-10


def test_too_many_regions_are_refused():
    with pytest.raises(ig.Unsupported, match="max_regions=4"):
        ig.interactions(relu_mlp(dtype=D), 3 * noise(1, 6, dtype=D), max_regions=4)


def test_soft_twins_approach_the_exact_answer():
    model, x = relu_mlp(1, dtype=D), 3 * noise(1, 6, seed=1, dtype=D)
    exact = ask(model, x, target=0).values
    off = []
    for beta in (10, 100, 1000):
        twin = matrix(ig.softened(model, beta), x, target=0, rtol=1e-3, max_nodes=20_000)
        off.append(float((twin - exact).abs().sum() / exact.abs().sum()))
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.05


def test_a_model_of_float32_is_explained_in_float64():
    model, x = relu_mlp(), noise(2, 6)
    with pytest.raises(ig.Unsupported, match="dtype='float64'"):
        ig.interactions(model, x)
    found = ask(model, x, dtype="float64")
    assert found.dtype == "float64"
    assert torch.allclose(found.values, matrix(relu_mlp(dtype=D), x.double()), atol=1e-6)


def test_kinks_beside_curves_are_refused_and_without_a_check_told():
    model, x = relu_mlp(dtype=D), 3 * noise(2, 6, dtype=D)
    with pytest.raises(ig.Unsupported, match=r"softmax as well.*softened"):
        ig.interactions(model, x, target=ig.Probability(0))
    with pytest.raises(ig.Unsupported, match=r"gelu.*logsumexp"):
        ig.interactions(conv_net(dtype=D), noise(1, 3, 8, 8, dtype=D), groups=1)
    with pytest.warns(ig.NotConverged):
        ig.interactions(model, x, target=ig.Probability(0), check=False)


def test_softening_exchanges_every_relu_of_a_copy():
    shared = nn.ReLU()
    model = nn.Sequential(nn.Linear(3, 3), shared, nn.Sequential(nn.Linear(3, 2), shared))
    twin = ig.softened(model, 30)
    kinds = [type(m).__name__ for m in twin.modules()]
    assert kinds.count("Softplus") == 2
    assert "ReLU" not in kinds
    assert isinstance(model[1], nn.ReLU)
    x = noise(4, 3)
    assert (twin(x) - model(x)).abs().max() < 0.2
    assert type(ig.softened(nn.ReLU())).__name__ == "Softplus"
    with pytest.raises(ig.Unsupported, match=r"no nn\.ReLU"):
        ig.softened(gelu_mlp())
    with pytest.raises(ig.InputError, match="beta"):
        ig.softened(model, 0)


# ------------------------------------------------------------------------------------- planted pairs

PLANTED = {
    "tanhsum": lambda a, b: torch.tanh(a + b),
    "cossum": lambda a, b: torch.cos(a + b),
    "multiply": lambda a, b: a * b,
    "max": lambda a, b: torch.logsumexp(20 * torch.stack([a, b]), 0) / 20,
    "min": torch.minimum,
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_pair_comes_first(name):
    """The simulated interactions of the paper: one pair among features that only add."""
    weight = torch.linspace(-2, 2, 8, dtype=D)
    f = lambda z: PLANTED[name](z[:, 2], z[:, 5]) + z @ weight  # noqa: E731
    x = torch.linspace(0.4, 1.3, 16, dtype=D).reshape(2, 8)
    start = torch.linspace(0.9, -0.4, 8, dtype=D)[None]
    found = ask(f, x, baseline=start, rtol=1e-5)
    for row in range(2):
        (i, j, value, error), (*_, second, _) = found.pairs(row, 2)
        assert (i, j) == (2, 5)
        assert abs(value) > 1e-3
        assert abs(second) < 1e-10
        assert error < 0.02 * abs(value) + 1e-9


def test_the_search_finds_the_pairs_and_asks_for_less():
    f = lambda z: torch.tanh(2 * z[:, 3] * z[:, 77]) + torch.sigmoid(z[:, 50] + 2 * z[:, 20])  # noqa: E731
    x = torch.linspace(0.5, 1.5, 200, dtype=D).reshape(2, 100)
    full, found = ask(f, x), ask(f, x, top=2)
    for row in range(2):
        strong = [(i, j) for i, j, *_ in found.pairs(row, 2)]
        assert strong == [(i, j) for i, j, *_ in full.pairs(row, 2)] == [(3, 77), (20, 50)]
    assert bool((3 * found.products < full.products).all())
    assert torch.allclose(found.values, full.values[:, found.of], atol=1e-3)
    assert found.of.tolist() == sorted(found.of.tolist())


def test_the_search_goes_on_until_nothing_stronger_can_be_left():
    """All pairs are alike: no few of them are the strongest, and the sketches know it."""
    found = ask(lambda z: torch.tanh(z.sum(1) / 40), torch.ones(1, 40, dtype=D), top=1)
    assert found.of.tolist() == list(range(40))


# ------------------------------------------------------------------------------------- faces and refusals


def test_it_is_drawn():
    pytest.importorskip("matplotlib")
    found = ask(gelu_mlp(dtype=D), noise(2, 6, dtype=D), of=[0, 3])
    figure = found.plot(1, top=4)
    left, right, net = figure.axes[:3]
    assert left.images[0].get_array().shape[:2] == (2, 6)
    assert [t.get_text() for t in left.get_yticklabels()] == ["0", "3"]
    drawn = [p.get_width() for p in right.patches]
    assert drawn == pytest.approx([value for _, _, value, _ in found.pairs(1, 4)])
    lines = [line for line in net.lines if len(line.get_xdata()) == 2]
    assert len(lines) == 4
    widest = max(lines, key=lambda line: line.get_linewidth())
    assert (widest.get_linestyle() == "-") == (found.pairs(1, 1)[0][2] > 0)
    groups = {str(i) for pair in found.pairs(1, 4) for i in pair[:2]}
    assert {t.get_text() for t in net.texts} == groups
    with pytest.raises(ig.InputError, match="row=2"):
        found.plot(2)


def test_groups_are_drawn_by_their_names():
    pytest.importorskip("matplotlib")
    found = ask(gelu_mlp(dtype=D), noise(1, 6, dtype=D))
    names = ["age", "sex", "fare", "$x$", "<b>", "cabin"]
    left, right, net = found.plot(names=names, top=15).axes[:3]
    assert [t.get_text() for t in left.get_yticklabels()] == names
    i, j, *_ = found.pairs(top=1)[0]
    assert right.get_yticklabels()[0].get_text() == f"{names[i]} and {names[j]}"
    assert {t.get_text() for t in net.texts} == set(names)
    with pytest.raises(ig.InputError, match="names has 2 entries; expected 6"):
        found.plot(names=["age", "sex"])


BAD = {
    "several tensors": (lambda a, b: (a + b).sum(1), (torch.ones(1, 2),) * 2, {}, "2 tensors"),
    "all targets": (None, None, {"target": ig.All()}, "4 targets"),
    "an axis": (None, None, {"groups": 2}, "groups=2"),
    "the rows": (None, None, {"groups": 0}, "groups=0"),
    "labels": (None, None, {"groups": torch.zeros(3).long()}, "like one row"),
    "no labels": (None, None, {"groups": torch.zeros(6)}, "whole numbers"),
    "a group": (None, None, {"of": [6]}, "0 to 5"),
    "twice": (None, None, {"of": [1, 1]}, "different"),
    "none": (None, None, {"of": []}, "different"),
    "both": (None, None, {"of": [1], "top": 1}, "of= and top="),
    "rtol": (None, None, {"rtol": 0}, "rtol=0"),
    "nodes": (None, None, {"nodes": 2}, "nodes=2"),
    "most": (None, None, {"max_nodes": 2}, "max_nodes=2"),
    "top": (None, None, {"top": 0}, "top=0"),
    "how many": (None, None, {"baseline": ig.Uniform()}, "samples=16"),
    "half": (lambda z: z.prod(1), torch.ones(1, 2, dtype=torch.bfloat16), {}, "float32 or float64"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_a_sentence(name):
    model, x, how, said = BAD[name]
    with pytest.raises((ig.InputError, ig.Unsupported), match=said) as caught:
        ig.interactions(model or gelu_mlp(), noise(2, 6) if x is None else x, **how)
    assert str(caught.value).endswith((".", ")"))


@pytest.mark.parametrize("net", [gelu_mlp, relu_mlp])
def test_a_compiled_model_runs_as_what_it_was_made_of(net):
    model, x = net(dtype=D), noise(2, 6, dtype=D)
    found = ask(torch.compile(model, backend="aot_eager"), x)
    assert torch.allclose(found.values, matrix(model, x), atol=1e-14)


def test_a_backward_that_cannot_be_differentiated_is_told():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0]

    with pytest.warns(ig.NotConverged):
        ig.interactions(lambda z: Once.apply(z).sum(1), torch.ones(1, 2, dtype=D))


def test_a_constant_model_is_named():
    with pytest.raises(ig.ModelError, match="does not depend"):
        ig.interactions(lambda z: z.detach().sum(1), torch.ones(1, 2))


@pytest.mark.slow
def test_the_benchmark_runs():
    script = Path(__file__).resolve().parent.parent / "benchmarks" / "interactions.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", script, "--smoke"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| logit")]
    error = {cells[2].strip(): float(cells[4]) for cells in lines}
    assert error["log-weighted Gauss, 4 nodes"] < error["path_explain, 16 samples"] / 100


def test_no_warning_is_left_over():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ig.interactions(gelu_mlp(dtype=D), noise(2, 6, dtype=D))

"""Regional neuron attribution and pruning: on paper, beside plain loops, and in their refusals."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import intgrad as ig
from intgrad.inside import PublishedRule, prune, prune_class, regional
from nets import conv_net, gelu_mlp, noise, relu_mlp, tiny_transformer, untouched

D = torch.float64
FINE = ig.GaussLegendre(64, rtol=1e-9)
LOOSE = ig.GaussLegendre(16, rtol=math.inf)


def box(size=8):
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[2:5, 1:6] = True
    return mask


def sums(a):
    return a.values.flatten(1).sum(1)


def tanh_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).to(D).eval()


# ---------------------------------------------------------------------- regional attribution


def test_the_full_table_of_pixels_and_neurons_adds_up_to_it():
    # IG^j_i = d_i int dH/dy_j dY_j/dx_i dt, all of it by jacobians, then summed over a region
    import numpy as np

    net, x, mask = tanh_net(), noise(2, 3, 4, dtype=D), torch.rand(3, 4) > 0.5
    table, (points, weights) = 0, np.polynomial.legendre.leggauss(64)
    for s, w in zip((points + 1) / 2, weights / 2, strict=True):
        at = float(s) * x.flatten(1)
        y = torch.tanh(net[1](at))
        inner = (1 - y.square())[:, :, None] * net[1].weight  # dY_j / dx_i
        table = table + float(w) * net[3].weight[1][:, None] * inner * x.flatten(1)[:, None]
    a = regional(net, x, at="2", region=mask, target=1, quadrature=FINE)
    assert torch.allclose(a.values, (table * mask.flatten()).sum(2).detach(), atol=1e-9)
    assert a.recipe.name == "regional"


@settings(max_examples=15, deadline=None)
@given(cells=st.lists(st.booleans(), min_size=12, max_size=12), seed=st.integers(0, 99))
def test_neurons_of_a_region_add_up_to_its_pixels_and_regions_to_conductance(cells, seed):
    net, x = tanh_net(), noise(2, 3, 4, seed=seed, dtype=D)
    mask = torch.tensor(cells).reshape(3, 4)
    how = {"target": 0, "quadrature": FINE}
    a, b = regional(net, x, at="2", region=[mask, ~mask], **how)
    pixels = ig.attribute(net, x, **how).values
    whole = ig.methods.conductance("2", quadrature=FINE)(net, x, target=0)
    assert torch.allclose(sums(a), (pixels * mask).flatten(1).sum(1), atol=1e-9)
    assert torch.allclose(a.values + b.values, whole.values, atol=1e-9)
    assert torch.allclose(sums(a) + sums(b), (a.output - a.baseline_output).double(), atol=1e-9)
    assert float(a.residual.abs().max()) < 1e-12


def test_the_residual_is_the_distance_to_what_the_region_is_worth():
    net, x, mask = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D), box()
    a = regional(net, x, at="2", region=mask, target=1, quadrature=LOOSE)
    pixels = ig.attribute(net, x, target=1, quadrature=LOOSE).values  # the same nodes
    worth = (pixels * mask).flatten(1).sum(1)
    assert torch.allclose(sums(a) - a.residual, worth, atol=1e-12)
    assert float(a.residual.abs().max()) < 1e-12


def test_a_region_may_be_each_row_s_own():
    net, x = conv_net(dtype=D), noise(3, 3, 8, 8, dtype=D)
    own = torch.stack([box(), ~box(), box().T])[:, None]
    a = regional(net, x, at="2", region=own, target=1, quadrature=LOOSE)
    for i in range(3):
        one = regional(net, x[i : i + 1], at="2", region=own[i, 0], target=1, quadrature=LOOSE)
        assert torch.allclose(a.values[i], one.values[0], atol=1e-12)


def test_regions_share_a_sweep_and_each_meets_the_tolerance():
    net, x = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    found = regional(
        net, x, at="2", region=[box(), box().T], target=1
    )  # a warning would be an error
    assert all(bool(a.converged.all()) for a in found)
    assert torch.equal(found[0].backwards, found[1].backwards)
    channels = found[0].sum((2, 3))
    assert channels.values.shape == (2, 6)
    assert torch.allclose(channels.residual, found[0].residual)


def test_an_empty_region_is_worth_nothing():
    net, x = conv_net(dtype=D), noise(1, 3, 8, 8, dtype=D)
    a = regional(net, x, at="2", region=torch.zeros(8, 8), target=1, quadrature=LOOSE)
    assert not bool(a.values.any())
    assert bool(a.converged.all())


def test_a_layer_with_a_way_around_is_no_cut():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.part, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(torch.tanh(self.part(x)) + x)

    torch.manual_seed(0)
    net, x = Around().to(D).eval(), noise(2, 6, dtype=D)
    mask = torch.tensor([1, 1, 0, 0, 0, 1])
    a = regional(net, x, at="part", region=mask, target=0, quadrature=ig.GaussLegendre(64))
    assert a.residual is None
    assert "part is no cut" in a.run.notes[-1]
    assert "what the region is worth" in a.run.notes[-1]


def test_the_words_of_a_text_are_regions_of_its_embedding():
    net, ids = tiny_transformer(dtype=D), torch.tensor([[0, 4, 5, 1], [0, 6, 3, 1]])
    how = {"target": 1, "baseline": torch.tensor([[0, 2, 2, 1]]), "quadrature": FINE}
    words = [torch.eye(4)[i][:, None] for i in range(4)]
    path = ig.PushedForward(at="embedding")
    found = regional(net, ids, at="norm", region=words, path=path, **how)
    each = ig.attribute(net, ids, at="embedding", **how).values.sum(2)
    assert torch.allclose(torch.stack([sums(a) for a in found], 1), each, atol=1e-9)


def test_several_targets_have_regions_too():
    net, x = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    a = regional(net, x, at="2", region=box(), target=ig.All(), quadrature=LOOSE)
    assert a.values.shape == (4, 2, 6, 8, 8)
    one = regional(net, x, at="2", region=box(), target=3, quadrature=LOOSE)
    assert torch.allclose(a.target(3).values, one.values, atol=1e-12)
    assert a.residual.shape == (4, 2)


# ---------------------------------------------------------------------- the published rule


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
def test_the_published_rule_is_its_loop_and_converges_at_first_order():
    net, x, mask = gelu_mlp(dtype=D), noise(2, 6, dtype=D), torch.tensor([1, 0, 1, 1, 0, 0])
    below, above = net[:2], net[2:]
    exact = regional(net, x, at="1", region=mask, target=2, quadrature=FINE).values
    off = []
    for m in (64, 128, 256):
        step, before, wanted = x / m, below(torch.zeros_like(x)), 0
        for k in range(m):
            after, part = below((k + 1) * step), below(k * step + step * mask)
            y = after.detach().requires_grad_()
            (g,) = torch.autograd.grad(above(y)[:, 2].sum(), y)
            wanted, before = wanted + g * (part - before), after
        a = regional(net, x, at="1", region=mask, target=2, quadrature=PublishedRule(m))
        assert torch.allclose(a.values, wanted.detach(), atol=1e-12)
        assert a.residual is None
        assert bool(a.error.isnan().all())
        off.append(float((a.values - exact).abs().sum() / exact.abs().sum()))
    assert [round(a / b, 1) for a, b in pairwise(off)] == [2.0, 2.0]


def test_the_published_rule_wants_steps():
    with pytest.raises(ig.InputError, match="steps=0"):
        PublishedRule(0)


# ---------------------------------------------------------------------- refusals, and the model after


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (torch.ones(7, 8), "region is \\(7, 8\\)"),
        (torch.full((8, 8), 0.5), "more than 0 and 1"),
        ("left", "expected a tensor"),
    ],
)
def test_a_region_that_is_none_is_refused(region, said):
    net, x = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    region = region if isinstance(region, torch.Tensor) else [region]
    with untouched(net), pytest.raises(ig.InputError, match=said):
        regional(net, x, at="2", region=region, target=1)


def test_a_region_of_several_layers_or_of_unknown_words_is_refused():
    net, x = conv_net(dtype=D), noise(1, 3, 8, 8, dtype=D)
    with pytest.raises(ig.InputError, match="names several layers"):
        regional(net, x, at=["1", "2"], region=box())
    with pytest.raises(TypeError, match="no traget="):
        regional(net, x, at="2", region=box(), traget=1)
    with pytest.raises(ig.InputError, match="of one tensor"):
        regional(Two(), (noise(1, 3), noise(1, 3)), at="line", region=torch.ones(3))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 2)

    def forward(self, a, b):
        return self.line(a) + self.line(b)


def test_the_model_is_as_it_was():
    net, x = conv_net(), noise(2, 3, 8, 8)
    with untouched(net):
        a = regional(net, x, at="2", region=box(), quadrature=LOOSE)
        prune(net, x, at="2", ranking=a, shares=(0, 0.1), quadrature=LOOSE)
        prune_class(net, x, torch.tensor([0, 1]), at="2", ranking=a.select(0), of=1, counts=(3,))


# ---------------------------------------------------------------------- pruning


def test_what_is_pruned_is_the_network_without_those_neurons():
    net, x = relu_mlp(dtype=D), noise(3, 6, dtype=D)
    rank = torch.arange(16.0)[None]  # neuron 15 first
    region = torch.tensor([1, 1, 0, 0, 0, 0])
    found = prune(
        net,
        x,
        at="1",
        ranking=rank,
        shares=(0, 0.25, 1),
        region=region,
        target=2,
        quadrature=ig.Exact(),
    )
    keep = torch.ones(16, dtype=D)
    keep[12:] = 0
    hand = nn.Sequential(net[:2], Times(keep), net[2:])
    a = ig.attribute(hand, x, target=2, quadrature=ig.Exact())
    assert torch.allclose(found.output[:, 1], hand(x)[:, 2])
    assert torch.allclose(found.inside[:, 1], (a.values * region).sum(1))
    assert torch.allclose(found.outside[:, 1], (a.values * (1 - region)).sum(1))
    assert torch.allclose(found.output[:, 0], net(x)[:, 2])
    assert torch.allclose(found.total[:, 2], torch.zeros(3, dtype=D), atol=1e-12)
    bottom = prune(
        net, x, at="1", ranking=-rank, shares=(0.25,), bottom=True, target=2, quadrature=LOOSE
    )
    assert torch.allclose(bottom.output[:, 0], hand(x)[:, 2])


class Times(nn.Module):
    def __init__(self, keep):
        super().__init__()
        self.register_buffer("keep", keep)

    def forward(self, x):
        return x * self.keep


def test_each_row_loses_its_own_neurons_and_channels_go_as_a_whole():
    net, x = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    rank = torch.tensor([[1.0, 0, 0, 0, 0, 0], [0, 0, 0, 1.0, 0, 0]])
    found = prune(net, x, at="2", ranking=rank, shares=(1 / 6,), target=1, quadrature=LOOSE)
    for i, gone in enumerate((0, 3)):
        keep = torch.ones(1, 6, 1, 1, dtype=D)
        keep[:, gone] = 0
        assert torch.allclose(found.output[i, 0], net[3:](net[:3](x[i : i + 1]) * keep)[0, 1])


def test_the_class_is_that_of_the_intact_model():
    net, x = relu_mlp(dtype=D), noise(5, 6, dtype=D)
    best = net(x).argmax(1)
    rank = ig.methods.conductance("1", quadrature=LOOSE)(net, x)
    for target in (None, ig.Probability()):
        found = prune(net, x, at="1", ranking=rank, shares=(0.5,), target=target, quadrature=LOOSE)
        named = best if target is None else ig.Probability(best)
        same = prune(net, x, at="1", ranking=rank, shares=(0.5,), target=named, quadrature=LOOSE)
        assert torch.equal(found.output, same.output)


def test_pruning_by_conductance_takes_more_of_the_output_than_by_chance():
    net, x = conv_net(dtype=D), noise(4, 3, 8, 8, dtype=D)
    how = {"target": 1, "quadrature": LOOSE}
    ranks = ig.methods.conductance("2", quadrature=LOOSE)(net, x, target=1), noise(4, 6, 8, 8)
    top, chance = (prune(net, x, at="2", ranking=r, shares=(0.05,), **how).output for r in ranks)
    assert bool((top < chance).all())


def test_a_pruning_has_a_table_and_a_plot():
    net, x = relu_mlp(), noise(2, 6)
    found = prune(net, x, at="1", ranking=noise(1, 16), shares=(0, 0.5), quadrature=LOOSE)
    lines = found.table().splitlines()
    assert [line.split()[0] for line in lines] == ["pruned", "0.0%", "50.0%"]
    cells = lines[1].split()[1:]
    numbers = [float(c) for c in cells if c != "±"]
    assert numbers[4] == pytest.approx(float(found.total[:, 0].mean()), abs=1e-3)
    assert numbers[5] == pytest.approx(float(found.total[:, 0].std()), abs=1e-3)
    one = prune(net, x[:1], at="1", ranking=noise(1, 16), shares=(0, 0.5), quadrature=LOOSE)
    assert len(one.table().splitlines()[1].split()) == 5
    assert len(found.plot().axes[0].lines) == 3


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"ranking": noise(1, 15)}, r"ranking has neurons \(15,\)"),
        ({"ranking": noise(3, 16)}, "ranking has 3 rows"),
        ({"shares": (0, 2)}, "numbers from 0 to 1"),
        ({"at": ["1", "3"]}, "names several layers"),
        ({"at": "one"}, "nearest"),
    ],
)
def test_what_cannot_be_pruned_is_refused(parts, said):
    net = relu_mlp()
    with untouched(net), pytest.raises(ig.InputError, match=said):
        prune(net, noise(2, 6), **{"at": "1", "ranking": noise(1, 16), **parts})


# ---------------------------------------------------------------------- a class's neurons


def voters():
    """Three classes; neurons 0 and 1 speak for class 0, 2 and 3 for class 1, 4 and 5 for class 2."""
    net = nn.Sequential(nn.Linear(3, 6, bias=False), nn.ReLU(), nn.Linear(6, 3))
    votes = torch.eye(3).repeat_interleave(2, 0)
    with torch.no_grad():
        net[0].weight.copy_(votes)
        net[2].weight.copy_(votes.T)
        net[2].bias.copy_(torch.tensor([0.0, 0.1, 0.2]))
    return net.eval()


def test_without_its_neurons_a_class_is_lost_and_without_the_others_it_is_all():
    net, labels = voters(), torch.tensor([0, 0, 1, 2])
    x = torch.eye(3)[labels]
    a = ig.methods.conductance("1", quadrature=LOOSE)(net, x[:2], target=0)
    rank = a.values.mean(0, keepdim=True)
    assert rank[0].tolist() == pytest.approx([1, 1, 0, 0, 0, 0])
    found = prune_class(net, x, labels, at="1", ranking=rank, of=0, counts=(0, 2, 4), draws=200)
    assert found.without_top.tolist() == [[1, 1], [0, 0.5], [0, 0.25]]
    assert found.without_bottom.tolist()[2] == [1, 0.75]  # a bias speaks for class 2
    # class 0 is lost if both its neurons go: one choice of two in fifteen
    assert float(found.random[1, 0]) == pytest.approx(14 / 15, abs=4 * (14 / 225 / 200) ** 0.5)
    assert found.table().splitlines()[2].split()[:3] == ["2", "0.000", "(0.500)"]
    again = prune_class(net, x, labels, at="1", ranking=rank, of=0, counts=(0, 2, 4), draws=200)
    assert torch.equal(again.random, found.random)


@pytest.mark.parametrize(
    ("parts", "said"),
    [({"of": 5}, "some of class 5"), ({"counts": (7,)}, "6 neurons")],
)
def test_a_class_without_rows_or_too_many_neurons_are_refused(parts, said):
    labels = torch.tensor([0, 1])
    how = {"at": "1", "ranking": noise(1, 6), "of": 0, "counts": (1,), **parts}
    with pytest.raises(ig.InputError, match=said):
        prune_class(voters(), torch.eye(3)[labels], labels, **how)

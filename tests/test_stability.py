"""Stability, randomisation, agreement, consistency, edits, duplicates: closed forms and refusals."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

import intgrad as ig
import strategies
from intgrad.audit import metrics
from intgrad.audit.asking import explained
from intgrad.audit.consistency import CScore, soft_iou
from intgrad.audit.duplicates import duplicates
from intgrad.audit.edits import divergence, edit_effect, paired
from intgrad.audit.randomisation import (
    class_randomisation,
    dependence,
    label_randomisation,
    model_randomisation,
    randomised,
)
from intgrad.audit.stability import noise_stability, sensitivity_max
from nets import conv_net, noise, relu_mlp, untouched
from test_metrics import draw

few = settings(max_examples=25, deadline=None)
D = torch.float64
recipe = ig.methods.integrated_gradients(quadrature=ig.GaussLegendre(8, rtol=1.0))


def integrated(model, x, target):
    return recipe(model, x, target=target)


def edges(model, x, target):
    """What Sobel's filter sees: it does not look at the model."""
    kernel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=x.dtype)
    return torch.conv2d(x.sum(1, keepdim=True), kernel[None, None], padding=1)


# -------------------------------------------------------------------- somebody else's explain function


def test_an_array_of_the_right_shape_is_taken():
    net, x = conv_net(), noise(2, 3, 16, 16)
    found = explained(lambda m, x, t: np.ones((2, 16, 16)), net, x, 0)
    assert found.shape == (2, 16, 16)
    assert found.dtype == D


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (lambda x: x[:, :, :4], r"returned shape \(2, 3, 4, 16\); expected \(2, 3, 16, 16\)"),
        (lambda x: x[0], r"returned shape \(3, 16, 16\)"),
        (lambda x: x.sum((1, 2, 3)), r"returned shape \(2,\)"),
        (lambda x: x / 0 * 0, "NaN or infinity in row 0"),
        (lambda x: "a map", "returned a str; expected a tensor"),
    ],
)
def test_what_is_no_map_is_refused_in_a_sentence(returned, says):
    with pytest.raises(ig.InputError, match=says):
        explained(lambda m, x, t: returned(x), conv_net(), noise(2, 3, 16, 16), 0)


def spoil_weights(net):
    next(net.parameters()).data.mul_(2)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_weights,
        lambda net: net.train(),
        lambda net: next(net.parameters()).requires_grad_(False),
        lambda net: net.register_forward_hook(lambda *a: None),
    ],
)
def test_a_function_that_changes_the_model_is_refused_and_the_model_put_back(spoil):
    net, x = conv_net(), noise(2, 3, 16, 16)

    def explain(model, x, target):
        spoil(model)
        return torch.zeros_like(x)

    before = copy.deepcopy(net)
    with pytest.raises(ig.ModelError, match="explain changed the model"):
        explained(explain, net, x, 0)
    assert all(
        torch.equal(a, b) for a, b in zip(net.parameters(), before.parameters(), strict=True)
    )
    assert all(p.requires_grad for p in net.parameters())
    assert not any(m.training or m._forward_hooks for m in net.modules())


def test_gradients_left_in_parameters_are_taken_away():
    net, x = conv_net(), noise(2, 3, 16, 16)

    def explain(model, x, target):
        x = x.clone().requires_grad_()
        model(x)[:, 0].sum().backward()
        return x.grad

    explained(explain, net, x, 0)
    assert all(p.grad is None for p in net.parameters())


# ------------------------------------------------------------------------------------ randomisation


def test_a_shuffled_copy_has_the_same_numbers_in_other_places():
    net = conv_net()
    other = randomised(net, 3)
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.flatten().sort().values, two.flatten().sort().values)
    assert any(
        not torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True)
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(other.parameters(), randomised(net, 3).parameters(), strict=True)
    )


def test_an_edge_detector_is_exposed_and_integrated_gradients_are_not():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(8 * 144, 4)).eval()
    x = torch.randn(4, 3, 16, 16)
    with untouched(net):
        blind = model_randomisation(edges, net, x, 1)
        found = model_randomisation(integrated, net, x, 1)
    assert blind.mean == pytest.approx(1)
    assert blind.mean > blind.chance
    assert abs(found.mean) < 0.3


def test_a_model_trained_on_shuffled_labels_is_compared_like_any_other():
    one, two, x = relu_mlp(0), relu_mlp(1), noise(3, 6)
    same = label_randomisation(integrated, one, one, x, 0)
    assert torch.allclose(same.correlation, torch.ones(3, dtype=D))
    assert label_randomisation(edges_of_rows, one, two, x, 0).mean == pytest.approx(1)


def edges_of_rows(model, x, target):
    return x


def test_another_class_of_a_linear_model_has_its_own_map():
    weight = torch.tensor([[1.0, 2, 3, 4], [4, 3, 2, 1]])
    net = nn.Linear(4, 2, bias=False)
    net.weight.data = weight
    x = torch.ones(2, 4)
    zero, one = torch.zeros(2, dtype=torch.long), torch.ones(2, dtype=torch.long)
    found = class_randomisation(integrated, net.eval(), x, zero, one)
    assert torch.allclose(found.correlation, -torch.ones(2, dtype=D))
    with pytest.raises(ig.InputError, match="another class in every row"):
        class_randomisation(integrated, net, x, zero, zero)


def test_chance_of_independent_maps_holds_their_correlation():
    held = [dependence(draw(s, 2, 12, 12), draw(s + 999, 2, 12, 12), seed=s) for s in range(60)]
    inside = sum(abs(d.mean) <= d.chance for d in held)
    assert inside >= 54  # 99 % each: fewer than 55 of 60 is less likely than one in 100,000


def test_chance_of_smooth_maps_is_larger():
    rough = draw(1, 1, 32, 32)
    smooth = torch.nn.functional.avg_pool2d(rough[None], 9, 1, 4)[0]
    assert dependence(smooth, smooth).chance > 2 * dependence(rough, rough).chance


def test_shuffled_rows_of_a_table_have_a_null_distribution_too():
    x = draw(2, 1, 40)
    found = dependence(x, x)
    assert found.mean == pytest.approx(1)
    assert 0.2 < found.chance < 0.6  # 2.6 / sqrt(39) = 0.41


# ---------------------------------------------------------------------------------------- stability


def test_a_constant_map_never_moves():
    net, x = relu_mlp(), noise(3, 6)
    still = lambda m, x, t: torch.arange(6.0).expand(3, 6)  # noqa: E731
    assert sensitivity_max(still, net, x, 0).tolist() == [0, 0, 0]
    assert torch.allclose(noise_stability(still, net, x, 0), torch.ones(3, dtype=D))


def test_the_map_x_moves_as_far_as_x_does():
    x = torch.tensor([[3.0, -4.0], [0.0, 1.0]], dtype=D)
    found = sensitivity_max(lambda m, x, t: x, relu_mlp(), x, 0, radius=0.1, samples=2000)
    farthest = torch.tensor([0.7, 0.1], dtype=D) * math.sqrt(2) / torch.tensor([5.0, 1.0], dtype=D)
    assert (found <= farthest).all()
    assert torch.allclose(found, farthest, rtol=0.05)


def test_token_ids_do_not_move_a_little():
    with pytest.raises(ig.Unsupported, match="does not move a little"):
        sensitivity_max(integrated, relu_mlp(), torch.ones(2, 4, dtype=torch.long), 0)
    with pytest.raises(ig.InputError, match="radius"):
        sensitivity_max(edges_of_rows, relu_mlp(), noise(2, 5), 0, radius=0)


# ---------------------------------------------------------------------------------------- agreement


def test_agreement_is_that_of_every_two_metrics():
    maps = {"a": draw(0, 3, 7), "b": draw(1, 3, 7), "c": -draw(0, 3, 7)}
    found = metrics.agreement(maps, 2)
    assert torch.allclose(found.rank[:, 0, 1], metrics.spearman(maps["a"], maps["b"]))
    assert torch.allclose(found.rank[:, 0, 2], -torch.ones(3, dtype=D))
    assert torch.allclose(found.sign[:, 0, 2], torch.zeros(3, dtype=D))
    assert torch.allclose(found.top[:, 0, 2], torch.ones(3, dtype=D))
    assert torch.equal(found.rank, found.rank.transpose(1, 2))
    with pytest.raises(ig.InputError, match="expected two or more"):
        metrics.agreement({"a": draw(0, 3, 7)}, 2)


# -------------------------------------------------------------------------------------- consistency


def test_soft_iou_of_masks_is_iou():
    a = torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 0]])
    b = torch.tensor([[1.0, 0, 1, 0], [1, 1, 1, 0]])
    assert soft_iou(a, b).tolist() == pytest.approx([1 / 3, 1])
    assert soft_iou(a, b, power=0.3).tolist() == pytest.approx([1 / 3, 1])


def test_soft_iou_emphasises_what_is_strong():
    a, b = torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 0.0]])
    assert float(soft_iou(a, b, power=1)) == pytest.approx(1 / 1.5)
    assert float(soft_iou(a, b, power=2)) == pytest.approx(1 / 1.25)
    assert float(soft_iou(a, -b)) == 0


@few
@given(seed=strategies.seeds)
def test_the_score_is_its_formula_whatever_the_batches(seed):
    maps = draw(seed, 7, 6)
    classes = [0, 1, 0, 2, 0, 1, 1]
    weights = torch.rand(7, generator=torch.Generator().manual_seed(seed), dtype=D)
    whole = CScore().add(maps, classes, weights).result()
    parts = CScore()
    for i in range(7):
        parts.add(maps[i : i + 1], classes[i : i + 1], weights[i : i + 1])
    for c, score in zip(whole.classes.tolist(), whole.within.tolist(), strict=True):
        above = below = 0.0
        for i, j in itertools.combinations([i for i in range(7) if classes[i] == c], 2):
            iou = float(soft_iou(maps[i : i + 1], maps[j : j + 1]))
            if iou == iou:
                above += float(weights[i] * weights[j]) * iou
                below += float(weights[i] * weights[j])
        assert score == pytest.approx(above / below, rel=1e-5)
    assert torch.allclose(whole.within, parts.result().within, rtol=1e-6)
    assert torch.allclose(whole.between, parts.result().between, rtol=1e-6)
    assert whole.classes.tolist() == [0, 1]
    assert whole.counts.tolist() == [3, 3]


def test_the_same_map_for_every_input_has_no_contrast():
    same = torch.rand(1, 8, 8).expand(6, 8, 8)
    found = CScore().add(same, [0, 0, 0, 1, 1, 1], torch.ones(6)).result()
    assert found.score == pytest.approx(1)
    assert found.contrast == pytest.approx(0)
    own = torch.zeros(6, 8, 8)
    own[:3, :4] = own[3:, 4:] = 1
    assert CScore().add(own, [0, 0, 0, 1, 1, 1], torch.ones(6)).result().contrast == 1


def test_what_the_model_got_wrong_is_left_out():
    maps = torch.eye(4)
    found = CScore().add(maps, [0, 0, 1, 1], torch.ones(4), predicted=[0, 1, 1, 1])
    with pytest.raises(ig.InputError, match="expected two"):
        CScore().add(maps, [0, 0, 1, 1], torch.ones(4), predicted=[0, 0, 0, 0]).result()
    assert found.result().classes.tolist() == [1]


@pytest.mark.parametrize(
    ("add", "says"),
    [
        (lambda s: s.add(torch.rand(2, 4), [0, 0], [1, 1]).result(), "of 1 class"),
        (lambda s: s.add(torch.rand(2, 4), [0], [1, 1]), "expected one of each a row"),
        (lambda s: s.add(torch.rand(2, 4), [0, 1], [1, 1.5]), "outside"),
        (lambda s: s.add(torch.rand(1, 4), [0], [1]).add(torch.rand(1, 5), [0], [1]), "one size"),
    ],
)
def test_the_c_score_refuses_in_a_sentence(add, says):
    with pytest.raises(ig.InputError, match=says):
        add(CScore())


# -------------------------------------------------------------------------------------------- edits


def test_the_exact_test_counts_every_choice_of_signs():
    a, b = torch.tensor([1.0, 2, 3]), torch.zeros(3)
    assert paired(a, b) == 1 / 8
    assert paired(b, a) == 1
    assert paired(a, a) == 1


def test_the_drawn_test_agrees_with_the_exact_one(monkeypatch):
    a, b = draw(5, 11), draw(6, 11)
    exact = paired(a, b)
    monkeypatch.setattr("intgrad.audit.edits.EXACT", 0)
    assert paired(a, b, draws=40_000) == pytest.approx(exact, abs=0.01)


def test_p_of_no_effect_is_uniform():
    found = torch.tensor([paired(draw(s, 8), draw(s + 500, 8)) for s in range(400)])
    for level in (0.1, 0.5, 0.9):
        assert float((found <= level).double().mean()) == pytest.approx(level, abs=0.08)


def test_an_edit_of_what_the_model_reads_stands_out_of_its_null_distribution():
    weight = torch.tensor([5.0, 4.0, 3.0, 0.1, 0.1, 0.1])
    net = nn.Linear(6, 1, bias=False)
    net.weight.data = weight[None]
    x = 1 + 0.1 * draw(0, 8, 6).float()
    targeted = x.clone()
    targeted[:, 0] = -2.0
    neutral = x[:, None] + 0.01 * draw(1, 8, 5, 6).float()
    found = edit_effect(integrated, net.eval(), x, None, targeted=targeted, neutral=neutral)
    assert found.p == 1 / 2**8
    assert (found.rank == 0).all()
    assert found.neutral.shape == (8, 5)
    with pytest.raises(ig.InputError, match="expected"):
        edit_effect(integrated, net, x, None, targeted=x[:, :2], neutral=neutral)


def test_divergence_is_one_bit_of_maps_that_share_nothing():
    a, b = torch.tensor([[1.0, 0, -1]]), torch.tensor([[0.0, 3, 0]])
    assert divergence(a, b).tolist() == [1]
    assert divergence(a, 7 * a).tolist() == [0]


# --------------------------------------------------------------------------------------- duplicates


def test_atoms_that_a_network_cannot_tell_apart_are_found():
    # f sees atoms by their type alone: atoms 0, 2 and 3 are of one type, with different neighbours
    kind, near = torch.tensor([0, 1, 0, 0]), torch.tensor([7, 7, 8, 9])
    table = torch.tensor([2.0, -1.0])
    model = lambda x: (x * table[kind]).sum(1, keepdim=True).tanh()  # noqa: E731
    a = ig.attribute(model, torch.ones(1, 4))
    found = duplicates(a, distinct=near)
    assert found.groups == (((0, 2, 3),),)
    size = a.values[0].abs()
    assert float(found.share) == pytest.approx(float(size[[0, 2, 3]].sum() / size.sum()))
    right = duplicates(a, distinct=kind)  # equal types are right to be equal
    assert right.groups == ((),)
    assert right.share.tolist() == [0]


def test_zeros_are_no_duplicates_and_noise_has_none():
    found = duplicates(torch.tensor([[0.0, 0, 1, 2], [0, 0, 0, 0]]))
    assert found.groups == ((), ())
    assert duplicates(draw(3, 2, 50)).share.tolist() == [0, 0]
    with pytest.raises(ig.InputError, match="distinct"):
        duplicates(draw(3, 2, 5), distinct=torch.arange(4))

"""Metrics: closed forms, parity with scipy, scikit-learn and scikit-image, and what must not matter."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import intgrad as ig
import strategies
from intgrad.audit import metrics
from intgrad.audit.maps import simpson
from nets import Counted, conv_net, gelu_mlp, noise, relu_mlp, untouched

few = settings(max_examples=40, deadline=None)
RAW = ig.Logit(0)
DOUBLE = torch.float64


def draw(seed: int, *shape: int, levels: int | None = None) -> torch.Tensor:
    """Numbers; with few levels, many are tied."""
    g = torch.Generator().manual_seed(seed)
    if levels:
        return torch.randint(-levels, levels + 1, shape, generator=g).to(DOUBLE)
    return torch.randn(*shape, generator=g, dtype=DOUBLE)


def linear(weight: torch.Tensor):
    """Two classes: a weighted sum of all features, and 0."""

    def model(x: torch.Tensor) -> torch.Tensor:
        score = (x * weight).flatten(1).sum(1)
        return torch.stack([score, torch.zeros_like(score)], 1)

    return model


# ---------------------------------------------------------------------------------- removal curves

W = torch.tensor([3.0, -1.0, 2.0, 0.5, 7.0], dtype=DOUBLE)
X = torch.tensor([[1.0, 2.0, -1.0, 4.0, 0.5], [2.0, 2.0, 2.0, 2.0, 2.0]], dtype=DOUBLE)
SHARES = W * X


def of(model, x=X, attribution=SHARES, **call):
    call = {"target": RAW, **call}
    return {
        n: getattr(metrics, n)(model, x, attribution, **call) for n in ("deletion", "insertion")
    }


def test_the_curves_of_a_linear_model_are_running_sums_of_its_sorted_shares():
    found = of(linear(W))
    ordered = SHARES.sort(1, descending=True).values
    gone = torch.cat([torch.zeros(2, 1, dtype=DOUBLE), ordered.cumsum(1)], 1)
    assert found["deletion"].fractions.tolist() == [k / 5 for k in range(6)]
    assert torch.allclose(found["deletion"].scores, SHARES.sum(1, keepdim=True) - gone, atol=1e-12)
    assert torch.allclose(found["insertion"].scores, gone, atol=1e-12)


def test_the_areas_of_a_linear_model_are_known_exactly():
    place = torch.arange(1, 6, dtype=DOUBLE)
    ordered = SHARES.sort(1, descending=True).values
    found = of(linear(W))
    assert torch.allclose(found["deletion"].auc, ordered @ (place - 0.5) / 5, atol=1e-12)
    assert torch.allclose(found["insertion"].auc, ordered @ (5.5 - place) / 5, atol=1e-12)
    both = metrics.diff_id(linear(W), X, SHARES, target=RAW)
    assert torch.allclose(both, ordered @ (6 - 2 * place) / 5, atol=1e-12)


def test_the_reversed_order_has_the_opposite_difference():
    best = metrics.diff_id(linear(W), X, SHARES, target=RAW)
    worst = metrics.diff_id(linear(W), X, -SHARES, target=RAW)
    assert torch.allclose(best, -worst, atol=1e-12)
    assert (best > 0).all()


def test_every_order_averages_to_the_trapezium_between_the_ends():
    orders = torch.tensor(list(itertools.permutations(range(5))), dtype=DOUBLE)
    x = X[:1].expand(len(orders), -1)
    area = metrics.deletion(linear(W), x, orders, target=RAW).auc
    assert area.mean().item() == pytest.approx(SHARES[0].sum().item() / 2)
    perfect = metrics.deletion(linear(W), X[:1], SHARES[:1], target=RAW).auc
    assert area.min().item() == pytest.approx(perfect.item())


@few
@given(seed=strategies.seeds)
def test_no_order_beats_the_shares_of_a_linear_model(seed):
    weight, x, other = draw(seed, 7), draw(seed + 1, 3, 7), draw(seed + 2, 3, 7)
    best = metrics.diff_id(linear(weight), x, weight * x, target=RAW)
    assert (metrics.diff_id(linear(weight), x, other, target=RAW) <= best + 1e-12).all()


def test_by_default_the_probability_of_the_predicted_class_is_scored():
    found = of(linear(W), target=None)
    score = SHARES.sum(1)
    first = torch.where(score > 0, score, -score).sigmoid()
    assert torch.allclose(found["deletion"].scores[:, 0], first)
    assert torch.allclose(found["insertion"].scores[:, -1], first)
    assert torch.allclose(found["deletion"].scores[:, -1], torch.full((2,), 0.5, dtype=DOUBLE))
    one = metrics.deletion(linear(W), X, SHARES, target=[1, 0])
    assert torch.allclose(one.scores[:, 0], torch.stack([-score[0], score[1]]).sigmoid())


def test_a_callable_is_scored_as_it_is():
    found = metrics.deletion(linear(W), X, SHARES, target=lambda out: out[:, 0] ** 2)
    raw = metrics.deletion(linear(W), X, SHARES, target=RAW)
    assert torch.allclose(found.scores, raw.scores**2)


def test_units_go_to_the_baseline_that_is_named():
    start = torch.full((1, 5), 3.0, dtype=DOUBLE)
    for baseline in (start, start.expand(2, -1), ig.Constant(3.0)):
        found = metrics.deletion(linear(W), X, SHARES, target=RAW, baseline=baseline)
        assert torch.allclose(found.scores[:, -1], (W * start).sum().expand(2))


def test_portions_are_equal_to_the_nearest_unit():
    x = draw(0, 2, 10)
    found = metrics.deletion(linear(torch.ones(10, dtype=DOUBLE)), x, x, target=RAW, steps=4)
    assert found.fractions.tolist() == [0, 0.3, 0.5, 0.8, 1]
    left = x.sort(1, descending=True).values
    assert torch.allclose(found.scores[:, 1], left[:, 3:].sum(1))
    assert len(metrics.deletion(linear(W), X, SHARES, target=RAW, steps=50).fractions) == 6


def test_channels_go_together():
    weight, x = draw(0, 3, 2, 2), draw(1, 2, 3, 2, 2)
    shares = weight * x
    pixels = shares.sum(1)
    forms = (shares, pixels, pixels[:, None])
    found = [metrics.deletion(linear(weight), x, a, target=RAW) for a in forms]
    ordered = pixels.flatten(1).sort(1, descending=True).values
    for curve in found:
        assert torch.allclose(curve.auc, ordered @ (torch.arange(4).double() + 0.5) / 4)
    apart = metrics.deletion(linear(weight), x, shares, target=RAW, channels=())
    assert len(apart.fractions) == 13
    assert (apart.auc <= found[0].auc + 1e-12).all()


def test_channels_of_embeddings_are_named():
    weight, x = draw(0, 4, 3), draw(1, 2, 4, 3)
    found = metrics.deletion(linear(weight), x, weight * x, target=RAW, channels=2)
    ordered = (weight * x).sum(2).sort(1, descending=True).values
    assert torch.allclose(found.auc, ordered @ (torch.arange(4).double() + 0.5) / 4)


@pytest.mark.parametrize("name", ["deletion", "insertion"])
def test_the_forwards_are_those_of_the_docstring(name):
    x, sizes = draw(0, 3, 6), {}
    for width in (1, 5, None):
        model = Counted(relu_mlp(dtype=DOUBLE))
        getattr(metrics, name)(model, x, x, steps=4, width=width)
        sizes[width] = model.sizes
    assert sizes[1] == [1] * 3 * (4 + 1)
    assert sizes[5] == [5] * (1 + 3)  # 3 rows at x, then 12: the last call of each is filled up
    assert sizes[None][0] == 1  # finds the width
    assert sum(sizes[None][1:]) == 3 * (4 + 1)


def test_the_difference_costs_both():
    model, x = Counted(relu_mlp(dtype=DOUBLE)), draw(0, 3, 6)
    metrics.diff_id(model, x, x, steps=4, width=1)
    assert len(model.sizes) == 2 * 3 * 5


@few
@given(seed=strategies.seeds, width=st.integers(1, 9), steps=st.integers(1, 8))
def test_neither_row_order_nor_call_width_matters(seed, width, steps):
    net = strategies.mlp(seed, 5, 2, "gelu", DOUBLE)
    x, a = draw(seed, 4, 5), draw(seed + 1, 4, 5, levels=2)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    whole = metrics.insertion(net, x, a, steps=steps)
    again = metrics.insertion(net, x[order], a[order], steps=steps, width=width)
    assert torch.allclose(whole.scores[order], again.scores, atol=1e-12)


@few
@given(seed=strategies.seeds)
def test_only_the_order_of_the_values_matters(seed):
    net = strategies.mlp(seed, 5, 2, "tanh", DOUBLE)
    x, a = draw(seed, 4, 5), draw(seed + 1, 4, 5, levels=3)
    assert torch.equal(metrics.deletion(net, x, a).scores, metrics.deletion(net, x, a.exp()).scores)


@few
@given(seed=strategies.seeds)
def test_areas_of_probabilities_are_probabilities(seed):
    net, x, a = strategies.mlp(seed, 5, 2, "relu", DOUBLE), draw(seed, 4, 5), draw(seed + 1, 4, 5)
    for curve in of(net, x, a, target=None).values():
        assert ((curve.auc >= 0) & (curve.auc <= 1)).all()


def test_an_attribution_is_taken_as_it_is():
    net, x = gelu_mlp(dtype=DOUBLE), draw(0, 3, 6)
    a = ig.attribute(net, x, target=ig.All())
    with pytest.raises(ig.InputError, match=r"several targets.*target\(0\)"):
        metrics.deletion(net, x, a)
    own = metrics.deletion(net, x, a.target(2), target=2)
    assert torch.equal(own.scores, metrics.deletion(net, x, a.values[2], target=2).scores)


def test_the_model_and_the_callers_mode_stay_as_they_were():
    net, x = conv_net(), noise(2, 3, 8, 8)
    with untouched(net), torch.inference_mode():
        a = metrics.deletion(net, x, x, steps=5)
    assert a.scores.shape == (2, 6)
    assert not a.scores.requires_grad


def test_extras_stay_with_their_rows():
    net, x, scale = relu_mlp(dtype=DOUBLE), draw(0, 3, 6), torch.tensor([1.0, 2.0, 3.0])
    model = lambda z, s: net(z) * s[:, None]  # noqa: E731
    whole = metrics.deletion(model, x, x, given={"s": scale}, width=2, target=1)
    for i in range(3):
        one = metrics.deletion(
            model, x[i : i + 1], x[i : i + 1], given={"s": scale[i : i + 1]}, target=1
        )
        assert torch.allclose(whole.scores[i], one.scores[0], atol=1e-12)


# ------------------------------------------------------------------------------------------ texts

TABLE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [0.0, 3.0]], dtype=DOUBLE)
IDS = torch.tensor([[1, 2, 3, 4, 1], [3, 2, 0, 0, 0]])
VALID = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
POINTS = torch.tensor([[1.0, 2.0, 4.0, -3.0, 1.0], [4.0, 2.0, 99.0, 99.0, 99.0]], dtype=DOUBLE)
MASK = ig.MaskToken(0)


def bag(ids: torch.Tensor) -> torch.Tensor:
    """Two classes, each the sum of what its words say."""
    return TABLE[ids].sum(1)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_comprehensiveness_sufficiency_and_log_odds_by_hand():
    call = {"fraction": 0.4, "valid": VALID, "baseline": MASK}
    p = [sigmoid(8 - 3), sigmoid(6)]  # row 0 has five tokens, two go; row 1 two, one goes
    without = [sigmoid(2 - 3), sigmoid(2)]
    alone = [sigmoid(6), sigmoid(4)]
    want = {
        metrics.comprehensiveness: [a - b for a, b in zip(p, without, strict=True)],
        metrics.sufficiency: [a - b for a, b in zip(p, alone, strict=True)],
        metrics.log_odds: [math.log(b / a) for a, b in zip(p, without, strict=True)],
    }
    for metric, numbers in want.items():
        found = metric(bag, IDS, POINTS, **call)
        assert torch.allclose(found, torch.tensor(numbers, dtype=DOUBLE), atol=1e-12), metric


def test_embeddings_answer_as_their_ids_do():
    """Token 0 has the zero embedding, so replacing by it and by zeros is the same."""
    embed = TABLE[IDS]
    model = lambda e: e.sum(1)  # noqa: E731
    spread = torch.stack([POINTS * 0.25, POINTS * 0.75], 2)
    for name in ("comprehensiveness", "sufficiency", "log_odds", "aopc_comprehensiveness"):
        metric = getattr(metrics, name)
        ids = metric(bag, IDS, POINTS, valid=VALID, baseline=MASK)
        assert torch.allclose(ids, metric(model, embed, POINTS, valid=VALID), atol=1e-12)
        assert torch.allclose(ids, metric(model, embed, spread, valid=VALID), atol=1e-12)


def test_padding_and_special_tokens_stay_and_do_not_count():
    words, head = draw(1, 20, 4), draw(2, 4, 3)
    ids = torch.tensor([[2, 7, 8, 9, 3, 0, 0], [2, 5, 3, 0, 0, 0, 0], [2, 4, 6, 11, 12, 13, 3]])
    keep, valid = (ids != 0).long(), ids > 3
    scores = draw(0, 3, 7)
    seen = []

    def model(z, keep):
        seen.append(z)
        return (words[z] * keep[..., None]).sum(1).tanh() @ head

    for metric in (metrics.comprehensiveness, metrics.aopc_sufficiency, metrics.log_odds):
        whole = metric(
            model, ids, scores, valid=valid, baseline=ig.MaskToken(1), given={"keep": keep}
        )
        for i in range(3):
            own = keep[i].bool()
            cut = [t[i : i + 1, own] for t in (ids, scores, valid, keep)]
            alone = metric(
                model, *cut[:2], valid=cut[2], baseline=ig.MaskToken(1), given={"keep": cut[3]}
            )
            assert torch.allclose(whole[i], alone[0], atol=1e-12)
    assert all(bool((z[:, 0] == 2).all()) for z in seen)


@pytest.mark.parametrize("name", ["comprehensiveness", "sufficiency"])
def test_the_aopc_is_the_mean_over_fractions(name):
    x, a = draw(0, 3, 12), draw(1, 3, 12)
    net = relu_mlp(dtype=DOUBLE, features=12)
    each = [getattr(metrics, name)(net, x, a, fraction=f) for f in (0.01, 0.05, 0.1, 0.2, 0.5)]
    counted = Counted(net)
    whole = getattr(metrics, f"aopc_{name}")(counted, x, a, width=1)
    assert torch.allclose(whole, torch.stack(each).mean(0), atol=1e-12)
    assert len(counted.sizes) == 3 * (1 + 5)


def test_a_fraction_of_the_tokens_costs_two_forwards():
    for name in ("comprehensiveness", "sufficiency", "log_odds"):
        counted = Counted(relu_mlp(dtype=DOUBLE))
        getattr(metrics, name)(counted, draw(0, 3, 6), draw(1, 3, 6), width=1)
        assert len(counted.sizes) == 3 * 2


def test_all_tokens_are_everything_and_none_is_left():
    net, x, a = relu_mlp(dtype=DOUBLE), draw(0, 3, 6), draw(1, 3, 6)
    every = metrics.comprehensiveness(net, x, a, fraction=1.0)
    assert torch.allclose(every, metrics.deletion(net, x, a).scores[:, [0, -1]].diff().neg()[:, 0])
    assert torch.equal(metrics.sufficiency(net, x, a, fraction=1.0), torch.zeros(3, dtype=DOUBLE))


COUNTS = [(5, 0.2, 1), (6, 0.2, 2), (1, 0.01, 1), (100, 0.07, 7), (30, 0.1, 3), (7, 1.0, 7)]


@pytest.mark.parametrize(("n", "fraction", "many"), COUNTS)
def test_the_number_of_tokens_is_rounded_up(n, fraction, many):
    assert metrics.top_fraction(draw(0, 2, n), fraction).sum(1).tolist() == [many, many]


def test_the_top_of_a_row_is_among_its_valid_tokens():
    top = metrics.top_fraction(POINTS, 0.4, VALID)
    assert top.int().tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 0]]


# ------------------------------------------------------------------------------------------- maps


def test_the_gini_index_of_hand_made_maps():
    one_hot = torch.zeros(1, 8)
    one_hot[0, 3] = -5.0
    half = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert metrics.gini(one_hot).item() == pytest.approx(1 - 1 / 8, abs=1e-15)
    assert metrics.gini(half).item() == pytest.approx(0.5, abs=1e-15)
    for constant in (torch.ones(2, 9), -torch.ones(2, 3, 4, 4), torch.zeros(2, 5)):
        assert metrics.gini(constant).tolist() == [0.0, 0.0]


@few
@given(seed=strategies.seeds, n=st.integers(1, 12), levels=st.sampled_from([None, 1, 3]))
def test_the_gini_index_is_the_mean_difference_over_twice_the_mean(seed, n, levels):
    a = draw(seed, 3, n, levels=levels) + 0.125
    size = a.abs()
    want = (size[:, :, None] - size[:, None]).abs().mean((1, 2)) / (2 * size.mean(1))
    found = metrics.gini(a)
    assert torch.allclose(found, want, atol=1e-13)
    assert torch.allclose(found, metrics.gini(-3 * a[:, torch.randperm(n)]), atol=1e-13)
    assert ((found >= -1e-15) & (found <= 1 - 1 / n + 1e-15)).all()


def test_the_total_variation_of_hand_made_maps():
    flat = torch.full((1, 6, 6), 3.0)
    edge = torch.zeros(1, 6, 6)
    edge[:, :, 3:] = -2.0  # one step of height 1 in each of 6 rows
    board = (torch.arange(6)[:, None] + torch.arange(6)) % 2
    assert metrics.total_variation(flat).item() == 0
    assert metrics.total_variation(edge).item() == pytest.approx(6 / 36)
    assert metrics.total_variation(board[None].double()).item() == pytest.approx(60 / 36)
    assert metrics.total_variation(5 * edge[:, None].expand(1, 3, 6, 6)).item() == pytest.approx(
        1 / 6
    )


def test_a_map_of_one_pixel_is_no_division_by_zero():
    """Its 99th percentile is its least value: 4 neighbours of one pixel of height 1."""
    dot = torch.zeros(1, 20, 20)
    dot[0, 7, 7] = 9.0
    assert metrics.total_variation(dot).item() == pytest.approx(4 / 400)


@few
@given(seed=strategies.seeds, scale=st.floats(0.01, 100))
def test_roughness_is_bounded_and_knows_no_scale(seed, scale):
    a = draw(seed, 3, 9, 7)
    found = metrics.total_variation(a)
    assert ((found >= 0) & (found <= 2)).all()
    assert torch.allclose(found, metrics.total_variation(-scale * a), atol=1e-9)
    assert torch.equal(found, torch.cat([metrics.total_variation(row[None]) for row in a]))


@pytest.mark.parametrize("shape", [(224, 224), (100, 67), (45, 60)])
def test_the_area_under_the_variation_curve_is_that_of_scikit_image_and_scipy(shape):
    transform = pytest.importorskip("skimage.transform")
    integrate = pytest.importorskip("scipy.integrate")
    maps = draw(0, 2, *shape)
    for row, found in zip(maps.numpy(), metrics.autvc(maps), strict=True):
        scales = []
        for scale in transform.pyramid_gaussian(row, downscale=1.5):
            if min(scale.shape) < 30:
                break
            size = np.abs(scale)
            low, high = size.min(), np.percentile(size, 99)
            s = np.clip((size - low) / (high - low), 0, 1)
            steps = np.abs(np.diff(s, axis=0)).sum() + np.abs(np.diff(s, axis=1)).sum()
            scales.append(steps / s.size)
        assert found.item() == pytest.approx(integrate.simpson(scales, dx=1), abs=1e-12)


@pytest.mark.parametrize("n", range(2, 9))
def test_simpsons_rule_is_that_of_scipy(n):
    integrate = pytest.importorskip("scipy.integrate")
    y = draw(n, 3, n)
    assert np.allclose(simpson(y).numpy(), integrate.simpson(y.numpy(), dx=1), atol=1e-14)


# -------------------------------------------------------------------------------------- agreement


@pytest.mark.parametrize("levels", [None, 1, 4])
@pytest.mark.parametrize("n", [2, 3, 8, 57, 1000])
def test_rank_correlations_are_those_of_scipy_with_ties(n, levels):
    stats = pytest.importorskip("scipy.stats")
    a, b = draw(n, 4, n, levels=levels), draw(n + 1, 4, n, levels=levels)
    b = b + (a > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        taus = [stats.kendalltau(p, q).statistic for p, q in zip(a, b, strict=True)]
        rhos = [stats.spearmanr(p, q).statistic for p, q in zip(a, b, strict=True)]
    assert np.allclose(metrics.kendall(a, b), taus, atol=1e-12, equal_nan=True)
    assert np.allclose(metrics.spearman(a, b), rhos, atol=1e-12, equal_nan=True)


@few
@given(seed=strategies.seeds, n=st.integers(2, 20), levels=st.sampled_from([None, 2, 5]))
def test_what_compares_orders_knows_no_monotone_change_and_no_side(seed, n, levels):
    a, b = draw(seed, 3, n, levels=levels), draw(seed + 1, 3, n, levels=levels)
    same = lambda p, q: torch.allclose(p, q, atol=1e-12, equal_nan=True)  # noqa: E731
    k = 1 + seed % n
    top = lambda p, q: metrics.top_k_intersection(p, q, k)  # noqa: E731
    for metric in (metrics.kendall, metrics.spearman, top):
        found = metric(a, b)
        assert same(found, metric(b, a))
        assert same(found, metric(a.exp(), b**3))
        assert same(found[[2, 0, 1]], metric(a[[2, 0, 1]], b[[2, 0, 1]]))
        known = found[~found.isnan()]
        assert ((known >= -1) & (known <= 1)).all()


def test_a_map_agrees_with_itself_and_not_with_its_opposite():
    a = draw(0, 3, 40)
    ones = torch.ones(3, dtype=DOUBLE)
    for metric in (metrics.kendall, metrics.spearman, metrics.cosine):
        assert torch.allclose(metric(a, a), ones, atol=1e-12)
        assert torch.allclose(metric(a, -a), -ones, atol=1e-12)
    assert torch.equal(metrics.sign_agreement(a, 7 * a), ones)
    assert torch.equal(metrics.sign_agreement(a, -a), 0 * ones)
    assert torch.equal(metrics.top_k_intersection(a, a, 7), ones)
    assert torch.equal(metrics.top_k_intersection(a, -a, 20), 0 * ones)


def test_agreement_by_hand():
    a = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0]])
    b = torch.tensor([[3.0, -2.0, 2.5, 0.0, 1.0]])
    assert metrics.sign_agreement(a, b).item() == pytest.approx(3 / 5)
    assert metrics.top_k_intersection(a, b, 2).item() == pytest.approx(1 / 2)
    assert metrics.kendall(a, b).item() == pytest.approx((6 - 4) / 10)
    assert metrics.cosine(a, b).item() == pytest.approx(6.5 / math.sqrt(15 * 20.25))


def test_what_is_not_defined_is_nan():
    flat, a = torch.zeros(1, 5), draw(0, 1, 5)
    for metric in (metrics.kendall, metrics.spearman, metrics.cosine):
        assert metric(flat, a).isnan().all()
        assert metric(a, flat).isnan().all()


# ----------------------------------------------------------------------------------- localisation


@pytest.mark.parametrize("levels", [None, 1, 4])
def test_areas_under_curves_are_those_of_scikit_learn_with_ties(levels):
    learn = pytest.importorskip("sklearn.metrics")
    scores, truth = draw(0, 6, 50, levels=levels), draw(1, 6, 50) > 0.8
    aps = [learn.average_precision_score(t, s) for t, s in zip(truth, scores, strict=True)]
    aucs = [learn.roc_auc_score(t, s) for t, s in zip(truth, scores, strict=True)]
    assert np.allclose(metrics.auprc(scores, truth), aps, atol=1e-12)
    assert np.allclose(metrics.auroc(scores, truth), aucs, atol=1e-12)


ALL = (metrics.iou, metrics.dice, metrics.auprc, metrics.auroc, metrics.pointing_game)


def test_a_map_that_is_the_mask_scores_one_and_its_opposite_as_little_as_can_be():
    mask = torch.zeros(2, 6, 6, dtype=torch.bool)
    mask[:, 1:3, 2:5] = True
    for metric in ALL:
        assert torch.equal(metric(mask.double(), mask), torch.ones(2, dtype=DOUBLE))
        lowest = 6 / 36 if metric is metrics.auprc else 0.0  # a precision is never 0 in the end
        assert metric(-mask.double(), mask).tolist() == pytest.approx([lowest] * 2)
    flat = torch.zeros(2, 6, 6)
    assert torch.allclose(metrics.auroc(flat, mask), torch.full((2,), 0.5, dtype=DOUBLE))
    for metric in (metrics.auprc, metrics.pointing_game):
        assert torch.allclose(metric(flat, mask), torch.full((2,), 6 / 36, dtype=DOUBLE))


def test_overlap_by_hand():
    scores = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]])
    mask = torch.tensor([[1, 0, 1, 1, 0]])
    assert metrics.iou(scores, mask).item() == pytest.approx(2 / 4)
    assert metrics.dice(scores, mask).item() == pytest.approx(2 / 3)
    assert metrics.iou(scores, mask, threshold=4.0).item() == pytest.approx(1 / 4)
    assert metrics.dice(scores, mask, threshold=4.0).item() == pytest.approx(2 / 5)
    assert metrics.iou(scores, mask, threshold=9.0).item() == 0
    assert metrics.dice(scores, mask, threshold=-9.0).item() == pytest.approx(6 / 8)


def test_the_pointing_game_forgives_so_many_pixels_in_a_circle():
    mask = torch.zeros(1, 9, 9, dtype=torch.bool)
    mask[0, 4, 4] = True

    def hit(y: int, x: int, tolerance: int) -> float:
        dot = torch.zeros(1, 9, 9)
        dot[0, y, x] = 1.0
        return metrics.pointing_game(dot, mask, tolerance=tolerance).item()

    assert [hit(4, 4, 0), hit(4, 5, 0), hit(4, 5, 1), hit(5, 5, 1), hit(5, 5, 2)] == [1, 0, 1, 0, 1]
    assert [hit(1, 4, 3), hit(0, 4, 3), hit(7, 7, 4), hit(7, 7, 5)] == [1, 0, 0, 1]


@few
@given(seed=strategies.seeds, levels=st.sampled_from([None, 2]), padding=st.integers(0, 4))
def test_localisation_is_bounded_and_knows_neither_padding_nor_monotone_change(
    seed, levels, padding
):
    a, mask = draw(seed, 3, 8, levels=levels), draw(seed + 1, 3, 8) > 0.3
    mask[:, 0], mask[:, 1] = True, False
    fill = lambda t, value: nn.functional.pad(t, (0, padding), value=value)  # noqa: E731
    valid = fill(torch.ones(3, 8), 0.0)
    for metric in ALL:
        found = metric(a, mask)
        assert ((found >= 0) & (found <= 1)).all()
        assert torch.allclose(found, metric(a.exp(), mask), atol=1e-12)
        padded = metric(fill(a, 99.0), fill(mask.int(), 1), valid=valid)
        assert torch.allclose(found, padded, atol=1e-12)
        assert torch.equal(found[[1, 2, 0]], metric(a[[1, 2, 0]], mask[[1, 2, 0]]))


def spans(row) -> list[set[int]]:
    """Runs of True, as sets of places."""
    found: list[set[int]] = []
    for i, here in enumerate(row):
        if here and (i == 0 or not row[i - 1]):
            found.append(set())
        if here:
            found[-1].add(i)
    return found


@few
@given(
    rows=st.lists(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=12, max_size=12)),
    threshold=st.sampled_from([0.5, 0.6, 1.0]),
)
def test_spans_match_as_eraser_counts_them(rows, threshold):
    pairs = torch.tensor([*rows, [(False, False)] * 12])
    own, true = pairs[..., 0].clone(), pairs[..., 1].clone()
    true[:, 3] = True
    want = []
    for p, t in zip(own.tolist(), true.tolist(), strict=True):
        best = [max(len(s & r) / len(s | r) for r in spans(t)) for s in spans(p)]
        hits = sum(b >= threshold for b in best)
        precision, recall = hits / max(len(best), 1), hits / len(spans(t))
        want.append(2 * precision * recall / max(precision + recall, 1e-300))
    assert metrics.iou_f1(own, true, threshold=threshold).tolist() == pytest.approx(want)


def test_token_f1_is_that_of_scikit_learn():
    learn = pytest.importorskip("sklearn.metrics")
    own, true = draw(0, 6, 30) > 0, draw(1, 6, 30) > 0.5
    want = [learn.f1_score(t, p) for t, p in zip(true, own, strict=True)]
    assert np.allclose(metrics.token_f1(own, true), want, atol=1e-12)
    assert metrics.token_f1(torch.zeros(1, 3), torch.ones(1, 3)).item() == 0
    assert metrics.iou_f1(torch.zeros(1, 3), torch.ones(1, 3)).item() == 0


# -------------------------------------------------------------------------- one form, one sentence


def test_half_types_and_whole_numbers_are_measured_in_float64():
    a, mask = draw(0, 2, 3, 4, 4), draw(1, 2, 4, 4) > 0
    for dtype in (torch.float16, torch.float32, torch.int64):
        part = a.to(dtype)
        for found in (metrics.gini(part), metrics.kendall(part, part), metrics.auprc(part, mask)):
            assert found.dtype == DOUBLE
            assert found.shape == (2,)
    curve = metrics.deletion(relu_mlp(dtype=torch.float32), noise(2, 6), noise(2, 6))
    assert curve.scores.dtype == curve.auc.dtype == DOUBLE


NET = relu_mlp()
GIVEN = noise(3, 6)
ROW = torch.ones(3, 6, dtype=torch.bool)
BAD = {
    "another shape": (lambda: metrics.deletion(NET, GIVEN, noise(3, 5)), r"\(3, 5\).*\(3, 6\)"),
    "rows missing": (lambda: metrics.insertion(NET, GIVEN, noise(2, 6)), r"\(2, 6\).*\(3, 6\)"),
    "no values": (lambda: metrics.deletion(NET, GIVEN, [1, 2]), "expected one tensor"),
    "one row as a vector": (lambda: metrics.gini(noise(6)), r"expected \(rows, ...\)"),
    "nothing in it": (lambda: metrics.gini(torch.zeros(0, 4)), r"\(0, 4\)"),
    "NaN": (lambda: metrics.deletion(NET, GIVEN, GIVEN / 0 * 0), "NaN or infinity in row 0"),
    "complex": (lambda: metrics.gini(torch.zeros(2, 2, dtype=torch.complex64)), "real numbers"),
    "no steps": (lambda: metrics.deletion(NET, GIVEN, GIVEN, steps=0), "steps=0"),
    "no width": (lambda: metrics.deletion(NET, GIVEN, GIVEN, width=0), "width=0"),
    "two tensors": (lambda: metrics.deletion(NET, (GIVEN, GIVEN), GIVEN), "one tensor"),
    "channels of rows": (lambda: metrics.gini(GIVEN, channels=0), r"axes 1 to 1"),
    "a baseline of another shape": (
        lambda: metrics.deletion(NET, GIVEN, GIVEN, baseline=noise(3, 5)), r"\(3, 5\)",
    ),
    "a number as baseline": (lambda: metrics.deletion(NET, GIVEN, GIVEN, baseline=0), "baseline=0"),
    "ids without a baseline": (
        lambda: metrics.comprehensiveness(bag, IDS, POINTS), "MaskToken",
    ),
    "fraction 0": (lambda: metrics.sufficiency(bag, IDS, POINTS, fraction=0), "fraction=0"),
    "fraction 1.5": (lambda: metrics.top_fraction(POINTS, 1.5), "fraction=1.5"),
    "no fractions": (
        lambda: metrics.aopc_sufficiency(bag, IDS, POINTS, fractions=()), "fractions is empty",
    ),
    "no valid tokens": (
        lambda: metrics.comprehensiveness(bag, IDS, POINTS, valid=VALID * torch.tensor([[1], [0]])),
        "row 1 has no valid token",
    ),
    "valid of another shape": (
        lambda: metrics.log_odds(bag, IDS, POINTS, valid=VALID[:, :3]), r"valid is \(2, 3\)",
    ),
    "tokens of another text": (
        lambda: metrics.comprehensiveness(bag, IDS[:, :4], POINTS), r"\(2, 5\).*\(2, 4\)",
    ),
    "log-odds of a margin": (
        lambda: metrics.log_odds(bag, IDS, POINTS, target=ig.Margin()), "expected a class index",
    ),
    "vectors as pictures": (lambda: metrics.total_variation(GIVEN), "height"),
    "a picture too small": (lambda: metrics.autvc(noise(1, 40, 40)), "40 x 40.*total_variation"),
    "two shapes": (lambda: metrics.kendall(GIVEN, noise(3, 5)), r"\(3, 6\).*\(3, 5\)"),
    "k too large": (lambda: metrics.top_k_intersection(GIVEN, GIVEN, 7), "k=7 of 6"),
    "an empty mask": (lambda: metrics.iou(GIVEN, ROW & False), "row 0 has no unit in the mask"),
    "a mask of everything": (lambda: metrics.auroc(GIVEN, ROW), "outside the mask"),
    "a mask of another shape": (lambda: metrics.dice(GIVEN, ROW[:, :4]), r"\(3, 4\).*\(3, 6\)"),
    "a soft mask": (lambda: metrics.auprc(GIVEN, GIVEN.abs()), "mask > 0.5"),
    "a mask outside what is valid": (
        lambda: metrics.auprc(GIVEN, GIVEN.median() < GIVEN, valid=GIVEN.median() >= GIVEN),
        "no unit in the mask",
    ),
    "tolerance off a picture": (
        lambda: metrics.pointing_game(GIVEN, ROW, tolerance=2), "height, width",
    ),
    "no true token": (lambda: metrics.iou_f1(ROW, ROW & False), "row 0 has no true token"),
    "values as a prediction": (lambda: metrics.token_f1(GIVEN, ROW), "prediction > 0.5"),
    "a low threshold": (lambda: metrics.iou_f1(ROW, ROW, threshold=0.3), "threshold=0.3"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_measured_is_refused_in_a_sentence(name):
    call, words = BAD[name]
    with pytest.raises(ig.InputError, match=f"(?s){words}") as caught:
        call()
    assert len(str(caught.value)) < 400


def test_what_has_no_softmax_says_what_to_score():
    model = lambda x: x.sum(1, keepdim=True)  # noqa: E731
    for one in (model, lambda x: x.sum(1)):
        with pytest.raises(ig.TargetError, match=r"no softmax.*flatten"):
            metrics.deletion(one, GIVEN, GIVEN)
        assert metrics.deletion(one, GIVEN, GIVEN, target=torch.flatten).scores.shape == (3, 7)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ig.Unsupported, match="4 numbers a row"):
        metrics.deletion(NET, GIVEN, GIVEN, target=ig.All())
    with pytest.raises(ig.Unsupported, match="2 points a row"):
        metrics.deletion(NET, GIVEN, GIVEN, baseline=ig.Dataset(noise(2, 6)))
    with pytest.raises(ig.ModelError, match="training mode"):
        metrics.deletion(conv_net().train(), noise(1, 3, 8, 8), noise(1, 3, 8, 8))
    with pytest.raises(ig.TargetError, match="target 9"):
        metrics.deletion(NET, GIVEN, GIVEN, target=9)
    with pytest.raises(ig.ModelError, match="NaN or infinite at x, row 0"):
        metrics.deletion(lambda z: NET(z) / 0, GIVEN, GIVEN)
    with pytest.raises(ig.ModelError, match="at what is left of x, row 0"):
        metrics.deletion(lambda z: NET(z) / z.sum(1, keepdim=True), GIVEN, GIVEN)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here.")
def test_a_cuda_device_agrees_and_keeps_what_it_was_given():
    a, b, mask = draw(0, 3, 40, 50), draw(1, 3, 40, 50), draw(2, 3, 40, 50) > 1
    for metric in (metrics.gini, metrics.total_variation, lambda t: metrics.autvc(t, smallest=20)):
        assert metric(a.cuda()).is_cuda
        assert torch.allclose(metric(a), metric(a.cuda()).cpu(), atol=1e-10)
    for metric in (metrics.kendall, metrics.spearman, metrics.cosine, metrics.sign_agreement):
        assert torch.allclose(metric(a, b), metric(a.cuda(), b.cuda()).cpu(), atol=1e-10)
    for metric in ALL:
        found = metric(a.cuda(), mask.cuda())
        assert found.is_cuda
        assert torch.allclose(metric(a, mask), found.cpu(), atol=1e-10)
    net, x = gelu_mlp(dtype=DOUBLE), draw(3, 3, 6)
    own = metrics.deletion(net, x, x).scores
    far = metrics.deletion(net.cuda(), x.cuda(), x).scores  # an attribution may lie elsewhere
    assert far.is_cuda
    assert torch.allclose(own, far.cpu(), atol=1e-10)
    assert metrics.comprehensiveness(net, x.cuda(), x.cuda()).is_cuda

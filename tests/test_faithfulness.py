"""Faithfulness: closed forms of linear models, what random maps score, and holes that are filled."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import intgrad as ig
import strategies
from intgrad.audit import metrics
from intgrad.audit.imputation import imputed
from intgrad.audit.interval import half_width, student
from nets import conv_net, noise
from test_metrics import RAW, SHARES, W, X, draw, linear

KERNEL = torch.tensor([[[[1.0, 2, 1], [2, 0, 2], [1, 2, 1]]]], dtype=torch.float64) / 12
few = settings(max_examples=25, deadline=None)
D = torch.float64


# ----------------------------------------------------------------------------- orders of removal


def test_least_important_first_is_a_running_sum_from_the_other_end():
    found = metrics.lerf(linear(W), X, SHARES, target=RAW)
    rising = SHARES.sort(1).values.cumsum(1)
    gone = torch.cat([torch.zeros(2, 1, dtype=D), rising], 1)
    assert torch.allclose(found.scores, SHARES.sum(1, keepdim=True) - gone, atol=1e-12)


def test_aopc_of_a_linear_model_is_the_mean_of_running_sums():
    found = metrics.aopc(linear(W), X, SHARES, target=RAW)
    falls = SHARES.sort(1, descending=True).values.cumsum(1).sum(1) / 6
    assert torch.allclose(found, falls, atol=1e-12)


def test_the_area_between_the_curves_of_a_linear_model_is_known():
    place = torch.arange(1, 6, dtype=D)
    found = metrics.abpc(linear(W), X, SHARES, target=RAW)
    ordered = SHARES.sort(1, descending=True).values
    assert torch.allclose(found, ordered @ (6 - 2 * place) / 5, atol=1e-12)
    assert torch.allclose(metrics.abpc(linear(W), X, -SHARES, target=RAW), -found, atol=1e-12)


# ------------------------------------------------------------------------------------- infidelity


@few
@given(seed=strategies.seeds)
def test_integrated_gradients_of_a_linear_model_foretell_every_loss(seed):
    weight, x, start = draw(seed, 6), draw(seed + 1, 3, 6), draw(seed + 2, 1, 6)
    a = ig.attribute(linear(weight), x, target=0, baseline=start)
    found = metrics.infidelity(linear(weight), x, a, target=0, baseline=start, seed=seed)
    assert (found <= 1e-20 * (1 + x.abs().max() * weight.abs().max()) ** 2).all()


def test_infidelity_of_saying_nothing_is_the_mean_square_of_what_is_lost():
    found = metrics.infidelity(linear(W), X, torch.zeros_like(X), target=0, samples=4000)
    whole = SHARES.sum(1)
    expected = (whole.square() + SHARES.square().sum(1)) / 4  # E (sum of b_i s_i)^2, b a fair coin
    assert torch.allclose(found, expected, rtol=0.06)


def test_a_scale_is_no_infidelity_once_it_is_taken_out():
    how = {"target": 0, "samples": 32}
    assert (metrics.infidelity(linear(W), X, 3 * SHARES, **how) > 1).all()
    assert (metrics.scaled_infidelity(linear(W), X, 3 * SHARES, **how) < 1e-12).all()
    nothing = metrics.scaled_infidelity(linear(W), X, torch.zeros_like(X), **how)
    assert nothing.tolist() == [1, 1]


def test_infidelity_cannot_go_below_the_part_that_is_no_sum_over_units():
    # f = x1 x2 from 0: all is lost unless both stay, and each alone is said to hold a half
    model = lambda x: (x[:, 0] * x[:, 1])[:, None]  # noqa: E731
    x = torch.ones(1, 2, dtype=D)
    best = torch.tensor([[0.5, 0.5]], dtype=D)
    found = float(metrics.infidelity(model, x, best, samples=20_000))
    assert found == pytest.approx(0.125, rel=0.05)  # a wrong half in two of four sets


def test_rows_are_alone_in_infidelity():
    net, x = conv_net().double(), noise(3, 3, 16, 16).double()
    maps = torch.rand(3, 16, 16, dtype=D)
    how = {"target": [0, 1, 0], "samples": 8, "width": 4}
    whole = metrics.infidelity(net, x, maps, **how)
    alone = metrics.infidelity(net, x[1:2], maps[1:2], **{**how, "target": [1]})
    assert torch.allclose(whole[1:2], alone, rtol=1e-9)


# ------------------------------------------------------------------------------------ monotonicity


def test_every_step_of_a_linear_model_goes_where_its_shares_say():
    assert metrics.monotonicity(linear(W), X, SHARES, target=RAW).tolist() == [1, 1]
    assert metrics.monotonicity(linear(W), X, -SHARES, target=RAW).tolist() == [0, 0]


def test_a_half_wrong_map_is_half_monotone():
    weight = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=D)
    said = torch.tensor([[2.0, -1.0, 1.0, -2.0]], dtype=D)
    found = metrics.monotonicity(linear(weight), torch.ones(1, 4, dtype=D), said, target=RAW)
    assert found.tolist() == [0.5]


# -------------------------------------------------------------------------------------------- ROAD


def test_a_plane_is_guessed_exactly_inside_the_picture():
    i, j = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing="ij")
    x = torch.stack([2 * i - j, i + 3 * j])[None].double()
    gone = torch.zeros(1, 1, 9, 7, dtype=torch.bool)
    gone[..., 2:7, 1:5] = True  # a plane is the mean of its neighbours, away from the edge
    assert torch.allclose(imputed(x, gone), x, atol=1e-3)


@few
@given(seed=strategies.seeds)
def test_what_is_guessed_solves_the_linear_system(seed):
    x = draw(seed, 1, 1, 5, 6)
    gone = torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(seed)) < 0.7
    gone[..., 0, 0] = False
    found = imputed(x, gone)
    size = 30
    w = torch.zeros(size, size, dtype=D)
    for p in range(size):
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                i, j = p // 6 + di, p % 6 + dj
                if (di or dj) and 0 <= i < 5 and 0 <= j < 6:
                    w[p, 6 * i + j] = 1 / 12 if di and dj else 1 / 6
    m = gone.flatten()
    matrix = (w.sum(1).diag() - w)[m]
    right = -matrix[:, ~m] @ x.flatten()[~m]
    exact = torch.linalg.solve(matrix[:, m], right) if m.any() else x.flatten()[m]
    assert torch.allclose(found.flatten()[m], exact, atol=1e-3)
    assert torch.equal(found.flatten()[~m], x.flatten()[~m])


@few
@given(seed=strategies.seeds, share=st.floats(0.01, 0.999), clumped=st.booleans())
def test_holes_of_any_size_are_filled_until_the_system_is_solved(seed, share, clumped):
    x = draw(seed, 2, 2, 61, 45)
    holes = draw(seed + 1, 2, 1, 61, 45)
    holes = functional.avg_pool2d(holes, 15, 1, 7) if clumped else holes
    gone = holes < holes.flatten(1).quantile(share, 1)[:, None, None, None]
    found = imputed(x, gone)
    sums = functional.conv2d(found.reshape(4, 1, 61, 45), KERNEL, padding=1).reshape(x.shape)
    weights = functional.conv2d(torch.ones(1, 1, 61, 45, dtype=D), KERNEL, padding=1)
    assert torch.equal(found[~gone.expand_as(x)], x[~gone.expand_as(x)])
    assert ((found * weights - sums) * gone).abs().max() < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_a_picture_of_which_one_pixel_is_left_is_of_its_colour(dtype):
    x = torch.rand(1, 3, 224, 224, dtype=dtype)
    gone = torch.ones(1, 1, 224, 224, dtype=torch.bool)
    gone[..., 100, 30] = False
    assert torch.allclose(imputed(x, gone), x[..., 100:101, 30:31].expand_as(x), atol=1e-2)
    assert torch.equal(imputed(x, torch.ones_like(gone), 0.5), torch.full_like(x, 0.5))


def test_a_guess_never_leaves_the_range_of_what_stays():
    x = torch.rand(2, 3, 12, 12, dtype=D)
    gone = torch.rand(2, 1, 12, 12) < 0.9
    gone[..., 3, 3] = False
    found = imputed(x, gone)
    assert (found >= x.amin((2, 3), keepdim=True) - 1e-4).all()
    assert (found <= x.amax((2, 3), keepdim=True) + 1e-4).all()


def test_road_of_a_smooth_picture_loses_nothing():
    flat = torch.full((1, 3, 8, 8), 0.5, dtype=D)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).double()
    found = metrics.road(net, flat, torch.rand(1, 8, 8), noise=0.0)
    assert torch.allclose(found.scores, found.scores[:, :1].expand_as(found.scores), atol=1e-4)
    assert found.fractions.tolist() == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9]


def test_road_refuses_what_has_no_neighbours():
    with pytest.raises(ig.InputError, match="expected pictures"):
        metrics.road(linear(W), X, SHARES)
    with pytest.raises(ig.InputError, match="rising shares"):
        metrics.road(conv_net(), noise(1, 3, 16, 16), torch.rand(1, 16, 16), fractions=(0.5, 1.0))


# --------------------------------------------------------------------------------------- intervals


def test_students_t_is_that_of_the_tables():
    stats = pytest.importorskip("scipy.stats")
    for n in (1, 2, 3, 7, 30, 500):
        assert student(n) == pytest.approx(stats.t.ppf(0.975, n), rel=1e-4)
    assert student(4, 0.8) == pytest.approx(stats.t.ppf(0.9, 4), rel=1e-4)


def test_nineteen_of_twenty_intervals_hold_the_mean():
    rows = draw(3, 4000, 5)
    widths = torch.tensor([half_width(r) for r in rows])
    held = (rows.mean(1).abs() <= widths).double().mean()
    assert float(held) == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors
    assert torch.tensor(half_width(rows[0, :1])).isnan()

"""Removal curves at points found for them: the area of the curve with every unit a step, and its error."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import intgrad as ig
from intgrad.audit import metrics
from intgrad.audit.refined import by_pairs, refined
from nets import Counted, conv_net, noise
from test_metrics import RAW, SHARES, W, X, draw, linear


def asked_of(curves):
    """A score function of known curves (rows, units + 1), and how often each row was asked."""
    count = torch.zeros(len(curves), dtype=torch.long)

    def score(rows, moved):
        count.index_add_(0, rows, torch.ones_like(rows))
        return curves[rows, moved]

    return score, count


def known(curves, rtol=0.01, most=500):
    """The area found and its error as shares of the range, the true area, and the points asked."""
    score, count = asked_of(curves)
    units = curves.shape[1] - 1
    moved, scores, error = refined(score, curves[:, [0, -1]], units, rtol, most)
    area = torch.trapezoid(scores, moved.double() / units, dim=1)
    truth = torch.trapezoid(curves, dx=1 / units, dim=1)
    return area, error, truth, count


def hinges(seed, rows, units):
    """Convex falling curves: sums of max(0, 1 - k / a)."""
    at = draw(seed, rows, 5).abs().double() * units / 2 + 1
    k = torch.arange(units + 1).double()
    return (1 - k / at[..., None]).clamp(min=0).mean(1)


@given(st.integers(0, 10_000), st.integers(1, 5000), st.sampled_from([0.1, 0.01, 1e-3]))
def test_of_convex_curves_the_error_is_a_bound_and_within_the_tolerance(seed, units, rtol):
    curves = hinges(seed, 3, units)
    area, error, truth, count = known(curves, rtol)
    range_ = curves.amax(1) - curves.amin(1)
    assert ((area - truth).abs() <= error + 1e-12).all()
    assert (error <= rtol * range_ + 1e-12).all()
    assert (count <= max(units - 1, 1)).all()


@given(st.integers(0, 10_000), st.integers(1, 400))
def test_a_tolerance_of_next_to_nothing_asks_every_unit_that_counts(seed, units):
    curves = draw(seed, 2, units + 1).double()
    area, error, truth, _ = known(curves, 1e-12, most=10_000)
    assert torch.allclose(area, truth, atol=1e-12)
    assert (error <= 1e-9).all()


@given(st.integers(0, 10_000), st.integers(19, 200))
def test_no_row_is_asked_at_more_points_than_it_may_be(seed, most):
    curves = draw(seed, 3, 2001).double()  # nothing but noise
    _, error, _, count = known(curves, 1e-6, most)
    assert (count + 2 <= most).all()
    assert (count + 2 >= most - 2).all()
    assert (error > 0).all()  # and it says that this was not enough


def test_a_fall_within_the_first_hundredth_takes_a_tenth_of_the_points_that_equal_steps_take():
    k = torch.arange(50_177).double()
    curve = torch.exp(-k / 100)[None]
    area, error, truth, count = known(curve, 0.001)
    off = abs(float(area - truth))
    assert off <= float(error) <= 0.001
    steps = 10 * (int(count) + 2)
    equal = torch.trapezoid(curve[:, :: 50_176 // steps], dx=1 / steps)
    assert abs(float(equal - truth)) > off


@given(st.integers(0, 1000))
def test_rows_know_nothing_of_each_other(seed):
    curves = torch.cat([hinges(seed, 2, 3000), draw(seed, 1, 3001).double()])
    together = known(curves, 0.003, 60)
    for k in range(3):
        alone = known(curves[k : k + 1], 0.003, 60)
        assert all(torch.allclose(a[0], t[k]) for a, t in zip(alone, together, strict=True))


@given(st.integers(0, 10_000))
def test_of_falls_that_wander_hardly_any_is_off_by_more_than_the_tolerance(seed):
    curves = hinges(seed, 200, 4000) + draw(seed, 200, 4001).double().cumsum(1) / 600
    area, error, truth, _ = known(curves, 0.01)
    off = (area - truth).abs()
    assert (off > 0.01 * (curves.amax(1) - curves.amin(1))).sum() <= 1
    assert (off > error).sum() <= 10


def test_a_flat_curve_is_asked_no_further():
    _, error, _, count = known(torch.full((1, 1001), 3.0).double())
    assert float(error) == 0
    assert int(count) == 15


def test_rounding_is_not_looked_into():
    net, x = conv_net(0, torch.float32), noise(2, 3, 64, 64)
    still = lambda z: 5 + 3e-4 * net(z[..., :8, :8])  # noqa: E731
    found = metrics.deletion(still, x, noise(2, 64, 64), target=ig.Logit(0), rtol=0.01)
    assert found.scores.shape[1] == 17
    assert (found.error < 4 * 5 * torch.finfo(torch.float32).eps).all()


def test_the_error_of_equal_steps_comes_from_every_second_point():
    fractions = torch.linspace(0, 1, 5).double()
    convex = (1 - fractions)[None] ** 4
    found = by_pairs(fractions, convex)
    assert abs(float(torch.trapezoid(convex, fractions)) - 0.2) <= float(found)
    assert by_pairs(fractions[:2], convex[:, :2]).isnan().all()


# ---------------------------------------------------------------------------------- of models


@pytest.mark.parametrize("name", ["deletion", "insertion", "lerf"])
def test_the_area_is_that_of_every_unit_a_step(name):
    net, x = conv_net(0, torch.float32), noise(2, 3, 8, 8).float()
    a = noise(2, 1, 8, 8).float()
    every = getattr(metrics, name)(net, x, a, target=ig.Logit(1), steps=64)
    found = getattr(metrics, name)(net, x, a, target=ig.Logit(1), rtol=0.02)
    assert found.fractions.shape == found.scores.shape
    assert every.error.equal(torch.zeros(2, dtype=torch.float64))
    range_ = every.scores.amax(1) - every.scores.amin(1)
    assert ((found.auc - every.auc).abs() <= 0.02 * range_).all()
    assert (found.error <= 0.02 * range_ * (1 + 1e-9)).all()


def test_each_point_costs_one_forward():
    net = Counted(conv_net(0, torch.float32))
    x, a = noise(1, 3, 8, 8).float(), noise(1, 1, 8, 8).float()
    found = metrics.deletion(net, x, a, target=ig.Logit(1), rtol=0.05, width=1)
    assert sum(net.sizes) == found.scores.shape[1]


def test_the_least_important_first_is_the_most_important_put_in():
    rest, put_in = (
        f(linear(W), X[:1], SHARES[:1], target=RAW) for f in (metrics.lerf, metrics.insertion)
    )
    mirrored = metrics.deletion(linear(W), X[:1], -SHARES[:1], target=RAW)
    assert torch.allclose(rest.scores, mirrored.scores)
    assert torch.allclose(rest.fractions, mirrored.fractions)
    assert torch.allclose(rest.auc, put_in.auc)
    both = metrics.abpc(linear(W), X, SHARES, target=RAW)
    assert both.equal(metrics.diff_id(linear(W), X, SHARES, target=RAW))


def test_the_mean_fall_of_points_found_is_the_area_over_the_curve():
    found = metrics.deletion(linear(W), X, SHARES, target=RAW, rtol=0.01)
    assert torch.allclose(found.aopc, found.scores[:, 0] - found.auc)
    assert metrics.aopc(linear(W), X, SHARES, target=RAW, rtol=0.01).equal(found.aopc)


@pytest.mark.parametrize("rtol", [0, -1.0, 1, 3])
def test_a_tolerance_that_is_no_share_gets_a_sentence(rtol):
    with pytest.raises(ig.InputError, match="expected a share of the scores' range"):
        metrics.deletion(linear(W), X, SHARES, target=RAW, rtol=rtol)

"""Adaptive noise: the line search on paper, a metric whose best sigma is known, and its cost."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import intgrad as ig
from intgrad.audit import adaptive_noise, metrics
from intgrad.audit.noising import search
from intgrad.model.cost import FORWARD
from nets import Counted, conv_net, noise, relu_mlp, untouched

D = torch.float64


def sigmas(trials):
    return [t.sigma for t in trials]


# ---------------------------------------------------------------------------------- the line search


def test_the_search_is_the_published_one():
    found = search(lambda s: (s - 0.5) ** 2, 0.27, 4)
    # up, up, then past the best: down again is worse than where it was, so the step shrinks
    assert sigmas(found) == pytest.approx([0.27, 0.37, 0.47, 0.57, 0.37, 0.46])


def test_a_search_that_only_gets_worse_ends_at_the_fourth_step():
    calls = iter(range(100))
    found = search(lambda s: next(calls), 1.0, 20)
    step = [0.1 * 0.9**k for k in range(4)]
    assert len(found) == 9
    assert found[-1].sigma == pytest.approx(1.0 - sum(step))
    assert found[-2].sigma == pytest.approx(1.0 - sum(step[:3]) + step[3])


def test_a_search_that_only_gets_better_takes_all_its_steps():
    assert sigmas(search(lambda s: -s, 0.5, 20)) == pytest.approx([0.5 + k / 10 for k in range(21)])


def test_it_is_reflected_at_zero_which_it_never_tries():
    assert sigmas(search(lambda s: s, 0.04, 1)) == pytest.approx([0.04, 0.14, 0.06])
    assert sigmas(search(lambda s: s, 0.1, 1)) == pytest.approx([0.1, 0.2, 0.05])


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=41, max_size=41), st.floats(0, 3), st.integers(1, 20))
def test_any_metric_takes_at_most_two_trials_a_step(said, start, steps):
    values = iter(said)
    found = search(lambda s: next(values), start, steps)
    assert len(found) <= 1 + 2 * steps
    assert all(t.sigma > 0 for t in found[1:])
    assert [t.metric for t in found] == said[: len(found)]


@settings(deadline=None)
@given(st.floats(0.05, 2), st.floats(0, 2))
def test_a_valley_within_reach_is_found_to_a_step(best, start):
    found = search(lambda s: abs(s - best), start, 20)
    assert min(t.metric for t in found) <= 0.1 + 1e-9


# ------------------------------------------------------------------------------------ closed forms

W = torch.tensor([3.0, -1.0, 2.0, 0.5], dtype=D)
X = torch.tensor([[0.2, -0.4, 0.1, 0.3], [1.0, -0.5, 0.5, 2.0]], dtype=D)


def line(x):
    return torch.stack([x @ W, torch.zeros_like(x[:, 0])], 1)


def length(samples: int, seed: int = 0) -> float:
    """L1 norm of SmoothTaylor's values at sigma = 1: on a line they are -sigma mean(noise) w."""
    draw = torch.randn(samples, 4, generator=torch.Generator().manual_seed(seed))
    return float((draw.double().mean(0) * W).abs().sum())


@pytest.mark.parametrize("seed", [0, 3])
def test_the_best_sigma_of_a_known_metric_is_found(seed):
    unit = length(8, seed)
    wanted = 0.7 * unit
    metric = lambda v: (v.abs().flatten(1).sum(1) - wanted).square()  # noqa: E731
    found = adaptive_noise(line, X, metric=metric, target=0, samples=8, seed=seed)
    assert (found.sigma - 0.7).abs().max() < 0.1  # a step
    for i, trials in enumerate(found.trials):
        assert trials[0].sigma == pytest.approx(float(X[i].abs().mean()))
        for t in trials:
            assert t.metric == pytest.approx((t.sigma * unit - wanted) ** 2, rel=1e-5, abs=1e-7)
        best = min(trials, key=lambda t: t.metric)
        assert (found.sigma[i], found.metric[i]) == (best.sigma, best.metric)
        assert float(found.attributions[i].values.abs().sum()) == pytest.approx(
            best.sigma * unit, rel=1e-6
        )


def pictures(rows: int) -> tuple[nn.Module, torch.Tensor]:
    return conv_net(), noise(rows, 3, 48, 48)


def test_the_answer_is_that_of_smooth_taylor_and_its_metric_was_made_small():
    net, x = pictures(1)
    found = adaptive_noise(net, x, samples=4, steps=3)
    again = ig.methods.smooth_taylor(float(found.sigma), 4)(net, x)
    assert torch.equal(found.attributions[0].values, again.values)
    assert found.attributions[0].recipe == again.recipe
    assert found.metric.tolist() == metrics.autvc(again).tolist()
    assert found.metric[0] < found.trials[0][0].metric


def test_a_metric_may_ask_the_model_about_its_row():
    net, x = pictures(1)
    how = {"steps": 4, "target": 1}
    removed = lambda v: metrics.deletion(net, x, v, **how).auc  # noqa: E731
    found = adaptive_noise(net, x, metric=removed, target=1, samples=4, steps=2)
    assert torch.equal(found.metric, removed(found.attributions[0].values))


# --------------------------------------------------------------------- what it costs, what it is of


def test_every_row_through_the_model_is_counted():
    net, x = relu_mlp(), noise(3, 6)
    counted, samples, bare = Counted(net), 5, {"check": False, "width": 1}
    found = adaptive_noise(counted, x, metric=roughness, samples=samples, steps=4, **bare)
    trials = torch.tensor([len(t) for t in found.trials])
    # a copy: its value and its gradient; x: its value, and a gradient for the floor
    assert sum(counted.sizes) == int(trials.sum()) * 2 * (samples + 1) + len(x)
    once = (1 + FORWARD) * (samples + 1)
    assert torch.allclose(found.evaluations, trials.double() * once + FORWARD)


def roughness(values):
    return values.flatten(1).diff(dim=1).abs().sum(1) / values.flatten(1).abs().sum(1)


def test_a_row_does_not_depend_on_its_batch_mates():
    net, x = relu_mlp(), noise(4, 6)
    how = {"metric": roughness, "samples": 6, "steps": 5}
    whole = adaptive_noise(net, x, **how)
    for i in range(len(x)):
        alone = adaptive_noise(net, x[i : i + 1], **how)
        assert alone.trials[0] == whole.trials[i]
        assert torch.equal(alone.attributions[0].values, whole.attributions[i].values)
        assert torch.equal(alone.evaluations, whole.evaluations[i : i + 1])
    turned = adaptive_noise(net, x.flip(0), **how)
    assert turned.trials == whole.trials[::-1]


def test_each_row_has_its_own_target_and_its_own_extras():
    shift = torch.tensor([0.0, 1.0, 2.0])
    net = relu_mlp()
    model = lambda x, shift: net(x) * (1 + shift[:, None])  # noqa: E731
    x, how = noise(3, 6), {"metric": roughness, "samples": 4, "steps": 2}
    found = adaptive_noise(model, x, target=[0, 3, 1], given={"shift": shift}, **how)
    for i, y in enumerate((0, 3, 1)):
        own = {"target": y, "given": {"shift": shift[i : i + 1]}}
        alone = adaptive_noise(model, x[i : i + 1], **own, **how)
        assert alone.trials[0] == found.trials[i]
        assert found.attributions[i].targets == alone.attributions[0].targets
    best = adaptive_noise(model, x, given={"shift": shift}, **how)
    assert [a.targets[0] for a in best.attributions] == [
        f"logit of class {c} (predicted)" for c in model(x, shift).argmax(1).tolist()
    ]


def test_a_row_of_zeros_is_never_without_noise():
    found = adaptive_noise(relu_mlp(), torch.zeros(1, 6), metric=roughness, samples=3, steps=3)
    assert found.trials[0][0].sigma == 0.1
    assert all(t.sigma > 0 for t in found.trials[0])


def test_the_model_is_left_as_it_was():
    net = conv_net()
    with untouched(net):
        adaptive_noise(net, noise(1, 3, 8, 8), metric=roughness, samples=2, steps=1)


# --------------------------------------------------------------------------------------- refusals

REFUSED = {
    "two numbers": ({"metric": lambda v: v.flatten()[:2]}, "one finite number"),
    "no tensor": ({"metric": lambda v: 1.0}, "one finite number"),
    "NaN": ({"metric": lambda v: v.flatten()[:1] * math.nan}, "nan.*one finite number"),
    "no steps": ({"steps": 0}, "steps=0"),
    "no copies": ({"samples": 0}, "samples=0"),
    "several targets": ({"target": ig.All()}, "4 numbers a row.*one by one"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_searched_is_refused(what):
    how, said = REFUSED[what]
    with pytest.raises(ig.errors.IntgradError, match=said):
        adaptive_noise(relu_mlp(), noise(2, 6), **{"metric": roughness, "samples": 2, **how})


def test_a_tuple_is_refused():
    with pytest.raises(ig.InputError, match="one tensor"):
        adaptive_noise(lambda a, b: a + b, (noise(2, 6), noise(2, 6)))  # type: ignore[arg-type]

"""Beside PAIR's `saliency`: the same guided path, and batches on which only its Blur IG depends."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

import intgrad as ig
from nets import noise

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
D = torch.float64
two_points_know_no_error = pytest.mark.filterwarnings("ignore::intgrad.errors.NotConverged")


@pytest.fixture
def pair(monkeypatch):
    """The benchmarks' way to ask it."""
    pytest.importorskip("scipy")
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("lab.pair")


@pytest.fixture
def peer(pair):
    if not pair.installed():
        pytest.skip("PAIR's saliency is not installed: pip install --no-deps saliency")
    return pair


def smooth():
    """A seeded net on (n, 2, 12, 12) -> a probability (n,), and a picture for it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.GELU(), nn.AvgPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(288, 4),
        )  # fmt: skip
    net = net.to(D).eval().requires_grad_(False)
    return (lambda z: (4 * net(z)).softmax(1)[:, 1]), noise(1, 2, 12, 12, dtype=D)


def test_its_blur_ig_depends_on_the_batch_size_and_ours_does_not(peer):
    f, x = smooth()
    how = {"max_sigma": 8.0, "steps": 30}
    theirs = lambda b, **more: peer.blur_ig(f, x[0], batch_size=b, **how, **more)  # noqa: E731
    apart = lambda a, b: float((a - b).abs().sum() / b.abs().sum())  # noqa: E731
    assert apart(theirs(7), theirs(1)) < 1e-12  # steps of one length: any of them will do
    for many in (7, 30):  # the last step of a batch stands for all of it
        assert apart(theirs(many, sqrt=True), theirs(1, sqrt=True)) > 0.05
    path, rule = ig.ScaleSpace(8.0), ig.GaussLegendre(30)
    ours = lambda w: ig.attribute(f, x, path=path, quadrature=rule, width=w).values  # noqa: E731
    for many in (7, 30):
        assert apart(ours(many), ours(1)) < 1e-12


class Seen(ig.Guided):
    """A guided path that shows what it traced."""

    def trace(self, oracle, curves):
        found = super().trace(oracle, curves)
        object.__setattr__(self, "traced", found)
        return found


@two_points_know_no_error
def test_its_guided_path_is_ours(peer):
    f, x = smooth()
    _, theirs = peer.guided_ig(f, x[0], 20)
    path = Seen(20)
    ig.attribute(f, x, path=path, quadrature=ig.GaussLegendre(2))
    (knots,) = path.traced.start.points  # type: ignore[attr-defined]
    assert len(theirs) == 20
    assert (knots[:20] - theirs).abs().max() < 1e-6 * theirs.abs().max()
    assert torch.equal(knots[20:], x)


@two_points_know_no_error
def test_two_gauss_points_a_segment_close_the_gap_that_its_sum_leaves(peer):
    f, x = smooth()
    a = ig.attribute(f, x, path=ig.Guided(20), quadrature=ig.GaussLegendre(2))
    gain = float(f(x) - f(torch.zeros_like(x)))
    mask, _ = peer.guided_ig(f, x[0], 200)
    assert a.backwards == 19 + 2 * 20 + 1  # traced, integrated, and one for the floor
    assert abs(float(a.residual)) < abs(float(mask.sum()) - gain) / 100


def test_the_limit_of_its_blur_ig_is_complete_on_its_own_path(pair):
    f, x = smooth()
    gain = float(f(x) - f(pair.blurred(x[0], 8.0)[None]))
    gaps = [abs(float(pair.blur_limit(f, x[0], 8.0, n).sum()) - gain) for n in (100, 200)]
    assert gaps[1] < 1e-4 * abs(gain)
    assert gaps[1] < gaps[0] / 2


def test_its_blur_ig_converges_to_that_limit(peer):
    f, x = smooth()
    limit = peer.blur_limit(f, x[0], 8.0, 400)
    off = [
        float((peer.blur_ig(f, x[0], 8.0, n) - limit).abs().sum() / limit.abs().sum())
        for n in (40, 160)
    ]
    assert off[1] < off[0] / 2
    assert off[1] < 0.05

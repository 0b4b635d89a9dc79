"""Every path against closed forms, by hand and by plain loops; and what it refuses."""

import itertools
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import intgrad as ig
from intgrad.path.heat import frequencies, from_cosines, heat, to_cosines
from nets import gelu_mlp, noise, relu_mlp

EXACT = ig.GaussLegendre(64)  # on smooth nets


def relative(found, expected):
    return float((found - expected).abs().sum() / expected.abs().sum())


# ------------------------------------------------------------------------------------ the heat kernel


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 30))
def test_blur_by_cosines_is_blur_by_the_sum_over_mirror_images(height, width, sigma):
    x = noise(1, 2, height, width, dtype=torch.float64)
    assert torch.allclose(
        heat(x, sigma, (2, 3)), by_matrix(by_matrix(x, sigma), sigma, 2), atol=1e-12
    )
    assert torch.allclose(from_cosines(to_cosines(x, (2, 3)), (2, 3)), x, atol=1e-13)


def by_matrix(x, sigma, axis=3):
    n = x.shape[axis]
    k = torch.arange(n, dtype=torch.float64)
    cosines = torch.cos(math.pi * k[:, None] * (k[None] + 0.5) / n)
    cosines[0] *= math.sqrt(0.5)
    decay = torch.exp(-0.5 * (math.pi * k * sigma / n) ** 2)
    kernel = (cosines * decay[:, None]).T @ cosines * (2 / n)
    return (x.movedim(axis, -1) @ kernel.T).movedim(-1, axis)


# ------------------------------------------------------------------------------------ scale space


@pytest.mark.parametrize(
    "shape", [(2, 1, 7), (2, 3, 4, 5), (1, 2, 3, 4, 3)], ids=["1-D", "2-D", "3-D"]
)
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_scale_space_of_a_square_is_its_closed_form(shape, power):
    """f = (u . x)^2: pairs of frequencies k, l contribute l^2 / (k^2 + l^2) of what they gain."""
    x, u = noise(*shape, dtype=torch.float64), noise(*shape[1:], seed=3, dtype=torch.float64)
    axes, sigma = tuple(range(2, len(shape))), 1.5
    a = ig.attribute(
        lambda z: (z * u).flatten(1).sum(1).square(),
        x,
        path=ig.ScaleSpace(sigma, power=power),
        quadrature=EXACT,
    )
    assert relative(a.values, squared(x, u, sigma, axes)) < 1e-7
    assert torch.allclose(a.baseline_output, (heat(x, sigma, axes) * u).flatten(1).sum(1).square())


def squared(x, u, sigma, axes):
    square = frequencies(x, axes)[0].expand(x.shape[1:]).reshape(-1)
    modes = torch.eye(x[0].numel(), dtype=torch.float64).reshape(-1, *x.shape[1:])
    modes = from_cosines(modes, axes)  # what each coefficient stands for
    amplitude = to_cosines(x, axes).flatten(1)
    weight = amplitude * (modes * u).flatten(1).sum(1)  # of each mode in u . x
    both = square[:, None] + square[None]
    share = torch.where(both > 0, square[None] / both.clamp(min=1e-300), 0.0)
    share = share * (1 - torch.exp(-both * sigma**2 / 2))
    coefficient = 2 * torch.einsum("rk,kl,rl->rl", weight, share, amplitude)
    return torch.einsum("rl,lf->rf", coefficient, modes.flatten(1)).reshape(x.shape) * u


def test_the_integral_does_not_depend_on_the_schedule():
    model = nn.Sequential(nn.Flatten(), gelu_mlp(dtype=torch.float64, features=24))
    x = noise(2, 1, 4, 6, dtype=torch.float64)
    answers = [
        ig.attribute(model, x, path=ig.ScaleSpace(3.0, power=p), quadrature=EXACT).values
        for p in (0.5, 1.0, 3.0)
    ]
    assert relative(answers[1], answers[0]) < 1e-7
    assert relative(answers[2], answers[0]) < 1e-7


def test_scales_add_up_to_the_whole_and_each_is_complete():
    model = nn.Sequential(nn.Flatten(), gelu_mlp(dtype=torch.float64, features=24))
    x = noise(3, 1, 4, 6, dtype=torch.float64)
    whole = ig.attribute(model, x, path=ig.ScaleSpace(6.0), quadrature=EXACT)
    cut = ig.attribute(model, x, path=ig.ScaleSpace(6.0, scales=(2.0, 0.7)), quadrature=EXACT)
    assert relative(cut.values, whole.values) < 1e-7
    assert list(cut.by_scale()) == [(6.0, 2.0), (2.0, 0.7), (0.7, 0.0)]
    for (coarse, fine), part in cut.by_scale().items():
        ends = [heat(x, s, (2, 3)) for s in (fine, coarse)]
        gain = [model(e).gather(1, model(x).argmax(1, keepdim=True))[:, 0] for e in ends]
        assert torch.allclose(part.values.flatten(1).sum(1), gain[0] - gain[1], atol=1e-8)
    assert torch.allclose(cut.output, whole.output)
    assert torch.allclose(cut.baseline_output, whole.baseline_output)
    assert cut.residual.abs().max() < 1e-8
    assert cut.spread is None


def test_an_attribution_without_scales_says_how_to_get_them():
    with pytest.raises(ig.InputError, match="scales="):
        ig.attribute(lambda z: z.sum(1), torch.ones(1, 2)).by_scale()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (lambda: ig.ScaleSpace(-1.0), "max_sigma above 0"),
        (lambda: ig.ScaleSpace(math.inf), "finite"),
        (lambda: ig.ScaleSpace(2.0, power=0.2), "power of at least"),
        (lambda: ig.ScaleSpace(2.0, scales=(3.0,)), "fall"),
        (lambda: ig.Spectral(1.5), "0 to 1"),
        (lambda: ig.Guided(0), "whole number"),
        (lambda: ig.Guided(5, fraction=0.0), "fraction"),
        (lambda: ig.Left(0.0), "above 0"),
        (lambda: ig.Permutation(groups=[0, 1], axis=1), "one of them"),
        (lambda: ig.Permutation(groups=[0.5, 1.0]), "whole numbers"),
    ],
)
def test_a_path_that_cannot_be_is_refused(path, words):
    with pytest.raises(ig.InputError, match=words):
        path()


@pytest.mark.parametrize(
    ("path", "x", "words"),
    [
        (ig.ScaleSpace(2.0), noise(2, 5), "neighbours to blur"),
        (ig.ScaleSpace(2.0, axes=(4,)), noise(2, 1, 5), "axes from 1 to 2"),
        (ig.Spectral(), noise(2, 5), "a matrix a row"),
        (ig.Sequential(axis=3), noise(2, 1, 5), "an axis from 1 to 2"),
        (ig.Polyline(noise(2, 3)), noise(2, 5), "to match x"),
        (ig.Permutation(), noise(2, 20), "too many"),
        (ig.Permutation(groups=[0, 1]), noise(2, 5), "expected"),
        (ig.Permutation(axis=2), noise(2, 5), "axis=2"),
    ],
)
def test_x_that_a_path_cannot_take_is_refused(path, x, words):
    with pytest.raises(ig.InputError, match=words):
        ig.attribute(lambda z: z.flatten(1).sum(1), x, path=path)


# ------------------------------------------------------------------------------------ spectral


def test_a_spectral_path_with_full_overlap_is_the_straight_line():
    model = nn.Sequential(nn.Flatten(), gelu_mlp(dtype=torch.float64, features=12))
    x = noise(2, 3, 4, dtype=torch.float64)
    spectral, straight = (
        ig.attribute(model, x, path=p, quadrature=ig.GaussLegendre(20))
        for p in (ig.Spectral(1.0), ig.Straight())
    )
    assert torch.allclose(spectral.values, straight.values, atol=1e-13)


def test_a_spectral_path_without_overlap_goes_through_the_truncated_decompositions():
    model = nn.Sequential(nn.Flatten(), gelu_mlp(dtype=torch.float64, features=12))
    x = noise(2, 3, 4, dtype=torch.float64)
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    knots = [(u[..., :k] * s[:, None, :k]) @ v[:, :k] for k in (1, 2)]
    by_hand = ig.attribute(model, x, path=ig.Polyline(torch.stack(knots)), quadrature=EXACT)
    spectral = ig.attribute(model, x, path=ig.Spectral(0.0), quadrature=ig.Midpoint(3 * 2000))
    assert relative(spectral.values, by_hand.values) < 1e-6


# ------------------------------------------------------------------------------------ polylines


def test_a_corner_decides_what_a_product_is_shared_by():
    x = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    for corner, expected in (([2.0, 0.0], [0.0, 6.0]), ([0.0, 3.0], [6.0, 0.0])):
        a = ig.attribute(
            lambda z: z.prod(1), x, path=ig.Polyline(torch.tensor([corner], dtype=torch.float64))
        )
        assert torch.allclose(a.values, torch.tensor([expected], dtype=torch.float64), atol=1e-14)
        assert a.residual.abs().max() < 1e-14


def test_rows_may_have_corners_of_their_own():
    x = torch.tensor([[2.0, 3.0], [1.0, 5.0]], dtype=torch.float64)
    corners = torch.tensor([[[2.0, 0.0], [0.0, 5.0]]], dtype=torch.float64)
    a = ig.attribute(lambda z: z.prod(1), x, path=ig.Polyline(corners))
    assert torch.allclose(a.values, torch.tensor([[0.0, 6.0], [5.0, 0.0]], dtype=torch.float64))


# ------------------------------------------------------------------------------------ guided


def published(gradient, x, baseline, steps, fraction, max_dist):
    """The knots of the published algorithm for one row, in plain Python."""
    n, at, knots = len(x), list(baseline), [list(baseline)]
    whole = sum(abs(a - b) for a, b in zip(x, baseline, strict=True))
    for step in range(steps):
        size = [abs(g) for g in gradient(at)]
        share = (step + 1) / steps
        low, high = (
            [b + min(max(share + d, 0), 1) * (e - b) for b, e in zip(baseline, x, strict=True)]
            for d in (-max_dist, max_dist)
        )
        target = whole * (1 - share)
        while True:
            at = [
                lo if (a - lo) * math.copysign(1, e - b) < 0 else a
                for a, lo, b, e in zip(at, low, baseline, x, strict=True)
            ]
            left = sum(abs(e - a) for e, a in zip(x, at, strict=True))
            if abs(left - target) <= 1e-9 * max(left, target, 1):
                break
            size = [math.inf if a == h else s for a, h, s in zip(at, high, size, strict=True)]
            threshold = sorted(size)[int(fraction * (n - 1))]
            chosen = [s <= threshold and s < math.inf for s in size]
            room = sum(abs(h - a) for h, a, c in zip(high, at, chosen, strict=True) if c)
            gamma = (left - target) / room if room > 0 else math.inf
            at = [
                (h if gamma > 1 else a + gamma * (h - a)) if c else a
                for a, h, c in zip(at, high, chosen, strict=True)
            ]
            if gamma <= 1:
                break
        knots.append(list(at))
    return knots


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.sampled_from([0.1, 0.25, 0.6]), st.sampled_from([0.02, 0.2, 1.0]))
def test_the_guided_trace_is_the_published_one(steps, fraction, max_dist):
    model = gelu_mlp(dtype=torch.float64)
    x = noise(3, 6, seed=steps, dtype=torch.float64)
    path, asked = ig.Guided(steps, fraction, max_dist), []

    def oracle(point, rows):
        z = point[0].detach().requires_grad_()
        return None, torch.autograd.grad(model(z)[:, 1].sum(), (z,))

    curves = ig.Constant(0.3)((x,), torch.arange(3), 0)
    segments = path.trace(oracle, curves)
    (ends,) = segments.end.take(torch.arange(len(segments)))
    for row in range(3):

        def gradient(at):
            (g,) = oracle((torch.tensor([at], dtype=torch.float64),), None)[1]
            return g[0].tolist()

        knots = published(gradient, x[row].tolist(), [0.3] * 6, steps, fraction, max_dist)
        found = ends[segments.row == row]
        assert torch.allclose(found, torch.tensor(knots[1:], dtype=torch.float64), atol=1e-7)
    assert asked == []


def test_a_guided_path_without_a_corridor_is_the_straight_line():
    model, x = gelu_mlp(dtype=torch.float64), noise(2, 6, dtype=torch.float64)
    straight = ig.attribute(model, x, quadrature=EXACT)
    guided = ig.attribute(model, x, path=ig.Guided(6, max_dist=0.0), quadrature=EXACT)
    assert relative(guided.values, straight.values) < 1e-8


def test_a_guided_path_never_turns_back():
    model, x = relu_mlp(dtype=torch.float64), noise(4, 6, dtype=torch.float64)
    curves = ig.Zeros()((x,), torch.arange(4), 0)

    def oracle(point, rows):
        z = point[0].detach().requires_grad_()
        return None, torch.autograd.grad(model(z)[:, 1].sum(), (z,))

    segments = ig.Guided(12, 0.4, 0.3).trace(oracle, curves)
    every = torch.arange(len(segments))
    (start,), (end,) = segments.start.take(every), segments.end.take(every)
    assert bool(((end - start) * x[segments.row].sign() >= -1e-15).all())


def test_a_guided_path_that_meets_nan_is_refused():
    broken = lambda z: (z - 0.5).abs().sqrt().sum(1) * torch.where(z.sum(1) > 0.4, torch.nan, 1.0)  # noqa: E731
    with pytest.raises(ig.ModelError, match="NaN"):
        ig.attribute(broken, torch.full((1, 3), 0.9), path=ig.Guided(4), check=False)


def test_a_path_that_asks_the_model_follows_one_target():
    for path in (ig.Guided(4), ig.Left()):
        with pytest.raises(ig.Unsupported, match="several"):
            ig.attribute(relu_mlp(), noise(2, 6), path=path, target=ig.All())


# ------------------------------------------------------------------------------------ one at a time


@pytest.mark.parametrize("rule", [ig.Automatic(1e-6), ig.Differences()], ids=["integral", "ends"])
def test_one_place_at_a_time_is_what_its_removal_changes(rule):
    model = nn.Sequential(nn.Flatten(), gelu_mlp(dtype=torch.float64, features=6))
    x = noise(2, 3, 2, dtype=torch.float64)
    a = ig.attribute(model, x, target=1, path=ig.Sequential(), quadrature=rule)
    for place in range(3):
        without = x.clone()
        without[:, place] = 0
        gain = (model(x) - model(without))[:, 1]
        assert torch.allclose(a.values[:, place].sum(1), gain, atol=1e-7)
    assert a.residual is None


def test_a_place_that_equals_its_baseline_is_never_asked():
    x = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    a = ig.methods.occlusion()(lambda z: z.sum(1), x)
    assert torch.equal(a.values, x)
    assert a.forwards.tolist() == [1 + 2 + 1, 1 + 1][:2] or int(a.forwards[1]) < int(a.forwards[0])


# ------------------------------------------------------------------------------------ Shapley


def brute(f, x, start):
    """Shapley values of one row, by all subsets."""
    n, fact = len(x), math.factorial
    subsets = [frozenset(s) for k in range(n + 1) for s in itertools.combinations(range(n), k)]
    known = {}
    for s in subsets:
        there = torch.tensor([i in s for i in range(n)])
        known[s] = float(f(torch.where(there, x, start)[None]).detach())
    values = [
        sum(
            fact(len(s)) * fact(n - len(s) - 1) / fact(n) * (known[s | {i}] - known[s])
            for s in subsets
            if i not in s
        )
        for i in range(n)
    ]
    return torch.tensor(values, dtype=torch.float64)


def test_all_orders_are_the_shapley_value():
    model = relu_mlp(dtype=torch.float64, features=8)
    x, start = noise(2, 8, dtype=torch.float64), noise(1, 8, seed=9, dtype=torch.float64)
    f = lambda z: model(z)[:, 2]  # noqa: E731
    a = ig.methods.shapley_path(baseline=start)(model, x, target=2)
    for row in range(2):
        assert torch.allclose(a.values[row], brute(f, x[row], start[0]), atol=1e-10)
    assert a.residual.abs().max() < 1e-12
    assert a.error.max() < 1e-10
    assert int(a.forwards[0]) <= 2**8 + 3


def test_random_orders_are_complete_and_know_their_error():
    model, x = gelu_mlp(dtype=torch.float64, features=8), noise(3, 8, dtype=torch.float64)
    exact = ig.methods.shapley_path()(model, x, target=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ig.NotConverged)
        a = ig.methods.shapley_path(samples=100)(model, x, target=0)
    assert a.residual.abs().max() < 1e-12
    off = (a.values - exact.values).abs()
    assert bool((off <= 5 * a.error_map + 1e-12).all())
    assert float(off.sum() / a.error_map.sum()) > 0.2
    assert int(a.forwards[0]) <= 100 * 7 + 2 + 1 + 2


def test_groups_move_together_and_share_equally():
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    f = lambda z: z[:, 0] * z[:, 1] + z[:, 2] * z[:, 3]  # noqa: E731
    a = ig.methods.shapley_path(groups=[7, 7, 3, 5])(f, x)
    assert torch.allclose(a.values, torch.tensor([[1.0, 1.0, 6.0, 6.0]], dtype=torch.float64))
    picture = noise(2, 3, 2, 2, dtype=torch.float64)
    g = lambda z: z.flatten(1).sum(1).exp()  # noqa: E731
    b = ig.methods.shapley_path(groups=[[0, 0], [1, 1]])(g, picture)
    assert torch.allclose(b.values[:, :, 0].flatten(1).std(1), torch.zeros(2).double(), atol=1e-14)
    c = ig.methods.shapley_path(axis=2)(g, picture)
    assert torch.allclose(b.values, c.values)


def test_shapley_and_aumann_shapley_part_on_a_square():
    """Of x1^2 x2 the straight line gives 2/3 and 1/3, orders give 1/2 each; of x1 x2 both halve."""
    x = torch.ones(1, 2, dtype=torch.float64)
    for f, straight in (
        (lambda z: z[:, 0] ** 2 * z[:, 1], [2 / 3, 1 / 3]),
        (lambda z: z.prod(1), [0.5, 0.5]),
    ):
        a = ig.attribute(f, x)
        assert torch.allclose(a.values, torch.tensor([straight], dtype=torch.float64), atol=1e-12)
        b = ig.methods.shapley_path()(f, x)
        assert torch.allclose(b.values, torch.tensor([[0.5, 0.5]], dtype=torch.float64), atol=1e-14)


def test_differences_are_refused_where_many_features_move():
    with pytest.raises(ig.Unsupported, match="many do"):
        ig.attribute(relu_mlp(), noise(2, 6), quadrature=ig.Differences())
    with pytest.raises(ig.Unsupported, match="gradient times velocity"):
        ig.attribute(
            relu_mlp(), noise(2, 6), path=ig.Permutation(), quadrature=ig.Differences(),
            integrand=ig.integrand.BareGradient(),
        )  # fmt: skip


def test_every_order_of_every_target_comes_from_the_same_forwards():
    model, x = relu_mlp(dtype=torch.float64), noise(2, 6, dtype=torch.float64)
    every = ig.methods.shapley_path()(model, x, target=ig.All())
    for k in range(4):
        one = ig.methods.shapley_path()(model, x, target=k)
        assert torch.allclose(every.values[k], one.values, atol=1e-13)
    assert torch.equal(every.forwards, one.forwards)


# ------------------------------------------------------------------------------------ left


def test_left_stops_where_the_share_is_reached():
    x = torch.tensor([[1.0, 3.0], [0.2, 0.1]], dtype=torch.float64)
    f = lambda z: (z.sum(1) / 2).clamp(max=1.0)  # noqa: E731
    a = ig.methods.left_ig()(f, x)
    gain = f(x) * 0.9
    assert torch.allclose(a.values.sum(1), gain, atol=1e-5)
    assert torch.allclose(a.values, x * (gain / x.sum(1))[:, None], atol=1e-5)
    assert a.residual is None
    assert torch.allclose(a.baseline_output, torch.zeros(2, dtype=torch.float64))


# ------------------------------------------------------------------------------------ any callable


def test_any_callable_is_a_path_and_its_velocity_is_taken():
    model, x = gelu_mlp(dtype=torch.float64), noise(2, 6, dtype=torch.float64)
    bent = lambda t, start, end: start + t**2 * (end - start)  # noqa: E731
    a = ig.attribute(model, x, path=bent, quadrature=EXACT)
    assert relative(a.values, ig.attribute(model, x, quadrature=EXACT).values) < 1e-8


def short(t, start, end):
    return start + 0.9 * t * (end - start)


def late(t, start, end):
    return start + (0.1 + 0.9 * t) * (end - start)


def narrow(t, start, end):
    return (start + t * (end - start))[:, :2]


def foreign(t, start, end):
    return start + torch.from_numpy(t.numpy()) * (end - start)


class Fast(ig.Straight):
    def velocity(self, t, start, end):
        return (end - start)[:, :2]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (short, "misses its end"),
        (late, "misses its start"),
        (narrow, "points of shape"),
        (foreign, "forward mode"),
        (ig.ScaleSpace(2.0, axes=(1,)), "no other baseline"),
    ],
)
def test_a_path_that_misses_its_ends_is_refused(path, words):
    with pytest.raises(ig.InputError, match=words):
        ig.attribute(relu_mlp(), noise(2, 6), path=path, baseline=ig.Zeros())


@pytest.mark.parametrize(
    "path",
    [ig.ScaleSpace(2.0), ig.Spectral(0.4), ig.Guided(4), ig.Sequential(axis=2), ig.Left()],
    ids=lambda p: type(p).__name__,
)
def test_a_row_does_not_know_its_batch(path):
    model = nn.Sequential(nn.Flatten(), gelu_mlp(dtype=torch.float64, features=12))
    x = noise(3, 1, 3, 4, dtype=torch.float64)
    rule = ig.GaussLegendre(6, rtol=1.0)
    together = ig.attribute(model, x, target=1, path=path, quadrature=rule)
    for row in range(3):
        alone = ig.attribute(model, x[row : row + 1], target=1, path=path, quadrature=rule)
        assert torch.allclose(alone.values[0], together.values[row], rtol=1e-12, atol=1e-14)
    turned = ig.attribute(model, x.flip(0), target=1, path=path, quadrature=rule)
    assert torch.allclose(turned.values.flip(0), together.values, rtol=1e-12, atol=1e-14)


# ------------------------------------------------------------------------------------ orders


@pytest.mark.parametrize(
    ("path", "rule", "least"),
    [
        *((p, ig.Midpoint, 1.9) for p in (ig.Straight(), ig.ScaleSpace(3.0), ig.Guided(4))),
        *((p, ig.PanelAveraged, 1.9) for p in (ig.Straight(), ig.ScaleSpace(3.0), ig.Guided(4))),
        *((p, ig.LeftRiemann, 0.95) for p in (ig.Straight(), ig.ScaleSpace(3.0), ig.Spectral(0.3))),
        (ig.Spectral(0.3), ig.Midpoint, 0.95),
        (ig.Spectral(0.3), ig.PanelAveraged, 1.8),
        (ig.Sequential(), ig.Midpoint, 1.9),
    ],
    ids=lambda p: getattr(p, "__name__", None) or type(p).__name__,
)
@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
def test_every_path_is_integrated_at_the_order_of_its_rule(path, rule, least):
    """On a smooth net; a spectral path has kinks in t, which averaged panels do not mind."""
    model = nn.Sequential(nn.Flatten(), gelu_mlp(dtype=torch.float64, features=24))
    x = 2 * noise(2, 1, 4, 6, dtype=torch.float64)
    x = x[:, 0] if isinstance(path, ig.Sequential) else x
    ask = lambda q: ig.attribute(model, x, target=1, path=path, quadrature=q).values  # noqa: E731
    fine = ask(ig.PanelAveraged(4096) if isinstance(path, ig.Spectral) else EXACT)
    coarse, finer = (float((ask(rule(n)) - fine).abs().sum()) for n in (24, 96))
    assert math.log(coarse / finer, 4) > least

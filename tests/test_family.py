"""What is integrated gradients in other clothes: integrands, ensembles, baselines, against plain loops."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import intgrad as ig
from intgrad.around import SmoothGrad, SquareGrad, VarGrad
from intgrad.integrand import DecisionGradient, SquaredShares
from nets import gelu_mlp, noise, relu_mlp

QUIET = pytest.mark.filterwarnings("ignore::intgrad.NotConverged")


def gradient(model, z, k=1):
    z = z.detach().requires_grad_()
    return torch.autograd.grad(model(z)[:, k].sum(), z)[0]


# ------------------------------------------------------------------------------------ IDGI


def loop(model, x, steps, k=1):
    """The published rule, from zeros, row by row and step by step."""
    total = torch.zeros_like(x)
    for i in range(steps):
        a, b = x * (i / steps), x * ((i + 1) / steps)
        g = gradient(model, a, k)
        gain = (model(b) - model(a))[:, k].detach()
        total += g.square() / g.square().sum(1, keepdim=True) * gain[:, None]
    return total


@QUIET
@pytest.mark.parametrize("steps", [1, 3, 20])
def test_idgi_is_the_published_loop(steps):
    model, x = gelu_mlp(dtype=torch.float64), noise(3, 6, dtype=torch.float64)
    rule = ig.LeftRiemann(steps)
    a = ig.attribute(model, x, target=1, integrand=SquaredShares(published=True), quadrature=rule)
    assert torch.allclose(a.values, loop(model, x, steps), atol=1e-13)
    assert a.residual.abs().max() < 1e-13


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(0, 5), st.booleans())
def test_idgi_is_complete_at_any_number_of_steps(steps, seed, published):
    model, x = relu_mlp(seed, torch.float64), noise(2, 6, seed=seed, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ig.NotConverged)
        a = ig.attribute(
            model, x, integrand=SquaredShares(published), quadrature=ig.LeftRiemann(steps)
        )
    assert a.residual.abs().max() < 1e-13


@QUIET
@pytest.mark.parametrize("published", [True, False])
def test_idgi_survives_a_gradient_that_vanishes(published):
    """The published code divides 0 by 0 there."""
    f = lambda z: (z.sum(1) - 1).relu()  # noqa: E731
    x = torch.tensor([[1.0, 2.0], [0.1, 0.2]], dtype=torch.float64)
    a = ig.attribute(f, x, integrand=SquaredShares(published), quadrature=ig.LeftRiemann(10))
    assert bool(torch.isfinite(a.values).all())
    assert torch.allclose(a.values.sum(1), f(x), atol=1e-14)


def test_idgi_to_a_tolerance_is_its_limit():
    model, x = gelu_mlp(dtype=torch.float64), noise(3, 6, dtype=torch.float64)
    a = ig.methods.idgi(quadrature=ig.Automatic(1e-3))(model, x, target=1)
    limit = loop(model, x, 4000)
    assert bool(((a.values - limit).abs().sum(1) <= 2e-3 * limit.abs().sum(1)).all())
    assert bool(a.converged.all())


def test_the_published_idgi_cannot_stop_by_itself():
    with pytest.raises(ig.Unsupported, match="LeftRiemann"):
        ig.attribute(relu_mlp(), noise(1, 6), integrand=SquaredShares(published=True))


def test_decision_gradients_weigh_by_the_slope():
    """Of a linear model: w_i x_i times f(x); of a step they look where it is."""
    w, x = torch.tensor([1.0, -2.0, 3.0]).double(), noise(2, 3, dtype=torch.float64)
    a = ig.methods.integrated_decision_gradients()(lambda z: z @ w, x)
    assert torch.allclose(a.values, w * x * (x @ w)[:, None], atol=1e-12)
    assert a.residual is None
    b = ig.attribute(lambda z: z @ w, 2 * x, integrand=DecisionGradient())
    assert torch.allclose(b.values, 4 * a.values, atol=1e-11)


# ------------------------------------------------------------------------------------ several baselines


def test_several_baselines_average_and_tell_their_spread():
    model, x = gelu_mlp(dtype=torch.float64), noise(3, 6, dtype=torch.float64)
    starts = [ig.Zeros(), ig.Constant(1.0), noise(3, 6, seed=5, dtype=torch.float64)]
    each = [ig.attribute(model, x, baseline=b).values for b in starts]
    a = ig.attribute(model, x, baseline=starts)
    assert torch.allclose(a.values, sum(each) / 3, atol=1e-14)
    assert torch.allclose(a.spread, torch.stack(each).std(0, correction=0), atol=1e-14)
    assert a.residual.abs().max() < 1e-6
    assert torch.allclose(a.values.sum(1), a.output - a.baseline_output, atol=1e-6)
    summed = a.sum(1)
    assert torch.allclose(summed.spread, torch.stack(each).sum(2).std(0, correction=0), atol=1e-14)
    assert torch.allclose(a.select([1]).spread, a.spread[1:2])


def test_a_mean_smaller_than_its_members_is_held_to_the_tolerance_too():
    """From black and from white the attributions cancel in part; so must their errors."""
    model = nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 1)).double()
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(3 * noise(*p.shape, seed=i, dtype=torch.float64))
    x = torch.full((2, 6), 0.5, dtype=torch.float64) + 0.05 * noise(2, 6, dtype=torch.float64)
    a = ig.attribute(model, x, baseline=ig.BlackAndWhite())
    fine = ig.attribute(model, x, baseline=ig.BlackAndWhite(), quadrature=ig.GaussLegendre(300))
    assert bool(a.converged.all())
    off = (a.values - fine.values).abs().sum(1) / fine.values.abs().sum(1)
    assert float(off.max()) <= 0.01


def test_several_baselines_survive_a_file(tmp_path):
    a = ig.attribute(relu_mlp(), noise(2, 6), baseline=[ig.Zeros(), ig.Constant(1.0)])
    a.save(tmp_path / "a.safetensors")
    b = ig.Attribution.load(tmp_path / "a.safetensors")
    assert torch.equal(b.spread, a.spread)
    assert b.recipe == a.recipe
    assert len(b.members) == 2


def test_a_row_that_has_not_converged_is_told_once():
    rule = ig.GaussLegendre(3, rtol=1e-9)
    with pytest.warns(ig.NotConverged) as told:
        ig.attribute(
            relu_mlp(), noise(2, 6), baseline=[ig.Zeros(), ig.Constant(1.0)], quadrature=rule
        )
    assert len([w for w in told if issubclass(w.category, ig.NotConverged)]) == 1
    with pytest.raises(ig.NotConverged):
        ig.attribute(
            relu_mlp(), noise(2, 6), baseline=ig.BlackAndWhite(), quadrature=rule, strict=True
        )


def test_no_baselines_are_refused():
    with pytest.raises(ig.InputError, match="empty list"):
        ig.attribute(relu_mlp(), noise(2, 6), baseline=[])


def test_gradients_flow_through_several_baselines():
    model, x = gelu_mlp(dtype=torch.float64), noise(2, 6, dtype=torch.float64)
    model.requires_grad_()
    a = ig.attribute(
        model, x, target=0, baseline=ig.BlackAndWhite(), quadrature=ig.GaussLegendre(8, rtol=1.0),
        differentiable=True,
    )  # fmt: skip
    a.values.square().sum().backward()
    assert all(p.grad is not None for p in list(model.parameters())[:1])


# ------------------------------------------------------------------------------------ noisy copies


def shaken(x, sigma, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    e = torch.randn(n, *x.shape[1:], generator=generator).to(x)
    reach = x.flatten(1).amax(1) - x.flatten(1).amin(1)
    return x[:, None] + sigma * reach.reshape(-1, 1, *(1,) * (x.ndim - 1)) * e


@QUIET
@pytest.mark.parametrize(
    ("around", "statistic"),
    [
        (SmoothGrad(0.2, 30), lambda v: v.mean(1)),
        (SquareGrad(0.2, 30), lambda v: v.square().mean(1)),
        (VarGrad(0.2, 30), lambda v: v.var(1, correction=0)),
    ],
    ids=["mean", "square", "variance"],
)
def test_statistics_over_noisy_copies_are_those_of_a_loop(around, statistic):
    model, x = gelu_mlp(dtype=torch.float64), noise(3, 6, dtype=torch.float64)
    a = ig.methods.saliency().but(around=around)(model, x, seed=4)
    best = model(x).argmax(1)
    copies = shaken(x, 0.2, 30, 4)
    each = torch.stack([gradient(model, copies[i], int(best[i])) for i in range(3)])
    assert torch.allclose(a.values, statistic(each), atol=1e-13)
    assert torch.allclose(a.output, model(x).amax(1))
    assert a.residual is None
    assert bool((a.error > 0).all())


@QUIET
def test_any_recipe_can_be_smoothed():
    model, x = gelu_mlp(dtype=torch.float64), noise(2, 6, dtype=torch.float64)
    own = noise(2, 6, seed=8, dtype=torch.float64)
    a = ig.methods.smooth_grad(
        ig.methods.integrated_gradients(own), sigma=0.1, samples=7
    )(model, x, target=[2, 0])  # fmt: skip
    copies = shaken(x, 0.1, 7)
    for row, k in enumerate((2, 0)):
        start = own[row : row + 1].expand(7, 6)
        each = ig.attribute(model, copies[row], target=k, baseline=start).values
        assert torch.allclose(a.values[row], each.mean(0), atol=1e-13)
    assert a.targets == ("logit of class 2", "logit of class 0")


@QUIET
def test_a_noisy_copy_keeps_what_is_given_and_its_row():
    f = lambda z, scale: z.square().sum(1) * scale  # noqa: E731
    x, scale = noise(3, 4, dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0]).double()
    a = ig.methods.smooth_grad(samples=5)(f, x, given={"scale": scale})
    expected = (2 * shaken(x, 0.15, 5) * scale[:, None, None]).mean(1)
    assert torch.allclose(a.values, expected, atol=1e-13)
    alone = ig.methods.smooth_grad(samples=5)(f, x[1:2], given={"scale": scale[1:2]})
    assert torch.allclose(alone.values[0], a.values[1], atol=1e-14)


@QUIET
def test_the_error_of_a_smoothed_map_covers_another_seed():
    model, x = gelu_mlp(dtype=torch.float64), noise(2, 6, dtype=torch.float64)
    far = ig.methods.smooth_grad(samples=4000)(model, x, seed=99)
    apart = []
    for seed in range(20):
        a = ig.methods.smooth_grad(samples=25)(model, x, seed=seed)
        apart.append(((a.values - far.values).abs().sum(1) / (a.error_map.sum(1))).max())
    assert 0.2 < float(torch.stack(apart).median()) < 2
    assert float(torch.stack(apart).max()) < 4


def test_whole_numbers_are_not_shaken():
    embed = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)).eval()
    ids = torch.tensor([[1, 2, 3]])
    of = ig.methods.integrated_gradients(ig.MaskToken(0), at="embedding")
    with pytest.raises(ig.Unsupported, match="whole numbers"):
        ig.methods.smooth_grad(of)(embed, ids, target=0)


def test_smooth_taylor_is_its_sum():
    model, x = gelu_mlp(dtype=torch.float64), noise(2, 6, dtype=torch.float64)
    a = ig.methods.smooth_taylor(0.3, 40)(model, x, target=1, seed=2)
    e = 0.3 * torch.randn(40, 6, generator=torch.Generator().manual_seed(2)).double()
    for row in range(2):
        z = x[row] + e
        expected = ((x[row] - z) * gradient(model, z)).mean(0)
        assert torch.allclose(a.values[row], expected, atol=1e-13)


# ------------------------------------------------------------------------------------ baselines of data


def test_the_nearest_rows_are_each_rows_own():
    data = torch.tensor([[0.0, 0.0], [10.0, 10.0], [1.0, 1.0]]).double()
    x = torch.tensor([[2.0, 2.0], [9.0, 9.0]]).double()
    a = ig.attribute(lambda z: z.prod(1), x, baseline=ig.Dataset(data, nearest=1))
    assert torch.allclose(a.baseline_output, torch.tensor([1.0, 100.0]).double())
    two = ig.attribute(lambda z: z.prod(1), x, baseline=ig.Dataset(data, nearest=2))
    assert torch.allclose(two.baseline_output, torch.tensor([0.5, 50.5]).double())


def test_weights_and_cohorts_choose_what_a_set_is_averaged_by():
    data = torch.tensor([[1.0], [2.0], [4.0]]).double()
    x, f = torch.tensor([[8.0]]).double(), lambda z: z.sum(1)
    weighed = ig.attribute(f, x, baseline=ig.Dataset(data, weights=[1, 1, 2]))
    assert float(weighed.baseline_output) == pytest.approx(11 / 4)
    cohort = ig.Dataset(data).where(torch.tensor([False, True, True]), "healthy")
    assert float(ig.attribute(f, x, baseline=cohort).baseline_output) == pytest.approx(3)
    assert "2 healthy rows" in repr(cohort)
    assert float(ig.attribute(f, x, baseline=ig.Mean(data)).baseline_output) == pytest.approx(7 / 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ig.Dataset(noise(3, 2), nearest=4), "nearest=4"),
        (lambda: ig.Dataset(noise(3, 2), weights=[1.0, 2.0]), "expected \\(3,\\)"),
        (lambda: ig.Dataset(noise(3, 2), weights=[1.0, -2.0, 1.0]), "none below 0"),
        (lambda: ig.Dataset(noise(3, 2)).where([0, 1, 2]), "one bool"),
        (lambda: ig.Dataset(noise(3, 2)).where(torch.zeros(3).bool()), "no rows"),
        (lambda: ig.Dataset(torch.zeros(0, 2)), "at least one"),
        (lambda: ig.Mean(torch.ones(2, 3).long()), "no token"),
    ],
)
def test_a_set_that_cannot_be_is_refused(make, words):
    with pytest.raises(ig.InputError, match=words):
        make()


def test_inverted_is_the_negative():
    x = torch.tensor([[0.25, 1.0]])
    a = ig.attribute(lambda z: z.sum(1), x, baseline=ig.Invert())
    assert torch.allclose(a.values, 2 * x - 1)


# ------------------------------------------------------------------------------------ where peers go wrong


def test_many_regions_in_narrow_calls_lose_none():
    """SyReNN drops a region at every batch boundary: 0.90 of 1.00 for 100 regions in calls of 10."""
    edges = torch.linspace(0.005, 0.995, 100).double()
    f = lambda z: (z[:, :1] - edges).relu().sum(1) / (1 - edges).sum()  # noqa: E731
    x = torch.ones(1, 1).double()
    a = ig.attribute(f, x, quadrature=ig.Exact(), width=10)
    assert float(a.values) == pytest.approx(1.0, abs=1e-12)


def test_ends_have_half_the_weight_of_other_nodes():
    """path_explain, PAIR and others give both ends full weight: 2 % off on a cubic at 25 nodes."""
    x = torch.ones(1, 1).double()
    equal = sum(3 * (i / 24) ** 2 for i in range(25)) / 25
    a = ig.attribute(lambda z: (z**3).sum(1), x, quadrature=ig.Trapezoid(25, rtol=1.0))
    assert abs(equal - 1) > 0.02
    assert abs(float(a.values) - 1) < 1e-3


def test_x_keeps_its_methods():
    """path_explain overwrites `x.requires_grad_` with True."""
    x = noise(1, 6)
    ig.attribute(relu_mlp(), x)
    assert callable(x.requires_grad_)
    assert not x.requires_grad

"""Where paths start: the numbers, their shapes, dtypes and chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import intgrad as ig
from intgrad.baseline import as_baseline, fit
from intgrad.path.heat import heat
from nets import bytes_of, conv_net, gelu_mlp, noise, tiny_transformer, untouched

RULE = ig.GaussLegendre(32, rtol=1.0)
X = noise(3, 6)
PICTURE = noise(2, 3, 20, 24)


def attribute(model, x, **call):
    return ig.attribute(model, x, **{"quadrature": RULE, **call})


def starts(baseline, x, seed=0):
    """The starting points of each row's curves, tensor by tensor: (rows, curves a row, ...)."""
    point = x if isinstance(x, tuple) else (x,)
    curves = baseline(point, torch.arange(len(point[0])), seed)
    found = curves.start.take(torch.arange(len(curves)))
    parts = [f.reshape(len(point[0]), -1, *f.shape[1:]) for f in found]
    return parts if isinstance(x, tuple) else parts[0]


# ------------------------------------------------------------------------------------ fixed points


def test_zeros_are_the_default():
    a, b = (attribute(gelu_mlp(), X, baseline=b) for b in (None, ig.Zeros()))
    assert torch.equal(a.values, b.values)
    assert not starts(ig.Zeros(), X).any()


@pytest.mark.parametrize("value", [0, 0.5, -3.0, np.float32(0.25)])
def test_a_constant_is_the_same_number_everywhere(value):
    assert (starts(ig.Constant(value), X) == float(value)).all()
    want = attribute(gelu_mlp(), X, baseline=torch.full((1, 6), float(value))).values
    assert torch.equal(attribute(gelu_mlp(), X, baseline=ig.Constant(value)).values, want)


def test_one_row_serves_all_and_one_a_row_serves_its_own():
    one, own = noise(1, 6, seed=2), noise(3, 6, seed=3)

    def net(x):
        return x.square().sum(1)

    a = attribute(net, X, baseline=one)
    assert torch.allclose(a.values, (X - one) * (X + one), atol=1e-5)
    b = attribute(net, X, baseline=own)
    assert torch.allclose(b.values, (X - own) * (X + own), atol=1e-5)
    assert torch.allclose(b.baseline_output, own.square().sum(1).double(), atol=1e-5)


def test_a_tuple_and_a_dict_have_a_baseline_for_each_tensor():
    def model(a, b):
        return (2 * a - 5 * b).sum(1)

    a, b = noise(1, 6, seed=1), noise(3, 6, seed=2)
    pair = attribute(model, (X, X), baseline=(a, b)).values
    named = attribute(model, {"a": X, "b": X}, baseline={"a": a, "b": b}).values
    for found in (pair, (named["a"], named["b"])):
        assert torch.allclose(found[0], 2 * (X - a), atol=1e-5)
        assert torch.allclose(found[1], -5 * (X - b), atol=1e-5)


def test_a_baseline_by_name_goes_by_name_not_by_order():
    a = attribute(
        lambda a, b: (2 * a - 5 * b).sum(1), {"a": X, "b": X},
        baseline={"b": torch.ones(1, 6), "a": torch.zeros(1, 6)},
    )  # fmt: skip
    assert torch.allclose(a.values["a"], 2 * X, atol=1e-5)
    assert torch.allclose(a.values["b"], -5 * (X - 1), atol=1e-5)


def test_a_baseline_with_other_names_is_refused():
    with pytest.raises(ig.InputError, match="baseline"):
        attribute(product, {"a": X, "b": X}, baseline={"c": X, "d": X})


def product(a, b):
    return (a * b).sum(1)


def test_zeros_and_constants_serve_every_tensor_of_a_tuple():
    x = (X, noise(3, 2, 2))
    for part in starts(ig.Constant(0.5), x):
        assert (part == 0.5).all()


def test_the_baseline_comes_in_the_dtype_of_x():
    assert fit(torch.zeros(1, 6, dtype=torch.float64), X).dtype == torch.float32
    for baseline in (ig.Zeros(), ig.Constant(1), ig.Uniform(samples=2), ig.Gaussian(samples=2)):
        for dtype in (torch.float64, torch.float16, torch.bfloat16):
            assert starts(baseline, X.to(dtype)).dtype == dtype


def test_a_live_baseline_is_left_alone():
    baseline = torch.zeros(1, 6, requires_grad=True)
    attribute(gelu_mlp(), X, baseline=baseline)
    assert baseline.requires_grad
    assert baseline.grad is None


def test_one_sided_baselines_change_the_answer():
    a, b = (attribute(gelu_mlp(), X, baseline=b).values for b in (ig.Zeros(), ig.Constant(1.0)))
    assert not torch.allclose(a, b, atol=1e-3)


# ------------------------------------------------------------------------------------------ blurred


@pytest.mark.parametrize("sigma", [1.5, 3.0, 5.0])
def test_blurring_is_that_of_scipy(sigma):
    ndimage = pytest.importorskip("scipy.ndimage")
    want = ndimage.gaussian_filter(
        PICTURE.double().numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=8
    )
    got = starts(ig.Blurred(sigma), PICTURE.double())[:, 0]
    # scipy samples the kernel and this integrates the heat equation: they meet as sigma grows
    assert np.abs(got.numpy() - want).max() < 1e-3


def test_blurring_a_series_is_that_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    series = noise(2, 3, 50, dtype=torch.float64)
    want = ndimage.gaussian_filter1d(series.numpy(), 2.0, mode="reflect", truncate=8)
    assert np.abs(starts(ig.Blurred(2.0), series)[:, 0].numpy() - want).max() < 1e-5


@pytest.mark.parametrize("sigma", [0.3, 2.0, 50.0, float("inf")])
def test_blurring_keeps_the_mean_of_each_channel(sigma):
    x = PICTURE.double()
    got = starts(ig.Blurred(sigma), x)[:, 0]
    assert (got.mean((2, 3)) - x.mean((2, 3))).abs().max() < 1e-14


def test_infinite_blur_is_the_mean_and_none_is_the_picture():
    got = starts(ig.Blurred(float("inf")), PICTURE)[:, 0]
    assert torch.allclose(got, PICTURE.mean((2, 3), keepdim=True).expand_as(PICTURE), atol=1e-6)
    assert torch.allclose(starts(ig.Blurred(0.0), PICTURE)[:, 0], PICTURE, atol=1e-5)


def test_blurs_add_up_as_heat_does():
    x = PICTURE.double()
    twice = heat(heat(x, 3.0, (2, 3)), 4.0, (2, 3))
    assert (twice - heat(x, 5.0, (2, 3))).abs().max() < 1e-13


def test_a_blurred_constant_is_itself():
    x = torch.full((1, 2, 7, 9), 0.3, dtype=torch.float64)
    assert (heat(x, 2.0, (2, 3)) - x).abs().max() < 1e-15


def test_blurring_a_row_does_not_depend_on_its_batch():
    whole = starts(ig.Blurred(2.0), PICTURE)[:, 0]
    for row in range(2):
        alone = starts(ig.Blurred(2.0), PICTURE[row : row + 1])[:, 0]
        assert torch.allclose(alone[0], whole[row], atol=1e-6)


def test_blurring_is_not_recorded_by_autograd_nor_writes_into_x():
    x = PICTURE.clone()
    before = bytes_of(x)
    a = attribute(conv_net(), x, baseline=ig.Blurred(3.0))
    assert bytes_of(x) == before
    assert a.residual.abs().max() < 1e-2


# ------------------------------------------------------------------------------------------- chance


@pytest.mark.parametrize("kind", [ig.Uniform, ig.Gaussian])
def test_every_row_has_the_same_draws(kind):
    found = starts(kind(samples=5), X)
    assert found.shape == (3, 5, 6)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert len({bytes_of(d) for d in found[0]}) == 5


@pytest.mark.parametrize("kind", [ig.Uniform, ig.Gaussian])
def test_the_seed_decides_the_draws_and_nothing_else_does(kind):
    first = starts(kind(samples=5), X, seed=1)
    torch.manual_seed(99)
    torch.randn(7)
    assert torch.equal(starts(kind(samples=5), X, seed=1), first)
    assert not torch.equal(starts(kind(samples=5), X, seed=2), first)
    assert torch.equal(starts(kind(samples=5), X[:1], seed=1)[0], first[0])


@pytest.mark.parametrize("kind", [ig.Uniform, ig.Gaussian])
def test_the_seed_of_a_call_decides_its_bytes(kind):
    net = gelu_mlp()
    with untouched(net):
        a, b, c = (attribute(net, X, baseline=kind(samples=3), seed=s) for s in (0, 0, 1))
    assert bytes_of(a.values) == bytes_of(b.values)
    assert not torch.allclose(a.values, c.values)
    assert (a.run.seed, c.run.seed) == (0, 1)


def test_a_sample_of_baselines_is_their_mean():
    net = gelu_mlp(dtype=torch.float64)
    x = X.double()
    baseline = ig.Gaussian(0.5, 2.0, samples=4)
    whole = attribute(net, x, baseline=baseline, target=1, seed=3)
    draws = starts(baseline, x, seed=3)[0]
    each = [attribute(net, x, baseline=d[None], target=1) for d in draws]
    assert (whole.values - sum(e.values for e in each) / 4).abs().max() < 1e-13
    mean = sum(e.baseline_output for e in each) / 4
    assert (whole.baseline_output - mean).abs().max() < 1e-13


def test_draws_have_the_moments_they_should():
    x = torch.zeros(1, 100)
    uniform = starts(ig.Uniform(-1.0, 3.0, samples=400), x)
    assert -1 <= uniform.min() < -0.99
    assert 2.99 < uniform.max() <= 3
    assert abs(uniform.mean() - 1) < 0.02
    normal = starts(ig.Gaussian(2.0, 0.5, samples=400), x)
    assert abs(normal.mean() - 2) < 0.01
    assert abs(normal.std() - 0.5) < 0.01


def test_tensors_of_a_tuple_have_draws_of_their_own():
    a, b = starts(ig.Uniform(samples=3), (X, X))
    assert not torch.equal(a, b)


# --------------------------------------------------------------------------------------------- text


IDS = torch.tensor([[2, 7, 8, 9, 3], [2, 5, 3, 0, 0]])


def test_mask_tokens_replace_all_but_those_to_keep():
    keep = ig.MaskToken(1, keep=(2, 3, 0))
    assert keep.replace(IDS).tolist() == [[2, 1, 1, 1, 3], [2, 1, 3, 0, 0]]
    assert ig.MaskToken(4).replace(IDS).tolist() == [[4] * 5] * 2
    assert keep.replace(IDS.int()).dtype == torch.int32


def test_tokens_that_stay_get_exactly_nothing():
    a = attribute(
        tiny_transformer(), IDS, at="embedding", baseline=ig.MaskToken(1, keep=(2, 3, 0)), target=0
    )
    stays = torch.isin(IDS, torch.tensor([2, 3, 0]))
    assert not a.values[stays].any()
    assert a.values[~stays].any(-1).all()
    assert a.residual.abs().max() < 1e-4


def test_ids_as_a_baseline_are_the_mask_written_out():
    net, mask = tiny_transformer(), ig.MaskToken(1, keep=(2, 3, 0))
    a = attribute(net, IDS, at="embedding", baseline=mask, target=0)
    b = attribute(net, IDS, at="embedding", baseline=mask.replace(IDS), target=0)
    assert torch.equal(a.values, b.values)


def test_zeros_at_an_embedding_of_ids_are_zero_vectors():
    net = tiny_transformer()
    a = attribute(net, IDS, at="embedding", baseline=ig.Zeros(), target=0)
    b = attribute(net, IDS, at="embedding", baseline=torch.zeros(1, 5, 8), target=0)
    assert torch.equal(a.values, b.values)


def test_a_baseline_of_real_inputs_is_carried_to_the_layer():
    net = gelu_mlp(dtype=torch.float64)
    x, start = X.double(), noise(1, 6, seed=7, dtype=torch.float64)
    a = attribute(net, x, at="0", baseline=start, target=2)
    upper = nn.Sequential(*net[1:])
    b = attribute(upper, net[0](x).detach(), baseline=net[0](start).detach(), target=2)
    assert (a.values - b.values).abs().max() < 1e-13


# ---------------------------------------------------------------------------------- users' own


def test_any_callable_that_gives_curves_is_a_baseline():
    from intgrad.path.curve import bind

    def ends(x, rows, seed):
        return bind((torch.stack([x[0].amin(0), x[0].amax(0)]),), x)

    a = attribute(gelu_mlp(), X, baseline=ends, target=0)
    both = [
        attribute(gelu_mlp(), X, baseline=b, target=0).values
        for b in (X.amin(0, keepdim=True), X.amax(0, keepdim=True))
    ]
    assert torch.allclose(a.values, sum(both) / 2, atol=1e-6)


def test_baselines_are_values():
    assert ig.Blurred(3) == ig.Blurred(3) != ig.Blurred(4)
    assert hash(ig.MaskToken(1, (2,))) == hash(ig.MaskToken(1, (2,)))
    assert as_baseline(None) == ig.Zeros()
    assert repr(ig.Uniform(samples=3)) == "Uniform(low=0.0, high=1.0, samples=3)"

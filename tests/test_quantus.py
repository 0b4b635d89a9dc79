"""Quantus: our recipes as its methods, its metrics on our values, and where both say the same."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import intgrad as ig
from intgrad.audit import metrics
from intgrad.audit.imputation import imputed
from intgrad.interop.quantus import explain_func, score
from nets import noise, relu_mlp, untouched


def test_quantus_is_not_imported():
    code = "import sys, intgrad.interop.quantus; sys.exit('quantus' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_recipe_is_an_explain_func_of_arrays():
    net, x = relu_mlp(), noise(3, 6)
    recipe = ig.methods.integrated_gradients(baseline=ig.Constant(0.5))
    targets = np.array([2, 0, 1])
    with untouched(net):
        found = explain_func(recipe)(net, x.numpy(), targets, device="cpu", normalise=True)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    expected = recipe(net, x, target=[2, 0, 1]).values
    assert np.array_equal(found, expected.numpy())
    assert explain_func(recipe).__name__ == "integrated_gradients"


def test_a_double_model_is_asked_in_double():
    net, x = relu_mlp(dtype=torch.float64), noise(2, 6)
    assert explain_func()(net, x.numpy(), [1, 1]).dtype == np.float64


def test_a_metric_is_asked_as_quantus_asks():
    seen = {}

    def metric(model, x_batch, y_batch, a_batch, device, softmax):
        seen.update(locals())
        return [0.25, 0.5]

    net, x = relu_mlp(), noise(2, 6)
    a = ig.attribute(net, x, target=[1, 3])
    assert score(metric, net, x, a, [1, 3], softmax=True) == [0.25, 0.5]
    assert seen["model"] is net
    assert np.array_equal(seen["a_batch"], a.values.numpy())
    assert seen["y_batch"].tolist() == [1, 3]
    with pytest.raises(ig.InputError, match="expected an instance"):
        score(int, net, x, a, [1, 3])
    with pytest.raises(ig.InputError, match="expected alike"):
        score(metric, net, x, a.values[:, :3], [1, 3])


# ------------------------------------------------------------------- where Quantus is installed


@pytest.fixture
def quantus():
    return pytest.importorskip("quantus", reason="Quantus is not installed, so nothing is compared")


def pictures():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4)).eval()
    return net, torch.rand(3, 3, 8, 8)


@pytest.mark.filterwarnings("ignore")
def test_deletion_is_pixel_flipping(quantus):
    net, x = pictures()
    target = net(x).argmax(1)
    a = ig.attribute(net, x, target=target)
    flipping = quantus.PixelFlipping(
        features_in_step=16, normalise=False, perturb_baseline=0.0, disable_warnings=True
    )
    theirs = torch.tensor(score(flipping, net, x, a, target, softmax=True), dtype=torch.float64)
    ours = metrics.deletion(net, x, a, target=target, steps=12, channels=())
    assert torch.allclose(ours.scores[:, 1:], theirs, atol=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_pixels_are_guessed_alike(quantus, share):
    x = torch.rand(2, 3, 12, 10, dtype=torch.float64)
    gone = torch.rand(2, 1, 12, 10) < share
    ours = imputed(x, gone)
    guess = quantus.functions.perturb_func.noisy_linear_imputation
    for row, holes, mine in zip(x.numpy(), gone, ours.numpy(), strict=True):
        theirs = guess(row, holes.flatten().nonzero()[:, 0].numpy(), noise=0.0)
        assert np.allclose(mine, theirs, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_quantus_takes_our_explain_func(quantus):
    net, x = pictures()
    target = net(x).argmax(1)
    metric = quantus.MaxSensitivity(nr_samples=2, normalise=False, disable_warnings=True)
    found = metric(
        model=net,
        x_batch=x.numpy(),
        y_batch=target.numpy(),
        explain_func=explain_func(),
        device="cpu",
    )
    assert len(found) == 3
    assert np.isfinite(found).all()

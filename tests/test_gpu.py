"""The same on a CUDA device: skipped where there is none."""

import copy

import pytest
import torch

import intgrad as ig
from strategies import mlp, points

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here."),
    pytest.mark.filterwarnings("ignore::intgrad.NotConverged"),
]


@pytest.mark.parametrize("target", [None, 1, ig.Probability(), ig.Margin(), ig.All()], ids=repr)
@pytest.mark.parametrize(
    "rule", [ig.GaussLegendre(20), ig.Trapezoid(20), ig.Lattice(80), ig.Lattice(rtol=0.1)], ids=repr
)
def test_values_agree_with_the_cpu(target, rule):
    net, x = mlp(0, 6, 2, "relu", torch.float64), points(0, 5, 6, torch.float64)
    a = ig.attribute(net, x, target=target, quadrature=rule)
    b = ig.attribute(net.cuda(), x.cuda(), target=target, quadrature=rule)
    assert b.values.device.type == "cuda"
    assert torch.allclose(a.values, b.values.cpu(), atol=1e-10)
    assert torch.allclose(a.residual, b.residual, atol=1e-10)
    assert torch.equal(a.evaluations, b.evaluations)


def test_a_baseline_and_extras_on_the_device_work():
    net, x = mlp(0, 6, 2, "gelu", torch.float32).cuda(), points(0, 5, 6, torch.float32).cuda()
    scale = torch.arange(1.0, 6.0).cuda()
    model = lambda z, s: net(z) * s[:, None]  # noqa: E731
    a = ig.attribute(model, x, target=0, baseline=torch.ones(1, 6), given={"s": scale})
    assert a.residual.abs().max() < 1e-4


def test_the_wrong_device_is_a_sentence():
    net = mlp(0, 6, 2, "gelu", torch.float32).cuda()
    with pytest.raises(ig.ModelError, match=r"x.to\(device\)"):
        ig.attribute(net, torch.zeros(1, 6))


def test_a_call_that_does_not_fit_is_halved():
    free, _ = torch.cuda.mem_get_info()
    rows = 8

    def greedy(x):
        torch.empty(len(x) * free // rows, dtype=torch.uint8, device="cuda")
        return x.square().sum(1)

    x = torch.ones(2, 3, device="cuda")
    a = ig.attribute(greedy, x, quadrature=ig.Midpoint(64))
    assert a.run.width <= rows
    assert torch.allclose(a.values.cpu(), torch.ones(2, 3), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_sum_in_float32(dtype):
    net, x = mlp(0, 6, 2, "gelu", dtype).cuda(), points(0, 5, 6, dtype).cuda()
    a = ig.attribute(net, x, target=0)
    assert a.values.dtype == torch.float32
    exact = ig.attribute(net.double(), x.double(), target=0)
    off = (a.values - exact.values).abs().sum(1) / exact.values.abs().sum(1)
    assert off.max() < 0.05


def test_the_nearest_point_of_another_class_is_found_on_the_device_too():
    net, x = mlp(0, 6, 2, "relu", torch.float64), points(0, 5, 6, torch.float64)
    a = ig.methods.big()(net, x)
    b = ig.methods.big()(net.cuda(), x.cuda())
    assert torch.allclose(a.values, b.values.cpu(), atol=1e-6)
    assert a.run.notes == b.run.notes


@pytest.mark.parametrize("path", [ig.Straight(), ig.PushedForward(), ig.inside.InTurn()], ids=repr)
def test_edges_and_their_faithfulness_agree_with_the_cpu(path):
    pytest.importorskip("transformers", reason='needs pip install "intgrad[text]"')
    from decoders import decoder

    clean, corrupt = torch.randint(3, 40, (2, 3, 5), generator=torch.Generator().manual_seed(5))
    model, twin = decoder("gpt2"), copy.deepcopy(decoder("gpt2")).cuda()
    how = {"target": lambda out: out.logits[:, -1, 3] - out.logits[:, -1, 5]}
    a = ig.inside.edges(model, clean, corrupt, path=path, **how)
    b = ig.inside.edges(twin, clean.cuda(), corrupt.cuda(), path=path, **how)
    assert torch.allclose(a.scores, b.scores, atol=1e-10)
    asks = {"ranking": a, "counts": (10, 60), **how}
    f = ig.inside.faithfulness(model, clean, corrupt, **asks)
    g = ig.inside.faithfulness(twin, clean.cuda(), corrupt.cuda(), **asks)
    assert torch.allclose(f.output, g.output, atol=1e-10)

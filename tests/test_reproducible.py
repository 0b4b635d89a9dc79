"""Reproducibility: the same call gives the same bytes, and with `width=` a row stands for itself."""

import pytest
import torch

import intgrad as ig
from conftest import load_nets
from strategies import mlp, points

pytestmark = [
    pytest.mark.filterwarnings("ignore::intgrad.NotConverged"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),  # the loader of the data
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FIELDS = (
    "values",
    "error_map",
    "output",
    "baseline_output",
    "residual",
    "error",
    "floor",
    "converged",
)
COSTS = ("forwards", "backwards", "evaluations")


def same_bytes(a, b, rows_a, rows_b):
    for name in FIELDS + COSTS:
        left, right = getattr(a, name)[rows_a], getattr(b, name)[rows_b]
        assert torch.equal(left, right), f"{name} differs by {(left - right).abs().max()}"


def relative(a, b):
    a, b = a.values.double().flatten(1), b.values.double().flatten(1)
    return (a - b).abs().sum(1) / a.abs().sum(1)


def cases(kind):
    if kind == "mlp":
        return mlp(3, 6, 2, "relu", torch.float32), points(1, 7, 6, torch.float32), {}
    if kind == "conv":
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
            torch.nn.Linear(4 * 49, 5),
        )  # fmt: skip
        return net.eval(), torch.rand(5, 1, 16, 16), {}
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0).eval()
    return lambda x: layer(x).mean(1), torch.rand(4, 5, 8), {}


@pytest.mark.parametrize("kind", ["mlp", "conv", "attention"])
@pytest.mark.parametrize("width", [None, 1, 5, 64])
def test_the_same_call_twice_gives_the_same_bytes(kind, width):
    net, x, more = cases(kind)
    a, b = (ig.attribute(net, x, target=1, width=width, **more) for _ in range(2))
    same_bytes(a, b, slice(None), slice(None))


@pytest.mark.parametrize("kind", ["mlp", "conv", "attention"])
@pytest.mark.parametrize(
    "rule", [ig.GaussLegendre(7), ig.Trapezoid(6), ig.GaussLegendre(5, 1e-6, 20), ig.Adaptive(1e-3)]
)
def test_under_a_fixed_width_order_and_batch_mates_do_not_matter(kind, rule):
    net, x, more = cases(kind)
    a = ig.attribute(net, x, target=1, width=4, quadrature=rule, **more)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    b = ig.attribute(net, x[order], target=1, width=4, quadrature=rule, **more)
    same_bytes(a, b, order, slice(None))
    alone = ig.attribute(net, x[2:3], target=1, width=4, quadrature=rule, **more)
    same_bytes(a, alone, slice(2, 3), slice(None))


@pytest.mark.parametrize(
    "baseline", [ig.Uniform(samples=3), ig.Gaussian(samples=2), ig.Blurred(2.0)]
)
def test_drawn_baselines_do_not_depend_on_batch_mates(baseline):
    net, x, _ = cases("conv")
    a = ig.attribute(net, x, target=1, width=4, baseline=baseline)
    alone = ig.attribute(net, x[3:4], target=1, width=4, baseline=baseline)
    same_bytes(a, alone, slice(3, 4), slice(None))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_widths_change_rounding_alone(dtype, bound, activation):
    net, x = mlp(5, 6, 3, activation, dtype), points(2, 9, 6, dtype)
    a, *others = (ig.attribute(net, x, target=0, width=w) for w in (1, 3, 16, 200, None))
    for b in others:
        assert relative(a, b).max() <= bound


def real(data, kind):
    nets = load_nets(data)
    if kind == "squeezenet":
        net, prepare, _ = nets.squeezenet()
        paths = sorted((data / "imagenet_photos" / "named").glob("*.jpg"))[:2]
        return net, torch.cat([prepare(nets.load_image(p)) for p in paths]), {}
    if kind == "resnet20":
        import numpy as np

        net, prepare, _ = nets.cifar_resnet(20)
        x = np.load(data / "cifar10_test1000" / "cifar10_test1000.npz")["x"][:3]
        return net, prepare(torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255), {}
    transformers = pytest.importorskip("transformers")
    folder = data / "hf" / "trec_bert"
    net = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(
        ["Who was Galileo ?", "How far is the moon ?"], padding=True, return_tensors="pt"
    )
    more = {
        "at": "embedding",
        "given": {"attention_mask": batch["attention_mask"]},
        "baseline": ig.Zeros(),
    }
    return net, batch["input_ids"], more


@pytest.mark.data
@pytest.mark.parametrize("kind", ["squeezenet", "resnet20", "trec_bert"])
def test_real_nets_agree_across_widths_within_their_floor(data, kind):
    net, x, more = real(data, kind)
    rule = ig.GaussLegendre(8)
    a, b, c = (ig.attribute(net, x, width=w, quadrature=rule, **more) for w in (8, 3, 1))
    for other in (b, c):
        assert bool((relative(a, other) <= a.floor.clamp(min=1e-5)).all())


@pytest.mark.data
@pytest.mark.parametrize("kind", ["squeezenet", "resnet20", "trec_bert"])
def test_rows_of_real_nets_stand_for_themselves_under_a_fixed_width(data, kind):
    net, x, more = real(data, kind)
    rule = ig.GaussLegendre(6)
    a = ig.attribute(net, x, width=4, quadrature=rule, **more)
    flipped = {
        k: {n: v.flip(0) for n, v in m.items()} if k == "given" else m for k, m in more.items()
    }
    b = ig.attribute(net, x.flip(0), width=4, quadrature=rule, **flipped)
    same_bytes(a, b, slice(None), torch.arange(len(x)).flip(0))


@pytest.mark.data
def test_the_floor_tells_the_order_of_what_float32_does(data):
    net, x, _ = real(data, "resnet20")
    rule = ig.GaussLegendre(16)
    single = ig.attribute(net, x, quadrature=rule, target=2)
    double = ig.attribute(net.double(), x.double(), quadrature=rule, target=2)
    true = relative(double, single)
    assert bool((true <= 30 * single.floor).all())
    assert bool((single.floor <= 1e-2).all())

"""Averages over panels: each operation alone in closed form, then networks, then what is opaque."""

import functools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import intgrad as ig
import nets
from intgrad.model.averaging.maxima import envelope
from intgrad.model.panels import Coverage
from nets import noise

D = torch.float64
pytestmark = pytest.mark.filterwarnings("ignore::intgrad.NotConverged")


def averaged(f, start, end, panels=1):
    """One row: the panel-averaged answer and what was covered, through the whole engine."""
    seen = {}

    class Peek(ig.PanelAveraged):
        def __call__(self, integral):
            found = super().__call__(integral)
            seen["coverage"] = integral.oracle.coverage
            return found

    a = ig.attribute(f, end, target=lambda v: v, baseline=start, quadrature=Peek(panels))
    return a, seen["coverage"]


def pointwise_average(f, start, end, cuts=20000):
    """Integrated gradients of the curve from start to end, by Gauss points in many pieces."""
    t = (
        (torch.arange(cuts, dtype=D)[:, None] + torch.tensor([0.2113248654, 0.7886751346])) / cuts
    ).reshape(-1, 1)
    x = (start + t * (end - start)).requires_grad_()
    (g,) = torch.autograd.grad(f(x).sum(), x)
    return g.mean(0, keepdim=True) * (end - start)


W = noise(40, seed=8, dtype=D)


def read(y):
    """A linear readout of whatever an operation gives."""
    y = y.reshape(len(y), -1)
    return y @ W[: y.shape[1]]


def run(op, **kw):
    return lambda x: read(op(x, **kw))


two = lambda x: (x[:, :6], x[:, 6:])  # noqa: E731
square = lambda x: x.reshape(-1, 3, 2, 2)  # noqa: E731

EXACT = {  # of one straight panel: the average itself, whatever its width
    "relu": F.relu, "relu6": lambda x: F.relu6(4 * x), "leaky": lambda x: F.leaky_relu(x, 0.1),
    "prelu": lambda x: F.prelu(x, torch.tensor(0.3, dtype=D)), "elu": F.elu, "selu": F.selu,
    "celu": F.celu, "clamp": lambda x: x.clamp(-0.3, 0.4), "clamp_min": lambda x: x.clamp_min(0.1),
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.5), "hardswish": lambda x: F.hardswish(3 * x),
    "hardsigmoid": lambda x: F.hardsigmoid(3 * x), "abs": torch.abs, "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "mish": F.mish,
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softplus": F.softplus, "exp": torch.exp,
    "log": lambda x: (x.abs() + 0.2).log(), "sqrt": lambda x: (x.square() + 0.1).sqrt(),
    "erf": torch.erf, "sin": torch.sin, "logsigmoid": F.logsigmoid, "softsign": F.softsign,
    "threshold": lambda x: F.threshold(x, 0.2, 0.2), "softshrink": F.softshrink,
    "pow 2": lambda x: x**2,
    "reciprocal": lambda x: 1 / (3 + x), "pow -1/2": lambda x: (3 + x) ** -0.5,
    "pow 3": lambda x: x**3, "expm1": torch.expm1,
    "product": lambda x: torch.mul(*two(x)), "square": lambda x: x * x,
    "bmm": lambda x: torch.bmm(x.reshape(-1, 3, 4), x.reshape(-1, 4, 3)),
    "matmul": lambda x: square(x) @ square(x).transpose(2, 3),
    "einsum": lambda x: torch.einsum("nij,nkj->nik", x.reshape(-1, 3, 4), x.reshape(-1, 3, 4)),
    "maximum": lambda x: torch.maximum(*two(x)), "minimum": lambda x: torch.minimum(*two(x)),
    "max dim": lambda x: x.reshape(-1, 3, 4).max(2).values, "amax": lambda x: x.amax(1, True),
    "amin": lambda x: x.reshape(-1, 3, 4).amin((1, 2)),
    "where": lambda x: torch.where(x > 0, x, 0.2 * x),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0.0),
    "max_pool1d": lambda x: F.max_pool1d(x[:, None], 3, 2, 1),
    "max_pool2d": lambda x: F.max_pool2d(x.reshape(-1, 1, 3, 4), 2, 1),
    "max_pool ceil": lambda x: F.max_pool2d(x.reshape(-1, 1, 3, 4), 2, 2, ceil_mode=True),
    "max_pool dilated": lambda x: F.max_pool2d(x.reshape(-1, 1, 3, 4), 2, 1, 1, dilation=2),
    "max_pool3d": lambda x: F.max_pool3d(x.reshape(-1, 1, 3, 2, 2), 2, 1),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x.reshape(-1, 1, 3, 4), (2, 3)),
    "in place": lambda x: torch.relu_(x * 1.0), "variance": lambda x: x.var(1, keepdim=True),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_one_panel_is_the_average_itself(name):
    f = run(EXACT[name])
    start, end = noise(1, 12, seed=1, dtype=D), noise(1, 12, seed=2, dtype=D)
    a, coverage = averaged(f, start, end)
    truth = pointwise_average(f, start, end)
    assert not coverage.uncovered
    assert a.residual.abs().max() < 1e-13
    inner = name in ("log", "sqrt")  # two operations: what enters the second is not straight
    assert inner or torch.allclose(a.values, truth, atol=1e-3 * truth.abs().max().item())


CLOSED = {  # averages of second order in the panel's width, complete to rounding at any
    "softmax": lambda x: F.softmax(3 * x, 1), "log_softmax": lambda x: F.log_softmax(3 * x, 1),
    "masked softmax": lambda x: F.softmax(
        x + torch.tensor([0.0] * 8 + [-torch.inf] * 4, dtype=D), 1
    ),
    "logsumexp": lambda x: x.reshape(-1, 3, 4).logsumexp((1, 2)),
    "logsumexp kept": lambda x: x.reshape(-1, 3, 4).logsumexp(-1, keepdim=True),
    "layer_norm": lambda x: F.layer_norm(x, (12,), W[:12], W[12:24]),
    "group_norm": lambda x: F.group_norm(x.reshape(-1, 4, 3), 2, W[:4], W[4:8]),
    "rms_norm": lambda x: F.rms_norm(x, (12,), W[:12]),
    "rms by hand": lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5),
    "layer by hand": lambda x: (x - x.mean(1, True))
    / ((x - x.mean(1, True)) ** 2).mean(1, True).sqrt(),
    "quotient": lambda x: x[:, :6] / (2 + x[:, 6:].square()), "sharp softmax": lambda x: F.softmax(40 * x, 1),
    "attention": lambda x: F.scaled_dot_product_attention(*(x.reshape(-1, 1, 3, 4),) * 3),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_average_is_complete_at_once_and_of_second_order(name):
    f = run(CLOSED[name])
    start, end = noise(1, 12, seed=1, dtype=D), noise(1, 12, seed=2, dtype=D)
    fine = averaged(f, start, end, 512)[0].values
    errors = []
    for panels in (1, 16, 32, 64):
        a, coverage = averaged(f, start, end, panels)
        assert not coverage.uncovered
        assert not coverage.approximate
        assert a.residual.abs().max() < 1e-13
        errors.append((a.values - fine).abs().sum().item())
    assert errors[2] / errors[3] > 3.4
    assert errors[1] / errors[2] > (1.5 if name == "sharp softmax" else 3)


GENERIC = {  # averaged at Gauss points: complete to their error
    "norm": lambda x: x.reshape(-1, 3, 4).norm(dim=2), "glu": lambda x: F.glu(x, 1),
    "std": lambda x: x.std(1, keepdim=True), "prod": lambda x: x[:, :4].prod(1, keepdim=True),
    "cosine": lambda x: F.cosine_similarity(x[:, :6], x[:, 6:], dim=1)[:, None],
    "addcmul": lambda x: torch.addcmul(x[:, :4], x[:, 4:8], x[:, 8:]),
    "atan2": lambda x: torch.atan2(x[:, :6], 4 + x[:, 6:]),
    "pow of two": lambda x: (x[:, :6] + 5) ** x[:, 6:],
    "instance norm": lambda x: F.instance_norm(x.reshape(-1, 2, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", GENERIC)
def test_any_other_operation_is_averaged_at_gauss_points(name):
    f = run(GENERIC[name])
    start, end = noise(1, 12, seed=1, dtype=D), noise(1, 12, seed=2, dtype=D)
    a, coverage = averaged(f, start, end, 32)
    assert not coverage.uncovered
    assert a.residual.abs().max() < 1e-7
    truth = pointwise_average(f, start, end)
    assert torch.allclose(a.values, truth, atol=1e-2 * truth.abs().max().item())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.booleans())
def test_shares_of_a_maximum_are_those_of_a_dense_grid(seed, k, ties):
    a, b = noise(5, k, seed=seed, dtype=D), noise(5, k, seed=seed + 1, dtype=D)
    if ties:
        a, b = a.round(), b.round()
    shares = envelope(a, b, a.argmax(1))
    gain = b.amax(1) - a.amax(1)
    assert torch.allclose((shares * (b - a)).sum(1), gain, atol=1e-12)
    assert torch.allclose(shares.sum(1), torch.ones(5, dtype=D), atol=1e-12)
    assert shares.min() >= 0
    if not ties:
        t = (torch.arange(2000, dtype=D) + 0.5)[:, None, None] / 2000
        top = F.one_hot((a + t * (b - a)).argmax(2), k).double().mean(0)
        assert (shares - top).abs().max() < 2e-3


# ---------------------------------------------------------------------- networks


class Sideways(nn.Module):
    """Rows in the second dimension, heads folded into them: torch's own attention, rows second."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation="gelu")
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(x.transpose(0, 1)).mean(0))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.cell = kind(4, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


def built(make, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().double().eval()


NETS = {
    "conv": (lambda: nets.conv_net(dtype=D), (2, 3, 8, 8)),
    "mlp": (lambda: nets.relu_mlp(dtype=D), (3, 6)),
    "attention": (lambda: nets.attention_net(dtype=D), (2, 5, 4)),
    "encoder": (
        lambda: nn.Sequential(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2),
            nn.Flatten(),
            nn.Linear(24, 3),
        ),
        (2, 3, 8),
    ),
    "sideways": (Sideways, (2, 3, 8)),
    "lstm": (lambda: Recurrent(nn.LSTM), (2, 5, 4)),
    "gru": (lambda: Recurrent(nn.GRU), (2, 5, 4)),
    "rnn": (lambda: Recurrent(nn.RNN), (2, 5, 4)),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
@pytest.mark.parametrize("target", [ig.Logit(1), ig.Probability(1), ig.LogProbability(0)])
@pytest.mark.parametrize("name", NETS)
def test_a_network_is_covered_and_converges_at_second_order(name, target):
    make, shape = NETS[name]
    net, x = built(make), noise(*shape, seed=3, dtype=D)
    before = nets.state_of(net)
    start = noise(*shape, seed=4, dtype=D)  # zeros are a singular point of normalisations
    ask = functools.partial(ig.attribute, net, x, target=target, baseline=start)
    truth = ask(quadrature=ig.PanelAveraged(256)).values
    errors = []
    for n in (8, 32):
        a = ask(quadrature=ig.PanelAveraged(n))
        assert "not panel-averaged" not in a.run.rule
        assert (a.residual.abs() <= 1e-12 * a.values.abs().flatten(1).sum(1) + 1e-15).all()
        errors.append((a.values - truth).abs().sum().item())
    assert errors[0] / errors[1] > 4**1.3
    assert nets.state_of(net) == before


@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_the_width_of_a_call_does_not_change_the_answer(width):
    net, x = nets.conv_net(dtype=D), noise(3, 3, 8, 8, dtype=D)
    wide = ig.attribute(net, x, target=1, quadrature=ig.PanelAveraged(16))
    narrow = ig.attribute(net, x, target=1, quadrature=ig.PanelAveraged(16), width=width)
    assert torch.allclose(wide.values, narrow.values, atol=1e-13)


def test_all_targets_are_averaged_in_one_forward():
    net, x = nets.conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    a = ig.attribute(net, x, target=ig.All(), quadrature=ig.PanelAveraged(8))
    for k in range(4):
        one = ig.attribute(net, x, target=k, quadrature=ig.PanelAveraged(8))
        assert torch.allclose(a.values[k], one.values, atol=1e-13)


@pytest.mark.filterwarnings("ignore::intgrad.ToleranceRaised")
def test_half_types_are_averaged_in_float32():
    net, x = nets.relu_mlp(dtype=torch.bfloat16), noise(3, 6, dtype=torch.bfloat16)
    fine = ig.attribute(nets.relu_mlp(dtype=D), x.double(), target=1)
    a = ig.attribute(net, x, target=1, quadrature=ig.PanelAveraged(16))
    assert a.values.dtype == torch.float32
    assert (a.values - fine.values).abs().sum() < 0.05 * fine.values.abs().sum()


# ---------------------------------------------------------------------- what is opaque


class Secret(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (x > 0)


def inner_view(x):
    y = x * 1.0
    y[:, 1:4].relu_()
    return y.sum(1)


OPAQUE = {
    "custom function": (lambda x: Secret.apply(x).square().sum(1), "SecretBackward"),
    "write into a view": (inner_view, "relu"),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_cannot_be_seen_into_goes_to_the_pointwise_rule_by_name(name):
    f, said = OPAQUE[name]
    x, start = noise(2, 6, dtype=D), noise(1, 6, seed=4, dtype=D)
    a = ig.attribute(f, x, baseline=start, quadrature=ig.PanelAveraged())
    assert "not panel-averaged" in a.run.rule
    assert said in a.run.rule
    fine = ig.attribute(f, x, baseline=start, quadrature=ig.Midpoint(4000))
    off = (a.values - fine.values).abs().sum(1) / fine.values.abs().sum(1)
    assert ((off <= 0.01) | ~a.converged).all()


@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["traced", "eager", "aot_eager"])
def test_a_compiled_model_is_seen_into_or_says_that_it_is_not(kind):
    torch.compiler.reset()
    net, x = nets.relu_mlp(dtype=D), noise(2, 6, dtype=D)
    opaque = (
        torch.jit.trace(net, x, check_trace=False)
        if kind == "traced"
        else torch.compile(net, backend=kind)
    )
    a = ig.attribute(opaque, x, target=1, quadrature=ig.PanelAveraged())
    b = ig.attribute(net, x, target=1, quadrature=ig.Midpoint(4000))
    off = (a.values - b.values).abs().sum(1) / b.values.abs().sum(1)
    assert ((off <= 0.01) | ~a.converged).all()
    assert a.residual.abs().max() < 1e-13 or "not panel-averaged" in a.run.rule
    torch.compiler.reset()


def test_a_jump_shows_in_the_residual_and_is_not_called_converged():
    f = lambda x: (x + (x > 0.3).to(x)).sum(1)  # noqa: E731
    x = torch.tensor([[1.0, 0.1], [0.2, 0.25]], dtype=D)
    a = ig.attribute(f, x, quadrature=ig.PanelAveraged())
    assert a.converged.tolist() == [False, True]
    assert abs(a.residual[0]) > 0.9
    assert "residual shows" in a.rules[0]
    assert "residual shows" not in a.rules[1]


def test_a_detached_switch_shows_in_the_residual():
    f = lambda x: (x * (x > 0.3).to(x)).sum(1)  # noqa: E731
    a = ig.attribute(f, torch.tensor([[1.0, 0.1]], dtype=D), quadrature=ig.PanelAveraged())
    assert "residual shows" in a.rules[0]
    assert not a.converged.any()


def test_a_model_whose_operations_depend_on_the_number_of_rows_is_not_averaged():
    def f(x):
        return (x.relu() if len(x) == 2 else x.relu().abs()).sum(1)

    a = ig.attribute(f, noise(3, 4, dtype=D), quadrature=ig.PanelAveraged(), check=False)
    assert "depend on its number of rows" in a.run.rule


def test_operations_that_change_after_the_probe_send_the_rule_back_to_points():
    def f(x):
        return (x.relu() if len(x) <= 3 else x.relu().abs()).sum(1)

    x = noise(2, 4, dtype=D)
    for rule in (ig.PanelAveraged(), ig.Automatic()):
        a = ig.attribute(f, x, quadrature=rule, check=False)
        assert "not panel-averaged: the operations change" in a.run.rule
        assert torch.allclose(a.values, x.relu(), atol=0.02)


def test_fused_attention_is_said_to_have_run_as_its_mathematical_form():
    said = "fused attention ran as its mathematical form"
    net, x = nets.attention_net(), noise(2, 5, 4)
    ask = lambda rule: ig.attribute(net, x, target=1, quadrature=rule).run.notes  # noqa: E731
    assert said in ask(ig.PanelAveraged(8))
    assert said not in ask(ig.GaussLegendre(48))
    assert said not in ask(ig.Automatic())  # it looks, and then takes Gauss points


def test_kinks_are_known_by_name():
    assert Coverage(None, frozenset({"relu", "gelu"})).kinks == {"relu"}


# ---------------------------------------------------------------------- the rule


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3])
@pytest.mark.parametrize("target", [ig.Logit(0), ig.Probability(0)])
def test_it_stops_by_itself_within_the_tolerance(target, tolerance):
    import strategies

    net, x = strategies.mlp(1, 20, 3, "relu", D), strategies.points(1, 40, 20, D)
    fine = ig.attribute(net, x, target=target, quadrature=ig.PanelAveraged(2048)).values
    a = ig.attribute(net, x, target=target, quadrature=ig.PanelAveraged(rtol=tolerance))
    true = (a.values - fine).abs().sum(1) / fine.abs().sum(1)
    assert a.converged.all()
    assert (true <= tolerance).double().mean() >= 0.97
    assert true.max() <= 2 * tolerance
    assert (a.error >= true / 3 - 1e-12).all()


def test_rows_leave_when_they_are_done():
    net, x = nets.conv_net(dtype=D), noise(3, 3, 8, 8, dtype=D)
    x[0] = 0
    together = ig.attribute(net, x, target=1, quadrature=ig.PanelAveraged(rtol=1e-4), width=8)
    alone = ig.attribute(net, x[1:2], target=1, quadrature=ig.PanelAveraged(rtol=1e-4), width=8)
    assert together.backwards[0] < together.backwards[1:].min()
    assert torch.equal(together.values[0], torch.zeros(3, 8, 8, dtype=D))
    assert torch.equal(together.values[1], alone.values[0])


def test_out_of_budget_is_the_best_so_far_and_not_converged():
    net, x = nets.conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    with pytest.warns(ig.NotConverged):
        a = ig.attribute(net, x, quadrature=ig.PanelAveraged(rtol=1e-6, max_evaluations=40))
    assert not a.converged.any()
    assert a.backwards.max() <= 40 + 2  # and the floor's panel
    assert a.residual.abs().max() < 1e-14


def test_an_integrand_without_an_averaged_form_is_refused():
    with pytest.raises(ig.Unsupported, match="no panel-averaged form"):
        ig.attribute(
            nets.relu_mlp(),
            noise(2, 6),
            integrand=ig.integrand.BareGradient(),
            quadrature=ig.PanelAveraged(),
        )


@pytest.mark.parametrize("panels", [0, -1, 2.5, True])
def test_a_number_of_panels_that_is_none_is_refused(panels):
    with pytest.raises(ig.InputError, match="panels"):
        ig.attribute(nets.relu_mlp(), noise(2, 6), quadrature=ig.PanelAveraged(panels))


def test_one_panel_is_the_rescale_rule():
    net = lambda x: ((x[:, 0].relu() - 1 - x[:, 1].relu()).relu(),)[0]  # noqa: E731
    twin = lambda x: ((x[:, 0] - 1).relu() - x[:, 1].relu()).relu()  # noqa: E731
    x = torch.tensor([[3.0, 1.0]], dtype=D)
    one, two = (ig.attribute(f, x, quadrature=ig.PanelAveraged(1)).values for f in (net, twin))
    assert torch.allclose(one, torch.tensor([[1.5, -0.5]], dtype=D))
    assert torch.allclose(two, torch.tensor([[2.0, -1.0]], dtype=D))

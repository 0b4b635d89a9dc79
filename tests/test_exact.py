"""`Exact`: against another algorithm, on paper, at its edges, and what it refuses."""

from itertools import combinations, pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import intgrad as ig
import nets
from contract import kinked_net
from intgrad._types import magnitude
from intgrad.integral import LineIntegral
from intgrad.integrand import BareGradient, GradientVelocity, Summed
from intgrad.path import Straight
from intgrad.path.curve import bind
from intgrad.quadrature.exact import regions
from nets import noise

D = torch.float64
EXACT = ig.Exact()


def row(*numbers):
    return torch.tensor([numbers], dtype=D)


def off(a, b):
    """Relative L1 distance of each row."""
    return (a.double() - b).abs().flatten(1).sum(1) / b.abs().flatten(1).sum(1).clamp(min=1e-300)


# ---------------------------------------------------------------------- another algorithm

LEVELS = {
    nn.ReLU: (0.0,),
    nn.LeakyReLU: (0.0,),
    nn.PReLU: (0.0,),
    nn.ReLU6: (0.0, 6.0),
    nn.Hardtanh: (-1.0, 1.0),
    nn.Hardsigmoid: (-3.0, 3.0),
    nn.Softshrink: (-0.5, 0.5),
}


class Abs(nn.Module):
    def forward(self, x):
        return x.abs()


class Maxout(nn.Module):
    def forward(self, x):
        return x.unflatten(1, (-1, 2)).max(2).values


class Largest(nn.Module):
    def forward(self, x):
        return torch.maximum(x, x.roll(1, 1)).clamp(max=0.7)


def bends(layer, z):
    """Numbers (n, m) that are 0 where a layer bends, or more often, of its input z."""
    n = len(z)
    if type(layer) in LEVELS:
        return torch.cat([z.reshape(n, -1) - level for level in LEVELS[type(layer)]], 1)
    if isinstance(layer, Abs):
        return z.reshape(n, -1)
    if isinstance(layer, Maxout):
        pairs = z.unflatten(1, (-1, 2))
        return pairs[..., 0] - pairs[..., 1]
    if isinstance(layer, Largest):
        y = torch.maximum(z, z.roll(1, 1))
        return torch.cat([z - z.roll(1, 1), y - 0.7], 1)
    if isinstance(layer, nn.MaxPool2d):
        cells = F.unfold(z, layer.kernel_size, stride=layer.stride).unflatten(1, (z.shape[1], -1))
        members = cells.unbind(2)
        return torch.cat([(a - b).reshape(n, -1) for a, b in combinations(members, 2)], 1)
    return z.new_zeros(n, 0)


def exact_line(net, start, end):
    """ExactLine: borders layer by layer, each found by interpolating between those before it."""
    edges = torch.tensor([0.0, 1.0], dtype=D)
    along = lambda t: start + t.reshape(-1, *(1,) * (start.ndim - 1)) * (end - start)  # noqa: E731
    for i, layer in enumerate(net):
        for _ in range(2):  # a bend of a bend inside one layer
            with torch.no_grad():
                u = bends(layer, net[:i](along(edges)))
            a, b = u[:-1], u[1:]
            share = torch.where(a * b < 0, a / (a - b), torch.nan)
            new = edges[:-1, None] + share * (edges[1:] - edges[:-1])[:, None]
            edges = torch.cat([edges, new[~new.isnan()]]).unique()
            edges = edges[torch.cat([torch.tensor([True]), edges.diff() > 1e-12])]
    return edges


def reference(net, x, start, target=1):
    """Integrated gradients of one row, and the edges of its pieces."""
    edges = exact_line(net, start, x)
    middle = (edges[1:] + edges[:-1]) / 2
    points = start + middle.reshape(-1, *(1,) * (x.ndim - 1)) * (x - start)
    points = points.requires_grad_()
    (g,) = torch.autograd.grad(net(points)[:, target].sum(), points)
    width = edges.diff().reshape(-1, *(1,) * (x.ndim - 1))
    return (g * width).sum(0, keepdim=True) * (x - start), edges


KINDS = [*(k for k in LEVELS if k is not nn.Hardsigmoid), Abs, Largest]


def build(seed, depth, kinds, features=5):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers, size = [], features
        for kind in kinds[:depth]:
            layers += [nn.Linear(size, 8), kind()]
            size = 8
        return nn.Sequential(*layers, nn.Linear(size, 3)).to(D).eval()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**20),
    depth=st.integers(1, 4),
    kinds=st.lists(st.sampled_from(KINDS), min_size=4, max_size=4),
    spread=st.sampled_from([0.3, 3.0, 20.0]),
)
def test_random_nets_agree_with_the_sorting_of_borders(seed, depth, kinds, spread):
    net = build(seed, depth, kinds)
    x, start = spread * noise(1, 5, seed=seed, dtype=D), noise(1, 5, seed=seed + 1, dtype=D)
    truth, _ = reference(net, x, start)
    a = ig.attribute(net, x, target=1, baseline=start, quadrature=EXACT)
    scale = float(a.output.abs().max() + a.baseline_output.abs().max())
    assert float((a.values - truth).abs().sum()) <= 1e-10 * (float(truth.abs().sum()) + scale)
    assert a.residual.abs().item() <= 1e-10 * (float(truth.abs().sum()) + scale)
    assert a.converged


@pytest.mark.parametrize("seed", range(3))
def test_a_convolutional_net_with_max_pools_agrees_with_the_sorting_of_borders(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 3, padding=1),
            nn.MaxPool2d(2),
            nn.LeakyReLU(),
            nn.Flatten(),
            nn.Linear(4, 3),
        )
    net = net.to(D).eval()
    x, start = noise(1, 2, 5, 5, seed=seed, dtype=D), torch.zeros(1, 2, 5, 5, dtype=D)
    truth, edges = reference(net, x, start)
    a = ig.attribute(net, x, target=1, quadrature=EXACT)
    assert off(a.values, truth) <= 1e-10
    assert a.residual.abs() <= 1e-12
    assert a.backwards.item() <= len(edges)  # pairs that never win are no borders


def test_hardsigmoid_is_as_exact_as_the_framework_differentiates_it():
    net = build(3, 2, [nn.ReLU, nn.Hardsigmoid])
    x, start = 9 * noise(1, 5, seed=4, dtype=D), torch.zeros(1, 5, dtype=D)
    a = ig.attribute(net, x, target=1, quadrature=EXACT)
    assert off(a.values, reference(net, x, start)[0]) <= 1e-12
    # its backward multiplies by a sixth rounded to float32, in float64 too
    assert 1e-12 < a.residual.abs() / a.values.abs().sum() < 1e-7


def test_evaluations_are_regions():
    net = build(3, 3, [nn.ReLU] * 3)
    x, start = 3 * noise(2, 5, seed=4, dtype=D), torch.zeros(1, 5, dtype=D)
    a = ig.attribute(net, x, target=1, quadrature=EXACT)
    for i in range(2):
        _, edges = reference(net, x[i : i + 1], start)
        assert a.backwards[i] == len(edges) - 1
        assert a.rules[i] == f"exact, {len(edges) - 1} regions"
    assert len(edges) > 5


class Mixed(nn.Module):
    """(n, 24) -> (n,): a mixture, one operation, a sum with weights."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.mix = nn.Linear(24, 24).to(D)
        nn.init.normal_(self.mix.weight, generator=torch.Generator().manual_seed(1))
        nn.init.normal_(self.mix.bias, generator=torch.Generator().manual_seed(2))
        size = kind(noise(1, 24, dtype=D)).numel()
        self.weight = noise(size, seed=3, dtype=D)

    def forward(self, x):
        return self.kind(self.mix(x)).flatten(1) @ self.weight


MAXIMA = {
    "1d": lambda y: F.max_pool1d(y.reshape(-1, 2, 12), 3, 2, 1),
    "2d dilated": lambda y: F.max_pool2d(y.reshape(-1, 1, 4, 6), 2, 1, 1, 2),
    "3d": lambda y: F.max_pool3d(y.reshape(-1, 1, 2, 3, 4), 2),
    "adaptive 1d": lambda y: F.adaptive_max_pool1d(y.reshape(-1, 3, 8), 3),
    "adaptive 2d": lambda y: F.adaptive_max_pool2d(y.reshape(-1, 1, 4, 6), (3, 2)),
    "rows as channels": lambda y: F.max_pool2d(y.reshape(-1, 4, 6), 2),
    "max(dim)": lambda y: y.reshape(-1, 4, 6).max(1).values,
    "min(dim)": lambda y: y.reshape(-1, 4, 6).min(-1, keepdim=True).values,
    "amax": lambda y: y.reshape(-1, 2, 3, 4).amax((1, 3)),
    "amin": lambda y: y.reshape(-1, 4, 6).amin(2, keepdim=True),
    "rows last": lambda y: y.T.relu().T,
    "rows in the middle": lambda y: y.reshape(-1, 4, 6).transpose(0, 1).amax(0),
    "folded rows": lambda y: y.reshape(-1, 6).relu().reshape(-1, 24),
    "in place": lambda y: F.relu_(y.clone()),
    "where": lambda y: torch.where(y > 0, y, -0.5 * y),
    "masked": lambda y: (y - 0.1) * (y > 0.1),
    "minimum": lambda y: torch.minimum(y[:, :12], 0.3 * y[:, 12:]),
    "clamp by a tensor": lambda y: y[:, :12].clamp(min=y[:, 12:]),
    "threshold": lambda y: F.threshold(y, 0.2, 0.2),
    "slices": lambda y: _written(y),
}


def _written(y):
    out = torch.zeros_like(y)
    out[:, ::2] = y[:, ::2].relu()
    out[:, 1::2] += y[:, 1::2].abs()
    return out


@pytest.mark.parametrize("kind", MAXIMA)
def test_every_piecewise_linear_operation_has_its_borders(kind):
    net = Mixed(MAXIMA[kind]).eval()
    x = noise(3, 24, seed=5, dtype=D)
    a = ig.attribute(net, x, quadrature=EXACT)
    assert bool((a.residual.abs() <= 1e-12 * magnitude((a.values,))).all())
    assert bool((a.backwards > 2).all())
    t = (torch.arange(4000, dtype=D) + 0.5) / 4000
    for i in range(3):
        points = (t[:, None] * x[i]).requires_grad_()
        (g,) = torch.autograd.grad(net(points).sum(), points)
        assert off(a.values[i : i + 1], g.mean(0, keepdim=True) * x[i]) <= 1e-3


# ---------------------------------------------------------------------- on paper


@pytest.mark.parametrize(
    "f",
    [
        lambda x: torch.relu(torch.relu(x[:, 0]) - 1 - torch.relu(x[:, 1])),
        lambda x: torch.relu(torch.relu(x[:, 0] - 1) - torch.relu(x[:, 1])),
    ],
)
def test_equal_functions_get_equal_attributions(f):
    a = ig.attribute(f, row(3, 1), quadrature=EXACT)
    assert torch.allclose(a.values, row(1.5, -0.5), atol=1e-14)


def test_saturation_is_seen_through():
    a = ig.attribute(lambda x: 1 - torch.relu(1 - x[:, 0]), row(2.0), quadrature=EXACT)
    assert torch.allclose(a.values, row(1.0), atol=1e-15)
    assert a.rules == ("exact, 2 regions",)


@pytest.mark.parametrize(("shift", "expected"), [(1e-3, (1.001, 0.0)), (-1e-3, (0.0, 1.0))])
def test_the_maximum_makes_attribution_jump(shift, expected):
    for f in (lambda x: x.max(1).values, lambda x: torch.maximum(x[:, 0], x[:, 1])):
        a = ig.attribute(f, row(1 + shift, 1), quadrature=EXACT)
        assert torch.allclose(a.values, row(*expected), atol=1e-15)


def integral(f, x, start=None, integrand=GradientVelocity(), target=None):
    """The integral that `attribute` would hand to a rule."""
    seen = []

    class Keep(ig.Exact):
        def __call__(self, integral: LineIntegral):
            seen.append(integral)
            return super().__call__(integral)

    ig.attribute(f, x, baseline=start, target=target, quadrature=Keep(), integrand=integrand)
    return seen[0]


def test_two_units_that_cross_at_once_are_both_named():
    f = lambda x: torch.relu(x[:, 0] - 0.5) + torch.relu(x[:, 1] - 0.5)  # noqa: E731
    before, after = sorted(regions(integral(f, row(1, 1))), key=lambda r: r.low)
    assert (before.low, after.high) == (0, 1)
    assert before.high == after.low == pytest.approx(0.5, abs=1e-15)
    assert torch.equal(before.gradient[0], row(0, 0))
    assert torch.equal(after.gradient[0], row(1, 1))
    assert before.units == ((0, 0), (1, 0))
    assert after.units == ()


def test_gradients_jump_where_units_are_named_and_nowhere_else():
    net = build(7, 3, [nn.ReLU] * 3)
    x = 3 * noise(1, 5, seed=8, dtype=D)
    found = sorted(regions(integral(net, x, target=1)), key=lambda r: r.low)
    assert len(found) > 10
    assert [r.low for r in found[1:]] == pytest.approx([r.high for r in found[:-1]], abs=1e-13)

    def signs(t):
        return [net[:k](t * x) > 0 for k in (1, 3, 5)]

    for r, s in pairwise(found):
        a, b = signs((r.low + r.high) / 2), signs((s.low + s.high) / 2)
        changed = [
            (op, unit)
            for op, (p, q) in enumerate(zip(a, b, strict=True))
            for unit in (p != q)[0].nonzero()[:, 0].tolist()
        ]
        assert r.units == tuple(changed)


# ---------------------------------------------------------------------- edges


def test_units_that_are_zero_along_the_whole_path_have_no_border():
    net = build(2, 2, [nn.ReLU] * 2, features=6)
    nn.init.zeros_(net[0].bias)
    with torch.no_grad():
        net[0].weight[:4, 3:] = 0  # these see only what stays black
    x = row(0, 0, 0, 1.0, -2.0, 0.5)
    a = ig.attribute(net, x, target=1, quadrature=EXACT)
    truth, edges = reference(net, x, torch.zeros_like(x))
    assert off(a.values, truth) <= 1e-12
    assert a.backwards.item() == len(edges) - 1


def test_without_biases_every_border_is_at_the_baseline():
    net = build(5, 3, [nn.ReLU] * 3)
    for layer in net[::2]:
        nn.init.zeros_(layer.bias)
    x = noise(3, 5, seed=2, dtype=D)
    a = ig.attribute(net, x, target=1, quadrature=EXACT)
    assert a.rules == ("exact, 1 regions",) * 3
    points = (x / 2).requires_grad_()
    (g,) = torch.autograd.grad(net(points)[:, 1].sum(), points)
    assert torch.allclose(a.values, g * x, atol=1e-14)


@pytest.mark.parametrize("kink", [0.0, 5**0.5 - 3**0.5, (3 - 5**0.5) / 2, 0.5, 1 / 3, 1.0])
def test_a_point_on_a_border_is_asked_elsewhere(kink):
    f = lambda x: 3 * torch.relu(x[:, 0] - kink) - torch.relu(kink - x[:, 0])  # noqa: E731
    a = ig.attribute(f, row(1.0), quadrature=EXACT)
    assert a.values.item() == pytest.approx(3 - 2 * kink, abs=1e-14)
    assert a.backwards <= 4


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
@pytest.mark.parametrize("gap", [1e-15, 1e-13, 3e-13, 1e-11, 1e-8, 1e-4])
def test_borders_that_almost_meet_are_no_trouble(gap):
    f = lambda x: torch.relu(x[:, 0] - 0.3) - torch.relu(x[:, 0] - 0.3 - gap)  # noqa: E731
    a = ig.attribute(f, row(1.0), quadrature=EXACT)
    made = abs(a.values.item() - gap)
    assert made <= 2e-13
    assert made <= 3 * a.error_map.item() + 1e-15 or not a.converged
    assert a.converged or gap < 1e-9  # rounding of 0.3 is much of so small a number


def test_equal_pixels_and_copied_units_cross_together():
    net = build(4, 2, [nn.ReLU] * 2)
    with torch.no_grad():
        net[0].weight[4:] = net[0].weight[:4]
        net[0].bias[4:] = net[0].bias[:4]
        net[0].weight[:, 1] = net[0].weight[:, 0]
    x = row(0.7, 0.7, -0.4, 1.5, 1.5)
    truth, edges = reference(net, x, torch.zeros_like(x))
    a = ig.attribute(net, x, target=1, quadrature=EXACT)
    assert off(a.values, truth) <= 1e-12
    assert a.backwards.item() == len(edges) - 1
    assert a.values[0, 0] == pytest.approx(a.values[0, 1].item(), abs=1e-14)


def test_several_curves_a_row_add_up():
    net, x = build(6, 2, [nn.ReLU] * 2), noise(2, 5, seed=3, dtype=D)
    baseline = ig.Uniform(-1.0, 1.0, samples=4)
    a = ig.attribute(net, x, target=1, baseline=baseline, quadrature=EXACT)
    dense = ig.PanelAveraged(2000)
    b = ig.attribute(net, x, target=1, baseline=baseline, quadrature=dense)
    assert bool((off(a.values, b.values) <= 3 * b.error + 1e-9).all())
    assert bool((a.residual.abs() <= 1e-13).all())


def test_a_path_of_no_length_has_one_region():
    x = row(1.0, 2.0)
    a = ig.attribute(lambda x: x.relu().sum(1), x, baseline=x, quadrature=EXACT)
    assert torch.equal(a.values, torch.zeros(1, 2, dtype=D))
    assert a.converged


def test_a_model_without_a_bend_has_one_region():
    a = ig.attribute(lambda x: x @ torch.tensor([1.0, 2.0], dtype=D), row(3, 4), quadrature=EXACT)
    assert torch.equal(a.values, row(3, 8))
    assert a.rules == ("exact, 1 regions",)


def test_a_jump_of_the_model_is_in_the_residual():
    f = lambda x: x[:, 0] + (x[:, 0] > 0.3).to(D)  # noqa: E731
    with pytest.warns(ig.NotConverged):
        a = ig.attribute(f, row(1.0), quadrature=EXACT)
    assert a.residual.item() == pytest.approx(-1)


# ---------------------------------------------------------------------- targets and heads


def test_every_class_in_one_walk_is_each_class_alone():
    net, x = build(9, 2, [nn.ReLU] * 2), noise(2, 5, seed=3, dtype=D)
    a = ig.attribute(net, x, target=ig.All(), quadrature=EXACT)
    for k in range(3):
        alone = ig.attribute(net, x, target=k, quadrature=EXACT)
        assert torch.allclose(a.values[k], alone.values, atol=1e-14)
    assert torch.equal(a.backwards, 3 * alone.backwards)


def composite(f, x, start, edges, pieces=40):
    """Gauss points in many pieces of each stretch between edges."""
    cuts = torch.cat(
        [torch.linspace(float(a), float(b), pieces + 1, dtype=D)[:-1] for a, b in pairwise(edges)]
        + [torch.ones(1, dtype=D)]
    )
    total = torch.zeros_like(x)
    for place, weight in ((-(0.6**0.5), 5 / 18), (0.0, 8 / 18), (0.6**0.5, 5 / 18)):
        t = (cuts[1:] + cuts[:-1]) / 2 + place * cuts.diff() / 2
        points = (start + t[:, None] * (x - start)).requires_grad_()
        (g,) = torch.autograd.grad(f(points).sum(), points)
        total += weight * (g * cuts.diff()[:, None]).sum(0, keepdim=True)
    return total * (x - start)


HEADS = {
    "probability": (ig.Probability(1), lambda s: s.softmax(1)[:, 1]),
    "log-probability": (ig.LogProbability(2), lambda s: s.log_softmax(1)[:, 2]),
    "margin of probabilities": (
        lambda s: s.softmax(1)[:, 0] - s.softmax(1)[:, 2],
        lambda s: s.softmax(1)[:, 0] - s.softmax(1)[:, 2],
    ),
    "logsumexp": (lambda s: s.logsumexp(1), lambda s: s.logsumexp(1)),
    "sigmoid": (lambda s: s[:, 0].sigmoid(), lambda s: s[:, 0].sigmoid()),
    "odds": (lambda s: s[:, 1] - s.logsumexp(1), lambda s: s[:, 1] - s.logsumexp(1)),
    "tanh": (lambda s: s.tanh().sum(1), lambda s: s.tanh().sum(1)),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("sharp", [1.0, 30.0])
def test_a_smooth_head_is_integrated_over_known_scores(head, sharp):
    net, x = build(11, 2, [nn.ReLU] * 2), 2 * noise(3, 5, seed=3, dtype=D)
    with torch.no_grad():
        net[-1].weight *= sharp
    target, score = HEADS[head]
    start = torch.zeros(1, 5, dtype=D)
    a = ig.attribute(net, x, target=target, quadrature=EXACT)
    logits = ig.attribute(net, x, target=0, quadrature=EXACT)
    assert torch.equal(a.backwards, logits.backwards)
    for i in range(3):
        one = x[i : i + 1]
        _, edges = reference(net, one, start)
        truth = composite(lambda z: score(net(z)), one, start, edges, 40)
        assert off(a.values[i : i + 1], truth) <= 1e-9
    assert bool((a.residual.abs() <= 1e-12 * a.values.abs().sum(1)).all())


@pytest.mark.parametrize("order", [[4, 2, 0], [1], [3, 1, 4, 0, 2]], ids=str)
def test_at_a_given_width_a_row_does_not_know_its_batch_where_the_model_does_not(order):
    first, second, last = noise(12, 10), noise(8, 12, seed=1), noise(8, seed=2)

    def net(x):  # sums, whose bytes do not depend on a row's slot as those of products may
        h = ((x[:, None] * first).sum(2) + 0.1).relu()
        return (((h[:, None] * second).sum(2) - 0.2).relu() * last).sum(1)

    x = noise(5, 10, seed=9)
    a = ig.attribute(net, x, quadrature=EXACT, width=3)
    b = ig.attribute(net, x[order], quadrature=EXACT, width=3)
    assert torch.equal(b.values, a.values[order])
    assert torch.equal(b.error_map, a.error_map[order])


def test_a_head_does_not_know_its_batch_mates():
    net, x = kinked_net(D), noise(3, 2, 5, seed=3, dtype=D)
    x[0] *= 50  # needs many more pieces
    a = ig.attribute(net, x, target=ig.Probability(1), quadrature=EXACT, width=3)
    b = ig.attribute(net, x[2:], target=ig.Probability(1), quadrature=EXACT, width=3)
    assert torch.equal(a.values[2:], b.values)
    assert torch.equal(a.error_map[2:], b.error_map)


# ---------------------------------------------------------------------- integrands and locations


def test_mean_gradients_and_sums_are_integrated_too():
    net, x = build(12, 2, [nn.ReLU] * 2), noise(2, 5, seed=3, dtype=D)
    call = {"target": 1, "quadrature": EXACT}
    a = ig.attribute(net, x, **call)
    mean = ig.attribute(net, x, integrand=BareGradient(), **call)
    assert torch.allclose(mean.values * x, a.values, atol=1e-14)
    found = EXACT(integral(net, x, integrand=Summed(), target=1))
    assert torch.allclose(found.value[0][0], a.values.sum(1), atol=1e-14)


def test_a_layer_can_be_explained():
    net, x = build(13, 3, [nn.ReLU] * 3), noise(2, 5, seed=3, dtype=D)
    a = ig.attribute(net, x, target=1, at="1", quadrature=EXACT)
    inner = net[:2](x).detach(), net[:2](torch.zeros(1, 5, dtype=D)).detach()
    b = ig.attribute(net[2:], inner[0], target=1, baseline=inner[1], quadrature=EXACT)
    assert torch.allclose(a.values, b.values, atol=1e-14)


def test_tuples_and_extras_go_through():
    f = lambda a, b, shift=None: (a * 2 + b.sum(2) - shift).relu().sum(1)  # noqa: E731
    x = noise(2, 3, dtype=D), noise(2, 3, 4, seed=1, dtype=D)
    shift = noise(2, 3, seed=2, dtype=D).abs()
    a = ig.attribute(f, x, given={"shift": shift}, quadrature=EXACT)
    assert bool((a.residual.abs() <= 1e-13).all())


# ---------------------------------------------------------------------- budget, dtype, cost


def test_a_budget_ends_it_and_the_error_says_so():
    net, x = nets.relu_mlp(dtype=D), 9 * noise(2, 6, seed=3, dtype=D)
    truth = ig.attribute(net, x, target=1, quadrature=EXACT)
    with pytest.warns(ig.NotConverged):
        a = ig.attribute(net, x, target=1, quadrature=ig.Exact(max_regions=9))
    assert not bool(a.converged.any())
    assert bool((a.backwards <= 9).all())
    assert "PanelAveraged" in a.rules[0]
    assert "% of the path" in a.rules[0]
    made = off(a.values, truth.values)
    assert bool((made <= 3 * a.error).all())
    assert bool((made > 1e-6).all())


def test_a_larger_budget_covers_more():
    net, x = nets.relu_mlp(dtype=D), 9 * noise(1, 6, seed=3, dtype=D)
    truth = ig.attribute(net, x, target=1, quadrature=EXACT)
    need = truth.backwards.item()
    errors = []
    for most in (need // 8, need // 4, need // 2, 3 * need + 3):
        found = ig.Exact(rtol=9.0, max_regions=most)
        errors.append(ig.attribute(net, x, target=1, quadrature=found).error.item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == truth.error.item()


def test_a_budget_below_one_region_a_curve_is_refused():
    with pytest.raises(ig.InputError, match="at least 5"):
        ig.attribute(
            lambda x: x.relu().sum(1),
            row(1.0, 2.0),
            baseline=ig.Uniform(-1.0, 1.0, samples=5),
            quadrature=ig.Exact(max_regions=4),
        )


@pytest.mark.parametrize("bad", [{"rtol": 0}, {"rtol": "x"}, {"max_regions": 0}])
def test_settings_that_mean_nothing_are_refused(bad):
    with pytest.raises(ig.InputError, match="expected"):
        ig.attribute(lambda x: x.relu().sum(1), row(1.0), quadrature=ig.Exact(**bad))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**20), depth=st.integers(1, 3))
def test_in_float32_the_error_is_that_of_rounding(seed, depth):
    net, x = build(seed, depth, [nn.ReLU] * 3), 2 * noise(2, 5, seed=seed, dtype=D)
    x, net32 = x.float().double(), build(seed, depth, [nn.ReLU] * 3).float()
    net.load_state_dict({k: v.double() for k, v in net32.state_dict().items()})
    truth = ig.attribute(net, x, target=1, quadrature=EXACT)
    a = ig.attribute(net32, x.float(), target=1, quadrature=ig.Exact(rtol=1.0))
    made = off(a.values, truth.values)
    assert bool((made <= 1e-5).all())
    assert bool((made <= 3 * a.error + 10 * a.floor).all())


def test_tangent_passes_are_counted_apart():
    net, x = build(3, 3, [nn.ReLU] * 3), noise(2, 5, seed=4, dtype=D)
    whole = integral(net, x, target=1)
    meter = whole.oracle.meter
    before = meter.backwards.clone(), meter.tangents.clone(), meter.forwards.clone()
    assert torch.equal(before[1], before[0])
    EXACT(whole)
    spent = meter.tangents - before[1]
    assert torch.equal(spent, meter.backwards - before[0])
    assert torch.equal(spent, meter.forwards - before[2])
    assert bool((spent > 1).all())


def test_the_model_is_as_it_was():
    net, x = nets.relu_mlp(dtype=D), noise(2, 6, dtype=D)
    with nets.untouched(net):
        ig.attribute(net, x, target=1, quadrature=EXACT)


# ---------------------------------------------------------------------- refusals


def refused(f, x, match, **parts):
    with pytest.raises(ig.Unsupported, match=match):
        ig.attribute(f, x, quadrature=EXACT, **{"target": 0, **parts})


def test_what_is_not_piecewise_linear_is_refused_by_name():
    x = noise(2, 6, dtype=D)
    refused(nets.gelu_mlp(dtype=D), x, "piecewise-linear model; this one uses gelu")
    refused(lambda x: x * x, x, "uses mul")
    refused(lambda x: x.relu().softmax(1).relu(), x, "uses softmax")
    refused(lambda x: x.tanh().tanh(), x, "uses tanh")
    refused(lambda x: x.square(), x, "uses (square|pow)")
    refused(lambda x: F.layer_norm(x, (6,)), x, "uses native_layer_norm")
    refused(lambda x: x.sort(1).values, x, "uses sort")
    refused(lambda x: x[:, x.argmax(1)], x, "uses argmax")
    refused(lambda x: F.threshold(x, 0.5, 0.0), x, "uses threshold")
    refused(lambda x: x / (1 + x.abs().max()), x, "uses max, div")
    refused(lambda x: x if x.sum().item() > 0 else -x, x, "uses local_scalar_dense")
    refused(lambda x: x if x.sum() > 0 else -x, x, "tell the rows")
    refused(lambda x: x * (x.softmax(1) > 0.2), x, "uses gt")


def test_attention_is_refused_by_name():
    refused(nets.attention_net(dtype=D), noise(2, 5, 4, dtype=D), "uses .*(bmm|softmax)")


def test_a_custom_function_is_refused_by_name():
    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, g):
            return g.clamp(min=0)

    refused(lambda x: Guided.apply(x), noise(2, 3, dtype=D), "GuidedBackward")


def test_paths_that_bend_are_refused():
    refused(nets.relu_mlp(dtype=D), noise(2, 6, dtype=D), "path is bent", path=bent)


def bent(t, start, end):
    return start + t**2 * (end - start)


def test_integrands_that_vary_in_a_region_are_refused():
    from intgrad.integrand import AveragedGradient

    refused(
        nets.relu_mlp(dtype=D),
        noise(2, 6, dtype=D),
        "AveragedGradient",
        integrand=AveragedGradient(),
    )


def test_half_precision_is_refused():
    refused(lambda x: x.relu(), noise(2, 6).bfloat16(), "float32 or float64")


def test_differentiation_is_refused():
    refused(nets.relu_mlp(dtype=D), noise(2, 6, dtype=D), "differentiable", differentiable=True)


def test_an_oracle_without_regions_is_refused():
    plain = lambda x, rows: (x[0].sum(1), (torch.ones_like(x[0]),))  # noqa: E731
    curves = bind((torch.zeros(1, 2, dtype=D),), (row(1, 2),))
    with pytest.raises(ig.Unsupported, match="'regions'"):
        EXACT(LineIntegral(plain, curves, Straight(), GradientVelocity(), 1))

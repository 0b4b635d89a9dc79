"""Layers and neurons: conductance against paper and plain loops, and what it says where it cannot."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn

import intgrad as ig
from contract import check_value
from nets import (
    attention_net,
    conv_net,
    gelu_mlp,
    integrated_gradients,
    noise,
    relu_mlp,
    tiny_transformer,
    untouched,
)

D = torch.float64
FINE = ig.GaussLegendre(64, rtol=1e-9)
LOOSE = ig.GaussLegendre(16, rtol=math.inf)
PUSHED = ig.PushedForward()


class Residual(nn.Module):
    """Batch normalisation, ReLUs that write into their input, and a way around."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm1, self.relu1 = nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.body = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.relu1(self.norm1(self.stem(x)))
        y = self.norm2(self.body(x))
        y += x
        return self.head(self.relu2(y).mean((2, 3)))


class Twice(nn.Module):
    """One layer that runs two times, and one the output ignores."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.idle = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.unused = nn.Linear(5, 2)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        y = torch.tanh(self.again(torch.tanh(self.first(x))))
        self.idle(y)
        return self.head(torch.tanh(self.again(y)))


class Pair(nn.Module):
    """A layer that puts out two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[0].mean(1))


def seeded(kind, dtype=D):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return kind().to(dtype).eval()


def residual_net():
    net = seeded(Residual)
    for norm in (net.norm1, net.norm2):
        norm.running_mean.copy_(noise(6, seed=3, dtype=D) / 4)
        norm.running_var.copy_(1 + noise(6, seed=4, dtype=D).abs())
    return net


def by_hand(below, above, x, baseline, nodes=64):
    """Conductance by a plain loop: the gradient above, times how the layer moves, at Gauss points."""
    import numpy as np

    points, weights = np.polynomial.legendre.leggauss(nodes)
    found = 0
    for s, w in zip((points + 1) / 2, weights / 2, strict=True):
        at = baseline + float(s) * (x - baseline)
        y, moves = torch.func.jvp(below, (at,), (x - baseline,))
        y = y.detach().requires_grad_()
        (g,) = torch.autograd.grad(above(y).sum(), y)
        found = found + float(w) * g * moves
    return found.detach()


def sums(a):
    return a.values.flatten(1).sum(1)


def gain(a):
    return (a.output - a.baseline_output).double()


# ---------------------------------------------------------------------- conductance, on paper


def test_conductance_is_the_sum_that_its_definition_says():
    net, x = gelu_mlp(dtype=D), noise(3, 6, dtype=D)
    a = ig.methods.conductance("1", quadrature=FINE)(net, x, target=2)
    wanted = by_hand(net[:2], lambda y: net[2:](y)[:, 2], x, torch.zeros_like(x))
    assert torch.allclose(a.values, wanted, atol=1e-12)
    assert a.recipe.name == "conductance"
    assert a.run.at == "1"


@pytest.mark.parametrize("powers", [(1, 2), (3, 1)])
def test_neurons_of_a_monomial_are_paid_by_their_powers_along_the_curve(powers):
    # y = x^2: the curve of y is t^2 y(1), and f(y) = y1^p y2^q is homogeneous along it
    class Squares(nn.Module):
        def __init__(self):
            super().__init__()
            self.square = Square()

        def forward(self, x):
            y = self.square(x)
            return y[:, 0] ** powers[0] * y[:, 1] ** powers[1]

    class Square(nn.Module):
        def forward(self, x):
            return x.square()

    x = torch.tensor([[1.5, -0.5]], dtype=D)
    a = ig.attribute(Squares(), x, at="square", path=PUSHED, quadrature=FINE)
    p = torch.tensor(powers, dtype=D)
    assert torch.allclose(a.values, p / p.sum() * a.output[:, None], atol=1e-12)


def test_a_layer_s_own_line_is_another_path_unless_what_is_before_it_is_affine():
    net, x = gelu_mlp(dtype=D), noise(2, 6, dtype=D)
    pushed, own = (
        ig.attribute(net, x, target=0, at=["0", "1"], quadrature=FINE, **path)
        for path in ({"path": PUSHED}, {})
    )
    assert list(pushed) == list(own) == ["0", "1"]
    assert torch.allclose(pushed["0"].values, own["0"].values, atol=1e-9)
    assert not torch.allclose(pushed["1"].values, own["1"].values, atol=1e-4)


def test_the_first_layer_s_conductance_by_way_of_the_input_is_integrated_gradients():
    net, x = nn.Sequential(nn.Identity(), gelu_mlp(dtype=D)), noise(2, 6, dtype=D)
    hand = integrated_gradients(lambda z: net(z)[:, 1], x, torch.zeros_like(x)).detach()
    for at in ("0", "input"):
        a = ig.methods.conductance(at, quadrature=FINE)(net, x, target=1)
        assert torch.allclose(a.values, hand, atol=1e-12)


# ---------------------------------------------------------------------- every layer's sum


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
@pytest.mark.parametrize("build", [conv_net, residual_net])
def test_every_cut_s_neurons_add_up_to_the_difference(build):
    net = build() if build is residual_net else build(dtype=D)
    x = noise(2, 3, 8, 8, dtype=D)
    cuts = [n for n, m in net.named_modules() if n and n not in ("norm2", "body")]
    with untouched(net):
        found = ig.attribute(net, x, target=1, at=cuts, path=PUSHED, quadrature=ig.Automatic(1e-3))
    assert list(found) == cuts
    for name, a in found.items():
        assert not a.run.notes, name
        norm = a.values.flatten(1).abs().sum(1)
        assert bool(((sums(a) - gain(a)).abs() <= 3e-3 * norm).all()), name
        assert torch.allclose(a.residual.double(), sums(a) - gain(a), atol=1e-12)
    assert len({float(a.backwards[0]) for a in found.values()}) == 1  # one sweep for all


@pytest.mark.parametrize("panels", [1, 3, 8])
def test_averaged_over_panels_a_cut_is_complete_however_few_they_are(panels):
    net, x = residual_net(), noise(2, 3, 8, 8, dtype=D)
    how = {"target": ig.Probability(1), "path": PUSHED}
    rule = ig.PanelAveraged(panels, rtol=math.inf)
    with untouched(net), warnings.catch_warnings():
        warnings.simplefilter("ignore", ig.NotConverged)  # odd numbers do not know their error
        found = ig.attribute(net, x, at="all", quadrature=rule, **how)
    for name, a in found.items():
        assert (a.residual is None) == (name in ("body", "norm2")), name
        if a.residual is not None:
            assert float(a.residual.abs().max()) < 1e-14, name
    assert (
        float(found["stem"].forwards.max()) <= 2 * panels + 5
    )  # edges, ends, floor: no other pass


def test_averaged_over_panels_conductance_converges_at_second_order():
    net, x = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    how = {"target": 1, "at": ["0", "3", "4"], "path": PUSHED}
    ask = lambda rule: ig.attribute(net, x, quadrature=rule, **how)  # noqa: E731
    few, many, finer = (ask(ig.PanelAveraged(n, rtol=math.inf)) for n in (4, 32, 512))
    points = ask(ig.GaussLegendre(2000, rtol=math.inf))  # of first order: right to 5e-4
    off = lambda a, b: float((a.values - b.values).abs().sum() / b.values.abs().sum())  # noqa: E731
    for name in ("0", "3"):
        assert off(many[name], finer[name]) < off(few[name], finer[name]) / 16, (
            name
        )  # 8 at the first
    for name in finer:
        assert off(finer[name], points[name]) < 5e-4, name
    assert "panel-averaged" in ask(ig.Automatic(1e-2))["0"].run.rule


def test_panels_of_layers_know_every_target_call_and_row():
    net, x = conv_net(), noise(4, 3, 8, 8)
    how = {"at": ["0", "4:input"], "path": PUSHED, "quadrature": ig.PanelAveraged(4, rtol=math.inf)}
    every = ig.attribute(net, x, target=ig.All(), width=6, **how)
    alone = ig.attribute(net, x[2:3], target=2, width=6, **how)
    for name, a in every.items():
        one = a.target(2).select(2).values
        assert torch.allclose(one, alone[name].values, atol=1e-6)
    two, z = seeded(Twice), noise(3, 4, dtype=D)
    calls = ["again#0", "again#1"]
    panels = ig.attribute(two, z, target=1, at=calls, path=PUSHED, quadrature=ig.PanelAveraged(64))
    fine = ig.attribute(two, z, target=1, at=calls, path=PUSHED, quadrature=FINE)
    for name in calls:
        assert torch.allclose(panels[name].values, fine[name].values, atol=1e-4)


def test_a_jump_that_panels_cannot_average_is_seen_and_those_rows_are_asked_pointwise():
    class Jump(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            h = torch.relu(self.line(x))
            return self.head(h) + (x[:, :1] > 0.5) * 1.0

    net = seeded(Jump)
    x = noise(2, 4, dtype=D)
    x[:, 0] = torch.tensor([0.2, 2.0])  # the second row jumps
    rule = ig.PanelAveraged(rtol=0.05)
    with pytest.warns(ig.NotConverged, match="row 1"):
        a = ig.attribute(net, x, target=1, at="line", path=PUSHED, quadrature=rule)
    assert "not panel-averaged" not in a.rules[0]
    assert "its residual shows" in a.rules[1]
    assert a.converged.tolist() == [True, False]


@pytest.mark.parametrize("rule", [ig.GaussLegendre(4, rtol=math.inf), LOOSE, ig.Automatic(1e-2)])
def test_a_layer_that_is_no_cut_says_how_much_passes_beside_it_however_few_the_nodes(rule):
    net, x = residual_net(), noise(2, 3, 8, 8, dtype=D)
    found = ig.attribute(
        net, x, target=1, at=["stem", "body", "head"], path=PUSHED, quadrature=rule
    )
    for cut in (found["stem"], found["head"]):
        assert cut.residual is not None
        assert not cut.run.notes
    b = found["body"]
    assert b.residual is None
    (note,) = b.run.notes
    assert "body is no cut" in note
    share = ((sums(b) - gain(b)) / gain(b)).abs().max()
    assert f"up to {float(share):.2g} of" in note


def test_each_layer_is_held_to_the_tolerance_of_its_own():
    net, x = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    found = ig.attribute(net, x, target=1, at="all", path=PUSHED)  # a warning would be an error
    for a in found.values():
        assert bool(a.converged.all())
        assert bool((a.error <= 0.01).all())
        assert a.run.rtol == 0.01


def test_the_names_are_as_they_were_given():
    net, x = gelu_mlp(dtype=D), noise(1, 6, dtype=D)
    found = ig.attribute(net, x, at=[net[1], "3"], path=PUSHED, quadrature=LOOSE)
    assert list(found) == ["1", "3"]
    alone = ig.attribute(net, x, at=net[1], path=PUSHED, quadrature=LOOSE)
    assert torch.equal(alone.values, found["1"].values)


# ---------------------------------------------------------------------- calls, tuples, attention


def test_every_call_of_a_module_is_a_layer_of_its_own():
    net, x = seeded(Twice), noise(3, 4, dtype=D)
    found = ig.attribute(
        net, x, target=1, at=["again#0", "again#1", "again"], path=PUSHED, quadrature=FINE
    )
    start, one = torch.zeros_like(x), lambda z: net.again(torch.tanh(net.first(z)))
    two = lambda y: net.again(torch.tanh(y))  # noqa: E731
    last = lambda y: net.head(torch.tanh(y))[:, 1]  # noqa: E731
    first = by_hand(one, lambda y: last(two(y)), x, start)
    second = by_hand(lambda z: two(one(z)), last, x, start)
    assert torch.allclose(found["again#0"].values, first, atol=1e-12)
    assert torch.allclose(found["again#1"].values, second, atol=1e-12)
    assert torch.equal(found["again"].values, found["again#0"].values)
    assert not torch.allclose(first, second, atol=1e-4)


def test_captum_gives_a_module_that_runs_twice_one_of_its_calls():
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    net, x = seeded(Twice), noise(3, 4, dtype=D)
    found = attr.LayerConductance(net, net.again).attribute(x, target=1, n_steps=2000)
    theirs = torch.as_tensor(found[0] if isinstance(found, tuple) else found).detach()
    ours = ig.attribute(net, x, target=1, at=["again#0", "again#1"], path=PUSHED, quadrature=FINE)
    off = [float((theirs - a.values).abs().sum() / a.values.abs().sum()) for a in ours.values()]
    assert off[1] < 1e-3 < 0.5 < off[0]  # the last: https://github.com/pytorch/captum/issues/794


def test_of_several_outputs_the_first_is_explained():
    net, x = seeded(Pair), noise(2, 5, 3, dtype=D)
    a = ig.attribute(net, x, target=0, at="rnn", path=PUSHED, quadrature=FINE)
    assert a.values.shape == (2, 5, 4)
    assert torch.allclose(sums(a), gain(a), atol=1e-9)
    assert torch.allclose(
        ig.attribute(net, x, target=ig.Unit("rnn", (4, 2))).output, net.rnn(x)[0][:, 4, 2]
    )


def test_attention_is_followed_from_the_words_embeddings():
    net, ids = tiny_transformer(dtype=D), torch.tensor([[0, 4, 5, 1], [0, 6, 3, 1]])
    how = {"target": 1, "baseline": torch.tensor([[0, 2, 2, 1]]), "quadrature": FINE}
    path = ig.PushedForward(at="embedding")
    found = ig.attribute(net, ids, at=["embedding", "norm"], path=path, **how)
    for a in found.values():
        assert a.values.shape == (2, 4, 8)
        assert torch.allclose(sums(a), gain(a), atol=1e-9)
    words = ig.attribute(net, ids, at="embedding", **how)
    assert torch.allclose(found["embedding"].values, words.values, atol=1e-12)


def test_fused_attention_is_followed_too():
    net, x = attention_net(dtype=D), noise(2, 5, 4, dtype=D)
    a = ig.attribute(net, x, target=0, at="qkv", path=PUSHED, quadrature=FINE)
    assert torch.allclose(sums(a), gain(a), atol=1e-9)


# ---------------------------------------------------------------------- refusals, and the model after


def test_an_unknown_layer_is_told_the_nearest_names():
    net, x = residual_net(), noise(1, 3, 8, 8, dtype=D)
    with pytest.raises(ig.InputError, match="nearest are norm1"):
        ig.attribute(net, x, at="norm11", path=PUSHED)
    with pytest.raises(ig.InputError, match="number of a call"):
        ig.attribute(net, x, at="norm1#one", path=PUSHED)
    with pytest.raises(ig.InputError, match="at least one"):
        ig.attribute(net, x, at=[], path=PUSHED)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("idle", "does not depend on the layer 'idle'"),
        ("unused", "was not reached 1 times"),
        ("again#2", "was not reached 3 times"),
    ],
)
def test_a_layer_without_a_say_is_refused_and_the_model_is_as_it_was(at, said):
    net, x = seeded(Twice), noise(2, 4, dtype=D)
    with untouched(net), pytest.raises(ig.ModelError, match=said):
        ig.attribute(net, x, target=0, at=at, path=PUSHED)
    with untouched(net):
        ig.attribute(net, x, target=0, at="again#1", path=PUSHED, quadrature=LOOSE)


def test_a_layer_before_the_path_s_own_place_is_refused():
    net, x = gelu_mlp(dtype=D), noise(1, 6, dtype=D)
    with untouched(net), pytest.raises(ig.ModelError, match="does not depend on what moves"):
        ig.attribute(net, x, at="0", path=ig.PushedForward(at="1"))


def test_an_operation_without_a_forward_mode_is_named_with_what_to_do():
    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(3, 2)

        def forward(self, x):
            return self.line(Backward.apply(x))

    net = seeded(Net)
    with untouched(net), pytest.raises(ig.Unsupported, match="without path="):
        ig.attribute(net, noise(1, 3, dtype=D), target=0, at="line", path=PUSHED)


def test_several_baselines_are_averaged_layer_by_layer():
    starts = [ig.Zeros(), torch.ones(1, 6, dtype=D)]
    model, x = gelu_mlp(dtype=D), noise(3, 6, dtype=D)
    how = {"target": 1, "path": ig.PushedForward()}
    found = ig.attribute(model, x, baseline=starts, at=["0", "2"], **how)
    alone = [ig.attribute(model, x, baseline=b, at=["0", "2"], **how) for b in starts]
    for name, a in found.items():
        torch.testing.assert_close(a.values, sum(b[name].values for b in alone) / 2)
        assert len(a.members) == 2
        assert a.residual.abs().max() < 1e-3
    one = ig.attribute(model, x, baseline=starts, at="2", **how)
    torch.testing.assert_close(one.values, found["2"].values)


@pytest.mark.parametrize("path", [ig.Sequential(axis=1), ig.Permutation(samples=4)])
def test_paths_that_are_shared_out_by_feature_are_refused_inside(path):
    with pytest.raises(ig.Unsupported, match="moves some features at a time"):
        ig.attribute(
            gelu_mlp(dtype=D), noise(2, 6, dtype=D), target=1, at="2", path=ig.PushedForward(path)
        )


def test_an_integrand_that_means_nothing_inside_is_refused():
    from intgrad.integrand import SquaredShares

    with pytest.raises(ig.Unsupported, match="SquaredShares is not known inside"):
        ig.attribute(relu_mlp(), noise(1, 6), at="0", path=PUSHED, integrand=SquaredShares())


@pytest.mark.parametrize("target", [1, [ig.Logit(0), ig.Margin(1, 2)]])
def test_a_row_does_not_depend_on_its_batch_mates(target):
    net, x = conv_net(), noise(4, 3, 8, 8)
    how = {"at": ["0", "4"], "path": PUSHED, "quadrature": LOOSE, "target": target, "width": 3}
    together = ig.attribute(net, x, **how)
    alone = ig.attribute(net, x[2:3], **how)
    for name, a in together.items():
        assert torch.equal(a.select(2).values, alone[name].values)


def test_several_targets_come_from_the_same_sweep():
    net, x = gelu_mlp(dtype=D), noise(2, 6, dtype=D)
    every = ig.attribute(net, x, target=ig.All(), at="1", path=PUSHED, quadrature=FINE)
    for k in range(4):
        one = ig.attribute(net, x, target=k, at="1", path=PUSHED, quadrature=FINE)
        assert torch.allclose(every.target(k).values, one.values, atol=1e-12)


# ---------------------------------------------------------------------- beside Captum


def test_captum_s_finite_differences_converge_to_conductance():
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    net, x = gelu_mlp(dtype=D), noise(3, 6, dtype=D)
    ours = ig.methods.conductance("1", quadrature=FINE)(net, x, target=2).values
    theirs = attr.LayerConductance(net, net[1])
    off = []
    for steps in (50, 200, 800):
        found = theirs.attribute(x, target=2, n_steps=steps, method="riemann_middle")
        off.append(float((found.detach() - ours).abs().sum() / ours.abs().sum()))
    assert off[0] > 3 * off[1] > 9 * off[2]
    assert off[2] < 2e-3


def test_captum_s_internal_influence_and_maps_are_ours():
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    net, x = conv_net(dtype=D), noise(3, 3, 8, 8, dtype=D)
    ours = ig.methods.internal_influence("1", quadrature=LOOSE)(net, x, target=2)
    theirs = attr.InternalInfluence(net, net[1]).attribute(x, target=2, n_steps=16)
    assert torch.allclose(ours.values, theirs, atol=1e-10)
    assert ours.residual is None
    theirs = attr.LayerGradCam(net, net[4]).attribute(x, target=2)
    assert torch.allclose(ig.methods.grad_cam("4")(net, x, target=2).values, theirs, atol=1e-12)
    theirs = attr.NeuronIntegratedGradients(net, net[4]).attribute(x, (3, 1, 1), n_steps=16)
    found = ig.attribute(net, x, target=ig.Unit("4", (3, 1, 1)), quadrature=LOOSE)
    assert torch.allclose(found.values, theirs, atol=1e-10)


# ---------------------------------------------------------------------- neurons, influence, maps


def test_a_neuron_is_explained_by_its_own_integrated_gradients():
    net, x = gelu_mlp(dtype=D), noise(3, 6, dtype=D)
    with untouched(net):
        a = ig.attribute(net, x, target=ig.Unit("1", 5), quadrature=FINE)
    hand = integrated_gradients(lambda z: net[:2](z)[:, 5], x, torch.zeros_like(x)).detach()
    assert torch.allclose(a.values, hand, atol=1e-12)
    assert torch.allclose(a.output, net[:2](x)[:, 5])
    assert a.targets == ("unit 5 of 1",) * 3


def test_what_reaches_the_output_by_way_of_each_neuron_adds_up_both_ways():
    net, x = gelu_mlp(dtype=D), noise(2, 6, dtype=D)
    how = {"target": 2, "quadrature": FINE}
    with untouched(net):
        ways = [
            ig.attribute(net, x, integrand=ig.inside.Through(ig.Unit("1", j)), **how)
            for j in range(16)
        ]
    each = torch.stack([sums(a) for a in ways], 1)
    layer = ig.attribute(net, x, at="1", path=PUSHED, **how)
    assert torch.allclose(each, layer.values, atol=1e-12)
    whole = ig.attribute(net, x, **how)
    assert torch.allclose(sum(a.values for a in ways), whole.values, atol=1e-12)
    assert ways[0].residual is None


def test_a_channel_s_way_is_that_of_all_its_neurons_and_of_every_target():
    net, x = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    channels = [
        ig.attribute(
            net, x, target=ig.All(), quadrature=LOOSE, integrand=ig.inside.Through(ig.Unit("4", c))
        ).values
        for c in range(8)
    ]
    whole = ig.attribute(net, x, target=ig.All(), quadrature=LOOSE)
    assert torch.allclose(sum(channels), whole.values, atol=1e-12)


def test_captum_s_neuron_conductance_is_ours():
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    net, x = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    theirs = attr.NeuronConductance(net, net[4]).attribute(
        x, (3, 1, 1), target=2, n_steps=16, method="gausslegendre"
    )
    unit = ig.inside.Through(ig.Unit("4", (3, 1, 1)))
    ours = ig.attribute(net, x, target=2, quadrature=LOOSE, integrand=unit)
    assert torch.allclose(ours.values, theirs, atol=1e-12)


def test_axes_that_a_unit_does_not_name_are_added_up():
    net, x = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    channel = ig.attribute(net, x, target=ig.Unit(net[3], 2), quadrature=LOOSE)
    assert torch.allclose(channel.output, net[:4](x)[:, 2].sum((1, 2)))
    places = [
        ig.attribute(net, x, target=ig.Unit(net[3], (2, i, j)), quadrature=LOOSE).values
        for i in range(4)
        for j in range(4)
    ]
    assert torch.allclose(channel.values, sum(places), atol=1e-12)


@pytest.mark.parametrize(
    "part",
    [ig.Unit("1", (2, 0)), ig.PushedForward(at="embedding"), ig.inside.Through(ig.Unit("1", 2))],
)
def test_what_reaches_inside_is_a_value(part):
    check_value(part)


def test_a_neuron_is_reached_through_another_layer():
    net, x = gelu_mlp(dtype=D), noise(2, 6, dtype=D)
    a = ig.attribute(net, x, target=ig.Unit("3", 1), at="1", path=PUSHED, quadrature=FINE)
    wanted = by_hand(net[:2], lambda y: net[2:4](y)[:, 1], x, torch.zeros_like(x))
    assert torch.allclose(a.values, wanted, atol=1e-12)
    b = ig.attribute(net, x, target=ig.Unit("3", 1), at="1", quadrature=FINE)
    assert torch.allclose(sums(b), gain(b), atol=1e-12)


@pytest.mark.parametrize("index", [16, -17, (0, 0), (), 1.5, True])
def test_a_place_that_a_layer_has_not_is_refused(index):
    with pytest.raises((ig.TargetError, ig.InputError), match=r"index"):
        ig.attribute(gelu_mlp(), noise(1, 6), target=ig.Unit("1", index))


def test_a_unit_among_several_targets_or_of_no_layer_is_refused():
    with pytest.raises(ig.TargetError, match="explain it alone"):
        ig.attribute(gelu_mlp(), noise(1, 6), target=[ig.Unit("1", 0), ig.Logit(1)])
    with pytest.raises(ig.InputError, match="is no module of the model"):
        ig.attribute(gelu_mlp(), noise(1, 6), target=ig.Unit("one", 0))
    with pytest.raises(ig.InputError, match="layers are those of"):
        ig.attribute(lambda x: x, noise(1, 6), target=ig.Unit("1", 0))


def test_internal_influence_is_the_mean_gradient_along_the_curve():
    net, x = gelu_mlp(dtype=D), noise(2, 6, dtype=D)
    a = ig.methods.internal_influence("1", quadrature=FINE)(net, x, target=0)
    moves = lambda z: net[0](z)  # noqa: E731
    linear = ig.methods.internal_influence("0", quadrature=FINE)(net, x, target=0)
    way = moves(x) - moves(torch.zeros_like(x))
    wanted = by_hand(net[:1], lambda y: net[1:](y)[:, 0], x, torch.zeros_like(x))
    assert torch.allclose(linear.values * way, wanted, atol=1e-12)  # below it all is affine
    assert a.residual is None
    assert a.values.shape == (2, 16)


def test_activation_maps_are_their_formulas():
    net, x = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    y = net[:5](x).detach().requires_grad_()
    (g,) = torch.autograd.grad(net[5:](y)[:, 1].sum(), y)
    cam = ig.methods.grad_cam("4")(net, x, target=1)
    assert torch.allclose(cam.values, (g.mean((2, 3), keepdim=True) * y).sum(1, keepdim=True))
    assert cam.backwards.tolist() == [2, 2]  # one, and one for the rounding floor
    assert cam.residual is None
    raised = ig.methods.layer_cam("4")(net, x, target=1)
    assert torch.allclose(raised.values, (g.clamp(min=0) * y).sum(1, keepdim=True))
    with pytest.raises(ig.Unsupported, match="Name a convolution"):
        ig.methods.grad_cam("7")(net, x, target=1)

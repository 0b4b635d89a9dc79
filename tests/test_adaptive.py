"""Adaptive Simpson: exact where it says, reliable where it stops, honest where it cannot go on."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import intgrad as ig
from contract import linear
from intgrad.integral import LineIntegral
from intgrad.integrand import AveragedGradient, BareGradient, GradientVelocity
from intgrad.model.oracle import Listener
from intgrad.path.curve import bind
from intgrad.quadrature import refine
from intgrad.quadrature.mesh import choose
from intgrad.quadrature.store import Store, fold
from nets import Counted, gelu_mlp, relu_mlp
from strategies import mlp, points

D = torch.float64
ONE = torch.ones(1, 2, dtype=D)
TARGETS = {
    "logit": (0, lambda out: out[:, 0]),
    "probability": (ig.Probability(0), lambda out: out.softmax(1)[:, 0]),
}


def adaptive(f, x, rtol=1e-2, most=2000, **call):
    return ig.attribute(f, x, quadrature=ig.Adaptive(rtol, most), **call)


# ---------------------------------------------------------------------- the truth, region by region


def kinks(net, x):
    """Where the units of a ReLU net change sign between 0 and x: exact, layer by layer."""
    t = torch.tensor([0.0, 1.0], dtype=D)
    for k, layer in enumerate(net):
        if not isinstance(layer, torch.nn.ReLU):
            continue
        before = net[:k](t[:, None] * x)
        a, b = before[:-1], before[1:]
        i, j = (a * b < 0).nonzero(as_tuple=True)
        share = a[i, j] / (a[i, j] - b[i, j])
        t = torch.unique(torch.cat([t, t[i] + share * (t[i + 1] - t[i])]))
        t = t[torch.cat([torch.tensor([True]), t.diff() > 1e-13])]
    t[-1] = 1.0
    return t


def exact(net, x, f, nodes=12):
    """Gauss-Legendre between all kinks: (rows, features)."""
    s, w = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(nodes))
    found = []
    for row in x:
        t = kinks(net, row)
        step = t.diff()[:, None]
        at, weight = (t[:-1, None] + step * (s + 1) / 2).reshape(-1, 1), (step * w / 2).reshape(-1)
        point = (at * row).requires_grad_()
        (gradient,) = torch.autograd.grad(f(net(point)).sum(), point)
        found.append((weight[:, None] * gradient).sum(0).detach() * row)
    return torch.stack(found)


def test_the_truth_is_complete_and_what_a_fine_rule_finds():
    net, x = mlp(5, 4, 3, "relu", D), points(5, 3, 4, D)
    for target, f in TARGETS.values():
        truth = exact(net, x, f)
        gain = (f(net(x)) - f(net(0 * x))).detach()
        assert torch.allclose(truth.sum(1), gain, atol=1e-12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ig.NotConverged)
            fine = ig.attribute(net, x, target=target, quadrature=ig.Midpoint(20000))
        assert (truth - fine.values).abs().max() < 1e-4


# ---------------------------------------------------------------------- how good it is


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_polynomials_are_exact_to_their_degree(degree):
    a = adaptive(lambda z: z[:, 0] ** (degree + 1) + 0 * z[:, 1], ONE)
    assert abs(a.values[0, 0].item() - 1) < 1e-15
    assert a.backwards == 9 + 1  # the last for the floor
    assert a.error < 1e-15 or degree == 0


def test_the_order_of_a_fixed_number_of_panels_is_four():
    # the start alone: two panels of Simpson's composite rule, exact to degree 3 and not to 4
    a = adaptive(lambda z: z[:, 0] ** 5 + 0 * z[:, 1], ONE, 1.0)
    assert abs(a.values[0, 0].item() - 1) == pytest.approx(5 * 24 / 2880 / 4**4, rel=1e-9)


def runs(act, seeds):
    """True error over tolerance, estimate over true error, of every converged row."""
    worst, ratio = [], []
    for seed in seeds:
        inputs, depth = (1, 2, 4, 8, 20)[seed % 5], 1 + seed % 3
        net, x = mlp(seed, inputs, depth, act, D), points(seed, 4, inputs, D)
        for target, f in TARGETS.values():
            truth = exact(net, x, f, 12 if act == "relu" else 128)
            for rtol in (1e-2, 1e-3):
                a = adaptive(net, x, rtol, target=target)
                assert a.converged.all()
                off = (a.values - truth).abs().sum(1)
                scale = torch.maximum(a.output.abs(), a.baseline_output.abs())
                off = torch.where(off <= 1e-6 * scale, 0.0, off) / truth.abs().sum(1)
                worst.append(off / rtol)
                ratio.append(torch.where(off > 0, a.error / off, torch.inf))
    return torch.cat(worst), torch.cat(ratio)


@pytest.mark.slow
def test_stopping_is_reliable_on_kinked_nets():
    worst, ratio = runs("relu", range(40))
    assert len(worst) == 640
    assert (worst > 1).double().mean() <= 0.02
    assert worst.max() < 2
    assert (ratio < 1 / 3).double().mean() <= 0.01
    assert ratio.min() >= 0.1
    assert 0.8 <= ratio.median() <= 4  # and no row is cried up out of use


@pytest.mark.slow
def test_stopping_is_reliable_on_smooth_nets():
    worst, ratio = runs("gelu", range(20))
    assert len(worst) == 320
    assert worst.max() <= 1
    assert ratio.min() >= 1


@pytest.mark.parametrize("act", ["gelu", "softplus", "tanh"])
def test_smooth_logits_cost_a_third_of_fifty_nodes_at_most(act):
    for seed in range(6):
        net, x = mlp(seed, 20, 1 + seed % 3, act, D), points(seed, 8, 20, D)
        a = adaptive(net, x, target=0)
        assert a.converged.all()
        assert a.evaluations.max() <= 16


@given(st.floats(0.0, 1.0), st.sampled_from([20.0, 500.0, 5000.0]))
@settings(max_examples=60, deadline=None)
def test_a_saturated_step_is_found_wherever_it_is(where, slope):
    # Captum's default is 450 % off at slope 500
    w = torch.tensor([0.75, 0.25], dtype=D)
    a = adaptive(lambda z: torch.sigmoid(slope * (z @ w - where)), ONE)
    truth = w * (a.output - a.baseline_output)
    assert a.converged.all()
    assert (a.values[0] - truth).abs().sum() <= 1e-2 * truth.abs().sum()
    assert a.evaluations.max() < 120


# ---------------------------------------------------------------------- what it costs, and when it ends


def test_what_is_reported_is_what_was_asked():
    net = Counted(relu_mlp(0, D))
    x = points(0, 3, 6, D)
    a = adaptive(net, x, target=1, check=False)
    assert sum(net.sizes) == a.forwards.sum() + a.run.checks
    least, most = (int(a.backwards.min()) - 1, int(a.backwards.max()) - 1)
    assert a.run.rule == f"adaptive Simpson, {least} to {most} nodes a row"
    integral, _ = linear(GradientVelocity(), None)
    ig.Adaptive()(integral)
    assert integral.oracle.asked == 3 * 2 * 5  # two curves a row: one panel each


def test_the_floor_hears_of_as_much_mass_as_from_a_fixed_rule():
    for targets in (None, 2):
        masses = []
        for rule in (ig.Adaptive(), ig.GaussLegendre(5)):
            integral, _ = linear(GradientVelocity(), targets)
            rule(integral)
            masses.append(integral.witness.mass)
        assert torch.allclose(*masses)


@pytest.mark.parametrize("most", [9, 13, 30, 60])
def test_a_spent_budget_says_so(most):
    net, x = mlp(1, 20, 3, "relu", D), points(1, 4, 20, D)
    with pytest.warns(ig.NotConverged, match="above the tolerance"):
        a = adaptive(net, x, 1e-4, most, target=0)
    assert not a.converged.any()
    assert (a.backwards <= most + 1).all()
    off = (a.values - exact(net, x, lambda out: out[:, 0])).abs().sum(1)
    assert (off <= 3 * a.error * a.values.abs().sum(1)).all()
    with pytest.raises(ig.NotConverged):
        adaptive(net, x, 1e-4, most, target=0, strict=True)


def test_an_easy_row_pays_nothing_for_a_hard_one():
    net, x = relu_mlp(3, D), points(3, 6, 6, D)
    x[0] = 0
    together = adaptive(net, x, 1e-4, target=0, width=4)
    assert together.backwards[0] == 9 + 1
    assert together.backwards.max() > 200
    for i in range(len(x)):
        alone = adaptive(net, x[i : i + 1], 1e-4, target=0, width=4)
        assert torch.equal(alone.backwards, together.backwards[i : i + 1])
        assert torch.equal(alone.values[0], together.values[i])
        assert torch.equal(alone.floor, together.floor[i : i + 1])


def test_several_targets_are_each_within_the_tolerance():
    net, x = relu_mlp(2, D), points(2, 4, 6, D)
    every = adaptive(net, x, 1e-3, target=ig.All())
    assert every.converged.all()
    for k in range(4):
        one = adaptive(net, x, 1e-3, target=k)
        off = (every.values[k] - one.values).abs().sum(1)
        assert (off <= (every.error[k] + one.error) * one.values.abs().sum(1)).all()
        assert (4 * one.backwards <= every.backwards).all()  # nodes are shared: the worst decides


def test_many_curves_a_row_share_its_tolerance():
    net, x = gelu_mlp(1, D), points(1, 2, 6, D)
    a = adaptive(net, x, target=0, baseline=ig.Uniform(-1.0, 1.0, samples=4))
    fine = ig.attribute(net, x, target=0, baseline=ig.Uniform(-1.0, 1.0, samples=4))
    assert a.converged.all()
    assert (a.backwards <= 4 * 9 + 1).all()
    assert ((a.values - fine.values).abs().sum(1) <= a.error * a.values.abs().sum(1)).all()


# ---------------------------------------------------------------------- what has no integral, and less


def test_no_path_and_no_change_are_zero_for_certain():
    for a in (
        adaptive(lambda z: z.sin().sum(1), ONE, baseline=ONE),
        adaptive(lambda z: z.sum(1) * 0 + 3, ONE),
    ):
        assert torch.equal(a.values, torch.zeros_like(ONE))
        assert a.converged.all()
        assert a.error == 0


def test_opposite_kinks_are_wrong_although_nothing_is_left_over():
    # f is relu(x1 - .3) - relu(x2 - .3): 0 all the way, and so is every residual
    a = adaptive(lambda z: torch.relu(z[:, 0] - 0.3) - torch.relu(z[:, 1] - 0.3), ONE)
    assert a.residual == 0
    off = (a.values - torch.tensor([[0.7, -0.7]], dtype=D)).abs().sum()
    assert 0 < off <= a.error * a.values.abs().sum()
    assert a.converged.all()


def test_a_bump_amid_a_panel_is_seen_by_the_fourth_difference():
    # the gradient is a tent at t = 1/4 and 3/4: no third difference, no residual, wrong all the same
    def tents(z):
        corners = [(0.2, 1), (0.25, -2), (0.3, 1), (0.7, 1), (0.75, -2), (0.8, 1)]
        return sum(10 * c * torch.relu(z - at).square() for at, c in corners)

    a = adaptive(lambda z: tents(z[:, 0]) - tents(z[:, 1]), ONE)
    off = (a.values - torch.tensor([[0.1, -0.1]], dtype=D)).abs().sum()
    assert off <= 1e-2 * 0.2
    assert a.converged.all()


@dataclass(frozen=True)
class Mute:
    """A spike of the gradient at t = 0.16; nobody hears what f is."""

    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = True

    def __call__(self, oracle, work):
        x = work.x[0] - 0.16
        return ((torch.relu(0.01 - x.abs()) * work.velocity[0])[None],)


def test_what_is_missed_where_no_value_is_heard_is_looked_for_everywhere():
    curves, gain = bind((torch.zeros(1, 2, dtype=D),), (ONE,)), torch.full((1, 1), 2e-4, dtype=D)
    integral = LineIntegral(None, curves, ig.Straight(), Mute(), 1, gain=gain, scale=gain)
    found = ig.Adaptive()(integral)
    assert torch.allclose(found.value[0], torch.full((1, 1, 2), 1e-4, dtype=D), rtol=1e-2)
    assert found.error_map[0].sum() <= 1e-2 * found.value[0].sum()


@pytest.mark.parametrize("where", [0.3, 0.5, 0.9])
def test_a_jump_is_found_and_not_integrated(where):
    # every gradient is 1 and every difference of gradients 0: only the values tell
    with pytest.warns(ig.NotConverged):
        a = adaptive(lambda z: (z + (z > where).double()).sum(1), ONE)
    assert not a.converged.any()
    assert torch.allclose(a.values, ONE)  # 2 are there, and 2 are missing
    assert 1 <= a.error <= 2 + 1e-9
    assert torch.allclose(a.error_map, a.error_map.mean())  # spread as the values are
    assert a.evaluations.max() < 150  # the panel is narrowed down, and no more is paid


def test_a_jump_does_not_keep_the_rest_from_being_known():
    def f(z):
        return torch.relu(z[:, 0] - 0.3) + (z[:, 1] > 0.7).double()

    with pytest.warns(ig.NotConverged):
        a = adaptive(f, ONE)
    assert abs(a.values[0, 0].item() - 0.7) < 0.02
    assert not a.converged.any()


def test_a_step_without_any_gradient_is_no_answer():
    with pytest.warns(ig.NotConverged, match="not known"):
        a = adaptive(lambda z: (z > 0.3).double().sum(1) + 0 * z.sum(1), ONE)
    assert torch.isinf(a.error).all()


def test_what_is_not_a_number_half_way_is_refused_by_row_and_place():
    def f(z):
        return (z[:, 0] - 0.625).abs().sqrt() + z[:, 1]

    x = torch.tensor([[0.1, 1.0], [1.0, 1.0]], dtype=D)
    with pytest.raises(ig.ModelError, match=r"row 1 holds NaN or infinity at t = 0\.625"):
        adaptive(f, x)


def test_a_random_model_ends():
    torch.manual_seed(0)
    with pytest.warns(ig.NotConverged):
        a = adaptive(lambda z: (z * torch.randn_like(z)).sum(1), ONE, most=300, check=False)
    assert a.backwards <= 301


def test_an_end_of_infinite_slope_is_not_believed():
    with pytest.warns(ig.NotConverged):
        a = adaptive(lambda z: z.sqrt().sum(1), ONE, baseline=1e-12 * ONE)
    assert abs(a.values.sum().item() - 2) <= 1.1 * float(a.error) * a.values.sum().item()


def test_incomplete_integrands_have_no_values_to_be_held_to():
    a = adaptive(lambda z: torch.relu(z - 0.3).sum(1), 2 * ONE, integrand=BareGradient())
    assert a.residual is None
    assert a.converged.all()
    assert (a.values - 0.85).abs().sum() <= a.error * a.values.sum()


# ---------------------------------------------------------------------- refusals


def test_what_cannot_be_asked_is_refused():
    f = lambda z: z.sin().sum(1)  # noqa: E731
    with pytest.raises(ig.Unsupported, match="panel by panel"):
        adaptive(f, ONE, integrand=AveragedGradient())
    with pytest.raises(ig.Unsupported, match="GaussLegendre"):
        adaptive(f, ONE, differentiable=True)
    for most in (0, -1, 2.5, True):
        with pytest.raises(ig.InputError, match="whole number"):
            adaptive(f, ONE, most=most)
    with pytest.raises(ig.InputError, match="starts with 9 nodes"):
        adaptive(f, ONE, most=8)
    with pytest.raises(ig.InputError, match="starts with 500 nodes"):
        adaptive(f, ONE, most=499, baseline=ig.Uniform(samples=100))
    for rtol in (0, -1.0, "1e-2", float("nan"), True):
        with pytest.raises(ig.InputError, match="positive number"):
            adaptive(f, ONE, rtol)


# ---------------------------------------------------------------------- memory


def test_fewer_rows_at_work_are_the_same_bytes(monkeypatch):
    net, x = mlp(1, 20, 3, "relu", D), points(1, 6, 20, D)
    sizes = watch_store(monkeypatch)
    first = adaptive(net, x, 1e-3, target=0, width=8)
    many = max(sizes)
    monkeypatch.setattr(refine, "HELD", 2000 * 160)  # one row of 2,000 nodes of 20 numbers
    sizes.clear()
    again = adaptive(net, x, 1e-3, target=0, width=8)
    assert max(sizes) < many / 2
    for name in ("values", "error_map", "floor", "backwards"):
        assert torch.equal(getattr(first, name), getattr(again, name))


@pytest.mark.parametrize("nodes", [60, 40, 20])
def test_a_row_that_outgrows_the_store_closes_panels_and_stays_honest(monkeypatch, nodes):
    net, x = mlp(1, 20, 3, "relu", D), points(1, 6, 20, D)
    sizes = watch_store(monkeypatch)
    monkeypatch.setattr(refine, "HELD", nodes * 160)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ig.NotConverged)
        a = adaptive(net, x, 1e-3, target=0)
    assert max(sizes) <= nodes + 9
    assert a.converged.all() or nodes < 60
    off = (a.values - exact(net, x, lambda out: out[:, 0])).abs().sum(1)
    assert (off <= 3 * a.error * a.values.abs().sum(1)).all()


def watch_store(monkeypatch):
    sizes, room = [], Store.room

    def watched(self, *args):
        found = room(self, *args)
        sizes.append(self.slots)
        return found

    monkeypatch.setattr(Store, "room", watched)
    return sizes


# ---------------------------------------------------------------------- its parts


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=9), min_size=1, max_size=4), st.data()
)
def test_which_panels_are_halved_is_a_rows_own_business(scores, data):
    n = len(scores)
    shrink = torch.tensor(data.draw(st.lists(st.floats(0, 1), min_size=n, max_size=n)), dtype=D)
    room = torch.tensor(data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)))
    row = torch.cat([torch.full((len(s),), i) for i, s in enumerate(scores)])
    score = torch.cat([torch.tensor(s, dtype=D) for s in scores])
    order = torch.tensor(data.draw(st.permutations(range(len(row)))))
    mixed = choose(score[order], row[order], shrink, room)
    for i in range(n):
        mine = order[row[order] == i]
        one = torch.zeros(len(mine), dtype=torch.long)
        alone = choose(score[mine], one, shrink[i : i + 1], room[i : i + 1])
        assert torch.equal(mixed[row[order] == i], alone)
        assert alone.sum() <= room[i]
        left, taken = score[mine][~alone].tolist(), score[mine][alone].tolist()
        assert max(left, default=0.0) <= min(taken, default=1.0)


@given(st.integers(1, 3), st.integers(1, 40), st.integers(0, 70))
def test_a_sum_does_not_depend_on_those_beside_it(targets, n, features):
    g = torch.Generator().manual_seed(n)
    part = torch.randn(targets, n, features, generator=g)
    together = fold((part, part[..., :1]))
    for i in range(n):
        assert torch.equal(fold((part[:, i : i + 1], part[:, i : i + 1, :1]))[:, 0], together[:, i])
    assert torch.allclose(together, part.double().sum(2) + part[..., :1].double().sum(2))


def test_a_listener_hands_through_and_remembers_values():
    integral, _ = linear(GradientVelocity(), 2)
    heard = Listener(integral.oracle)
    x, rows = (torch.ones(3, 4, dtype=D),), torch.arange(3)
    values, (gradient,) = heard.cotangents(x, rows)
    assert gradient.shape == (2, 3, 4)
    assert torch.equal(heard.values(3), values)
    assert torch.isnan(heard.values(3)).all()  # nothing was asked since
    assert heard.width == integral.oracle.width

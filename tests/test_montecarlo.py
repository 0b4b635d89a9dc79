"""Datasets and distributions of baselines; rules that draw curves and times together."""

import dataclasses
import math
from dataclasses import dataclass

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import contract
import intgrad as ig
from intgrad._types import magnitude
from intgrad.ends import difference
from intgrad.integral import LineIntegral
from intgrad.integrand import AveragedGradient, BareGradient, GradientVelocity, Summed
from intgrad.path import Bank, Curves, Straight
from intgrad.path.curve import bind, polyline
from intgrad.quadrature.montecarlo import halving, spread
from intgrad.quadrature.sampling import by_share
from intgrad.units import Nodes
from nets import integrated_gradients, noise, relu_mlp, tiny_transformer

D = torch.float64
RULES = [ig.MonteCarlo, ig.Stratified, ig.Sobol, ig.Lattice]
CORRECTED = RULES[1:]
STUDENT = {2: 12.71, 4: 3.182, 8: 2.365}  # two-sided 95 %, R - 1 degrees of freedom
quiet = pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


# ---------------------------------------------------------------------- a model known on paper


@dataclass
class Cube:
    """f(x) = (w . x)^3, with w (T, features): along a line its attributions are known."""

    weight: torch.Tensor
    width: int = 64
    targets: int | None = None
    seen: list = dataclasses.field(default_factory=list)

    def __call__(self, x, rows):
        values, (gradient,) = self.cotangents(x, rows)
        return values[0], (gradient[0],)

    def cotangents(self, x, rows):
        self.seen.append(x[0])
        height = self.weight @ x[0].T
        return height**3, (3 * height[..., None] ** 2 * self.weight[:, None],)

    def f(self, x):
        return (self.weight @ x.T) ** 3

    def exact(self, start, end):
        """Attributions (T, c, features) of the lines from start to end (c, features)."""
        a, b = self.weight @ start.T, self.weight @ end.T
        return self.weight[:, None] * (end - start) * (a * a + a * b + b * b)[..., None]


def cube(starts, weights=None, rows=1, targets=None, control=True, seed=0):
    """An integral of the lines from all starts to each of `rows` inputs, and its exact value."""
    oracle = Cube(noise(targets or 1, starts.shape[1], seed=3, dtype=D), targets=targets)
    x = noise(rows, starts.shape[1], seed=seed + 9, dtype=D)
    curves = bind((starts,), (x,))
    if weights is not None:
        curves = dataclasses.replace(curves, weight=weights.repeat(rows))
    return known(oracle, curves, rows, control), total_of(oracle, curves, rows)


def known(oracle, curves, rows, control=True):
    """The integral with what completeness says of it."""
    integral = LineIntegral(oracle, curves, Straight(), GradientVelocity(), rows)
    every = torch.arange(len(curves))
    ends = (oracle.f(bank.take(every)[0]) for bank in (curves.end, curves.start))
    gains = next(ends) - next(ends)
    gain = gains.new_zeros(len(gains), rows).index_add(1, curves.row, gains * curves.weight)
    return dataclasses.replace(integral, gain=gain, gains=gains) if control else integral


def total_of(oracle, curves, rows):
    every = torch.arange(len(curves))
    alone = oracle.exact(curves.start.take(every)[0], curves.end.take(every)[0])
    zeros = alone.new_zeros(len(alone), rows, alone.shape[2])
    return zeros.index_add(1, curves.row, alone * curves.weight[:, None])


def repeats(rule, integral, times, **parts):
    """Values and errors of so many seeds: (times, T, rows, features)."""
    found = [rule(seed=seed, **parts)(integral) for seed in range(times)]
    return torch.stack([f.value[0] for f in found]), torch.stack([f.error_map[0] for f in found])


STARTS = noise(20, 5, seed=1, dtype=D)
UNEQUAL = torch.arange(1.0, 21.0, dtype=D) / 210


@each_rule
@pytest.mark.parametrize(
    ("weights", "control"),
    [(None, True), (UNEQUAL, True), (UNEQUAL, False)],
    ids=["equal", "unequal", "uncorrected"],
)
@pytest.mark.parametrize("samples", [24, 64, 160])  # a replicate has less than, about, more than B
def test_the_mean_over_seeds_is_the_average_over_all_baselines(rule, weights, control, samples):
    integral, exact = cube(STARTS, weights, control=control)
    values, _ = repeats(rule, integral, 250, samples=samples, replicates=4)
    off = (values.mean(0) - exact).abs()  # 180 of them in all: 4.5 is passed in one of 800 runs
    assert bool((off <= 4.5 * values.std(0) / 250**0.5 + 1e-12).all())


@each_rule
@pytest.mark.parametrize("samples", [64, 160])
def test_standard_errors_cover_the_truth_and_are_not_cried_up(rule, samples):
    integral, exact = cube(STARTS, UNEQUAL)
    values, errors = repeats(rule, integral, 200, samples=samples, replicates=4)
    covered = ((values - exact).abs() <= STUDENT[4] * errors).double().mean()
    assert 0.9 <= covered <= 0.99
    told, made = errors.square().mean(0).sqrt(), values.std(0)
    assert bool((told <= 1.4 * made).all())
    assert bool((told >= 0.8 * made).all())


def test_a_slope_of_its_own_biases_a_single_replicate_and_those_of_others_do_not():
    integral, exact = cube(STARTS)
    own, _ = repeats(ig.Stratified, integral, 400, samples=16, replicates=1)
    others, _ = repeats(ig.Stratified, integral, 400, samples=64, replicates=4)
    bias = [((v.mean(0) - exact) / (v.std(0) / 400**0.5)).abs().max() for v in (own, others)]
    assert bias[0] > 5
    assert bias[1] < 4


@pytest.mark.parametrize("targets", [None, 3])
def test_the_correction_lowers_the_error_and_completes_the_sum(targets):
    integral, exact = cube(STARTS, targets=targets)
    bare, _ = cube(STARTS, targets=targets, control=False)
    wrong = {}
    for name, which in (("corrected", integral), ("bare", bare)):
        values, _ = repeats(ig.Stratified, which, 60, samples=64)
        wrong[name] = (values - exact).abs().mean()
    assert wrong["corrected"] < 0.9 * wrong["bare"]
    value = ig.Sobol(64)(integral).value[0]
    assert torch.allclose(value.sum(2), integral.gain, atol=1e-12)
    assert not torch.allclose(ig.MonteCarlo(64)(integral).value[0].sum(2), integral.gain, atol=1e-3)


def test_moments_are_what_they_say_with_any_weights():
    integral, _ = cube(STARTS, UNEQUAL, rows=2, targets=3)
    nodes = Nodes(torch.randint(40, (70,)), torch.rand(70, dtype=D), torch.rand(70, 2, dtype=D))
    about = noise(3, 2, seed=5, dtype=D)
    (sums,), (products,), (mean, square) = integral.moments(nodes, about)
    assert torch.equal(sums, integral.sums(nodes)[0])
    share = integral.curves.weight[nodes.curve]
    found, rows = integral.each(nodes)[0] / share[:, None], integral.curves.row[nodes.curve]
    d = found.sum(2) - about[:, rows]
    for k in range(2):
        for row in range(2):
            w = share * nodes.weight[:, k] * (rows == row)
            assert torch.allclose(products[k, :, row], (found * (w * d)[..., None]).sum(1))
            assert torch.allclose(mean[k, :, row], (w * d).sum(1))
            assert torch.allclose(square[k, :, row], (w * d * d).sum(1))


# ---------------------------------------------------------------------- how they spread


@pytest.mark.parametrize("curves", [1, 2, 7, 20, 200])
@pytest.mark.parametrize("times", [1, 3, 5])
def test_a_lattice_is_regular_on_each_curve_and_on_all(curves, times):
    share = torch.full((curves,), 1 / curves, dtype=D)
    draws = ig.Lattice(4 * curves * times, seed=3).draw(share, 2, 0, curves * times)
    for c in range(curves):
        t = draws.t[draws.place == c].sort().values
        assert len(t) == times
        assert torch.allclose(t.diff(), torch.full((times - 1,), 1 / times, dtype=D))
    together = draws.t.sort().values
    assert 0 <= together[0] <= together[-1] < 1
    steps = torch.full((curves * times - 1,), 1 / (curves * times), dtype=D)
    assert torch.allclose(together.diff(), steps)


@pytest.mark.parametrize("curves", [1, 6, 20])
def test_a_lattice_that_grows_keeps_its_nodes_and_ends_regular(curves):
    share = torch.full((curves,), 1 / curves, dtype=D)
    rule = ig.Lattice(max_evaluations=4 * curves * 8)
    stops = list(rule.stops(curves))
    assert stops[-1] == 8 * curves
    parts = [rule.draw(share, 1, a, b) for a, b in zip([0, *stops], stops, strict=False)]
    whole = rule.draw(share, 1, 0, stops[-1])
    for got, expected in zip(zip(*parts, strict=True), whole, strict=True):
        assert torch.equal(torch.cat(got), expected)
    for c in range(curves):
        t = whole.t[whole.place == c].sort().values
        assert torch.allclose(t.diff(), torch.full((7,), 1 / 8, dtype=D))


def test_a_part_of_a_lattice_takes_no_curve_twice_and_any_time_alike():
    share = torch.full((40,), 1 / 40, dtype=D)
    times = []
    for seed in range(300):
        draws = ig.Lattice(64, seed=seed).draw(share, 0, 0, 16)
        assert len(draws.place.unique()) == 16
        times.append(draws.t)
    counts = torch.histc(torch.cat(times), 10, 0, 1)
    assert ((counts - 480).abs() < 5 * 480**0.5).all()


def test_the_beginnings_of_a_spread_are_spread():
    assert halving(8).tolist() == [0, 0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875]
    assert sorted(spread(13).tolist()) == list(range(13))
    for size in (4, 8, 16):
        gaps = (spread(100)[:size] / 100).sort().values.diff()
        assert gaps.max() <= 2.1 / size


@pytest.mark.parametrize("curves", [3, 16, 50])
def test_a_hypercube_has_one_node_in_every_stratum(curves):
    share = torch.arange(1.0, curves + 1, dtype=D)
    share /= share.sum()
    draws = ig.Stratified(64, seed=2).draw(share, 0, 0, 16)
    assert (draws.t * 16).long().sort().values.tolist() == list(range(16))
    taken = draws.place.bincount(minlength=curves)
    assert bool(((taken - 16 * share).abs() <= 2).all())  # strata meet a curve at both its ends
    assert torch.equal(draws.weight, 1 / share[draws.place])


def test_sobol_points_go_on_where_they_ended():
    share = torch.full((10,), 0.1, dtype=D)
    rule = ig.Sobol(seed=4)
    whole = rule.draw(share, 1, 0, 48)
    for part, (a, b) in (((rule.draw(share, 1, a, b)), (a, b)) for a, b in ((0, 16), (16, 48))):
        for got, expected in zip(part, whole, strict=True):
            assert torch.equal(got, expected[a:b])
    assert whole.place.bincount(minlength=10).min() >= 3  # 48 points, 10 curves


def test_curves_without_weight_are_never_drawn():
    share = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0], dtype=D)
    edge = torch.tensor([0.0, 0.25, 1 - 2**-53], dtype=D)
    assert by_share(share, edge, edge).place.tolist() == [1, 3, 3]


# ---------------------------------------------------------------------- what draws depend on


@each_rule
def test_draws_are_those_of_the_seed_and_touch_no_other_chance(rule):
    share = torch.full((30,), 1 / 30, dtype=D)
    before = torch.get_rng_state()
    one, same, other = (rule(64, seed=s).draw(share, 1, 0, 16) for s in (5, 5, 6))
    replicate = rule(64, seed=5).draw(share, 2, 0, 16)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.t, same.t)
    assert torch.equal(one.place, same.place)
    assert not torch.equal(one.t, other.t)
    assert not torch.equal(one.t, replicate.t)


@each_rule
@pytest.mark.parametrize("parts", [{"samples": 96}, {"rtol": 0.05}], ids=["counted", "stopping"])
def test_a_row_does_not_know_its_batch_whatever_curves_others_have(rule, parts):
    oracle = Cube(noise(1, 5, seed=3, dtype=D))
    x, starts = noise(3, 5, seed=2, dtype=D), noise(24, 5, seed=1, dtype=D)
    counts = (1, 3, 20)
    row = torch.arange(3).repeat_interleave(torch.tensor(counts))
    weight = torch.cat([torch.arange(1.0, n + 1, dtype=D) / (n * (n + 1) / 2) for n in counts])
    shuffled = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    shuffled = shuffled[torch.argsort(row[shuffled] == 9, stable=True)]  # rows mixed up in the list
    curves = Curves(row, Bank((starts,), torch.arange(24)), Bank((x,), row), weight)
    together = rule(**parts)(known(oracle, curves.where(torch.arange(24)), 3))
    assert torch.allclose(together.value[0], total_of(oracle, curves, 3), rtol=0.5, atol=1.0)
    for i in range(3):
        own = curves.where((row == i).nonzero()[:, 0])
        own = dataclasses.replace(own, row=own.row * 0)
        alone = rule(**parts)(known(oracle, own, 1))
        assert torch.equal(alone.value[0][:, 0], together.value[0][:, i])
        assert torch.equal(alone.error_map[0][:, 0], together.error_map[0][:, i])


@each_rule
@quiet
def test_rows_in_another_order_get_the_same_bytes(rule):
    net, x, data = relu_mlp(0, D), noise(5, 6, dtype=D), ig.Dataset(noise(30, 6, seed=1))
    there = torch.tensor([3, 0, 4, 1, 2])
    call = {"target": 1, "baseline": data, "quadrature": rule(96), "width": 8}
    a, b = (ig.attribute(net, z, **call) for z in (x, x[there]))
    assert torch.equal(a.values[there], b.values)
    assert torch.equal(a.error_map[there], b.error_map)


@quiet
def test_all_targets_in_one_sweep_get_what_each_gets_alone():
    net, x, data = relu_mlp(0, D), noise(3, 6, dtype=D), ig.Dataset(noise(30, 6, seed=1))
    call = {"baseline": data, "quadrature": ig.Lattice(240)}
    sweep = ig.attribute(net, x, target=ig.All(), **call)
    for k in range(4):
        alone = ig.attribute(net, x, target=k, **call)
        assert torch.allclose(sweep.values[k], alone.values, atol=1e-12)
        assert torch.allclose(sweep.error[k], alone.error, rtol=1e-6)


# ---------------------------------------------------------------------- when they stop


def points_of(integral):
    return torch.cat(integral.oracle.seen)


@each_rule
def test_a_rule_that_stops_by_itself_asks_nothing_twice_and_stops_when_it_may(rule):
    integral, exact = cube(STARTS, rows=3)
    found = rule(rtol=0.2)(integral)
    points = points_of(integral)
    assert len(points.unique(dim=0)) == len(points) <= 3 * 2000
    error = ig.quadrature.rule.relative(found.value, found.error_map)
    assert bool((error <= 0.2).all())
    assert bool((magnitude((found.value[0][0] - exact[0],)) <= 0.4 * magnitude((exact[0],))).all())


@each_rule
def test_rows_stop_one_by_one_within_the_budget(rule):
    many = noise(60, 5, seed=1, dtype=D)
    integral, _ = cube(many, rows=6)
    rtol, spent = 0.3 if rule is ig.MonteCarlo else 0.1, []
    for row in range(6):
        own = (integral.curves.row == row).nonzero()[:, 0]
        alone = dataclasses.replace(integral.curves.where(own), row=own * 0)
        alone = known(Cube(integral.oracle.weight), alone, 1)
        rule(rtol=rtol)(alone)
        spent.append(len(points_of(alone)))
    together = cube(many, rows=6)[0]
    rule(rtol=rtol)(together)
    assert len(points_of(together)) == sum(spent)
    assert len(set(spent)) > 1
    assert max(spent) <= 2000


@each_rule
def test_what_the_budget_does_not_reach_is_not_converged(rule):
    net, x, data = relu_mlp(0, D), noise(2, 6, dtype=D), ig.Dataset(noise(60, 6, seed=1))
    small = rule(rtol=1e-4, max_evaluations=300)
    with pytest.warns(ig.NotConverged, match=r"Four times the samples .*ig\.Lattice\("):
        a = ig.attribute(net, x, target=0, baseline=data, quadrature=small)
    assert not a.converged.any()
    assert a.backwards.max() <= 301  # and one for the floor


@pytest.mark.parametrize("curves", [1, 3, 17, 200, 700])
@each_rule
def test_rounds_grow_within_the_budget(rule, curves):
    for budget in (8, 40, 333, 2000):
        stops = list(rule(max_evaluations=budget, replicates=4).stops(curves))
        assert stops == sorted(set(stops))
        assert 0 < stops[0] <= stops[-1] <= budget // 4
    assert list(rule(1000, replicates=4).stops(curves))[-1] <= 250


# ---------------------------------------------------------------------- against Monte Carlo


@pytest.fixture(scope="module")
def digits():
    """A trained network of ReLU units, three test images, and 200 training images, in float64."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).flatten(1) / 16
    labels = torch.tensor(data.target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        net = nn.Sequential(*layers)
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(200):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[:1200]), labels[:1200]).backward()
            optimizer.step()
    pick = torch.randperm(1200, generator=torch.Generator().manual_seed(1))[:200]
    return net.double().eval(), images[[1300, 1400, 1500]].double(), images[pick].double()


def wrong(digits, target, rule, truth, seeds):
    """Mean relative L1 error over seeds and rows; every gradient counted."""
    net, x, data = digits
    made = []
    for seed in range(seeds):
        q = dataclasses.replace(rule, seed=seed)
        a = ig.attribute(net, x, target=target, baseline=ig.Dataset(data), quadrature=q)
        assert a.backwards.max() <= rule.samples + 1
        made.append(magnitude((a.values - truth,)) / magnitude((truth,)))
    return torch.stack(made).mean().item()


@quiet
@pytest.mark.parametrize(
    ("target", "single", "four"),
    [(ig.Logit(), 5, 8), (ig.Probability(), 2, 2)],
    ids=["logit", "probability"],
)
def test_a_lattice_is_many_times_nearer_than_monte_carlo(digits, target, single, four):
    net, x, data = digits
    fine = ig.GaussLegendre(128)
    truth = ig.attribute(net, x, target=target, baseline=ig.Dataset(data), quadrature=fine).values
    for samples, lattice, ratio in (
        (1000, ig.Lattice(1000, replicates=1), single),
        (4000, ig.Lattice(4000, replicates=4), four),
    ):
        plain = wrong(digits, target, ig.MonteCarlo(samples), truth, 3)
        assert plain >= ratio * wrong(digits, target, lattice, truth, 3)


@quiet
@pytest.mark.parametrize("target", [ig.Logit(), ig.Probability()], ids=["logit", "probability"])
@each_rule
def test_standard_errors_cover_the_truth_of_a_trained_network(digits, rule, target):
    net, x, data = digits
    data = ig.Dataset(data[:40])
    fine = ig.GaussLegendre(200)
    truth = ig.attribute(net, x, target=target, baseline=data, quadrature=fine).values
    covered = []
    for seed in range(25):
        q = rule(320, seed=seed)
        a = ig.attribute(net, x, target=target, baseline=data, quadrature=q, check=False)
        near = (a.values - truth).abs() <= STUDENT[q.replicates] * a.error_map
        covered.append(near[truth.abs() > 1e-3 * magnitude((truth,))[:, None]].double().mean())
    assert torch.stack(covered).mean() >= 0.85


# ---------------------------------------------------------------------- when completeness lies


def stepped(z):
    """Linear, and a step that autograd does not see."""
    return z.sum(1) + (z[:, 0] > 0.5).to(z)


@quiet
@pytest.mark.parametrize("rule", CORRECTED, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("replicates", [1, 4])
def test_a_jump_that_no_node_saw_is_not_shared_out(rule, replicates):
    x, data = torch.ones(1, 3, dtype=D), ig.Dataset(0.1 * noise(10, 3, dtype=D))
    quadrature = rule(400, replicates=replicates)
    a = ig.attribute(stepped, x, baseline=data, quadrature=quadrature)
    assert a.residual.item() == pytest.approx(-1, abs=0.05)
    assert not a.converged


@quiet
def test_no_two_replicates_agree_so_well_that_the_error_is_nothing():
    # one kink that all replicates meet, and a narrow slope that none of them does
    f = lambda z: torch.relu(z[:, 0] - 0.5) + 3 * torch.relu(z.sum(1) - 1.999)  # noqa: E731
    x = torch.ones(1, 2, dtype=D)
    for seed in range(10):
        a = ig.attribute(f, x, quadrature=ig.Lattice(240, seed=seed))
        truth = torch.tensor([[0.5 + 0.0015, 0.0015]], dtype=D)
        assert magnitude((a.values - truth,)) / magnitude((truth,)) <= 3 * a.error


@quiet
def test_where_gradients_flow_nothing_is_corrected_and_they_are_exact():
    net, x, data = relu_mlp(0, D), noise(2, 6, dtype=D), noise(8, 6, seed=1, dtype=D)
    rule = ig.Lattice(64, replicates=1, seed=2)
    call = {"target": 1, "baseline": ig.Dataset(data), "quadrature": rule}
    a = ig.attribute(net, x, differentiable=True, **call)
    assert a.residual.abs().max() > 1e-6
    (found,) = torch.autograd.grad(a.values.square().sum(), net[0].weight)
    draws = rule.draw(torch.full((8,), 1 / 8, dtype=D), 0, 0, 64)
    total = torch.zeros_like(x)
    for b, t in zip(draws.place.tolist(), draws.t.tolist(), strict=True):
        point = (data[b] + t * (x - data[b])).requires_grad_()
        (g,) = torch.autograd.grad(net(point)[:, 1].sum(), point, create_graph=True)
        total = total + g * (x - data[b]) / 64
    assert torch.allclose(a.values, total, atol=1e-12)
    (expected,) = torch.autograd.grad(total.square().sum(), net[0].weight)
    assert torch.allclose(found, expected, atol=1e-12)


@quiet
@each_rule
def test_integrands_without_completeness_are_not_corrected(rule):
    net, x, data = relu_mlp(0, D), noise(2, 6, dtype=D), ig.Dataset(noise(8, 6, seed=1))
    a = ig.attribute(net, x, target=1, baseline=data, quadrature=rule(64), integrand=BareGradient())
    assert a.residual is None
    assert "control" not in a.run.rule


@each_rule
@quiet
def test_contributions_that_were_summed_first_are_those_sums(rule):
    net, x = contract.smooth_net(D), noise(3, 2, 5, dtype=D)
    call = {"target": 1, "baseline": contract.DATA_BASELINES[0], "quadrature": rule(240)}
    a = ig.attribute(net, x, **call)
    b = ig.attribute(net, x, integrand=Summed(), **call)
    assert torch.allclose(a.values.sum(-1), b.values, atol=1e-12)
    assert bool((b.error_map <= a.error_map.sum(-1) + 1e-12).all())


@quiet
def test_the_floor_is_that_of_a_fixed_rule():
    net, x, data = relu_mlp(0), noise(4, 6), ig.Dataset(noise(8, 6, seed=1))
    floors = [
        ig.attribute(net, x, target=1, baseline=data, quadrature=q).floor
        for q in (ig.Lattice(1600), ig.Lattice(rtol=0.05), ig.GaussLegendre(48))
    ]
    for floor in floors[:2]:
        assert bool((floor <= 3 * floors[2]).all())
        assert bool((floor >= floors[2] / 3).all())


@quiet
def test_a_single_replicate_does_not_know_its_error():
    net, x, data = relu_mlp(0, D), noise(2, 6, dtype=D), ig.Dataset(noise(50, 6, seed=1))
    with pytest.warns(ig.NotConverged, match="not known"):
        a = ig.attribute(net, x, target=0, baseline=data, quadrature=ig.Lattice(1000, replicates=1))
    assert torch.isnan(a.error_map).all()
    assert torch.isnan(a.error).all()
    assert a.run.rule.endswith("no standard error")


def test_calls_stay_as_wide_as_they_were_however_many_samples():
    net, sizes = relu_mlp(0, D), []

    def watched(z):
        sizes.append(len(z))
        return net(z)

    data = ig.Dataset(noise(100, 6, seed=1))
    rule = ig.Lattice(4000, rtol=1.0)
    ig.attribute(watched, noise(2, 6, dtype=D), target=0, baseline=data, quadrature=rule, width=16)
    assert max(sizes) == 16


# ---------------------------------------------------------------------- populations


def quadratic(z):
    """Its expected gradients over independent uniform baselines are known."""
    return z.square().sum(1) + 4 * z[:, 0] * z[:, 1]


def expected(x):
    """Over Uniform(0, 1): E b = 1/2, E b^2 = 1/3."""
    cross = 2 * (x - 0.5) * (x.flip(1) + 0.5)
    return x.square() - 1 / 3 + cross


@quiet
@each_rule
def test_the_error_of_a_population_holds_the_spread_between_baselines(rule):
    x = torch.tensor([[1.5, -0.5], [0.3, 2.0]], dtype=D)
    q = rule(128, replicates=4)
    found = [
        ig.attribute(quadratic, x, baseline=ig.Uniform(), quadrature=q, seed=seed, check=False)
        for seed in range(100)
    ]
    values = torch.stack([a.values for a in found])
    errors = torch.stack([a.error_map for a in found])
    off = values.mean(0) - expected(x)
    assert bool((off.abs() <= 4 * values.std(0) / 10).all())
    covered = ((values - expected(x)).abs() <= STUDENT[4] * errors).double().mean()
    assert 0.88 <= covered <= 0.99
    assert (found[0].forwards - found[0].backwards)[0] == 128 + 1  # f at each draw, and at x
    assert "population" in found[0].run.rule
    counted = ig.Uniform(samples=32)
    finite = ig.attribute(quadratic, x, baseline=counted, quadrature=q, check=False)
    assert "these curves" in finite.run.rule
    if rule is ig.Lattice:  # each replicate uses all draws alike: none of their spread is left
        assert bool((finite.error < 0.5 * found[0].error).all())


@quiet
@each_rule
def test_of_a_single_feature_all_error_is_that_of_the_mean_output(rule):
    # completeness alone fixes its value for the draws there are; between draws nothing is fixed
    ask = lambda seed: ig.attribute(  # noqa: E731
        lambda z: z.square().sum(1),
        torch.full((1, 1), 1.5, dtype=D),
        baseline=ig.Uniform(),
        quadrature=rule(64, replicates=8, seed=seed),
        seed=seed,
        check=False,
    )
    found = [ask(seed) for seed in range(100)]
    made = torch.stack([a.values for a in found]).std()
    told = torch.stack([a.error_map for a in found]).square().mean().sqrt()
    assert made >= 0.8 * (4 / 45 / 64) ** 0.5  # b^2 has variance 4/45
    assert 0.8 * made <= told <= 1.25 * made


@each_rule
def test_a_population_is_drawn_by_the_call_and_timed_by_the_rule(rule):
    x = torch.tensor([[1.5, -0.5]], dtype=D)
    ask = lambda seed, own: ig.attribute(  # noqa: E731
        quadratic, x, baseline=ig.Gaussian(), quadrature=rule(64, seed=own, rtol=1.0), seed=seed
    )
    one, again, other, timed = ask(0, 0), ask(0, 0), ask(1, 0), ask(0, 1)
    assert torch.equal(one.values, again.values)
    assert not torch.equal(one.baseline_output, other.baseline_output)
    assert torch.equal(one.baseline_output, timed.baseline_output)
    assert not torch.equal(one.values, timed.values)


@quiet
@each_rule
def test_a_population_that_stops_by_itself_completes_to_all_its_draws(rule):
    x = torch.tensor([[1.5, -0.5], [0.3, 2.0]], dtype=D)
    a = ig.attribute(quadratic, x, baseline=ig.Uniform(), quadrature=rule(rtol=0.05))
    assert a.converged.all()
    assert a.backwards.max() < 2000
    if rule.controlled:
        assert a.residual.abs().max() < 1e-12
    wrong = magnitude((a.values - expected(x),)) / magnitude((expected(x),))
    assert bool((wrong <= 3 * a.error).all())


def test_every_draw_of_a_population_is_asked_once():
    data = noise(64, 5, seed=1, dtype=D)
    for rule in (r(64, replicates=4) for r in RULES):
        integral, _ = cube(data)
        integral = dataclasses.replace(
            integral, curves=dataclasses.replace(integral.curves, drawn=True)
        )
        rule(integral)
        seen = points_of(integral)
        x = integral.curves.end.points[0]
        way = (seen - x)[:, None] / (data - x)[None]  # constant over features: of that line
        assert ((way - way.mean(2, keepdim=True)).abs().amax(2) < 1e-9).sum(0).tolist() == [1] * 64


# ---------------------------------------------------------------------- rows of data


@quiet
def test_a_dataset_is_the_average_of_its_rows():
    net, x, rows = relu_mlp(0, D), noise(3, 6, dtype=D), noise(5, 6, seed=1, dtype=D)
    rule = ig.GaussLegendre(48, rtol=1.0)
    ask = lambda start: ig.attribute(net, x, target=1, baseline=start, quadrature=rule)  # noqa: E731
    a = ask(ig.Dataset(rows))
    each = [ask(rows[i : i + 1]) for i in range(5)]
    assert torch.allclose(a.values, torch.stack([e.values for e in each]).mean(0), atol=1e-14)
    start = torch.stack([e.baseline_output for e in each]).mean(0)
    assert torch.allclose(a.baseline_output, start, atol=1e-14)
    assert (a.forwards - a.backwards).tolist() == [6] * 3  # f(x) and each f(baseline), once


def two(a, b):
    return (a * b).sum(1).tanh() + a[:, 0]


@quiet
def test_a_dataset_of_several_tensors_goes_by_place_or_by_name():
    x = {"a": noise(2, 3, dtype=D), "b": noise(2, 3, seed=1, dtype=D)}
    rows = {"a": noise(4, 3, seed=2, dtype=D), "b": noise(4, 3, seed=3, dtype=D)}
    turned = dict(reversed(rows.items()))
    by_name = ig.attribute(two, x, baseline=ig.Dataset(turned))
    by_place = ig.attribute(two, tuple(x.values()), baseline=ig.Dataset(tuple(rows.values())))
    assert torch.equal(by_name.values["a"], by_place.values[0])
    assert torch.equal(by_name.values["b"], by_place.values[1])
    sampled = ig.attribute(two, x, baseline=ig.Dataset(rows), quadrature=ig.Lattice(400))
    off = magnitude(tuple(sampled.values[k] - by_name.values[k] for k in "ab"))
    assert bool((off <= 0.05 * magnitude(tuple(by_name.values.values()))).all())


@quiet
def test_a_dataset_of_token_ids_starts_at_their_embeddings():
    model, ids = tiny_transformer(0, D), torch.tensor([[1, 5, 7, 2], [1, 8, 4, 2]])
    rows = torch.tensor([[1, 3, 3, 2], [1, 9, 6, 2], [1, 4, 11, 2]])
    call = {"target": 1, "at": "embedding"}
    a = ig.attribute(model, ids, baseline=ig.Dataset(rows), **call)
    each = [ig.attribute(model, ids, baseline=rows[i : i + 1], **call).values for i in range(3)]
    assert torch.allclose(a.values, torch.stack(each).mean(0), atol=1e-14)
    b = ig.attribute(model, ids, baseline=ig.Dataset(rows), quadrature=ig.Lattice(1200), **call)
    assert magnitude((a.values - b.values,)).max() <= 0.01 * magnitude((a.values,)).min()


@quiet
def test_a_dataset_is_carried_to_a_layer():
    net, x, rows = relu_mlp(0, D), noise(2, 6, dtype=D), noise(10, 6, seed=1, dtype=D)
    a = ig.attribute(net, x, target=1, baseline=ig.Dataset(rows), at="1")
    rest = lambda h: net[2:](h)[:, 1]  # noqa: E731
    hidden = net[:2]
    each = [
        integrated_gradients(rest, hidden(x).detach(), hidden(rows[i : i + 1]).detach(), 400)
        for i in range(10)
    ]
    assert torch.allclose(a.values, torch.stack(each).mean(0), atol=5e-3)
    b = ig.attribute(
        net, x, target=1, baseline=ig.Dataset(rows), at="1", quadrature=ig.Lattice(800)
    )
    assert bool((magnitude((a.values - b.values,)) <= 0.02 * magnitude((a.values,))).all())


@quiet
def test_a_saved_answer_tells_the_rows_by_their_digest(tmp_path):
    net, x = relu_mlp(0), noise(2, 6)
    rows = ig.Dataset(noise(200, 6, seed=1))
    a = ig.attribute(net, x, target=0, baseline=rows, quadrature=ig.Lattice(800))
    assert "from Dataset(200 rows)" in repr(a)
    a.save(tmp_path / "a.safetensors")
    b = ig.Attribution.load(tmp_path / "a.safetensors")
    assert b.recipe == a.recipe
    assert b.recipe.quadrature == ig.Lattice(800)
    assert torch.equal(b.error_map, a.error_map)
    assert "(200, 6)" in b.recipe.baseline.description
    assert "sha256" in b.recipe.baseline.description
    other = a.recipe.but(baseline=ig.Dataset(noise(200, 6, seed=2)))
    assert other != b.recipe


def test_rows_are_equal_by_what_they_hold():
    one, same = (ig.Dataset(noise(4, 3)) for _ in range(2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != ig.Dataset(noise(4, 3, seed=1))
    assert one != ig.Dataset(noise(4, 3).double())
    assert one != ig.Dataset((noise(4, 3), noise(4, 3)))
    assert ig.Dataset({"a": noise(4, 3)}) != one
    assert (len(one), repr(one)) == (4, "Dataset(4 rows)")


def test_expected_gradients_takes_rows_or_a_distribution():
    net, x, rows = relu_mlp(0, D), noise(2, 6, dtype=D), noise(50, 6, seed=1, dtype=D)
    a = ig.methods.expected_gradients(rows)(net, x, target=1)
    b = ig.methods.expected_gradients(ig.Dataset(rows))(net, x, target=1)
    assert a.recipe.name == "expected_gradients"
    assert a.recipe == b.recipe
    assert torch.equal(a.values, b.values)
    assert a.converged.all()
    assert a.recipe.quadrature == ig.Lattice()
    named = ig.methods.expected_gradients({"a": rows, "b": rows})
    assert named.baseline.keys == ("a", "b")
    assert ig.methods.expected_gradients(ig.Uniform()).baseline == ig.Uniform()


# ---------------------------------------------------------------------- what each curve gains


def test_the_gain_of_each_curve_is_known_and_asked_for_once():
    oracle = Cube(noise(2, 5, seed=3, dtype=D), targets=2)
    x = noise(3, 5, seed=9, dtype=D)
    integral = LineIntegral(oracle, bind((STARTS,), (x,)), Straight(), GradientVelocity(), 3)
    whole, _, gains = difference(integral, oracle.f(x))
    curves, every = integral.curves, torch.arange(60)
    ends = (oracle.f(bank.take(every)[0]) for bank in (curves.end, curves.start))
    assert torch.allclose(gains, next(ends) - next(ends))
    assert torch.allclose(whole, gains.reshape(2, 3, 20).mean(2))
    assert len(points_of(integral)) == 60 + 3  # this oracle cannot say that it knows f(x)


def test_of_a_polyline_only_the_ends_are_asked_and_single_gains_are_not_known():
    oracle = Cube(noise(1, 5, seed=3, dtype=D))
    x = noise(2, 5, seed=9, dtype=D)
    whole = bind((STARTS[:1],), (x,))
    middle = noise(1, 2, 5, seed=4, dtype=D)
    knots = torch.cat([whole.start.take(torch.arange(2))[0][None], middle, x[None]])
    curves = polyline((knots,), whole)
    integral = LineIntegral(oracle, curves, Straight(), GradientVelocity(), 2)
    gain, _, gains = difference(integral, oracle.f(x))
    assert gains is None
    assert torch.allclose(gain, oracle.f(x) - oracle.f(STARTS[:1]))
    integral = dataclasses.replace(integral, gain=gain)
    exact = total_of(oracle, curves, 2)
    for rule in (r(400) for r in CORRECTED):
        found = rule(integral)
        assert torch.allclose(found.value[0].sum(2), gain)
        assert bool(((found.value[0] - exact).abs() <= 8 * found.error_map[0]).all())


# ---------------------------------------------------------------------- refusals


@dataclass(frozen=True)
class Traced:
    """Asks its way: one straight segment."""

    def trace(self, oracle, curves):
        return curves


def test_what_does_not_go_together_is_refused():
    net, x = relu_mlp(0), noise(2, 6)
    ask = lambda **parts: ig.attribute(net, x, target=0, **parts)  # noqa: E731
    with pytest.raises(ig.Unsupported, match=r"cut no panels\. Use a Riemann rule"):
        ask(quadrature=ig.Lattice(40), integrand=AveragedGradient())
    with pytest.raises(ig.Unsupported, match=r"how many draws .* Uniform\(samples=16\)"):
        ask(baseline=ig.Uniform(), quadrature=ig.GaussLegendre(8))
    with pytest.raises(
        ig.Unsupported, match=r"Traced .* draws of Uniform .* Uniform\(samples=16\)"
    ):
        ask(baseline=ig.Uniform(), quadrature=ig.Lattice(40), path=Traced())
    with pytest.raises(ig.InputError, match="no standard error to stop by"):
        ask(quadrature=ig.Lattice(replicates=1))
    for parts in ({"samples": 3}, {"replicates": 0}, {"seed": 0.5}, {"max_evaluations": 3}):
        with pytest.raises(ig.InputError, match="expected a whole number"):
            ask(quadrature=ig.Lattice(**parts), baseline=ig.Gaussian())
    with pytest.raises(ig.InputError, match="is not understood"):
        ask(quadrature=ig.Lattice, baseline=ig.Uniform())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (torch.zeros(6), r"shape \(6,\); expected \(B, 6\) to match x. Is the row axis missing"),
        (torch.zeros(4, 5), r"shape \(4, 5\); expected \(B, 6\) to match x\.$"),
        (torch.zeros(0, 6), "at least one"),
        (torch.tensor(1.0), "at least one"),
        (torch.zeros(4, 6, dtype=torch.complex64), "real numbers"),
        (torch.full((4, 6), math.nan), "NaN or infinity in row 0"),
        ((torch.zeros(4, 6), torch.zeros(3, 6)), "same number of rows"),
        ((torch.zeros(4, 6), torch.zeros(4, 6)), "2 tensors and x has 1"),
        ({"a": torch.zeros(4, 6)}, r"entries \['a'\]"),
        ("train", "holds a builtins.str"),
    ],
    ids=lambda part: part if isinstance(part, str) else None,
)
def test_rows_that_do_not_fit_are_refused(rows, said):
    with pytest.raises(ig.InputError, match=said):
        ig.attribute(relu_mlp(0), noise(2, 6), target=0, baseline=ig.Dataset(rows))

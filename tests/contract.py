"""Every part of the library on one line, and what holds for every part of its kind.

A new path, baseline, quadrature, target or integrand is added to its list; `test_contract.py`
then runs the checks below on it, alone and together with all the others.
"""

from __future__ import annotations

import copy
import dataclasses
import json

import torch
from torch import Tensor, nn

import intgrad as ig
from intgrad.activation import ChannelGradient, RaisedActivation
from intgrad.integral import LineIntegral
from intgrad.integrand import (
    AveragedGradient,
    BareGradient,
    DecisionGradient,
    GradientVelocity,
    SquaredShares,
    Summed,
)
from intgrad.model.regions import Regions
from intgrad.path import Curves, Straight
from intgrad.path.curve import bind, travel
from intgrad.recipe import describe
from nets import integrated_gradients, noise

PATHS = [
    ig.Straight(),
    ig.ScaleSpace(2.0),
    ig.ScaleSpace(3.0, power=0.5, axes=(2,)),
    ig.Spectral(0.4),
    ig.Spectral(1.0),
    ig.Guided(5),
]
DATA_PATHS = [  # hold tensors
    ig.Polyline(noise(2, 4, seed=14)),
    ig.Anchored(noise(9, 4, seed=15), steps=3, neighbours=4),
]
MASKED = [  # traced into curves that speak for some features, that are weighed, that need words
    ig.Anchored(),
    ig.Sequential(),
    ig.Permutation(),
    ig.Permutation(samples=3),
    ig.Left(),
    ig.PushedForward(),
]
NEURONS = [
    ig.Unit("layer", 1),
]
BASELINES = [
    ig.Zeros(),
    ig.Constant(0.5),
    ig.Blurred(1.5),
    ig.Uniform(-1.0, 1.0, samples=3),
    ig.Gaussian(0.1, 0.5, samples=3),
    ig.Around(0.3, samples=3),
    ig.BlackAndWhite(),
    ig.Invert(),
]
DATA_BASELINES = [  # hold tensors, which a file describes by their digest
    ig.Dataset(noise(3, 2, 5, seed=11)),
    ig.Dataset(noise(4, 2, 5, seed=12), nearest=2, weights=[1.0, 2.0, 0.5, 1.0]),
    ig.Mean(noise(4, 2, 5, seed=13)),
]
MODEL_BASELINES = [  # ask the model for their starts
    ig.Boundary(),
]
TOKEN_BASELINES = [
    ig.MaskToken(3, keep=(0, 1)),
]
QUADRATURES = [
    ig.Adaptive(),
    ig.Adaptive(1e-3),
    ig.GaussLegendre(24),
    ig.GaussLegendre(12, max_nodes=48),
    ig.Midpoint(24),
    ig.Trapezoid(24),
    ig.LeftRiemann(24),
    ig.RightRiemann(24),
    ig.Automatic(),
    ig.PanelAveraged(24),
    ig.PanelAveraged(rtol=1e-3),
]
PIECEWISE = [  # rules for piecewise-linear models on straight paths
    ig.Exact(),
]
SAMPLERS = [  # exact on a linear model up to the error they tell
    ig.MonteCarlo(240),
    ig.Stratified(240),
    ig.Sobol(240),
    ig.Lattice(240),
    ig.Lattice(replicates=6, rtol=0.02),
]
STEPPED = [  # rules for curves on which one feature moves
    ig.Differences(),
]
POINTS = [  # rules that approximate no integral: nothing to be complete about
    ig.At(1.0),
    ig.At(0.25),
]
INTEGRANDS = [
    GradientVelocity(),
    BareGradient(),
    AveragedGradient(),
    Summed(),
    DecisionGradient(),
    SquaredShares(),
    SquaredShares(published=True),
]
MAPS = [  # integrands of layers with space: one map for all channels
    ChannelGradient(),
    RaisedActivation(),
]
DTYPES = [torch.float64, torch.float32]

# A target, and its definition: (scores (n, classes), classes of each row from best to worst).
TARGETS = [
    (None, lambda s, best: own(s, best[:, 0])),
    (2, lambda s, best: s[:, 2]),
    ([1, 0, 2], lambda s, best: own(s, torch.tensor([1, 0, 2]))),
    (ig.Logit(), lambda s, best: own(s, best[:, 0])),
    (ig.Logit(1), lambda s, best: s[:, 1]),
    (ig.Probability(), lambda s, best: own(s.softmax(1), best[:, 0])),
    (ig.Probability(0), lambda s, best: s[:, 0].exp() / s.exp().sum(1)),
    (ig.LogProbability(2), lambda s, best: s[:, 2] - s.exp().sum(1).log()),
    (ig.Margin(), lambda s, best: own(s, best[:, 0]) - own(s, best[:, 1])),
    (ig.Margin(0, 2), lambda s, best: s[:, 0] - s[:, 2]),
    (ig.All(), lambda s, best: s.T),
    (lambda s: s.square().sum(1), lambda s, best: s.square().sum(1)),
    (
        [ig.Margin(0, 2), lambda s: s.square().sum(1), ig.Probability()],
        lambda s, best: torch.stack(
            [s[:, 0] - s[:, 2], s.square().sum(1), own(s.softmax(1), best[:, 0])]
        ),
    ),
    ([ig.All(), ig.Logit()], lambda s, best: torch.cat([s.T, own(s, best[:, 0])[None]])),
]


def own(scores: Tensor, index: Tensor) -> Tensor:
    """The score of each row's own class."""
    return scores.gather(1, index[:, None])[:, 0]


def name(part: object) -> str:
    """What a test's name calls a part."""
    return str(part) if isinstance(part, torch.dtype) else repr(part).split(" at 0x")[0]


# ---------------------------------------------------------------------- whom the checks ask


@dataclasses.dataclass
class Linear:
    """An oracle with every answer on paper: values (T, n) = x . w, and its abilities."""

    weight: Tensor  # (T, features)
    targets: int | None = None
    width: int = 64
    asked: int = 0

    def __call__(self, x, rows):
        values, (gradient,) = self.cotangents(x, rows)
        return values[0], (gradient[0],)

    def cotangents(self, x, rows):
        self.asked += len(rows)
        return self.weight @ x[0].T, (self.weight[:, None].expand(-1, *x[0].shape),)

    def panels(self, x, rows, first, second):
        return (self.weight[:, None].expand(-1, len(first), -1),)

    def regions(self, x, rows, direction, room, units):
        gradient = self.cotangents(x, rows)[1]
        far = torch.full((len(rows),), torch.inf, dtype=torch.float64)
        return Regions(-far, far, gradient, [()] * len(rows))


def linear(integrand: object, targets: int | None, width: int = 64):
    """A linear integral of two curves a row, over three rows and four features, one ignored."""
    weight = noise(targets or 1, 4, seed=3, dtype=torch.float64)
    weight[:, 2] = 0
    x, starts = (noise(n, 4, seed=n, dtype=torch.float64) for n in (3, 2))
    integral = LineIntegral(
        Linear(weight, targets, width), bind((starts,), (x,)), Straight(), integrand, 3
    )
    return integral, weight[:, None] * (x - starts.mean(0))


def smooth_net(dtype: torch.dtype) -> nn.Module:
    """(n, 2, 5) -> (n, 3), without a kink."""
    return _net(nn.Tanh, dtype)


def kinked_net(dtype: torch.dtype) -> nn.Module:
    """(n, 2, 5) -> (n, 3), piecewise linear."""
    return _net(nn.ReLU, dtype)


def _net(act: type[nn.Module], dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layers = nn.Linear(10, 12), act(), nn.Linear(12, 8), act(), nn.Linear(8, 3)
        return nn.Sequential(nn.Flatten(), *layers).to(dtype).eval()


# ---------------------------------------------------------------------- what holds for all parts


def check_value(part: object) -> None:
    """A part is a frozen dataclass with a docstring, equal to its copy, made of plain data.

    Rows of data are the exception: a file keeps their digest.
    """
    kind = type(part)
    assert dataclasses.is_dataclass(part), f"{kind.__name__} is no dataclass"
    assert kind.__dataclass_params__.frozen, f"{kind.__name__} is not frozen"
    doc = kind.__doc__ or ""
    generated = doc.startswith(f"{kind.__name__}(")
    written = bool(doc) and not generated
    assert written, f"{kind.__name__} has no docstring"
    twin = copy.deepcopy(part)
    assert twin == part
    assert hash(twin) == hash(part)
    lost = part in [*DATA_BASELINES, *DATA_PATHS]
    assert ("lost" in json.dumps(describe(part))) == lost, f"{part} holds what a file cannot"


# ---------------------------------------------------------------------- what holds for a path


def check_path(path: object) -> None:
    """A path meets its ends, has the velocity it says, and treats every row alone."""
    if hasattr(path, "trace"):
        check_trace(path)
        return
    shapes = ((6, 3), (6, 2, 3, 2)) if isinstance(path, ig.Straight) else ((6, 2, 3, 5),)
    for shape in shapes:
        for dtype in DTYPES:
            start, end = ends_for(path, shape, dtype)
            _check_ends(path, start, end)
            _check_rows_alone(path, start, end)
        _check_velocity(path, *ends_for(path, shape, torch.float64))


def ends_for(path: object, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two ends of each of six curves; a path with a place of its own to begin at begins there."""
    start, end = (noise(*shape, seed=s, dtype=dtype) for s in (1, 2))
    if isinstance(path, ig.ScaleSpace):
        curves = ig.Blurred(path.max_sigma, path.axes)((end,), torch.arange(6), 0)
        (start,) = curves.start.points
    return start, end


def _check_ends(path, start: Tensor, end: Tensor) -> None:
    near = 8 * torch.finfo(start.dtype).eps
    for t, expected in ((0.0, start), (1.0, end)):
        (point,), _ = travel(path, torch.full((6,), t, dtype=torch.float64), (start,), (end,))
        assert point.dtype == end.dtype
        off = float((point - expected).abs().max())
        assert off <= near * float(expected.abs().max()), f"{off:.1e} from its end at t = {t}"


def _check_velocity(path, start: Tensor, end: Tensor) -> None:
    t, h = torch.linspace(0.05, 0.95, 6, dtype=torch.float64), 1e-5
    _, (velocity,) = travel(path, t, (start,), (end,))
    (after,), _ = travel(path, t + h, (start,), (end,))
    (before,), _ = travel(path, t - h, (start,), (end,))
    assert torch.allclose(velocity, (after - before) / (2 * h), rtol=1e-6, atol=1e-6)


def _check_rows_alone(path, start: Tensor, end: Tensor) -> None:
    t = torch.linspace(0, 1, 6, dtype=torch.float64)
    (together,), (fast,) = travel(path, t, (start,), (end,))
    for i in range(6):
        one = slice(i, i + 1)
        (alone,), (slow,) = travel(path, t[one], (start[one],), (end[one],))
        assert torch.equal(alone, together[one])
        assert torch.equal(slow, fast[one])


def check_trace(path) -> None:
    """A traced path is a chain of segments from each curve's start to its end."""
    integral, _ = linear(GradientVelocity(), None)
    curves = integral.curves
    found = path.trace(integral.oracle, curves)
    assert isinstance(found, Curves)
    step, whole = (_moved(c) for c in (found, curves))
    assert torch.allclose(step, whole, atol=1e-12), "the segments do not add up to end - start"


def _moved(curves: Curves) -> Tensor:
    every = torch.arange(len(curves))
    (start,), (end,) = curves.start.take(every), curves.end.take(every)
    shift = (end - start) * curves.weight[:, None]
    return torch.zeros(3, 4, dtype=shift.dtype).index_add(0, curves.row, shift)


# ---------------------------------------------------------------------- what holds for a baseline


def check_baseline(baseline, x: Tensor) -> None:
    """Curves end at x, their weights sum to one a row, and a row draws what it draws alone."""
    _check_curves(lambda some: baseline((some,), torch.arange(len(some)), 7), x)


def check_model_baseline(baseline, model: nn.Module, x: Tensor) -> None:
    """The same of a baseline that asks the model, whose rows have the same bytes in any slot."""

    def trace(some: Tensor) -> Curves:
        kept = []
        rule = lambda integral: kept.append(integral.curves) or ig.Midpoint(1)(integral)  # noqa: E731
        ig.attribute(model, some, baseline=baseline, quadrature=rule, seed=7, width=len(x))
        return kept[0]

    _check_curves(trace, x)


def _check_curves(trace, x: Tensor) -> None:
    before = x.clone()
    curves = trace(x)
    every = torch.arange(len(curves))
    (start,), (end,) = curves.start.take(every), curves.end.take(every)
    assert torch.equal(x, before), "the baseline wrote into x"
    assert torch.equal(end, x[curves.row])
    assert (start.dtype, start.shape) == (x.dtype, end.shape)
    mass = torch.zeros(len(x), dtype=torch.float64).index_add(0, curves.row, curves.weight)
    assert curves.mask is not None or torch.allclose(mass, torch.ones_like(mass), atol=1e-12)
    assert torch.equal(trace(x).start.take(every)[0], start), "the same seed draws something else"
    for i in range(len(x)):
        alone = trace(x[i : i + 1])
        mine = alone.start.take(torch.arange(len(alone)))[0]
        assert torch.equal(mine, start[curves.row == i]), "a row's start depends on its batch"


# ---------------------------------------------------------------------- what holds for a rule


def check_quadrature(rule) -> None:
    """On a linear model every rule is exact: its weights sum to one, on each curve, row, target."""
    for targets in (None, 2):
        integral, expected = linear(GradientVelocity(), targets)
        found = rule(integral)
        (value,) = found.value
        assert torch.allclose(value, expected, atol=1e-13), "its weights do not sum to one"
        assert found.rule
        assert found.rtol >= 0
        if found.error_map is not None:
            (wrong,) = found.error_map
            assert wrong.shape == value.shape
            assert not bool((wrong > 1e-12).any()), "an error where there is none"
        if dataclasses.is_dataclass(rule) and hasattr(rule, "nodes"):
            assert integral.oracle.asked == rule.nodes * len(integral.curves)


def check_sampler(rule) -> None:
    """On a linear model a sampler is exact on each curve, and between curves to the error it tells.

    One that uses all curves alike tells none. All its samples are asked, none twice.
    """
    for targets in (None, 2):
        integral, expected = linear(GradientVelocity(), targets)
        found = rule(integral)
        (value,), (wrong,) = found.value, found.error_map
        assert value.shape == wrong.shape == expected.shape
        assert bool(((value - expected).abs() <= 5 * wrong + 1e-13).all())
        if rule.samples is not None:
            assert integral.oracle.asked == rule.samples * integral.rows
        alone = integral.curves.where(torch.arange(0, len(integral.curves), 2))
        alone = dataclasses.replace(alone, weight=torch.ones(integral.rows, dtype=torch.float64))
        (single,) = rule(dataclasses.replace(integral, curves=alone)).value
        (exact,) = ig.Midpoint(1)(dataclasses.replace(integral, curves=alone)).value
        assert torch.allclose(single, exact, atol=1e-13), "its weights do not sum to one"
        assert found.rule
        assert found.rtol > 0


# ---------------------------------------------------------------------- what holds for an integrand


def check_integrand(integrand) -> None:
    """Complete ones sum to the difference; all ignore what the model ignores, at any width."""
    assert integrand.unit in ("node", "panel")
    for targets in (None, 2):
        integral, expected = linear(integrand, targets)
        (value,) = ig.Midpoint(5)(integral).value
        if value.shape == expected.shape:
            assert torch.equal(value[..., 2], torch.zeros_like(value[..., 2]))
        if integrand.complete:
            assert torch.allclose(value.reshape(*value.shape[:2], -1).sum(2), expected.sum(2))
        (narrow,) = ig.Midpoint(5)(linear(integrand, targets, width=3)[0]).value
        assert torch.allclose(value, narrow, atol=1e-13)


# ---------------------------------------------------------------------- what holds for a target

SCORES = torch.tensor([[1.0, -0.5, 0.25], [0.5, 0.75, -1.0]], dtype=torch.float64)


FINE = ig.GaussLegendre(32)


def hand_net(x: Tensor) -> Tensor:
    """Three scores of two features: s = tanh(x) W."""
    return x.tanh() @ SCORES


def check_target(target, definition) -> None:
    """Values along the way are the definition's, with classes fixed where the answer was given."""
    x, start = noise(3, 2, dtype=torch.float64), noise(1, 2, seed=9, dtype=torch.float64)
    best = hand_net(x).argsort(1, descending=True)
    f = lambda z: definition(hand_net(z), best[: len(z)])  # noqa: E731
    a = ig.attribute(hand_net, x, target=target, baseline=start, quadrature=FINE)
    assert torch.allclose(a.output, f(x), atol=1e-14)
    assert torch.allclose(a.baseline_output, f(start.expand_as(x)), atol=1e-14)
    targets = range(len(f(x))) if a.several else (None,)
    assert len(a.targets) == (len(targets) if a.several else len(x))
    for k in targets:
        pick = f if k is None else lambda z, k=k: f(z)[k]
        values = a.values if k is None else a.values[k]
        assert torch.allclose(values, integrated_gradients(pick, x, start), atol=1e-10)

"""The table of axioms tells the truth: what it says holds, holds, and what it denies has an example.

Small smooth nets in float64, with rules fine enough that their error does not count. Conditions are
tested as they are worded: a word at a time, up to a share, on homogeneous models.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import intgrad as ig
from intgrad.axioms import AXIOMS, MEAN, NO, YES
from intgrad.cli import family
from intgrad.methods import CATALOGUE

FINE = ig.GaussLegendre(48)
BELOW = ig.Uniform(-1.0, 0.0, samples=3)
SEEDS = range(5)
Model = Callable[[Tensor], Tensor]

# Where the defaults are for something else than a row of six features from zeros.
OWN = {
    "expected_gradients": ig.methods.expected_gradients(BELOW, FINE),
    "idgi": ig.methods.idgi(quadrature=ig.LeftRiemann(400)),
    "sequential_ig": ig.methods.sequential_ig(baseline=ig.Zeros(), quadrature=FINE, at="input"),
    "blur_ig": ig.methods.blur_ig(2.0, quadrature=FINE),
    "spectral_ig": ig.methods.spectral_ig(quadrature=ig.Midpoint(1000)),  # kinks lie on its edges
}
RECIPES = {name: OWN.get(name) or method() for name, method in CATALOGUE.items()}
INPUT = [name for name, recipe in RECIPES.items() if recipe.at == "input"]
NAMES = [name for name in INPUT if name not in family.LAYERED]  # those of layers: test_layers.py
GRIDS = {"blur_ig": (1, 1, 2, 3), "spectral_ig": (1, 1, 2, 3)}
CLOSE = {"big": 1e-4}  # its boundary is found by a search; of the others 1e-7


def says(axiom: str, *answers: str) -> pytest.MarkDecorator:
    """Every method whose entry in the table begins with one of these."""
    return pytest.mark.parametrize(
        "name", [n for n in NAMES if getattr(AXIOMS[n], axiom).startswith(answers)]
    )


seeds = pytest.mark.parametrize("seed", SEEDS)


def explained(name: str, model: Model, x: Tensor, **more) -> ig.Attribution:
    """By a method with a fine rule, of the first of two scores, the other being 0."""
    own = RECIPES[name]
    how = own.but(quadrature=FINE) if own.quadrature == ig.Automatic() else own

    def scores(z: Tensor) -> Tensor:
        return torch.stack([model(z), torch.zeros_like(model(z))], 1)

    return how.but(**more)(scores, x, target=0, strict=None)


def values(name: str, model: Model, x: Tensor, **more) -> Tensor:
    """The same, flat."""
    return explained(name, model, x, **more).values.detach().flatten()


def net(seed: int, inputs: int = 6) -> Model:
    """A smooth net with a number a row, and a boundary in sight."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = nn.Flatten(), nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)
        return nn.Sequential(*parts).double().eval()


def rising(seed: int, towards: Tensor) -> Model:
    """A net that never falls on a monotone way in the direction of these signs; 0.3 at `towards`."""
    f = net(seed)
    with torch.no_grad():
        for part in (f[1], f[3]):
            part.weight.abs_()
    sign = towards.sign()
    return lambda z: f(z * sign) - f(towards * sign) + 0.3


def point(seed: int, name: str) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(GRIDS.get(name, (1, 6)), generator=g, dtype=torch.float64)


def without(x: Tensor, feature: int) -> Tensor:
    z = x.clone()
    z.reshape(-1)[feature] = 0
    return z


def swapped(x: Tensor) -> Tensor:
    """With the first two features exchanged."""
    flat = x.flatten(1)
    return torch.cat([flat[:, [1, 0]], flat[:, 2:]], 1).reshape(x.shape)


def close(a: Tensor, b: Tensor, name: str = "") -> bool:
    return bool((a - b).abs().max() <= CLOSE.get(name, 1e-7) * (1 + b.abs().max()))


def test_the_table_has_a_line_for_every_method():
    assert AXIOMS.keys() == CATALOGUE.keys()


# ------------------------------------------------------------------------------ completeness


@seeds
@says("complete", YES, MEAN)
def test_complete(name, seed):
    a = explained(name, net(seed), point(seed, name))
    assert a.residual is not None
    assert close(a.values.sum(), a.output - a.baseline_output, name)


@says("complete", NO, "loosely")
def test_not_complete(name):
    found = [explained(name, net(seed), point(seed, name)) for seed in SEEDS]
    assert all(a.residual is None for a in found)
    assert any((a.values.sum() - (a.output - a.baseline_output)).abs() > 1e-2 for a in found)


@seeds
@says("complete", "a word", "a place")
def test_complete_one_feature_at_a_time(name, seed):
    f, x = net(seed), point(seed, name)
    alone = torch.stack([f(x) - f(without(x, i)) for i in range(6)]).detach().flatten()
    assert close(values(name, f, x), alone)


@seeds
@says("complete", "up to a share")
def test_complete_up_to_a_share(name, seed):
    f, x = net(seed), point(seed, name)
    gain = (f(x) - f(0 * x)).detach()
    assert (values(name, f, x).sum() - 0.9 * gain).abs() < 1e-5 * gain.abs()


@seeds
@says("complete", "homogeneous")
def test_complete_on_homogeneous_models(name, seed):
    w = point(seed, name)
    f = lambda z: torch.relu(z * w).sum(1) - 2 * torch.relu(-(z @ w[0]))  # noqa: E731
    x = point(seed + 1, name)
    assert close(values(name, f, x).sum(), f(x)[0])
    assert not close(values(name, net(seed), x).sum(), net(seed)(x).detach()[0])


# ------------------------------------------------------------------------------ linearity


def mixed(name: str, seed: int) -> tuple[Tensor, Tensor]:
    """What a sum of models gets, and the sum of what they get."""
    f, g, x = net(seed), net(seed + 50), point(seed, name)
    both = values(name, lambda z: 2 * f(z) - 3 * g(z), x)
    return both, 2 * values(name, f, x) - 3 * values(name, g, x)


@seeds
@says("linear", YES)
def test_linear(name, seed):
    assert close(*mixed(name, seed))


@says("linear", NO)
def test_not_linear(name):
    assert any(not close(*mixed(name, seed), name) for seed in SEEDS)


# ------------------------------------------------------------------------------ dummy, invariance


@seeds
@says("dummy", YES)
def test_dummy(name, seed):
    f = net(seed, 5)
    found = values(name, lambda z: f(z.flatten(1)[:, 1:]), point(seed, name))
    assert found[0].abs() < 1e-12
    assert found[1:].abs().max() > 1e-4


@seeds
@says("invariant", YES)
def test_implementation_invariant(name, seed):
    f, twin, x = net(seed), net(seed), point(seed, name)
    order, sign = torch.randperm(8, generator=torch.Generator().manual_seed(seed)), -1.0
    with torch.no_grad():
        twin[1].weight.copy_(sign * f[1].weight[order])
        twin[1].bias.copy_(sign * f[1].bias[order])
        twin[3].weight.copy_(sign * f[3].weight[:, order])
    assert close(values(name, twin, x), values(name, f, x), name)


# ------------------------------------------------------------------------------ symmetry


def alike(name: str, seed: int, **more) -> ig.Attribution:
    """Of a model to which the first two features are one, at a point where they are equal."""
    f, x = net(seed), point(seed, name)
    x.reshape(-1)[1] = x.reshape(-1)[0]
    return explained(name, lambda z: f(z) + f(swapped(z)), x, **more)


def apart(a: ig.Attribution) -> float:
    first, second = a.values.flatten()[:2]
    return float((first - second).abs() / a.values.abs().max())


@seeds
@says("symmetric", YES)
def test_symmetric(name, seed):
    assert apart(alike(name, seed)) < 1e-7


@says("symmetric", "if one point")
def test_symmetric_if_one_point_is_nearest(name):
    assert all(apart(alike(name, seed)) < 5e-3 for seed in SEEDS)  # a search, flat at its end
    x = torch.full((1, 6), 0.1, dtype=torch.float64)
    two = explained(name, lambda z: 1 - (z[:, 0] ** 4 + z[:, 1] ** 4), x)  # nearest: either axis
    assert apart(two) > 0.9


@says("symmetric", NO)
def test_not_symmetric(name):
    assert any(apart(alike(name, seed)) > 1e-3 for seed in SEEDS)


@seeds
@says("symmetric", "if baselines")
def test_symmetric_if_baselines_are_exchangeable(name, seed):
    one = torch.rand(2, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    both = ig.Dataset(torch.cat([one, swapped(one)]))
    assert apart(alike(name, seed, baseline=both)) < 1e-7
    assert apart(alike(name, seed, baseline=ig.Dataset(one))) > 1e-3


@says("symmetric", MEAN)
def test_symmetric_in_the_mean(name):
    more = {"baseline": ig.Around(0.5, 4000)} if name == "smooth_taylor" else {}
    around = RECIPES[name].around
    more |= {"around": type(around)(0.15, 4000)} if around else {}
    few, many = apart(alike(name, 0)), apart(alike(name, 0, **more))
    assert few > many
    assert many < 0.1


# ------------------------------------------------------------------------------ positivity


def towards(name: str, seed: int) -> Tensor:
    """Values of a net that never falls on the way from the baseline to x."""
    x = point(seed, name)
    x = x.abs() if name == "expected_gradients" else x  # its baselines lie below 0
    return values(name, rising(seed, x), x)


@seeds
@says("positive", YES)
def test_positive(name, seed):
    found = towards(name, seed)
    assert found.min() >= -1e-9
    assert found.max() > 1e-5


@seeds
@says("positive", "where x")
def test_positive_where_x_is_above(name, seed):
    x = point(seed, name).abs()
    assert values(name, rising(seed, x), x).min() > 0
    assert towards(name, seed).min() < 0


@says("positive", NO)
def test_not_positive(name):
    if getattr(RECIPES[name].path, "monotone", True):
        assert any(towards(name, seed).min() < -1e-3 for seed in SEEDS)
    else:
        assert turning(name) < -1e-3


def turning(name: str) -> float:
    """The least value of a model that is 0 between baseline and x, and moves where the path leaves.

    The path goes below what lies between; while a feature is there, the model falls as another moves.
    """
    least = 0.0
    for seed in range(20):
        x = 3 * point(seed, name)
        start = explained(name, net(0), x).recipe.baseline
        (first,) = start((x,), torch.arange(1), 0).start.points if callable(start) else (0 * x,)
        for i in range(6):
            low = torch.minimum(first, x).flatten()[i]
            for j in set(range(6)) - {i}:
                for sign in (1, -1):
                    f = lambda z, i=i, j=j, low=low, sign=sign: (  # noqa: E731
                        sign * torch.relu(low - z.flatten(1)[:, i]) * z.flatten(1)[:, j]
                    )
                    least = min(least, float(values(name, f, x).min()))
        if least < -1e-3:
            break
    return least

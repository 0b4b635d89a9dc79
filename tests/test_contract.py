"""Every part against what holds for its kind, and all of them together."""

import functools
import itertools
import json
import pickle
from dataclasses import dataclass, is_dataclass, replace

import pytest
import torch
from torch import nn

import intgrad as ig
from contract import (
    BASELINES,
    DATA_BASELINES,
    DATA_PATHS,
    DTYPES,
    INTEGRANDS,
    MAPS,
    MASKED,
    MODEL_BASELINES,
    NEURONS,
    PATHS,
    PIECEWISE,
    POINTS,
    QUADRATURES,
    SAMPLERS,
    STEPPED,
    TARGETS,
    TOKEN_BASELINES,
    check_baseline,
    check_integrand,
    check_model_baseline,
    check_path,
    check_quadrature,
    check_sampler,
    check_target,
    check_value,
    kinked_net,
    name,
    smooth_net,
)
from intgrad._types import magnitude
from intgrad.recipe import Recipe
from nets import noise

pytestmark = pytest.mark.filterwarnings("ignore::intgrad.NotConverged")

MISSED = 1e-5  # of the norm: two kinks in a fraction of a panel, which it and its halves both miss
TOLD = 3  # the true error is at most so many times the one that is told
STUDENT = {4: 12.9, 6: 6.9, 8: 5.4}  # where that is a standard error: t of R - 1 degrees, at 99.9 %
NETS = {"smooth": smooth_net, "kinked": kinked_net}
RECIPE_PARTS = [
    *(("path", p) for p in (*PATHS, *MASKED)),
    *(("baseline", p) for p in (*BASELINES, *TOKEN_BASELINES, *MODEL_BASELINES)),
    *(("quadrature", p) for p in (*QUADRATURES, *SAMPLERS, *PIECEWISE, *STEPPED, *POINTS)),
    *(("integrand", p) for p in (*INTEGRANDS, *MAPS)),
]
VALUES = [part for _, part in RECIPE_PARTS] + [t for t, _ in TARGETS if is_dataclass(t)]
VALUES += [*DATA_BASELINES, *DATA_PATHS, *NEURONS]
ALL_BASELINES = [*BASELINES, *DATA_BASELINES]
FEW = [ig.Constant(0.5), ig.Uniform(-1.0, 1.0, samples=3), DATA_BASELINES[1]]
RULES = [*QUADRATURES, *SAMPLERS]


def starts(path):
    """Baselines from which a path is tried: its own, a few, or all."""
    if isinstance(path, ig.ScaleSpace):
        return [ig.Blurred(path.max_sigma, path.axes)]
    return ALL_BASELINES if isinstance(path, ig.Straight) else FEW


EVERY = [
    parts for path in PATHS for parts in itertools.product([path], starts(path), RULES, DTYPES)
]
LINES = [path for path in PATHS if getattr(path, "straight", False)]
KINKED = [*EVERY, *itertools.product(LINES, ALL_BASELINES, PIECEWISE, DTYPES)]
SOME = [
    p for p in KINKED if p[0] in LINES or p[2] in (ig.Automatic(), ig.Adaptive(), ig.Lattice(240))
]
each = functools.partial(pytest.mark.parametrize, ids=name)


# ---------------------------------------------------------------------- each part alone


@each("part", VALUES)
def test_a_part_is_a_frozen_value_with_a_docstring(part):
    check_value(part)
    assert pickle.loads(pickle.dumps(part)) == part


@each(("kind", "part"), RECIPE_PARTS)
def test_a_part_survives_being_written_down(kind, part):
    recipe = Recipe().but(**{kind: part})
    again = Recipe.restore(json.loads(json.dumps(recipe.describe())))
    assert again == recipe
    assert getattr(again, kind) == part


@each("part", DATA_BASELINES)
def test_a_part_that_holds_data_is_written_down_by_its_digest(part):
    recipe = Recipe(baseline=part)
    again = Recipe.restore(json.loads(json.dumps(recipe.describe())))
    assert again == recipe
    assert "sha256" in again.baseline.description
    with pytest.raises(ig.Unsupported, match="cannot bring back"):
        again.baseline(())


@each("path", [*PATHS, *DATA_PATHS])
def test_a_path_meets_its_ends_at_its_own_velocity(path):
    check_path(path)


@each("baseline", [*BASELINES, *DATA_BASELINES])
@each("dtype", DTYPES)
def test_a_baseline_starts_every_row_alone_and_ends_at_x(baseline, dtype):
    check_baseline(baseline, noise(3, 2, 5, dtype=dtype))


@each("baseline", TOKEN_BASELINES)
def test_a_baseline_of_tokens_starts_every_row_alone_and_ends_at_x(baseline):
    check_baseline(baseline, torch.tensor([[0, 4, 5, 1], [0, 6, 3, 1]]))


@each("baseline", MODEL_BASELINES)
@each("dtype", DTYPES)
def test_a_baseline_that_asks_the_model_starts_every_row_alone_and_ends_at_x(baseline, dtype):
    check_model_baseline(baseline, summed_net(dtype), noise(3, 2, 5, dtype=dtype))


@each("rule", [*QUADRATURES, *PIECEWISE, *POINTS])
def test_a_rule_is_exact_on_a_linear_model(rule):
    check_quadrature(rule)


@each("rule", SAMPLERS)
def test_a_rule_that_samples_is_exact_on_a_linear_model_to_its_error(rule):
    check_sampler(rule)


@each("rule", [q for q in SAMPLERS if q.samples])
@pytest.mark.parametrize("samples", [0, -1, 2.5, True, 3])
def test_a_rule_refuses_a_number_of_samples_that_is_none(rule, samples):
    with pytest.raises(ig.InputError, match="whole number"):
        check_sampler(replace(rule, samples=samples))


@each("rule", [q for q in QUADRATURES if hasattr(q, "nodes")])
@pytest.mark.parametrize("nodes", [0, -1, 2.5, True])
def test_a_rule_refuses_a_number_of_nodes_that_is_none(rule, nodes):
    with pytest.raises(ig.InputError, match="whole number"):
        check_quadrature(replace(rule, nodes=nodes))


@each("integrand", INTEGRANDS)
def test_an_integrand_sums_to_the_difference_where_it_says_so(integrand):
    check_integrand(integrand)


@each(("target", "definition"), TARGETS)
def test_a_target_is_what_its_definition_says(target, definition):
    check_target(target, definition)


# ---------------------------------------------------------------------- all parts together


@functools.cache
def truth(net, path, baseline):
    """The values in float64 by a rule far finer than those under test."""
    kinked = ig.Exact() if path in LINES else ig.PanelAveraged(4096)
    bent = path == ig.Spectral(0.4)  # its gates have kinks in t
    rule = ig.GaussLegendre(200) if net == "smooth" and not bent else kinked
    model, x = NETS[net](torch.float64), noise(3, 2, 5, dtype=torch.float64)
    return ig.attribute(model, x, target=1, path=path, baseline=baseline, quadrature=rule).values


def ask(net, path, baseline, rule, dtype, **call):
    model, x = NETS[net](dtype), noise(3, 2, 5, dtype=dtype)
    parts = {"path": path, "baseline": baseline, "quadrature": rule}
    return ig.attribute(model, x, target=1, **parts, **call)


asked = functools.cache(ask)


@each(
    ("net", "path", "baseline", "rule", "dtype"),
    [*(("smooth", *parts) for parts in EVERY), *(("kinked", *parts) for parts in KINKED)],
)
def test_the_error_that_is_told_covers_the_error_that_is_made(net, path, baseline, rule, dtype):
    a = asked(net, path, baseline, rule, dtype)
    norm = magnitude((a.values,))
    rounding = 10 * a.floor
    assert bool((a.residual.abs() <= (a.error + rounding) * norm).all())
    made = magnitude((a.values.double() - truth(net, path, baseline),)) / norm
    told = STUDENT[rule.replicates] if rule in SAMPLERS else TOLD
    missed = MISSED if net == "kinked" and isinstance(rule, ig.PanelAveraged) else 1e-12
    assert bool((made <= told * a.error + rounding + missed).all())


@each(("path", "baseline", "rule", "dtype"), SOME)
def test_the_width_of_a_call_changes_rounding_alone(path, baseline, rule, dtype):
    wide = asked("kinked", path, baseline, rule, dtype)
    for width in (1, 3):
        narrow = asked("kinked", path, baseline, rule, dtype, width=width)
        moved = magnitude((narrow.values - wide.values,)) / magnitude((wide.values,))
        assert bool((moved <= wide.floor + narrow.floor).all())


@each(("path", "baseline", "rule", "dtype"), SOME)
def test_the_same_call_gives_the_same_bytes(path, baseline, rule, dtype):
    a, b = (f("kinked", path, baseline, rule, dtype) for f in (asked, ask))
    assert torch.equal(a.values, b.values)
    assert torch.equal(a.error_map, b.error_map)
    assert torch.equal(a.floor, b.floor)


class Sums(nn.Module):
    """A linear layer as products and sums: a matrix product in float32 may round by slot."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, None] * self.weight).sum(-1) + self.bias


def summed_net(dtype: torch.dtype) -> nn.Module:
    """The kinked net, the same bytes for a row in whichever slot of a call."""
    layers = [Sums(m) if isinstance(m, nn.Linear) else m for m in kinked_net(dtype)]
    return nn.Sequential(*layers).eval()


@each(("path", "baseline", "rule", "dtype"), SOME)
def test_at_a_given_width_a_row_does_not_know_its_batch(path, baseline, rule, dtype):
    model, x = summed_net(dtype), noise(3, 2, 5, dtype=dtype)
    recipe = Recipe(path=path, baseline=baseline, quadrature=rule)
    together = recipe(model, x, target=1, width=3)
    alone = recipe(model, x[2:], target=1, width=3)
    assert torch.equal(alone.values[0], together.values[2])
    assert torch.equal(alone.error_map[0], together.error_map[2])


# ---------------------------------------------------------------------- the contract itself


def test_every_public_part_has_its_line():
    named = {type(part) for part in VALUES}
    public = {kind for kind in vars(ig).values() if isinstance(kind, type) and is_dataclass(kind)}
    results = {ig.Attribution, ig.Recipe, ig.BaselineReport, ig.Interactions}
    assert public - results <= named


def short(t, start, end):
    """Stops before the end."""
    return start + 0.99 * t * (end - start)


class WrongSpeed(ig.Straight):
    def velocity(self, t, start, end):
        return 2 * (end - start)


@pytest.mark.parametrize("path", [short, WrongSpeed()], ids=["short", "wrong speed"])
def test_a_path_that_breaks_the_contract_is_found(path):
    with pytest.raises(AssertionError):
        check_path(path)


@dataclass(frozen=True)
class CaptumTrapezoid:
    """Weights 1/n, half at the ends: they sum to (n - 1)/n."""

    nodes: int = 24

    def __call__(self, integral):
        t = torch.linspace(0, 1, self.nodes, dtype=torch.float64)
        weight = torch.full_like(t, 1 / self.nodes)
        weight[[0, -1]] /= 2
        value, wrong = ig.quadrature.rule.estimate(integral, t, weight, weight[:, None] * 0)
        return ig.quadrature.Estimate(value, wrong, 1e-2, "trapezoid")


def test_a_rule_whose_weights_do_not_sum_to_one_is_found():
    with pytest.raises(AssertionError, match="sum to one"):
        check_quadrature(CaptumTrapezoid())


@dataclass(frozen=True)
class Careless:
    """Starts that depend on the whole batch."""

    def __call__(self, x, rows, seed):
        return ig.baseline.bind((x[0].mean(0, keepdim=True),), x)


def test_a_baseline_that_looks_at_batch_mates_is_found():
    with pytest.raises(AssertionError, match="depends on its batch"):
        check_baseline(Careless(), noise(3, 2, 5))

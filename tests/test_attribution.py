"""The result: read, added up, grouped, cut and printed without losing its certificate."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from torch import nn

import intgrad as ig
from intgrad.recipe import Lost, describe, restore
from intgrad.subject import Sentence
from nets import conv_net, gelu_mlp, noise, relu_mlp

RULE = ig.GaussLegendre(24, rtol=1.0)
X = noise(4, 6)
FULL = ("output", "baseline_output", "residual", "floor", "forwards", "backwards", "evaluations")


def attribute(model, x, target=1, **call):
    return ig.attribute(model, x, target=target, **{"quadrature": RULE, **call})


@pytest.fixture(scope="module")
def plain():
    return attribute(relu_mlp(), X)


@pytest.fixture(scope="module")
def picture():
    return attribute(conv_net(), noise(2, 3, 8, 8))


@pytest.fixture(scope="module")
def pair():
    net = gelu_mlp()
    return attribute(lambda a, b: net(a * b.sum(1)), (X, noise(4, 2, 6, seed=1)))


@pytest.fixture(scope="module")
def named():
    net = gelu_mlp()
    return attribute(lambda a, b: net(a + b.square()), {"a": X, "b": noise(4, 6, seed=1)})


@pytest.fixture(scope="module")
def every():
    return attribute(relu_mlp(), X, ig.All())


def total(a):
    parts = a.values if isinstance(a.values, tuple) else (a.values,)
    lead = 2 if a.several else 1
    return sum(p.double().reshape(*p.shape[:lead], -1).sum(-1) for p in parts)


# ------------------------------------------------------------------------------------ the certificate


def test_it_is_frozen(plain):
    with pytest.raises(dataclasses.FrozenInstanceError):
        plain.values = None


def test_every_row_has_its_numbers(plain):
    assert len(plain) == 4
    for name in (*FULL, "error", "converged"):
        assert getattr(plain, name).shape == (4,), name
    assert plain.error_map.shape == plain.values.shape
    assert plain.converged.dtype == torch.bool


def test_the_residual_is_what_completeness_lacks(plain, picture, pair, named):
    for a in (plain, picture, pair):
        gap = total(a) - (a.output - a.baseline_output)
        assert (a.residual - gap).abs().max() < 1e-6
    gap = sum(v.double().sum(1) for v in named.values.values())
    assert (named.residual - (gap - named.output + named.baseline_output)).abs().max() < 1e-6


def test_the_ends_are_what_the_model_says(plain):
    net = relu_mlp()
    assert (plain.output - net(X)[:, 1].double()).abs().max() < 1e-6
    assert (plain.baseline_output - net(torch.zeros(1, 6))[0, 1].double()).abs().max() < 1e-6


def test_the_error_is_that_of_the_map_or_the_residual(plain):
    norm = plain.values.double().abs().sum(1)
    mapped = plain.error_map.double().sum(1) / norm
    want = torch.maximum(mapped, plain.residual.abs() / norm)
    assert torch.allclose(plain.error, want, rtol=1e-6)


def test_what_is_not_complete_has_no_residual():
    for recipe in (ig.methods.gradient_x_input(), ig.methods.mean_gradient(quadrature=RULE)):
        a = recipe(relu_mlp(), X, target=1)
        assert a.residual is None
        assert "not defined" in repr(a)
        assert a.sum(-1).residual is None
        assert a.select(0).residual is None


def test_the_circumstances_are_recorded(plain):
    run = plain.run
    assert (run.at, run.dtype, run.device, run.seed) == ("input", "float32", "cpu", 0)
    assert run.rtol == 1.0
    assert run.threads == torch.get_num_threads()
    assert "torch" in run.versions
    assert "24 nodes" in run.rule


# ----------------------------------------------------------------------------------------- sums


@pytest.mark.parametrize("dim", [-1, 1, (1, 2), (-2, -1), [1, 2, 3], (3,)])
def test_sums_keep_completeness_and_add_errors(picture, dim):
    a = picture.sum(dim)
    dims = dim if isinstance(dim, int) else tuple(dim)
    assert torch.allclose(a.values, picture.values.sum(dims))
    assert torch.allclose(a.error_map, picture.error_map.sum(dims))
    assert (total(a) - total(picture)).abs().max() < 1e-6
    for name in FULL:
        assert torch.equal(getattr(a, name), getattr(picture, name))


def test_cancelling_values_make_the_relative_error_larger(picture):
    assert (picture.sum((1, 2, 3)).error >= picture.error - 1e-9).all()
    a = picture.sum((1, 2, 3))
    assert torch.allclose(
        a.error,
        torch.maximum(a.error_map.double(), a.residual.abs()) / a.values.double().abs(),
        rtol=1e-5,
    )


@pytest.mark.parametrize("dim", [0, -4, (0, 1), (1, 0), 4, -5, (1, 9)])
def test_rows_are_not_added_up(picture, dim):
    with pytest.raises(ig.InputError, match=r"only feature axes, 1 to 3"):
        picture.sum(dim)


def test_the_sum_over_nothing_is_the_same(picture):
    for dim in ((), []):
        assert torch.equal(picture.sum(dim).values, picture.values)


def test_sums_of_a_tuple_add_in_each_tensor(pair):
    a = pair.sum(-1)
    assert [v.shape for v in a.values] == [(4,), (4, 2)]
    assert (total(pair) - a.values[0].double() - a.values[1].double().sum(1)).abs().max() < 1e-6


def test_sums_of_a_dict_keep_its_names(named):
    assert {k: v.shape for k, v in named.sum(1).values.items()} == {"a": (4,), "b": (4,)}


# ---------------------------------------------------------------------------------------- groups


def test_groups_keep_completeness_and_add_errors(plain):
    labels = torch.tensor([0, 2, 2, 1, 0, 2])
    a = plain.group(labels)
    assert a.values.shape == (4, 3)
    for g in range(3):
        assert torch.allclose(a.values[:, g], plain.values[:, labels == g].sum(1), atol=1e-6)
        assert torch.allclose(a.error_map[:, g], plain.error_map[:, labels == g].sum(1), atol=1e-6)
    assert (total(a) - total(plain)).abs().max() < 1e-6
    assert torch.equal(a.residual, plain.residual)


def test_one_group_is_the_sum(picture):
    a = picture.group(torch.zeros(3, 8, 8, dtype=torch.long))
    assert torch.allclose(a.values[:, 0], picture.sum((1, 2, 3)).values, atol=1e-6)


def test_a_group_for_each_feature_changes_nothing(plain):
    a = plain.group(torch.arange(6))
    assert torch.equal(a.values, plain.values)
    assert torch.allclose(a.error, plain.error)


def test_groups_without_features_get_nothing(plain):
    a = plain.group(torch.tensor([0, 0, 0, 4, 4, 4]))
    assert a.values.shape == (4, 5)
    assert not a.values[:, 1:4].any()


def test_groups_go_across_the_tensors_of_a_tuple(pair):
    labels = (torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([[0] * 6, [2] * 6]))
    a = pair.group(labels)
    assert a.values.shape == (4, 3)
    first = pair.values[0][:, :3].sum(1) + pair.values[1][:, 0].sum(1)
    assert torch.allclose(a.values[:, 0], first, atol=1e-6)
    assert torch.allclose(a.values[:, 2], pair.values[1][:, 1].sum(1), atol=1e-6)
    assert (total(a) - total(pair)).abs().max() < 1e-6


def test_groups_of_a_dict_go_by_name_not_by_order(named):
    zero, one = torch.zeros(6, dtype=torch.long), torch.ones(6, dtype=torch.long)
    for labels in ({"a": zero, "b": one}, {"b": one, "a": zero}):
        a = named.group(labels)
        assert torch.allclose(a.values[:, 0], named.values["a"].sum(1), atol=1e-6)
        assert torch.allclose(a.values[:, 1], named.values["b"].sum(1), atol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [
        torch.zeros(5, dtype=torch.long),
        torch.zeros(4, 6, dtype=torch.long),
        torch.zeros(6),
        torch.tensor([0, 1, -1, 0, 0, 0]),
        torch.zeros(6, dtype=torch.bool),
        (torch.zeros(6, dtype=torch.long),) * 2,
        {"a": torch.zeros(6, dtype=torch.long)},
        [0, 0, 1, 1, 2, 2],
    ],
    ids=str,
)
def test_labels_that_do_not_fit_are_refused(plain, labels):
    with pytest.raises(ig.InputError, match="labels"):
        plain.group(labels)


def test_groups_of_a_tuple_need_labels_for_each(pair):
    with pytest.raises(ig.InputError, match="tuple of 2"):
        pair.group(torch.zeros(6, dtype=torch.long))


# ---------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("rows", "index"),
    [
        (2, [2]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, 2), [0, 2]),
        ([3, 0], [3, 0]),
        (torch.tensor([1, 1]), [1, 1]),
        (torch.tensor([True, False, False, True]), [0, 3]),
    ],
    ids=str,
)
def test_rows_are_selected_with_their_certificates(plain, every, rows, index):
    a = plain.select(rows)
    assert len(a) == len(index)
    assert torch.equal(a.values, plain.values[index])
    assert torch.equal(a.error_map, plain.error_map[index])
    for name in (*FULL, "error", "converged"):
        assert torch.equal(getattr(a, name), getattr(plain, name)[index]), name
    assert a.targets == tuple(plain.targets[i] for i in index)
    b = every.select(rows)
    assert torch.equal(b.values, every.values[:, index])
    assert torch.equal(b.error, every.error[:, index])
    assert torch.equal(b.forwards, every.forwards[index])
    assert b.targets == every.targets


def test_rows_of_a_tuple_and_a_dict_are_selected(pair, named):
    assert [torch.equal(s, v[[2]]) for s, v in zip(pair.select(2).values, pair.values, strict=True)]
    assert torch.equal(named.select([1]).values["b"], named.values["b"][[1]])


def test_the_subjects_go_with_their_rows(plain):
    texts = tuple(Sentence(str(i), ("a",), ("a",), (0,), (False,)) for i in range(4))
    a = dataclasses.replace(plain, subjects=texts)
    assert [s.name for s in a.select([2, 0]).subjects] == ["2", "0"]


# -------------------------------------------------------------------------------------- printed


def test_it_prints_in_four_lines_what_of_what_from_where(plain):
    lines = repr(plain).splitlines()
    assert len(lines) <= 4
    assert "logit of class 1" in repr(plain)
    assert "Zeros()" in repr(plain)
    assert "4 rows" in lines[0]
    assert "(4, 6) float32" in lines[0]
    assert "residual" in repr(plain)
    assert "evaluations" in repr(plain)
    assert str(plain) == repr(plain)


@pytest.mark.parametrize("fixture", ["picture", "pair", "named", "every"])
def test_every_kind_prints_in_four_lines(fixture, request):
    a = request.getfixturevalue(fixture)
    assert len(repr(a).splitlines()) <= 4
    assert all(len(line) < 200 for line in repr(a).splitlines())
    assert len(repr(a.sum(-1)).splitlines()) <= 4


def test_many_targets_are_named_in_short():
    wide = gelu_mlp(classes=30)
    a = attribute(wide, X[:1], ig.All())
    assert "and 27 more" in repr(a)
    assert "1 row:" in repr(a)


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        (ig.Constant(0.5), "Constant(value=0.5)"),
        (ig.Uniform(samples=2), "Uniform("),
        (torch.ones(1, 6), "tensor"),
    ],
)
def test_the_baseline_is_named(baseline, words):
    assert words in repr(attribute(relu_mlp(), X, baseline=baseline)).splitlines()[0]


def test_what_is_not_converged_says_so():
    step = nn.Sequential(nn.Linear(6, 1), nn.Sigmoid())
    nn.init.constant_(step[0].weight, 400.0)
    with pytest.warns(ig.NotConverged):
        a = attribute(step.eval(), X + 0.1, 0, quadrature=ig.GaussLegendre(6))
    assert "NOT CONVERGED" in repr(a)
    assert len(repr(a).splitlines()) <= 4


# ------------------------------------------------------------------------------------- recipes


RECIPE = ig.Recipe(baseline=ig.Blurred(3.0), quadrature=ig.Midpoint(40))


def test_a_recipe_is_callable_and_is_the_same_call():
    recipe = ig.methods.integrated_gradients(baseline=ig.Constant(0.2), quadrature=RULE)
    a = recipe(relu_mlp(), X, target=1)
    b = attribute(relu_mlp(), X, baseline=ig.Constant(0.2))
    assert torch.equal(a.values, b.values)
    assert a.recipe == b.recipe


def test_the_recipe_of_an_answer_gives_the_answer_again(plain):
    again = plain.recipe(relu_mlp(), X, target=1)
    assert torch.equal(again.values, plain.values)
    assert again.recipe == plain.recipe


def test_a_recipe_prints_its_parts():
    text = str(RECIPE)
    assert text.startswith("integrated_gradients (")
    for words in (
        "baseline Blurred(sigma=3.0)",
        "path Straight()",
        "Midpoint(nodes=40",
        "at input",
    ):
        assert words in text


def test_recipes_are_equal_when_their_parts_are():
    same = ig.Recipe(baseline=ig.Blurred(3.0), quadrature=ig.Midpoint(40))
    assert same == RECIPE
    assert hash(RECIPE) == hash(same)
    assert len({RECIPE, same, RECIPE.but(baseline=ig.Zeros())}) == 2
    assert RECIPE != "a recipe"


def test_tensors_in_a_recipe_count_by_their_bytes():
    one, same, other = (
        ig.Recipe(baseline=t) for t in (torch.ones(2), torch.ones(2), torch.zeros(2))
    )
    assert one == same != other
    assert hash(one) == hash(same)
    assert one != ig.Recipe(baseline=torch.ones(2, dtype=torch.float64))


def test_a_recipe_but_for_some_parts():
    other = RECIPE.but(quadrature=ig.Midpoint(80))
    assert other.quadrature == ig.Midpoint(80)
    assert other.baseline == RECIPE.baseline
    assert RECIPE.quadrature == ig.Midpoint(40)
    with pytest.raises(TypeError, match="nodes"):
        RECIPE.but(nodes=3)


def test_a_recipe_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECIPE.at = "embedding"


def test_a_description_is_json_and_comes_back():
    for recipe in (
        RECIPE,
        ig.Recipe(),
        ig.methods.gradient_x_input(),
        ig.methods.mean_gradient(baseline=ig.MaskToken(3, keep=(0, 1))),
        ig.Recipe(baseline=ig.Blurred(float("inf"))),
        ig.Recipe(baseline=ig.Uniform(samples=4), at="layer3.1"),
    ):
        described = json.loads(json.dumps(recipe.describe()))
        back = ig.Recipe.restore(described)
        assert back == recipe
        assert hash(back) == hash(recipe)
        assert type(back.baseline) is type(recipe.baseline)


def test_numbers_of_numpy_are_numbers():
    np = pytest.importorskip("numpy")
    recipe = ig.Recipe(baseline=ig.Constant(np.float32(0.5)))
    assert ig.Recipe.restore(recipe.describe()).baseline == ig.Constant(0.5)
    assert recipe == ig.Recipe(baseline=ig.Constant(0.5))


class Bent:
    """A path of a user's own."""

    def __call__(self, t, start, end):
        return start + t * t * (end - start)


@dataclasses.dataclass(frozen=True)
class Power:
    """A path of a user's own, with a field."""

    power: float = 2.0

    def __call__(self, t, start, end):
        return start + t**self.power * (end - start)


LOST = {
    "a tensor": {"baseline": torch.ones(1, 6)},
    "a function": {"path": lambda t, start, end: start + t * (end - start)},
    "an object": {"path": Bent()},
    "a dataclass of one's own": {"path": Power(3.0)},
}


@pytest.mark.parametrize("name", LOST)
def test_what_a_description_cannot_hold_says_so_when_called(name):
    a = attribute(relu_mlp(), X, **LOST[name])
    described = json.loads(json.dumps(a.recipe.describe()))
    back = ig.Recipe.restore(described)
    assert back == a.recipe  # of the description nothing is lost
    assert hash(back) == hash(a.recipe)
    assert back.describe() == described
    (part,) = LOST[name]
    lost = getattr(back, part)
    assert isinstance(lost, Lost)
    with pytest.raises(ig.Unsupported, match=r"cannot bring back.*recipe.but"):
        back(relu_mlp(), X, target=1)
    again = back.but(**LOST[name])(relu_mlp(), X, target=1)
    assert torch.equal(again.values, a.values)
    assert "Lost(" not in str(back)


def test_parts_that_this_version_does_not_know_are_lost():
    lost = restore({"part": "Elliptic", "modulus": 0.3})
    assert isinstance(lost, Lost)
    assert "Elliptic" in lost.description
    assert describe(lost) == {"part": "Elliptic", "modulus": 0.3}


@pytest.mark.parametrize("name", ["torch", "Any", "bind", "Curves.__init__", "os"])
def test_only_parts_are_restored_not_whatever_a_file_names(name):
    assert isinstance(restore({"part": name}), Lost)


def test_a_users_part_is_not_taken_for_one_of_ours():
    @dataclasses.dataclass(frozen=True)
    class Constant:
        value: float = 0.0

    recipe = ig.Recipe(baseline=Constant(0.5))
    assert recipe != ig.Recipe(baseline=ig.Constant(0.5))
    assert isinstance(ig.Recipe.restore(recipe.describe()).baseline, Lost)


def test_which_recipes_are_complete():
    assert ig.Recipe().complete
    assert not ig.methods.gradient_x_input().complete
    assert not ig.methods.mean_gradient().complete

"""The baseline laboratory: closed forms, what survives, and what a reader is shown."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification
from typer.testing import CliRunner

import intgrad as ig
from intgrad import image, text
from intgrad.audit import metrics
from intgrad.cli import app
from intgrad.laboratory import BaselineReport, summary
from intgrad.laboratory.consensus import Consensus, consensus
from intgrad.laboratory.standing import distribution, entropy
from intgrad.report.baselines import page
from nets import gelu_mlp, noise, relu_mlp, tiny_transformer, untouched
from test_cli import OWN
from test_image import FEW, Curved, Processor, picture
from test_report import EVIL, Outline
from test_text import seeded, tokenizer

D = torch.float64
X = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=D)
WEIGHT = torch.tensor([1.0, 1.0, -2.0, 3.0], dtype=D)
THREE = {"black": ig.Zeros(), "white": ig.Constant(1.0), "noise": ig.Uniform(samples=3)}


def linear(x: Tensor) -> Tensor:
    return x @ WEIGHT


def scores(x: Tensor) -> Tensor:
    return torch.stack([linear(x), x.sum(1) * 0, x.square().sum(1) / 9], 1)


def of_linear(**call) -> BaselineReport:
    """From 0 the values are w x = (1, 2, -6, 12); from 3 they are w (x - 3) = (-2, -1, 0, 3)."""
    return ig.baseline_report(linear, X, baselines=[ig.Zeros(), ig.Constant(3.0)], **call)


def half_sure(a: ig.Attribution) -> ig.Attribution:
    """The same values, of which the last may be wrong by 5."""
    return dataclasses.replace(a, error_map=torch.tensor([[0.0, 0.0, 0.0, 5.0]], dtype=D))


def same(a: Consensus, b: Consensus, row: int) -> None:
    """One row of `a` is the only row of `b`, exactly."""
    for field in dataclasses.fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, int):
            assert one == other
        else:
            assert torch.equal(one[row].nan_to_num(-7.0), other[0].nan_to_num(-7.0)), field.name


# ------------------------------------------------------------------------------ closed forms


def test_agreement_of_a_linear_model_is_that_of_its_closed_form() -> None:
    report = of_linear(k=2)
    first, second = (m.values[0] for m in report.members)
    assert torch.allclose(first, torch.tensor([1.0, 2.0, -6.0, 12.0], dtype=D))
    assert torch.allclose(second, torch.tensor([-2.0, -1.0, 0.0, 3.0], dtype=D))
    c = report.consensus
    assert c.spearman[0, 0, 1] == pytest.approx(1 - 6 * 6 / (4 * 15))  # ranks 2314 and 1234
    assert c.signs[0, 0, 1] == 1 / 4
    assert c.certain_signs[0, 0, 1] == 1 / 3  # a value of 0 has no sign
    assert c.largest[0, 0, 1] == 1 / 2  # {3, 2} and {3, 0}
    assert report.survivors.tolist() == report.common.tolist() == [[False, False, False, True]]
    assert c.mass[0].tolist() == pytest.approx([12 / 21, 3 / 6])
    assert c.certain[0].tolist() == [1, 1]
    assert report.kendall()[0, 0, 1] == pytest.approx((4 - 2) / 6)


def test_opposite_baselines_of_a_linear_model_leave_no_sign() -> None:
    """x - b changes sign wherever x lies between the two."""
    ends = [ig.Zeros(), ig.Constant(5.0)]
    report = ig.baseline_report(linear, X, baselines=ends)
    assert not report.survivors.any()
    assert report.consensus.signs[0, 0, 1] == 0


def test_the_same_baseline_twice_agrees_in_everything() -> None:
    report = ig.baseline_report(relu_mlp(), noise(2, 6), baselines=[ig.Zeros(), ig.Zeros()])
    assert report.names == ("Zeros()", "Zeros() (2)")
    c = report.consensus
    for name in ("spearman", "signs", "certain_signs", "largest"):
        assert torch.allclose(getattr(c, name), torch.ones(2, 2, 2).double()), name
    assert torch.equal(c.mass, c.certain)


def test_a_sign_that_is_not_certain_does_not_survive() -> None:
    report = of_linear(group=half_sure)  # 12 ± 5 is positive, 3 ± 5 is open
    assert not report.survivors.any()
    assert report.consensus.certain[0].tolist() == pytest.approx([1, 3 / 6])
    assert report.consensus.certain_signs[0, 0, 1] == 0


def test_an_error_that_is_not_known_makes_no_sign_certain() -> None:
    unknown = lambda a: dataclasses.replace(a, error_map=a.values * torch.nan)  # noqa: E731
    report = of_linear(group=unknown)
    assert not report.survivors.any()
    assert report.consensus.certain_signs[0, 0, 1].isnan()
    assert " -" in summary([report])


def test_units_that_get_nothing_are_no_conclusion() -> None:
    x = torch.tensor([[1.0, 0.0, 2.0]], dtype=D)
    report = ig.baseline_report(
        lambda x: x[:, 0] + 3 * x[:, 2], x, baselines=[ig.Zeros(), -torch.ones_like(x)]
    )
    assert report.consensus.live.tolist() == [[True, False, True]]
    assert report.survivors.tolist() == [[True, False, True]]
    assert "2 of 2" in summary([report])


def test_mean_and_spread_are_those_of_the_members() -> None:
    report = of_linear()
    both = torch.stack([m.values for m in report.members])
    assert torch.allclose(report.mean.values, both.mean(0))
    assert torch.allclose(report.mean.spread, both.std(0, correction=0))
    assert report.mean.recipe.baseline == (ig.Zeros(), ig.Constant(3.0))
    assert float(report.mean.residual.abs()) < 1e-12


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 9))
def test_a_further_baseline_never_adds_a_survivor_and_order_is_nothing(seed, size, units) -> None:
    maps, wrong = noise(size, 2, units, seed=seed), noise(size, 2, units, seed=seed + 1).abs()
    found = consensus(maps, 0.3 * wrong, None)
    fewer = consensus(maps[:-1], 0.3 * wrong[:-1], None)
    turned = consensus(maps.flip(0), 0.3 * wrong.flip(0), None)
    assert not bool((found.survivors & ~fewer.survivors).any())
    assert not bool((found.common & ~fewer.common).any())
    assert torch.equal(found.survivors, turned.survivors)
    for name in ("spearman", "signs", "certain_signs", "largest"):
        matrix = getattr(found, name)
        assert torch.equal(matrix.nan_to_num(), matrix.mT.nan_to_num())
        assert torch.allclose(matrix.flip(1, 2).nan_to_num(), getattr(turned, name).nan_to_num())


def test_comparisons_are_the_metrics() -> None:
    report = ig.baseline_report(gelu_mlp(), noise(3, 6), baselines=THREE, k=2)
    a, b = (m.values for m in report.members[:2])
    c = report.consensus
    assert torch.equal(c.spearman[:, 0, 1], metrics.spearman(a, b))
    assert torch.equal(c.signs[:, 1, 0], metrics.sign_agreement(a, b))
    assert torch.equal(c.largest[:, 0, 1], metrics.top_k_intersection(a.abs(), b.abs(), 2))
    assert torch.equal(report.kendall()[:, 0, 1], metrics.kendall(a, b))


# ------------------------------------------------------------------------------ at the baseline


def test_the_entropy_of_a_uniform_predictor_is_one_and_of_a_certain_one_zero() -> None:
    for logits, expected in ([0.0, 0.0, 0.0, 0.0], 1.0), ([90.0, 0.0, 0.0, 0.0], 0.0):
        start = torch.tensor(logits)
        found = ig.baseline_report(
            lambda x, start=start: start + x.sum(1, keepdim=True),
            X.float(),
            baselines=list(THREE.values()),
            target=1,
        )
        for said in found.standings:
            assert said.entropy.item() == pytest.approx(expected, abs=1e-12)
            assert said.probability.item() == pytest.approx(0.25 if expected else 0, abs=1e-12)


def test_what_is_said_of_a_baseline_is_the_models_own_softmax() -> None:
    net, start = gelu_mlp(dtype=D), noise(1, 6, seed=9, dtype=D)
    x = noise(2, 6, dtype=D)
    report = ig.baseline_report(net, x, baselines=[start, ig.Zeros()], target=[2, 3])
    p = net(start).softmax(1)[0].detach()
    said = report.standings[0]
    assert said.probability.tolist() == pytest.approx([float(p[2]), float(p[3])])
    assert said.top.tolist() == [int(p.argmax())] * 2
    assert said.top_probability.tolist() == pytest.approx([float(p.max())] * 2)
    expected = -float((p * p.log()).sum()) / math.log(4)
    assert said.entropy.tolist() == pytest.approx([expected] * 2)


def test_probabilities_are_not_softened_twice() -> None:
    x = noise(2, 6)
    both = [
        ig.baseline_report(net, x, baselines=THREE, target=1)
        for net in (gelu_mlp(), nn.Sequential(gelu_mlp(), nn.Softmax(1)).eval())
    ]
    for logits, done in zip(*(r.standings for r in both), strict=True):
        assert torch.allclose(logits.entropy, done.entropy, atol=1e-6)
        assert torch.allclose(logits.probability, done.probability, atol=1e-6)


def test_of_several_points_entropies_are_averaged_and_so_are_probabilities() -> None:
    """Two points that are certain of two classes: each has no entropy, though their mean has."""
    points = torch.tensor([[60.0, 0.0], [0.0, 60.0]])
    report = ig.baseline_report(
        lambda x: x * 1.0, points[:1] / 60, baselines=[ig.Dataset(points), ig.Zeros()], target=0
    )
    said = report.standings[0]
    assert said.probability.item() == pytest.approx(0.5)
    assert said.entropy.item() == pytest.approx(0, abs=1e-12)
    assert entropy(distribution(points).mean(0, keepdim=True)).item() == pytest.approx(1)


def test_weights_of_a_dataset_count_in_what_is_said_of_it() -> None:
    points = torch.tensor([[60.0, 0.0], [0.0, 60.0]])
    start = ig.Dataset(points, weights=[3.0, 1.0])
    report = ig.baseline_report(
        lambda x: x * 1.0, points[:1] / 60, baselines=[start, ig.Zeros()], target=0
    )
    assert report.standings[0].probability.item() == pytest.approx(0.75)


@pytest.mark.parametrize(
    "target", [ig.Logit(1), ig.Probability(1), ig.LogProbability(1), ig.Margin(1, 0)]
)
def test_every_target_of_a_class_says_which_it_is(target) -> None:
    net, x = gelu_mlp(dtype=D), noise(1, 6, dtype=D)
    report = ig.baseline_report(net, x, baselines=[ig.Zeros(), ig.Constant(1.0)], target=target)
    p = net(torch.zeros(1, 6, dtype=D)).softmax(1)[0, 1].item()
    assert report.standings[0].probability.item() == pytest.approx(p)


def test_a_function_of_the_scores_explains_no_class_but_the_classes_are_known() -> None:
    report = ig.baseline_report(
        gelu_mlp(), noise(1, 6), baselines=THREE, target=lambda out: out[:, 0] * out[:, 1]
    )
    assert all(s.probability is None and 0 < s.entropy < 1 for s in report.standings)
    assert "black" in summary([report])


def test_regression_has_a_number_and_no_entropy() -> None:
    report = of_linear()
    assert report.standings == (None, None)
    assert [m.baseline_output.item() for m in report.members] == pytest.approx([0, 9])
    assert "prediction" in str(report)
    assert "entropy" not in str(report)
    assert "Seen as" not in report.to_html()


# ------------------------------------------------------------------------------ baselines of all kinds


def test_members_are_what_attribute_answers() -> None:
    net, x = gelu_mlp(), noise(3, 6)
    kinds = {
        **THREE,
        "data": ig.Dataset(noise(5, 6, seed=4)),
        "near": ig.Dataset(noise(5, 6, seed=4), nearest=2),
        "both": [ig.Zeros(), ig.Constant(1.0)],
        "ends": ig.BlackAndWhite(),
        "tensor": noise(1, 6, seed=5),
        "unsaid": None,
    }
    report = ig.baseline_report(net, x, baselines=kinds, target=1, seed=3)
    for name, member in zip(report.names, report.members, strict=True):
        alone = ig.attribute(net, x, target=1, baseline=kinds[name], seed=3)
        assert torch.equal(member.values, alone.values), name
        assert torch.equal(member.error, alone.error), name
    said = dict(zip(report.names, report.standings, strict=True))
    both = (said["black"].probability + said["white"].probability) / 2
    assert torch.allclose(said["both"].probability, both)
    assert torch.allclose(said["ends"].probability, both)
    p = net(noise(5, 6, seed=4)).softmax(1)[:, 1].mean()
    assert torch.allclose(said["data"].probability, p.double().detach().expand(3), atol=1e-6)


def test_a_distribution_that_the_rule_draws_is_one_of_the_baselines() -> None:
    report = ig.baseline_report(
        gelu_mlp(), noise(1, 6), baselines=[ig.Uniform(), ig.Dataset(noise(40, 6, seed=1))]
    )
    assert report.names == ("Uniform(low=0.0, high=1.0)", "Dataset(40 rows)")
    assert all(0 < s.entropy.item() < 1 for s in report.standings)


def test_at_the_boundary_the_explained_class_ties_with_another() -> None:
    net, x = gelu_mlp(dtype=D), noise(2, 6, dtype=D)
    report = ig.baseline_report(net, x, baselines=[ig.Zeros(), ig.Boundary()])
    said = report.standings[1]
    assert torch.allclose(said.probability, said.top_probability, atol=1e-6)
    assert report.names[1].startswith("Boundary(")


def test_tokens_and_zero_embeddings_are_compared_token_by_token() -> None:
    net, ids = tiny_transformer(), torch.tensor([[1, 5, 6, 7, 2], [1, 8, 9, 3, 2]])
    names = {"mask": ig.MaskToken(3, keep=(1, 2)), "zero": ig.Zeros()}
    report = ig.baseline_report(net, ids, baselines=names, target=0, at="embedding")
    assert report.survivors.shape == (2, 5)
    masked = torch.tensor([[1, 3, 3, 3, 2]] * 2)
    assert torch.allclose(
        report.standings[0].probability, net(masked).softmax(1)[:, 0].double(), atol=1e-6
    )
    with net.embedding.register_forward_hook(lambda m, args, out: out * 0):
        expected = net(ids).softmax(1)[:, 0].double()
    assert torch.allclose(report.standings[1].probability, expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")  # the rule cannot tell its error
def test_a_recipe_is_compared_as_it_is() -> None:
    recipe = ig.methods.idgi(quadrature=ig.LeftRiemann(400))
    report = ig.baseline_report(gelu_mlp(), noise(1, 6), baselines=THREE, recipe=recipe)
    assert {m.recipe.name for m in report.members} == {"idgi"}
    assert torch.equal(
        report.members[1].values,
        recipe.but(baseline=ig.Constant(1.0))(gelu_mlp(), noise(1, 6)).values,
    )


def test_several_tensors_are_compared_together() -> None:
    x = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[[3.0]]])}
    report = ig.baseline_report(
        lambda a, b: a.sum(1) + b[:, 0, 0], x, baselines=[ig.Zeros(), ig.Constant(-1.0)]
    )
    assert report.survivors["a"].shape == (1, 2)
    assert report.survivors["b"].shape == (1, 1, 1)
    assert report.unit_names() == ("['a'][0]", "['a'][1]", "['b'][0, 0]")


def picture_net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3)).eval()


def test_channels_are_added_up_and_labels_group_pixels_or_features() -> None:
    net, x = picture_net(), noise(2, 3, 6, 6)
    halves = (torch.arange(6) // 3).expand(6, 6)
    call = {"baselines": THREE, "target": 0}
    assert ig.baseline_report(net, x, **call).survivors.shape == (2, 6, 6)
    grouped = ig.baseline_report(net, x, group=halves, **call)
    whole = ig.baseline_report(net, x, group=halves.expand(3, 6, 6), **call)
    assert grouped.survivors.shape == (2, 2)
    for a, b, m in zip(grouped.units, whole.units, grouped.members, strict=True):
        assert torch.allclose(a.values, b.values, atol=1e-6)
        expected = torch.stack(
            [m.values[..., :3].sum((1, 2, 3)), m.values[..., 3:].sum((1, 2, 3))], 1
        )
        assert torch.allclose(a.values, expected, atol=1e-6)
        assert torch.allclose(a.values.sum(1), m.values.sum((1, 2, 3)), atol=1e-6)


@pytest.mark.parametrize("across", [1, 3, 4, 5, 6, 100])
def test_squares_keep_sums_and_errors(across) -> None:
    report = ig.baseline_report(
        picture_net(), noise(1, 3, 6, 6), baselines=THREE, target=0, group=image.squares(across)
    )
    side = -(-6 // across)
    for unit, member in zip(report.units, report.members, strict=True):
        assert unit.values.shape == (1, -(-6 // side), -(-6 // side))
        first = member.values[0, :, :side, :side].sum()
        assert torch.allclose(unit.values[0, 0, 0], first, atol=1e-6)
        assert torch.allclose(unit.values.sum(), member.values.sum(), atol=1e-5)
        assert torch.allclose(unit.error_map.sum(), member.error_map.sum(), atol=1e-6)


# ------------------------------------------------------------------------------ what it owes


def test_a_rows_report_does_not_depend_on_its_batch_mates() -> None:
    net, x = relu_mlp(), noise(3, 6)
    call = {
        "baselines": [*THREE.values(), ig.Dataset(noise(4, 6, seed=1))],
        "target": 1,
        "width": 4,
    }
    whole = ig.baseline_report(net, x, **call)
    for row in range(3):
        alone = ig.baseline_report(net, x[row : row + 1], **call)
        same(whole.consensus, alone.consensus, row)
        for a, b in zip(whole.standings, alone.standings, strict=True):
            assert torch.equal(a.select(row).entropy, b.entropy)
            assert torch.equal(a.select(row).probability, b.probability)


def test_the_model_is_left_as_it_was() -> None:
    net = relu_mlp()
    with untouched(net):
        ig.baseline_report(net, noise(2, 6), baselines=THREE)
    with untouched(net), pytest.raises(ig.InputError):
        ig.baseline_report(net, noise(2, 6), baselines=[ig.Zeros(), noise(6)])


def test_baselines_under_which_rows_have_not_converged_are_named_once() -> None:
    steep = lambda x: torch.sigmoid(4000 * (x - 0.3)).sum(1)  # noqa: E731
    call = {
        "baselines": {"far": ig.Zeros(), "near": ig.Constant(0.5)},
        "quadrature": ig.GaussLegendre(4),
    }
    with pytest.warns(ig.NotConverged, match="^far: 1 of 1 rows") as caught:
        report = ig.baseline_report(steep, torch.tensor([[0.6]]), **call)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "far: NOT CONVERGED, 1 of 1 rows" in str(report)
    assert "not converged under far" in report.to_html()
    with pytest.raises(ig.NotConverged, match="far"):
        ig.baseline_report(steep, torch.tensor([[0.6]]), strict=True, **call)


REFUSED = {
    "none": ([], ig.InputError, "baselines is empty; expected two or more"),
    "no names": ({}, ig.InputError, "baselines is empty"),
    "one": ([ig.Zeros()], ig.InputError, r"holds only Zeros\(\); expected two or more"),
    "no list": (ig.Zeros(), ig.InputError, "baselines is a Zeros; expected a list"),
    "a tensor": (torch.zeros(2, 6), ig.InputError, "baselines is a Tensor"),
    "a shape": ({"ok": ig.Zeros(), "off": torch.zeros(1, 5)}, ig.InputError, r"baseline 'off': .*\(1, 5\)"),
    "a shape of many": (
        [ig.Zeros(), torch.zeros(6)], ig.InputError, r"baseline 'tensor \(6,\)': .*batch axis missing"
    ),
    "a class": ([ig.Zeros(), ig.Blurred], ig.InputError, "baseline 'the .*Blurred': .*write Blurred"),
    "a number": ([ig.Zeros(), 0.5], ig.InputError, "baseline '0.5': .*not understood"),
    "no layout": ([ig.Zeros(), ig.Blurred(2.0)], ig.InputError, r"baseline 'Blurred\(sigma=2.0\)'"),
    "unfit data": ([ig.Zeros(), ig.Dataset(torch.zeros(3, 5))], ig.InputError, "baseline 'Dataset"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_says_which_baseline(case) -> None:
    baselines, kind, sentence = REFUSED[case]
    with pytest.raises(kind, match=sentence):
        ig.baseline_report(gelu_mlp(), noise(2, 6), baselines=baselines)


def test_no_baseline_is_blamed_for_the_input_the_target_or_the_model() -> None:
    for x, call in ((torch.tensor(1.0), {}), (noise(2, 6), {"target": 9}), (noise(2, 5), {})):
        with pytest.raises(ig.IntgradError) as error:
            ig.baseline_report(gelu_mlp(), x, baselines=THREE, **call)
        assert "baseline" not in str(error.value)


def test_several_targets_and_too_large_a_k_are_refused() -> None:
    with pytest.raises(ig.Unsupported, match="for one target, and this is 4"):
        ig.baseline_report(gelu_mlp(), noise(2, 6), baselines=THREE, target=ig.All())
    for k in (0, 7):
        with pytest.raises(ig.InputError, match="k="):
            ig.baseline_report(gelu_mlp(), noise(2, 6), baselines=THREE, k=k)


# ------------------------------------------------------------------------------ shown


def test_it_prints_every_baseline_every_pair_and_what_survives_in_eighty_columns() -> None:
    many = [
        *THREE.values(),
        ig.Dataset(noise(5, 6), title="healthy"),
        [ig.Zeros(), ig.Constant(1.0)],
    ]
    report = ig.baseline_report(gelu_mlp(), noise(12, 6), baselines=many, target=1)
    said = str(report)
    assert max(map(len, said.splitlines())) <= 80
    assert said.startswith("5 baselines compared on 12 rows: integrated_gradients, at input\n")
    assert sum("~" in line for line in said.splitlines()) == 10
    assert "Constant(1.0) ~ Uniform(0.0, 1.0,…" in said
    assert "survives every baseline" in said
    assert said.endswith("and 4 more rows")


def test_names_that_are_cut_alike_are_numbered() -> None:
    names = {f"{'a long name ' * 3}{i}": b for i, b in enumerate(THREE.values())}
    report = ig.baseline_report(gelu_mlp(), noise(1, 6), baselines=names)
    assert "\n1 a long name" in str(report)
    assert "1 a long name" in report.to_html()


def test_a_baseline_the_model_is_sure_of_is_pointed_out() -> None:
    report = ig.baseline_report(
        scores, X, baselines={"zero": ig.Zeros(), "far": ig.Constant(30.0)}, target=0
    )
    assert "far: an entropy of 0.00 is low, the model sees class 2" in str(report)
    assert "zero: an entropy" not in str(report)
    assert report.to_html().count(">low<") == 1


def test_everything_on_the_page_is_escaped() -> None:
    report = ig.baseline_report(scores, X, baselines={EVIL: ig.Zeros(), "b": ig.Constant(1.0)})
    members = tuple(dataclasses.replace(a, targets=(EVIL,)) for a in report.members)
    report = dataclasses.replace(report, members=members, labels=(EVIL,) * 3)
    outline = Outline(page([report], title=EVIL))
    assert "script" not in {tag for tag, _ in outline.tags}
    assert outline.text.count(EVIL) >= 4
    assert EVIL not in page([report])


def test_reports_on_other_baselines_do_not_share_a_page(tmp_path) -> None:
    a = of_linear()
    b = ig.baseline_report(linear, X, baselines=THREE)
    with pytest.raises(ig.InputError, match="same baselines"):
        page([a, b])
    with pytest.raises(ig.InputError, match="does not exist"):
        a.to_html(tmp_path / "no" / "page.html")
    assert a.to_html(tmp_path / "page.html") == (tmp_path / "page.html").read_text("utf-8")


def test_described_it_is_json_with_all_numbers() -> None:
    report = ig.baseline_report(scores, X, baselines=[ig.Zeros(), X.clone()], target=0)
    again = json.loads(json.dumps(report.describe(), allow_nan=False))
    assert again["spearman"][0][0][1] is None  # from x itself all is 0, which has no ranks
    assert again["baselines"][0]["name"] == "Zeros()"
    assert again["baselines"][0]["entropy"] == report.standings[0].entropy.tolist()
    assert again["survivors"] == [{"count": 0, "of": 4, "units": []}]
    assert of_linear().describe()["survivors"][0]["units"] == ["[3]"]


def test_a_row_is_drawn_as_what_it_is() -> None:
    names = [a.get_text() for a in of_linear().plot().axes[0].get_yticklabels()]
    assert sorted(names) == ["[0]", "[1]", "[2]", "[3]"]
    bold = {
        label.get_text(): label.get_fontweight()
        for label in of_linear().plot().axes[0].get_yticklabels()
    }
    assert [n for n, weight in bold.items() if weight == "bold"] == ["[3]"]
    report = ig.baseline_report(picture_net(), noise(2, 3, 6, 6), baselines=THREE, target=0)
    titles = [a.get_title().split("\n")[0] for a in report.plot(-1).axes]
    assert titles == ["black", "white", "noise", "survives all", "rank correlation"]
    for row in (2, -3):
        with pytest.raises(ig.InputError, match="expected 0 to 1"):
            report.plot(row)


def test_the_table_of_a_page_marks_what_survives() -> None:
    outline = Outline(of_linear().to_html())
    assert re.search(r"\[3\] \+12 ± \S+ \+3 ± \S+ ✓ yes", outline.text)
    assert re.search(r"\[2\] -6 ± \S+ 0 ± \S+ no", outline.text)


# ------------------------------------------------------------------------------ fronts


LIGHT = {"black": ig.Zeros(), "grey": ig.Constant(0.5), "noise": ig.Uniform(samples=2)}
WORDS = {"mask": text.Mask(), "pad": text.Pad(), "zero": text.ZeroEmbedding()}
SAID = ["Who wrote the plays of day ?", "the day"]


def photos(**call) -> list[BaselineReport]:
    """Two pictures of different sizes, under three baselines."""
    call = {"quadrature": FEW, "target": 0, "baselines": LIGHT, **call}
    shots = [picture(), picture(32, 20, seed=1)]
    return image.baseline_report(Curved(noise(3, 8, 10)), Processor(), shots, **call)


def bert() -> nn.Module:
    config = BertConfig(
        vocab_size=12, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=20, id2label={0: "no", 1: "yes", 2: EVIL},
    )  # fmt: skip
    return seeded(lambda: BertForSequenceClassification(config))


def sentences(**call) -> list[BaselineReport]:
    """Two texts of different lengths, under three baselines."""
    call = {"quadrature": FEW, "target": 1, "baselines": WORDS, **call}
    return text.baseline_report(bert(), tokenizer(), SAID, **call)


def test_pictures_are_compared_square_by_square() -> None:
    reports, shots = photos(), [picture(), picture(32, 20, seed=1)]
    assert [r.survivors.shape for r in reports] == [(1, 12, 15), (1, 10, 16)]
    for name, *members in zip(LIGHT, *(r.members for r in reports), strict=True):
        alone = image.explain(
            Curved(noise(3, 8, 10)),
            Processor(),
            shots,
            baseline=LIGHT[name],
            target=0,
            quadrature=FEW,
        )
        assert all(torch.equal(a.values, b.values) for a, b in zip(members, alone, strict=True))
    with pytest.raises(ig.InputError, match="baseline 'off'"):
        photos(baselines={"off": torch.zeros(1, 2), **LIGHT})


def test_baselines_of_pictures_are_shown_and_asked_on_the_crop_the_model_sees() -> None:
    reports = photos()
    black, grey, _ = reports[0].pictures
    assert black.shape == (24, 30, 3)
    assert (int(black.max()), int(grey.min()), int(grey.max())) == (0, 128, 128)
    scale = torch.tensor([0.5, 0.4, 0.3]).neg() / torch.tensor([0.2, 0.3, 0.4])
    with torch.no_grad():
        dark = Curved(noise(3, 8, 10))(scale.view(1, 3, 1, 1).expand(1, 3, 8, 10)).softmax(1)[0, 0]
    assert reports[0].standings[0].probability.item() == pytest.approx(float(dark), abs=1e-5)
    html = page(reports)
    assert html.count("<img") == 2 * (2 * 3 + 1)  # each baseline and its heat, and what survives
    assert "seen as class" in html


def test_several_starts_and_starts_that_the_model_is_asked_for_are_baselines_of_pictures() -> None:
    ends = {"black": ig.Zeros(), "white": ig.Constant(1.0), "both": ig.BlackAndWhite()}
    reports = photos(baselines=ends)
    black, white, both = (s.probability.item() for s in reports[0].standings)
    assert both == pytest.approx((black + white) / 2)
    assert len(reports[0].pictures) == 3
    asked = photos(baselines={"black": ig.Zeros(), "other class": ig.Boundary()})
    assert [r.pictures for r in asked] == [(), ()]  # the boundary lies on the crop
    assert all(r.standings[1].probability.item() == pytest.approx(0.5, abs=1e-3) for r in asked)
    assert page(asked).count("<img") == 2 * (2 + 1)


def test_pixels_are_compared_where_one_asks_for_them() -> None:
    report, _ = photos(group=lambda a: a.sum(1))
    assert report.survivors.shape == (1, 24, 30)
    assert len(report.plot().axes) == 2 * 4 + 1


def test_texts_are_compared_word_by_word() -> None:
    reports = sentences()
    assert [r.survivors.shape for r in reports] == [(1, 9), (1, 4)]
    assert reports[1].unit_names() == ("[CLS]", "the", "day", "[SEP]")
    assert reports[1].consensus.live.tolist() == [[False, True, True, False]]
    for name, *members in zip(WORDS, *(r.members for r in reports), strict=True):
        alone = text.explain(
            bert(), tokenizer(), SAID, baseline=WORDS[name], target=1, quadrature=FEW
        )
        assert all(torch.equal(a.values, b.values) for a, b in zip(members, alone, strict=True))
    with pytest.raises(ig.InputError, match=r"baseline 'zeros': .*does not say what stands"):
        sentences(baselines={"zeros": ig.Zeros(), **WORDS})


def test_what_is_said_of_masks_is_the_models_answer_to_masks() -> None:
    with torch.no_grad():
        masked = bert()(torch.tensor([[2, 4, 4, 3]])).logits.softmax(1)[0, 1]
    said = sentences()[1].standings[0]
    assert said.probability.item() == pytest.approx(float(masked), abs=1e-5)


def test_words_are_on_the_page_in_the_table_and_at_the_bars() -> None:
    reports = sentences()
    outline = Outline(page(reports))
    assert "script" not in {tag for tag, _ in outline.tags}
    assert "Who wrote the plays" in summary(reports)
    assert "mask ~ zero" in summary(reports)
    bars = reports[0].plot().axes[0].get_yticklabels()
    assert [b.get_text() for b in bars] == ["Who", "wrote", "the", "plays", "of", "day", "?"]


# ------------------------------------------------------------------------------ the command line


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with two pictures and models of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    Path("own.py").write_text(OWN)
    Image.new("RGB", (4, 4), (200, 100, 50)).save("a.png")
    Image.new("RGB", (4, 4), (250, 250, 250)).save("[b].png")
    return tmp_path


@pytest.fixture
def command(here: Path):
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_line_compares_baselines_and_writes_everything(command, here: Path) -> None:
    done = command("explain", "own:smooth", "a.png", "[b].png", "--baselines", "black, white,noise")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "3 baselines compared on 2 rows" in done.stdout
    assert "black ~ noise" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    out = here / "intgrad-out"
    assert sorted(p.name for p in out.iterdir()) == [
        "001-a.png", "002-b.png", "attributions.safetensors", "baselines.json", "report.html",
    ]  # fmt: skip
    assert len(ig.load_all(out / "attributions.safetensors")) == 6
    told = json.loads((out / "baselines.json").read_text("utf-8"))
    assert [r["inputs"] for r in told] == [["a.png"], ["[b].png"]]
    assert [b["name"] for b in told[0]["baselines"]] == ["black", "white", "noise"]
    shown = Outline((out / "report.html").read_text("utf-8")).text
    assert "smooth: 2 explained from 3 baselines" in shown
    assert "seen as light" in shown
    assert "[b].png : logit of 'light' (class 1, predicted)" in shown


def test_the_same_comparison_gives_the_same_bytes(command, here: Path) -> None:
    for folder in ("one", "two"):
        command("explain", "own:smooth", "a.png", "--baselines", "grey,noise", "--out", folder)
    for path in sorted((here / "one").iterdir()):
        assert path.read_bytes() == (here / "two" / path.name).read_bytes(), path.name


def test_a_comparison_that_misses_is_advised_and_strict(command) -> None:
    more = ("--baselines", "black,white", "--nodes", 4, "--strict")
    done = command("explain", "own:steep", "a.png", *more)
    assert done.exit_code == 1
    assert "NOT CONVERGED" in done.stdout
    assert "have not converged to 0.01: use --tolerance" in done.stderr


TURNED_DOWN = {
    "both options": (["a.png", "--baselines", "black,white", "--baseline", "grey"], "both given"),
    "one": (["a.png", "--baselines", "black"], "names one; expected two or more"),
    "unknown": (["a.png", "--baselines", "black,mauve"], "'mauve' is not for pictures; expected"),
    "twice": (["a.png", "--baselines", "black,black"], "'black' is named twice"),
    "of texts": (["a.png", "--baselines", "black,mask"], "'mask' is not for pictures"),
    "of pictures": (["--text", "a", "--baselines", "mask,blur"], "'blur' is not for texts"),
    "nothing": (["a.png", "--baselines", ""], "'' is not for pictures"),
}


@pytest.mark.parametrize("case", TURNED_DOWN)
def test_baselines_that_cannot_be_compared_are_turned_down(command, case) -> None:
    words, sentence = TURNED_DOWN[case]
    done = command("explain", "own:smooth", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.data
def test_questions_are_compared_under_four_baselines(command, here: Path, data: Path) -> None:
    asked = ("--text", "Who was Galileo ?", "--text", "What is an atom ?")
    done = command("explain", data / "hf" / "trec_bert", *asked, "--baselines", "mask,pad,unk,zero")
    assert (done.exit_code, done.stderr) == (0, "")
    told = json.loads((here / "intgrad-out" / "baselines.json").read_text("utf-8"))
    assert "Who" in told[0]["survivors"][0]["units"]
    assert (here / "intgrad-out" / "001-who-was-galileo.png").stat().st_size > 1000

"""Texts by every recipe that is for them: what stays, what adds up, and that padding is nothing."""

from __future__ import annotations

import itertools
import math
import warnings

import pytest
import torch

import intgrad as ig
from intgrad import text
from intgrad.integrand import Summed
from intgrad.path import MaxCount

pytest.importorskip("transformers", reason='needs pip install "intgrad[text]"')

from nets import noise
from texts import small_bert, tokenizer

m = ig.methods
THREE = ["Who wrote the plays of day ?", "the day", "who [UNK] plays  Xyz, the day"]
SHORT = {"steps": 5, "neighbours": 4}
FINE = ig.Automatic(1e-3)
RECIPES = {
    "integrated_gradients": m.integrated_gradients(quadrature=FINE),
    "guided_ig": m.guided_ig(steps=6, quadrature=FINE),
    "spectral_ig": m.spectral_ig(quadrature=FINE),
    "sequential_ig": m.sequential_ig(quadrature=FINE),
    "greedy": m.discretized_ig(**SHORT, quadrature=FINE),
    "max count": m.discretized_ig(**SHORT, choose=MaxCount(), quadrature=FINE),
    "occlusion": m.occlusion(),
    "shapley_path": m.shapley_path(axis=1),
    "random orders": m.shapley_path(axis=1, samples=6),
    "idgi": m.idgi(quadrature=FINE),
    "decision": m.integrated_decision_gradients(quadrature=FINE),
    "left_ig": m.left_ig(quadrature=FINE),
    "gradient_x_input": m.gradient_x_input(),
}
COMPLETE = {"integrated_gradients", "guided_ig", "spectral_ig", "greedy", "max count",
            "shapley_path", "random orders", "idgi"}  # fmt: skip
STAY = set(RECIPES) - {"idgi"}
every = pytest.mark.parametrize("name", RECIPES)


@pytest.fixture(scope="module")
def bert():
    return small_bert().double()


def explain(model, texts, recipe, tok=None, baseline=text.Mask(), **call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ig.NotConverged)
        call = {"target": 1, **call}
        return text.explain(
            model, tok or tokenizer(), texts, baseline=baseline, recipe=recipe, **call
        )


def score(model, ids):
    with torch.no_grad():
        return float(model(input_ids=torch.tensor([ids])).logits[0, 1])


def total(a) -> float:
    return float(a.values.double().sum())


# ------------------------------------------------------------------ all of them


@every
def test_a_text_has_the_same_values_alone_and_among_longer_ones(bert, name):
    for side in ("right", "left"):
        tok = tokenizer(padding_side=side)
        for a, t in zip(explain(bert, THREE, RECIPES[name], tok), THREE, strict=True):
            (b,) = explain(bert, t, RECIPES[name], tok)
            near = 1e-9 * float(b.values.abs().max())
            assert torch.allclose(a.values, b.values, rtol=0, atol=near)
            assert torch.allclose(a.baseline_output, b.baseline_output, rtol=1e-9)
            assert torch.allclose(a.error, b.error, rtol=1e-6, atol=1e-12)


@every
def test_a_residual_is_told_where_values_add_up_and_only_there(bert, name):
    for a in explain(bert, THREE, RECIPES[name]):
        assert (a.residual is not None) == (name in COMPLETE)
        if a.residual is not None:
            gap = total(a) - float(a.output - a.baseline_output)
            assert gap == pytest.approx(float(a.residual), abs=1e-12)
            assert abs(gap) <= 1e-3 * float(a.values.abs().sum())


@every
def test_the_recipe_in_the_answer_is_the_one_that_was_asked(bert, name):
    (a,) = explain(bert, "the day", RECIPES[name])
    asked = RECIPES[name]
    assert a.recipe.name == asked.name
    assert a.recipe.baseline == text.Mask()
    assert a.recipe.integrand == Summed(asked.integrand)
    assert a.recipe.quadrature == asked.quadrature
    if asked.name == "discretized_ig":
        assert a.recipe.path.skip == (0, 1, 2, 3, 4)
        assert a.recipe.path.table is None  # the model has it
    elif asked.name != "shapley_path":
        assert a.recipe.path == asked.path
    assert isinstance(a.recipe.path, type(asked.path))


@every
def test_words_sum_their_tokens_by_every_method(bert, name):
    (a,) = explain(bert, THREE[0], RECIPES[name])
    w = text.words(a)
    assert w.values.shape == (1, 9)
    pieces = float(a.values[0, 4] + a.values[0, 5])
    assert float(w.values[0, 4]) == pytest.approx(pieces, abs=1e-12)
    assert total(w) == pytest.approx(total(a), abs=1e-12)
    assert (w.residual is None) == (a.residual is None)


@pytest.mark.parametrize("name", sorted(STAY))
def test_tokens_that_do_not_move_get_exactly_nothing(bert, name):
    for a in explain(bert, THREE, RECIPES[name]):
        special = torch.tensor(a.subjects[0].special)[torch.tensor(a.subjects[0].word_of)]
        assert not a.values[0][special].any()
        assert a.values[0][~special].any()


@pytest.mark.parametrize("name", ["integrated_gradients", "sequential_ig", "greedy", "occlusion"])
def test_every_class_is_explained_in_one_sweep(bert, name):
    for a, b in zip(
        explain(bert, THREE, RECIPES[name], target=ig.All()),
        explain(bert, THREE, RECIPES[name]),
        strict=True,
    ):
        assert a.values.shape == (3, *b.values.shape)
        assert torch.allclose(a.values[1], b.values, atol=2e-3 * float(b.values.abs().sum()))
        assert torch.allclose(text.words(a).values[1], text.words(b).values, atol=1e-2)


@pytest.mark.parametrize(
    "target",
    [
        [0, 2, 1],
        torch.tensor([0, 2, 1]),
        ig.LogProbability([0, 2, 1]),
        ig.Margin([0, 2, 1], [1, 1, 2]),
        lambda out, rows: out.logits.gather(1, torch.tensor([0, 2, 1])[rows][:, None])[:, 0],
        [ig.Logit([0, 2, 1]), ig.Probability(1)],
        ig.Logit(2),
        2,
        None,
    ],
    ids=lambda target: getattr(target, "__name__", None) or str(target),
)
def test_a_class_for_each_text_is_for_that_text_also_where_each_is_asked_alone(bert, target):
    straight = m.integrated_gradients(quadrature=ig.GaussLegendre(24))
    itself = straight.but(path=lambda t, start, end: start + t * (end - start))  # of any kind
    found = [explain(bert, THREE, recipe, target=target) for recipe in (straight, itself)]
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a.values, b.values, atol=1e-10)
        assert torch.allclose(a.output, b.output)
        assert a.several or a.targets == b.targets


# ------------------------------------------------------------------ one word at a time


def without(tok, t, i):
    ids = tok(t)["input_ids"]
    return [*ids[:i], tok.mask_token_id, *ids[i + 1 :]]


@pytest.mark.parametrize("name", ["sequential_ig", "occlusion"])
def test_a_words_values_add_up_to_what_its_removal_changes(bert, name):
    tok = tokenizer()
    recipe = RECIPES[name].but(quadrature=ig.GaussLegendre(40)) if "seq" in name else RECIPES[name]
    for a, t in zip(explain(bert, THREE, recipe, tok), THREE, strict=True):
        ids = tok(t)["input_ids"]
        lost = [score(bert, ids) - score(bert, without(tok, t, i)) for i in range(len(ids))]
        lost[0] = lost[-1] = 0.0
        assert a.values[0].tolist() == pytest.approx(lost, abs=1e-9)


def test_what_is_told_of_the_baseline_is_the_mean_over_words(bert):
    tok = tokenizer()
    (a,) = explain(bert, "the day", RECIPES["sequential_ig"], tok)
    each = [score(bert, without(tok, "the day", i)) for i in (1, 2)]
    assert float(a.baseline_output) == pytest.approx(sum(each) / 2, abs=1e-12)


def test_a_mask_is_for_features_before_they_are_summed(bert):
    ids = tokenizer()("who wrote the play", return_tensors="pt")["input_ids"]
    how = {"at": "embedding", "path": ig.Sequential(), "quadrature": ig.GaussLegendre(12, rtol=9.0)}
    how |= {"baseline": ig.MaskToken(4, keep=(2, 3)), "target": 1}
    logits = bert_logits(bert)
    whole, summed = (ig.attribute(logits, ids, **how, integrand=i) for i in (None, Summed()))
    assert torch.allclose(whole.values.sum(-1), summed.values, atol=1e-12)
    across = {**how, "path": ig.Sequential(2)}  # one dimension of all embeddings at a time
    whole, summed = (ig.attribute(logits, ids, **across, integrand=i) for i in (None, Summed()))
    assert torch.allclose(whole.values.sum(-1), summed.values, atol=1e-12)


class bert_logits(torch.nn.Module):
    """A BERT whose output is a tensor."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert
        self.eval()

    def get_input_embeddings(self):
        return self.bert.get_input_embeddings()

    def forward(self, ids):
        return self.bert(input_ids=ids).logits


@pytest.mark.parametrize(("shape", "axis"), [((4,), 1), ((4, 3), 1), ((3, 4), 2), ((2, 3, 4), 3)])
def test_places_along_any_axis_are_taken_one_by_one(shape, axis):
    f = lambda z: z.flatten(1).prod(1) + z.flatten(1).square().sum(1)  # noqa: E731
    x, start = noise(2, *shape, dtype=torch.float64), noise(1, *shape, seed=1, dtype=torch.float64)
    start = start.expand(2, *shape).clone()
    start.select(axis, 2)[0] = x.select(axis, 2)[0]  # a place that does not move
    for recipe in (m.occlusion(start, axis), m.sequential_ig(start, axis, at="input")):
        a = recipe(f, x)
        by_place = a.values.movedim(axis, 1).reshape(2, 4, -1).sum(2)
        for place in range(4):
            gone = x.clone()
            gone.select(axis, place)[:] = start.select(axis, place)
            lost = f(x) - f(gone)
            assert torch.allclose(by_place[:, place], lost, rtol=0.02, atol=1e-6)
        assert not a.values.select(axis, 2)[0].any()


def test_a_long_text_has_a_curve_for_every_word():
    model, tok = small_bert(60).double(), tokenizer(longest=60)
    t = " ".join(["who wrote the play of day"] * 7)  # 42 words, more than are sampled one by one
    (a,) = explain(model, t, m.sequential_ig(), tok)
    ids = tok(t)["input_ids"]
    lost = [score(model, ids) - score(model, without(tok, t, i)) for i in range(len(ids))]
    lost[0] = lost[-1] = 0.0
    off = sum(abs(v - w) for v, w in zip(a.values[0].tolist(), lost, strict=True))
    assert "lattice" not in a.rules[0]
    assert a.converged.all()
    assert off <= 0.01 * sum(map(abs, lost))


def test_a_text_of_nothing_but_the_baseline_gets_nothing(bert):
    for name in ("sequential_ig", "occlusion", "greedy", "integrated_gradients"):
        for a in explain(bert, ["Xyz", "the day"], RECIPES[name], baseline=text.Unknown())[:1]:
            assert not a.values.any()
            assert a.converged.all()
            assert torch.equal(a.output, a.baseline_output)


# ------------------------------------------------------------------ Shapley values


def by_hand(bert, tok, t):
    """Shapley's formula over all subsets of the words of a text."""
    ids = tok(t)["input_ids"]
    words = range(1, len(ids) - 1)
    f = {
        s: score(bert, [v if i in (0, len(ids) - 1, *s) else 4 for i, v in enumerate(ids)])
        for size in range(len(ids) - 1)
        for s in itertools.combinations(words, size)
    }
    n = len(ids) - 2
    weight = [math.factorial(k) * math.factorial(n - k - 1) / math.factorial(n) for k in range(n)]
    found = [0.0] * len(ids)
    for s, i in itertools.product(f, words):
        if i not in s:
            found[i] += weight[len(s)] * (f[tuple(sorted((*s, i)))] - f[s])
    return found


def test_shapley_values_are_those_of_the_formula(bert):
    tok = tokenizer()
    (a,) = explain(bert, "who wrote the play", RECIPES["shapley_path"], tok)
    expected = by_hand(bert, tok, "who wrote the play")
    assert a.values[0].tolist() == pytest.approx(expected, abs=1e-9)


def test_tokens_that_stay_are_no_players(bert):
    five = "who wrote the play of"
    (a,) = explain(bert, five, RECIPES["shapley_path"])
    (b,) = explain(bert, five, RECIPES["random orders"])
    both_ends = 4  # read, and asked for the certificate
    # of the seven tokens [CLS] and [SEP] have no subsets
    assert int(a.forwards) - both_ends == 2**5
    assert int(b.forwards) - both_ends == 6 * 4 + 2
    twelve, tok = " ".join(["day"] * 12), tokenizer(longest=20)
    (c,) = explain(bert, twelve, RECIPES["shapley_path"], tok)
    assert float(c.residual.abs()) < 1e-9
    with pytest.raises(ig.InputError, match="name a number of random orders"):
        explain(bert, f"{twelve} day", RECIPES["shapley_path"], tok)


def test_random_orders_are_near_the_exact_values_and_say_how_near(bert):
    recipe = m.shapley_path(axis=1, samples=200)
    (a,) = explain(bert, THREE[0], recipe)
    (b,) = explain(bert, THREE[0], RECIPES["shapley_path"])
    off = (a.values - b.values).abs()
    assert bool((off <= 5 * a.error_map).all())
    assert float(off.sum()) > 0


# ------------------------------------------------------------------ IDGI, Left


def test_squared_shares_are_of_all_features_specials_too(bert):
    for a in explain(bert, THREE, RECIPES["idgi"]):
        assert a.converged.all()
        assert a.values[0, 0].abs() > 0  # [CLS] does not move, and has a gradient
        assert a.rules[0].startswith("SquaredShares")


def test_squared_shares_at_any_number_of_panels_add_up(bert):
    recipe = m.idgi(quadrature=ig.PanelAveraged(4, rtol=9.0))
    for a in explain(bert, THREE, recipe):
        assert abs(float(a.residual)) < 1e-12


def test_left_stops_where_its_share_is_reached(bert):
    for a in explain(bert, THREE, m.left_ig(0.5, quadrature=FINE)):
        way = 0.5 * float(a.output - a.baseline_output)
        # baseline_output is f(baseline) only on a whole way; here it is f where the way begins
        assert total(a) == pytest.approx(way, rel=2e-3)


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("recipe", "error", "said"),
    [
        (m.smooth_grad(), ig.Unsupported, "smooth_grad adds noise to x"),
        (m.var_grad(m.integrated_gradients()), ig.Unsupported, "token ids, which take none"),
        (m.saliency(), ig.Unsupported, "their sum says nothing of a token"),
        (m.mean_gradient(), ig.Unsupported, "mean_gradient is a gradient in each dimension"),
        (m.expected_gradients(), ig.InputError, r"begins at Gaussian\(.*no text's baseline"),
        (m.smooth_taylor(), ig.InputError, r"begins at Around\("),
        (m.blur_ig(), ig.InputError, "misses its start"),
        (m.guided_ig(baseline=torch.zeros(1, 3)), ig.InputError, "no text's baseline"),
    ],
    ids=lambda p: getattr(p, "name", None),
)
def test_recipes_that_are_not_for_texts_are_refused(bert, recipe, error, said):
    with pytest.raises(error, match=said):
        explain(bert, "the day", recipe)


def test_noise_on_whole_numbers_is_refused(bert):
    ids = torch.tensor([[2, 5, 3]])
    with pytest.raises(ig.Unsupported, match=r"SmoothGrad adds noise to x, and x is torch\.int64"):
        m.smooth_grad(m.integrated_gradients(ig.MaskToken(4), at="embedding"))(bert, ids)


def test_paths_that_follow_one_target_refuse_several(bert):
    for name in ("guided_ig", "left_ig"):
        with pytest.raises(ig.Unsupported, match="several were given"):
            explain(bert, THREE, RECIPES[name], target=ig.All())


@pytest.mark.parametrize("name", ["integrated_gradients", "guided_ig"])
def test_texts_above_their_tolerance_are_told_by_name(bert, name):
    recipe = RECIPES[name].but(quadrature=ig.LeftRiemann(2))
    call = {"baseline": text.Mask(), "recipe": recipe, "target": 1}
    with pytest.warns(ig.NotConverged, match="Who wrote the plays of day.*the day.*error") as told:
        text.explain(bert, tokenizer(), THREE, **call)
    assert len(told) == 1
    with pytest.raises(ig.NotConverged, match="Who wrote"):
        text.explain(bert, tokenizer(), THREE, **call, strict=True)


def test_an_answer_is_saved_with_the_path_it_took(bert, tmp_path):
    (a,) = explain(bert, "the day", RECIPES["greedy"])
    a.save(tmp_path / "a.safetensors")
    again = ig.Attribution.load(tmp_path / "a.safetensors")
    assert again.recipe.path == a.recipe.path
    assert torch.equal(again.values, a.values)


# ------------------------------------------------------------------ real checkpoints


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["sst_bert", "trec_bert"])
def test_real_classifiers_are_explained_by_every_recipe(data, checkpoint):
    hub = pytest.importorskip("intgrad.hub")
    found = hub.load(str(data / "hf" / checkpoint))
    texts = ["Who wrote a wonderful , moving film ?", "a bad play"]
    recipes = {
        "sequential_ig": m.sequential_ig(),
        "discretized_ig": m.discretized_ig(),
        "guided_ig": m.guided_ig(),
        "shapley_path": m.shapley_path(axis=1),
        "random orders": m.shapley_path(axis=1, samples=8),
        "occlusion": m.occlusion(),
        "idgi": m.idgi(),
        "left_ig": m.left_ig(),
    }
    for name, recipe in recipes.items():
        several = explain(found.model, texts, recipe, found.processor, target=None)
        for a, t in zip(several, texts, strict=True):
            (b,) = explain(found.model, t, recipe, found.processor, target=None)
            near = 2e-3 * float(b.values.abs().sum())
            assert torch.allclose(a.values, b.values, rtol=0, atol=near), name
            assert text.words(a).subjects[0].words[1:-1] == tuple(t.split())
            if a.residual is not None:
                assert abs(float(a.residual)) <= 0.01 * float(a.values.abs().sum())
            if name != "idgi":
                assert not a.values[0, [0, -1]].any()
    exact, word_by_word = (
        explain(found.model, texts, recipes[n], found.processor)
        for n in ("occlusion", "sequential_ig")
    )
    for a, b in zip(exact, word_by_word, strict=True):
        assert float((a.values - b.values).abs().sum()) <= 0.01 * float(b.values.abs().sum())

"""Texts: specials get 0, padding changes nothing, words sum their tokens."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn

import intgrad as ig
from intgrad import text

pytest.importorskip("transformers", reason='needs pip install "intgrad[text]"')

from tokenizers import models, pre_tokenizers
from transformers import (
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerFast,
)

from texts import seeded, small_bert, tokenizer

FEW = ig.GaussLegendre(6, rtol=1e3)  # whatever the error, nobody warns
BASELINES = [text.Mask(), text.Pad(), text.Unknown(), text.ZeroEmbedding()]
THREE = ["Who wrote the plays of day ?", "the day", "who [UNK] plays  Xyz, the day"]


class Slow:
    """The same tokenizer without offsets, as slow ones are."""

    is_fast = False

    def __init__(self, fast: PreTrainedTokenizerFast) -> None:
        self.fast = fast

    def __getattr__(self, name: str):
        return getattr(self.fast, name)

    def __call__(self, given, return_offsets_mapping=False, **more):
        assert not return_offsets_mapping
        return dict(self.fast(given, **more))


@pytest.fixture(scope="module")
def bert() -> nn.Module:
    return small_bert()


def explain(model, texts, tok=None, baseline=text.Mask(), **call):
    call = {"quadrature": FEW, "target": 1, **call}
    return text.explain(model, tok or tokenizer(), texts, baseline=baseline, **call)


def total(t: torch.Tensor) -> float:
    return float(t.double().sum())


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda b: type(b).__name__)
def test_values_are_complete_and_specials_get_exactly_nothing(bert, baseline):
    tok = tokenizer()
    for a, t in zip(explain(bert, THREE, tok, baseline), THREE, strict=True):
        enc = tok(t, return_tensors="pt", return_special_tokens_mask=True)
        special = enc.pop("special_tokens_mask")[0].bool()
        with torch.no_grad():
            scores = bert(**enc).logits[0]
        assert a.values.shape == (1, len(special))
        assert float(a.output) == pytest.approx(float(scores[1]), abs=1e-5)
        gap = total(a.values) - float(a.output - a.baseline_output) - float(a.residual)
        assert abs(gap) < 1e-5
        assert not a.values[0][special].any()
        assert a.values[0][~special].any()
        assert a.recipe.baseline == baseline


def test_the_baseline_is_what_its_name_says(bert):
    tok = tokenizer()
    ids = tok(THREE[0], return_tensors="pt")["input_ids"]
    middle = torch.ones_like(ids, dtype=torch.bool)
    middle[0, [0, -1]] = False
    table = bert.get_input_embeddings()
    for name, baseline in zip(("mask", "pad", "unk"), BASELINES, strict=False):
        swapped = torch.where(middle, getattr(tok, f"{name}_token_id"), ids)
        with torch.no_grad():
            expected = bert(input_ids=swapped).logits[0, 1]
        (a,) = explain(bert, THREE[0], tok, baseline)
        assert float(a.baseline_output) == pytest.approx(float(expected), abs=1e-5)
    with torch.no_grad():
        zeroed = torch.where(middle[..., None], torch.zeros(()), table(ids))
        expected = bert(inputs_embeds=zeroed).logits[0, 1]
    (a,) = explain(bert, THREE[0], tok, text.ZeroEmbedding())
    assert float(a.baseline_output) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("baseline", BASELINES, ids=lambda b: type(b).__name__)
def test_padding_changes_nothing_on_either_side(bert, side, baseline):
    tok = tokenizer(padding_side=side)
    for a, t in zip(explain(bert, THREE, tok, baseline), THREE, strict=True):
        (b,) = explain(bert, t, tok, baseline)
        assert a.values.shape == b.values.shape
        assert torch.allclose(a.values, b.values, atol=1e-5)
        assert torch.allclose(a.error, b.error, rtol=1e-3)
        assert a.subjects == b.subjects or a.subjects[0].words == b.subjects[0].words


def test_words_are_the_texts_own_characters(bert):
    a = explain(bert, THREE)
    first, last = a[0].subjects[0], a[2].subjects[0]
    assert first.tokens == (
        "[CLS]",
        "[UNK]",
        "wrote",
        "the",
        "play",
        "##s",
        "of",
        "day",
        "[UNK]",
        "[SEP]",
    )
    assert first.words == ("[CLS]", "Who", "wrote", "the", "plays", "of", "day", "?", "[SEP]")
    assert first.word_of == (0, 1, 2, 3, 4, 4, 5, 6, 7, 8)
    assert first.special == (True, *(False,) * 7, True)
    assert last.words == ("[CLS]", "who", "[UNK]", "plays", "Xyz", ",", "the", "day", "[SEP]")
    assert not any(last.special[1:-1])
    assert first.name == THREE[0]


def test_words_sum_their_tokens(bert):
    (a,) = explain(bert, THREE[0])
    w = text.words(a)
    assert w.values.shape == (1, 9)
    assert total(w.values) == pytest.approx(total(a.values), abs=1e-6)
    assert float(w.values[0, 4]) == pytest.approx(total(a.values[0, 4:6]), abs=1e-6)
    assert w.subjects[0].words == w.subjects[0].tokens == a.subjects[0].words
    assert torch.equal(text.words(w).values, w.values)


def test_words_are_parted_at_blanks_where_the_tokenizer_parts_none(bert):
    tok = tokenizer(ends=False)
    tok.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    vocabulary = {w: i for i, w in enumerate(["[UNK]", "▁the", "▁da", "y", "s"])}
    tok.backend_tokenizer.model = models.BPE(
        {**{c: i + 5 for i, c in enumerate("▁thead")}, **vocabulary, "▁t": 11, "▁th": 1, "▁the": 0},
        [("▁", "t"), ("▁t", "h"), ("▁th", "e")],
    )
    found = tok("the days", return_offsets_mapping=True)
    assert set(found.word_ids(0)) == {0}
    (a,) = explain(bert, "the days", tok, text.ZeroEmbedding())
    assert a.subjects[0].words == ("the", "days")


def test_a_slow_tokenizer_has_its_tokens_for_words(bert):
    slow = Slow(tokenizer())
    (a,), (b,) = explain(bert, THREE[0], slow), explain(bert, THREE[0])
    assert torch.equal(a.values, b.values)
    assert a.subjects[0].words == a.subjects[0].tokens == b.subjects[0].tokens
    assert a.subjects[0].special == (True, *(False,) * 8, True)


def test_targets_and_predictions_bear_the_names_of_classes(bert):
    (a,) = explain(bert, "the day", target=None)
    with torch.no_grad():
        scores = bert(**tokenizer()("the day", return_tensors="pt")).logits[0]
    best = int(scores.argmax())
    name = ("no", "yes", "so")[best]
    assert a.targets == (f"logit of '{name}' (class {best}, predicted)",)
    assert a.subjects[0].predictions[0] == (name, pytest.approx(float(scores.softmax(0)[best])))
    (a,) = explain(bert, "the day", labels=("a", "b", "c"))
    assert a.targets == ("logit of 'b' (class 1)",)


def test_every_class_at_once(bert):
    several = explain(bert, THREE, target=ig.All())
    for a, b in zip(several, explain(bert, THREE), strict=True):
        assert a.values.shape == (3, *b.values.shape)
        assert torch.allclose(a.values[1], b.values, atol=1e-5)
        assert torch.allclose(text.words(a).values[1], text.words(b).values, atol=1e-5)


def test_a_whole_recipe_may_be_given(bert):
    recipe = ig.Recipe("mine", text.Pad(), quadrature=FEW)
    (a,) = text.explain(bert, tokenizer(), "the day", baseline=None, recipe=recipe, target=1)
    (b,) = explain(bert, "the day", baseline=text.Pad())
    assert torch.equal(a.values, b.values)
    assert a.recipe.name == "mine"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_explained(bert, dtype):
    model = BertForSequenceClassification(bert.config).eval()
    model.load_state_dict(bert.state_dict())
    for a, b in zip(explain(model.to(dtype), THREE), explain(bert, THREE), strict=True):
        assert a.values.dtype == torch.promote_types(dtype, torch.float32)
        assert float((a.values - b.values).abs().max()) < 0.1 * float(b.values.abs().max())


def gpt(pad: int | None) -> nn.Module:
    size = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 20}
    config = GPT2Config(vocab_size=12, num_labels=3, pad_token_id=pad, bos_token_id=2,
                        eos_token_id=3, **size)  # fmt: skip
    return seeded(lambda: GPT2ForSequenceClassification(config))


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_causal_model_is_padded_where_its_positions_stay(side):
    model, tok = gpt(0), tokenizer(ends=False, padding_side=side)
    tok.model_input_names = ["input_ids", "attention_mask"]
    texts = ["who wrote the play", "the day"]
    for a, t in zip(explain(model, texts, tok), texts, strict=True):
        (b,) = explain(model, t, tok)
        assert torch.allclose(a.values, b.values, atol=1e-5)


class Leaky(nn.Module):
    """A model that takes padding for text."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 3)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        return self.embed(input_ids).mean(1)


def test_a_model_that_sees_padding_is_refused():
    with pytest.raises(ig.ModelError, match="padding changes the scores of a text"):
        explain(seeded(Leaky), THREE)
    assert len(explain(seeded(Leaky), ["the day", "of play"])) == 2


@pytest.mark.parametrize("given", [None, text.Mask, "mask", 0, ig.Zeros()])
def test_the_baseline_must_be_named(bert, given):
    with pytest.raises(
        ig.InputError, match=r"expected text\.Mask\(\), text\.Pad\(\), text\.Unknown\(\)"
    ):
        explain(bert, "the day", baseline=given)


def test_a_token_the_tokenizer_lacks_is_refused(bert):
    few = tokenizer(names=["[CLS]", "[SEP]", "[UNK]"])
    for baseline in (text.Mask(), text.Pad()):
        with pytest.raises(ig.InputError, match="this tokenizer has none"):
            explain(bert, "the day", few, baseline)
    with pytest.raises(ig.InputError, match="no padding token"):
        explain(bert, THREE, few, text.Unknown())
    assert len(explain(bert, ["the day", "of play"], few, text.Unknown())) == 2


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("", "text 0 is empty: ''"),
        (["the day", " \n\t"], "text 1 is empty"),
        ([], "there are no texts"),
        ([3], "text 0 is a int"),
        (["the day", "the " * 11], r"text 1 \(the the .*\) has 13 tokens, and the model takes 12"),
    ],
)
def test_texts_that_cannot_be_explained_are_refused(bert, texts, said):
    with pytest.raises(ig.InputError, match=said):
        explain(bert, texts)


def test_the_models_own_limit_counts_too(bert):
    tok = tokenizer()
    tok.model_max_length = int(1e30)
    with pytest.raises(ig.InputError, match="has 32 tokens, and the model takes 20"):
        explain(bert, "day " * 30, tok)


def test_what_does_not_fit_is_refused(bert):
    for more in ({"at": "bert.encoder"}, {"differentiable": True}):
        with pytest.raises(ig.Unsupported, match="explained at their embeddings"):
            explain(bert, "the day", **more)
    bert.train()
    try:
        with pytest.raises(ig.ModelError, match="training mode"):
            explain(bert, "the day")
    finally:
        bert.eval()
    (a,) = explain(bert, "the day")
    plain = ig.attribute(nn.Linear(3, 2), torch.rand(1, 3), target=0)
    for wrong in (plain, a.select([0, 0])):
        with pytest.raises(ig.InputError, match="words needs the attribution of one text"):
            text.words(wrong)


# ---------------------------------------------------------------------- real checkpoints


def fingerprint(model: nn.Module) -> str:
    state = b"".join(t.contiguous().numpy().tobytes() for t in model.state_dict().values())
    return hashlib.sha256(state).hexdigest()


@pytest.mark.data
def test_real_questions_are_explained_as_the_card_says(data):
    hub = pytest.importorskip("intgrad.hub")
    found = hub.load(str(data / "hf" / "trec_bert"))
    lines = (data / "text_trec" / "TREC_10.label").read_text("latin-1").splitlines()
    kinds, texts = zip(*(line.split(" ", 1) for line in lines[:60]), strict=True)
    before = fingerprint(found.model)
    several = text.explain(
        found.model, found.processor, texts, baseline=text.Mask(), quadrature=FEW
    )
    right = [
        a.subjects[0].predictions[0][0] == k.split(":")[0]
        for a, k in zip(several, kinds, strict=True)
    ]
    assert sum(right) >= 48  # 86.8 % on all 500
    for a, t in zip(several[:5], texts, strict=False):
        (b,) = text.explain(found.model, found.processor, t, baseline=text.Mask(), quadrature=FEW)
        assert torch.allclose(a.values, b.values, atol=1e-5)
        assert a.targets == b.targets
        gap = total(a.values) - float(a.output - a.baseline_output) - float(a.residual)
        assert abs(gap) < 1e-5
        assert " ".join(a.subjects[0].words[1:-1]).replace(" ", "") == t.replace(" ", "")
    assert fingerprint(found.model) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in found.model.modules())


@pytest.mark.data
def test_real_sentiment_comes_from_the_words_that_carry_it(data):
    hub = pytest.importorskip("intgrad.hub")
    found = hub.load(str(data / "hf" / "sst_bert"))
    (a,) = text.explain(found.model, found.processor, "A wonderful , moving film .",
                        baseline=text.Mask(), quadrature=ig.GaussLegendre(24, rtol=0.1))  # fmt: skip
    assert a.subjects[0].predictions[0][0] == "POSITIVE"
    w = text.words(a)
    assert w.subjects[0].words[int(w.values[0].argmax())] in ("wonderful", "moving")

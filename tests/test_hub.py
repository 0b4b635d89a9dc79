"""Checkpoints: what is loaded, how it is named, and what is never run."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest
import torch

import intgrad as ig

pytest.importorskip("transformers", reason='needs pip install "intgrad[text]"')

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.utils.logging import is_progress_bar_enabled

from intgrad import hub

PROCESSOR = {
    "image_processor_type": "MobileNetV1ImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 20},
    "resample": 2,
    "do_center_crop": True,
    "crop_size": {"height": 16, "width": 16},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}
SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


def bert_config(**more) -> BertConfig:
    return BertConfig(
        vocab_size=7, intermediate_size=8, id2label={0: "no", 1: "yes"}, **SMALL, **more
    )


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A small text classifier, on disk."""
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[MASK]", *"abcd"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
    place = tmp_path / "texts"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(place)
    BertForSequenceClassification(bert_config()).save_pretrained(place)
    return place


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A small picture classifier, on disk."""
    place = tmp_path / "pictures"
    config = ViTConfig(image_size=16, patch_size=8, intermediate_size=8, num_labels=3, **SMALL)
    ViTForImageClassification(config).save_pretrained(place)
    (place / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return place


def change_config(place: Path, **entries) -> None:
    file = place / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def test_a_text_classifier_is_loaded_with_its_tokenizer_and_labels(texts):
    found = hub.load(str(texts))
    assert (found.kind, found.labels, found.name) == ("text", ("no", "yes"), "texts")
    assert not found.model.training
    assert found.processor("a b").input_ids == [3, 4]


def test_a_picture_classifier_is_loaded_with_its_processor_and_can_be_explained(pictures):
    image = pytest.importorskip("intgrad.image")
    found = hub.load(str(pictures))
    assert (found.kind, found.labels) == ("image", ("LABEL_0", "LABEL_1", "LABEL_2"))
    picture = image.view.Image.new("RGB", (30, 40), (10, 200, 30))
    (a,) = image.explain(found.model, found.processor, picture)
    assert a.values.shape == (1, 3, 40, 30)
    assert "LABEL_" in a.targets[0]


def test_loading_is_silent_and_leaves_the_loggers_as_they_were(texts, capfd):
    loggers = [logging.getLogger(n) for n in ("transformers", "huggingface_hub")]
    before = [lg.level for lg in loggers], is_progress_bar_enabled()
    hub.load(str(texts))
    assert ([lg.level for lg in loggers], is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_pickled_weights_are_refused(texts):
    (texts / "model.safetensors").unlink()
    torch.save({}, texts / "pytorch_model.bin")
    with pytest.raises(ig.InputError, match=r"only pickled weights \(pytorch_model.bin\)"):
        hub.load(str(texts))


def test_a_directory_without_configuration_or_weights_is_refused(texts, tmp_path):
    with pytest.raises(ig.InputError, match=r"has no config\.json"):
        hub.load(str(tmp_path))
    (texts / "model.safetensors").unlink()
    with pytest.raises(ig.InputError, match="has no weights"):
        hub.load(str(texts))


def test_code_beside_the_weights_is_refused_and_never_imported(texts):
    ran = texts / "ran"
    (texts / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    mapped = {"AutoConfig": "evil.C", "AutoModelForSequenceClassification": "evil.M"}
    change_config(texts, model_type="evil", auto_map=mapped)
    with pytest.raises(ig.InputError, match="brings code of its own"):
        hub.load(str(texts))
    change_config(texts, model_type="bert")
    assert type(hub.load(str(texts)).model) is BertForSequenceClassification
    assert not ran.exists()


def test_an_unknown_kind_of_model_is_refused(texts):
    change_config(texts, model_type="evil")
    with pytest.raises(ig.InputError, match="model_type 'evil'"):
        hub.load(str(texts))


@pytest.mark.parametrize("names", [["BertForMaskedLM"], [], None])
def test_what_is_no_classifier_is_refused_with_what_is_supported(texts, names):
    change_config(texts, architectures=names)
    with pytest.raises(ig.InputError, match=r"ForImageClassification.*ForSequenceClassification"):
        hub.load(str(texts))


def test_a_checkpoint_without_its_head_is_refused(texts):
    BertModel(bert_config()).save_pretrained(texts)
    change_config(texts, architectures=["BertForSequenceClassification"])
    with pytest.raises(ig.InputError, match=r"lacks \d+ weights .*classifier"):
        hub.load(str(texts))


def test_a_missing_processor_is_one_sentence(pictures):
    (pictures / "preprocessor_config.json").unlink()
    with pytest.raises(ig.InputError, match="cannot be loaded") as caught:
        hub.load(str(pictures))
    assert "\n" not in str(caught.value)


def test_no_network_is_one_sentence(monkeypatch):
    def fail(name: str):
        raise OSError("We couldn't connect to the hub.\nCheck your connection.")

    monkeypatch.setattr(hub.PretrainedConfig, "get_config_dict", fail)
    with pytest.raises(
        ig.InputError, match=r"'owner/name' cannot be loaded .*couldn't connect"
    ) as c:
        hub.load("owner/name")
    assert "\n" not in str(c.value)


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/place", "name", "", "a/b/c"])
def test_a_name_that_is_nothing_is_refused(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ig.InputError, match="is no directory"):
        hub.load(name)


FACTORY = """
from intgrad.hub import Checkpoint
def good(): return Checkpoint(len, len, ("a",), "text", "mine")
def wrong(): return 3
def odd(): return Checkpoint(len, len, ("a",), "sound", "mine")
def broken(): raise RuntimeError("no luck")
"""


def test_a_users_own_factory_is_called_from_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "own_factory.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert hub.load("own_factory:good").name == "mine"
    for name, said in [
        ("own_factory:wrong", "returned a int"),
        ("own_factory:odd", "kind 'sound'"),
        ("own_factory:broken", "no luck"),
        ("own_factory:none", "no attribute"),
        ("no_such_module_at_all:f", "No module named"),
    ]:
        with pytest.raises(ig.InputError, match=said):
            hub.load(name)
    assert sys.path == before
    monkeypatch.delitem(sys.modules, "own_factory")


LABELS = (
    "tench, Tinca tinca",
    "tiger cat",
    "tabby, tabby cat",
    "Egyptian cat",
    "crane",
    "crane bird",
)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [("3", 3), (" Tiger CAT ", 1), ("crane", 4), ("tabby", 2), ("egypt", 3), ("TINCA TINCA", 0)],
)
def test_a_class_is_found_by_number_name_synonym_or_part(wanted, index):
    assert hub.find_class(LABELS, wanted) == index


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("cat", r"3 classes: 'tiger cat' \(1\), 'tabby, tabby cat' \(2\), 'Egyptian cat' \(3\)"),
        ("tigre cat", r"not a class: there are 6, counted 0 to 5, among them 'tiger cat' \(1\)"),
        ("6", "not a class"),
        ("-1", "not a class"),
        ("", "not a class"),
    ],
)
def test_an_unclear_class_is_refused_with_the_nearest(wanted, said):
    with pytest.raises(ig.TargetError, match=said):
        hub.find_class(LABELS, wanted)


def test_a_number_that_is_no_index_may_be_a_name():
    assert hub.find_class(("7", "9"), "9") == 1
    assert hub.find_class(("1", "0"), "0") == 0


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "kind", "labels"),
    [
        ("mobilenet_v1_075", "image", 1000),
        ("trec_bert", "text", ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")),
        ("sst_bert", "text", ("NEGATIVE", "POSITIVE")),
    ],
)
def test_real_checkpoints_are_loaded(data, name, kind, labels):
    found = hub.load(str(data / "hf" / name))
    assert (found.kind, found.name) == (kind, name)
    assert labels in (found.labels, len(found.labels))
    assert {p.dtype for p in found.model.parameters()} == {torch.float32}


@pytest.mark.data
@pytest.mark.parametrize("name", ["multi30k_en_de", "stories260k"])
def test_real_checkpoints_of_another_kind_are_refused(data, name):
    with pytest.raises(ig.InputError, match="supported are classifiers"):
        hub.load(str(data / "hf" / name))

"""Attributions on disk: what is written comes back, and what is foreign is refused unread."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

import intgrad as ig
from intgrad import storage
from intgrad.attribution import Run
from intgrad.subject import Picture, Sentence
from nets import bytes_of, gelu_mlp, noise, relu_mlp

RULE = ig.GaussLegendre(12, rtol=1.0)
X = noise(3, 6)
NET = gelu_mlp()


def attribute(model, x, target=1, **call):
    return ig.attribute(model, x, target=target, **{"quadrature": RULE, **call})


PICTURES = tuple(
    Picture(
        f"cat {i}.jpg", torch.full((4, 5, 3), i, dtype=torch.uint8), (("cat", 0.75), ("dog", 0.25))
    )
    for i in range(3)
)
SENTENCES = tuple(
    Sentence(
        f"text {i}", ("[CLS]", "un", "##do", "é"), ("[CLS]", "undo", "é"), (0, 1, 1, 2),
        (True, False, False), (("positive", 0.5 + 0.1 * i),),
    )
    for i in range(3)
)  # fmt: skip

KINDS = {
    "tensor": lambda: attribute(NET, X),
    "tuple": lambda: attribute(lambda a, b: NET(a + b.square()), (X, noise(3, 6, seed=1))),
    "tuple of one": lambda: attribute(NET, (X,)),
    "dict": lambda: attribute(lambda b, a: NET(a + b.square()), {"b": X, "a": noise(3, 6, seed=1)}),
    "several targets": lambda: attribute(NET, X, ig.All()),
    "several targets of a dict": lambda: attribute(lambda a: NET(a), {"a": X}, ig.All()),
    "float64": lambda: attribute(gelu_mlp(dtype=torch.float64), X.double()),
    "bfloat16": lambda: attribute(gelu_mlp(dtype=torch.bfloat16), X.bfloat16()),
    "without residual": lambda: ig.methods.gradient_x_input()(NET, X, target=1),
    "a sum": lambda: attribute(NET, X).sum(-1),
    "a group": lambda: attribute(NET, X).group(torch.tensor([0, 0, 1, 1, 2, 2])),
    "some rows": lambda: attribute(NET, X).select([2, 0]),
    "one of several targets": lambda: attribute(NET, X, ig.All()).target(2),
    "at a layer": lambda: attribute(NET, X, at="1"),
    "a tensor as baseline": lambda: attribute(NET, X, baseline=torch.ones(1, 6)),
    "pictures": lambda: dataclasses.replace(attribute(NET, X), subjects=PICTURES),
    "sentences": lambda: dataclasses.replace(attribute(NET, X), subjects=SENTENCES),
    "live": lambda: attribute(NET, X, differentiable=True),
}


def leaves(tree):
    if tree is None or isinstance(tree, torch.Tensor):
        return [tree]
    return list(tree.values()) if isinstance(tree, dict) else list(tree)


def assert_same(a, b):
    for name in [f.name for f in dataclasses.fields(a)]:
        one, two = getattr(a, name), getattr(b, name)
        if name in ("values", "error_map") or isinstance(one, torch.Tensor):
            assert type(one) is type(two), name
            for p, q in zip(leaves(one), leaves(two), strict=True):
                assert p is q is None or (p.dtype, p.shape) == (q.dtype, q.shape), name
                assert p is None or bytes_of(p) == bytes_of(q), name
        elif name != "subjects":
            assert one == two, name
    if isinstance(a.values, dict):
        assert list(a.values) == list(b.values)
    assert len(a.subjects) == len(b.subjects)
    for one, two in zip(a.subjects, b.subjects, strict=True):
        assert type(one) is type(two)
        for name, value in vars(one).items():
            other = getattr(two, name)
            same = torch.equal(value, other) if name == "pixels" else value == other
            assert same, name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_comes_back(kind, tmp_path):
    a = KINDS[kind]()
    a.save(tmp_path / "a.safetensors")
    b = ig.Attribution.load(str(tmp_path / "a.safetensors"))
    assert_same(a, b)
    assert b.recipe == a.recipe
    if "tensor as" not in kind:
        assert repr(b) == repr(a)
    assert len(repr(b).splitlines()) <= 4
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_saved_recipe_gives_the_answer_again(tmp_path):
    a = attribute(NET, X, baseline=ig.Uniform(samples=2))
    a.save(tmp_path / "a")
    again = ig.Attribution.load(tmp_path / "a").recipe(NET, X, target=1)
    assert bytes_of(again.values) == bytes_of(a.values)


def test_a_tensor_lost_from_a_saved_recipe_says_so(tmp_path):
    attribute(NET, X, baseline=torch.ones(1, 6)).save(tmp_path / "a")
    recipe = ig.Attribution.load(tmp_path / "a").recipe
    with pytest.raises(ig.Unsupported, match=r"a tensor \(1, 6\).*cannot bring back"):
        recipe(NET, X, target=1)


def test_a_loaded_attribution_can_be_used_and_saved_again(tmp_path):
    a = attribute(NET, X, ig.All())
    a.save(tmp_path / "a")
    b = ig.Attribution.load(tmp_path / "a").sum(-1).target(1)
    assert torch.equal(b.values, a.sum(-1).target(1).values)
    b.save(tmp_path / "b")
    assert_same(b, ig.Attribution.load(tmp_path / "b"))


def test_the_same_picture_explained_twice_is_saved(tmp_path):
    a = dataclasses.replace(attribute(NET, X), subjects=(PICTURES[0],) * 3)
    a.save(tmp_path / "a")
    assert_same(a, ig.Attribution.load(tmp_path / "a"))


def test_several_attributions_share_a_file(tmp_path):
    whole = attribute(NET, X, ig.All())
    parts = [whole.target(k) for k in (0, 1)] + [whole, whole]
    ig.save_all(parts, tmp_path / "a")
    found = storage.load(tmp_path / "a", ig.Attribution, Run)
    for a, b in zip(parts, found, strict=True):
        assert_same(a, b)
    for a, b in zip(parts, ig.load_all(tmp_path / "a"), strict=True):
        assert_same(a, b)
    with pytest.raises(ig.InputError, match=r"4 attributions.*load_all"):
        ig.Attribution.load(tmp_path / "a")


def test_the_same_attribution_is_the_same_file(tmp_path):
    for name in "ab":
        attribute(NET, X).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_file_is_a_plain_safetensors_file(tmp_path):
    a = attribute(NET, X)
    a.save(tmp_path / "a")
    found = load_file(tmp_path / "a")
    assert torch.equal(found["0.values.0"], a.values)
    assert torch.equal(found["0.error"], a.error)


# ----------------------------------------------------------------------- what cannot be read


def test_a_missing_folder_is_a_sentence(tmp_path):
    with pytest.raises(ig.InputError, match=r"folder .*nowhere does not exist"):
        attribute(NET, X).save(tmp_path / "nowhere" / "a")


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_missing_file_is_a_sentence(tmp_path, name):
    with pytest.raises(ig.InputError, match="cannot be read"):
        ig.Attribution.load(tmp_path / name)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "a"
    attribute(relu_mlp(), X).save(path)
    return path


@pytest.mark.parametrize("left", [0, 5, 100, -1, -20])
def test_a_file_cut_short_is_refused(saved, left):
    saved.write_bytes(saved.read_bytes()[:left])
    with pytest.raises(ig.InputError, match="cannot be read as a safetensors file"):
        ig.Attribution.load(saved)


@pytest.mark.parametrize("content", [b"hello", b"\x00" * 64, b"{}" * 100, b"\xff" * 9])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ig.InputError, match="cannot be read as a safetensors file"):
        ig.Attribution.load(tmp_path / "a")


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "a")
    with pytest.raises(ig.InputError, match=r"no intgrad file of format 1.*save"):
        ig.Attribution.load(tmp_path / "a")


@pytest.mark.parametrize(
    "about",
    [
        "not json",
        "[]",
        "null",
        "{}",
        '{"format": 1}',
        '{"format": 1, "attributions": [{}]}',
        '{"format": 1, "attributions": 3}',
        '{"format": 99, "attributions": []}',
        '{"format": 1, "attributions": [{"structure": ["tensor", [], 1, 0]}]}',
        '{"format": 1, "attributions": []}',
    ],
)
def test_damaged_metadata_is_a_sentence(tmp_path, about):
    save_file({"weight": torch.zeros(3)}, tmp_path / "a", {"intgrad": about})
    with pytest.raises(ig.InputError, match=str(tmp_path)):
        ig.Attribution.load(tmp_path / "a")


@pytest.mark.parametrize("name", ["0.values.0", "0.error_map.0", "0.output", "0.error"])
def test_a_file_without_one_of_its_tensors_is_refused(saved, name):
    from safetensors import safe_open

    with safe_open(saved, "pt") as file:
        metadata = file.metadata()
        kept = {k: file.get_tensor(k) for k in file.keys() if k != name}  # noqa: SIM118
    save_file(kept, saved, metadata)
    with pytest.raises(ig.InputError, match="damaged"):
        ig.Attribution.load(saved)


def test_a_part_of_a_recipe_from_another_version_is_a_sentence_or_lost(saved):
    from safetensors import safe_open

    with safe_open(saved, "pt") as file:
        about = json.loads(file.metadata()["intgrad"])
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    about["attributions"][0]["recipe"]["quadrature"] = {"part": "GaussLegendre", "knots": 3}
    save_file(tensors, saved, {"intgrad": json.dumps(about)})
    found = ig.Attribution.load(saved)
    with pytest.raises(ig.Unsupported, match="GaussLegendre"):
        found.recipe(relu_mlp(), X)


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["INTGRAD_BOMB"],)


@pytest.mark.parametrize("write", [lambda b, f: pickle.dump(b, f), lambda b, f: torch.save(b, f)])
def test_a_pickle_is_refused_and_nothing_in_it_runs(tmp_path, monkeypatch, write):
    monkeypatch.setenv("INTGRAD_BOMB", str(tmp_path / "exploded"))
    with open(tmp_path / "a", "wb") as file:
        write(Bomb(), file)
    with pytest.raises(ig.InputError, match="cannot be read as a safetensors file"):
        ig.Attribution.load(tmp_path / "a")
    assert not (tmp_path / "exploded").exists()


# ------------------------------------------------------------------------ saving is all or nothing


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), MemoryError()])
def test_the_old_file_survives_a_save_that_fails(saved, monkeypatch, error):
    before = saved.read_bytes()

    def half(tensors, path, metadata):
        with open(path, "wb") as file:
            file.write(b"half")
        raise error

    monkeypatch.setattr(storage, "save_file", half)
    with pytest.raises(type(error)):
        attribute(relu_mlp(), 2 * X).save(saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == ["a"]


def test_saving_replaces_the_old_file(saved):
    a = attribute(relu_mlp(), 2 * X)
    a.save(saved)
    assert_same(a, ig.Attribution.load(saved))

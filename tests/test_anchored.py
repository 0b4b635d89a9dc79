"""Discretized IG: from word to word, monotone in every coordinate, and by hand where it can be."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn

import intgrad as ig
from intgrad.path import Greedy, MaxCount, neighbours
from intgrad.path.curve import bind_rows
from nets import noise

D = torch.float64
LINE = torch.arange(5, dtype=D)[:, None]  # the words 0, 1, 2, 3, 4 of one number each
STRATEGIES = [Greedy(), MaxCount()]
both = pytest.mark.parametrize("choose", STRATEGIES, ids=lambda s: type(s).__name__)


def knots(path, start, end):
    """The points (steps + 2, rows, ...) that a path goes through, from start to end."""
    curves = path.trace(None, bind_rows((start,), (end,)))
    assert curves.chain
    assert torch.equal(curves.row, torch.arange(len(end)).repeat(path.steps + 1))
    every = torch.arange(len(curves))
    (first,), (second,) = curves.start.take(every), curves.end.take(every)
    shape = (path.steps + 1, *end.shape)
    first, second = first.reshape(shape), second.reshape(shape)
    assert torch.equal(first[1:], second[:-1])
    return torch.cat([first, second[-1:]])


def walk(word, end, table, path):
    """The definition, one position and one number at a time: points from the word to the end."""
    at, last, m = list(word), min(range(len(table)), key=lambda v: far(table[v], word)), path.steps
    passed, points = {last}, [list(word)]
    for _ in range(m):
        near = sorted(
            (v for v in range(len(table)) if v != last and v not in path.skip),
            key=lambda v: (far(table[v], table[last]), v),
        )[: path.neighbours]
        left = [v for v in near if v not in passed and table[v] != end]
        if left:
            last = min(left, key=lambda v: cost(path.choose, table[v], at, end, m))
            passed.add(last)
            at = put(table[last], at, end, m)
        else:
            at = list(end)
        points.append(at)
    return [*points, list(end)]


def far(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def put(anchor, at, end, m):
    triples = zip(anchor, at, end, strict=True)
    return [a if min(z, b) <= a <= max(z, b) else z + (b - z) / m for a, z, b in triples]


def cost(choose, anchor, at, end, m):
    point = put(anchor, at, end, m)
    if isinstance(choose, Greedy):
        return far(anchor, point)
    return sum(a != p for a, p in zip(anchor, point, strict=True))


# ------------------------------------------------------------------ the way, by hand


@both
def test_words_on_the_way_are_passed_one_by_one(choose):
    path = ig.Anchored(LINE, steps=5, choose=choose)
    start, end = torch.zeros(1, 2, 1, dtype=D), torch.tensor([[[4.0], [2.0]]], dtype=D)
    found = knots(path, start, end)[:, 0, :, 0]
    # from 4 by way of 3, 2, 1; then none is left and the baseline, no anchor itself, is next
    assert found[:, 0].tolist() == [0, 0, 0, 1, 2, 3, 4]
    # from 2 by way of 1; then 3 and 4, outside, go a fifth of the way; then none is left
    assert found[:, 1].tolist() == pytest.approx([0, 0, 0, 0.64, 0.8, 1, 2], abs=1e-15)


def test_a_word_that_is_skipped_is_no_anchor():
    path = ig.Anchored(LINE, steps=3, skip=(2,))
    found = knots(path, torch.zeros(1, 1, 1, dtype=D), torch.full((1, 1, 1), 4.0, dtype=D))
    assert found.flatten().tolist() == [0, 0, 1, 3, 4]


def test_only_the_nearest_words_are_looked_at():
    table = torch.tensor([[0.0, 0], [10, 10], [-0.5, -0.5], [5, -4], [6, 6]], dtype=D)
    start, end = table[None, 1:2], table[None, :1]
    second = lambda **how: knots(ig.Anchored(table, 10, **how), start, end)[-2, 0, 0].tolist()  # noqa: E731
    # -0.5, -0.5 moves by 4.5 squared, in both coordinates; 5, -4 by 25, in one; 6, 6 lies inside
    assert second(neighbours=2) == [1, 1]
    assert second(neighbours=2, choose=MaxCount()) == [5, 1]
    assert second(neighbours=3) == second(neighbours=3, choose=MaxCount()) == [6, 6]
    assert second(neighbours=1, choose=MaxCount()) == [1, 1]


def test_of_ties_the_nearer_word_comes_first_and_then_the_earlier():
    table = torch.tensor([[0.0, 0], [9, 9], [2, 3], [3, 2], [1, 1]], dtype=D)
    way = knots(ig.Anchored(table, 2), table[None, 1:2], table[None, :1])[:, 0, 0]
    assert way[2].tolist() == [1, 1]  # all three lie inside; this one is the nearest
    other = table[[0, 1, 3, 2]]
    ways = [
        knots(ig.Anchored(t, 2), t[None, 1:2], t[None, :1])[2, 0, 0] for t in (table[:4], other)
    ]
    assert [w.tolist() for w in ways] == [[2, 3], [3, 2]]  # as far from 0: the earlier word


@settings(max_examples=60, deadline=None)
@given(
    seed=some.integers(0, 10**6),
    words=some.integers(3, 9),
    width=some.integers(1, 4),
    steps=some.integers(1, 6),
    near=some.integers(1, 9),
    skip=some.sampled_from([(), (0,)]),
    choose=some.sampled_from(STRATEGIES),
)
def test_the_way_is_what_its_definition_says(seed, words, width, steps, near, skip, choose):
    table = noise(words, width, seed=seed, dtype=D)
    path = ig.Anchored(table, steps, near, choose, skip)
    ids = torch.tensor([[1, 2], [2, 2]])
    start, end = table[torch.tensor([[0, 0], [1, 2]])], table[ids]
    found = knots(path, start, end).flip(0)
    for r, p in ((0, 0), (0, 1), (1, 0)):
        way = walk(end[r, p].tolist(), start[r, p].tolist(), table.tolist(), path)
        assert torch.allclose(found[:, r, p], torch.tensor(way, dtype=D), atol=1e-12)
    assert torch.equal(found[:, 1, 1], end[1, 1].expand(steps + 2, width))  # equal ends: it stays


@settings(max_examples=60, deadline=None)
@given(
    seed=some.integers(0, 10**6),
    steps=some.integers(1, 12),
    choose=some.sampled_from(STRATEGIES),
    dtype=some.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_no_coordinate_turns_back(seed, steps, choose, dtype):
    table = noise(12, 5, seed=seed).to(dtype)
    path = ig.Anchored(table, steps, choose=choose)
    start, end = noise(2, 3, 5, seed=seed + 1).to(dtype), table[torch.arange(6).reshape(2, 3)]
    found = knots(path, start, end)
    assert found.dtype == dtype
    assert torch.equal(found[0], start)
    assert torch.equal(found[-1], end)
    assert bool((found.diff(dim=0) * (end - start).sign() >= 0).all())
    assert path.monotone


# ------------------------------------------------------------------ the integral along it


def test_a_product_of_two_words_is_shared_as_by_hand():
    start, end = torch.zeros(1, 2, 1, dtype=D), torch.tensor([[[4.0], [2.0]]], dtype=D)
    path = ig.Anchored(LINE, steps=5)
    a = ig.attribute(lambda e: e[:, 0, 0] * e[:, 1, 0], end, baseline=start, path=path,
                     quadrature=ig.GaussLegendre(9))  # fmt: skip
    u, v = [0, 0, 0, 1, 2, 3, 4], [0, 0, 0, 0.64, 0.8, 1, 2]
    mine = lambda p, q: sum((p[k + 1] - p[k]) * (q[k + 1] + q[k]) / 2 for k in range(6))  # noqa: E731
    assert a.values.flatten().tolist() == pytest.approx([mine(u, v), mine(v, u)], abs=1e-12)
    assert float(a.values.sum()) == pytest.approx(8, abs=1e-12)
    assert abs(float(a.residual)) < 1e-12


class Reader(nn.Module):
    """Ids (n, L) -> scores (n, 2): a smooth mix of an embedding's rows."""

    def __init__(self, embedding: nn.Module, seed: int = 0) -> None:
        super().__init__()
        self.embedding = embedding
        width = embedding.embedding_dim
        self.a, self.b = (nn.Parameter(noise(width, 2, seed=seed + k).double()) for k in (7, 8))

    def forward(self, ids):
        e = self.embedding(ids)
        return torch.tanh(e @ self.a).sum(1) + (e.sum(1) @ self.b).square()


def reader(seed: int = 0, kind: type[nn.Embedding] = nn.Embedding, **how) -> Reader:
    embedding = kind(12, 4, **how).double()
    with torch.no_grad():
        embedding.weight.copy_(noise(12, 4, seed=seed))
    return Reader(embedding, seed).eval()


IDS = torch.tensor([[1, 5, 7, 2], [1, 6, 9, 2], [1, 11, 2, 0]])
HOW = {"target": 0, "baseline": ig.MaskToken(4, keep=(0, 1, 2)), "at": "embedding"}
SHORT = {"steps": 6, "neighbours": 5, "skip": (0, 1, 2, 4)}
GAUSS = ig.GaussLegendre(24)


@both
def test_values_are_complete_to_rounding_with_enough_nodes(choose):
    path = ig.Anchored(choose=choose, **SHORT)
    a = ig.attribute(reader(), IDS, path=path, quadrature=GAUSS, **HOW)
    assert bool((a.residual.abs() < 1e-10 * a.values.abs().sum((1, 2))).all())
    assert not a.values[IDS < 4].any()  # what stays gets exactly 0
    assert a.values[0, 1].abs().sum() > 0.1
    straight = ig.attribute(reader(), IDS, quadrature=GAUSS, **HOW)
    assert not torch.allclose(a.values, straight.values, rtol=0.05)


def test_by_default_it_stops_at_its_tolerance():
    path = ig.Anchored(**SHORT)
    a = ig.attribute(reader(), IDS, path=path, **HOW)
    truth = ig.attribute(reader(), IDS, path=path, quadrature=GAUSS, **HOW).values
    made = (a.values - truth).abs().sum((1, 2)) / truth.abs().sum((1, 2))
    assert a.converged.all()
    assert bool((made <= 0.01).all())


def test_the_words_are_those_of_the_models_own_layer():
    model = reader()
    own = ig.attribute(model, IDS, path=ig.Anchored(**SHORT), quadrature=GAUSS, **HOW)
    table = model.embedding.weight
    given_ = ig.attribute(model, IDS, path=ig.Anchored(table, **SHORT), quadrature=GAUSS, **HOW)
    assert torch.equal(own.values, given_.values)
    other = ig.Anchored(noise(12, 4, seed=5).double(), **SHORT)
    away = ig.attribute(model, IDS, path=other, quadrature=GAUSS, **HOW)
    assert not torch.allclose(away.values, own.values, rtol=0.01)


class Scaled(nn.Embedding):
    """An embedding that is multiplied inside its own layer."""

    def forward(self, ids):
        return 3 * super().forward(ids)


def test_a_layer_that_scales_its_table_gives_its_words_scaled():
    model = reader(kind=Scaled)
    own = ig.attribute(model, IDS, path=ig.Anchored(**SHORT), quadrature=GAUSS, **HOW)
    by_hand = ig.Anchored(3 * model.embedding.weight, **SHORT)
    assert torch.equal(
        own.values, ig.attribute(model, IDS, path=by_hand, quadrature=GAUSS, **HOW).values
    )


def test_a_layer_that_writes_into_its_table_is_left_as_it_was():
    model = reader(max_norm=1.0)
    before = model.embedding.weight.clone()
    words = ig.model.location.locate(model, "embedding").vocabulary()
    assert torch.equal(model.embedding.weight, before)
    assert float(words.norm(dim=1).max()) <= 1 + 1e-6


@both
def test_a_row_does_not_know_its_batch(choose):
    path = ig.Anchored(choose=choose, **SHORT)
    table = noise(12, 4, seed=0, dtype=D)
    start, end = table[torch.full_like(IDS, 4)], table[IDS]
    together = knots(replace(path, table=table), start, end)
    for i in range(len(IDS)):
        alone = knots(replace(path, table=table), start[i : i + 1], end[i : i + 1])
        assert torch.equal(alone[:, 0], together[:, i])
    a = ig.attribute(reader(), IDS, path=path, quadrature=GAUSS, **HOW)
    b = ig.attribute(reader(), IDS[1:2], path=path, quadrature=GAUSS, **HOW)
    assert torch.allclose(a.values[1], b.values[0], rtol=1e-12, atol=1e-13)


def test_a_table_larger_than_a_call_is_searched_in_parts(monkeypatch):
    path, table = ig.Anchored(noise(12, 4, dtype=D), **SHORT), noise(12, 4, dtype=D)
    whole = knots(path, table[torch.full_like(IDS, 4)], table[IDS])
    monkeypatch.setattr(neighbours, "HELD", 25)
    monkeypatch.setattr("intgrad.path.anchored.HELD", 45)
    assert torch.equal(knots(path, table[torch.full_like(IDS, 4)], table[IDS]), whole)


def test_precision_does_not_decide_which_words_are_passed():
    table = noise(40, 6, seed=3)
    path = ig.Anchored(table, 8, 10)
    start, end = table[None, :3], table[None, 5:8]
    assert torch.equal(knots(path, start, end), knots(path, start.double(), end.double()).float())


def test_equal_words_get_equal_values():
    ids = torch.tensor([[5, 7, 5]])
    a = ig.attribute(reader(), ids, path=ig.Anchored(**SHORT), quadrature=GAUSS, **HOW)
    assert torch.allclose(a.values[0, 0], a.values[0, 2], rtol=1e-12)


def test_values_are_linear_in_the_model():
    f, g = (lambda e, k=k: torch.sin(e * k).sum((1, 2)) + e.prod(1).sum(1) for k in (1.0, 2.0))
    table = noise(12, 4, dtype=D)
    parts = {"baseline": table[None, 4].expand(1, 3, 4), "path": ig.Anchored(table, **SHORT)}
    value = lambda h: ig.attribute(h, table[None, 5:8], quadrature=GAUSS, **parts).values  # noqa: E731
    assert torch.allclose(value(lambda e: 2 * f(e) - g(e)), 2 * value(f) - value(g), atol=1e-12)


def test_what_never_falls_on_the_way_has_no_negative_value():
    table = noise(12, 4, dtype=D)
    start, x = table[None, 4].expand(1, 3, 4), table[None, 5:8]
    slope = (x - start).sign() * noise(1, 3, 4, seed=9, dtype=D).abs()
    slope[:, 1, 2] = 0  # and a number that the model does not see
    rising = lambda e: torch.nn.functional.softplus((e * slope).sum((1, 2)))  # noqa: E731
    a = ig.attribute(rising, x, baseline=start, path=ig.Anchored(table, **SHORT), quadrature=GAUSS)
    assert bool((a.values >= 0).all())
    assert a.values[0, 1, 2] == 0
    assert a.values.count_nonzero() == 11


def test_a_text_that_is_its_own_baseline_gets_nothing():
    a = ig.attribute(reader(), torch.tensor([[1, 4, 2]]), path=ig.Anchored(**SHORT), **HOW)
    assert not a.values.any()
    assert a.converged.all()


# ------------------------------------------------------------------ a value


def test_paths_are_equal_by_what_they_hold():
    table = noise(5, 3)
    one, twin = ig.Anchored(table, skip=[1, 2]), ig.Anchored(table.clone(), skip=(1, 2))
    assert one == twin
    assert hash(one) == hash(twin)
    assert pickle.loads(pickle.dumps(one)) == one
    moved = table.clone()
    moved[0, 0] += 1e-3
    others = [ig.Anchored(moved, skip=(1, 2)), ig.Anchored(table), ig.Anchored(table.double()),
              replace(one, steps=31), replace(one, neighbours=9), replace(one, choose=MaxCount()),
              ig.Anchored(skip=(1, 2)), ig.Straight()]  # fmt: skip
    assert all(one != other for other in others)


def test_a_recipe_without_a_table_is_restored_and_one_with_it_says_what_was_lost():
    bare = ig.methods.discretized_ig(choose=MaxCount())
    again = ig.Recipe.restore(json.loads(json.dumps(bare.describe())))
    assert again == bare
    assert again.path == bare.path
    assert (bare.path.steps, bare.path.neighbours) == (30, 500)
    held = ig.methods.discretized_ig(noise(5, 3), steps=4)
    lost = ig.Recipe.restore(json.loads(json.dumps(held.describe())))
    assert lost == held
    assert "a tensor (5, 3)" in lost.path.description
    assert "4 steps, Greedy, the 500 nearest of 5 words" in str(held)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"steps": 0}, "whole number of at least 1"),
        ({"neighbours": 2.5}, "whole number of at least 1"),
        ({"skip": (-1,)}, "whole number of at least 0"),
        ({"choose": "greedy"}, r"expected Greedy\(\) or MaxCount\(\)"),
        ({"choose": Greedy}, r"expected Greedy\(\) or MaxCount\(\)"),
        ({"table": torch.ones(4)}, r"expected \(words, width\) real numbers"),
        ({"table": torch.ones(4, 2).long()}, "real numbers"),
        ({"table": torch.full((2, 2), torch.nan)}, "NaN"),
    ],
)
def test_what_is_no_path_is_refused(how, said):
    with pytest.raises(ig.InputError, match=said):
        ig.Anchored(**how)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (ig.Anchored(noise(5, 3)), r"words have 3 numbers, and x has shape \(3, 4, 4\)"),
        (ig.Anchored(skip=(12,)), "words are 0 to 11"),
        (ig.Anchored(skip=tuple(range(11))), "leaves none to go to"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(path, said):
    with pytest.raises(ig.InputError, match=said):
        ig.attribute(reader(), IDS, path=path, **HOW)


def test_a_table_too_large_to_look_for_neighbours_is_refused(monkeypatch):
    monkeypatch.setattr(neighbours, "MOST", 40)
    with pytest.raises(ig.InputError, match="12 words of 4 numbers is too large"):
        ig.attribute(reader(), IDS, path=ig.Anchored(), **HOW)


def test_without_an_embedding_layer_the_words_must_be_given():
    with pytest.raises(ig.Unsupported, match=r"ig\.Anchored\(table\)"):
        ig.attribute(lambda e: e.sum((1, 2)), torch.ones(1, 2, 3), path=ig.Anchored())
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    with pytest.raises(ig.Unsupported, match="features are at '0'"):
        ig.attribute(
            model, torch.ones(1, 2, 3), path=ig.Anchored(), at="0", target=lambda o: o[:, 0, 0]
        )
    x = torch.ones(1, 3), torch.ones(1, 3)
    with pytest.raises(ig.Unsupported, match="x has 2"):
        ig.attribute(lambda a, b: (a * b).sum(1), x, path=ig.Anchored(noise(5, 3)))


def test_gradients_flow_through_the_ends_of_the_way():
    model = reader()
    how = {"path": ig.Anchored(model.embedding.weight, **SHORT), "quadrature": GAUSS, **HOW}
    a = ig.attribute(model, IDS, differentiable=True, **how)
    assert torch.allclose(a.values, ig.attribute(model, IDS, **how).values, atol=1e-12)
    (slope,) = torch.autograd.grad(a.values.square().sum(), model.a)
    assert bool(slope.abs().sum() > 0)

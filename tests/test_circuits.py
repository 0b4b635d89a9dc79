"""Circuits: edges on paper, beside plain loops and finite differences; patched runs at both ends."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import intgrad as ig

pytest.importorskip("transformers", reason='needs pip install "intgrad[text]"')

import transformers as hf

from decoders import EXACT, KNOWN, LINEAR, SIZE, decoder, linear
from intgrad.inside import edges, faithfulness
from intgrad.inside.circuits.decoder import dissect
from intgrad.inside.circuits.edges import cuts
from intgrad.inside.circuits.export import quoted, to_dot
from intgrad.inside.circuits.graph import Graph
from intgrad.inside.circuits.patch import Patch
from intgrad.inside.circuits.result import Circuit
from intgrad.inside.circuits.runs import Uncached, moves, run, spread
from nets import untouched

with torch.random.fork_rng(devices=[]):
    torch.manual_seed(5)
    CLEAN, CORRUPT = torch.randint(3, 40, (2, 3, 5)).unbind()
FINE = ig.GaussLegendre(64, rtol=1)  # whatever the error, nobody warns
each_family = pytest.mark.parametrize("name", KNOWN)
each_exact = pytest.mark.parametrize("name", EXACT)


def target(out):
    return out.logits[:, -1, 3] - 2 * out.logits[:, -1, 5]


def scored(name, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ig.NotConverged)
        return edges(decoder(name), CLEAN, CORRUPT, target=target, **how)


def both_runs(name):
    model = Uncached(decoder(name))
    return (
        dissect(decoder(name)),
        model,
        *(run(dissect(decoder(name)), model, i, {}) for i in (CLEAN, CORRUPT)),
    )


def patched(name, weights):
    """The target with edges weighted, (k, edges) -> (k, rows)."""
    parts, model, _, before = both_runs(name)
    outs = (Patch(parts, before, parts.by_part(w))(model, CLEAN, {}) for w in weights)
    return torch.stack([target(o) for o in outs])


def close(a, b, name):
    """To rounding, relative to the largest."""
    slack = 1e-10 if name in EXACT else 2e-4
    return bool((a - b).abs().max() <= slack * b.abs().max())


# ---------------------------------------------------------------------- the graph


def test_gpt2_small_has_the_published_number_of_edges():
    with torch.device("meta"):
        model = hf.GPT2LMHeadModel(hf.GPT2Config())
    graph = dissect(model).graph
    assert len(graph) == 32_491
    assert len(graph.nodes) == 1 + 12 * 13 + 1


def test_shared_keys_and_values_are_read_once_a_group():
    graph = dissect(decoder("llama")).graph
    assert graph.readers[:9] == (
        *(f"a0.h{h}<q>" for h in range(4)),
        *("a0.h0-1<k>", "a0.h2-3<k>", "a0.h0-1<v>", "a0.h2-3<v>"),
        "m0",
    )
    assert [graph.nodes[n] for n in graph.serves[5]] == ["a0.h2", "a0.h3"]
    assert graph.names(graph.find("a0.h1", "a1.h0<q>")) == ("a0.h1", "a1.h0<q>")
    with pytest.raises(ValueError, match="no such edge"):
        graph.find("m0", "m0")


def test_parts_of_a_parallel_block_do_not_read_each_other():
    parallel, series = (dissect(decoder(n)).graph for n in ("neox", "neox in series"))
    assert len(series) - len(parallel) == 2 * 4
    with pytest.raises(ValueError, match="no such edge"):
        parallel.find("a0.h0", "m0")
    assert series.find("a0.h0", "m0") > 0


def test_a_state_space_model_is_a_chain_of_mixers():
    graph = dissect(decoder("mamba")).graph
    assert graph.nodes == ("input", "s0", "s1", "s2", "logits")
    assert len(graph) == 1 + 2 + 3 + 4


@each_family
def test_what_the_nodes_write_adds_up_to_what_each_part_reads(name):
    parts, _, clean, corrupt = both_runs(name)
    nodes = spread(parts, moves(clean, corrupt))
    for part, after, before in zip(parts.parts, clean.streams, corrupt.streams, strict=True):
        assert close(nodes[: part.upstream].sum(0), after - before, name)


LINKS = st.lists(st.booleans(), min_size=110, max_size=110)


def ways(graph, keep):
    """Edges on a way from the input to the logits, by following every way."""
    out = {}
    for e in keep.nonzero()[:, 0].tolist():
        for node in graph.serves[int(graph.reader[e])]:
            out.setdefault(int(graph.source[e]), []).append((node, e))
    last, found = len(graph.nodes) - 1, set()

    def follow(node, before):
        if node == last:
            found.update(before)
        for then, e in out.get(node, []):
            follow(then, [*before, e])

    follow(0, [])
    return found


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.05, 0.25))
def test_live_edges_are_those_on_a_way_through(seed, share):
    graph = dissect(decoder("llama")).graph
    keep = torch.rand(len(graph), generator=torch.Generator().manual_seed(seed)) < share
    assert set(graph.live(keep).nonzero()[:, 0].tolist()) == ways(graph, keep)


# ---------------------------------------------------------------------- patched runs


@each_family
def test_all_edges_are_the_clean_run_and_none_the_corrupted(name):
    parts, _, clean, corrupt = both_runs(name)
    ends = patched(name, torch.tensor([[1.0], [0.0]]).expand(2, len(parts.graph)))
    assert close(ends[0], target(clean.output), name)
    assert close(ends[1], target(corrupt.output), name)


@settings(max_examples=10, deadline=None)
@given(links=LINKS)
def test_edges_on_no_way_through_change_nothing(links):
    keep = torch.tensor(links) & (torch.arange(110) % 3 > 0)
    graph = dissect(decoder("gpt2")).graph
    both = patched("gpt2", torch.stack([keep, graph.live(keep)]).double())
    assert torch.allclose(both[0], both[1], atol=1e-10)


@each_exact
def test_a_score_at_the_clean_end_is_the_slope_of_the_edge_there(name):
    step, count = 1e-5, len(dissect(decoder(name)).graph)
    weights = 1 + step * torch.eye(count, dtype=torch.float64)
    slope = (patched(name, weights) - patched(name, 2 - weights)) / (2 * step)
    found = scored(name, quadrature=ig.At(1.0)).attribution.values
    assert torch.allclose(found.T, slope, atol=1e-6, rtol=1e-6)
    assert found.abs().max() > 0.1


def test_a_score_at_the_corrupted_end_is_that_of_the_pair_turned_round():
    a = scored("gpt2", quadrature=ig.At(0.0)).attribution.values
    b = edges(decoder("gpt2"), CORRUPT, CLEAN, target=target, quadrature=ig.At(1.0))
    assert torch.allclose(a, -b.attribution.values, atol=1e-12)


@pytest.mark.parametrize("name", ["llama", "qwen3", "mamba"])
def test_the_slopes_of_shared_heads_and_mixers_are_theirs_too(name):
    # float32 inside: a wide step, and what that allows
    step, count = 3e-3, len(dissect(decoder(name)).graph)
    weights = 1 + step * torch.eye(count, dtype=torch.float64)
    slope = (patched(name, weights) - patched(name, 2 - weights)) / (2 * step)
    found = scored(name, quadrature=ig.At(1.0)).attribution.values
    assert (found.T - slope).abs().max() < 2e-3 * found.abs().max()


@settings(max_examples=8, deadline=None)
@given(
    heads=st.sampled_from([1, 2, 4]),
    share=st.sampled_from([1, 2]),
    layers=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_whatever_the_heads_both_ends_and_every_cut_are_right(heads, share, layers, seed):
    sizes = {"num_attention_heads": heads, "num_key_value_heads": max(1, heads // share)}
    torch.manual_seed(seed)
    config = hf.LlamaConfig(**{**SIZE, **sizes, "num_hidden_layers": layers})
    model = hf.LlamaForCausalLM(config).eval()
    ask = {"target": target, "quadrature": ig.GaussLegendre(5, rtol=9), "path": ig.PushedForward()}
    a = edges(model, CLEAN, CORRUPT, **ask)
    over = torch.stack([a.attribution.values[:, cut].double().sum(1) for cut in cuts(a.graph)])
    assert len(over) == 2 * layers + 1
    assert (over - over[0]).abs().max() < 1e-3 * a.attribution.values.abs().sum(1).max()
    counts = (0, len(a))
    f = faithfulness(model, CLEAN, CORRUPT, target=target, ranking=a, counts=counts)
    with torch.no_grad():
        ends = [target(model(ids)) for ids in (CORRUPT, CLEAN)]
    assert torch.allclose(f.output[0], torch.stack(ends).double(), atol=1e-4)


def test_scores_are_linear_in_the_target():
    parts = {"a": lambda out: out.logits[:, -1, 3], "b": lambda out: out.logits[:, -1, 5]}
    how = {"quadrature": ig.GaussLegendre(5, rtol=9)}
    a, b = (
        edges(decoder("gpt2"), CLEAN, CORRUPT, target=t, **how).attribution.values
        for t in parts.values()
    )
    whole = edges(decoder("gpt2"), CLEAN, CORRUPT, target=target, **how).attribution.values
    assert torch.allclose(whole, a - 2 * b, atol=1e-10)


# ---------------------------------------------------------------------- what adds up


@each_family
def test_the_edges_out_of_the_input_make_the_whole_difference(name):
    found = scored(name, quadrature=ig.GaussLegendre(300))
    a, graph = found.attribution, found.graph
    gain = (a.output - a.baseline_output).double()
    sums = a.values[:, graph.source == 0].double().sum(1)
    assert torch.allclose(sums, gain, rtol=2e-3, atol=2e-3)
    assert torch.allclose(found.residual, sums - gain)
    into = a.values[:, graph.reader == len(graph.readers) - 1].double().sum(1)
    assert not torch.allclose(into, gain, rtol=2e-3, atol=2e-3)  # nothing holds that sum


@each_exact
def test_edge_conductance_makes_the_whole_difference_over_every_cut(name):
    found = scored(name, quadrature=FINE, path=ig.PushedForward())
    a = found.attribution
    several = list(cuts(found.graph))
    assert len(several) == (3 if name == "neox" else 5)
    sums = torch.stack([a.values[:, cut].sum(1) for cut in several])
    same = scored(name, quadrature=FINE).attribution.residual  # the same nodes, past all parts
    assert torch.allclose(sums, (a.output - a.baseline_output + same).expand_as(sums), atol=1e-9)
    last = a.values[:, found.graph.reader == len(found.graph.readers) - 1].sum(1)
    assert torch.allclose(last, sums[0], atol=1e-9)


def test_a_path_that_bends_has_edge_conductance_too():
    bow = lambda t, start, end: start + (2 * t - t * t) * (end - start)  # noqa: E731
    fine = ig.GaussLegendre(100, rtol=1)
    a, b = (
        scored("gpt2", quadrature=fine, path=ig.PushedForward(of=path))
        for path in (ig.Straight(), bow)
    )
    assert torch.allclose(a.attribution.values, b.attribution.values, atol=1e-5)  # the same way


def without(name, module, act):
    """The target on the clean prompts with one module's output that of the corrupted ones."""
    model, kept = decoder(name), []
    with torch.no_grad():
        hook = module.register_forward_hook(lambda m, args, out: kept.append(act(out)))
        model(CORRUPT)
        hook.remove()
        hook = module.register_forward_hook(lambda m, args, out: kept[0])
        found = target(model(CLEAN))
        hook.remove()
    return found


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_in_turn_the_edges_of_a_part_make_what_is_lost_with_it(name):
    model = decoder(name)
    found = scored(name, quadrature=ig.GaussLegendre(200), path=ig.inside.InTurn())
    layer = model.transformer.h[0] if name == "gpt2" else model.model.layers[0]
    heads = layer.attn.c_proj if name == "gpt2" else layer.self_attn.o_proj
    scores = dict(zip(found.graph.nodes, found.node_scores.T, strict=False))
    whole = found.attribution.output.double()
    for module, mine in ((layer.mlp, ["m0"]), (heads, [f"a0.h{h}" for h in range(4)])):
        lost = whole - without(name, module, lambda out: out.clone()).double()
        assert torch.allclose(sum(scores[n] for n in mine), lost, rtol=1e-3, atol=1e-3)


@each_exact
def test_edges_out_of_a_node_are_its_move_times_its_own_gradient(name):
    model = decoder(name)
    block = model.transformer.h[0] if name == "gpt2" else model.gpt_neox.layers[0]
    kept = []
    hook = block.mlp.register_forward_hook(lambda m, args, out: kept.append(out))
    target(model(CLEAN)).sum().backward(inputs=[model.get_input_embeddings().weight])
    model.get_input_embeddings().weight.grad = None
    kept.clear()
    values = target(model(CLEAN))
    (gradient,) = torch.autograd.grad(values.sum(), kept[0])
    model(CORRUPT)
    hook.remove()
    wanted = ((kept[0] - kept[1]) * gradient).sum((1, 2)).detach()
    found = scored(name, quadrature=ig.At(1.0))
    own = found.node_scores[:, found.graph.nodes.index("m0")]
    assert torch.allclose(own, wanted, atol=1e-10)


def test_in_a_linear_decoder_a_score_is_what_patching_the_edge_does():
    model = linear()
    how = {"target": lambda out: out[:, -1, 1], "family": LINEAR}
    count = 1 + 2 + 3 + 4
    found = edges(model, CLEAN, CORRUPT, quadrature=ig.At(1.0), **how)
    assert len(found) == count
    parts, plain = dissect(model, LINEAR), Uncached(model)
    before = run(parts, plain, CORRUPT, {})
    one_off = 1 - torch.eye(count, dtype=torch.float64)
    outs = [Patch(parts, before, parts.by_part(w))(plain, CLEAN, {}) for w in one_off]
    lost = torch.stack([found.attribution.output - o[:, -1, 1] for o in outs], 1)
    assert torch.allclose(found.attribution.values, lost, atol=1e-12)
    for rule in (ig.LeftRiemann(3), ig.Trapezoid(2), ig.GaussLegendre(4)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ig.NotConverged)  # too few nodes to know
            same = edges(model, CLEAN, CORRUPT, quadrature=rule, **how)
        assert torch.allclose(same.attribution.values, found.attribution.values, atol=1e-12)
    into = same.attribution.values[:, -4:].sum(1)
    assert torch.allclose(into, same.attribution.output - same.attribution.baseline_output)


# ---------------------------------------------------------------------- the published rule


def test_the_published_rule_is_its_plain_loop():
    # what MLPs and logits read is what goes into their norms; queries, keys and values of a block
    # together read what goes into theirs
    model, steps = decoder("gpt2"), 5
    norms = [n for b in model.transformer.h for n in (b.ln_1, b.ln_2)] + [model.transformer.ln_f]
    embed = model.get_input_embeddings()
    start, end = embed(CORRUPT).detach(), embed(CLEAN).detach()
    total = [0.0] * len(norms)
    for k in range(steps):
        seen = []

        def own(module, args, seen=seen):
            seen.append(args[0].clone())
            return (seen[-1],)

        hooks = [n.register_forward_pre_hook(own) for n in norms]
        point = (start + k / steps * (end - start)).requires_grad_()
        values = target(model(inputs_embeds=point))
        for hook in hooks:
            hook.remove()
        found = torch.autograd.grad(values.sum(), seen)
        total = [t + g / steps for t, g in zip(total, found, strict=True)]
    parts, _, clean, corrupt = both_runs("gpt2")
    nodes = spread(parts, moves(clean, corrupt))
    a = scored("gpt2", quadrature=ig.LeftRiemann(steps))
    assert "left Riemann, 5 nodes" in repr(a)
    for part, mine, gradient in zip(
        parts.parts, parts.by_part(a.attribution.values), total, strict=True
    ):
        wanted = torch.einsum("unld,nld->nu", nodes[: part.upstream], gradient)
        assert torch.allclose(mine.sum(1), wanted, atol=1e-9)


def test_the_clean_corrupted_variant_is_the_mean_of_both_ends():
    low, high, mean = (
        scored("gpt2", quadrature=q).attribution.values
        for q in (ig.At(0.0), ig.At(1.0), ig.Trapezoid(2))
    )
    assert torch.allclose(mean, (low + high) / 2, atol=1e-12)


def test_the_default_rule_meets_its_tolerance_and_says_so():
    found = edges(decoder("gpt2"), CLEAN, CORRUPT, target=target)
    a = found.attribution
    assert bool(a.converged.all())
    fine = scored("gpt2", quadrature=ig.GaussLegendre(200)).attribution.values
    off = (a.values - fine).abs().sum(1) / fine.abs().sum(1)
    assert bool((off <= a.error).all())
    assert bool((a.error <= 0.05).all())
    said = repr(found)
    assert "110 edges from 11 nodes" in said
    assert "Gauss-Patterson, " in said


# ---------------------------------------------------------------------- rows, and the user's model


@pytest.mark.parametrize("path", [ig.Straight(), ig.PushedForward(), ig.inside.InTurn()])
def test_rows_do_not_depend_on_each_other_nor_on_the_width(path):
    how = {"target": target, "quadrature": ig.GaussLegendre(6, rtol=9), "path": path}
    model = decoder("gpt2")
    whole = edges(model, CLEAN, CORRUPT, **how).attribution.values
    narrow = edges(model, CLEAN, CORRUPT, width=1, **how).attribution.values
    alone = edges(model, CLEAN[1:2], CORRUPT[1:2], **how).attribution.values
    assert torch.allclose(whole, narrow, atol=1e-10)
    assert torch.allclose(whole[1:2], alone, atol=1e-10)


def test_faithfulness_does_not_depend_on_the_width():
    ranking = scored("gpt2", quadrature=ig.At(1.0))
    how = {"target": target, "ranking": ranking, "counts": (10, 60)}
    wide, narrow = (faithfulness(decoder("gpt2"), CLEAN, CORRUPT, width=w, **how) for w in (32, 2))
    assert torch.allclose(wide.output, narrow.output, atol=1e-10)


def test_padding_is_given_by_name_and_changes_nothing():
    mask = torch.ones_like(CLEAN)
    mask[:, 0] = 0
    pad = torch.zeros_like(CLEAN[:, :1])
    model = decoder("llama")  # rotary positions: only distances count
    how = {"target": target, "quadrature": ig.GaussLegendre(8, rtol=9)}
    ids, other = (torch.cat([pad, i[:, 1:]], 1) for i in (CLEAN, CORRUPT))
    padded = edges(model, ids, other, given={"attention_mask": mask}, **how)
    short = edges(model, CLEAN[:, 1:], CORRUPT[:, 1:], **how)
    size = short.attribution.values.abs().max()
    assert (padded.attribution.values - short.attribution.values).abs().max() < 1e-3 * size
    given_ = {"target": target, "ranking": short, "counts": (30,)}
    a = faithfulness(model, ids, other, given={"attention_mask": mask}, **given_)
    b = faithfulness(model, CLEAN[:, 1:], CORRUPT[:, 1:], **given_)
    assert torch.allclose(a.output, b.output, rtol=1e-3, atol=1e-3)


def test_a_state_space_model_has_layers_and_edges():
    model, how = decoder("mamba"), {"target": target, "baseline": CORRUPT}
    layers = ["backbone.layers.0.mixer", "backbone.layers.1"]
    path = ig.PushedForward(at="embedding")
    found = ig.attribute(model, CLEAN, at=layers, path=path, **how)
    gain = (found[layers[1]].output - found[layers[1]].baseline_output).double()
    assert torch.allclose(found[layers[1]].values.double().sum((1, 2)), gain, rtol=0.02, atol=0.02)
    inside = scored("mamba", quadrature=ig.GaussLegendre(300), path=ig.PushedForward())
    mixer = inside.node_scores[:, inside.graph.nodes.index("s0")]
    own = found[layers[0]].values.double().sum((1, 2))  # the layer's conductance
    assert torch.allclose(mixer, own, rtol=0.03, atol=0.03)


def test_edges_are_kept_in_a_file(tmp_path):
    found = scored("gpt2", quadrature=ig.GaussLegendre(4), path=ig.inside.InTurn())
    found.attribution.save(tmp_path / "edges.safetensors")
    again = ig.Attribution.load(tmp_path / "edges.safetensors")
    assert torch.equal(again.values, found.attribution.values)
    assert again.recipe == found.attribution.recipe
    assert (again.recipe.name, again.run.at) == ("edge_attribution", "embedding")


@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba"])
def test_the_model_is_left_as_it_was(name):
    model = decoder(name)
    before = CLEAN.clone()
    with untouched(model):
        found = scored(name, quadrature=ig.GaussLegendre(4), path=ig.PushedForward())
        scored(name, quadrature=ig.GaussLegendre(4), path=ig.inside.InTurn())
        with torch.inference_mode():
            faithfulness(model, CLEAN, CORRUPT, target=target, ranking=found, counts=(3,))
    assert torch.equal(before, CLEAN)

    def broken(out):
        raise RuntimeError("on purpose")

    with untouched(model), pytest.raises(RuntimeError, match="on purpose"):
        edges(model, CLEAN, CORRUPT, target=broken)
    with untouched(model), pytest.raises(RuntimeError, match="on purpose"):
        faithfulness(model, CLEAN, CORRUPT, target=broken, ranking=found, counts=(3,))


def test_a_hook_of_the_user_s_sees_only_calls_of_the_model():
    model, calls = decoder("gpt2"), []
    norm = model.transformer.h[1].ln_1
    hook = norm.register_forward_hook(lambda m, args, out: calls.append(tuple(out.shape)))
    found = scored("gpt2", quadrature=ig.At(1.0))
    faithfulness(model, CLEAN, CORRUPT, target=target, ranking=found, counts=(3,))
    hook.remove()
    assert {len(shape) for shape in calls} == {3}


# ---------------------------------------------------------------------- circuits and their faces


def test_faithfulness_runs_from_nothing_to_all():
    found = scored("gpt2", quadrature=FINE)
    ranking = {"ours": found, "same": found.scores.abs(), "chance": torch.rand(len(found))}
    how = {"target": target, "ranking": ranking, "counts": (0, 20, len(found))}
    f = faithfulness(decoder("gpt2"), CLEAN, CORRUPT, **how)
    assert f.names == ("ours", "same", "chance")
    assert torch.allclose(f.values[:, [0, 2]], torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert torch.equal(f.output[0], f.output[1])
    assert torch.allclose(f.clean, target(decoder("gpt2")(CLEAN)))
    kept = found.circuit(20)
    assert int(f.live[0, 1]) == len(kept) == int(kept.keep.sum())
    (alone,) = patched("gpt2", kept.keep.double()[None])
    assert torch.allclose(f.output[0, 1], alone, atol=1e-10)
    table = f.table().splitlines()
    assert table[0].split() == ["edges", "ours", "same", "chance"]
    assert table[3].split()[:3] == ["110", "1.000", "(110)"]
    assert len(f.plot().axes[0].lines) == 4


def test_nodes_are_ranked_too():
    model, found = decoder("llama"), scored("llama", quadrature=FINE)
    nodes = found.node_scores.mean(0).abs()
    ranking = {"ours": nodes, "first": -torch.arange(11.0)}
    how = {"target": target, "ranking": ranking, "counts": (0, 4, 10)}
    f = faithfulness(model, CLEAN, CORRUPT, **how)
    assert f.unit == "nodes"
    assert f.table().startswith("nodes")
    assert torch.allclose(f.values[:, 2], torch.ones(2, dtype=torch.float64), atol=1e-4)
    assert f.live[:, 2].tolist() == [82, 82]
    assert f.live[:, 0].tolist() == [1, 1]  # from the input to the logits
    # the first four are the heads of the first block: with the input they are all that reads
    graph = found.graph
    first = torch.zeros(len(graph))
    for e in range(len(graph)):
        source, reader = graph.names(e)
        heads = source == "input" or source.startswith("a0")
        first[e] = heads and (reader.startswith("a0") or reader == "logits")
    (alone,) = patched("llama", first[None])
    assert torch.allclose(f.output[1, 1], alone.double(), atol=1e-4)
    with pytest.raises(ig.InputError, match="n=11; expected 0 to 10, as there are 10 nodes"):
        faithfulness(model, CLEAN, CORRUPT, **{**how, "counts": (11,)})
    with pytest.raises(ig.InputError, match="ask for each kind by itself"):
        faithfulness(model, CLEAN, CORRUPT, **{**how, "ranking": {"a": nodes, "b": found}})
    with pytest.raises(ig.InputError, match="ranking is empty"):
        faithfulness(model, CLEAN, CORRUPT, **{**how, "ranking": {}})


def test_the_strongest_edges_are_named_with_their_errors():
    found = scored("llama", quadrature=FINE)
    (source, reader, score, error), *_ = found.top(3)
    e = found.graph.find(source, reader)
    assert score == float(found.scores[e])
    assert abs(score) == float(found.scores.abs().max())
    assert 0 <= error == float(found.errors[e])
    nodes = found.nodes()
    assert set(nodes) == set(found.graph.nodes[:-1])
    assert list(nodes.values()) == sorted(nodes.values(), key=lambda v: -abs(v))
    total = found.attribution.values.double().sum(1)
    assert torch.allclose(found.node_scores.sum(1), total)


def test_a_circuit_is_written_as_json_and_as_a_graph(tmp_path):
    kept = scored("llama", quadrature=FINE).circuit(40)
    said = json.loads(kept.to_json(tmp_path / "circuit.json"))
    assert said == json.loads((tmp_path / "circuit.json").read_text())
    assert len(said["edges"]) == len(kept) > 0
    assert [(e["from"], e["to"], e["score"]) for e in said["edges"]] == kept.edges()
    shared = [e for e in said["edges"] if "-" in e["to"]]
    assert shared
    assert all(len(e["into"]) == 2 for e in shared)
    assert said["nodes"] == kept.nodes()
    dot = kept.to_dot(tmp_path / "circuit.dot")
    assert (tmp_path / "circuit.dot").read_text() == dot
    assert dot.count("penwidth") == len(kept)
    assert dot.startswith("digraph circuit {")
    assert dot.endswith("}\n")
    assert "logits" in repr(kept)


def test_what_is_written_is_escaped():
    graph = Graph(("input", 'a"b', "logits"), ('a"b', "logits"), (1, 2), ((1,), (2,)))
    keep, scores = torch.tensor([True, False, True]), torch.tensor([1.0, 0.5, -2.0])
    dot = to_dot(Circuit(graph, keep, scores, 'say "x\\y"\nnow'))
    assert 'label="say \\"x\\\\y\\"\\nnow"' in dot
    assert '"input" -> "a\\"b"' in dot
    assert quoted("\\") == '"\\\\"'
    assert json.loads(Circuit(graph, keep, scores, '"').to_json())["target"] == '"'


def test_an_empty_circuit_has_no_edges():
    kept = scored("gpt2", quadrature=ig.At(1.0)).circuit(0)
    assert (len(kept), kept.edges(), kept.nodes()) == (0, [], ["logits"])
    assert "digraph" in kept.to_dot()


# ---------------------------------------------------------------------- what cannot be answered


def asked(model=None, clean=CLEAN, corrupt=CORRUPT, **how):
    how = {"target": target, **how}
    return edges(decoder("gpt2") if model is None else model, clean, corrupt, **how)


def test_prompts_must_be_pairs():
    with pytest.raises(
        ig.InputError, match=r"clean prompts are \(3, 5\) and corrupt ones \(3, 4\)"
    ):
        asked(corrupt=CORRUPT[:, :4])
    with pytest.raises(ig.InputError, match="corrupt is str; expected token ids"):
        asked(corrupt="Once upon a time")
    with pytest.raises(ig.InputError, match=r"clean is \(3, 5\); expected token ids"):
        asked(clean=CLEAN.float())


def test_there_must_be_something_to_explain():
    with pytest.raises(ig.InputError, match=r"on the clean prompt of row 0.*nothing to explain"):
        asked(corrupt=CLEAN)
    same_first = torch.cat([CLEAN[:, :1], CORRUPT[:, 1:]], 1)
    with pytest.raises(ig.InputError, match="there is nothing to explain"):
        asked(corrupt=same_first, target=lambda out: out.logits[:, 0, 3])
    with pytest.raises(ig.InputError, match="there is nothing to explain"):
        asked(target=lambda out: out.logits.new_ones(len(out.logits)))
    how = {"target": target, "ranking": torch.rand(110), "counts": (3,)}
    with pytest.raises(ig.InputError, match="there is nothing to explain"):
        faithfulness(decoder("gpt2"), CLEAN, CLEAN, **how)


def test_a_model_must_be_a_decoder_whose_parts_are_known():
    with pytest.raises(ig.Unsupported, match=r"Linear is no decoder.*family=ig.inside.Family"):
        asked(nn.Linear(3, 3))
    with pytest.raises(ig.Unsupported, match="function is no decoder"):
        asked(lambda ids: ids)
    with pytest.raises(ig.Unsupported, match="the one given has 'blocks'"):
        asked(family=LINEAR)
    with pytest.raises(ig.Unsupported, match=r"pass model\._orig_mod"):
        asked(torch.compile(decoder("gpt2"), backend="eager"))


def test_a_family_names_its_embedding_where_there_are_several():
    class Placed(nn.Module):
        def __init__(self, of):
            super().__init__()
            self.words, self.places, self.of = of.embedding, nn.Embedding(5, 6).double(), of
            del of.embedding

        def forward(self, ids):
            x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
            for block in self.of.blocks:
                x = x + block["body"](block["norm"](x))
            return self.of.head(self.of.norm(x))

    family = replace(LINEAR, blocks="of.blocks", norm="of.norm")
    how = {"target": lambda out: out[:, -1, 1], "quadrature": ig.At(1.0)}
    model = Placed(linear())
    with pytest.raises(ig.InputError, match="one embedding layer; the model has words, places"):
        edges(model, CLEAN, CORRUPT, family=family, **how)
    found = edges(model, CLEAN, CORRUPT, family=replace(family, embedding="words"), **how)
    same = edges(linear(), CLEAN, CORRUPT, family=LINEAR, **how)
    assert torch.allclose(found.attribution.values, same.attribution.values, atol=1e-12)


def test_parts_that_do_not_add_up_are_refused():
    with pytest.raises(ig.ModelError, match=r"does not add up.*as in Gemma 2"):
        asked(decoder("gemma2"))


def test_a_model_in_training_mode_is_refused():
    model = decoder("gpt2").train()
    try:
        with pytest.raises(ig.ModelError, match="training mode"):
            asked(model)
        with pytest.raises(ig.ModelError, match="training mode"):
            faithfulness(model, CLEAN, CORRUPT, target=target, ranking=torch.rand(110), counts=(1,))
    finally:
        model.eval()


def test_a_target_is_one_number_a_row():
    with pytest.raises(ig.TargetError, match="needs"):
        asked(target=3)
    two = [target, lambda out: out.logits[:, -1, 4]]
    with pytest.raises(ig.Unsupported, match="one target"):
        asked(target=two)
    how = {"ranking": torch.rand(110), "counts": (3,)}
    with pytest.raises(ig.Unsupported, match="one target"):
        faithfulness(decoder("gpt2"), CLEAN, CORRUPT, target=two, **how)
    unit = ig.Unit("transformer.h.0", (0, 0))
    with pytest.raises(ig.Unsupported, match="reads a layer"):
        faithfulness(decoder("gpt2"), CLEAN, CORRUPT, target=unit, **how)
    with pytest.raises(ig.Unsupported, match="reads a layer"):
        asked(target=unit)


def test_paths_and_rules_that_have_no_edges_are_refused():
    for wrong in ("straight", ig.Guided(), ig.Straight):
        with pytest.raises(ig.Unsupported, match=r"edges know ig.Straight\(\)"):
            asked(path=wrong)
    with pytest.raises(ig.InputError, match="quadrature=5 is not understood"):
        asked(quadrature=5)
    for wrong in (ig.Exact(), ig.Differences(), ig.PanelAveraged()):
        with pytest.raises(ig.Unsupported):
            asked(quadrature=wrong)
    mask = {"attention_mask": torch.ones(2, 5)}
    how = {"target": target, "ranking": torch.rand(110), "counts": (1,), "given": mask}
    with pytest.raises(ig.InputError, match="mask"):
        faithfulness(decoder("gpt2"), CLEAN, CORRUPT, **how)


def test_a_number_of_edges_is_within_the_graph():
    found = scored("gpt2", quadrature=ig.At(1.0))
    for wrong in (111, -1, 2.5):
        with pytest.raises(ig.InputError, match=r"n=(111|-1|2\.5)"):
            found.circuit(wrong)
    for wrong in ((111,), (-1,), (2.5,), ()):
        with pytest.raises(ig.InputError, match="expected"):
            faithfulness(
                decoder("gpt2"), CLEAN, CORRUPT, target=target, ranking=found, counts=wrong
            )


def test_a_ranking_is_of_this_model_s_edges():
    other = scored("mamba", quadrature=ig.At(1.0))
    for wrong, said in ((other, "10 edges"), (torch.rand(3), r"a tensor \(3,\)"), ([1], "list")):
        with pytest.raises(ig.InputError, match=f"ranking is {said}.*expected Edges of this model"):
            faithfulness(decoder("gpt2"), CLEAN, CORRUPT, target=target, ranking=wrong, counts=(1,))


def test_heads_are_cut_by_the_configuration():
    class Bare(nn.Module):
        def __init__(self, of):
            super().__init__()
            self.transformer = of.transformer

        def get_input_embeddings(self):
            return self.transformer.wte

        def forward(self, ids):
            return self.transformer(ids)

    with pytest.raises(ig.Unsupported, match=r"no config\.num_attention_heads"):
        asked(Bare(decoder("gpt2")))


def test_quantised_weights_have_no_edges():
    class Odd(nn.Module):
        def forward(self, x):
            return x

    model = hf.LlamaForCausalLM(decoder("llama").config).eval()
    model.model.layers[0].self_attn.o_proj = Odd()
    with pytest.raises(ig.Unsupported, match="is a Odd; a head's edges need"):
        asked(model)


# ---------------------------------------------------------------------- a model that tells stories


@pytest.mark.data
def test_a_small_storyteller_s_pronoun_has_a_circuit(data):
    place = data / "hf" / "stories260k"
    if not place.is_dir():
        pytest.skip(f"there is no {place}")
    model = hf.AutoModelForCausalLM.from_pretrained(place).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(place)
    she, he = tokenizer.convert_tokens_to_ids(["▁She", "▁He"])
    text = "There was a little {} named {}."
    girl, boy = (
        torch.tensor([tokenizer(text.format(who, name))["input_ids"] for name in ("Tom", "Sam")])
        for who in ("girl", "boy")
    )
    asks = {"target": lambda out: out.logits[:, -1, she] - out.logits[:, -1, he]}
    found = edges(model, girl, boy, **asks)
    assert bool((found.attribution.output > 0).all())
    assert bool((found.attribution.baseline_output < 0).all())
    ranking = {"ours": found, "chance": torch.rand(len(found))}
    f = faithfulness(model, girl, boy, ranking=ranking, counts=(100, len(found)), **asks)
    assert f.values[0, 0] > 0.5 > f.values[1, 0]
    assert float(f.values[0, 1]) == pytest.approx(1, abs=1e-4)

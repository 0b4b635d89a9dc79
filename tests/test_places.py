"""Which layer is meant: inputs and outputs, calls, shared modules, all of them; and blocks and heads."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import intgrad as ig
from nets import Output, conv_net, gelu_mlp, noise, untouched
from test_layers import FINE, LOOSE, PUSHED, D, Twice, by_hand, gain, residual_net, seeded, sums


def conductance(net, x, at, **how):
    return ig.attribute(net, x, **{"target": 1, "path": PUSHED, "quadrature": FINE, **how}, at=at)


class Shared(nn.Module):
    """One module under two names, that writes into what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 5), nn.Linear(5, 3)
        self.act = self.other = nn.Hardtanh(-0.5, 0.5, inplace=True)

    def forward(self, x):
        return self.two(self.other(self.act(self.one(x)) * 2))


class Writes(nn.Module):
    """Gives a tensor to a layer, and writes into it afterwards."""

    def __init__(self, inplace=True) -> None:
        super().__init__()
        self.first, self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.inplace = inplace

    def forward(self, x):
        h = self.first(x)
        y = torch.tanh(self.body(h))
        h = h.add_(y) if self.inplace else h + y
        return self.head(torch.tanh(h))


class Named(nn.Module):
    """Its layers are called by keyword, and one of them returns a mapping."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(4, 5)

        def forward(self, *, scale, hidden):
            return Output(words=torch.tanh(self.line(hidden)) * scale, other=None)

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = Named.Inner(), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.inner(hidden=x, scale=2.0).words)


# ---------------------------------------------------------------------- what goes in


def test_what_goes_into_a_layer_is_what_the_one_before_puts_out():
    net, x = gelu_mlp(dtype=D), noise(3, 6, dtype=D)
    with untouched(net):
        found = conductance(net, x, ["1", "2:input", "2:output", "2"])
    assert torch.equal(found["2:input"].values, found["1"].values)
    assert torch.equal(found["2:output"].values, found["2"].values)
    assert found["2:input"].run.at == "2:input"
    own = ig.attribute(net, x, target=1, at=["1", "2:input"], quadrature=FINE)
    assert torch.equal(own["1"].values, own["2:input"].values)
    assert own["2:input"].recipe.at == "2:input"


def test_only_what_passes_through_the_layer_counts_not_what_passes_beside():
    net, x = residual_net(), noise(2, 3, 8, 8, dtype=D)
    found = conductance(net, x, ["body:input", "body", "relu1"], quadrature=LOOSE)
    # the body is linear, so its output gets what its input does; the way around it gets the rest
    assert torch.allclose(sums(found["body:input"]), sums(found["body"]), atol=1e-12)
    assert not torch.allclose(sums(found["body:input"]), sums(found["relu1"]), atol=1e-3)


def test_layers_that_write_into_what_they_are_given_are_seen_before_they_do():
    net, x = residual_net(), noise(2, 3, 8, 8, dtype=D)
    names = ["norm1", "relu1:input", "relu1", "relu2:input", "relu2"]
    with untouched(net):
        found = conductance(net, x, names, quadrature=LOOSE)
    copies = residual_net()
    copies.relu1.inplace = copies.relu2.inplace = False
    wanted = conductance(copies, x, names, quadrature=LOOSE)
    for name in names:
        assert torch.equal(found[name].values, wanted[name].values), name
    assert torch.equal(found["relu1:input"].values, found["norm1"].values)


@pytest.mark.parametrize("path", [PUSHED, ig.Straight()])
@pytest.mark.parametrize("at", ["body:input", "body"])
def test_whoever_gave_a_tensor_may_write_into_it_afterwards(at, path):
    x = noise(3, 4, dtype=D)
    found, wanted = (
        ig.attribute(net, x, target=1, at=at, path=path, quadrature=FINE)
        for net in (seeded(Writes), seeded(lambda: Writes(inplace=False)))
    )
    assert torch.allclose(found.values, wanted.values, atol=1e-12)


def test_a_layer_called_by_keyword_and_one_that_returns_a_mapping_are_reached():
    net, x = seeded(Named), noise(3, 4, dtype=D)
    found = conductance(net, x, ["inner:input", "inner", "head:input"])
    assert torch.equal(found["inner"].values, found["head:input"].values)
    whole = ig.attribute(net, x, target=1, quadrature=FINE)
    assert torch.allclose(found["inner:input"].values, whole.values, atol=1e-12)
    own = ig.attribute(net, x, target=1, at="inner", quadrature=FINE)
    assert torch.allclose(sums(own), gain(own), atol=1e-12)


def test_neurons_are_named_and_pruned_at_the_input_too():
    net, x = conv_net(dtype=D), noise(2, 3, 8, 8, dtype=D)
    units = (ig.Unit(at, (3, 1, 1)) for at in ("5:input", "4"))
    one, two = (ig.attribute(net, x, target=u, quadrature=LOOSE) for u in units)
    assert torch.equal(one.values, two.values)
    ranking = noise(1, 8, dtype=D)
    region = torch.ones(8, 8, dtype=torch.bool)
    how = {"ranking": ranking, "region": region, "target": 1, "quadrature": LOOSE}
    left = [ig.inside.prune(net, x, at=at, **how).output for at in ("5:input", "4")]
    assert torch.equal(*left)


# ---------------------------------------------------------------------- which call, which name


def test_every_call_has_an_input_and_a_straight_line_of_its_own():
    net, x = seeded(Twice), noise(3, 4, dtype=D)
    found = conductance(net, x, ["again#0:input", "again#1:input"])
    one = lambda z: torch.tanh(net.again(torch.tanh(net.first(z))))  # noqa: E731
    last = lambda h: net.head(torch.tanh(net.again(h)))[:, 1]  # noqa: E731
    wanted = by_hand(one, last, x, torch.zeros_like(x))
    assert torch.allclose(found["again#1:input"].values, wanted, atol=1e-12)
    own = ig.attribute(net, x, target=1, at="again#1:input", quadrature=FINE)
    ends = one(torch.zeros_like(x)), one(x)
    wanted = by_hand(lambda y: y, last, ends[1], ends[0])
    assert torch.allclose(own.values, wanted, atol=1e-12)
    assert torch.allclose(sums(own), gain(own), atol=1e-12)
    assert own.run.at == "again#1:input"


def test_a_shared_module_answers_to_every_name_it_has():
    net, x = seeded(Shared), noise(3, 4, dtype=D)
    with untouched(net):
        found = conductance(net, x, ["act", "other", "other#1", "two:input"], quadrature=LOOSE)
    assert torch.equal(found["act"].values, found["other"].values)
    assert torch.equal(found["two:input"].values, found["other#1"].values)
    own = ig.attribute(net, x, target=1, at=["act#0", "other#1"], quadrature=ig.Exact())
    assert torch.allclose(sums(own["other#1"]), gain(own["other#1"]), atol=1e-12)


def test_all_layers_are_every_call_that_has_a_say():
    net, x = seeded(Twice), noise(3, 4, dtype=D)
    with untouched(net):
        found = conductance(net, x, "all")
    assert list(found) == ["first", "again", "again#1", "head"]  # neither unused nor idle
    for a in found.values():
        assert torch.allclose(sums(a), gain(a), atol=1e-9)
    neuron = conductance(net, x, "all", target=ig.Unit("again#1", 0))
    assert list(neuron) == ["first", "again", "again#1"]
    bare = nn.Module()
    bare.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.raises(ig.ModelError, match="no layer without children is on the way"):
        conductance(bare.eval(), noise(2, 3, dtype=D), "all")


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("again", "one of its calls: again#0"),
        ("again:input", "one of its calls: again#0"),
        ("again#2", "expected 3, for calls are counted from 0"),
        ("again:inputs", "behind ':' stands input or output, as in again:input"),
        ("again#1:", "behind ':' stands input or output"),
        ("agan:input", "nearest are again"),
        (":input", "is no module"),
    ],
)
def test_what_is_no_layer_is_refused_with_what_to_write(at, said):
    net, x = seeded(Twice), noise(2, 4, dtype=D)
    with untouched(net), pytest.raises(ig.IntgradError, match=said):
        ig.attribute(net, x, target=0, at=at)


def test_a_layer_that_is_given_no_tensor_is_refused():
    class Deaf(nn.Module):
        def forward(self):
            return torch.ones(1, 3, dtype=D)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.deaf = Deaf()

        def forward(self, x):
            return x * self.deaf()

    with pytest.raises(ig.Unsupported, match="given no tensor"):
        conductance(seeded(Net), noise(2, 3, dtype=D), "deaf:input")


# ---------------------------------------------------------------------- the table


def test_layers_are_printed_a_line_each_with_a_sum_a_residual_and_an_error():
    net, x = residual_net(), noise(2, 3, 8, 8, dtype=D)
    quick = ig.Automatic(1e-2)
    found = ig.methods.conductance(["stem", "body", "head"], quadrature=quick)(net, x, target=1)
    title, head, *lines = repr(found).splitlines()
    low, high = sorted(gain(found["stem"]).tolist())
    assert title.startswith("conductance of 3 layers, 2 rows, target logit of class 1: f(x)")
    assert title.endswith(f"{low:.4g} to {high:.4g}")
    assert head.split() == ["layer", "shape", "sum", "residual", "error"]
    stem, body, last = lines
    assert stem.split()[:2] == ["stem", "6x8x8"]
    assert f"{float(found['stem'].residual.abs().max()):.1e}" in stem
    share = ((sums(found["body"]) - gain(found["body"])) / gain(found["body"])).abs().max()
    assert body.endswith(f"no cut: up to {float(share):.2g} of it passes beside")
    assert last.split()[:2] == ["head", "3"]
    with pytest.warns(ig.NotConverged):
        poor = ig.methods.conductance(["stem"], quadrature=ig.GaussLegendre(2))(net, x, target=1)
    assert repr(poor).endswith("NOT CONVERGED: 2 of 2")


def test_layers_of_several_targets_and_of_their_own_lines_are_printed_too():
    net, x = gelu_mlp(dtype=D), noise(2, 6, dtype=D)
    every = conductance(net, x, ["1", "3"], target=ig.All())
    assert len(repr(every).splitlines()) == 4
    own = ig.methods.layer_ig(["1", "3"])(net, x, target=1)
    assert repr(own).startswith("layer_ig of 2 layers, 2 rows")
    influence = ig.methods.internal_influence(["1"], quadrature=FINE)(net, x, target=1)
    assert "  -  " in repr(influence).splitlines()[-1]


def test_a_page_of_layers_names_each_of_them(tmp_path):
    net, x = residual_net(), noise(1, 3, 8, 8, dtype=D)
    found = ig.methods.conductance(["stem", "body"])(net, x, target=1)
    text = found.to_html(tmp_path / "layers.html")
    assert (tmp_path / "layers.html").read_text(encoding="utf-8") == text
    for name in found:
        assert f"conductance at {name}" in text
    assert "is no cut" in text


# ---------------------------------------------------------------------- blocks and heads by name


def test_heads_are_equal_parts_of_the_last_axis():
    net, x = gelu_mlp(dtype=D), noise(2, 6, dtype=D)
    a = conductance(net, x, "1", quadrature=ig.Automatic(1e-3))
    four = ig.inside.by_head(a, 4)
    assert torch.allclose(four.values, a.values.reshape(2, 4, 4).sum(2))
    assert torch.allclose(four.error_map, a.error_map.reshape(2, 4, 4).sum(2))
    assert torch.equal(four.residual, a.residual)
    every = ig.inside.by_head(conductance(net, x, "1", target=ig.All()), 2)
    assert every.values.shape == (4, 2, 2)
    for count in (3, 0, 2.0):
        with pytest.raises(ig.InputError, match=r"heads|count"):
            ig.inside.by_head(a, count)


def tiny(kind):
    """Random weights, two blocks, two heads: (model, prefix of a block, what heads go into, last block)."""
    hf = pytest.importorskip("transformers", reason='needs pip install "intgrad[text]"')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "bert":
            small = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
            config = hf.BertConfig(vocab_size=9, intermediate_size=16, num_labels=3, **small)
            net = hf.BertForSequenceClassification(config)
            names = "bert.encoder.layer.{}", "attention.output.dense"
        elif kind == "llama":
            small = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
            config = hf.LlamaConfig(
                vocab_size=9, intermediate_size=16, num_labels=3, pad_token_id=0, **small
            )
            net = hf.LlamaForSequenceClassification(config)
            names = "model.layers.{}", "self_attn.o_proj"
        else:
            config = hf.GPT2Config(
                vocab_size=9, n_embd=8, n_layer=2, n_head=2, num_labels=3, pad_token_id=0
            )
            net = hf.GPT2ForSequenceClassification(config)
            names = "transformer.h.{}", "attn.c_proj"
        for parameter in net.parameters():
            parameter.data.normal_(std=0.2)
    return net.double().eval(), *names


@pytest.mark.parametrize("kind", ["bert", "llama", "gpt2"])
def test_blocks_and_heads_of_transformers_are_reached_by_name(kind):
    net, block, projection = tiny(kind)
    ids, start = torch.tensor([[1, 4, 5, 2], [1, 6, 3, 2]]), torch.tensor([[1, 7, 7, 2]])
    before, through = f"{block.format(1)}.{projection}:input", f"{block.format(1)}.{projection}"
    names = [f"{block.format(0)}:input", block.format(0), block.format(1), before, through]
    how = {"target": 1, "baseline": start, "quadrature": ig.GaussLegendre(64, rtol=1e-3)}
    with untouched(net):
        found = ig.attribute(net, ids, at=names, path=ig.PushedForward(at="embedding"), **how)
    for name in names[:3]:  # the residual stream before and behind a block is a cut
        assert found[name].residual is not None, name
        assert torch.allclose(sums(found[name]), gain(found[name]), atol=1e-6), name
        assert found[name].values.shape == (2, 4, 8)
    heads = ig.inside.by_head(found[before], 2)
    assert heads.values.shape == (2, 4, 2)
    # the projection is affine and works word by word: its output gets what the heads did
    assert torch.allclose(heads.values.sum(2), found[through].values.sum(2), atol=1e-9)
    assert found[before].residual is None


@pytest.mark.data
@pytest.mark.parametrize("name", ["trec_bert", "stories260k"])
def test_trained_transformers_are_looked_into_by_name(data, name):
    hf = pytest.importorskip("transformers", reason='needs pip install "intgrad[text]"')
    kind = "Sequence" if name == "trec_bert" else "Causal"
    auto = {"Sequence": hf.AutoModelForSequenceClassification, "Causal": hf.AutoModelForCausalLM}
    net = auto[kind].from_pretrained(data / "hf" / name).eval()
    words = hf.AutoTokenizer.from_pretrained(data / "hf" / name)("Who was Galileo ?")["input_ids"]
    ids = torch.tensor([words])
    bert = name == "trec_bert"
    nothing = torch.full_like(ids[:, 2:], 4 if bert else 0)  # [MASK], or the unknown word
    start = torch.cat([ids[:, :1], nothing, ids[:, -1:]], 1)
    block = "bert.encoder.layer" if bert else "model.layers"
    before = "attention.output.dense" if bert else "self_attn.o_proj"
    target = None if bert else lambda output: output.logits[:, -1, 300]  # a next word
    names = [f"{block}.0:input", f"{block}.0", f"{block}.1", f"{block}.0.{before}:input"]
    found = ig.attribute(
        net,
        ids,
        at=names,
        target=target,
        baseline=start,
        path=ig.PushedForward(at="embedding"),
        quadrature=ig.Automatic() if bert else ig.GaussLegendre(100, rtol=math.inf),
    )
    for cut in names[:3]:
        assert found[cut].residual is not None
        norm = found[cut].values.abs().sum()
        assert float(found[cut].residual.abs().max()) < 1e-2 * norm, cut
    assert "no cut" in repr(found).splitlines()[-1]
    count = net.config.num_attention_heads
    assert ig.inside.by_head(found[names[-1]], count).values.shape == (1, ids.shape[1], count)

"""How a model is asked: what goes in, what comes out, what is computed for it, what it costs."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn

import intgrad as ig
from intgrad.errors import ModelError
from intgrad.model import TorchOracle
from nets import (
    Counted,
    Output,
    attention_net,
    bytes_of,
    conv_net,
    gelu_mlp,
    integrated_gradients,
    noise,
    relu_mlp,
    tiny_transformer,
    untouched,
)

NODES = 16
RULE = ig.GaussLegendre(NODES, rtol=1.0)
X = noise(3, 6)


def attribute(model, x, **call):
    return ig.attribute(model, x, **{"quadrature": RULE, **call})


def values_of(model, x, **call):
    return attribute(model, x, **call).values


# --------------------------------------------------------------------------------- what goes in


def product(a, b):
    return (a * b).sum(1)


def test_a_tensor_comes_back_as_a_tensor():
    values = values_of(gelu_mlp(), X)
    assert isinstance(values, torch.Tensor)
    assert values.shape == X.shape


def test_a_tuple_is_positional_and_comes_back_as_a_tuple():
    a, b = noise(3, 6), noise(3, 6, seed=1)
    found = attribute(product, (a, b))
    assert isinstance(found.values, tuple)
    for part in found.values:  # t^2 a b: each factor gets half
        assert torch.allclose(part, a * b / 2, atol=1e-6)


def test_a_list_counts_as_a_tuple():
    assert isinstance(values_of(product, [X, X]), tuple)


def test_a_dict_is_named_and_comes_back_as_a_dict_whatever_its_order():
    a, b = noise(3, 6), noise(3, 6, seed=1)

    def model(a, b):
        return (3 * a + b.square()).sum(1)

    found = values_of(model, {"b": b, "a": a})
    assert list(found) == ["b", "a"]
    assert torch.allclose(found["a"], 3 * a, atol=1e-5)
    assert torch.allclose(found["b"], b.square(), atol=1e-5)


def test_tensors_of_different_shapes_and_dtypes_go_together():
    def model(a, b):
        return a.sum(1).double() + b.square().sum((1, 2))

    found = values_of(model, (X, noise(3, 2, 4, seed=1, dtype=torch.float64)))
    assert [v.dtype for v in found] == [torch.float32, torch.float64]
    assert [v.shape for v in found] == [(3, 6), (3, 2, 4)]


def test_one_number_a_row_is_a_feature():
    x = torch.tensor([1.0, 2.0])
    assert torch.allclose(values_of(lambda x: x**3, x), torch.tensor([1.0, 8.0]))


# ------------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize(
    "wrap",
    [
        lambda out: (out,),
        lambda out: [out],
        lambda out: {"anything": out},
        lambda out: {"hidden": out * 7, "logits": out},
        lambda out: Output(loss=out.sum(), logits=out),
    ],
    ids=["tuple of one", "list of one", "dict of one", "dict with logits", "ModelOutput"],
)
def test_the_scores_are_found_in_the_output(wrap):
    net = gelu_mlp()
    want = values_of(net, X, target=1)
    assert torch.equal(values_of(lambda x: wrap(net(x)), X, target=1), want)


@pytest.mark.parametrize(
    ("wrap", "entry"),
    [
        (lambda out: (out * 2, out), 1),
        (lambda out: {"a": out * 2, "b": out}, "b"),
        (lambda out: Output(logits=out * 2, other=out), "other"),
    ],
)
def test_a_named_entry_is_taken(wrap, entry):
    net = gelu_mlp()
    for kind in (ig.Logit, ig.Probability, ig.LogProbability, ig.Margin):
        got = values_of(lambda x: wrap(net(x)), X, target=kind(2, entry=entry))
        assert torch.equal(got, values_of(net, X, target=kind(2)))
    got = values_of(lambda x: wrap(net(x)), X, target=ig.All(entry=entry))
    assert torch.equal(got, values_of(net, X, target=ig.All()))


# ---------------------------------------------------------------------------------------- given


@pytest.mark.parametrize("width", [None, 1, 2, 7, 64])
def test_extras_reach_their_own_rows(width):
    scale = torch.tensor([[2.0], [-3.0], [5.0]])

    def model(x, scale):
        return (scale * x).sum(1)

    for baseline in (None, noise(3, 6, seed=2), ig.Uniform(samples=4)):
        a = attribute(model, X, given={"scale": scale}, width=width, baseline=baseline)
        assert a.residual.abs().max() < 1e-4
        assert torch.allclose(a.output, (scale * X).sum(1).double())
    a = attribute(model, X, given={"scale": scale}, width=width)
    assert torch.allclose(a.values, scale * X, atol=1e-5)


def test_extras_go_with_a_dict_and_with_a_layer():
    scale = torch.tensor([[2.0], [-3.0], [5.0]])
    found = values_of(lambda x, scale: (scale * x).sum(1), {"x": X}, given={"scale": scale})
    assert torch.allclose(found["x"], scale * X, atol=1e-5)

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x, scale):
            return (scale * self.layer(x)).sum(1)

    model = Scaled().eval()
    a = attribute(model, X, at="layer", given={"scale": scale})
    assert torch.allclose(a.values, scale * (model.layer(X) - model.layer.bias), atol=1e-5)


def test_an_attention_mask_is_given_to_its_row():
    model = tiny_transformer()
    ids = torch.randint(1, 20, (2, 6), generator=torch.Generator().manual_seed(1))
    keep = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    call = {"at": "embedding", "baseline": ig.MaskToken(0), "target": 1}
    both = attribute(model, ids, given={"keep": keep}, **call)
    for row in range(2):
        one = slice(row, row + 1)
        alone = attribute(model, ids[one], given={"keep": keep[one]}, **call)
        assert torch.allclose(both.values[row], alone.values[0], atol=1e-5)


# ------------------------------------------------------------------------- the caller and the model


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("at", ["input", "2"])
def test_the_callers_mode_does_not_matter(mode, at):
    want = values_of(gelu_mlp(), X, at=at)
    with mode():
        assert torch.equal(values_of(gelu_mlp(), X.clone(), at=at), want)
        scaled = attribute(
            lambda x, s: gelu_mlp()(x * s), X * 1, given={"s": torch.ones(3, 1)},
            baseline=torch.zeros(1, 6), target=0,
        )  # fmt: skip
    assert not scaled.values.is_inference()
    assert torch.equal(scaled.values, values_of(gelu_mlp(), X, target=0))


@pytest.mark.parametrize("make", [gelu_mlp, conv_net])
def test_what_was_made_in_inference_mode_is_explained_outside_and_inside(make):
    x = noise(2, 6) if make is gelu_mlp else noise(2, 3, 8, 8)
    want = values_of(make(), x)
    with torch.inference_mode():
        model, inside = make(), x.clone()
        assert next(model.parameters()).is_inference()
        assert torch.equal(values_of(model, inside), want)
    with untouched(model):
        assert torch.equal(values_of(model, inside), want)


def test_frozen_models_are_explained_and_stay_frozen():
    want = values_of(conv_net(), noise(2, 3, 8, 8))
    model = conv_net().requires_grad_(False)
    with untouched(model):
        assert torch.equal(values_of(model, noise(2, 3, 8, 8)), want)


@pytest.mark.parametrize(
    ("dtype", "close"), [(torch.float64, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 6e-2)]
)
@pytest.mark.parametrize("at", ["input", "2"])
def test_models_of_other_dtypes_agree_with_float32(dtype, close, at):
    want = values_of(gelu_mlp(), X, target=1, at=at)
    got = attribute(gelu_mlp(dtype=dtype), X.to(dtype), target=1, at=at)
    assert got.values.dtype == torch.promote_types(dtype, torch.float32)
    assert (got.values - want).abs().sum() / want.abs().sum() < close
    assert got.run.dtype == str(dtype).removeprefix("torch.")


def test_a_float64_answer_is_complete_to_float64():
    x = X.double()
    a = attribute(gelu_mlp(dtype=torch.float64), x, quadrature=ig.GaussLegendre(64))
    assert a.residual.abs().max() < 1e-14


@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore::DeprecationWarning")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_models_agree(backend):
    torch.compiler.reset()
    net = gelu_mlp()
    compiled = torch.compile(net, backend=backend)
    with untouched(net):
        assert torch.allclose(values_of(compiled, X), values_of(net, X), atol=1e-6)
        want, got = (values_of(f, X, target=ig.All()) for f in (net, compiled))
        assert torch.allclose(got, want, atol=1e-6)
        call = {"target": 1, "differentiable": True}
        want, got = (loss_gradients(values_of(f, X, **call), net, X) for f in (net, compiled))
    assert all(torch.allclose(g, w, atol=1e-6) for g, w in zip(got, want, strict=True))
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore::DeprecationWarning")
def test_compiled_functions_agree():
    torch.compiler.reset()
    net = gelu_mlp()
    compiled = torch.compile(lambda x: net(x), backend="aot_eager")
    for target in (0, ig.All()):
        got, want = (values_of(f, X, target=target) for f in (compiled, net))
        assert torch.allclose(got, want, atol=1e-6)
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traced_models_agree():
    net = gelu_mlp()
    traced = torch.jit.trace(net, X)
    with untouched(net):
        assert torch.allclose(values_of(traced, X), values_of(net, X), atol=1e-6)


def test_functions_and_bound_methods_are_models():
    net = gelu_mlp()
    for model in (
        net.forward,
        lambda x: net(x),
        type("M", (), {"__call__": lambda s, x: net(x)})(),
    ):
        assert torch.allclose(values_of(model, X), values_of(net, X), atol=1e-6)


def test_tied_weights_count_once_and_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x).tanh())

    model = Tied().eval()
    with untouched(model):
        got = values_of(model, X, target=0)
    assert model.a.weight is model.b.weight
    w, bias = model.a.weight.detach(), model.a.bias.detach()
    want = values_of(lambda x: (x @ w.T + bias).tanh() @ w.T, X, target=0)
    assert torch.allclose(got, want, atol=1e-6)


def test_transforms_of_torch_func_inside_a_model_are_no_obstacle():
    net = gelu_mlp()
    slope = torch.func.grad(lambda row: net(row).sum())
    a = attribute(lambda x: torch.vmap(slope)(x), X, target=0)
    assert a.residual.abs().max() < 1e-5


# ------------------------------------------------------------------------------ parameters get no graph


class Spy(torch.autograd.Function):
    """x @ w.T, noting whether a gradient for w is asked for."""

    asked: ClassVar[list[bool]] = []

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(w)
        return x @ w.T

    @staticmethod
    def backward(ctx, gradient):
        Spy.asked.append(ctx.needs_input_grad[1])
        (w,) = ctx.saved_tensors
        return gradient @ w, gradient.sum(0)[:, None].expand_as(w)


class Watched(nn.Module):
    """Two layers whose weights say when their gradient or their `requires_grad` is touched."""

    def __init__(self):
        super().__init__()
        self.first, self.weight = nn.Linear(6, 6), nn.Parameter(torch.ones(2, 6))
        self.live = []

    def forward(self, x):
        self.live.append(self.first.weight.requires_grad)
        return Spy.apply(self.first(x).tanh(), self.weight)


def test_no_gradient_for_weights_is_computed_and_none_gets_a_graph():
    Spy.asked.clear()
    model, touched = Watched(), []
    for p in model.parameters():
        p.register_hook(touched.append)
    versions = [p._version for p in model.parameters()]
    attribute(model, X, target=0)
    assert Spy.asked
    assert not any(Spy.asked)
    assert not any(model.live)
    assert not touched
    assert all(p.requires_grad for p in model.parameters())
    assert [p._version for p in model.parameters()] == versions


def test_requires_grad_of_the_users_parameters_never_toggles():
    net = gelu_mlp()
    seen = set()
    own = list(net.parameters())

    def watch(x):
        seen.update(p.requires_grad for p in own)
        return net(x)

    attribute(watch, X)
    model = nn.Sequential(net)
    model.register_forward_pre_hook(lambda *_: seen.update(p.requires_grad for p in own))
    attribute(model, X)
    assert seen == {True}


def test_a_differentiable_call_asks_for_live_weights():
    Spy.asked.clear()
    model = Watched()
    attribute(model, X, target=0, differentiable=True)
    assert all(model.live)


# ---------------------------------------------------------------------------------- memory and width


def small(limit, model):
    """A model that fits no more than `limit` rows in memory at a time."""

    def call(x):
        if len(x) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return model(x)

    return call


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 20, 47])
@pytest.mark.parametrize("check", [True, False])
def test_a_call_that_does_not_fit_is_halved(limit, check):
    net = gelu_mlp(dtype=torch.float64)
    x = noise(3, 6, dtype=torch.float64)
    a = attribute(small(limit, net), x, check=check)
    assert torch.allclose(a.values, values_of(net, x), atol=1e-14)
    assert a.run.width <= limit
    assert a.backwards.tolist() == attribute(net, x).backwards.tolist()


def test_few_calls_are_spent_on_finding_what_fits():
    net = Counted(small(1, gelu_mlp()))
    a = attribute(net, X)
    assert len([n for n in net.sizes if n > 1]) < 8
    assert a.run.width == 1


@pytest.mark.parametrize("limit", [1, 2])
def test_a_single_row_that_just_fits_is_explained(limit):
    net = gelu_mlp()
    a = attribute(small(limit, net), X[:1])
    assert torch.allclose(a.values, values_of(net, X[:1]), atol=1e-6)


def test_memory_errors_of_the_operating_system_are_halved_too():
    net = gelu_mlp()

    def model(x):
        if len(x) > 4:
            raise MemoryError
        return net(x)

    assert torch.allclose(values_of(model, X), values_of(net, X), atol=1e-6)


def test_the_answer_for_all_targets_is_halved_too():
    net = gelu_mlp(dtype=torch.float64)
    x = noise(3, 6, dtype=torch.float64)
    got, want = (values_of(f, x, target=ig.All()) for f in (small(5, net), net))
    assert torch.allclose(got, want, atol=1e-14)


def test_a_fixed_width_that_does_not_fit_is_refused():
    with pytest.raises(ModelError, match=r"8 rows does not fit in memory; choose a smaller width="):
        attribute(small(4, gelu_mlp()), X, width=8)


@pytest.mark.parametrize("width", [None, 1])
def test_one_row_that_does_not_fit_is_refused(width):
    with pytest.raises(ModelError, match=r"1 rows does not fit in memory; use a smaller") as caught:
        attribute(small(0, gelu_mlp()), X, width=width)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


def test_a_fixed_width_is_never_exceeded():
    net = Counted(gelu_mlp())
    a = attribute(net, X, width=1)
    assert set(net.sizes) == {1}
    assert a.run.width == 1


@pytest.mark.parametrize("width", [2, 5, 8])
def test_a_fixed_width_is_that_of_every_call(width):
    net = Counted(gelu_mlp())
    attribute(net, X, width=width, check=False)
    assert set(net.sizes) == {width}


def test_the_width_is_found_from_what_a_row_keeps():
    wide = nn.Sequential(nn.Linear(6, 50_000), nn.GELU()).eval()
    a = attribute(wide, X[:1], target=0, quadrature=ig.GaussLegendre(3, rtol=1e9))
    b = attribute(gelu_mlp(), X)
    assert a.run.width < b.run.width
    assert a.run.width & (a.run.width - 1) == 0  # a power of two


@pytest.mark.parametrize("width", [3, 7, 16, 64])
def test_with_the_width_fixed_a_row_does_not_depend_on_its_batch(width):
    model, x = relu_mlp(), noise(5, 6)
    whole = values_of(model, x, width=width, target=2)
    for order in ([0], [3], [4, 1], [2, 3, 4, 0]):
        part = values_of(model, x[order], width=width, target=2)
        assert bytes_of(part) == bytes_of(whole[order])


def test_the_same_call_gives_the_same_bytes():
    for model in (relu_mlp(), conv_net()):
        x = noise(2, 6) if isinstance(model[0], nn.Linear) else noise(2, 3, 8, 8)
        assert bytes_of(values_of(model, x)) == bytes_of(values_of(model, x))


# -------------------------------------------------------------------------------------- differentiable


def test_live_inputs_leave_no_graph_in_the_result():
    x = X.clone().requires_grad_()
    a = attribute(gelu_mlp(), x * 1, target=0)
    numbers = (a.values, a.error_map, a.output, a.baseline_output, a.residual, a.error, a.floor)
    assert not any(n.requires_grad for n in numbers)


def test_a_live_baseline_leaves_no_graph_in_the_result():
    a = attribute(gelu_mlp(), X, baseline=torch.zeros(1, 6, requires_grad=True))
    assert not a.values.requires_grad


def test_differentiable_values_are_those_of_the_plain_call():
    for model, x in ((gelu_mlp(), X), (conv_net(), noise(2, 3, 8, 8))):
        want = attribute(model, x, target=1)
        got = attribute(model, x, target=1, differentiable=True)
        assert got.values.requires_grad
        assert torch.allclose(got.values, want.values, atol=1e-6)
        assert torch.allclose(got.output, want.output)


def loss_gradients(values, model, x):
    """d sum(weights * values) / d (parameters, x)."""
    number = (values * noise(*values.shape, seed=9, dtype=values.dtype)).sum()
    wanted = [*model.parameters(), *([x] if x.requires_grad else [])]
    found = torch.autograd.grad(number, wanted, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(w) if g is None else g for g, w in zip(found, wanted, strict=True)]


@pytest.mark.parametrize("make", [gelu_mlp, attention_net])
@pytest.mark.parametrize("width", [None, 2])
def test_differentiable_is_exact_to_autograd(make, width):
    model = make(dtype=torch.float64)
    shape = (3, 6) if make is gelu_mlp else (3, 5, 4)
    x = noise(*shape, dtype=torch.float64).requires_grad_()
    baseline = noise(*shape, seed=1, dtype=torch.float64)
    got = attribute(
        model, x, target=1, differentiable=True, baseline=baseline, width=width,
        quadrature=ig.GaussLegendre(20, rtol=1.0),
    ).values  # fmt: skip
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        want = integrated_gradients(lambda z: model(z)[:, 1], x, baseline, 20)
        assert torch.allclose(got, want, atol=1e-12)
        pairs = zip(loss_gradients(got, model, x), loss_gradients(want, model, x), strict=True)
        assert all(torch.allclose(g, w, atol=1e-11) for g, w in pairs)


def test_double_backward_goes_through_multi_head_attention():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True, dtype=torch.float64)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0].sum((1, 2))

    model = Net().eval()
    x = noise(2, 3, 4, dtype=torch.float64).requires_grad_()
    a = attribute(model, x, differentiable=True)
    assert any("attention" in note for note in a.run.notes)
    a.values.square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert model.attention.in_proj_weight.grad.abs().sum() > 0


def test_the_gradient_with_respect_to_x_passes_gradcheck():
    model = gelu_mlp(dtype=torch.float64)

    def values(x):
        return attribute(
            model, x, target=0, differentiable=True, quadrature=ig.GaussLegendre(6, rtol=1.0)
        ).values

    assert torch.autograd.gradcheck(values, noise(2, 6, dtype=torch.float64).requires_grad_())


def test_the_gradient_with_respect_to_a_weight_agrees_with_finite_differences():
    model = gelu_mlp(dtype=torch.float64)
    x = noise(2, 6, dtype=torch.float64)
    weight = model[0].weight

    def values(live):
        return values_of(model, x, target=0, differentiable=live)[1, 3]

    (slope,) = torch.autograd.grad(values(True), weight)
    step = 1e-6
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[2, 3] += sign * step
            ends.append(float(values(False)))
            weight[2, 3] -= sign * step
    assert abs((ends[0] - ends[1]) / (2 * step) - float(slope[2, 3])) < 1e-8


def test_differentiable_at_a_layer_reaches_the_weights_below_and_x():
    model = gelu_mlp(dtype=torch.float64)
    x = noise(3, 6, dtype=torch.float64).requires_grad_()
    below, above = model[:2], model[2:]
    got = attribute(
        model, x, target=1, differentiable=True, at="1", quadrature=ig.GaussLegendre(20, rtol=1.0)
    ).values
    start = below(torch.zeros(1, 6, dtype=torch.float64)).expand(3, -1)
    want = integrated_gradients(lambda h: above(h)[:, 1], below(x), start, 20)
    assert torch.allclose(got, want, atol=1e-12)
    pairs = zip(loss_gradients(got, model, x), loss_gradients(want, model, x), strict=True)
    assert all(torch.allclose(g, w, atol=1e-11) for g, w in pairs)


def test_differentiable_for_all_targets():
    model = gelu_mlp(dtype=torch.float64)
    x = noise(2, 6, dtype=torch.float64).requires_grad_()
    whole = values_of(model, x, target=ig.All(), differentiable=True)
    for k in range(4):
        one = values_of(model, x, target=k, differentiable=True)
        pairs = zip(loss_gradients(whole[k], model, x), loss_gradients(one, model, x), strict=True)
        assert all(torch.allclose(g, w, atol=1e-12) for g, w in pairs)


# ------------------------------------------------------------------------------------------- what it costs


@pytest.mark.parametrize("nodes", [3, 4, 16])
@pytest.mark.parametrize("rows", [1, 4])
def test_a_fixed_rule_costs_its_nodes_the_floor_and_two_forwards(nodes, rows):
    net = Counted(gelu_mlp())
    a = attribute(
        net, noise(rows, 6), target=0, quadrature=ig.GaussLegendre(nodes, rtol=1e9), width=1,
        check=False, baseline=ig.Constant(0.3),
    )  # fmt: skip
    assert a.backwards.tolist() == [nodes + 1] * rows
    assert a.forwards.tolist() == [nodes + 3] * rows
    assert torch.allclose(a.evaluations, torch.full((rows,), nodes + 1 + 0.9).double())
    assert sum(net.sizes) == int(a.forwards.sum()) + a.run.checks


def test_what_the_checks_cost_is_counted_apart():
    net = Counted(gelu_mlp())
    a = attribute(net, noise(4, 6), target=0, width=2)
    plain = attribute(gelu_mlp(), noise(4, 6), target=0, width=2, check=False)
    assert a.forwards.tolist() == plain.forwards.tolist()
    assert a.run.checks > plain.run.checks == 0


def test_finding_the_width_is_a_check():
    net = Counted(gelu_mlp())
    a = attribute(net, noise(4, 6), target=0)
    assert sum(net.sizes) == int(a.forwards.sum()) + a.run.checks


def test_every_backward_is_counted():
    passed = []

    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            passed.append(len(gradient))
            return gradient

    net = gelu_mlp()
    for target, times in ((0, 1), (ig.All(), 4)):
        passed.clear()
        a = attribute(lambda x: net(Through.apply(x)), X, target=target, check=False, width=3)
        assert sum(passed) == int(a.backwards.sum()) == times * 3 * (NODES + 1)


def test_many_targets_cost_one_forward_and_many_backwards():
    net = Counted(gelu_mlp())
    a = attribute(net, noise(4, 6), target=ig.All(), width=4, check=False)
    assert a.forwards.tolist() == [NODES + 3] * 4
    assert a.backwards.tolist() == [4 * (NODES + 1)] * 4
    assert sum(net.sizes) == int(a.forwards.sum())


def test_several_baselines_cost_their_curves():
    a = attribute(gelu_mlp(), X, target=0, baseline=ig.Uniform(samples=5), check=False)
    assert a.backwards.tolist() == [5 * NODES + 1] * 3
    assert a.forwards.tolist() == [5 * NODES + 2 + 5] * 3


def test_gradient_times_input_costs_one_gradient_and_the_floor():
    a = ig.methods.gradient_x_input()(gelu_mlp(), X, target=0)
    assert a.backwards.max() <= 2


def test_padding_is_not_counted():
    net = Counted(gelu_mlp())
    a = attribute(net, X, target=0, width=64, check=False)
    b = attribute(gelu_mlp(), X, target=0, width=1, check=False)
    assert a.forwards.tolist() == b.forwards.tolist()
    assert a.backwards.tolist() == b.backwards.tolist()
    assert sum(net.sizes) > int(a.forwards.sum())


@pytest.mark.parametrize("width", [None, 1, 5])
def test_progress_is_told_every_row(width):
    told = []
    a = attribute(gelu_mlp(), X, target=0, progress=told.append, width=width)
    assert sum(told) == int(a.forwards.sum())


def test_a_progress_bar_can_be_shown(capsys):
    attribute(gelu_mlp(), X, target=0, progress=True)
    assert "rows" in capsys.readouterr().err


# ------------------------------------------------------------------------------------ the oracle itself


def test_the_oracle_gives_values_and_gradients():
    from intgrad._types import open_door
    from intgrad.model.cost import Meter
    from intgrad.model.location import Location
    from intgrad.model.target import Logit

    net = gelu_mlp(dtype=torch.float64)
    raw, structure = open_door(noise(3, 6, dtype=torch.float64))
    scale = torch.tensor([1.0, 20.0, 300.0], dtype=torch.float64)
    model = lambda x, scale: net(x) * scale[:, None]  # noqa: E731
    oracle = TorchOracle(model, raw, structure, {"scale": scale}, Location(), Meter(3), 2)
    oracle.bound = Logit([0, 1, 2]).bind(net(raw[0]))
    rows = torch.tensor([2, 0, 0, 1, 2])
    points = noise(5, 6, seed=8, dtype=torch.float64)
    values, (gradient,) = oracle((points,), rows)
    leaf = points.clone().requires_grad_()
    want = net(leaf)[torch.arange(5), rows] * scale[rows]
    assert torch.allclose(values, want.detach())
    assert torch.allclose(gradient, torch.autograd.grad(want.sum(), leaf)[0])
    assert torch.allclose(oracle.value((points,), rows), want.detach())
    assert oracle.meter.backwards.tolist() == [2, 1, 2]
    assert oracle.meter.forwards.tolist() == [4, 2, 4]


def test_an_oracle_says_which_ability_it_lacks():
    from intgrad.model.oracle import ability

    with pytest.raises(ig.Unsupported, match=r"'hvp'.*object"):
        ability(object(), "hvp")


@pytest.mark.parametrize("call", [{}, {"dtype": "float64"}, {"differentiable": True}])
def test_a_module_with_two_names_keeps_its_tensors(call):
    """Of tensors that are exchanged under both names the stand-in can stay behind, by chance."""
    for seed in range(8):
        torch.manual_seed(seed)
        shared = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        net = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 2)).eval()
        before = [*net.named_parameters(), *net.named_buffers()]
        with untouched(net):
            ig.attribute(
                net, noise(1, 4), target=1, quadrature=ig.GaussLegendre(8, rtol=9.0), **call
            )
        after = [*net.named_parameters(), *net.named_buffers()]
        assert all(a is b for (_, a), (_, b) in zip(after, before, strict=True))
        assert all(p.requires_grad for p in net.parameters())

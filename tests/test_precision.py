"""In which dtype a call computes, and what it may claim in it."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import intgrad as ig
import strategies
from intgrad.integral import LEAST
from intgrad.quadrature.tolerance import explicit, is_half, reachable
from nets import (
    Counted,
    attention_net,
    conv_net,
    gelu_mlp,
    noise,
    relu_mlp,
    tiny_transformer,
    untouched,
)

RULE = ig.GaussLegendre(32, rtol=1.0)
X = noise(3, 6)
IDS = torch.tensor([[1, 5, 7, 2], [1, 8, 4, 2]])
HALVES = [torch.bfloat16, torch.float16]
half_types = pytest.mark.parametrize("dtype", HALVES, ids=str)

# A net in float32, what it is asked about, and how.
CASES = {
    "mlp": (gelu_mlp, X, {}),
    "kinked mlp": (relu_mlp, X, {"target": ig.Probability()}),
    "convolutions": (conv_net, noise(2, 3, 8, 8), {"baseline": ig.Blurred(2.0)}),
    "attention": (attention_net, noise(2, 5, 4), {"baseline": noise(1, 5, 4, seed=3)}),
    "transformer": (
        tiny_transformer,
        IDS,
        {"at": "embedding", "baseline": ig.MaskToken(3), "given": {"keep": torch.ones(2, 4)}},
    ),
    "a layer": (conv_net, noise(2, 3, 8, 8), {"at": "2"}),
    "all classes": (gelu_mlp, X, {"target": ig.All()}),
}


def attribute(model, x, **call):
    return ig.attribute(model, x, **{"quadrature": RULE, **call})


def real(x, dtype):
    return x.to(dtype) if x.is_floating_point() else x


def off(a, b):
    """Relative L1 distance, a row."""
    rows = (a.values.double() - b.values.double()).abs().flatten(1).sum(1)
    return rows / b.values.double().abs().flatten(1).sum(1)


# ------------------------------------------------------------------------------ another dtype


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, "float64"], ids=str)
def test_a_call_in_float64_is_that_of_the_model_in_float64(name, dtype):
    make, x, call = CASES[name]
    net, double = make(), copy.deepcopy(make()).double()
    given_ = {k: v.double() for k, v in call.get("given", {}).items()}
    want = attribute(double, real(x, torch.float64), **{**call, "given": given_})
    with untouched(net):
        got = attribute(net, x, dtype=dtype, **call)
    assert got.values.dtype == torch.float64
    assert torch.equal(got.values, want.values)
    assert torch.equal(got.output, want.output)
    assert got.run.dtype == "float64"
    assert any("copies of its parameters in float64" in note for note in got.run.notes)
    assert not any("copies" in note for note in want.run.notes)
    assert got.recipe == attribute(net, x, **call).recipe


@settings(max_examples=20, deadline=None)
@given(
    seed=strategies.seeds,
    inputs=strategies.features,
    depth=strategies.depths,
    activation=strategies.activations,
    rows=strategies.rows,
)
def test_float64_shows_what_float32_rounds(seed, inputs, depth, activation, rows):
    rule = ig.GaussLegendre(16, rtol=1e9)
    net = strategies.mlp(seed, inputs, depth, activation, torch.float32)
    x = strategies.points(seed, rows, inputs, torch.float32)
    double = ig.attribute(net, x, target=0, quadrature=rule, dtype="float64")
    want = ig.attribute(copy.deepcopy(net).double(), x.double(), target=0, quadrature=rule)
    assert torch.equal(double.values, want.values)
    assert net[0].weight.dtype == torch.float32


@half_types
def test_a_half_model_can_be_asked_in_float32(dtype):
    net = gelu_mlp(dtype=dtype)
    with untouched(net):
        got = attribute(net, X.to(dtype), dtype="float32")
    want = attribute(copy.deepcopy(net).float(), X.to(dtype).float())
    assert torch.equal(got.values, want.values)


def test_the_models_own_dtype_changes_nothing():
    assert torch.equal(
        attribute(relu_mlp(), X, dtype="float32").values, attribute(relu_mlp(), X).values
    )


def test_a_differentiable_call_in_float64_reaches_the_parameters_in_float32():
    net, x = gelu_mlp(), X.clone().requires_grad_()
    a = attribute(net, x, target=0, dtype="float64", differentiable=True)
    (got, slope) = torch.autograd.grad(a.values.square().sum(), (net[0].weight, x))
    double, y = copy.deepcopy(net).double(), X.double().requires_grad_()
    b = attribute(double, y, target=0, differentiable=True)
    (want, wanted) = torch.autograd.grad(b.values.square().sum(), (double[0].weight, y))
    assert got.dtype == slope.dtype == torch.float32
    assert torch.allclose(got.double(), want, rtol=1e-6)
    assert torch.allclose(slope.double(), wanted, rtol=1e-6)


def test_tied_weights_stay_tied_and_buffers_are_kept():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
            self.b.weight = self.a.weight
            self.register_buffer("scale", torch.full((6,), 0.1))
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))

        def forward(self, x):
            assert self.a.weight is self.b.weight
            assert (x.dtype, self.calls.dtype) == (self.scale.dtype, torch.long)
            self.calls += 1
            return self.b(self.a(x * self.scale).tanh())

    net = Net().eval()
    with untouched(net):
        assert attribute(net, X, dtype="float64", target=0).values.dtype == torch.float64


def test_what_is_given_in_real_numbers_is_cast_and_whole_numbers_are_not():
    seen = set()

    def model(x, scale, which):
        seen.add((x.dtype, scale.dtype, which.dtype))
        return (x * scale).sum(1) * which

    extras = {"scale": torch.rand(3, 6), "which": torch.tensor([1, 2, 3])}
    attribute(model, X, given=extras, dtype="float64")
    assert seen == {(torch.float64, torch.float64, torch.int64)}


def test_a_baseline_keeps_the_digits_it_has():
    baseline = torch.full((1, 6), 0.1, dtype=torch.float64)
    a = attribute(lambda x: x.sum(1), X, baseline=baseline, dtype="float64")
    assert torch.allclose(a.values, X.double() - 0.1, atol=1e-15, rtol=0)


# ------------------------------------------------------------- models that cannot be exchanged


def test_a_function_of_any_dtype_is_asked_in_float64():
    a = attribute(lambda x: (x**2).sum(1) * torch.tensor(0.5), X, dtype="float64")
    assert torch.allclose(a.values, X.double() ** 2 / 2, atol=1e-15)


def test_a_function_that_holds_a_model_in_float32_is_told_to_pass_the_model():
    net = relu_mlp()
    with pytest.raises(
        ig.ModelError, match=r"cannot reach what a function holds: pass the nn\.Module"
    ):
        attribute(lambda x: net(x), X, dtype="float64")


def test_a_module_with_a_tensor_that_is_no_buffer_is_told_what_it_is():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.ones(6, 2)

        def forward(self, x):
            return x @ self.weight

    with pytest.raises(ig.ModelError, match="a tensor that is no buffer, or a cast"):
        attribute(Net().eval(), X, dtype="float64")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_scripted_and_compiled_models_are_refused_unless_they_have_that_dtype():
    net, double = gelu_mlp(), gelu_mlp(dtype=torch.float64)
    with pytest.raises(ig.Unsupported, match="of a scripted model cannot be exchanged"):
        attribute(torch.jit.trace(net, X), X, dtype="float64")
    with pytest.raises(ig.Unsupported, match=r"of a compiled model .* model\._orig_mod"):
        attribute(torch.compile(net, backend="eager"), X, dtype="float64")
    traced = torch.jit.trace(double, X.double())
    want = attribute(double, X.double()).values
    assert torch.allclose(attribute(traced, X, dtype="float64").values, want, atol=1e-14)


class Single(nn.Module):
    """Works in float32 inside, and gives its output in the dtype of its input."""

    def __init__(self, how):
        super().__init__()
        self.net, self.how = gelu_mlp(), how

    def forward(self, x):
        return self.net(self.how(x).to(x.dtype))


def into_another(x):
    return torch.empty(x.shape, dtype=torch.float32).copy_(x)


@pytest.mark.parametrize(
    "how",
    [lambda x: x.float(), lambda x: x.to(torch.bfloat16), lambda x: x.type_as(X), into_another],
    ids=["float", "to", "type_as", "copy_"],
)
def test_a_model_that_casts_down_inside_is_refused(how):
    net = Single(how)
    with untouched(net), pytest.raises(ig.ModelError, match=r"casts to \w*float\d+ inside"):
        attribute(net, X, dtype="float64")
    assert attribute(net, X, dtype="float64", check=False).values.dtype == torch.float64


@pytest.mark.parametrize(
    "how",
    [
        lambda x: x * (x > 0).float(),
        lambda x: x * torch.tensor(2.0),
        lambda x: x + torch.arange(6).float(),
        lambda x: x.masked_fill(x < 0, torch.finfo(x.dtype).min / 1e300 * 0),
        lambda x: x.double(),
    ],
    ids=["mask", "constant", "positions", "fill", "double"],
)
def test_constants_in_float32_are_part_of_the_function_and_no_cast(how):
    assert attribute(Single(how), X, dtype="float64").values.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, "bfloat16", torch.int64, "double", 64, float])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ig.InputError, match=r"expected torch\.float64"):
        attribute(relu_mlp(), X, dtype=dtype)


def test_the_cast_is_looked_for_in_one_row_and_counted_as_a_check():
    net = Counted(gelu_mlp())
    a, b = (attribute(net, X, dtype=dtype) for dtype in ("float64", None))
    assert a.run.checks == b.run.checks + 1
    assert a.evaluations.tolist() == b.evaluations.tolist()


# ----------------------------------------------------------------------------------- half types


@half_types
@pytest.mark.parametrize("name", CASES)
def test_the_floor_of_a_half_type_is_of_the_order_of_what_it_does(name, dtype):
    make, x, call = CASES[name]
    net, x = make(dtype=dtype), real(x, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ig.ToleranceRaised)
        half = attribute(net, x, **call)
    true = attribute(net, x, dtype="float64", **call)
    if half.several:
        half, true = half.target(1), true.target(1)
    assert half.run.dtype == str(dtype).removeprefix("torch.")
    assert (half.floor > 0.999 * LEAST * torch.finfo(dtype).eps).all()
    assert (off(half, true) <= 3 * half.floor).all()  # it is what to expect, not a bound
    assert off(half, true).median() <= half.floor.median()


@half_types
def test_the_usual_tolerance_rises_to_the_floor_with_one_warning(dtype):
    rule = ig.GaussLegendre(32)
    net, x = conv_net(dtype=dtype), noise(2, 3, 8, 8, dtype=dtype)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        a = ig.attribute(net, x, quadrature=rule, dtype=None)
    raised = [w for w in said if w.category is ig.ToleranceRaised]
    above = bool((a.floor > rule.rtol).any())
    assert len(raised) == above
    assert above or dtype == torch.float16
    assert torch.equal(a.tolerance, a.floor.clamp(min=a.run.rtol))
    assert a.recipe.quadrature == rule
    if above:
        assert str(dtype).removeprefix("torch.") in str(raised[0].message)
        assert raised[0].filename == __file__
        assert any("held to the floor" in note for note in a.run.notes)


def test_rows_of_a_half_type_are_held_to_their_own_floor(tmp_path):
    net = gelu_mlp(dtype=torch.bfloat16)
    with pytest.warns(ig.ToleranceRaised, match="dtype='float32'"):
        a = ig.attribute(net, X.bfloat16(), target=0)
    held_to = a.floor.clamp(min=LEAST * 2**-7)
    assert torch.equal(a.tolerance, held_to)
    assert torch.equal(a.converged, a.error <= held_to)
    assert "the floor of bfloat16" in str(a)
    assert "the floor of bfloat16" in a.to_html()
    again = a.sum(1), a.select([2, 0])
    assert torch.equal(again[0].tolerance, held_to)
    assert torch.equal(again[1].tolerance, held_to[[2, 0]])
    a.save(tmp_path / "a.safetensors")
    assert torch.equal(ig.Attribution.load(tmp_path / "a.safetensors").tolerance, held_to)


@half_types
def test_a_tolerance_that_no_half_type_meets_is_refused_before_the_rule_runs(dtype):
    net = Counted(gelu_mlp(dtype=dtype))
    with untouched(net.inner), pytest.raises(ig.InputError, match=r"rtol=0\.001 .*dtype='float32'"):
        ig.attribute(net, X.to(dtype), quadrature=ig.GaussLegendre(32, rtol=1e-3))
    assert sum(net.sizes) < 32


def test_a_chosen_tolerance_below_the_measured_floor_is_refused():
    net, x = conv_net(dtype=torch.bfloat16), noise(2, 3, 8, 8, dtype=torch.bfloat16)
    floor = float(attribute(net, x).floor.max())
    least = LEAST * torch.finfo(torch.bfloat16).eps
    assert floor > least
    with pytest.raises(ig.InputError, match="an rtol of at least"):
        ig.attribute(net, x, quadrature=ig.GaussLegendre(32, rtol=(floor + least) / 2))
    a = ig.attribute(net, x, quadrature=ig.GaussLegendre(32, rtol=1.1 * floor))
    assert a.tolerance.tolist() == [1.1 * floor] * 2
    assert a.converged.all()


def test_a_chosen_tolerance_is_one_that_differs_from_the_rules_own():
    assert explicit(ig.GaussLegendre(7)) is None
    assert explicit(ig.GaussLegendre(7, rtol=1e-2)) is None
    assert explicit(ig.Midpoint(7, rtol=1e-3)) == 1e-3
    assert explicit(ig.At()) is None
    assert explicit(lambda integral: None) is None


def test_a_rule_aims_no_lower_than_its_dtype_lets_it():
    rule = ig.GaussLegendre(max_nodes=96)
    for dtype in (torch.float32, torch.float64):
        assert reachable(rule, dtype) is rule
    assert reachable(rule, torch.float16) is rule  # 1 % is above 0.4 %
    assert reachable(rule, torch.bfloat16) == ig.GaussLegendre(48, LEAST * 2**-7, 96)
    assert reachable(ig.At(), torch.bfloat16) == ig.At()
    assert [is_half(d) for d in (*HALVES, torch.float32, torch.float64)] == [
        True,
        True,
        False,
        False,
    ]


@half_types
def test_what_approximates_nothing_is_held_to_nothing(dtype):
    a = ig.attribute(gelu_mlp(dtype=dtype), X.to(dtype), quadrature=ig.At(1.0))
    assert a.converged.all()
    assert a.run.notes == ()


def test_a_row_to_which_nothing_happens_refuses_no_tolerance():
    rule = ig.GaussLegendre(32, rtol=0.05)
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.bfloat16)
    a = ig.attribute(lambda x: x.sum(1), x, quadrature=rule)
    assert a.converged.all()


def test_a_model_under_autocast_is_held_to_what_it_computes_in():
    net = gelu_mlp()
    with torch.autocast("cpu", torch.bfloat16), pytest.warns(ig.ToleranceRaised):
        a = ig.attribute(net, X, target=0)
    assert a.run.dtype == "bfloat16"
    true = ig.attribute(net, X, target=0)
    assert true.run.dtype == "float32"
    assert (off(a, true) > true.floor).all()
    assert (off(a, true) <= 3 * a.floor).all()


@half_types
def test_a_warning_is_no_matter_of_strictness(dtype):
    net = gelu_mlp(dtype=torch.bfloat16)
    with pytest.warns(ig.ToleranceRaised):
        ig.attribute(net, X.bfloat16(), target=0, strict=True)


# -------------------------------------------------------------------------- sums and overflows


@half_types
def test_sums_of_half_types_are_float32(dtype):
    # In bfloat16, 0.001 added to 0.5 is 0.5: a sum of a thousand nodes in it stops there.
    weight = torch.tensor([1.0, -0.5, 2.0], dtype=dtype)
    x = torch.tensor([[0.5, 1.0, -2.0]], dtype=dtype)
    for rule in (ig.Midpoint(1000, rtol=1.0), ig.GaussLegendre(400, rtol=1.0)):
        a = ig.attribute(lambda x: (x * weight).sum(1), x, quadrature=rule)
        assert a.values.dtype == torch.float32
        assert torch.allclose(a.values, (x * weight).float(), rtol=1e-5)


@half_types
def test_a_half_model_differs_from_its_gradients_summed_in_float64_by_float32(dtype):
    net, x = gelu_mlp(dtype=dtype), X.to(dtype)
    rule = ig.Midpoint(64, rtol=1.0)
    a = ig.attribute(net, x, target=1, quadrature=rule, width=8)
    want = torch.zeros(3, 6, dtype=torch.float64)
    for row in range(3):
        t = (torch.arange(64).double() + 0.5) / 64
        points = (t[:, None].float() * x[row].float()).to(dtype).requires_grad_()
        grads = [torch.autograd.grad(net(p)[:, 1].sum(), p)[0] for p in points.split(8)]
        want[row] = torch.cat(grads).double().mean(0) * x[row].double()
    assert torch.allclose(a.values.double(), want, rtol=1e-5, atol=1e-7)


def test_an_overflow_of_float16_is_refused():
    x = torch.tensor([[300.0, 1.0]], dtype=torch.float16)
    with pytest.raises(ig.ModelError, match="output is NaN or infinite at x"):
        attribute(lambda x: x.square().sum(1), x)  # 90000 > 65504
    small = torch.tensor([[0.01, 0.5]], dtype=torch.float16)
    with pytest.raises(ig.ModelError, match="gradient of row 0 holds NaN or infinity"):
        attribute(lambda x: (x * 1000 * 1000).sum(1), small / 1000, baseline=small / 2000)
    assert attribute(lambda x: x.square().sum(1), x, dtype="float32").converged.all()


# ------------------------------------------------------------------- single precision, honestly


def test_a_tolerance_below_the_floor_of_float32_is_noted_and_nothing_flips():
    rule = ig.GaussLegendre(32, rtol=2e-6)
    a = ig.attribute(gelu_mlp(), X, target=0, quadrature=rule)
    assert a.converged.all()
    assert float(a.floor.max()) > 2e-6
    assert any("rounding alone may make" in note for note in a.run.notes)
    assert "but rounding may make" in str(a)
    assert "yes, but for rounding" in a.to_html()
    assert torch.equal(a.tolerance, torch.full((3,), 2e-6, dtype=torch.float64))
    b = ig.attribute(gelu_mlp(), X, target=0, quadrature=rule, dtype="float64")
    assert len(b.run.notes) == 1
    assert "but rounding" not in str(b)


def test_a_tolerance_above_the_floor_has_no_note():
    a = ig.attribute(gelu_mlp(), X, target=0)
    assert a.run.notes == ()
    assert "rounding" not in str(a)

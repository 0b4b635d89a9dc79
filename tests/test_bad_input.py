"""Whatever comes in ends in the right answer or in one clear sentence, and leaves the model as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import intgrad as ig
from nets import (
    Counted,
    Interrupts,
    Output,
    attention_net,
    bytes_of,
    conv_net,
    gelu_mlp,
    noise,
    relu_mlp,
    state_of,
    tiny_transformer,
    untouched,
)

RULE = ig.GaussLegendre(16, rtol=1.0)
X = noise(3, 6)


def attribute(model, x, **call):
    return ig.attribute(model, x, **{"quadrature": RULE, **call})


def refused(kind, *words, **call):
    """Attributing is refused with an error of `kind` in one sentence that has all these words."""
    model, x = call.pop("model", None) or relu_mlp(), call.pop("x", X)
    with pytest.raises(kind) as caught:
        attribute(model, x, **call)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert len(message) < 500, message
    return caught.value


def squares(x):
    return x.square().sum(1)


# ------------------------------------------------------------------------------ training mode


TRAINED = {
    "batch normalisation": (nn.BatchNorm1d(6), "BatchNorm1d"),
    "dropout": (nn.Dropout(0.5), "Dropout"),
    "alpha dropout": (nn.AlphaDropout(0.5), "AlphaDropout"),
    "randomised leaky relu": (nn.RReLU(), "RReLU"),
    "attention with dropout": (nn.MultiheadAttention(6, 1, dropout=0.1), "MultiheadAttention"),
    "recurrent dropout": (nn.LSTM(6, 4, 2, dropout=0.1), "LSTM"),
}


@pytest.mark.parametrize("name", TRAINED)
def test_training_mode_is_refused_with_the_remedy(name):
    layer, kind = TRAINED[name]
    model = nn.Sequential(nn.Linear(6, 6), copy.deepcopy(layer), nn.Linear(6, 2)).train()
    with untouched(model):
        refused(ig.ModelError, "training mode", kind, "eval()", model=model)


def test_a_model_that_only_says_training_is_explained():
    model = gelu_mlp().train()
    assert torch.equal(attribute(model, X).values, attribute(gelu_mlp(), X).values)
    assert model.training


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
def test_running_statistics_stay_bit_for_bit_also_without_checks():
    model = conv_net().train()
    with untouched(model):
        attribute(model, noise(2, 3, 8, 8), check=False)


def test_evaluation_mode_statistics_stay():
    model = conv_net()
    with untouched(model):
        attribute(model, noise(2, 3, 8, 8))


def test_dropout_by_a_functional_call_is_refused_as_random():
    torch.manual_seed(0)  # which of two checks speaks first hangs on the draws
    net = gelu_mlp()

    def noisy(x):
        return net(nn.functional.dropout(x, 0.5, training=True))

    refused(ig.ModelError, "random", "eval()", model=noisy)


# ------------------------------------------------------------------- rows that leak into each other


class BatchAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = gelu_mlp(classes=4)

    def forward(self, x):
        h = self.net(x)
        return (h @ h.T).softmax(-1) @ h


LEAKS = {
    "attention over the batch": BatchAttention(),
    "centred by the batch": lambda x: squares(x - x.mean(0)),
    "scaled by the batch": lambda x: squares(x / (1 + x.var(0, correction=0)).sqrt()),
    "a leak that is detached": lambda x: squares(x - x.detach().mean(0)),
    "the batch's own statistics in evaluation": nn.Sequential(
        nn.Unflatten(1, (3, 2)), nn.BatchNorm1d(3, track_running_stats=False), nn.Flatten()
    ).eval(),
    "the neighbour's row": lambda x: squares(x) + x.roll(1, 0).sum(1),
    "the order of the batch": lambda x: squares(x) * torch.arange(len(x)).flip(0),
}


@pytest.mark.parametrize("name", LEAKS)
def test_rows_that_leak_are_refused(name):
    refused(ig.ModelError, "leak", "check=False", model=LEAKS[name])


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
@pytest.mark.parametrize("name", ["attention over the batch", "centred by the batch"])
def test_without_checks_a_leak_goes_on(name):
    assert attribute(LEAKS[name], X, check=False).values.shape == X.shape


def test_a_score_that_cancels_to_rounding_is_no_leak():
    net = gelu_mlp(classes=1)
    there = net(X[:1]).detach()
    rounding = lambda x: 1e-8 * (len(x) > 1)  # noqa: E731  # kernels differ between widths
    a = attribute(lambda x: (net(x) - there + rounding(x))[:, 0], X)
    assert a.output[0].abs() < 1e-7


def test_a_model_in_bfloat16_inside_is_no_leak():
    net = gelu_mlp(dtype=torch.bfloat16)
    attribute(lambda x: net(x.bfloat16()).float(), X)


# --------------------------------------------------------------------------------- NaN and infinity


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_named_by_its_row(bad):
    x = X.clone()
    x[1, 2] = bad
    refused(ig.InputError, "x holds NaN or infinity", "row 1", x=x)
    refused(ig.InputError, "x[1] holds", "row 1", model=lambda a, b: squares(a + b), x=(X, x))
    refused(ig.InputError, "x['b'] holds", "row 1", model=lambda a, b: a, x={"a": X, "b": x})
    refused(ig.InputError, "baseline holds NaN or infinity", "row 1", baseline=x)


def test_an_output_that_is_not_finite_is_named_by_its_row():
    x = X.abs()
    x[2] = 0

    def log(x):
        return x.log().sum(1)

    refused(ig.ModelError, "output is NaN or infinite at x", "row 2", model=log, x=x)


def test_an_output_that_is_not_finite_at_the_baseline_is_named():
    def log(x):
        return x.log().sum(1)

    refused(ig.ModelError, "NaN or infinite at a baseline", "row 0", model=log, x=X.abs() + 1)


@pytest.mark.parametrize("check", [True, False])
def test_a_gradient_that_is_not_finite_is_named_by_row_and_node(check):
    def root(x):
        return x.sqrt().sum(1)

    refused(
        ig.ModelError, "gradient of row 0", "t = 0 ", model=root, x=X.abs() + 1,
        quadrature=ig.LeftRiemann(8, rtol=1), check=check,
    )  # fmt: skip


def test_the_row_whose_gradient_is_not_finite_is_the_one_named():
    baseline = torch.ones(3, 6)
    baseline[2, 4] = 0
    refused(
        ig.ModelError, "gradient of row 2", "t = 0 ", model=lambda x: x.sqrt().sum(1),
        x=X.abs() + 1, baseline=baseline, quadrature=ig.LeftRiemann(8, rtol=1),
    )  # fmt: skip


def test_rules_without_the_end_points_pass_an_infinite_slope_at_the_end():
    x = X.abs() + 0.1
    a = attribute(lambda x: x.sqrt().sum(1), x, quadrature=ig.GaussLegendre(256, rtol=1))
    assert torch.allclose(a.values, x.sqrt(), rtol=1e-2)


# ------------------------------------------------------------------- shapes, dtypes, devices of inputs


def test_a_baseline_without_its_batch_axis_is_refused():
    refused(ig.InputError, "(6,)", "(3, 6)", "(1, 6)", "batch axis", baseline=torch.zeros(6))


@pytest.mark.parametrize("shape", [(2, 6), (1, 5), (3, 6, 1), ()])
def test_a_baseline_of_another_shape_is_refused(shape):
    refused(ig.InputError, "baseline has shape", "expected", baseline=torch.zeros(shape))


def test_a_baseline_that_is_nothing_like_one_is_refused():
    refused(ig.InputError, "baseline=0.5", "ig.Constant", baseline=0.5)
    refused(ig.InputError, "class Zeros", "Zeros(", baseline=ig.Zeros)
    refused(ig.InputError, "ndarray", "tensor", baseline=np.zeros((1, 6)))
    refused(ig.InputError, "complex", baseline=torch.zeros(1, 6, dtype=torch.complex64))
    refused(ig.InputError, "numpy.ndarray", baseline=(np.zeros((1, 6)),))


def test_a_baseline_needs_one_tensor_for_each_of_x():
    def f(a, b):
        return squares(a + b)

    refused(ig.InputError, "x has 2", model=f, x=(X, X), baseline=(X,))
    refused(ig.InputError, "x has 2", model=f, x=(X, X), baseline=X[:1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_a_baseline_of_another_dtype_gives_the_same_answer(dtype):
    want = attribute(relu_mlp(), X, baseline=torch.ones(1, 6))
    got = attribute(relu_mlp(), X, baseline=torch.ones(1, 6, dtype=dtype))
    assert torch.equal(got.values, want.values)
    assert got.values.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_float32_rows_into_a_model_of_another_dtype_say_what_to_convert(dtype):
    error = refused(ig.ModelError, str(dtype), "x.to(", model=gelu_mlp(dtype=dtype))
    assert isinstance(error.__cause__, RuntimeError)


def test_a_model_on_another_device_says_where():
    refused(ig.ModelError, "meta", "x.to(device)", model=relu_mlp().to("meta"))


def test_rows_without_values_are_refused():
    refused(ig.InputError, "meta device", x=X.to("meta"))


def test_tensors_with_unequal_numbers_of_rows_are_refused():
    def f(a, b):
        return a.sum(1)

    refused(ig.InputError, "x[0] has 3 rows", "x[1] has 2", model=f, x=(X, X[:2]))
    refused(ig.InputError, "x['a'] has 3 rows", "x['b'] has 2", model=f, x={"a": X, "b": X[:2]})


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(0, 6), ("(0, 6)", "no rows")),
        (torch.tensor(1.0), ("single number", "x[None]")),
        (X.to(torch.complex64), ("complex64", "real")),
        (X.numpy(), ("numpy.ndarray", "torch.as_tensor")),
        ([[1.0, 2.0], [3.0, 4.0]], ("list", "tensor")),
        ([X, [X]], ("list", "tensor")),
        (((X,), X), ("tuple", "tensor")),
        ({"a": X, "b": {"c": X}}, ("dict", "tensor")),
        ({"a": X, "b": None}, ("NoneType", "tensor")),
        ("a picture", ("str", "tensor")),
        (None, ("NoneType", "tensor")),
        (3.0, ("float", "tensor")),
        ((), ("empty",)),
        ({}, ("empty",)),
    ],
    ids=str,
)
def test_what_is_no_batch_of_tensors_is_refused(x, words):
    refused(ig.InputError, *words, x=x)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_whole_numbers_at_the_input_are_refused(dtype):
    ids = torch.ones(2, 5).to(dtype)
    refused(ig.InputError, str(dtype), "at='embedding'", "given=", model=tiny_transformer(), x=ids)


def test_a_whole_number_tensor_beside_real_ones_is_refused():
    refused(ig.InputError, "x[1]", "int64", "given=", x=(X, torch.ones(3, 2).long()))


# ----------------------------------------------------------------------------------------- outputs


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda x: x.sum(), ("single number", "reduced over the batch")),
        (lambda x: x[:, :3].mean(0, keepdim=True), ("1 rows for 3", "reduced over the batch")),
        (lambda x: torch.cat([x, x]), ("rows for", "reduced")),
        (lambda x: (x, x), ("tuple of 2", "entry=0")),
        (lambda x: {"a": x, "b": x}, ("dict", "'a', 'b'", "entry=")),
        (lambda x: [], ("list of 0",)),
        (lambda x: None, ("NoneType",)),
        (lambda x: x.tolist(), ("list of",)),
        (lambda x: x[:, None].expand(-1, 4, -1), ("(3, 4, 6)", "callable")),
        (lambda x: x.argmax(1), ("int64", "argmax")),
        (lambda x: x > 0, ("bool", "floating-point")),
        (lambda x: x[:, :1].squeeze(), ("squeeze(1)",)),
    ],
)
def test_an_output_without_one_number_a_row_is_refused(model, words):
    refused(ig.TargetError, *words, model=model)


def test_more_numbers_a_row_than_one_need_a_target_for_regression():
    def three(x):
        return x[:, None, :3]

    refused(ig.TargetError, "(3, 1, 3)", "callable", model=three)


def test_a_sequence_output_is_explained_by_a_callable():
    x = noise(2, 5, 4)
    model = nn.Linear(4, 3).eval()
    a = attribute(model, x, target=lambda out: out[:, -1, 2])
    want = torch.zeros_like(x)
    want[:, -1] = x[:, -1] * model.weight.detach()[2]
    assert torch.allclose(a.values, want, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: squares(x.detach()),
        lambda x: torch.ones(len(x), 3),
        lambda x: torch.from_numpy(x.detach().numpy()),
    ],
    ids=["detached", "constant", "through numpy"],
)
def test_a_model_without_a_gradient_is_refused(model):
    refused(ig.ModelError, "detached", "constant", model=model)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_model_that_turns_gradients_off_is_refused(mode):
    refused(ig.ModelError, "no_grad", model=mode()(lambda x: squares(x)))


def test_a_constant_that_autograd_can_see_has_exactly_no_attribution():
    a = attribute(lambda x: 0 * x.sum(1) + 3, X)
    assert not a.values.any()
    assert not a.residual.any()
    assert not a.error.any()
    assert a.converged.all()


def test_the_baseline_itself_has_exactly_no_attribution():
    a = attribute(relu_mlp(), X, baseline=X)
    assert not a.values.any()
    assert not a.error.any()


def test_an_unused_tensor_has_exactly_no_attribution():
    a = attribute(lambda used, unused: squares(used), (X, X + 1))
    assert torch.allclose(a.values[0], X.square(), rtol=1e-5)
    assert a.values[1].shape == X.shape
    assert not a.values[1].any()


# ----------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (4, ("target 4", "0 to 3")),
        (-1, ("target -1", "0 to 3")),
        ([0, 1, 9], ("target 9", "0 to 3")),
        ([0, -2, 1], ("target -2",)),
        ([0, 1], ("2 class indices", "3 rows")),
        (torch.tensor([0, 1, 2, 3]), ("4 class indices", "3 rows")),
        (True, ("bool", "1")),
        ([True, False, True], ("not understood",)),
        (torch.tensor([True, False, True]), ("torch.bool",)),
        (1.0, ("1.0", "class index")),
        ([1.0, 2.0, 0.0], ("class index",)),
        (torch.tensor([1.0, 2.0, 0.0]), ("float32", "whole")),
        (np.float64(1), ("class index",)),
        ("cat", ("'cat'", "class index")),
        (ig.Margin, ("class Margin", "Margin(")),
        ([], ("[]", "class index")),
        (torch.tensor([], dtype=torch.long), ("0 class indices",)),
        ([[0], [1], [2]], ("class index",)),
        (ig.Margin(0, 7), ("target 7",)),
        (ig.Probability(5), ("target 5",)),
        (ig.LogProbability(-3), ("target -3",)),
        (ig.Logit(0, entry="scores"), ("entry='scores'",)),
    ],
    ids=str,
)
def test_a_target_that_names_no_class_is_refused(target, words):
    refused(ig.TargetError, *words, target=target)


@pytest.mark.parametrize(
    "target",
    [
        [0, 2, 3],
        (0, 2, 3),
        np.array([0, 2, 3]),
        [np.int64(0), np.int64(2), np.int64(3)],
        torch.tensor([0, 2, 3]),
        torch.tensor([0, 2, 3], dtype=torch.int32),
        torch.tensor([[0], [2], [3]]),
        ig.Logit([0, 2, 3]),
    ],
    ids=repr,
)
def test_one_class_a_row_in_any_form(target):
    a = attribute(relu_mlp(), X, target=target)
    for row, k in enumerate((0, 2, 3)):
        alone = attribute(relu_mlp(), X[row : row + 1], target=k)
        assert torch.allclose(a.values[row], alone.values[0], atol=1e-6)


@pytest.mark.parametrize("target", [2, np.int64(2), torch.tensor(2), torch.tensor([2]), [2]])
def test_one_class_for_all_rows_in_any_form(target):
    want = attribute(relu_mlp(), X, target=ig.Logit(2)).values
    assert torch.equal(attribute(relu_mlp(), X, target=target).values, want)


def test_a_callable_target_gives_one_number_a_row():
    refused(ig.TargetError, "returned (1, 4)", "(1,)", target=lambda out: out)
    refused(ig.TargetError, "one number a row", target=lambda out: out.sum())
    refused(ig.TargetError, "float", target=lambda out: float(out.detach().sum()))
    refused(ig.ModelError, "argmax", target=lambda out: out.argmax(1))


def test_a_margin_needs_two_classes():
    refused(ig.TargetError, "two classes", model=gelu_mlp(classes=1), target=ig.Margin())


def test_no_class_can_be_named_where_there_are_none():
    refused(ig.TargetError, "(3,)", "callable", model=squares, target=0)


# ------------------------------------------------------------------------------------ in-place models


class InPlace(nn.Module):
    """x -> max(3 (x - 1), 0) summed, written into whatever comes in."""

    def forward(self, x):
        return x.sub_(1).mul_(3).relu_().sum(1)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("differentiable", [True, False])
def test_a_model_that_writes_into_its_input(check, live, differentiable):
    x = X.clone().requires_grad_(live)
    before = bytes_of(x)
    call = {"check": check, "differentiable": differentiable, "quadrature": ig.Midpoint(400)}
    a = attribute(InPlace(), x, **call)
    b = attribute(lambda x: 3 * (x - 1).relu().sum(1), X, **call)
    assert bytes_of(x) == before
    assert torch.allclose(a.values, b.values, atol=1e-6)
    assert torch.allclose(a.output, 3 * (X - 1).relu().sum(1).double())


@pytest.mark.parametrize(
    "write", [lambda x: x.relu_(), lambda x: x.mul_(2), lambda x: x.clamp_(-1, 1)]
)
def test_writing_into_the_input_leaves_the_users_tensors_alone(write):
    x, scale, baseline = X.clone(), noise(3, 6, seed=5), noise(1, 6, seed=6)
    before = [bytes_of(t) for t in (x, scale, baseline)]

    def model(x, scale):
        return write(x).square().sum(1) + write(scale).sum(1)

    attribute(model, x, given={"scale": scale}, baseline=baseline)
    assert [bytes_of(t) for t in (x, scale, baseline)] == before


class LayerThenInPlace(nn.Module):
    def __init__(self, inplace: bool):
        super().__init__()
        net = relu_mlp(seed=4)
        self.first, self.act, self.last = net[0], nn.ReLU(inplace=inplace), net[2]

    def forward(self, x):
        return self.last(self.act(self.first(x)))


@pytest.mark.parametrize("differentiable", [True, False])
def test_writing_into_a_layers_output_does_not_change_what_is_explained(differentiable):
    call = {"at": "first", "target": 3, "differentiable": differentiable}
    a = attribute(LayerThenInPlace(True).eval(), X, **call)
    b = attribute(LayerThenInPlace(False).eval(), X, **call)
    assert torch.allclose(a.values, b.values, atol=1e-6)
    assert a.values.lt(0).any()  # units that rise from below to zero speak too


# ------------------------------------------------------------------------------------------ given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scale": torch.ones(5, 5)}, ("given['scale']", "(5, 5)", "3 rows", "closure")),
        ({"scale": torch.ones(1, 6)}, ("given['scale']", "(1, 6)", "3 rows")),
        ({"scale": torch.tensor(2.0)}, ("given['scale']", "()", "closure")),
        ({"scale": 2.0}, ("given['scale']", "float", "closure")),
        ({"scale": np.ones(3)}, ("given['scale']", "ndarray")),
        ({"scale": None}, ("given['scale']", "NoneType")),
        ((torch.ones(3),), ("given is a tuple", "dict")),
        (torch.ones(3), ("given is a Tensor", "dict")),
    ],
    ids=str,
)
def test_extras_that_are_not_aligned_with_the_rows_are_refused(given, words):
    refused(ig.InputError, *words, model=lambda x, scale: squares(x * scale), given=given)


def test_an_extra_the_model_does_not_know_is_refused():
    refused(ig.ModelError, "given=", "scale", given={"scale": torch.ones(3, 1)})


def test_a_tensor_is_explained_or_given_not_both():
    def model(a, b):
        return squares(a + b)

    refused(ig.InputError, "'a'", "given", model=model, x={"a": X, "b": X}, given={"a": X})


# ------------------------------------------------------------------------------- knobs and parts


@pytest.mark.parametrize("width", [0, -1, True, 2.0, "8"])
def test_a_width_that_is_no_number_of_rows_is_refused(width):
    refused(ig.InputError, f"width={width!r}", "whole number", width=width)


@pytest.mark.parametrize("rule", [ig.GaussLegendre, ig.Midpoint, ig.LeftRiemann, ig.RightRiemann])
@pytest.mark.parametrize("nodes", [0, -3, 2.5, True, "4"])
def test_a_number_of_nodes_that_is_none_is_refused(rule, nodes):
    refused(ig.InputError, f"nodes={nodes!r}", "whole number", quadrature=rule(nodes))


@pytest.mark.parametrize("nodes", [0, 1, 2.5, True])
def test_the_trapezoid_needs_two_nodes(nodes):
    refused(ig.InputError, f"nodes={nodes!r}", "at least 2", quadrature=ig.Trapezoid(nodes))


def test_a_path_is_callable():
    refused(ig.InputError, "path=3", "(t, start, end)", path=3)


def test_a_distribution_under_a_fixed_rule_needs_a_number_of_draws():
    refused(ig.Unsupported, "Uniform", "samples=16", baseline=ig.Uniform())
    refused(ig.Unsupported, "Gaussian", "samples=16", baseline=ig.Gaussian())
    refused(ig.InputError, "samples=0", baseline=ig.Uniform(samples=0))


def test_blurring_needs_neighbours():
    refused(ig.InputError, "Blurred", "(3, 6)", baseline=ig.Blurred(2))


# ----------------------------------------------------------------------------------------- layers


def test_an_unknown_layer_is_refused_with_those_there_are():
    refused(ig.InputError, "'layer9'", "0, 1, 2", at="layer9")
    refused(ig.InputError, "''", at="")


def test_a_layer_of_another_model_is_refused():
    refused(ig.InputError, "Linear", "not part of this model", at=nn.Linear(6, 6))


@pytest.mark.parametrize("at", [3, ["0", "no such layer"], None])
def test_a_location_is_a_name_or_a_module(at):
    refused(ig.InputError, "at=", at=at)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head, self.spare = nn.Linear(6, 6), nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.layer(self.layer(x)))


def test_a_layer_that_runs_twice_is_refused_and_the_others_are_not():
    model = Twice().eval()
    with untouched(model):
        refused(ig.ModelError, "'layer'", "2 times", "once", model=model, at="layer")
        refused(ig.ModelError, "'spare'", "0 times", model=model, at="spare")
        attribute(model, X, at="head", target=0)


def test_a_layer_of_a_plain_function_is_refused():
    refused(ig.InputError, "nn.Module", "at='input'", model=squares, at="layer")


def test_a_layer_inside_a_compiled_model_is_refused():
    compiled = torch.compile(relu_mlp(), backend="eager")
    refused(ig.Unsupported, "compiled", model=compiled, at="0")


def test_a_layer_that_returns_no_tensor_is_refused():
    class Pair(nn.Module):
        def forward(self, x):
            return {"x": [x]}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def forward(self, x):
            return squares(self.pair(x)["x"][0])

    refused(ig.Unsupported, "dict", model=Net().eval(), at="pair")


def test_a_layer_that_is_not_the_only_way_through_is_no_problem():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6, bias=False)

        def forward(self, x):
            return (self.layer(x) + x).sum(1)

    model = Skip().eval()
    a = attribute(model, X, at="layer")
    assert torch.allclose(a.values, model.layer(X).detach(), atol=1e-6)


def test_token_ids_need_a_named_baseline():
    ids = torch.randint(0, 20, (2, 5), generator=torch.Generator().manual_seed(0))
    refused(
        ig.InputError, "baseline must be named", "ig.MaskToken", model=tiny_transformer(), x=ids,
        at="embedding",
    )  # fmt: skip
    refused(
        ig.Unsupported, "token ids", "at='embedding'", baseline=ig.MaskToken(0),
    )  # fmt: skip


def test_a_model_without_an_embedding_says_so():
    refused(ig.InputError, "one embedding layer", "none", at="embedding")


# ------------------------------------------------------------------------------- errors of the model


@pytest.mark.parametrize(
    "error", [ValueError("odd beard"), KeyError("odd beard"), AttributeError("odd beard")]
)
def test_an_error_of_the_model_shows_in_the_sentence_and_is_its_cause(error):
    model = nn.Sequential(relu_mlp(), Interrupts(0, error))
    found = refused(ig.ModelError, type(error).__name__, "odd beard", "(1, 6)", model=model)
    assert found.__cause__ is error


def test_an_error_without_a_message_is_still_named():
    refused(ig.ModelError, "ZeroDivisionError", model=lambda x: x / (1 // 0))


def test_an_error_in_the_backward_pass_is_a_sentence_too():
    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise ValueError("no way back")

    def model(x):
        return Backward.apply(x).sum(1)

    for check in (True, False):
        error = refused(ig.ModelError, "backward", "no way back", model=model, check=check)
        assert isinstance(error.__cause__, ValueError)


def test_a_model_that_overwrites_what_its_gradient_needs_is_refused():
    refused(ig.ModelError, "backward", "inplace", model=lambda x: x.exp().mul_(2).sum(1))


def test_a_model_that_is_not_callable_is_refused():
    refused(ig.ModelError, "not callable", model="resnet50")


def test_wrong_features_are_refused_in_a_sentence():
    refused(ig.ModelError, "(1, 5)", x=noise(2, 5))


# ------------------------------------------------------------------------------ what is not converged


def test_rows_above_the_tolerance_are_warned_of_by_number():
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0]])

    def step(x):
        return torch.sigmoid(500 * (x.sum(1) - 0.7311))

    with pytest.warns(ig.NotConverged, match=r"^row 1: .*tolerance.*nodes"):
        a = attribute(step, x, quadrature=ig.GaussLegendre(8))
    assert a.converged.tolist() == [True, False]


def test_strict_raises_what_is_otherwise_warned_of():
    def step(x):
        return torch.sigmoid(500 * (x.sum(1) - 0.7311))

    refused(
        ig.NotConverged, "row 0", "tolerance", "rtol", model=step, x=torch.ones(1, 2),
        quadrature=ig.GaussLegendre(8), strict=True,
    )  # fmt: skip


# ----------------------------------------------------------- the user's model, after whatever happens


class Everything(nn.Module):
    """Convolution, statistics, dropout, recurrence, shared weights; its forward can be interrupted."""

    def __init__(self, error=None, at: int = 0):
        super().__init__()
        self.conv = conv_net()
        self.layer = nn.Linear(4, 5)
        self.memory = nn.LSTM(5, 5, batch_first=True)
        self.stop = Interrupts(at, error) if error is not None else nn.Identity()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, 5)
        self.tied = nn.Linear(5, 5)
        self.tied.weight = self.head.weight
        self.head.bias.requires_grad_(False)
        self.layer.weight.grad = torch.ones(5, 4)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count.add_(1)
        h = self.layer(self.conv(x))
        h = self.stop(self.memory(h[:, None])[0][:, -1])
        return self.tied(self.head(self.drop(h)))


ENDS = {
    "no error": None,
    "an error": ValueError("here"),
    "an interrupt": KeyboardInterrupt(),
    "exit": SystemExit(3),
}


@pytest.mark.parametrize("at", ["input", "layer", "conv.4"])
@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.parametrize("call", [0, 3, 7])
@pytest.mark.parametrize("end", ENDS)
def test_the_model_is_as_it_was_whatever_happened(end, call, differentiable, at):
    error = ENDS[end]
    model = Everything(error, call).eval()
    torch.manual_seed(11)
    how = {"at": at, "differentiable": differentiable, "width": 2, "target": 1}
    with untouched(model):
        if error is None:
            attribute(model, noise(2, 3, 8, 8), **how)
        else:
            with pytest.raises(ig.ModelError if isinstance(error, Exception) else type(error)):
                attribute(model, noise(2, 3, 8, 8), **how)


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
@pytest.mark.parametrize("at", ["input", "layer"])
def test_the_random_state_is_as_it_was_also_for_a_random_model(at):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            return (self.layer(x) + 1e-4 * torch.randn(6)).square().sum(1)

    model = Noisy()
    torch.manual_seed(5)
    with untouched(model):
        attribute(model, X, check=False, at=at)


def test_drawing_a_baseline_leaves_the_random_state():
    model = relu_mlp()
    with untouched(model):
        attribute(model, X, baseline=ig.Uniform(samples=3), seed=7)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_callers_mode_is_as_it_was(mode):
    model = attention_net()
    before = state_of(model)
    with mode():
        inside = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        attribute(model, noise(2, 5, 4))
        with pytest.raises(ig.IntgradError):
            attribute(model, noise(2, 5, 3))
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == inside
    assert state_of(model) == before


def test_the_users_own_hooks_run_and_stay():
    seen = []
    model = relu_mlp()
    model[0].register_forward_hook(lambda m, args, out: seen.append(len(out)))
    with untouched(model):
        attribute(model, X, at="0")
    assert seen


def test_a_wrong_target_leaves_the_model_too():
    model = Everything().eval()
    with untouched(model):
        for target in (99, True, lambda out: out):
            with pytest.raises(ig.TargetError):
                attribute(model, noise(2, 3, 8, 8), target=target, at="layer")


def test_a_progress_function_that_fails_leaves_the_model_too():
    def stop(rows):
        raise KeyboardInterrupt

    model = Everything().eval()
    with untouched(model), pytest.raises(KeyboardInterrupt):
        attribute(model, noise(2, 3, 8, 8), progress=stop, at="layer")


def test_no_gradient_is_left_on_the_input_or_extras():
    x, scale = X.clone().requires_grad_(), torch.ones(3, 1, requires_grad=True)
    attribute(lambda x, scale: squares(x * scale), x, given={"scale": scale})
    assert x.grad is None
    assert scale.grad is None
    assert x.requires_grad
    assert scale.requires_grad


def test_a_mapping_output_is_not_changed():
    kept = Output(logits=torch.zeros(1))
    model = Counted(lambda x: Output(logits=squares(x)))
    attribute(model, X)
    assert list(kept) == ["logits"]

"""Which number is explained: every kind of target, checked by hand and against each other."""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import intgrad as ig
import strategies
from intgrad.model.backward import Backward
from intgrad.model.memory import COPIES, CPU_BUDGET, NARROWEST
from intgrad.model.scores import entry_of
from intgrad.model.target import Itself, Predicted, as_target
from nets import Counted, conv_net, gelu_mlp, noise, relu_mlp, tiny_transformer, untouched

RULE = ig.GaussLegendre(32, rtol=1.0)
X = noise(4, 6)

# scores at rows (1, 2) and (3, 1): [[1, 2, 4], [3, 1, 1]] by the linear map below
LINEAR = nn.Linear(2, 3, bias=False)
LINEAR.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.4, 2.2]])
ROWS = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
SCORES = torch.tensor([[1.0, 2.0, 4.0], [3.0, 1.0, 1.0]])


def attribute(model, x, target=None, **call):
    return ig.attribute(model, x, target=target, **{"quadrature": RULE, **call})


# ------------------------------------------------------------------------------- numbers by hand


def softmax(row, k):
    e = [np.exp(s) for s in row]
    return e[k] / sum(e)


HAND = {
    "predicted": (None, [4, 3]),
    "predicted logit": (ig.Logit(), [4, 3]),
    "index": (1, [2, 1]),
    "an index a row": ([0, 2], [1, 1]),
    "logit": (ig.Logit(2), [4, 1]),
    "probability": (ig.Probability(1), [softmax([1, 2, 4], 1), softmax([3, 1, 1], 1)]),
    "probability, predicted": (ig.Probability(), [softmax([1, 2, 4], 2), softmax([3, 1, 1], 0)]),
    "log-probability": (
        ig.LogProbability([0, 2]),
        [np.log(softmax([1, 2, 4], 0)), np.log(softmax([3, 1, 1], 2))],
    ),
    "margin": (ig.Margin(0, 1), [-1, 2]),
    "margin to the runner-up": (ig.Margin(), [2, 2]),
    "margin of a class to the best other": (ig.Margin(1), [-2, -2]),
    "margin of the predicted to a class": (ig.Margin(b=0), [3, 0]),
    "margin, a pair a row": (ig.Margin([2, 0], [0, 1]), [3, 2]),
    "callable": (lambda out: out[:, 0] * out[:, 1], [2, 3]),
    "callable with rows": (lambda out, rows: out[torch.arange(len(out)), 2 - rows], [4, 1]),
    "callable with a default": (lambda out, scale=3.0: out[:, 1] * scale, [6, 3]),
    "callable of all": (lambda *args: args[0][:, 1] + args[1], [2, 2]),
    "callable, builtin": (functools.partial(torch.amax, dim=1), [4, 3]),
    "callable, partial": (functools.partial(torch.sum, dim=1), [7, 5]),
}


@pytest.mark.parametrize("name", HAND)
def test_the_number_explained_is_the_one_by_hand(name):
    target, want = HAND[name]
    a = attribute(LINEAR, ROWS, target)
    assert torch.allclose(a.output, torch.tensor(want, dtype=torch.float64), atol=1e-6)
    assert a.residual.abs().max() < 1e-5


def test_a_target_that_is_a_module_is_a_callable():
    head = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)).eval()
    a = attribute(LINEAR, ROWS, head)
    assert torch.allclose(a.output, head(SCORES).double(), atol=1e-6)


def test_a_callable_of_rows_is_told_which_example_each_point_is_of():
    weight = torch.tensor([2.0, -3.0])
    a = attribute(LINEAR, ROWS, lambda out, rows: out[:, 0] * weight[rows])
    assert torch.allclose(a.values, torch.tensor([[2.0, 0.0], [-9.0, 0.0]]), atol=1e-6)


def test_a_linear_map_is_explained_by_its_weights():
    for k in range(3):
        a = attribute(LINEAR, ROWS, k)
        assert torch.allclose(a.values, ROWS * LINEAR.weight[k].detach(), atol=1e-6)


def test_a_margin_is_the_difference_of_its_logits():
    net = gelu_mlp()
    margin = attribute(net, X, ig.Margin([0, 1, 2, 3], 1)).values
    both = [attribute(net, X, t).values for t in ([0, 1, 2, 3], 1)]
    assert torch.allclose(margin, both[0] - both[1], atol=1e-6)
    assert not margin[1].any()  # class 1 minus class 1


@pytest.mark.parametrize("shape", [(), (1,)], ids=["(n,)", "(n, 1)"])
def test_regression_explains_the_number_itself(shape):
    def model(x):
        return x.square().sum(1).reshape(-1, *shape)

    a = attribute(model, X)
    assert a.targets == ("output",) * 4
    assert torch.allclose(a.values, X.square(), atol=1e-5)


def test_one_class_of_one_is_the_number_itself():
    def model(x):
        return x.square().sum(1, keepdim=True)

    assert torch.equal(attribute(model, X, 0).values, attribute(model, X).values)


# ------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (None, ("logit of class 2 (predicted)", "logit of class 0 (predicted)")),
        (1, ("logit of class 1", "logit of class 1")),
        ([0, 2], ("logit of class 0", "logit of class 2")),
        (ig.Probability(0), ("probability of class 0",) * 2),
        (ig.LogProbability(), tuple(f"log-probability of class {k} (predicted)" for k in (2, 0))),
        (ig.Margin(), ("class 2 minus class 1", "class 0 minus class 1")),
        (ig.Margin(0, 2), ("class 0 minus class 2",) * 2),
        (ig.All(), tuple(f"logit of class {k}" for k in range(3))),
    ],
    ids=repr,
)
def test_targets_have_names(target, names):
    assert attribute(LINEAR, ROWS, target).targets == names


def test_a_callable_lends_its_name():
    def second(out):
        return out[:, 1]

    class Third:
        def __call__(self, out):
            return out[:, 2]

    assert attribute(LINEAR, ROWS, second).targets == ("second",) * 2
    assert attribute(LINEAR, ROWS, Third()).targets == ("Third",) * 2


# ------------------------------------------------------------------------- fixed along the path


def test_the_predicted_class_is_that_of_the_row_along_the_whole_path():
    net = relu_mlp(seed=2)
    x, baseline = 3 * noise(8, 6, seed=4), 3 * noise(8, 6, seed=5)
    top = net(x).argmax(1)
    assert (top != net(baseline).argmax(1)).any()  # the prediction does change on the way
    assert len(set(top.tolist())) > 1
    a = attribute(net, x, baseline=baseline)
    b = attribute(net, x, top, baseline=baseline)
    assert torch.equal(a.values, b.values)
    rows = torch.arange(8)
    assert torch.allclose(a.baseline_output, net(baseline)[rows, top].double(), atol=1e-5)


def test_the_runner_up_is_that_of_the_row_along_the_whole_path():
    net = relu_mlp(seed=2)
    x = 3 * noise(8, 6, seed=4)
    order = net(x).argsort(1, descending=True)
    a = attribute(net, x, ig.Margin())
    b = attribute(net, x, ig.Margin(order[:, 0], order[:, 1]))
    assert torch.equal(a.values, b.values)


def test_a_class_a_row_stays_with_its_row_under_many_baselines():
    net = gelu_mlp()
    classes = [0, 1, 2, 3]
    uniform = ig.Uniform(samples=3)
    a = attribute(net, X, classes, baseline=uniform, width=5)
    for row, k in enumerate(classes):
        one = attribute(net, X[row : row + 1], k, baseline=uniform, width=5)
        assert torch.equal(a.values[row], one.values[0])


# ---------------------------------------------------------------------------- half precision


def test_probabilities_of_half_types_go_by_float32():
    def net(x):
        return 8 + x.bfloat16() @ torch.eye(4, dtype=torch.bfloat16)

    x = torch.tensor([[9.0, 0.0, 0.0, 0.0]])
    a = attribute(net, x, ig.Probability(0))
    want = torch.tensor([17.0, 8, 8, 8]).softmax(0)[0]  # 0.99963: bfloat16 would say 1
    assert abs(float(a.output) - float(want)) < 1e-6
    b = attribute(net, x, ig.LogProbability(0))
    assert abs(float(b.output) - float(want.log())) < 1e-6
    assert float(b.output) != 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_targets_of_half_models_come_close_to_float32(dtype):
    for target in (ig.Logit(1), ig.Probability(1), ig.LogProbability(1), ig.Margin(1, 0)):
        want = attribute(gelu_mlp(), X, target).values
        got = attribute(gelu_mlp(dtype=dtype), X.to(dtype), target).values
        assert (got - want).abs().sum() / want.abs().sum() < 0.1


def test_probabilities_keep_float64():
    a = attribute(gelu_mlp(dtype=torch.float64), X.double(), ig.Probability(1))
    want = gelu_mlp(dtype=torch.float64)(X.double()).softmax(1)[:, 1]
    assert (a.output - want).abs().max() < 1e-15


# -------------------------------------------------------------------------------- all at once


@pytest.mark.parametrize("baseline", [None, ig.Uniform(samples=2)], ids=repr)
@pytest.mark.parametrize("width", [None, 3])
def test_all_targets_are_those_of_a_loop(baseline, width):
    net, x = gelu_mlp(dtype=torch.float64), X.double()
    call = {"baseline": baseline, "width": width}
    a = attribute(net, x, ig.All(), **call)
    assert a.values.shape == (4, 4, 6)
    assert a.error.shape == a.residual.shape == a.output.shape == a.floor.shape == (4, 4)
    assert len(a) == 4
    for k in range(4):
        one, part = attribute(net, x, ig.Logit(k), **call), a.target(k)
        for name in ("values", "error_map", "output", "baseline_output", "residual"):
            got, want = getattr(part, name), getattr(one, name)
            assert got.shape == want.shape
            assert (got - want).abs().max() < 1e-12, name
        assert torch.allclose(part.error, one.error, rtol=1e-9)
        assert torch.equal(part.converged, one.converged)
        assert part.targets == one.targets
        assert (a.values[k] - one.values).abs().max() < 1e-12


def test_all_targets_of_a_tuple_and_at_a_layer():
    net = gelu_mlp(dtype=torch.float64)
    a, b = X.double(), noise(4, 6, seed=3, dtype=torch.float64)

    def model(a, b):
        return net(a * b)

    whole = attribute(model, (a, b), ig.All())
    layer = attribute(net, a, ig.All(), at="0")
    for k in range(4):
        one = attribute(model, (a, b), k)
        for i in range(2):
            assert (whole.values[i][k] - one.values[i]).abs().max() < 1e-12
            assert (whole.target(k).values[i] - one.values[i]).abs().max() < 1e-12
        assert (layer.values[k] - attribute(net, a, k, at="0").values).abs().max() < 1e-12


def test_sums_of_all_targets_are_those_of_a_loop():
    net, x = gelu_mlp(dtype=torch.float64), X.double()
    whole = attribute(net, x, ig.All())
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    added, grouped, some = whole.sum(-1), whole.group(labels), whole.select([2, 0])
    assert added.values.shape == (4, 4)
    for k in range(4):
        one = attribute(net, x, k)
        assert (added.target(k).values - one.sum(-1).values).abs().max() < 1e-12
        assert torch.allclose(added.target(k).error, one.sum(-1).error, rtol=1e-9)
        assert (grouped.target(k).values - one.group(labels).values).abs().max() < 1e-12
        assert (some.target(k).values - one.select([2, 0]).values).abs().max() < 1e-12
    with pytest.raises(ig.InputError, match="dim="):
        whole.sum(1)  # the rows
    with pytest.raises(ig.InputError, match="dim="):
        whole.sum(0)  # the targets


def test_a_single_target_has_no_target_axis():
    with pytest.raises(ig.InputError, match="single target"):
        attribute(LINEAR, ROWS, 0).target(0)


def test_logits_of_all_classes_sum_to_the_attribution_of_their_sum():
    net = gelu_mlp(dtype=torch.float64)
    whole = attribute(net, X.double(), ig.All()).values.sum(0)
    one = attribute(net, X.double(), lambda out: out.sum(1)).values
    assert (whole - one).abs().max() < 1e-12


@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
@settings(max_examples=30, deadline=None)
@given(
    seed=strategies.seeds,
    inputs=strategies.features,
    depth=strategies.depths,
    activation=strategies.activations,
    rows=strategies.rows,
    classes=st.sampled_from([1, 2, 7, 8, 9, 16, 17, 33]),
)
def test_all_classes_equal_single_runs_over_random_nets(
    seed, inputs, depth, activation, rows, classes
):
    net = strategies.mlp(seed, inputs, depth, activation, torch.float64, outputs=classes)
    x = strategies.points(seed, rows, inputs, torch.float64)
    whole = attribute(net, x, ig.All())
    for k in range(classes):
        one = attribute(net, x, k)
        assert (whole.values[k] - one.values).abs().max() <= 1e-12
        assert (whole.error_map[k] - one.error_map).abs().max() <= 1e-12


def test_one_forward_and_a_backward_a_class_are_counted():
    net = Counted(gelu_mlp())
    a = attribute(net, X, ig.All(), check=False)
    nodes, ends, floor = 32, 2, 1
    assert a.forwards.tolist() == [nodes + ends + floor] * 4
    assert a.backwards.tolist() == [4 * (nodes + floor)] * 4
    assert sum(net.sizes) == 4 * (nodes + ends + floor) + 1  # a row finds the width


def test_calls_are_narrowed_until_the_gradients_of_all_classes_fit():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 50)).eval()
    x = noise(1, 3, 32, 32)
    one, whole = attribute(net, x, 0), attribute(net, x, ig.All())
    held = lambda a, targets: COPIES * targets * x.nbytes * a.run.width  # noqa: E731
    assert NARROWEST < whole.run.width < one.run.width
    assert held(whole, 50) <= CPU_BUDGET < held(one, 50)
    assert (whole.values[7] - attribute(net, x, 7).values).abs().max() < 1e-6
    assert attribute(net, x, ig.All(), width=64).run.width == 64  # what was asked for


def test_with_a_fixed_width_a_row_of_all_classes_has_the_bytes_it_has_alone():
    for net, x in ((gelu_mlp(), noise(9, 6)), (conv_net(), noise(5, 3, 8, 8))):
        together = attribute(net, x, ig.All(), width=8)
        alone = attribute(net, x[3:4], ig.All(), width=8)
        assert torch.equal(together.values[:, 3], alone.values[:, 0])
        again = attribute(net, x, ig.All(), width=8)
        assert torch.equal(together.values, again.values)


def test_the_same_call_of_all_classes_gives_the_same_bytes():
    a, b = (attribute(gelu_mlp(), X, ig.All()) for _ in range(2))
    assert torch.equal(a.values, b.values)


def test_attributions_of_all_classes_can_be_differentiated():
    net = gelu_mlp(dtype=torch.float64)
    weight, x = net[0].weight, X.double()
    for target, single in (
        (ig.All(), range(4)),
        ([ig.Margin(0, 2), ig.Logit(1)], (ig.Margin(0, 2), 1)),
    ):
        whole = attribute(net, x, target, differentiable=True).values.square().sum()
        parts = sum(attribute(net, x, k, differentiable=True).values.square().sum() for k in single)
        (got,), (want,) = (torch.autograd.grad(loss, weight) for loss in (whole, parts))
        assert (got - want).abs().max() < 1e-12


# ------------------------------------------------------------------- backwards in batches, or not


@pytest.mark.parametrize("classes", [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100])
def test_batches_of_backwards_give_what_a_loop_gives(classes):
    net = gelu_mlp(dtype=torch.float64, classes=classes)
    calls = []
    x = X.double().requires_grad_()
    hidden = net[:4](x)
    hidden.register_hook(lambda g: calls.append(g.shape))
    values = net[4](hidden).T
    (got,) = Backward(row=1)(values, (x,), live=False)
    assert len(calls) == math.ceil(classes / 16)
    calls.clear()
    again = net[:4](x)
    again.register_hook(lambda g: calls.append(g.shape))
    (want,) = Backward()(net[4](again).T, (x,), live=False)
    assert len(calls) == classes
    assert got.shape == (classes, 4, 6)
    assert (got - want).abs().max() < 1e-14


def test_a_call_that_keeps_much_goes_back_class_by_class():
    calls = []
    x = X.clone().requires_grad_()
    hidden = x * 2
    hidden.register_hook(lambda g: calls.append(1))
    Backward(row=1 << 20)((hidden @ torch.ones(6, 5)).T, (x,), live=False)
    assert len(calls) == 5


def test_a_leaf_that_no_class_depends_on_gets_zeros_in_batches_too():
    x, other = X.clone().requires_grad_(), X.clone().requires_grad_()
    found = Backward(row=1)((x @ torch.ones(6, 5)).T, (x, other), live=False)
    assert torch.equal(found[0], torch.ones(5, 4, 6))
    assert torch.equal(found[1], torch.zeros(5, 4, 6))


def straight_through(seen):
    """The identity as a function whose backward pass tells `seen` of every gradient."""

    class Told(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            seen(g)
            return g.clone()

    return Told.apply


def numbers(g):
    """Reads numbers, which no batch can do."""
    float(g.sum())


def slow(g):
    """Says what torch says of an operation that it must run one by one."""
    warnings.warn("There is a performance drop: no batching rule for aten::x.", stacklevel=1)


@pytest.mark.parametrize(("seen", "nodes"), [(numbers, 1 + 4), (slow, 1)])
def test_a_backward_that_cannot_be_batched_is_looped_without_a_word(seen, nodes):
    net, tells = gelu_mlp(dtype=torch.float64), []

    def watch(g):
        tells.append(1)
        with warnings.catch_warnings():
            if len(tells) > 1:
                warnings.simplefilter("ignore")
            seen(g)

    passing = straight_through(watch)
    model = lambda x: net(passing(x))  # noqa: E731
    x = X.double()
    got = attribute(model, x, ig.All(), check=False)
    assert (got.values - attribute(net, x, ig.All()).values).abs().max() < 1e-12
    assert len(tells) == nodes + 4  # and four classes one by one for the floor


def test_what_the_models_own_backward_warns_of_is_passed_on():
    own = straight_through(lambda g: warnings.warn("my own", stacklevel=1))
    with pytest.warns(UserWarning, match="my own"):
        attribute(lambda x: gelu_mlp()(own(x)), X, ig.All(), check=False)


def test_a_backward_that_fails_says_why():
    def fail(g):
        raise ValueError("no way back")

    fails = straight_through(fail)
    with pytest.raises(ig.ModelError, match="backward pass failed: ValueError: no way back"):
        attribute(lambda x: gelu_mlp()(fails(x)), X, ig.All(), check=False)


def test_a_batch_that_does_not_fit_in_memory_halves_the_call():
    net = gelu_mlp(dtype=torch.float64)

    def small(g):
        if len(g) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    fits, x = straight_through(small), X.double()
    a = attribute(lambda x: net(fits(x)), x, ig.All())
    assert a.run.width == 8
    assert (a.values - attribute(net, x, ig.All()).values).abs().max() < 1e-12


@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore::DeprecationWarning")
def test_a_compiled_part_of_a_model_is_no_obstacle():
    torch.compiler.reset()
    net = gelu_mlp()
    part = torch.compile(net, backend="aot_eager")
    want = attribute(net, X, ig.All()).values
    assert torch.allclose(attribute(nn.Sequential(part), X, ig.All()).values, want, atol=1e-6)
    a = attribute(lambda x: part(x), X, ig.All())
    assert torch.allclose(a.values, want, atol=1e-6)
    assert (a.forwards > a.backwards).all()  # its graph can be gone through only once
    torch.compiler.reset()


# ------------------------------------------------------------------------- a list of targets


def squares(out):
    return out.square().sum(1)


LISTS = {
    "two logits": [ig.Logit(3), ig.Logit(0)],
    "kinds": [ig.Logit(3), ig.Probability(3), ig.LogProbability(1), ig.Margin(0, 2)],
    "callables": [squares, lambda out: out[:, 1] * out[:, 2], ig.Probability()],
    "a class a row": [ig.Logit([0, 1, 2, 3]), ig.Margin(), lambda out, rows: out[:, 0] * rows],
    "the same twice": [squares, squares, ig.Logit(1), ig.Logit(1)],
    "a tuple of one": (ig.Margin(1, 2),),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("width", [None, 5])
def test_a_list_of_targets_equals_as_many_runs(name, width):
    net, x = gelu_mlp(dtype=torch.float64), X.double()
    several = attribute(net, x, LISTS[name], width=width)
    assert several.values.shape == (len(LISTS[name]), 4, 6)
    assert several.error.shape == (len(LISTS[name]), 4)
    for k, target in enumerate(LISTS[name]):
        one, part = attribute(net, x, target, width=width), several.target(k)
        for field in ("values", "error_map", "output", "baseline_output", "residual"):
            assert (getattr(part, field) - getattr(one, field)).abs().max() < 1e-12, field
        assert torch.equal(part.converged, one.converged)
    assert several.forwards.tolist() == attribute(net, x, squares, width=width).forwards.tolist()


def test_a_list_may_hold_all_classes_too():
    net, x = gelu_mlp(dtype=torch.float64), X.double()
    both = attribute(net, x, [ig.Margin(0, 1), ig.All()])
    whole = attribute(net, x, ig.All())
    assert both.values.shape == (5, 4, 6)
    assert (both.values[1:] - whole.values).abs().max() < 1e-12
    assert (both.values[0] - (whole.values[0] - whole.values[1])).abs().max() < 1e-12
    assert both.targets == ("class 0 minus class 1", *whole.targets)


def test_targets_of_a_list_may_read_different_entries_of_different_dtypes():
    net = gelu_mlp(dtype=torch.float64)

    def model(x):
        out = net(x)
        return {"logits": out, "half": out[:, :3].float(), "maps": out.reshape(-1, 2, 2)}

    maps = lambda out: out["maps"].square().sum((1, 2))  # noqa: E731
    targets = [ig.Logit(1), ig.Logit(2, entry="half"), maps, ig.Margin(0, 3)]
    several = attribute(model, X.double(), targets)
    for k, target in enumerate(targets):
        one = attribute(model, X.double(), target)
        assert (several.values[k] - one.values).abs().max() < 1e-6
        assert (several.output[k] - one.output).abs().max() < 1e-12


def test_a_list_at_a_layer_and_at_an_embedding():
    net, x = gelu_mlp(dtype=torch.float64), X.double()
    targets = [ig.Logit(3), squares]
    layer = attribute(net, x, targets, at="0")
    text, ids = tiny_transformer(dtype=torch.float64), torch.tensor([[1, 5, 7, 2], [1, 8, 4, 2]])
    call = {"at": "embedding", "baseline": ig.MaskToken(3)}
    words = attribute(text, ids, [ig.Probability(1), squares], **call)
    for k, target in enumerate(targets):
        assert (layer.values[k] - attribute(net, x, target, at="0").values).abs().max() < 1e-12
    for k, target in enumerate([ig.Probability(1), squares]):
        assert (words.values[k] - attribute(text, ids, target, **call).values).abs().max() < 1e-12


def test_a_list_of_one_output_or_of_regression_is_several_too():
    f = lambda x: x.square().sum(1)  # noqa: E731
    a = attribute(f, X, [lambda out: out, lambda out: 2 * out])
    assert torch.allclose(a.values[0], X.square(), atol=1e-5)
    assert torch.allclose(a.values[1], 2 * X.square(), atol=1e-5)


def test_a_list_has_one_name_a_target():
    top = ("logit of class 2 (predicted)", "logit of class 0 (predicted)")
    a = attribute(LINEAR, ROWS, [ig.Logit(1), ig.Logit(), ig.Margin(0, 2), squares])
    assert a.targets == ("logit of class 1", " | ".join(top), "class 0 minus class 2", "squares")
    assert a.target(1).targets == (" | ".join(top),) * 2
    many = attribute(relu_mlp(), noise(8, 6), [ig.Logit([0, 1, 2, 3] * 2)]).targets
    assert many == ("logit of class 0 | logit of class 1 | logit of class 2 | ...",)


def test_a_list_can_be_saved_and_shown(tmp_path):
    a = attribute(LINEAR, ROWS, [ig.Logit(1), squares])
    a.save(tmp_path / "a.safetensors")
    again = ig.Attribution.load(tmp_path / "a.safetensors")
    assert torch.equal(again.values, a.values)
    assert again.targets == a.targets
    assert again.target(1).values.shape == ROWS.shape
    assert "squares" in str(again)
    assert "squares" in a.to_html()


def test_a_list_of_whole_numbers_stays_one_class_a_row():
    assert attribute(LINEAR, ROWS, [0, 2]).values.shape == ROWS.shape
    assert attribute(LINEAR, ROWS, (0, 2)).targets == ("logit of class 0", "logit of class 2")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ([ig.Logit(1), 2], "holds 2"),
        ([ig.Logit(1), None], "holds None"),
        ([ig.Logit(1), "2"], "holds '2'"),
        ([squares, torch.tensor(1)], "holds tensor"),
        ([[ig.Logit(1)], squares], "holds "),
        ([ig.Logit], "write Logit"),
        ([ig.Logit(1), ig.Logit(9)], "9 is not a class"),
        ([squares, lambda out: out.sum()], "one number a row"),
        ([ig.Logit(1), ig.Logit(1, entry="b")], "entry='b'"),
        ([squares, lambda out: out[:, 0].detach()], "does not depend on the input"),
        ([], "not understood"),
    ],
)
def test_a_list_that_is_none_of_targets_is_refused(target, said):
    with untouched(net := relu_mlp()), pytest.raises(ig.TargetError, match=said):
        attribute(net, X, target)


def test_entries_with_other_rows_are_refused_in_a_list():
    with pytest.raises(ig.TargetError, match="2 rows for 4"):
        attribute(lambda x: (x, x[:2]), X, [ig.Logit(0, entry=0), ig.Logit(0, entry=1)])


# --------------------------------------------------------------------------- targets as values


def test_targets_are_values():
    assert ig.Logit(3) == ig.Logit(3) != ig.Logit(4)
    assert ig.Margin(1, 2) != ig.Probability(1)
    assert "3" in repr(ig.Logit(3))


@pytest.mark.parametrize(
    "target", [ig.Logit(2), ig.Probability(2), ig.LogProbability(2), ig.Margin(2, 1), ig.All()]
)
def test_a_target_can_be_called_on_an_output(target):
    found = target(SCORES, torch.arange(2))
    want = {
        ig.Logit: [4.0, 1.0],
        ig.Probability: SCORES.softmax(1)[:, 2].tolist(),
        ig.LogProbability: SCORES.log_softmax(1)[:, 2].tolist(),
        ig.Margin: [2.0, 0.0],
        ig.All: SCORES.T.tolist(),
    }[type(target)]
    assert found.tolist() == want


def test_what_target_means_is_read_once():
    assert isinstance(as_target(None), Predicted)
    assert as_target(3) == ig.Logit(3)
    assert as_target(ig.Margin()) == ig.Margin()
    assert Itself()(torch.ones(3, 1), torch.arange(3)).shape == (3,)


def test_scores_are_found_by_name_or_number():
    assert entry_of((1, SCORES), 1) is SCORES
    assert entry_of({"a": SCORES}, None) is SCORES
    with pytest.raises(ig.TargetError, match="entry=5"):
        entry_of((SCORES,), 5)
    with pytest.raises(ig.TargetError, match=r"entry='b'.*'a'"):
        entry_of({"a": SCORES}, "b")

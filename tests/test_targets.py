"""Which number is explained: every kind of target, checked by hand and against each other."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

import intgrad as ig
from intgrad.model.scores import entry_of
from intgrad.model.target import Itself, Predicted, as_target
from nets import gelu_mlp, noise, relu_mlp

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

"""The decision boundary: closed forms, what is nearest, what the search costs, what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import intgrad as ig
from conftest import load_nets
from intgrad.nearest import Box, Search, dot
from nets import (
    Counted,
    Output,
    conv_net,
    gelu_mlp,
    noise,
    relu_mlp,
    tiny_transformer,
    untouched,
)

D = torch.float64


class Ends:
    """A rule that keeps the curves it is given, and where they start."""

    def __call__(self, integral):
        every = torch.arange(len(integral.curves))
        self.starts = integral.curves.start.take(every)
        return ig.GaussLegendre(24, rtol=1.0)(integral)


def search(model, x, boundary=ig.Boundary(), **call):
    """The starts, one a row, and the attribution from them."""
    ends = Ends()
    a = ig.attribute(model, x, baseline=boundary, quadrature=ends, **call)
    return (ends.starts[0] if isinstance(a.values, torch.Tensor) else ends.starts), a


def distance(z, x):
    return (z - x).flatten(1).norm(dim=1)


def margin(model, z, c):
    """The score of class c less that of the strongest other."""
    s = model(z).detach()
    own = s.gather(1, c[:, None])[:, 0]
    return own - s.scatter(1, c[:, None], -torch.inf).amax(1)


def linear(features, classes, seed=0):
    layer = nn.Linear(features, classes, dtype=D).eval()
    layer.weight.data, layer.bias.data = (
        noise(classes, features, seed=seed, dtype=D),
        noise(classes, seed=seed + 1, dtype=D),
    )
    return layer


# ----------------------------------------------------------------------------------- closed forms


def test_between_two_linear_classes_it_is_the_foot_of_the_perpendicular():
    model, x = linear(5, 2), noise(8, 5, seed=3, dtype=D)
    w = (model.weight[0] - model.weight[1]).detach()
    foot = x - ((x @ w + model.bias[0] - model.bias[1]) / w.square().sum())[:, None].detach() * w
    start, _ = search(model, x)
    assert (distance(start, foot) <= 1e-7 * distance(foot, x)).all()


@pytest.mark.parametrize("classes", [3, 8, 25])
def test_between_linear_classes_it_is_on_the_nearest_hyperplane(classes):
    model, x = linear(6, classes), noise(12, 6, seed=4, dtype=D)
    s, w = model(x).detach(), model.weight.detach()
    c = s.argmax(1)
    lead, apart = s.gather(1, c[:, None]) - s, (w[c][:, None] - w[None]).norm(dim=2)
    away = (lead / apart).scatter(1, c[:, None], torch.inf)
    start, a = search(model, x)
    assert torch.allclose(distance(start, x), away.amin(1), rtol=1e-7)
    (note,) = a.run.notes
    for row, (own, into) in enumerate(zip(c.tolist(), away.argmin(1).tolist(), strict=True)):
        assert f"row {row} from class {own} to {into}, {away[row].min():.4g} away" in note


def ball(x):
    """Positive inside the circle of radius 2, one number a row."""
    return 4 - x.square().sum(1)


@pytest.mark.parametrize("shape", ["(n,)", "(n, 1)"])
@pytest.mark.parametrize("at", [0.0, 0.3, 1.9, 2.5, 40.0])
def test_of_a_circle_it_is_the_radial_point_from_inside_and_outside(shape, at):
    x = torch.tensor([[0.6, 0.8]], dtype=D) * at
    model = ball if shape == "(n,)" else lambda z: ball(z)[:, None]
    start, a = search(model, x, ig.Boundary(restarts=4))
    assert distance(start, x).item() == pytest.approx(abs(2 - at), rel=1e-6)
    assert abs(ball(start).item()) <= 1e-7 * abs(ball(x).item())
    assert ball(start).item() * ball(x).item() <= 0
    way = "above 0 to below" if at < 2 else "below 0 to above"
    assert f"row 0 from {way}, " in a.run.notes[0]


def test_a_point_on_the_boundary_is_its_own_start():
    x = torch.tensor([[2.0, 0.0], [1.0, 0.0]], dtype=D)
    start, a = search(ball, x)
    assert torch.equal(start[0], x[0])
    assert distance(start, x)[1] == pytest.approx(1.0, rel=1e-6)
    assert a.values[0].abs().max() == 0


@pytest.mark.parametrize("inside", [True, False])
def test_it_slides_along_an_ellipse_to_the_nearest_point(inside):
    axes = torch.tensor([3.0, 1.0], dtype=D)
    x = torch.tensor(
        [[0.9, 0.3], [-2.0, 0.1], [1.0, -0.6]] if inside else [[4.0, 2.0], [0.5, -3.0]]
    )
    x = x.double()
    t = torch.linspace(0, 2 * math.pi, 400_001, dtype=D)
    curve = torch.stack([axes[0] * t.cos(), axes[1] * t.sin()], 1)
    truth = torch.stack([(curve - row).norm(dim=1).min() for row in x])
    ellipse = lambda z: 1 - (z / axes).square().sum(1)  # noqa: E731
    found = distance(search(ellipse, x)[0], x)
    walked = distance(search(ellipse, x, ig.Boundary(restarts=0, refine=0))[0], x)
    assert torch.allclose(found, truth, rtol=1e-5)
    assert (walked > 1.01 * truth).any(), "the walk alone is as near: this tests nothing"


def test_the_first_attempt_goes_to_the_nearest_boundary_not_to_the_strongest_rival():
    model = nn.Linear(2, 3, dtype=D).eval()
    model.weight.data = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 10.0]], dtype=D)
    model.bias.data = torch.tensor([1.0, 0.5, -2.0], dtype=D)  # margins 0.5 and 3: 5 and 0.3 away
    x = torch.zeros(1, 2, dtype=D)
    start, a = search(model, x, ig.Boundary(restarts=0))
    assert distance(start, x).item() == pytest.approx(0.3, rel=1e-7)
    assert "row 0 from class 0 to 2, 0.3 away" in a.run.notes[0]


# ----------------------------------------------------------------------------------- in a box

CORNER = torch.tensor([[0.9, 0.2]], dtype=D)


def plane(x):
    return 1.5 - x.sum(1)


def test_in_a_box_the_nearest_point_goes_along_its_wall():
    start, _ = search(plane, CORNER, ig.Boundary(low=0, high=1))
    assert torch.allclose(start, torch.tensor([[1.0, 0.5]], dtype=D), atol=1e-6)
    free, _ = search(plane, CORNER)
    assert torch.allclose(free, torch.tensor([[1.1, 0.4]], dtype=D), atol=1e-6)


def test_a_curved_boundary_in_a_box_is_met_where_the_wall_is():
    x = torch.tensor([[0.5, 0.9, 0.9]], dtype=D)
    f = lambda z: 2.5 - z.square().sum(1)  # noqa: E731
    start, _ = search(f, x, ig.Boundary(low=0, high=1))
    # without the wall the last two would go to 1.27; at 1 they leave sqrt(2.5 - 2) for the first
    there = torch.tensor([[0.5**0.5, 1.0, 1.0]], dtype=D)
    assert distance(start, x).item() == pytest.approx(distance(there, x).item(), rel=1e-5)
    assert torch.allclose(start, there, atol=1e-3)
    assert start.max() <= 1


def test_a_boundary_outside_the_box_is_not_found():
    with pytest.raises(ig.ModelError, match=r"row 0 \(its margin of 1\.4 fell to 0\.5 at best"):
        search(lambda z: 2.5 - z.sum(1), CORNER, ig.Boundary(low=0, high=1))


def test_an_input_outside_the_box_is_refused():
    with pytest.raises(ig.InputError, match=r"row 0 of x goes from 0\.2 to 0\.9, outside the box"):
        search(plane, CORNER, ig.Boundary(low=0.3))


walls = st.tuples(st.floats(-2, -0.1), st.floats(0.1, 2))


@given(st.integers(0, 2**20), st.integers(1, 7), walls, st.floats(0.01, 1.5))
def test_the_projection_on_a_plane_in_a_box_is_the_nearest_point(seed, n, sides, share):
    g = torch.Generator().manual_seed(seed)
    low, high = sides
    z = torch.rand(1, n, generator=g, dtype=D) * (high - low) + low
    gradient = torch.randn(1, n, generator=g, dtype=D)
    most = (gradient.clamp(min=0) * (z - low) - gradient.clamp(max=0) * (high - z)).sum()
    drop = share * most.reshape(1)
    (found,) = Box(low, high).project((z,), (gradient,), drop)
    assert low <= found.min()
    assert found.max() <= high
    assert torch.allclose(dot((gradient,), (z - found,)), torch.minimum(drop, most), rtol=1e-9)
    # the conditions of optimality: it is the clip of z - s gradient for one s
    moved = (z - found) / gradient
    free = (found > low) & (found < high)
    if free.any():
        step = moved[free].max()
        assert torch.allclose((z - step * gradient).clamp(low, high), found, atol=1e-9)


# ----------------------------------------------------------------------------------- back to the boundary

CURVES = {  # a margin of 1 at 0, below zero at 1: where it is zero, and how often one may ask
    "line": (lambda t: 1 - 3 * t, 1 / 3, 1),
    "square": (lambda t: 1 - 4 * t**2, 1 / 2, 10),
    "early": (lambda t: 1.5 * (1 - t) ** 40 - 0.5, 1 - 3 ** (-1 / 40), 14),
    "late": (lambda t: 1 - 1000 * t**20, 1000 ** (-1 / 20), 20),
    "cliff": (lambda t: 1 - torch.expm1(700 * t), math.log(2) / 700, 45),
    "jump": (lambda t: torch.where(t < 0.3, 1.0, -1.0).double(), 0.3, 80),
}


@pytest.mark.parametrize("name", CURVES)
def test_the_way_back_ends_just_across_after_few_questions(name):
    f, zero, most = CURVES[name]
    asked = []

    def ask(z, rows):
        asked.append(len(rows))
        return f(z[0][:, 0]), (torch.zeros_like(z[0]),)

    x, one, row = torch.zeros(1, 1, dtype=D), torch.ones(1, 1, dtype=D), torch.arange(1)
    search = Search(ask, (x,), row, f(x[:, 0]), Box())
    (z,) = search.cross(row, (one,), f(one[:, 0]))
    assert z.item() == pytest.approx(zero, rel=1e-7)
    assert -1 <= f(z[:, 0]).item() <= 0
    assert name == "jump" or f(z[:, 0]).item() >= -1e-8
    assert sum(asked) <= most


# ----------------------------------------------------------------------------------- nothing nearer


def steep(net):
    """Sharper and shifted, so that several boundaries are near."""
    for i, layer in enumerate(m for m in net if isinstance(m, nn.Linear)):
        layer.weight.data *= 3
        layer.bias.data = noise(len(layer.bias), seed=i, dtype=D)
    return net


@pytest.mark.parametrize("net", [relu_mlp, gelu_mlp])
def test_every_start_is_just_across_and_nothing_is_much_nearer(net):
    model, x = steep(net(0, D)), noise(30, 6, seed=5, dtype=D)
    c = model(x).argmax(1)
    start, _ = search(model, x)
    at, was, away = margin(model, start, c), margin(model, x, c), distance(start, x)
    assert (at <= 0).all()
    assert (at >= -1e-7 * was).all()
    way = nn.functional.normalize(noise(20_000, 6, seed=8, dtype=D), dim=1)
    reach = torch.rand(20_000, 1, generator=torch.Generator().manual_seed(9), dtype=D) ** (1 / 6)
    for row in range(len(x)):
        near = x[row] + 0.9 * away[row] * reach * way
        assert (model(near).argmax(1) == c[row]).all(), f"row {row}: another class is nearer"


def test_in_the_plane_the_start_is_nearly_as_near_as_exhaustive_search_finds():
    model, x = steep(relu_mlp(3, D, features=2)), noise(20, 2, seed=6, dtype=D)
    c = model(x).argmax(1)
    away = distance(search(model, x)[0], x)
    t = torch.linspace(0, 2 * math.pi, 721, dtype=D)[:-1]
    ways = torch.stack([t.cos(), t.sin()], 1)
    radii = torch.linspace(0, 1, 201, dtype=D)[1:]
    for row in range(len(x)):
        grid = x[row] + away[row] * radii[:, None, None] * ways
        other = model(grid.reshape(-1, 2)).argmax(1).reshape(grid.shape[:2]) != c[row]
        hit = radii[other.any(1)]
        assert not len(hit) or hit[0] >= 0.95, f"row {row}: {hit[0]:.3f} of the way is enough"


def test_sliding_and_restarts_only_bring_it_nearer():
    model, x = steep(relu_mlp(0, D)), noise(30, 6, seed=5, dtype=D)
    walk, slid, again = (
        distance(search(model, x, ig.Boundary(restarts=r, refine=k))[0], x)
        for r, k in ((0, 0), (0, 20), (6, 20))
    )
    assert (slid <= walk * (1 + 1e-7)).all()
    assert (again <= slid * (1 + 1e-7)).all()
    assert slid.mean() < 0.97 * walk.mean()
    assert again.mean() < 0.99 * slid.mean()


# ----------------------------------------------------------------------------------- the answer


@pytest.mark.parametrize("target", [None, ig.Probability(), ig.Margin(), ig.All(), 2], ids=repr)
def test_the_values_sum_to_what_was_gained_since_the_boundary(target):
    model, x = gelu_mlp(0, D), noise(4, 6, seed=2, dtype=D)
    a = ig.methods.big()(model, x, target=target)
    assert bool(a.converged.all())
    assert (a.residual.abs() <= 0.02 * a.values.abs().sum(-1)).all()
    start, _ = search(model, x)
    if target == 2:
        assert torch.allclose(a.baseline_output, model(start)[:, 2], atol=1e-12)


def test_of_a_linear_margin_the_values_are_the_squared_shares_of_its_weights():
    model, x = linear(5, 2), noise(3, 5, seed=3, dtype=D)
    a = ig.methods.big()(model, x, target=ig.Margin())
    w = (model.weight[0] - model.weight[1]).detach()
    share = w.square() / w.square().sum()
    assert torch.allclose(a.values, a.output[:, None] * share, rtol=1e-6)
    assert torch.allclose(a.baseline_output, torch.zeros(3, dtype=D), atol=1e-7)


def test_the_class_is_the_predicted_one_whatever_the_target_is():
    model, x = gelu_mlp(0, D), noise(4, 6, seed=2, dtype=D)
    starts = [search(model, x, target=t)[0] for t in (None, 0, lambda s: s.square().sum(1))]
    assert torch.equal(starts[0], starts[1])
    assert torch.equal(starts[0], starts[2])


def test_scores_are_found_where_the_target_finds_them():
    net, x = gelu_mlp(0, D), noise(3, 6, seed=2, dtype=D)
    model = lambda z: Output(first=-net(z), second=net(z))  # noqa: E731
    plain, _ = search(net, x)
    named, _ = search(model, x, target=ig.Logit(1, entry="second"))
    several, _ = search(model, x, target=[ig.Logit(1, entry="second"), ig.Margin(entry="second")])
    assert torch.equal(plain, named)
    assert torch.equal(plain, several)


def test_tuples_are_searched_together():
    model = lambda a, b: 3 - (a * torch.tensor([2.0, 0.0])).sum(1) - b[:, 0]  # noqa: E731
    x = torch.zeros(2, 2, dtype=D), torch.zeros(2, 1, dtype=D)
    (a, b), _ = search(model, x)
    assert torch.allclose(a, torch.tensor([[1.2, 0.0]], dtype=D), atol=1e-6)
    assert torch.allclose(b, torch.tensor([[0.6]], dtype=D), atol=1e-6)


def test_at_a_layer_the_start_is_in_its_units():
    model, x = steep(relu_mlp(0, D)), noise(4, 6, seed=5, dtype=D)
    start, a = search(model, x, at="2")
    rest = model[3:]
    c, h = model(x).argmax(1), model[:3](x)
    assert start.shape == h.shape
    at = margin(rest, start, c)
    assert (at <= 0).all()
    assert (at >= -1e-7 * margin(rest, h, c)).all()
    assert (a.residual.abs() < 1e-2).all()


def test_at_the_embedding_of_a_text_the_start_is_among_embeddings():
    model, ids = tiny_transformer(0, D), torch.tensor([[3, 4, 5, 6], [7, 8, 2, 1]])
    start, _ = search(model, ids, at="embedding")
    assert start.shape == (2, 4, 8)
    assert ((start - model.embedding(ids)).flatten(1).norm(dim=1) > 0).all()


def test_the_start_is_a_number_to_a_loss():
    model, x = gelu_mlp(0, D), noise(2, 6, seed=2, dtype=D).requires_grad_()
    start, _ = search(model, x.detach())
    live = ig.attribute(
        model, x, baseline=ig.Boundary(), quadrature=ig.GaussLegendre(8, rtol=1.0),
        differentiable=True,
    )  # fmt: skip
    fixed = ig.attribute(
        model, x, baseline=start, quadrature=ig.GaussLegendre(8, rtol=1.0), differentiable=True
    )
    one, other = (torch.autograd.grad(a.values.square().sum(), x)[0] for a in (live, fixed))
    assert torch.allclose(one, other, atol=1e-10)


# ----------------------------------------------------------------------------------- how it is asked


@pytest.mark.parametrize("width", [None, 1, 3, 64])
def test_a_row_does_not_depend_on_its_batch_mates(width):
    model, x = steep(relu_mlp(0, D)), noise(5, 6, seed=5, dtype=D)
    together, a = search(model, x, width=width)
    for row in range(5):
        alone, b = search(model, x[row : row + 1], width=width)
        assert torch.allclose(alone[0], together[row], rtol=1e-9, atol=1e-12)
        assert b.forwards[0] == a.forwards[row], "another way to the same place"


def test_the_seed_decides_the_displacements():
    model, x = steep(relu_mlp(0, D)), noise(30, 6, seed=5, dtype=D)
    a, b, c = (search(model, x, seed=s)[0] for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_every_row_that_goes_through_the_model_is_counted():
    model, x = Counted(gelu_mlp(0, D)), noise(5, 6, seed=2, dtype=D)
    _, a = search(model, x, check=False)
    assert sum(model.sizes) == int(a.forwards.sum()) + a.run.checks
    _, plain = search(gelu_mlp(0, D), x, ig.Zeros(), check=False)
    assert (a.backwards > plain.backwards).all()


def test_rows_that_are_done_are_not_asked_again():
    easy, hard = torch.tensor([[1.9, 0.0]], dtype=D), torch.tensor([[0.1, 0.02]], dtype=D)
    ellipse = lambda z: 4 - (z * torch.tensor([1.0, 1.3], dtype=D)).square().sum(1)  # noqa: E731
    both = search(ellipse, torch.cat([easy, hard]))[1].forwards
    alone = [search(ellipse, x)[1].forwards.item() for x in (easy, hard)]
    assert both.tolist() == alone
    assert alone[0] < alone[1]


def test_calls_keep_to_the_width():
    model, x = Counted(gelu_mlp(0, D)), noise(7, 6, seed=2, dtype=D)
    search(model, x, width=3, check=False)
    assert set(model.sizes) == {3}


def test_the_model_and_the_input_stay_as_they_were():
    model, x = conv_net(), noise(2, 3, 8, 8)
    before = x.clone()
    with untouched(model):
        start, _ = search(model, x)
    assert torch.equal(x, before)
    assert start.dtype == x.dtype


def test_in_float32_the_start_is_across_to_rounding():
    model, x = conv_net(), noise(4, 3, 8, 8)
    start, _ = search(model, x)
    c = model(x).argmax(1)
    scale = model(x).detach().abs().amax(1)
    assert (margin(model, start, c) <= 1e-6 * scale).all()
    assert (margin(model, start, c).abs() <= 1e-4 * margin(model, x, c) + 1e-6 * scale).all()


# ----------------------------------------------------------------------------------- refusals


def test_a_constant_class_has_no_boundary():
    model = lambda z: torch.stack([1 + z.square().sum(1), -z.square().sum(1)], 1)  # noqa: E731
    with pytest.raises(
        ig.ModelError, match="no point of another class was found by 3 attempts"
    ) as e:
        search(model, noise(2, 3, dtype=D))
    assert "row 0" in str(e.value)
    assert "row 1" in str(e.value)
    assert "Give Boundary more steps= or restarts=, or these rows another baseline" in str(e.value)


def test_only_the_rows_without_a_boundary_are_named():
    f = lambda z: torch.where(z[:, 0] > 0, 1 + z[:, 0], 1 + z[:, 0] ** 3)  # noqa: E731
    g = lambda z: torch.where(z[:, 1] > 0, f(z), 2 + z[:, 0].square())  # noqa: E731
    x = torch.tensor([[0.5, 9.0], [0.5, -9.0]], dtype=D)
    with pytest.raises(ig.ModelError, match="row 1 ") as e:
        search(g, x, ig.Boundary(restarts=0))
    assert "row 0" not in str(e.value)


def test_a_probability_never_gets_to_zero():
    model = lambda z: z.sum(1).sigmoid()  # noqa: E731
    with pytest.raises(ig.ModelError, match="One score a row is read as a logit"):
        search(model, noise(1, 3, dtype=D))


def test_a_flat_start_is_left_by_chance():
    model = lambda z: 1 - 3 * torch.relu(z.abs().sum(1) - 4)  # noqa: E731
    x = torch.tensor([[0.5, 0.5]], dtype=D)
    start, _ = search(model, x, ig.Boundary(restarts=6))
    assert model(start).item() == pytest.approx(0, abs=1e-7)
    with pytest.raises(ig.ModelError, match="up to 0 away"):
        search(model, x, ig.Boundary(restarts=0))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_model_that_breaks_on_the_way_is_no_crossing(bad):
    def model(z):
        s = 1 - z[:, 0]
        return torch.where(z[:, 0] > 0.5, s * 0 + bad, s)

    with pytest.raises(ig.ModelError, match="no point of another class was found"):
        search(model, torch.zeros(1, 2, dtype=D))


def test_scores_with_more_axes_are_refused():
    model = lambda z: z[:, :, None] * torch.ones(3, dtype=D)  # noqa: E731
    with pytest.raises(ig.TargetError, match=r"shape \(2, 4, 3\); a decision boundary needs"):
        search(model, noise(2, 4, dtype=D), target=lambda s: s.sum((1, 2)))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"steps": 0}, "whole number of at least 1"),
        ({"restarts": -1}, "whole number of at least 0"),
        ({"refine": 2.5}, "whole number of at least 0"),
        ({"overshoot": 0}, "a number above 0"),
        ({"low": 1.0, "high": 1.0}, "expected low < high"),
    ],
)
def test_impossible_numbers_are_refused(parts, said):
    with pytest.raises(ig.InputError, match=said):
        ig.Boundary(**parts)


def test_where_the_model_cannot_be_asked_it_says_so():
    with pytest.raises(ig.Unsupported, match="asks the model for its starts"):
        ig.Boundary()((noise(1, 3),), torch.arange(1), 0)


# ----------------------------------------------------------------------------------- a real network


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the data's loader
def test_a_photograph_is_a_fraction_of_a_grey_level_from_another_class(data):
    nets = load_nets(data)
    net, prep, _ = nets.squeezenet()
    x = nets.load_image(data / "imagenet_photos" / "named" / "cat.jpg")
    model = lambda z: net(prep(z))  # noqa: E731
    start, a = search(model, x, ig.Boundary(restarts=0, low=0, high=1))
    c = model(x).argmax(1)
    assert "row 0 from class 285 to 282, 0.03" in a.run.notes[0]  # Egyptian cat to tiger cat
    assert 0.02 < distance(start, x).item() < 0.04  # over 150,528 numbers from 0 to 1
    assert abs(margin(model, start, c).item()) < 1e-4 * margin(model, x, c).item()
    assert start.min() >= 0
    assert start.max() <= 1
    assert a.evaluations.item() < 100

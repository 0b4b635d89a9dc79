"""XRAI: the greedy order is what its definition says, and regions add up to what pixels do."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import intgrad as ig

pytest.importorskip("PIL", reason='needs pip install "intgrad[image]"')
pytest.importorskip("skimage", reason='needs pip install "intgrad[image]"')

from PIL import Image

import contract
from intgrad import image
from intgrad.image import xrai
from intgrad.image.segments import SIDE, nearest, shrunk
from intgrad.report.cutouts import cutouts, inside

FEW = ig.GaussLegendre(6, rtol=1e3)  # whatever the error, nobody warns


def boxes(*corners: tuple[int, int, int, int], shape: tuple[int, int] = (4, 6)) -> Tensor:
    """Masks that are rectangles: rows from top to bottom, columns from left to right."""
    masks = torch.zeros(len(corners), *shape, dtype=torch.bool)
    for mask, (top, bottom, left, right) in zip(masks, corners, strict=True):
        mask[top:bottom, left:right] = True
    return masks


LEFT, MIDDLE, RIGHT = (0, 4, 0, 2), (0, 4, 2, 4), (0, 4, 4, 6)


def total(values: Tensor) -> float:
    return float(values.double().sum())


def stripes(left: float, middle: float, right: float) -> Tensor:
    return torch.tensor([left, middle, right]).repeat_interleave(2).expand(4, 6)


# ---------------------------------------------------------------------- the order, by hand


def test_disjoint_masks_are_ordered_by_their_means():
    found = xrai.rank(stripes(1, 3, -2), boxes(RIGHT, LEFT, MIDDLE), 1)
    assert found.order[0].tolist() == [1, 1, 0, 0, 2, 2]
    assert found.gain.tolist() == [3, 1, -2]
    assert found.sum.tolist() == [24, 8, -16]
    assert found.pixels.tolist() == [8, 8, 8]
    assert found.steps == 3
    assert torch.equal(found.saliency, stripes(1, 3, -2).double())


def test_a_mask_is_judged_by_what_is_new_in_it():
    """All of it is worth 2 a pixel; but what the middle leaves, 0.5, comes after the right's 1."""
    wide = (0, 4, 0, 4)
    found = xrai.rank(stripes(0.5, 4, 1), boxes(wide, MIDDLE, RIGHT), 1)
    assert found.order[0].tolist() == [2, 2, 0, 0, 1, 1]
    assert found.gain.tolist() == [4, 1, 0.5]


def test_a_region_may_gain_more_than_the_one_before_it():
    """The left and middle, 2 a pixel, beat the middle and right, 1.5; what is left of that is 3."""
    found = xrai.rank(stripes(4, 0, 3), boxes((0, 4, 0, 4), (0, 4, 2, 6)), 1)
    assert found.order[0].tolist() == [0, 0, 0, 0, 1, 1]
    assert found.gain.tolist() == [2, 3]


def test_a_mask_with_too_few_new_pixels_is_not_chosen():
    masks = boxes(MIDDLE, (0, 4, 2, 5))  # the second adds 4 pixels to the first
    assert xrai.rank(stripes(1, 3, 2), masks, 4).steps == 2
    found = xrai.rank(stripes(1, 3, 2), masks, 5)
    assert found.steps == 1
    assert found.order[0].tolist() == [1, 1, 0, 0, 1, 1]


def test_what_no_mask_covers_is_one_last_region():
    found = xrai.rank(stripes(1, 3, 5), boxes(MIDDLE, LEFT), 1)
    assert found.order[0].tolist() == [1, 1, 0, 0, 2, 2]
    assert (found.steps, found.gain.tolist()) == (2, [3, 1, 5])
    alone = xrai.rank(stripes(1, 3, 5), boxes(LEFT), 9)  # not even one is large enough
    assert (alone.steps, alone.gain.tolist()) == (0, [3])


def test_it_stops_once_the_area_is_covered():
    masks = boxes(LEFT, MIDDLE, RIGHT)
    for area, steps in [(0.01, 1), (1 / 3, 1), (0.34, 2), (2 / 3, 2), (0.67, 3), (1.0, 3)]:
        assert xrai.rank(stripes(3, 2, 1), masks, 1, area).steps == steps


def test_the_best_regions_that_fit_are_on_top():
    found = xrai.rank(stripes(3, 2, 1), boxes(LEFT, MIDDLE, RIGHT), 1)
    for fraction, columns in [(0, 0), (0.3, 0), (1 / 3, 2), (0.6, 2), (2 / 3, 4), (1, 6)]:
        assert found.top(fraction)[0].tolist() == [True] * columns + [False] * (6 - columns)


# ---------------------------------------------------------------------- the order, for any map


@st.composite
def cases(draw):
    """A map of whole numbers, so that sums are exact, and masks that may overlap or be empty."""
    h, w, k = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    values = torch.randint(-9, 10, (h, w), generator=generator).double()
    masks = torch.rand(k, h, w, generator=generator) < draw(st.sampled_from([0.1, 0.4, 0.8]))
    return values, masks, draw(st.integers(1, 4)), draw(st.sampled_from([0.2, 0.5, 0.9, 1.0]))


def one_by_one(values: Tensor, masks: Tensor, least: int, area: float) -> list[list[int]]:
    """The definition as a plain loop, in fractions."""
    number, sets = values.flatten().int().tolist(), [set(m.flatten().nonzero()[:, 0].tolist())
                                                     for m in masks]  # fmt: skip
    covered: set[int] = set()
    regions = []
    while len(covered) < area * len(number):
        new = [s - covered for s in sets]
        gains = [(Fraction(sum(number[p] for p in s), len(s)), -i)
                 for i, s in enumerate(new) if len(s) >= least]  # fmt: skip
        if not gains:
            break
        best = new[-max(gains)[1]]
        regions.append(sorted(best))
        covered |= best
    rest = sorted(set(range(len(number))) - covered)
    return [*regions, rest] if rest else regions


@given(cases())
def test_the_order_is_that_of_a_plain_loop(case):
    values, masks, least, area = case
    expected = one_by_one(values, masks, least, area)
    found = xrai.rank(values, masks, least, area)
    labels = found.order.flatten()
    assert [(labels == i).nonzero()[:, 0].tolist() for i in range(len(found.sum))] == expected


@given(cases())
def test_regions_add_up_to_the_map(case):
    found = xrai.rank(*case)
    assert float(found.sum.sum()) == float(case[0].sum())
    assert int(found.pixels.sum()) == case[0].numel()
    assert float(found.saliency.sum()) == pytest.approx(float(case[0].sum()), abs=1e-9)


@given(cases(), st.integers(-20, 20), st.sampled_from([1, 3, 7]))
def test_the_order_is_that_of_the_map_times_any_positive_number(case, power, factor):
    values, *how = case
    scaled = xrai.rank(values * factor * 2.0**power, *how)
    assert torch.equal(xrai.rank(values, *how).order, scaled.order)


@given(cases(), st.floats(0, 1), st.floats(0, 1))
def test_tops_are_whole_regions_nested_and_no_larger_than_asked(case, one, other):
    found = xrai.rank(*case)
    small, large = found.top(min(one, other)), found.top(max(one, other))
    assert not (small & ~large).any()
    assert float(large.double().mean()) <= max(one, other) + 1e-6
    inside = found.order[large].unique()
    assert torch.equal(large, torch.isin(found.order, inside))
    assert torch.equal(inside, torch.arange(len(inside)))


@given(cases(), st.floats(0, 1))
def test_tops_within_the_area_do_not_depend_on_it(case, fraction):
    values, masks, least, _ = case
    whole = xrai.rank(values, masks, least, 1.0)
    part = xrai.rank(values, masks, least, 0.5)
    fraction = min(fraction, float((part.order < part.steps).double().mean()))
    assert torch.equal(whole.top(fraction), part.top(fraction))


def test_a_map_may_come_in_any_dtype_and_with_a_graph():
    values, masks = torch.arange(24.0).reshape(4, 6).requires_grad_(), boxes(LEFT, RIGHT)
    expected = xrai.rank(values, masks, 1).order
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int32):
        assert torch.equal(xrai.rank(values.to(dtype), masks, 1).order, expected)


@pytest.mark.parametrize(
    ("values", "masks", "how", "said"),
    [
        (torch.ones(4, 5), boxes(LEFT), {}, r"masks are \(1, 4, 6\) and the attribution is \(4, 5\)"),
        (torch.ones(3, 4, 6), boxes(LEFT), {}, r"Tensor \(3, 4, 6\); expected a tensor"),
        (np.ones((4, 6)), boxes(LEFT), {}, r"ndarray \(4, 6\); expected a tensor"),
        (torch.ones(4, 6), boxes(LEFT)[:0], {}, "there are no masks"),
        (torch.ones(4, 6), boxes(LEFT)[0], {}, r"masks are \(4, 6\) torch.bool; expected"),
        (torch.ones(4, 6), boxes(LEFT).float(), {}, "torch.float32; expected a tensor of booleans"),
        (torch.ones(4, 6), [boxes(LEFT)], {}, "masks are <class 'list'>"),
        (torch.full((4, 6), torch.nan), boxes(LEFT), {}, "holds NaN or infinity"),
        (torch.full((4, 6), torch.inf), boxes(LEFT), {}, "holds NaN or infinity"),
        (torch.ones(4, 6), boxes(LEFT), {"area": 0}, "area=0; expected above 0"),
        (torch.ones(4, 6), boxes(LEFT), {"area": 30}, "area=30; expected above 0, and 1 at most"),
        (torch.ones(4, 6), boxes(LEFT), {"min_pixel_diff": 0}, "a whole number of at least 1"),
        (torch.ones(4, 6), boxes(LEFT), {"min_pixel_diff": 0.5}, "a whole number of at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_ranked_is_refused(values, masks, how, said):
    with pytest.raises(ig.InputError, match=said):
        xrai.rank(values, masks, **how)


def test_a_fraction_is_between_0_and_1():
    found = xrai.rank(stripes(3, 2, 1), boxes(LEFT), 1)
    for wrong in (-0.1, 10, float("nan")):
        with pytest.raises(ig.InputError, match="expected between 0 and 1"):
            found.top(wrong)


# ---------------------------------------------------------------------- segments


def blobs(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with something to cut out: a few colours, smoothly in each other."""
    bits = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(bits).resize((width, height), 3)


@pytest.mark.parametrize("size", [(224, 224), (300, 90), (32, 32), (7, 500)])
def test_segments_of_every_scale_cover_the_picture(size):
    for scale in (50, 1200):
        masks = xrai.segments(blobs(*size), scales=(scale,))
        assert masks.dtype == torch.bool
        assert masks.shape[1:] == size[::-1]
        assert masks.any(0).all()


def test_without_dilation_the_segments_of_a_scale_are_a_partition():
    masks = xrai.segments(blobs(224, 224), scales=(100,), dilation=0)
    assert len(masks) > 3
    assert (masks.sum(0) == 1).all()
    assert int(masks.sum((1, 2)).min()) >= 150


def test_dilation_adds_what_is_within_its_radius():
    bare, grown = (xrai.segments(blobs(224, 224), scales=(1200,), dilation=d) for d in (0, 5))
    y, x = torch.meshgrid(torch.arange(-5, 6), torch.arange(-5, 6), indexing="ij")
    disk = (x**2 + y**2 <= 25).float()[None, None]
    near = nn.functional.conv2d(bare.float()[:, None], disk, padding=5)[:, 0] > 0.5
    assert torch.equal(grown, near)


def test_segments_keep_to_the_edges_of_a_picture():
    half = torch.zeros(3, 100, 200)
    half[..., 100:] = 1
    masks = xrai.segments(half)
    assert masks[:, :, :90].any((1, 2)).any()
    assert not (masks[:, :, :90].any((1, 2)) & masks[:, :, 110:].any((1, 2))).any()


def test_segments_are_the_same_in_any_units_and_from_any_source(tmp_path):
    picture = blobs(120, 80)
    picture.save(tmp_path / "blobs.png")
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    expected = xrai.segments(picture)
    for same in (tmp_path / "blobs.png", pixels, pixels.double() / 64 - 3):
        assert torch.equal(xrai.segments(same), expected)


def test_a_picture_of_one_colour_is_one_segment_a_scale():
    masks = xrai.segments(torch.full((3, 50, 60), 0.5), scales=(50, 500))
    assert masks.shape == (2, 50, 60)
    assert masks.all()


def test_a_picture_is_brought_to_its_range_and_size():
    small = shrunk(torch.linspace(2, 7, 10).expand(3, 8, 10))
    assert small.shape == (3, SIDE, SIDE)
    assert float(small[:, :, 0].mean()) == pytest.approx(-1, abs=0.1)
    assert float(small[:, :, -1].mean()) == pytest.approx(1, abs=0.1)
    assert nearest(448).tolist() == torch.arange(224).repeat_interleave(2).tolist()
    assert nearest(224).tolist() == list(range(224))


@pytest.mark.parametrize(
    ("picture", "how", "said"),
    [
        (torch.ones(4, 8, 8), {}, r"a tensor \(4, 8, 8\); expected \(3, height, width\)"),
        (torch.ones(1, 3, 8, 8), {}, r"expected \(3, height, width\)"),
        (torch.ones(3, 0, 8), {}, r"expected \(3, height, width\)"),
        (torch.full((3, 8, 8), torch.nan), {}, "finite"),
        (7, {}, "expected a file name or a PIL picture"),
        (torch.ones(3, 8, 8), {"scales": ()}, "expected one positive number or more"),
        (torch.ones(3, 8, 8), {"scales": (0,)}, "expected one positive number or more"),
        (torch.ones(3, 8, 8), {"dilation": -1}, "dilation=-1; expected a whole number"),
        (torch.ones(3, 8, 8), {"min_size": 0}, "min_size=0; expected a whole number"),
    ],
)
def test_what_cannot_be_cut_is_refused(picture, how, said):
    with pytest.raises(ig.InputError, match=said):
        xrai.segments(picture, **how)


# ---------------------------------------------------------------------- the whole job


class Processor:
    """What a Hugging Face image processor looks like from outside: it normalises, no more."""

    def preprocess(self, images, **flags) -> Tensor:
        return torch.from_numpy(np.array(images)).permute(2, 0, 1).float() / 255 * 4 - 1

    def __call__(self, images, return_tensors=None, **flags) -> dict[str, Tensor]:
        return {"pixel_values": self.preprocess(images)[None]}


class Net(nn.Module):
    """Two classes, neither linear in the picture: bright in the middle, and dark at the rim."""

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        middle, rim = x[..., h // 3 : -h // 3, w // 3 : -w // 3], x[..., : h // 4, :]
        return torch.stack([middle.square().mean((1, 2, 3)), rim.sin().mean((1, 2, 3))], 1) * 9


def ask(*sizes: tuple[int, int], **call) -> list[xrai.Explained]:
    pictures = [blobs(*size, seed=i) for i, size in enumerate(sizes)]
    return xrai.regions(Net(), Processor(), pictures, **{"target": 0, "quadrature": FEW, **call})


def test_black_and_white_keep_the_contract_of_a_baseline():
    contract.check_value(ig.BlackAndWhite())
    contract.check_baseline(ig.BlackAndWhite(-1.0, 2.0), torch.rand(2, 3, 4, 5))


def test_the_pixels_have_the_mean_of_what_they_have_from_black_and_from_white():
    (found,) = ask((40, 30))
    each = [
        image.explain(Net(), Processor(), blobs(40, 30), target=0, quadrature=FEW, baseline=b)[0]
        for b in (ig.Zeros(), ig.Constant(1.0))
    ]
    a = found.attribution
    mean = (each[0].values + each[1].values) / 2
    assert torch.allclose(a.values, mean, rtol=1e-4, atol=1e-6)
    start = (each[0].baseline_output + each[1].baseline_output) / 2
    assert torch.allclose(a.baseline_output, start)


def test_regions_sum_to_the_gain_over_the_mean_of_both_baselines():
    for found in ask((40, 30), (40, 30), area=0.6):
        a = found.attribution
        gain, close = float(a.output - a.baseline_output + a.residual), 1e-6 * total(a.values.abs())
        assert float(found.regions.sum.sum()) == pytest.approx(gain, abs=close)
        assert total(found.heat.values) == pytest.approx(gain, abs=close)
        assert found.regions.order.shape == a.values.shape[-2:]


def test_pictures_are_ranked_as_their_segments_are():
    """The grid on which segments are drawn loses nothing: cells are 2 x 2 pixels here."""
    (found,) = ask((448, 448))
    masks = xrai.segments(blobs(448, 448))
    expected = xrai.rank(xrai.flat(found.attribution.values), masks, min_pixel_diff=4 * 50)
    assert torch.equal(found.regions.order, expected.order)
    assert torch.equal(found.regions.sum, expected.sum)
    assert found.regions.steps > 5


def test_small_pictures_have_regions_too():
    (found,) = ask((12, 9))
    assert found.regions.order.shape == (9, 12)
    assert 1 < len(found.regions.sum) <= 108


def test_heat_is_an_attribution_of_its_own(tmp_path):
    (found,) = ask((60, 40))
    heat, regions = found.heat, found.regions
    assert heat.values.shape == (1, 40, 60)
    assert torch.allclose(heat.values[0].double(), regions.saliency, rtol=1e-5)
    assert heat.recipe.name == "xrai"
    assert heat.recipe.baseline == ig.BlackAndWhite()
    assert "the mean of its region" in heat.run.notes[-1]
    heat.save(tmp_path / "heat.safetensors")
    assert ig.Attribution.load(tmp_path / "heat.safetensors").recipe == heat.recipe
    assert "xrai" in heat.to_html()


def test_the_errors_of_regions_are_those_of_their_pixels_added_up():
    (found,) = ask((60, 40))
    grouped = found.attribution.sum(1).group(found.regions.order)
    assert torch.allclose(grouped.values[0].double(), found.regions.sum, rtol=1e-4, atol=1e-5)
    wrong, _ = xrai.tally(found.regions.order, found.heat.error_map[0])
    assert torch.allclose(grouped.error_map[0].double(), wrong, rtol=1e-4)


def test_a_recipe_is_taken_as_it_is():
    recipe = ig.Recipe("mine", ig.Constant(0.3), quadrature=FEW)
    (found,) = ask((40, 30), quadrature=None, recipe=recipe)
    assert found.attribution.recipe == recipe
    (grey,) = ask((40, 30), baseline=ig.Constant(0.3))
    assert torch.equal(found.attribution.values, grey.attribution.values)


def test_five_percent_is_asked_of_the_pixels_by_default():
    (found,) = ask((40, 30), quadrature=None)
    assert found.attribution.run.rtol == 0.05
    assert found.attribution.converged.all()


def test_a_bare_callable_must_say_what_is_black_and_white():
    see = lambda p: Processor().preprocess(p)  # noqa: E731
    with pytest.raises(ig.Unsupported, match=r"baseline=ig.BlackAndWhite\(low, high\)"):
        xrai.regions(Net(), see, blobs(40, 30), target=0, quadrature=FEW)
    named = ig.BlackAndWhite(-1.0, 3.0)
    (own,) = xrai.regions(Net(), see, blobs(40, 30), target=0, quadrature=FEW, baseline=named)
    (same,) = ask((40, 30))
    assert torch.allclose(own.attribution.values, same.attribution.values, atol=1e-5)
    assert torch.equal(own.regions.order, same.regions.order)


def test_regions_are_of_one_target():
    with pytest.raises(ig.Unsupported, match="there are 2; call it for each"):
        ask((40, 30), target=ig.All())
    with pytest.raises(ig.InputError, match="area=2"):
        ask((40, 30), area=2)


# ---------------------------------------------------------------------- drawn


def test_cut_outs_show_the_best_regions_and_what_they_are_worth():
    (found,) = ask((60, 40))
    figure = cutouts(found.heat, found.regions.top, (0.2, 0.5))
    names = [axis.get_title() for axis in figure.axes[:4]]
    assert names[0].strip() == "picture"
    assert names[1] == f"regions\nsum {total(found.attribution.values):+.4g}"
    mask = found.regions.top(0.5)
    worth = total(found.attribution.values[0].sum(0)[mask])
    assert names[3].startswith("best regions within 50 %")
    assert float(names[3].split()[-1]) == pytest.approx(worth, rel=1e-3)


def test_a_cut_out_is_the_picture_inside_and_faint_outside():
    from intgrad.report.picture import draw

    (found,) = ask((60, 40))
    drawing = draw(found.heat, found.heat.subjects[0])
    mask = found.regions.top(0.5)
    shown = inside(drawing, mask)
    assert torch.equal(shown[mask], drawing.pixels[mask])
    assert int(shown[~mask].min()) >= 220


def test_cut_outs_are_of_pictures():
    a = ig.attribute(lambda x: x.sum((1, 2)), torch.rand(1, 4, 6))
    with pytest.raises(ig.InputError, match="cut-outs are of one picture"):
        cutouts(a, lambda fraction: boxes(LEFT)[0])


def test_a_map_without_anything_positive_is_drawn():
    (found,) = ask((60, 40))
    heat = found.heat.carried(-found.heat.values.abs(), None)
    assert len(cutouts(heat, found.regions.top).axes) == 6


# ---------------------------------------------------------------------- without the extra


def test_pictures_need_no_scikit_image_and_xrai_says_that_it_does():
    program = """
        import sys
        sys.modules["skimage"] = sys.modules["skimage.morphology"] = None
        import intgrad.image
        try:
            from intgrad.image import xrai
        except ImportError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (
        'intgrad.image.xrai needs scikit-image: pip install "intgrad[image]"'
    )


# ---------------------------------------------------------------------- a real photo


@pytest.mark.data
def test_the_best_regions_of_a_photo_are_where_the_bird_is(data):
    hub = pytest.importorskip("intgrad.hub")
    checkpoint, photo = data / "hf" / "mobilenet_v1_075", data / "imagenet_photos" / "named"
    if not (checkpoint.is_dir() and (photo / "bird.jpg").is_file()):
        pytest.skip(f"the checkpoint mobilenet_v1_075 or the photo bird.jpg is not in {data}.")
    net = hub.load(str(checkpoint))
    rule = ig.PanelAveraged(16, rtol=1e3)
    (found,) = xrai.regions(
        net.model, net.processor, photo / "bird.jpg", labels=net.labels, quadrature=rule
    )
    a, regions = found.attribution, found.regions
    assert "chickadee" in a.targets[0]
    assert float(regions.sum.sum()) == pytest.approx(float(a.output - a.baseline_output), rel=1e-4)
    assert 20 < regions.steps < 200
    bird = torch.zeros(343, 512, dtype=torch.bool)
    bird[75:225, 40:490] = True  # from its head to the tip of its tail: 38 % of the photo
    best = regions.top(0.05)
    assert 0.02 < float(best.double().mean()) <= 0.05
    assert float(bird[best].double().mean()) > 0.9

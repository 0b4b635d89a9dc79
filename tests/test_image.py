"""Pictures: what is explained is the checkpoint's own pipeline, and nothing is lost on the way back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import intgrad as ig

pytest.importorskip("PIL", reason='needs pip install "intgrad[image]"')

from PIL import Image

from intgrad import image
from intgrad.image.lens import Grid, grid_of, lens, light_of, resize
from intgrad.image.origin import Starts
from intgrad.image.pull_back import Channel, pull_back, pull_back_error
from intgrad.image.view import look

FEW = ig.GaussLegendre(6, rtol=1e3)  # whatever the error, nobody warns
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


class Processor:
    """What a Hugging Face image processor looks like from outside."""

    def __init__(self, size=(12, 16), crop=(8, 10), resample=2, pad=0, power=1.0, mix=None):
        self.size, self.crop, self.resample, self.mix = size, crop, resample, mix
        self.do_center_crop, self.pad, self.power = crop is not None, pad, power

    def preprocess(self, images, do_resize=True, do_center_crop=True) -> Tensor:
        if do_resize and self.size:
            images = images.resize(self.size[::-1], self.resample)
        light = torch.from_numpy(np.array(images)).permute(2, 0, 1).float() / 255
        if do_center_crop and self.crop:
            (h, w), (_, height, width) = self.crop, light.shape
            top, left = (height - h) // 2, (width - w) // 2
            light = light[:, max(top, 0) : top + h, max(left, 0) : left + w]
            light = nn.functional.pad(light, (0, w - light.shape[2], 0, h - light.shape[1]))
        light = nn.functional.pad(light, (self.pad,) * 4)
        light = light if self.mix is None else torch.einsum("oc,chw->ohw", self.mix, light)
        return (light**self.power - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(
            3, 1, 1
        )

    def __call__(self, images, return_tensors=None, **flags) -> dict[str, Tensor]:
        return {"pixel_values": self.preprocess(images, **flags)[None]}


class Linear(nn.Module):
    """Two classes: a weighted sum of everything, and 0."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        value = (x * self.weight.to(x)).sum((1, 2, 3))
        return torch.stack([value, 0 * value], 1)


class Curved(Linear):
    """Class 0 is not linear in the picture."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * x.sigmoid() * x.mean((1, 2, 3), keepdim=True).cos())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def picture(width: int = 30, height: int = 24, seed: int = 0) -> Image.Image:
    bits = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(bits)


def total(t: Tensor) -> float:
    return float(t.double().sum())


def crop_attribution(model, processor, views, **call) -> ig.Attribution:
    """The engine's own answer on the crops, before anything is carried back."""
    eye = lens(processor)
    net, x = image.pipeline(model, eye, torch.stack([v.light for v in views]))
    return ig.attribute(net, x, baseline=Starts.of(views), **call)


# ---------------------------------------------------------------------- the resize as a matrix


@pytest.mark.parametrize("kernel", range(6))
@pytest.mark.parametrize("size", [(12, 16), (24, 30), (50, 37)])
def test_every_kernel_of_pillow_is_foretold_by_its_matrix(kernel, size):
    processor = Processor(size, (8, 10), kernel)
    grid = grid_of(lens(processor), (30, 24), (8, 10))
    assert grid is not None
    smooth = picture(6, 5).resize((30, 24), 2)  # kernels that overshoot are not clipped
    light = lens(processor).light(smooth)
    assert float((grid.down(light_of(smooth)) - light).abs().max()) < 3 / 255
    assert torch.allclose(grid.rows.sum(1), torch.ones(8, dtype=torch.float64))


@pytest.mark.parametrize(("mode", "kernel"), [("bilinear", 2), ("bicubic", 3)])
def test_the_resize_is_that_of_torch_with_antialias(mode, kernel):
    for n, m in [(30, 12), (12, 30), (341, 256)]:
        unit = torch.eye(n)[None, None]
        other = nn.functional.interpolate(unit, size=(m, n), mode=mode, antialias=True)[0, 0]
        assert float((resize(n, m, kernel) - other).abs().max()) < 1e-6


def test_a_long_side_is_resized_in_strips():
    ramp, middles = torch.arange(1300) + 0.5, (torch.arange(7) + 0.5) * 1300 / 7
    made = resize(1300, 7, 2) @ ramp.double()
    assert torch.allclose(made[1:-1], middles[1:-1].double(), atol=1e-2)  # the ends are one-sided


# ---------------------------------------------------------------------- the way back


def channel(kernel: int = 2, samples: int = 1) -> tuple[Channel, Tensor, Tensor]:
    grid = Grid(resize(24, 12, kernel)[2:10], resize(30, 16, kernel)[3:13])
    x, starts = noise(24, 30).double(), noise(samples, 24, 30, seed=1).double()
    weight = torch.full((samples,), 1 / samples, dtype=torch.float64)
    return Channel(grid, x - starts.mean(0), grid.down(x), grid.down(starts), weight), x, starts


@pytest.mark.parametrize("kernel", range(6))
def test_a_linear_model_is_carried_back_in_closed_form(kernel):
    """f = <w, R x>, so its attribution is (R^T w)(x - x')."""
    c, x, starts = channel(kernel)
    weight = noise(8, 10, seed=2).double()
    d = c.light - c.starts[0]
    near = d.abs() < 0.5 / 255
    weight[near] = 0.0
    back = pull_back(weight * d, c)
    assert torch.allclose(back, c.grid.up(weight) * (x - starts[0]), atol=1e-12)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("straight", [True, False])
def test_sums_are_kept_exactly(samples, straight):
    c, *_ = channel(3, samples)
    values = noise(5, 8, 10, seed=3).double()
    back = pull_back(values, c, straight)
    assert torch.allclose(back.sum((1, 2)), values.sum((1, 2)), rtol=1e-12, atol=1e-12)
    wrong = pull_back_error(values.abs(), c)
    assert torch.allclose(wrong.sum((1, 2)), values.abs().sum((1, 2)), rtol=1e-12)
    assert float(wrong.min()) >= 0


def test_nothing_blows_up_where_the_picture_equals_its_baseline():
    c, x, _ = channel()
    same = Channel(c.grid, torch.zeros_like(x), c.light, c.light[None], c.weight)
    values = noise(8, 10, seed=3).double()
    assert torch.allclose(pull_back(values, same), c.grid.up(values))
    flat = Channel(c.grid, c.moved, c.starts[0] + 1e-4, c.starts, c.weight)
    assert float(pull_back(values, flat).abs().sum()) < 2 * float(values.abs().sum())


def test_a_linear_model_of_a_picture_gets_the_weights_of_its_pixels():
    """Nothing is resized, so nothing is rounded: w (x - x') to the last bits, 0 outside the crop."""
    processor, weight = Processor(None, (8, 10)), noise(3, 8, 10)
    (a,) = image.explain(Linear(weight), processor, picture(), target=0, quadrature=FEW)
    std, x = torch.tensor(STD).view(3, 1, 1), light_of(picture())
    expected = torch.zeros(3, 24, 30, dtype=torch.float64)
    expected[:, 8:16, 10:20] = (weight / std) * x[:, 8:16, 10:20]
    assert torch.allclose(a.values[0].double(), expected, rtol=1e-5, atol=1e-6)
    outside = torch.ones(24, 30, dtype=torch.bool)
    outside[8:16, 10:20] = False
    assert not a.values[0][:, outside].any()


def test_resizing_rounds_a_linear_model_by_less_than_a_level():
    processor, weight = Processor(), noise(3, 8, 10)
    (a,) = image.explain(Linear(weight), processor, picture(), target=0, quadrature=FEW)
    grid = grid_of(lens(processor), (30, 24), (8, 10))
    assert grid is not None
    weight = weight.double() / torch.tensor(STD).double().view(3, 1, 1)
    expected = grid.up(weight) * light_of(picture())
    assert float((a.values[0] - expected).abs().max()) < float(weight.abs().max()) * 1.5 / 255


# ---------------------------------------------------------------------- explain


@pytest.mark.parametrize(
    "baseline",
    [None, ig.Constant(1.0), ig.Blurred(3), ig.Uniform(samples=3), torch.rand(1, 3, 24, 30)],
)
def test_the_values_of_a_picture_sum_to_those_of_its_crop(baseline):
    model, processor = Curved(noise(3, 8, 10)), Processor()
    how = {"target": 0, "quadrature": FEW, "seed": 4}
    (a,) = image.explain(model, processor, picture(), baseline=baseline, **how)
    start = ig.Zeros() if baseline is None else baseline
    views = look([picture()], lens(processor), start, 4)
    b = crop_attribution(model, processor, views, **how)
    scale = float(b.values.abs().sum())
    assert abs(total(a.values) - total(b.values)) <= 1e-6 * scale
    assert (
        abs(total(a.values) - float(a.output - a.baseline_output) - float(a.residual))
        <= 1e-6 * scale
    )
    assert total(a.error_map) == pytest.approx(total(b.error_map), rel=1e-5)
    assert float(a.error) == pytest.approx(
        max(total(a.error_map), abs(float(a.residual))) / float(a.values.abs().sum()), rel=1e-5
    )
    assert torch.equal(a.evaluations, b.evaluations)
    assert type(a.recipe.baseline) is type(start)


def test_pictures_together_are_explained_as_each_alone():
    model, processor = Curved(noise(3, 8, 10)), Processor()
    several = [picture(30, 24, 0), picture(17, 40, 1), picture(30, 24, 2)]
    how = {"target": 0, "quadrature": FEW, "baseline": ig.Uniform(samples=2)}
    for a, p in zip(image.explain(model, processor, several, **how), several, strict=True):
        (b,) = image.explain(model, processor, p, **how)
        assert a.values.shape == (1, 3, p.height, p.width)
        assert torch.allclose(a.values, b.values, atol=1e-5)
        assert a.subjects[0].pixels.numpy().tolist() == np.array(p).tolist()


def test_every_class_at_once():
    model, processor = Curved(noise(3, 8, 10)), Processor()
    how = {"quadrature": FEW, "labels": ("cat", "dog")}
    (a,) = image.explain(model, processor, picture(), target=ig.All(), **how)
    (b,) = image.explain(model, processor, picture(), target=0, **how)
    assert a.values.shape == (2, 1, 3, 24, 30)
    assert a.targets == ("logit of 'cat' (class 0)", "logit of 'dog' (class 1)")
    assert torch.allclose(a.values[0], b.values, atol=1e-5)


def test_targets_and_predictions_bear_the_names_of_classes():
    model, processor = Linear(noise(3, 8, 10)), Processor()
    (a,) = image.explain(model, processor, picture(), labels=("cat", "dog"), quadrature=FEW)
    scores = model(processor.preprocess(picture())[None])[0].detach()
    best = int(scores.argmax())
    assert a.targets == (f"logit of '{('cat', 'dog')[best]}' (class {best}, predicted)",)
    said = dict(a.subjects[0].predictions)
    assert said["cat"] == pytest.approx(float(scores.softmax(0)[0]), abs=1e-6)
    (a,) = image.explain(model, processor, picture(), target=ig.Margin(1, 0), labels=("cat", "dog"),
                         quadrature=FEW)  # fmt: skip
    assert a.targets == ("'dog' (class 1) minus 'cat' (class 0)",)


def test_a_whole_recipe_may_be_given():
    model, processor = Curved(noise(3, 8, 10)), Processor()
    recipe = ig.Recipe("mine", ig.Constant(1.0), quadrature=FEW)
    (a,) = image.explain(model, processor, picture(), recipe=recipe, target=0)
    (b,) = image.explain(
        model, processor, picture(), baseline=ig.Constant(1.0), quadrature=FEW, target=0
    )
    assert torch.equal(a.values, b.values)
    assert a.recipe == recipe
    (c,) = image.explain(model, processor, picture(), recipe=recipe, baseline=ig.Zeros(), target=0)
    assert c.recipe.baseline == ig.Zeros()


def test_a_path_that_is_not_straight_is_carried_back_by_reach_alone():
    model, processor = Curved(noise(3, 8, 10)), Processor()
    bent = lambda t, start, end: start + t**2 * (end - start)  # noqa: E731
    (a,) = image.explain(model, processor, picture(), target=0, path=bent, quadrature=FEW)
    (view,) = look([picture()], lens(processor), ig.Zeros(), 0)
    b = crop_attribution(model, processor, [view], target=0, path=bent, quadrature=FEW)
    assert torch.allclose(a.values.double(), view.grid.up(b.values), atol=1e-6)


@pytest.mark.parametrize("processor", [Processor(pad=2), Processor((6, 6), (8, 10))])
def test_a_processor_that_pads_is_explained_on_its_own_grid(processor):
    seen = processor.preprocess(picture())
    (a,) = image.explain(Curved(torch.ones(3, *seen.shape[1:])), processor, picture(), target=0,
                         baseline=ig.Blurred(2), quadrature=FEW)  # fmt: skip
    assert a.values.shape == (1, *seen.shape)
    assert a.subjects[0].pixels.shape == (*seen.shape[1:], 3)
    assert "does more than resize and crop" in a.run.notes[-1]


def test_a_bare_callable_is_explained_in_its_own_units():
    see = lambda p: light_of(p.resize((10, 8))).float() * 7 - 3  # noqa: E731
    model = Linear(noise(3, 8, 10))
    (a,) = image.explain(model, see, picture(), target=0, quadrature=FEW)
    assert torch.allclose(a.values[0], model.weight * see(picture()), atol=1e-5)
    assert a.subjects[0].pixels.shape == (8, 10, 3)
    assert "in its own units" in a.run.notes[-1]


def test_a_processor_that_swaps_the_colours_is_explained_in_the_pictures_own():
    """Blue first, as some checkpoints have it: the values are still red, green, blue."""
    swap = torch.eye(3)[[2, 0, 1]]
    weight = noise(3, 8, 10)
    how = {"target": 0, "quadrature": FEW}
    (a,) = image.explain(Linear(weight), Processor(mix=swap), picture(), **how)
    seen = Processor(mix=swap).preprocess(picture())
    assert float(a.output) == pytest.approx(float((weight * seen).sum()), abs=1e-4)
    red = picture().copy()
    red.paste((255, 0, 0), (0, 0, 30, 24))
    (b,) = image.explain(Linear(weight), Processor(mix=swap), red, **how)
    assert b.values[0, 0].any()
    assert not b.values[0, 1:].any()
    assert b.subjects[0].pixels.numpy().tolist() == np.array(red).tolist()


def test_a_model_in_half_precision_or_double_is_explained():
    for dtype in (torch.bfloat16, torch.float64):
        model = Linear(noise(3, 8, 10)).to(dtype)
        (a,) = image.explain(model, Processor(), picture(), target=0, quadrature=FEW)
        assert a.values.dtype == torch.promote_types(dtype, torch.float32)


# ---------------------------------------------------------------------- pictures as they come


def test_grey_palette_and_transparent_pictures_are_seen_in_rgb(tmp_path):
    grey = picture().convert("L")
    cases = {
        "L": (grey, grey.convert("RGB")),
        "P": (p := picture().quantize(8), p.convert("RGB")),
        "1": (b := grey.convert("1"), b.convert("RGB")),
    }
    clear = picture().convert("RGBA")
    clear.putalpha(0)
    cases["RGBA"] = (clear, Image.new("RGB", clear.size, "white"))
    for mode, (given, expected) in cases.items():
        file = tmp_path / f"{mode}.png"
        given.save(file)
        views = look([given, file], lens(Processor()), ig.Zeros(), 0)
        for view in views:
            assert view.pixels.numpy().tolist() == np.array(expected).tolist()
        assert [v.name for v in views] == ["picture 0", f"{mode}.png"]


def test_a_picture_is_turned_by_its_exif_tag(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(30, 24).save(tmp_path / "turned.png", exif=exif)
    (view,) = look([tmp_path / "turned.png"], lens(Processor()), ig.Zeros(), 0)
    assert view.pixels.shape == (30, 24, 3)


def test_a_users_picture_is_left_as_it_was():
    mine = picture().convert("RGBA")
    before = mine.tobytes(), mine.mode
    image.explain(Linear(noise(3, 8, 10)), Processor(), mine, target=0, quadrature=FEW)
    assert (mine.tobytes(), mine.mode) == before


def broken(folder: Path) -> Path:
    picture(200, 200).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:2000])
    return folder / "cut.png"


def words(folder: Path) -> Path:
    (folder / "words.jpg").write_text("no picture")
    return folder / "words.jpg"


def huge(folder: Path) -> Path:
    Image.new("1", (10000, 9000)).save(folder / "huge.png")
    return folder / "huge.png"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "none.jpg", r"there is no picture .*none\.jpg"),
        (words, r"words\.jpg cannot be read as a picture"),
        (broken, r"cut\.png cannot be read as a picture"),
        (huge, r"huge\.png has 10000 x 9000 pixels, above 40,000,000"),
        (lambda folder: 3, "picture 0 is a int; expected a file name"),
        (lambda folder: [], "there are no pictures"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(make, said, tmp_path):
    given = make(tmp_path)
    given = [given] if isinstance(given, int) else given
    with pytest.raises(ig.InputError, match=said):
        image.explain(Linear(noise(3, 8, 10)), Processor(), given)


def test_what_does_not_fit_is_refused():
    model, processor = Linear(noise(3, 8, 10)), Processor()
    with pytest.raises(ig.InputError, match="picture 0 30 x 24 and picture 1 10 x 10"):
        image.explain(model, Processor(None, None), [picture(), picture(10, 10)])
    with pytest.raises(ig.Unsupported, match="does not normalise each channel by a straight line"):
        image.explain(model, Processor(power=2.0), picture())
    with pytest.raises(ig.Unsupported, match="does not normalise each channel by a straight line"):
        image.explain(model, Processor(mix=torch.full((3, 3), 1 / 3)), picture())
    with pytest.raises(ig.Unsupported, match="expected one tensor"):
        image.explain(model, lambda p: torch.zeros(1, 8, 10), picture())
    for more in ({"at": "net"}, {"differentiable": True}, {"recipe": ig.Recipe(at="net")}):
        with pytest.raises(ig.Unsupported, match="explained at their pixels"):
            image.explain(model, processor, picture(), **more)
    with pytest.raises(ig.InputError, match=r"baseline has shape .*; expected \(1, 3, 24, 30\)"):
        image.explain(model, processor, picture(), baseline=torch.zeros(3, 8, 10))
    with pytest.raises(ig.ModelError, match="training mode"):
        image.explain(nn.Sequential(nn.Dropout(), model).train(), processor, picture())


# ---------------------------------------------------------------------- a real checkpoint


@pytest.fixture(scope="module")
def mobilenet(data):
    hub = pytest.importorskip("intgrad.hub")
    return hub.load(str(data / "hf" / "mobilenet_v1_075"))


def fingerprint(model: nn.Module) -> str:
    state = b"".join(t.contiguous().numpy().tobytes() for t in model.state_dict().values())
    return hashlib.sha256(state).hexdigest()


@pytest.mark.data
def test_real_pictures_are_explained_through_the_checkpoints_own_pipeline(mobilenet, data):
    expected = {
        "bird": ("chickadee", 0.99),
        "cat": ("Egyptian cat", 0.94),
        "parrot": ("macaw", 1.0),
    }
    files = [data / "imagenet_photos" / "named" / f"{n}.jpg" for n in expected]
    before = fingerprint(mobilenet.model)
    found = image.explain(mobilenet.model, mobilenet.processor, files, quadrature=FEW)
    for a, file, (label, sure) in zip(found, files, expected.values(), strict=True):
        picture = Image.open(file)
        with torch.no_grad():
            scores = mobilenet.model(**mobilenet.processor(picture, return_tensors="pt")).logits[0]
        assert float(a.output) == pytest.approx(
            float(scores.max()), abs=1e-5 * float(scores.abs().max())
        )
        name, probability = a.subjects[0].predictions[0]
        assert label in name
        assert probability == pytest.approx(sure, abs=0.01)
        assert a.targets[0].startswith("logit of '")
        assert a.values.shape == (1, 3, picture.height, picture.width)
        gap = total(a.values) - float(a.output - a.baseline_output) - float(a.residual)
        assert abs(gap) <= 1e-6 * float(a.values.abs().sum())
    assert fingerprint(mobilenet.model) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in mobilenet.model.modules())
    assert all(p.grad is None and p.requires_grad for p in mobilenet.model.parameters())


@pytest.mark.data
def test_black_is_black_to_the_model(mobilenet, data):
    file = data / "imagenet_photos" / "named" / "hot_dog.jpg"
    (a,) = image.explain(mobilenet.model, mobilenet.processor, file, target=934, quadrature=FEW)
    with torch.no_grad():
        black = mobilenet.model(torch.full((1, 3, 224, 224), -1.0)).logits[0, 934]
    assert float(a.baseline_output) == pytest.approx(float(black), abs=1e-4)
    eye = lens(mobilenet.processor)
    assert torch.equal(eye.shift.flatten(), -torch.ones(3, dtype=torch.float64))


@pytest.mark.data
def test_what_the_crop_cuts_off_gets_nothing(mobilenet, data):
    file = data / "imagenet_photos" / "named" / "cat.jpg"
    (a,) = image.explain(mobilenet.model, mobilenet.processor, file, quadrature=FEW)
    columns = a.values[0].abs().sum((0, 1))
    assert len(columns) == 512
    edge = int((512 - 224 * 341 / 256) / 2) - 2
    assert not columns[:edge].any()
    assert not columns[-edge:].any()
    assert (columns[edge + 4 : -edge - 4] > 0).all()

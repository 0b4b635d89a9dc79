"""Pages, fragments, figures and PNG files: what they say, and that they are safe to open."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import nn

import intgrad as ig
from intgrad.errors import InputError
from intgrad.report import colour, fragment, page, png, save_pngs
from intgrad.report.features import features
from intgrad.report.picture import draw, flat, pictures, pool, regions
from intgrad.report.sentence import words
from intgrad.subject import Picture, Sentence

EVIL = "<script>alert('x')</script>&\"'"
TOKENS = ("[CLS]", "un", "##belie", "##vable", EVIL, "film", "[SEP]")
WORDS = ("[CLS]", "unbelievable", EVIL, "film", "[SEP]")
WORD_OF = (0, 1, 1, 1, 2, 3, 4)


class Bag(nn.Module):
    """Embeds, bends, adds, scores."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.score = nn.Embedding(20, 6), nn.Linear(6, 2)

    def forward(self, ids):
        return self.score(torch.tanh(1.5 * self.embed(ids)).sum(1))


def text(name="a review", rule=ig.GaussLegendre(24)):
    special = tuple(w.startswith("[") for w in WORDS)
    subject = Sentence(name, TOKENS, WORDS, WORD_OF, special, (("positive", 0.9), (EVIL, 0.1)))
    ids = torch.arange(len(TOKENS))[None]
    a = quiet(Bag().eval(), ids, at="embed", baseline=ig.Zeros(), target=1, quadrature=rule)
    return dataclasses.replace(a, subjects=(subject,), targets=("positive",))


def image(name="cat.jpg", rows=1, size=(12, 16), rule=ig.GaussLegendre(24)):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).eval()
    x = torch.rand(rows, 3, *size)
    model(x)
    a = quiet(model, x, target=2, quadrature=rule)
    shown = tuple(
        Picture(name, (255 * p).byte().permute(1, 2, 0), (("tabby cat", 0.75),)) for p in x
    )
    return dataclasses.replace(a, subjects=shown, targets=("tabby cat",) * rows)


def plain(rows=1, rule=ig.GaussLegendre(24), target=None, size=30):
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(size, 8), nn.Tanh(), nn.Linear(8, 5)).eval()
    return quiet(model, torch.randn(rows, size), target=target, quadrature=rule)


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ig.NotConverged)
        return ig.attribute(*args, **kwargs)


ALL_KINDS = {"picture": image, "text": text, "plain": plain}


class Outline(HTMLParser):
    """Tags with their attributes, and the text between them; unbalanced tags are an error."""

    VOID = frozenset(("meta", "img", "br"))

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.words, self.stack = [], [], []
        self.feed(html)
        assert not self.stack, f"unclosed: {self.stack}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if "style" not in self.stack:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str]:
        return [a[name] for _, a in self.tags if name in a]


# ---------------------------------------------------------------------------------- safe to open


@pytest.mark.parametrize("show", [lambda a: page([a], title=EVIL), lambda a: fragment([a])])
def test_nothing_a_user_wrote_becomes_markup(show):
    evil = [
        dataclasses.replace(text(name=EVIL), targets=(EVIL,)),
        dataclasses.replace(image(name=EVIL), targets=(EVIL,)),
        dataclasses.replace(plain(), targets=(EVIL,)),
    ]
    for a in evil:
        run = dataclasses.replace(a.run, notes=(EVIL,), versions=EVIL, device=EVIL)
        html = show(dataclasses.replace(a, run=run))
        outline = Outline(html)
        assert "<script" not in html
        assert not [tag for tag, _ in outline.tags if tag == "script"]
        assert not [name for _, own in outline.tags for name in own if name.startswith("on")]
        assert EVIL in outline.text


def test_a_recipe_cannot_smuggle_markup_in():
    a = plain()
    recipe = dataclasses.replace(a.recipe, name=EVIL, at=EVIL)
    assert "<script" not in page([dataclasses.replace(a, recipe=recipe)])


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_pages_load_nothing_and_run_nothing(kind):
    html = page([ALL_KINDS[kind]()])
    outline = Outline(html)
    sources = outline.attributes("src") + outline.attributes("href")
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in sources)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html.replace("data:image/png", ""))
    assert "script" not in {tag for tag, _ in outline.tags}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_same_input_gives_the_same_bytes(kind):
    first, second = ALL_KINDS[kind](), ALL_KINDS[kind]()
    assert page([first]) == page([second])
    assert fragment([first]) == fragment([second])


def test_characters_a_page_cannot_hold_are_drawn(tmp_path):
    a = dataclasses.replace(plain(), targets=("a\x00b\ud800c\nd\te",))
    path = tmp_path / "page.html"
    page([a], path)
    assert "a\ufffdb\ufffdc⏎d⇥e" in path.read_text("utf-8")


# ------------------------------------------------------------------------------ what a page says


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_number_of_the_certificate_is_text(kind):
    a = ALL_KINDS[kind]()
    said = Outline(page([a])).text
    for name in ("output", "baseline_output", "residual", "forwards", "backwards", "evaluations"):
        assert f"{float(getattr(a, name)[0]):.6g}" in said, name
    for relative in (float(a.error[0]), float(a.floor[0])):
        assert (f"{100 * relative:.2g} %" if relative >= 1e-4 else f"{relative:.1e}") in said
    for fact in (a.run.rule, a.run.dtype, a.run.device, a.run.versions, a.targets[0]):
        assert fact in said
    assert "GaussLegendre(nodes=24" in said
    assert "✓ converged" in said


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_pages_are_well_formed_and_headings_in_order(kind):
    outline = Outline(page([ALL_KINDS[kind](), plain()]))
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert all(own.get("scope") in ("row", "col") for tag, own in outline.tags if tag == "th")
    assert all(own.get("alt") for tag, own in outline.tags if tag == "img")
    ids = outline.attributes("id")
    assert len(ids) == len(set(ids))
    assert {h.removeprefix("#") for h in outline.attributes("href")} <= set(ids)


def test_what_is_not_converged_says_so_in_words():
    a = plain(rule=ig.GaussLegendre(3, rtol=1e-9))
    assert not bool(a.converged[0])
    said = Outline(page([a])).text
    assert "✗ NOT CONVERGED" in said
    assert "no: the error is above the tolerance" in said
    assert "✓ converged" not in said


def test_an_unknown_error_is_called_unknown():
    a = plain()
    nan = torch.full_like(a.error, torch.nan)
    a = dataclasses.replace(
        a, error=nan, converged=torch.tensor([False]), error_map=a.error_map * torch.nan
    )
    said = Outline(page([a])).text
    assert "Error (estimated, relative L1) unknown" in said
    assert "± unknown open" in said
    assert "no: the error is unknown" in said
    assert "nan" not in said


def test_a_method_without_completeness_has_no_residual():
    a = ig.methods.mean_gradient()(nn.Linear(4, 1).eval(), torch.randn(1, 4))
    assert "Residual not defined for this method" in Outline(page([a])).text


def test_a_method_that_approximates_nothing_says_so():
    a = ig.methods.gradient_x_input()(nn.Linear(4, 1).eval(), torch.randn(1, 4))
    said = Outline(page([a])).text
    assert "yes: nothing is approximated" in said
    assert "±" not in said.split("What these numbers mean")[0]


def test_several_attributions_open_with_a_summary():
    html = page([text(), image(rows=2), plain()])
    said = Outline(html).text
    assert said.index("Summary") < said.index("1. integrated gradients")
    assert html.count('href="#') == 4
    assert "3 attributions, 4 rows" in said


def test_how_it_was_made_is_said_once_for_those_made_alike():
    said = Outline(page([plain(), plain(), plain(rule=ig.Midpoint(300))])).text
    assert "Attributions 1, 2" in said
    assert "Attribution 3" in said


def test_of_many_targets_the_highest_are_shown_and_the_rest_counted():
    a = plain(target=ig.All())
    said = Outline(page([a])).text
    shown = sorted(a.output[:, 0].argsort(descending=True)[:3].tolist())
    assert [int(k) for k in re.findall(r"row 0 : logit of class (\d)", said)] == shown
    assert "2 more are not" in said
    assert "(all 5 targets together)" in said


def test_of_many_rows_the_first_are_shown_and_the_rest_counted():
    a = plain(rows=12)
    said = Outline(fragment([a])).text
    assert "The first 8 of 12 rows are shown" in said
    assert "row 7" in said
    assert "row 8 " not in said
    assert "rows are shown" not in Outline(page([a])).text


def test_a_fragment_is_one_element_with_its_own_style():
    html = fragment([plain()])
    assert html.startswith('<div class="intgrad"')
    assert not re.search(r"<(html|head|body)\b", html)
    assert not Outline(html).attributes("id")
    style = re.search(r"<style>(.*)</style>", html, re.DOTALL)[1]
    selectors = [
        s.strip()
        for block in re.findall(r"(?:^|[{};])\s*([^{};@]+)\{", style)
        for s in block.split(",")
    ]
    assert len(selectors) > 40
    assert all(s.startswith(".intgrad") for s in selectors)


def test_an_attribution_shows_itself():
    a = plain()
    assert a.to_html() == page([a])
    assert a._repr_html_() == fragment([a])


# ----------------------------------------------------------------------------------------- words


def test_the_words_add_up_to_what_the_residual_says():
    a = text()
    told = words(a, a.subjects[0])
    assert [w.name for w in told.words] == list(WORDS)
    expected = float(a.output[0] - a.baseline_output[0] + a.residual[0])
    assert sum(w.value for w in told.words) == pytest.approx(expected, abs=1e-6)
    assert told.total == pytest.approx(expected, abs=1e-6)


def test_a_word_is_the_sum_of_its_tokens():
    a = text()
    tokens = a.sum(-1)
    grouped = tokens.group(torch.tensor(WORD_OF))
    told = words(a, a.subjects[0])
    for w, word in enumerate(told.words):
        assert word.value == pytest.approx(float(grouped.values[0, w]), abs=1e-6)
        assert word.error == pytest.approx(float(grouped.error_map[0, w]), rel=1e-4)
    assert [t.name for t in told.words[1].tokens] == ["un", "##belie", "##vable"]
    assert sum(t.value for t in told.words[1].tokens) == pytest.approx(told.words[1].value)
    assert not told.words[0].tokens


def test_words_are_the_same_whether_grouped_before_or_when_shown():
    a = text()
    before = words(a.sum(-1).group(torch.tensor(WORD_OF)), a.subjects[0])
    for one, other in zip(before.words, words(a, a.subjects[0]).words, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-6)


def test_every_word_and_token_has_its_number_as_text():
    a = text()
    said = Outline(page([a])).text
    for word in words(a, a.subjects[0]).words:
        for piece in (word, *word.tokens):
            assert f"{piece.name} {piece.value:+.4g} ± {piece.error:.2g}" in said


def test_padding_that_holds_something_is_a_word_and_empty_padding_is_not():
    a = text()
    extra = torch.zeros(1, 2, 6)
    longer = dataclasses.replace(
        a, values=torch.cat([a.values, extra], 1), error_map=torch.cat([a.error_map, extra], 1)
    )
    assert [w.name for w in words(longer, a.subjects[0]).words] == list(WORDS)
    filled = dataclasses.replace(longer, values=torch.cat([a.values, extra + 1], 1))
    told = words(filled, a.subjects[0])
    assert told.words[-1].name == "(padding)"
    assert told.words[-1].value == pytest.approx(12)
    assert sum(w.value for w in told.words) == pytest.approx(told.total)


def test_values_that_do_not_fit_the_text_are_listed():
    a = dataclasses.replace(plain(size=3), subjects=text().subjects)
    assert "The values are not one a token, so they are listed." in Outline(page([a])).text


# -------------------------------------------------------------------------------------- pictures


def test_a_picture_stands_beside_its_heat_map_and_overlay():
    outline = Outline(page([image()]))
    alts = outline.attributes("alt")
    assert len(alts) == 3
    assert alts[1].startswith("Attribution of cat.jpg for tabby cat.")
    assert "speaks for tabby cat, most strongly in the" in alts[1]
    assert "99.5th percentile" in outline.text


def test_the_story_of_a_picture_is_true():
    a = image()
    values = torch.zeros(1, 3, 12, 16)
    values[0, 0, 1, 2], values[0, 1, 6, 8] = 3.0, -1.0
    told = pictures(dataclasses.replace(a, values=values), a.subjects[0]).story
    assert told.startswith("75 % of the absolute value speaks for tabby cat")
    assert "most strongly in the top left (100 % of it" in told
    assert "what pulls away is strongest in the centre (100 %" in told


def test_a_picture_that_nothing_contributes_to_can_be_shown():
    a = image()
    none = dataclasses.replace(a, values=a.values * 0)
    assert "No pixel contributes to tabby cat." in Outline(page([none])).text


def test_the_regions_add_up_to_the_sum_of_the_values():
    a = image()
    cells = [p for _, row in regions(flat(a.values), flat(a.error_map)) for p in row]
    assert len(cells) == 9
    assert sum(c.value for c in cells) == pytest.approx(float(a.values.double().sum()))
    assert sum(c.error for c in cells) == pytest.approx(float(a.error_map.double().sum()))


@pytest.mark.parametrize("cell", [1, 2, 3, 5])
def test_pooling_keeps_the_sum(cell):
    sums = torch.randn(13, 17, dtype=torch.float64)
    pooled = pool(sums, cell)
    assert pooled.shape == (-(-13 // cell), -(-17 // cell))
    assert float(pooled.sum()) == pytest.approx(float(sums.sum()))
    assert float(pooled[0, 0]) == pytest.approx(float(sums[:cell, :cell].sum()))


def test_a_large_picture_is_drawn_smaller_and_says_so():
    a = image(size=(6, 6))
    pixels = torch.randint(0, 256, (300, 1100, 3), dtype=torch.uint8)
    large = dataclasses.replace(
        a, values=torch.randn(1, 1, 300, 1100), error_map=None, subjects=(Picture("wide", pixels),)
    )
    drawing = draw(large, large.subjects[0])
    assert drawing.pixels.shape == (100, 367, 3)
    assert drawing.strength.shape == (100, 367)
    assert "cells of 3 × 3 pixels, for display only" in Outline(page([large])).text


def test_the_scale_is_clipped_at_its_percentile():
    a = image()
    drawing = draw(a, a.subjects[0])
    assert float(drawing.strength.abs().max()) == 1
    beyond = (drawing.sums.abs() > drawing.scale).double().mean()
    assert 0 < float(beyond) <= 0.0055


def test_values_off_the_pixel_grid_are_listed():
    a = dataclasses.replace(plain(), subjects=image().subjects)
    assert "not in the picture's pixel grid" in Outline(page([a])).text


@pytest.mark.parametrize("channels", [3, 4])
def test_png_bytes_hold_the_pixels(channels):
    pillow = pytest.importorskip("PIL.Image", reason="pillow reads the PNG back; it is not here")
    pixels = torch.randint(0, 256, (7, 5, channels), dtype=torch.uint8)
    seen = pillow.open(io.BytesIO(png.encode(pixels)))
    assert seen.mode == {3: "RGB", 4: "RGBA"}[channels]
    assert list(seen.tobytes()) == pixels.reshape(-1).tolist()


# ------------------------------------------------------------------------------------- the rest


def test_the_largest_features_come_first_with_their_errors():
    a = plain()
    view = features(a)
    order = a.values[0].abs().argsort(descending=True)[:15].tolist()
    assert [p.name for p in view.pieces] == [f"[{i}]" for i in order]
    assert [p.value for p in view.pieces] == [float(a.values[0, i]) for i in order]
    assert [p.error for p in view.pieces] == [float(a.error_map[0, i]) for i in order]
    said = Outline(page([a])).text
    assert "The 15 largest of 30 values" in said
    assert "shape (30,)" in said


def test_features_of_several_tensors_are_named_by_tensor_and_index():
    def model(a, b):
        return (a**2).sum(1) + 3 * b.flatten(1).sum(1)

    x = {"a": torch.ones(1, 2), "b": torch.full((1, 2, 2), 2.0)}
    view = features(ig.attribute(model, x, target=lambda out, rows: out))
    assert [p.name for p in view.pieces[:2]] == ["['b'][0, 0]", "['b'][0, 1]"]
    assert view.shape == "['a'] (2,), ['b'] (2, 2)"


def test_a_single_number_can_be_shown():
    a = plain().sum(1)
    assert a.values.shape == (1,)
    assert "the value" in Outline(page([a])).text


def test_a_value_smaller_than_its_error_has_an_open_sign():
    a = plain()
    unsure = dataclasses.replace(a, error_map=a.values.abs() * 2)
    assert all(p.unsure for p in features(unsure).pieces)
    assert not any(p.unsure for p in features(a).pieces)


# ---------------------------------------------------------------------------------------- colour


def luminance(rgb):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def rgb(code):
    return [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]


@pytest.mark.parametrize("scheme", [colour.LIGHT, colour.DARK], ids=["light", "dark"])
def test_text_keeps_its_contrast_on_every_ground(scheme):
    pairs = [(ink, ground) for ink in ("ink", "muted", "link") for ground in ("card", "paper")]
    pairs += [("good", "good-back"), ("bad", "bad-back")]
    for ink, ground in pairs:
        assert contrast(rgb(scheme[ink]), rgb(scheme[ground])) >= 4.5, (ink, ground)


@pytest.mark.parametrize("scheme", [colour.LIGHT, colour.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("side", [colour.POSITIVE, colour.NEGATIVE], ids=["positive", "negative"])
def test_words_keep_their_contrast_at_every_strength(scheme, side):
    card, ink = rgb(scheme["card"]), rgb(scheme["ink"])
    for strength in torch.linspace(0, colour.WORD, 50).tolist():
        ground = [s / 255 * strength + c * (1 - strength) for s, c in zip(side, card, strict=True)]
        assert contrast(ink, ground) >= 4.5


@pytest.mark.parametrize("scheme", [colour.LIGHT, colour.DARK], ids=["light", "dark"])
def test_both_sides_stand_out_from_the_ground(scheme):
    for side in (colour.POSITIVE, colour.NEGATIVE):
        assert contrast([c / 255 for c in side], rgb(scheme["card"])) >= 3


# ----------------------------------------------------------------------------------------- files


def test_a_page_is_written_whole(tmp_path):
    path = tmp_path / "page.html"
    html = page([text()], path)
    assert path.read_text("utf-8") == html
    assert page([text()], None) == html
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(InputError, match=r"cannot be written: No space left on device\."):
        page([plain()], path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="does not exist; create it first"):
        page([plain()], tmp_path / "nowhere" / "page.html")
    with pytest.raises(InputError, match="does not exist; create it first"):
        page([plain()], tmp_path / "file" / "page.html")
    with pytest.raises(InputError, match="cannot be written"):
        page([plain()], tmp_path / "folder")
    with pytest.raises(InputError, match="cannot be created"):
        save_pngs([image()], tmp_path / "file" / "inner")


def test_overlays_are_saved_one_a_row(tmp_path):
    pillow = pytest.importorskip("PIL.Image", reason="pillow reads the PNG back; it is not here")
    paths = save_pngs([image(name="../My Cat.jpg", rows=2), image()], tmp_path / "new")
    names = ["001-my-cat.png", "002-my-cat.png", "003-cat.png"]
    assert [p.name for p in paths] == names
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == names
    with pillow.open(paths[0]) as seen:
        assert seen.size == (16, 12)


def test_rows_that_are_no_pictures_have_no_overlay_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="not a picture"):
        save_pngs([image(), text()], tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("nothing", [[], None, 3])
def test_nothing_to_show_is_a_sentence(nothing):
    with pytest.raises(InputError, match="no attribution to show"):
        page(nothing)


def test_a_bare_attribution_is_a_sentence():
    with pytest.raises(InputError, match=r"Write \[a\]"):
        page(plain())


# --------------------------------------------------------------------------------------- figures

BLOCKED = """
import sys
sys.modules["PIL"] = sys.modules["matplotlib"] = None
import torch, intgrad as ig
from intgrad.report import page
a = ig.attribute(torch.nn.Linear(3, 2).eval(), torch.randn(1, 3))
assert "</html>" in page([a])
try:
    a.plot()
except ImportError as error:
    print(error)
"""


def test_pages_need_neither_pillow_nor_matplotlib_and_figures_name_their_extra():
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'pip install "intgrad[image]"' in done.stdout


@pytest.fixture
def plot():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from intgrad.report.figure import plot

    return plot


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_has_a_figure(plot, kind, tmp_path):
    figure = plot(ALL_KINDS[kind]())
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_a_figure_of_a_text_has_a_bar_a_word_with_its_value(plot):
    a = dataclasses.replace(text(), targets=("$x$ costs $5",))
    figure = plot(a)
    (axis,) = figure.axes
    told = words(a, a.subjects[0])
    assert [t.get_text() for t in axis.get_yticklabels()] == list(WORDS)
    assert [b.get_width() for b in axis.patches] == [w.value for w in told.words]
    assert "$x$ costs $5" in figure.get_suptitle()


def test_a_figure_of_a_table_is_a_heat_map_with_a_scale(plot):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    figure = plot(ig.attribute(model, torch.randn(2, 3, 4)), row=-1)
    assert figure.axes[0].get_images()[0].get_array().shape == (3, 4, 4)
    assert len(figure.axes) == 2


def test_a_figure_of_several_targets_shows_the_highest(plot):
    a = plain(target=ig.All())
    assert a.targets[int(a.output[:, 0].argmax())] in plot(a).get_suptitle()


def test_a_figure_of_a_row_that_is_not_there_is_a_sentence(plot):
    with pytest.raises(InputError, match="row=3; expected 0 to 0"):
        plot(plain(), row=3)


def test_templates_are_packaged_beside_their_code():
    import intgrad.report

    folder = Path(intgrad.report.__file__).parent / "templates"
    assert {"page.html.j2", "fragment.html.j2", "style.css.j2"} <= {
        p.name for p in folder.iterdir()
    }

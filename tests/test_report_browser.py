"""Pages in a real browser: nothing complains, and axe-core finds nothing to mend."""

from __future__ import annotations

import shutil

import pytest

import intgrad as ig
import test_audit as audits
import test_laboratory as laboratory
from intgrad.report import baselines, fragment, page
from test_report import EVIL, image, plain, text

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGES = {
    "picture": lambda: page([image(rows=2)]),
    "text": lambda: page([text(name=EVIL)]),
    "plain": lambda: page([plain(rows=2, rule=ig.GaussLegendre(3, rtol=1e-9))]),
    "long": lambda: page([text(name="n" * 90), plain()], title="t" * 90),
    "baselines of pictures": lambda: baselines.page(laboratory.photos()),
    "baselines of texts": lambda: baselines.page(laboratory.sentences()),
    "baselines of tables": lambda: laboratory.of_linear(group=laboratory.half_sure).to_html(),
    "audit of pictures": lambda: audits.audited("pictures").to_html(),
    "audit of texts": lambda: audits.audited("texts").to_html(),
    "audit of tables": lambda: audits.audited("tables").to_html(),
    "several": lambda: page([text(), image(), plain(target=ig.All())], title="Several"),
}


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed, so no page is opened"
    )
    with sync_api.sync_playwright() as driver:
        if CHROMIUM is None:
            pytest.skip("there is no chromium on the path, so no page is opened.")
        shown = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield shown
        shown.close()


@pytest.fixture
def visit(browser, tmp_path):
    opened = []

    def go(html, scheme="light", width=1100):
        path = tmp_path / "page.html"
        path.write_text(html, "utf-8")
        tab = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        opened.append(tab)
        tab.complaints = []
        tab.on("console", lambda message: tab.complaints.append(message.text))
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: tab.complaints.append(dialog.message))
        tab.requests = []
        tab.on("request", lambda request: tab.requests.append(request.url))
        tab.goto(path.as_uri())
        return tab

    yield go
    for tab in opened:
        tab.close()


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_opens_without_complaint_and_fetches_nothing(visit, kind):
    tab = visit(PAGES[kind]())
    assert tab.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in tab.requests)
    assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", PAGES)
def test_axe_finds_no_violation(visit, kind, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe-playwright-python is not installed, so accessibility is not checked",
    )
    tab = visit(PAGES[kind](), scheme)
    # what is folded away is checked as well
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = axe.Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()


def photos(data):
    """The checkpoint's answers to the named photos, as `intgrad explain` reports them."""
    from intgrad import hub
    from intgrad import image as pictures

    found = hub.load(str(data / "hf" / "mobilenet_v1_075"))
    paths = sorted((data / "imagenet_photos" / "named").glob("*.jpg"))[:6]
    rule = ig.GaussLegendre(6)
    return pictures.explain(found.model, found.processor, paths, quadrature=rule)


def questions(data):
    """Ten questions of TREC_10."""
    from intgrad import hub
    from intgrad import text as texts

    found = hub.load(str(data / "hf" / "trec_bert"))
    lines = (data / "text_trec" / "TREC_10.label").read_text("latin-1").splitlines()[:10]
    asked = [line.split(" ", 1)[1] for line in lines]
    rule = ig.GaussLegendre(6)
    return texts.explain(
        found.model, found.processor, asked, baseline=texts.Mask(), quadrature=rule
    )


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::intgrad.NotConverged")
@pytest.mark.parametrize("ask", [photos, questions])
def test_reports_of_real_checkpoints_are_sound(visit, data, ask):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe-playwright-python is not installed, so accessibility is not checked",
    )
    html = page(ask(data))
    for scheme in ("light", "dark"):
        tab = visit(html, scheme)
        assert tab.complaints == []
        tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        found = axe.Axe().run(tab)
        assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("kind", PAGES)
def test_nothing_sticks_out_of_a_narrow_screen(visit, kind):
    tab = visit(PAGES[kind](), width=320)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320
    line = "[...document.querySelectorAll('.ig-error')].every(e => e.offsetHeight < 30)"
    assert tab.evaluate(line)  # no digit under another


def test_the_schemes_differ_and_both_are_legible(visit):
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light, dark = (visit(PAGES["text"](), s).evaluate(ground) for s in ("light", "dark"))
    assert light == "rgb(246, 247, 249)"
    assert dark == "rgb(16, 19, 24)"


def test_print_is_light_and_unfolds_everything(visit):
    tab = visit(PAGES["picture"](), "dark")
    tab.emulate_media(media="print", color_scheme="dark")
    ink = "getComputedStyle(document.querySelector('.intgrad')).color"
    assert tab.evaluate(ink) == "rgb(27, 31, 38)"
    assert tab.locator("details.ig-details table").first.is_visible()


def test_a_fragment_leaves_the_page_around_it_alone(visit):
    around = "<!DOCTYPE html><html lang='en'><title>t</title><body><h2 id='own'>Own</h2>{}</body>"
    style = "(() => { const s = getComputedStyle(document.getElementById('own')); return s.cssText + s.fontSize + s.color + s.margin })()"  # noqa: E501
    bare, beside = (visit(around.format(h)).evaluate(style) for h in ("", fragment([text()])))
    assert bare == beside

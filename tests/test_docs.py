"""The pages say what the code does: every Python block of the documentation is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import contract
from nets import noise

ROOT = Path(__file__).resolve().parent.parent
PAGES = [p for p in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if p.exists()]
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?```python\n(?P<code>.*?)^```$", re.M | re.S
)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(page: Path) -> Iterator[tuple[int, str]]:
    """The line above each block that is run, and its code."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        if not found["reason"]:
            yield text[: found.start("code")].count("\n"), found["code"]


def run(page: Path) -> dict[str, object]:
    """Run a page from top to bottom in one namespace; tracebacks name its lines."""
    names: dict[str, object] = {"__name__": f"docs_{page.stem.replace('-', '_')}"}
    with torch.random.fork_rng(devices=[]):
        for line, code in blocks(page):
            program = compile("\n" * line + code, str(page), "exec", dont_inherit=True)
            exec(program, names)
    return names


@each_page
def test_every_python_block_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page)


@each_page
def test_a_block_that_is_not_run_says_why(page):
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^\s*`{3,}\s*\{?(?:py|python|code)", text, re.M)) == len(
        BLOCK.findall(text)
    ), "a Python block is not written as ```python at the margin, so nothing runs it"


@each_page
def test_a_page_has_no_trace_of_where_it_was_written(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"/(?:home|work|tmp|root)/|\bTODO\b|\bFIXME\b", text)


def test_a_failing_line_is_named_by_its_page_and_number(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nfine = 1\nassert fine == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError) as error:
        run(page)
    last = error.traceback[-1]
    assert (Path(str(last.path)).name, last.lineno + 1) == ("page.md", 5)


def test_a_block_marked_not_run_is_left_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: no network -->\n```python\n1 / 0\n```\n", encoding="utf-8")
    assert "fine" not in run(page)


def test_the_parts_that_the_page_builds_keep_the_contract(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run(ROOT / "docs" / "extend.md")
    parts = {name: names[name] for name in ("Bow", "Greedy", "Shuffled", "Simpson", "Entropy")}
    for part in parts.values():
        contract.check_value(part())
    contract.check_value(names["SquaredShares"]())
    contract.check_path(parts["Bow"]())
    contract.check_path(parts["Greedy"]())
    contract.check_baseline(parts["Shuffled"](), noise(3, 2, 5))
    contract.check_quadrature(parts["Simpson"]())
    contract.check_integrand(names["SquaredShares"]())
    contract.check_target(
        parts["Entropy"](), lambda s, best: -(s.softmax(1) * s.log_softmax(1)).sum(1)
    )

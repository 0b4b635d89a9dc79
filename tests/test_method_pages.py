"""The pages of the methods and the table of axioms say the same."""

import re
from dataclasses import astuple, fields
from pathlib import Path

import pytest

from intgrad.axioms import AXIOMS, Axioms
from intgrad.cli import family
from intgrad.methods import CATALOGUE

PAGES = Path(__file__).resolve().parent.parent / "docs" / "methods"
SHARED = {"smooth_grad_squared": "smooth_grad", "var_grad": "smooth_grad"}
SHARED |= dict.fromkeys(family.LAYERED, "conductance")
ROW = re.compile(r"^\| `(\w+)` \| (.+) \|$", re.M)
HEAD = "| | " + " | ".join(field.name for field in fields(Axioms)) + " |"


def page(name: str) -> str:
    return (PAGES / f"{SHARED.get(name, name)}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_page_of_a_method_tells_its_axioms(name):
    said = page(name)
    assert HEAD in said
    rows = {method: tuple(cells.split(" | ")) for method, cells in ROW.findall(said)}
    assert rows[name] == astuple(AXIOMS[name])


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_page_of_a_method_leads_to_its_paper(name):
    papers = re.findall(r"(?:arXiv:|doi:)(\S*[\w/])", CATALOGUE[name].__doc__ or "")
    assert all(paper in page(name) for paper in papers)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_page_of_a_method_calls_it(name):
    assert re.search(rf"\bmethods\.{name}\b", page(name))


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_readme_lists_the_method(name):
    assert f"`{name}(" in (PAGES.parent.parent / "README.md").read_text(encoding="utf-8")

"""Every example runs, is short, and says what is missing where its data are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def run(name: str, *arguments: object, where: Path, data: Path, flags: tuple[str, ...] = ()) -> str:
    """The output of an example that ran without an error or a word on stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *flags, EXAMPLES / name, *map(str, arguments)],
        cwd=where,
        env={**os.environ, "INTGRAD_DATA": str(data), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_an_example_is_under_eighty_lines_and_says_how_it_is_run(script: Path) -> None:
    source = script.read_text(encoding="utf-8")
    assert len(source.splitlines()) < 80
    assert f"python examples/{script.name}" in source


def test_the_table_example_converges_and_names_its_columns(tmp_path: Path) -> None:
    said = run("tabular.py", where=tmp_path, data=tmp_path)
    assert "mean concavity" in said
    assert "has converged" in said
    assert "NOT" not in said


OPTIONAL = [
    "photo.py", "question.py", "regional_pruning.py", "class_pruning.py", "interactions_tables.py",
    "circuit.py",
]  # fmt: skip


@pytest.mark.parametrize("name", OPTIONAL)
def test_without_data_an_example_says_so(name: str, tmp_path: Path) -> None:
    said = run(name, where=tmp_path, data=tmp_path / "none")
    assert said.startswith("Skipped: there is no ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.data
@pytest.mark.slow
def test_the_photo_example_names_the_cat_and_writes_a_report(data: Path, tmp_path: Path) -> None:
    said = run("photo.py", where=tmp_path, data=data)
    assert "cat" in said
    assert (tmp_path / "photo-report" / "report.html").is_file()
    assert len(list(tmp_path.glob("photo-report/*.png"))) == 2


@pytest.mark.data
def test_the_question_example_prints_words_with_their_errors(data: Path, tmp_path: Path) -> None:
    said = run("question.py", where=tmp_path, data=data)
    assert "is a question of kind HUM" in said
    assert "galileo" in said.lower()
    assert said.count("converged") == 4
    assert "NOT" not in said


@pytest.mark.data
@pytest.mark.slow
def test_the_regional_example_takes_the_box_away_first(data: Path, tmp_path: Path) -> None:
    theirs = ("-W", "ignore::ResourceWarning")  # the loaders beside the data leave a file open
    said = run("regional_pruning.py", 1, where=tmp_path, data=data, flags=theirs)
    assert said.count("ranked by") == 6
    whole, pruned = (line.split() for line in said.split("ranked by the box")[1].splitlines()[2:4])
    assert (whole[0], pruned[0]) == ("0.0%", "1.0%")
    assert float(pruned[1]) < 0 < float(whole[1])
    assert "nan" not in said


@pytest.mark.data
@pytest.mark.slow
def test_the_class_example_loses_the_digit_and_keeps_it(data: Path, tmp_path: Path) -> None:
    said = run("class_pruning.py", 100, where=tmp_path, data=data)
    eight = [line.split() for line in said.splitlines() if line.split()[:1] == ["8"]]
    assert len(eight) == 2
    for _, top, _, bottom, _, chance, _ in eight:
        assert float(top) < 0.1 < 0.9 < float(bottom)
        assert float(chance) > 0.9


@pytest.mark.data
def test_the_circuit_example_finds_more_than_chance_does(data: Path, tmp_path: Path) -> None:
    said = run("circuit.py", where=tmp_path, data=data)
    assert "Edges of 6 pairs of prompts: 1701 edges" in said
    assert "NOT" not in said
    row = next(line.split() for line in said.splitlines() if line.startswith("  400"))
    assert float(row[1]) > 0.5 > float(row[3])
    assert (tmp_path / "circuit.dot").read_text().startswith("digraph circuit {")


@pytest.mark.data
@pytest.mark.slow
def test_the_tables_example_prints_pairs_with_their_errors_and_draws_them(data, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    said = run("interactions_tables.py", 3, where=tmp_path, data=data)
    for name in ("diabetes", "titanic", "adult"):
        assert (tmp_path / f"{name}.png").is_file()
        title, *pairs = said.split(f"\n{name}: ")[1].splitlines()[:7]
        assert float(title.split("about ")[1].split("%")[0]) > 70
        sizes = [float(pair.split(": ")[1].split()[0]) for pair in pairs]
        errors = [float(pair.split("± ")[1]) for pair in pairs]
        assert sizes == sorted(sizes, reverse=True)
        assert all(error < 0.1 * size for error, size in zip(errors, sizes, strict=True))

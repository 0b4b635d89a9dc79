"""The command line answers, refuses in one sentence, and writes files that are whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from intgrad import methods, storage
from intgrad.attribution import Attribution, Run
from intgrad.cli import app, console, listing
from intgrad.cli.request import MOST

Command = Callable[..., Result]

OWN = '''
import numpy as np
import torch
from torch import nn
from intgrad.hub import Checkpoint

def see(picture):
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).movedim(-1, 0)

class Steep(nn.Module):
    """Two classes, by a step at a quarter of all light, as narrow as `slope` says."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, x):
        step = torch.sigmoid(self.slope * (x.mean((1, 2, 3)) - 0.253))
        return torch.stack([1 - 2 * step, 3 * step], 1)

def smooth():
    return Checkpoint(Steep(2.0), see, ("dark [red]", "light"), "image", "smooth")

def steep():
    return Checkpoint(Steep(4000.0), see, ("dark", "light"), "image", "steep")

def reader():
    return Checkpoint(nn.Linear(2, 2), None, ("dark", "light"), "text", "reader")
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with two pictures, a text, a table, and models of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    Path("own.py").write_text(OWN)
    Image.new("RGB", (4, 4), (200, 100, 50)).save("a.png")
    Image.new("RGB", (4, 4), (250, 250, 250)).save("[b].png")
    Path("broken.jpg").write_bytes(b"no picture")
    Path("table.csv").write_text("a,b\n1,2\n")
    Path("blank.txt").write_text("\n  \n")
    Path("latin.txt").write_bytes(b"caf\xe9\n")
    return tmp_path


@pytest.fixture
def command(here: Path) -> Command:
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------ what it says


def test_version_help_and_no_arguments_say_what_to_do(command: Command) -> None:
    assert re.fullmatch(r"intgrad \d+\.\d+\S*\n", command("--version").stdout)
    for words in ([], ["--help"], ["-h"]):
        assert "Begin with 'intgrad demo'" in command(*words).output
    said = command("explain", "--help")
    assert said.exit_code == 0
    options = "--text --target --as --baseline --tolerance --nodes --out --width --seed --strict"
    for option in options.split():
        assert option in said.stdout
    assert "intgrad explain ./bert --text" in said.stdout


@pytest.mark.parametrize("words", [[], ["explain"], ["audit"], ["demo"], ["methods"]], ids=" ".join)
def test_help_fits_eighty_columns(command: Command, words: list[str]) -> None:
    assert max(map(len, command(*words, "--help").output.splitlines())) <= 80


def test_methods_lists_the_catalogue_with_papers_and_costs(command: Command) -> None:
    said = command("methods")
    assert said.exit_code == 0
    for name in methods.CATALOGUE:
        assert name in said.stdout
    assert "arXiv:1703.01365" in said.stdout
    assert "to a tolerance" in said.stdout
    assert "1 gradient " in said.stdout
    assert max(map(len, said.stdout.splitlines())) <= 80


def test_a_docstring_gives_authors_year_and_identifier_or_a_dash() -> None:
    text = 'A sum. Cost: one. Ann, Bob 2017, "On Sums in 3 Parts", arXiv:1703.01365.'
    assert listing.paper(text) == "Ann, Bob 2017, arXiv:1703.01365"
    assert (
        listing.paper("Hand and Foot 1999, doi:10.1/ab.c.") == "Hand and Foot 1999, doi:10.1/ab.c"
    )
    assert listing.paper("In units of output.") == "-"


# ------------------------------------------------------------------------------ pictures


def test_explain_shows_a_table_and_writes_report_pictures_and_numbers(
    command: Command, here: Path
) -> None:
    done = command("explain", "own:smooth", "a.png", "[b].png", "--out", "deep/er")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "[b].png" in done.stdout
    assert "yes" in done.stdout
    assert names_in(here / "deep" / "er") == [
        "001-a.png",
        "002-b.png",
        "attributions.safetensors",
        "report.html",
    ]
    found = storage.load(here / "deep/er/attributions.safetensors", Attribution, Run)
    assert [a.subjects[0].name for a in found] == ["a.png", "[b].png"]
    assert all(a.converged.all() for a in found)


def test_square_brackets_of_names_are_shown_as_they_are(command: Command) -> None:
    assert "dark [red]" in command("explain", "own:smooth", "a.png", "--target", "0").stdout


def test_output_has_no_control_codes_and_fits_eighty_columns(command: Command) -> None:
    said = command("explain", "own:smooth", "a.png").output
    assert said.isascii() or "─" in said
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", said)
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("wanted", ["light", "LIGHT", "1"])
def test_a_class_is_named_or_counted(command: Command, here: Path, wanted: str) -> None:
    assert command("explain", "own:smooth", "a.png", "--target", wanted).exit_code == 0
    (found,) = storage.load(here / "intgrad-out/attributions.safetensors", Attribution, Run)
    assert "class 1" in found.targets[0]


@pytest.mark.parametrize("kind", ["logit", "probability", "log-probability"])
def test_what_of_a_class_is_explained(command: Command, here: Path, kind: str) -> None:
    done = command("explain", "own:smooth", "a.png", "--as", kind)
    assert done.exit_code == 0
    (found,) = storage.load(here / "intgrad-out/attributions.safetensors", Attribution, Run)
    assert found.targets[0].startswith(f"{kind} of ")


@pytest.mark.parametrize("name", ["black", "white", "grey", "noise"])
def test_baselines_of_pictures(command: Command, here: Path, name: str) -> None:
    args = ("explain", "own:smooth", "a.png", "--baseline", name, "--nodes", 8, "--seed", 3)
    assert command(*args).exit_code == 0
    (found,) = storage.load(here / "intgrad-out/attributions.safetensors", Attribution, Run)
    low, high = {"black": (-1.5, 0.3), "white": (2.0, 3.0), "grey": (1.0, 3.0)}.get(name, (-9, 9))
    assert low < float(found.baseline_output[0]) < high or name == "black"
    assert found.run.seed == 3


def test_width_is_the_width_of_every_call(command: Command, here: Path) -> None:
    assert command("explain", "own:smooth", "a.png", "--width", 4).exit_code == 0
    (found,) = storage.load(here / "intgrad-out/attributions.safetensors", Attribution, Run)
    assert found.run.width == 4


def test_the_same_call_gives_the_same_bytes(command: Command, here: Path) -> None:
    for folder in ("one", "two"):
        command("explain", "own:smooth", "a.png", "--baseline", "noise", "--out", folder)
    assert names_in(here / "one") == names_in(here / "two")
    for name in names_in(here / "one"):
        assert (here / "one" / name).read_bytes() == (here / "two" / name).read_bytes()


# ------------------------------------------------------------------------------ convergence


def test_rows_that_miss_are_marked_and_advised_without_a_warning(command: Command) -> None:
    done = command("explain", "own:steep", "a.png", "--nodes", 4)
    assert done.exit_code == 0
    assert " NO" in done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
    assert "1 of 1 row has not converged to 0.01: use --tolerance 0.01" in done.stderr
    assert "Warning" not in done.output


def test_strict_exits_with_one_after_everything_is_written(command: Command, here: Path) -> None:
    done = command("explain", "own:steep", "a.png", "--nodes", 4, "--strict")
    assert done.exit_code == 1
    assert (here / "intgrad-out" / "report.html").is_file()
    assert command("explain", "own:smooth", "a.png", "--strict").exit_code == 0


def test_a_tolerance_finds_the_nodes(command: Command, here: Path) -> None:
    done = command("explain", "own:steep", "a.png", "--tolerance", 0.01, "--strict")
    assert (done.exit_code, done.stderr) == (0, "")
    (found,) = storage.load(here / "intgrad-out/attributions.safetensors", Attribution, Run)
    assert 9 < int(found.backwards[0]) <= MOST
    assert float(found.error[0]) <= 0.01


def test_a_tolerance_that_is_out_of_reach_is_said_so(command: Command) -> None:
    done = command("explain", "own:steep", "a.png", "--tolerance", 1e-14)
    assert done.exit_code == 0
    assert f"even with {MOST} gradients" in done.stderr


# ------------------------------------------------------------------------------ refusals

REFUSED = {
    "--target light and dark": (
        ["own:smooth", "a.png", "--target", "grey"],
        "'grey' is not a class",
    ),
    "a class beyond the last": (["own:smooth", "a.png", "--target", 7], "target 7 is not a class"),
    "no such picture": (["own:smooth", "none.png"], "none.png does not exist"),
    "a folder": (["own:smooth", "."], "is a folder; name the files in it"),
    "a broken picture": (["own:smooth", "broken.jpg"], "broken.jpg cannot be read as a picture"),
    "neither": (["own:smooth", "table.csv"], "Inputs are pictures, or .txt files."),
    "nothing": (["own:smooth"], "nothing to explain"),
    "both kinds": (["own:smooth", "a.png", "--text", "b"], "a model takes one or the other"),
    "an empty text": (["own:reader", "--text", " ", "--baseline", "mask"], "a --text is empty"),
    "no texts in it": (
        ["own:reader", "blank.txt", "--baseline", "mask"],
        "blank.txt holds no text",
    ),
    "not UTF-8": (["own:reader", "latin.txt", "--baseline", "mask"], "latin.txt is not UTF-8"),
    "no baseline": (["own:reader", "--text", "a"], "choose --baseline mask, pad, unk, zero"),
    "a baseline of texts": (["own:smooth", "a.png", "--baseline", "pad"], "is not for pictures"),
    "of pictures": (["own:reader", "--text", "a", "--baseline", "blur"], "is not for texts"),
    "pictures to read": (["own:reader", "a.png"], "is a model for texts and pictures were given"),
    "texts to see": (["own:smooth", "--text", "a", "--baseline", "pad"], "is a model for images"),
    "unknown model": (["./nowhere", "a.png"], "nowhere"),
    "no such factory": (["own:nothing", "a.png"], "nothing"),
    "two rules": (["own:smooth", "a.png", "--nodes", 4, "--tolerance", 0.1], "both given"),
    "a tolerance of none": (["own:smooth", "a.png", "--tolerance", 0], "between 0 and 1"),
    "a file as folder": (["own:smooth", "a.png", "--out", "table.csv"], "table.csv is a file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_a_sentence_with_exit_code_two(
    command: Command, here: Path, case: str
) -> None:
    arguments, sentence = REFUSED[case]
    before = names_in(here)
    done = command("explain", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert re.fullmatch(r"intgrad: .*[.?]\n", done.stderr)
    assert set(names_in(here)) - set(before) <= {"__pycache__", "intgrad-out"}
    assert not (here / "intgrad-out").exists() or names_in(here / "intgrad-out") == []


@pytest.mark.parametrize(
    "option", ["--nodes=0", "--width=0", "--as=score", "--baseline=pink", "--no"]
)
def test_options_are_checked(command: Command, option: str) -> None:
    done = command("explain", "own:smooth", "a.png", option)
    assert done.exit_code == 2
    assert option.partition("=")[0] in done.stderr


def test_an_interrupt_exits_with_130(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("intgrad.cli.commands.answer", interrupted)
    done = command("explain", "own:smooth", "a.png")
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr == "intgrad: interrupted; no file is left half-written.\n"


def test_a_disk_that_is_full_is_a_sentence(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "attributions.safetensors")

    monkeypatch.setattr(console.storage, "save", full)
    done = command("explain", "own:smooth", "a.png")
    assert done.exit_code == 2
    assert done.stderr == "intgrad: attributions.safetensors: No space left on device.\n"


def test_a_missing_extra_is_a_sentence(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.delitem(sys.modules, "intgrad.demo", raising=False)
    monkeypatch.delattr("intgrad.demo", raising=False)
    done = command("demo")
    assert done.exit_code == 2
    assert 'pip install "intgrad[demo]"' in done.stderr


def test_warnings_are_notes_of_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    import warnings

    with console.notes():
        warnings.simplefilter("default")
        for _ in range(2):
            warnings.warn("cut at\n512 tokens", stacklevel=1)
    assert capfd.readouterr().err == "note: cut at 512 tokens\n"


def test_the_bar_grows_when_rows_are_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    totals: list[float | None] = []
    monkeypatch.setattr(
        console.Progress, "update", lambda self, task, **now: totals.append(now["total"])
    )
    with console.rows_bar(10) as tick:
        for rows in (4, 6, 1, 20):
            tick(rows)
    assert totals == [10, 10, 30, 70]


# ------------------------------------------------------------------------------ as a process


def process(*arguments: str, where: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", "from intgrad.cli import main; main()", *arguments],
        cwd=where,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_the_demo_writes_the_same_report_twice(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        done = process("demo", "--out", folder, where=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80
        assert f"Open {Path(folder, 'report.html')} in a browser." in done.stdout
    names = names_in(tmp_path / "one")
    assert names == names_in(tmp_path / "two")
    assert len(names) == 10
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_process_refuses_without_a_traceback(here: Path) -> None:
    done = process("explain", "own:nothing", "a.png", where=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"intgrad: .*\n", done.stderr)


def test_output_survives_a_terminal_that_knows_only_ascii(here: Path) -> None:
    (here / "a.png").rename(here / "é日本.png")
    done = process("explain", "own:smooth", "é日本.png", where=here, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "???.png" in done.stdout


# ------------------------------------------------------------------------------ real checkpoints


@pytest.mark.data
def test_a_photo_is_explained(command: Command, here: Path, data: Path) -> None:
    cat = data / "imagenet_photos" / "named" / "cat.jpg"
    done = command("explain", data / "hf" / "mobilenet_v1_075", cat, "--nodes", 4)
    assert done.exit_code == 0
    assert names_in(here / "intgrad-out") == [
        "001-cat.png",
        "attributions.safetensors",
        "report.html",
    ]
    (found,) = storage.load(here / "intgrad-out/attributions.safetensors", Attribution, Run)
    assert "cat" in found.subjects[0].predictions[0][0]


@pytest.mark.data
@pytest.mark.parametrize("name", ["mask", "pad", "unk", "zero"])
def test_questions_are_explained(command: Command, here: Path, data: Path, name: str) -> None:
    Path("questions.txt").write_text("Who was Galileo ?\n\nWhat is an atom ?\n")
    more = ("questions.txt", "--text", "Who wrote Faust ?", "--baseline", name, "--tolerance", 0.01)
    done = command("explain", data / "hf" / "trec_bert", "--target", "HUM", *more)
    assert (done.exit_code, done.stderr) == (0, "")
    assert names_in(here / "intgrad-out") == ["attributions.safetensors", "report.html"]
    found = storage.load(here / "intgrad-out/attributions.safetensors", Attribution, Run)
    assert len(found) == 3
    assert all("HUM" in a.targets[0] and a.converged.all() for a in found)

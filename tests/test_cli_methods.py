"""Every method of the catalogue on the command line: listed, told, and run, or refused in a sentence."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from click.testing import Result
from PIL import Image
from rich.cells import cell_len
from typer.testing import CliRunner

import intgrad as ig
from intgrad import storage
from intgrad.attribution import Attribution, Run
from intgrad.axioms import AXIOMS
from intgrad.cli import app, family, listing
from intgrad.methods import CATALOGUE
from intgrad.recipe import show
from test_cli import Command

OWN = """
import numpy as np
import torch
from torch import nn
from intgrad.hub import Checkpoint

def see(picture):
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).movedim(-1, 0)

def net(steep=1):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, 2)
    parts[0].weight.data.mul_(steep)
    return Checkpoint(nn.Sequential(*parts), see, ("dark", "light"), "image", "net")

def rough():
    return net(60)

def reader():
    return Checkpoint(nn.Linear(2, 2), None, ("dark", "light"), "text", "reader")
"""

NUMBERS = "intgrad-out/attributions.safetensors"
PICTURE = ("explain", "own:net", "a.png")
TEXT = ("--text", "Who was Galileo ?", "--baseline", "mask")
FOR_TEXTS = [name for name in CATALOGUE if family.why_not(name, False) is None]
every = pytest.mark.parametrize("name", CATALOGUE)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a picture and models of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    Path("own.py").write_text(OWN)
    light = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(0))
    Image.fromarray((255 * light).byte().numpy()).save("a.png")
    return tmp_path


@pytest.fixture
def command(here: Path) -> Command:
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def found(here: Path) -> Attribution:
    """The one attribution that was written."""
    (one,) = storage.load(here / NUMBERS, Attribution, Run)
    return one


def unbroken(said: str) -> str:
    return " ".join(said.split())


def is_refused(done: Result, name: str, noun: str) -> None:
    """In one sentence that says why, and names three methods that are not refused."""
    assert (done.exit_code, done.stdout) == (2, "")
    said = re.fullmatch(rf"intgrad: {name} is not for {noun}: it .+\. Take (.+)\.\n", done.stderr)
    assert said, done.stderr
    others = re.split(", | or ", said[1])
    assert len(others) == 3
    assert all(family.why_not(other, noun == "pictures") is None for other in others)


# ------------------------------------------------------------------------------ the list


def test_the_list_shows_the_axioms_of_every_method(command: Command) -> None:
    lines = command("methods").stdout.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("axioms kept"))
    assert lines[head].split()[2:] == list(listing.COLUMNS)
    rows = {line.split()[0]: line.split()[1:] for line in lines[head + 2 :] if line.strip()}
    conditions = {mark: " ".join(rest) for mark, rest in rows.items() if mark.startswith("(")}
    for name in CATALOGUE:
        told = [conditions.get(word, word) for word in rows[name]]
        assert told == [getattr(AXIOMS[name], column) for column in listing.COLUMNS]


def test_costs_are_those_of_the_defaults() -> None:
    costs = {name: listing.cost(method()) for name, method in CATALOGUE.items()}
    assert costs["integrated_gradients"] == "to a tolerance"
    assert costs["expected_gradients"] == "up to 2000 gradients"
    assert costs["occlusion"] == costs["shapley_path"] == "forwards alone"
    assert costs["saliency"] == "1 gradient"
    assert costs["smooth_grad"] == "50 gradients"
    assert costs["smooth_taylor"] == "150 gradients"


@every
def test_one_method_is_told_whole(command: Command, name: str) -> None:
    done = command("methods", name)
    assert (done.exit_code, done.stderr) == (0, "")
    assert max(map(cell_len, done.stdout.splitlines())) <= 80
    said, recipe = unbroken(done.stdout), CATALOGUE[name]()
    assert said.startswith(f"{name}(")
    assert unbroken(CATALOGUE[name].__doc__ or "") in said
    for part in (recipe.path, recipe.quadrature, recipe.integrand):
        assert unbroken(show(part)) in said
    for column in listing.COLUMNS:
        assert f"{column} {getattr(AXIOMS[name], column)}. (" in said


@pytest.mark.parametrize("words", [["methods"], [*PICTURE, "--method"]], ids=["methods", "explain"])
@pytest.mark.parametrize(
    ("wrong", "near"),
    [("guided", "guided_ig"), ("Integrated-Gradients", "integrated_gradients"), ("zzz", "")],
)
def test_an_unknown_name_is_offered_the_nearest(
    command: Command,
    words: list[str],
    wrong: str,
    near: str,
) -> None:
    done = command(*words, wrong)
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.fullmatch(rf"intgrad: '{wrong}' is no method; did you mean {near}.*\n", done.stderr)


def test_help_names_every_method(command: Command) -> None:
    said = unbroken(command("explain", "--help").stdout)
    assert ", ".join(CATALOGUE) in said


# ------------------------------------------------------------------------------ pictures


@every
def test_a_method_explains_a_picture_or_says_why_not(
    command: Command,
    here: Path,
    name: str,
) -> None:
    done = command(*PICTURE, "--method", name)
    if family.why_not(name, True) is not None:
        is_refused(done, name, "pictures")
        return
    assert done.exit_code == 0
    a = found(here)
    assert a.recipe.name == name
    assert a.values.shape == (1, 3, 8, 8)
    assert a.values.abs().sum() > 0


def test_most_methods_are_for_pictures() -> None:
    refused = {name for name in CATALOGUE if family.why_not(name, True) is not None}
    words = {"sequential_ig", "discretized_ig", "occlusion", "shapley_path"}
    assert refused <= {*words, *family.LAYERED}


def test_without_a_name_it_is_integrated_gradients(command: Command, here: Path) -> None:
    command(*PICTURE)
    plain = found(here)
    command(*PICTURE, "--method", "integrated_gradients", "--baseline", "black")
    assert plain.recipe == found(here).recipe
    assert plain.values.equal(found(here).values)
    assert plain.recipe == ig.methods.integrated_gradients(baseline=ig.Zeros())


def test_a_method_begins_where_it_is_told(command: Command, here: Path) -> None:
    command(*PICTURE, "--method", "guided_ig", "--baseline", "white")
    assert found(here).recipe == ig.methods.guided_ig(baseline=ig.Constant(1.0))


@pytest.mark.parametrize("name", ["blur_ig", "big", "saliency", "smooth_grad", "gradient_x_input"])
def test_a_method_with_a_start_of_its_own_takes_no_other(command: Command, name: str) -> None:
    done = command(*PICTURE, "--method", name, "--baseline", "white")
    several = command(*PICTURE, "--method", name, "--baselines", "black,white")
    for said in (done, several):
        assert (said.exit_code, said.stdout) == (2, "")
        assert re.fullmatch(rf"intgrad: {name} leaves no choice of a baseline.*\.\n", said.stderr)


def test_a_method_is_compared_from_several_baselines(command: Command, here: Path) -> None:
    done = command(*PICTURE, "--method", "idgi", "--baselines", "black,white")
    assert done.exit_code == 0
    black, white = storage.load(here / NUMBERS, Attribution, Run)
    assert black.recipe == ig.methods.idgi(baseline=ig.Zeros())
    assert white.recipe == ig.methods.idgi(baseline=ig.Constant(1.0))


def test_a_start_that_is_the_methods_own_may_be_named(command: Command, here: Path) -> None:
    command(*PICTURE, "--method", "expected_gradients", "--baseline", "noise")
    assert found(here).recipe.baseline == ig.Uniform(0.0, 1.0, samples=16)
    command(*PICTURE, "--method", "expected_gradients")
    assert found(here).recipe.baseline == ig.Uniform(0.0, 1.0, samples=16)


def test_a_boundary_is_sought_among_pictures(command: Command, here: Path) -> None:
    command(*PICTURE, "--method", "big")
    assert found(here).recipe.baseline == ig.Boundary(low=0.0, high=1.0)


def test_a_method_keeps_its_rule_unless_told(command: Command, here: Path) -> None:
    ask = (*PICTURE, "--method", "expected_gradients")
    command(*ask)
    assert found(here).recipe.quadrature == ig.Lattice()
    command(*ask, "--tolerance", 0.2)
    assert found(here).recipe.quadrature == ig.Lattice(rtol=0.2)
    command(*ask, "--nodes", 3)
    assert found(here).recipe.quadrature == ig.GaussLegendre(3)


def test_idgi_cuts_panels_where_others_have_nodes(command: Command, here: Path) -> None:
    done = command(*PICTURE, "--method", "idgi", "--nodes", 5)
    assert found(here).recipe.quadrature == ig.LeftRiemann(5)
    assert "unknown" in done.stdout
    assert "use --tolerance 0.01" in done.stderr


@pytest.mark.parametrize("option", ["--nodes", "--tolerance"])
@pytest.mark.parametrize("name", ["saliency", "smooth_grad", "smooth_taylor", "gradient_x_input"])
def test_a_method_without_an_integral_has_no_nodes(
    command: Command,
    name: str,
    option: str,
) -> None:
    done = command(*PICTURE, "--method", name, option, 1)
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.fullmatch(rf"intgrad: {option}: {name} adds up no gradients.*\.\n", done.stderr)


def test_what_helps_a_row_that_has_not_converged(command: Command) -> None:
    done = command("explain", "own:rough", "a.png", "--method", "smooth_grad")
    assert "ig.methods.smooth_grad(samples=200) halves the error" in done.stderr


def test_the_legend_says_where_nothing_is_approximated(command: Command) -> None:
    said = unbroken(command(*PICTURE, "--method", "saliency").stdout)
    assert "nothing is approximated here" in said
    assert "converged at" not in said


# ------------------------------------------------------------------------------ texts


@pytest.mark.parametrize("name", sorted(CATALOGUE.keys() - FOR_TEXTS))
def test_a_method_that_is_not_for_texts_says_why(command: Command, name: str) -> None:
    is_refused(command("explain", "own:reader", *TEXT, "--method", name), name, "texts")


@pytest.mark.parametrize("name", [n for n in FOR_TEXTS if "baseline" in family.takes(n)])
def test_a_baseline_of_texts_must_be_named(command: Command, name: str) -> None:
    done = command("explain", "own:reader", "--text", "a", "--method", name)
    assert "choose --baseline mask, pad, unk, zero" in done.stderr


def test_methods_for_texts_are_words_and_paths() -> None:
    assert {"integrated_gradients", "sequential_ig", "occlusion", "shapley_path"} < set(FOR_TEXTS)


@pytest.mark.data
@pytest.mark.parametrize("name", FOR_TEXTS)
def test_a_method_explains_a_text(command: Command, here: Path, data: Path, name: str) -> None:
    own = TEXT if "baseline" in family.takes(name) else TEXT[:2]
    done = command("explain", data / "hf" / "trec_bert", *own, "--method", name)
    assert (done.exit_code, done.stderr) == (0, "")
    a = found(here)
    assert a.recipe.name == name
    assert a.values.shape == (1, 8)
    if name != "idgi":  # which does not ask what moved
        assert a.values[0, 0] == a.values[0, -1] == 0  # [CLS] and [SEP] stay where they are


@pytest.mark.data
def test_gradient_times_input_of_a_text_is_from_zero(
    command: Command,
    here: Path,
    data: Path,
) -> None:
    ask = ("explain", data / "hf" / "trec_bert", "--text", "Who ?", "--method", "gradient_x_input")
    assert command(*ask, "--baseline", "zero").exit_code == 0
    assert type(found(here).recipe.baseline).__name__ == "ZeroEmbedding"
    assert "(it is zero)" in command(*ask, "--baseline", "mask").stderr

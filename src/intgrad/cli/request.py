"""What `explain` is asked: inputs, baseline, class and rule; and the call that answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import intgrad as ig
from intgrad.cli.console import rows_bar

if TYPE_CHECKING:
    from intgrad.hub import Checkpoint

MOST = 2000  # gradients a row, and a draw of the baseline, that a tolerance may cost
DRAWS = 16  # of the noise baseline


class As(StrEnum):
    """What of a class is explained."""

    logit = "logit"
    probability = "probability"
    log_probability = "log-probability"


class Start(StrEnum):
    """Where paths start: the first five for pictures, the others for text."""

    black = "black"
    white = "white"
    grey = "grey"
    blur = "blur"
    noise = "noise"
    mask = "mask"
    pad = "pad"
    unk = "unk"
    zero = "zero"


FOR_PICTURES = (Start.black, Start.white, Start.grey, Start.blur, Start.noise)
FOR_TEXT = (Start.mask, Start.pad, Start.unk, Start.zero)
KINDS: dict[As, Callable[[int | None], Any]] = {
    As.logit: lambda index: None if index is None else ig.Logit(index),
    As.probability: ig.Probability,
    As.log_probability: ig.LogProbability,
}


@dataclass(frozen=True)
class Asked:
    """The options of `explain` that say how to attribute."""

    target: str | None
    kind: As
    recipe: ig.Recipe
    width: int | None
    seed: int


def sort_out(inputs: Sequence[Path], texts: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Pictures and texts, each looked at before a model is loaded."""
    pictures, lines = [], list(texts)
    for path in inputs:
        if not path.is_file():
            wrong = "is a folder; name the files in it" if path.is_dir() else "does not exist"
            raise ig.InputError(f"{path} {wrong}; expected a picture or a .txt file.")
        if path.suffix.lower() == ".txt":
            lines += read_lines(path)
        else:
            refuse_unreadable(path)
            pictures.append(path)
    if not pictures and not lines:
        raise ig.InputError(
            'nothing to explain: name pictures or .txt files, or give --text "...".'
        )
    if pictures and lines:
        raise ig.InputError("pictures and texts were both given; a model takes one or the other.")
    if not all(line.strip() for line in lines):
        raise ig.InputError("a --text is empty; expected at least one word.")
    return pictures, lines


def refuse_unreadable(path: Path) -> None:
    """Open a picture, as its front will."""
    from intgrad.image.view import opened

    try:
        opened(path, 0)
    except ig.InputError as error:
        raise ig.InputError(f"{error} Inputs are pictures, or .txt files.") from error


def read_lines(path: Path) -> list[str]:
    """The texts of a file, one a line; blank lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ig.InputError(f"{path} is not UTF-8 text; save it as UTF-8.") from error
    if not any(line.strip() for line in lines):
        raise ig.InputError(f"{path} holds no text; expected one text a line.")
    return [line.strip() for line in lines if line.strip()]


def refuse_baseline(baseline: Start | None, pictures: bool) -> None:
    """A baseline of the other kind; or none, for text."""
    known = ", ".join(start.value for start in (FOR_PICTURES if pictures else FOR_TEXT))
    if baseline is None and not pictures:
        raise ig.InputError(
            f"a text is compared with a baseline that must be named; choose --baseline {known}."
        )
    if baseline is not None and (baseline in FOR_PICTURES) is not pictures:
        noun = "pictures" if pictures else "texts"
        raise ig.InputError(f"--baseline {baseline.value} is not for {noun}; expected {known}.")


def starts_of(names: str | None, baseline: Start | None, pictures: bool) -> tuple[Start, ...]:
    """The baselines named: none, one, or several with commas between them."""
    if names is None:
        return () if baseline is None else (baseline,)
    if baseline is not None:
        raise ig.InputError(
            "--baseline and --baselines were both given; --baselines explains from each that it names, "
            "and compares them."
        )
    known = FOR_PICTURES if pictures else FOR_TEXT
    said, of = [name.strip() for name in names.split(",")], [start.value for start in known]
    for name in said:
        if name not in of or said.count(name) > 1:
            wrong = (
                "is named twice"
                if name in of
                else f"is not for {'pictures' if pictures else 'texts'}"
            )
            raise ig.InputError(
                f"--baselines {names}: {name!r} {wrong}; expected some of {', '.join(of)}, with commas "
                f"between them."
            )
    if len(said) < 2:
        raise ig.InputError(
            f"--baselines {names} names one; expected two or more, such as {','.join(of[:2])}. For one, "
            f"use --baseline."
        )
    return tuple(Start(name) for name in said)


def load(name: str, pictures: bool) -> Checkpoint:
    """The checkpoint, of the kind that the inputs need.

    Raises
    ------
    InputError
        It cannot be loaded, or is a model of the other kind.
    """
    from intgrad import hub

    checkpoint = hub.load(name)
    if (checkpoint.kind == "image") is not pictures:
        given = "pictures" if pictures else "texts"
        raise ig.InputError(
            f"{name} is a model for {checkpoint.kind}s and {given} were given; expected "
            + ("texts, as --text or .txt files." if pictures else "picture files.")
        )
    return checkpoint


def answer(
    checkpoint: Checkpoint, inputs: Sequence[Path | str], asked: Asked
) -> list[ig.Attribution]:
    """Hand the inputs to their front."""
    with rows_bar(first_rows(inputs, asked.recipe)) as tick:
        explain = front(checkpoint).explain
        start = asked.recipe.baseline
        return explain(*handed(checkpoint, inputs), baseline=start, **how(checkpoint, asked, tick))


def compare(
    checkpoint: Checkpoint, inputs: Sequence[Path | str], asked: Asked, starts: Sequence[Start]
) -> list[ig.BaselineReport]:
    """Hand the inputs to their front, to be explained from several baselines."""
    import_module("intgrad.report.baselines_figure")  # says at once if there is no matplotlib
    named = {start.value: made(start) for start in starts}
    rows = sum(first_rows(inputs, asked.recipe.but(baseline=b)) for b in named.values())
    with rows_bar(rows) as tick:
        report = front(checkpoint).baseline_report
        return report(*handed(checkpoint, inputs), baselines=named, **how(checkpoint, asked, tick))


def front(checkpoint: Checkpoint) -> Any:
    """The front for pictures or for texts."""
    if checkpoint.kind == "image":
        from intgrad import image

        return image
    from intgrad import text

    return text


def handed(checkpoint: Checkpoint, inputs: Sequence[Path | str]) -> tuple[Any, Any, list[Any]]:
    """What a front takes first."""
    return checkpoint.model, checkpoint.processor, list(inputs)


def how(checkpoint: Checkpoint, asked: Asked, tick: Callable[[int], None]) -> dict[str, Any]:
    """The options, as a front takes them."""
    return {
        "target": KINDS[asked.kind](class_index(asked.target, checkpoint.labels)),
        "recipe": asked.recipe,
        "labels": checkpoint.labels,
        "width": asked.width,
        "seed": asked.seed,
        "progress": tick,
    }


def first_rows(inputs: Sequence[object], recipe: ig.Recipe) -> int:
    """Rows through the model in a first round of the rule."""
    each = getattr(recipe.quadrature, "nodes", 24)
    draws, copies = (getattr(p, "samples", None) or 1 for p in (recipe.baseline, recipe.around))
    return len(inputs) * copies * (each * draws + 3)


def made(start: Start) -> Any:
    """The baseline itself; those of pictures in light from 0 to 1, so that black is 0."""
    pictures = {
        Start.black: ig.Zeros(),
        Start.white: ig.Constant(1.0),
        Start.grey: ig.Constant(0.5),
        Start.blur: ig.Blurred(),
        Start.noise: ig.Uniform(0.0, 1.0, samples=DRAWS),
    }
    if start in pictures:
        return pictures[start]
    from intgrad import text

    texts = {Start.mask: text.Mask, Start.pad: text.Pad, Start.unk: text.Unknown}
    return texts.get(start, text.ZeroEmbedding)()


def class_index(wanted: str | None, labels: Sequence[str]) -> int | None:
    """A class by index or name; None for the predicted one."""
    from intgrad import hub

    if wanted is None or wanted.isdecimal():
        return None if wanted is None else int(wanted)
    if not labels:
        raise ig.InputError(
            f"the model's classes have no names; --target {wanted!r} needs a number."
        )
    return hub.find_class(labels, wanted)

"""What `audit` is asked: pictures or texts as rows, a method of ours or anybody's, thresholds."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

import intgrad as ig
from intgrad.audit import Audit, Explain, Finding, Measured
from intgrad.cli.request import Start, class_index, front, load, made
from intgrad.hub import Checkpoint, current_directory
from intgrad.integrand import Summed
from intgrad.naming import labels_of, top
from intgrad.report import files
from intgrad.subject import Subject

ASKED_FOR = "audit.toml"  # read where it lies in the current directory
BLUR = 10.0  # sigma of what stands for a removed pixel
LEGEND = (
    "size: the worst violation found, or how far the method is behind what it is compared with. "
    "allowed: what rounding, the method's own error or chance explain. method, random, gradient: the "
    "mean of the metric for the method (±: half of its 95 % interval), for a random map, and for the "
    "model's own gradient times the way from the baseline."
)


@dataclass(frozen=True, eq=False)
class Rows:
    """Inputs as an audit takes them.

    Attributes
    ----------
    model
        What is audited, a module of `x` alone.
    baseline, absent
        Where paths start, and what stands for a unit that is removed.
    eye
        How pictures come to the model.
    """

    model: nn.Module
    x: Tensor
    baseline: Any
    absent: Any
    subjects: tuple[Subject, ...]
    eye: Any = None


# ------------------------------------------------------------------------------ what is audited


def rows_of(checkpoint: Checkpoint, inputs: Sequence[Any], start: Start | None) -> Rows:
    """Pictures as light on the crop that the model sees, or texts as token ids."""
    if checkpoint.kind == "image":
        return pictures(checkpoint, inputs, start or Start.black)
    assert start is not None
    return texts(checkpoint, inputs, start)


def pictures(checkpoint: Checkpoint, paths: Sequence[Path], start: Start) -> Rows:
    """Pictures (rows, 3, height, width) of light; removed pixels are blurred, or black from a blur."""
    from intgrad.image.lens import bytes_of, lens
    from intgrad.image.view import look

    eye = lens(checkpoint.processor)
    views = look(paths, eye, ig.Zeros(), 0)
    model, x = front(checkpoint).pipeline(
        checkpoint.model, eye, torch.stack([v.light for v in views])
    )
    names = labels_of(checkpoint.model, checkpoint.labels)
    with torch.no_grad():
        tops = [top(checkpoint.model, scores(model(one[None])), names) for one in x]
    found = [
        ig_picture(v.name, bytes_of(v.light), said) for v, said in zip(views, tops, strict=True)
    ]
    absent = ig.Zeros() if start is Start.blur else ig.Blurred(BLUR)
    return Rows(model, x, made(start), absent, tuple(found), eye)


def ig_picture(name: str, pixels: Tensor, said: Any) -> Subject:
    """A picture on the crop that the model sees."""
    from intgrad.subject import Picture

    return Picture(name, pixels, said)


def scores(output: Any) -> Tensor:
    """The scores in what a model returned."""
    from intgrad.model.scores import entry_of

    return entry_of(output, None)


class Reads(nn.Module):
    """A classifier of token ids alone: what is padding it sees by the id."""

    def __init__(self, net: nn.Module, pad: int) -> None:
        super().__init__()
        self.net, self.pad = net, pad

    def get_input_embeddings(self) -> nn.Module:
        """Where the net takes words from."""
        return self.net.get_input_embeddings()  # type: ignore[operator]

    def forward(self, ids: Tensor) -> Any:
        """Whatever the net returns."""
        return self.net(input_ids=ids, attention_mask=(ids != self.pad).long())


def texts(checkpoint: Checkpoint, lines: Sequence[str], start: Start) -> Rows:
    """Texts (rows, tokens) of ids; a word that is removed becomes the baseline's token."""
    from intgrad.text.tokens import read, together
    from intgrad.text.tokens import scores as said_of

    if start is Start.zero:
        raise ig.InputError(
            "--baseline zero puts no token in the place of a word, and an audit removes words; choose "
            "mask, pad or unk."
        )
    model, tokenizer = checkpoint.model, checkpoint.processor
    readings = [read(model, tokenizer, text, i) for i, text in enumerate(lines)]
    batch = together(model, tokenizer, readings, [said_of(model, r.batch) for r in readings])
    pad = tokenizer.pad_token_id
    baseline = made(start).start(tokenizer, batch)
    ids = torch.where(batch.own, batch.ids, pad)
    subjects = tuple(r.subject for r in readings)
    return Rows(Reads(model, pad).eval(), ids, baseline, baseline, subjects)


# ------------------------------------------------------------------------------------ the method


def method_of(recipe: ig.Recipe, rows: Rows) -> ig.Recipe:
    """A recipe of the catalogue, for these rows: of token ids it explains their embeddings."""
    if rows.x.is_floating_point():
        return recipe
    return recipe.but(baseline=rows.baseline, at="embedding", integrand=Summed(recipe.integrand))


def imported(name: str) -> Explain:
    """Somebody else's explain function, ``package.module:function``, from the current directory.

    Raises
    ------
    InputError
        It cannot be imported, or is no function.
    """
    module, _, function = name.partition(":")
    with current_directory():
        try:
            found: Any = getattr(import_module(module), function)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise ig.InputError(
                f"--explain {name} cannot be imported ({said}); expected package.module:function, a "
                f"function (model, x, target) -> values."
            ) from error
    if not callable(found):
        raise ig.InputError(
            f"--explain {name} is a {type(found).__name__}; expected a function (model, x, target) -> "
            f"values."
        )
    return found


def checks_of(names: str | None) -> list[str] | None:
    """Names with commas between them."""
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


def thresholds_at(path: Path | None) -> Path | None:
    """The file named, or ``audit.toml`` where there is one."""
    here = Path(ASKED_FOR)
    return path if path is not None else here if here.is_file() else None


def run(checkpoint: Checkpoint, rows: Rows, method: ig.Recipe | Explain, **asked: Any) -> Audit:
    """The audit itself."""
    index, start = class_index(asked.pop("target"), checkpoint.labels), rows.baseline
    if isinstance(method, ig.Recipe):
        method, start = method_of(method, rows), None  # its own, which may be no baseline of ours
    how = {"baseline": start, "absent": rows.absent, "subjects": rows.subjects, **asked}
    return ig.audit.run(rows.model, rows.x, method, target=index, **how)


def truth(folder: Path | None, rows: Rows, inputs: Sequence[Any]) -> Tensor | None:
    """Masks of pictures, where a folder of them is given.

    Raises
    ------
    InputError
        Texts have none; what `masks_of` says.
    """
    from intgrad.cli.masks import masks_of

    if folder is None:
        return None
    if rows.eye is None:
        raise ig.InputError("--masks are for pictures, and texts were given.")
    return masks_of(folder, inputs, rows.eye)


def shuffled(
    name: str | None, checkpoint: Checkpoint, inputs: Sequence[Any], start: Start | None
) -> nn.Module | None:
    """The model that was trained on shuffled labels, behind what the audited one reads its inputs with."""
    if name is None:
        return None
    other = load(name, checkpoint.kind == "image")
    return rows_of(replace(checkpoint, model=other.model), inputs, start).model


# ------------------------------------------------------------------------------ what is shown


def deliver(audit: Audit, folder: Path, title: str) -> None:
    """Print the table, write the page and the numbers, and say where they are."""
    screen, found = Console(highlight=False), table(audit)
    needed = Console(width=1000).measure(found).maximum  # rich would cut numbers to fit the screen
    Console(highlight=False, width=max(needed, screen.width)).print(found)
    for words in (LEGEND, *inapplicable(audit)):
        typer.echo(textwrap.fill(words, min(screen.width, 80) - 1))
    told = json.dumps(audit.describe(), indent=1, allow_nan=False)
    files.write(folder / "audit.json", told.encode("utf-8"))
    audit.to_html(folder / "report.html", title)
    typer.echo(f"\nWritten to {folder}:\n  report.html\n  audit.json")
    for why in audit.missed:
        typer.echo(f"not met: {why}.", err=True)


def table(audit: Audit) -> Table:
    """One line a check that applies; no number is ever cut."""
    found = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    found.add_column("check", no_wrap=True)
    for name in ("", "size", "allowed", "method", "±", "random", "gradient"):
        found.add_column(name, justify="right", no_wrap=True)
    for finding in audit.findings:
        if finding.applies:
            found.add_row(finding.check, *cells(finding))
    return found


def inapplicable(audit: Audit) -> list[str]:
    """Checks that do not apply, by the reason why."""
    names: dict[str, list[str]] = {}
    for finding in audit.findings:
        if not finding.applies:
            names.setdefault(finding.note, []).append(finding.check)
    return [
        f"{', '.join(checks)} {'do' if len(checks) > 1 else 'does'} not apply: {why}"
        for why, checks in names.items()
    ]


def cells(finding: Finding) -> list[Text]:
    """Verdict, size, and the scores of a finding."""
    verdict = Text("holds") if finding.holds else Text("BROKEN", style="bold red")
    own = [Text(f"{v:.2g}") for v in (finding.size, finding.allowed)]
    if not isinstance(finding, Measured):
        return [verdict, *own, *[Text("")] * 4]
    half = finding.interval()
    means = [
        f"{finding.mean(who):.3g}" if who in finding.scores else ""
        for who in ("random", "gradient")
    ]
    doubt = "" if half != half else f"{half:.1g}"
    return [verdict, *own, Text(f"{finding.mean():.3g}"), Text(doubt), *map(Text, means)]

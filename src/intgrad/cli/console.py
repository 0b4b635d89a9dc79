"""What the command line shows and writes: sentences, a bar, a table, and files that are whole."""

from __future__ import annotations

import os
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from intgrad import report, storage
from intgrad.attribution import Attribution
from intgrad.errors import InputError, IntgradError, NotConverged
from intgrad.headline import percent
from intgrad.methods import CATALOGUE
from intgrad.subject import Picture

NUMBERS = ("p", "f(x)", "f(base)", "residual", "error", "evals", "conv.")
LEGEND = (
    "p: probability of the prediction. f(x), f(base): {what}, at the input and at the baseline. "
    "residual: sum of values - (f(x) - f(base)). error: estimated, of the values, relative to their "
    "L1 norm; a row has converged at {rtol:.2g} or less. evals: gradient evaluations."
)


# ----------------------------------------------------------------------- sentences on stderr


@contextmanager
def sentences() -> Iterator[None]:
    """Turn refusals into one sentence and exit code 2, and Ctrl-C into 130."""
    try:
        yield
    except (IntgradError, ImportError) as error:
        raise refused(" ".join(str(error).split()), 2) from error
    except KeyboardInterrupt as error:
        raise refused("interrupted; no file is left half-written.", 130) from error
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno is None:
            raise  # the reader of a pipe has gone, which click ends quietly; or no file at all
        raise refused(f"{error.filename or 'a file'}: {error.strerror or error}.", 2) from error


def refused(sentence: str, code: int) -> typer.Exit:
    """Say why on stderr; the exception to raise."""
    typer.echo(f"intgrad: {sentence}", err=True)
    return typer.Exit(code)


@contextmanager
def notes() -> Iterator[None]:
    """Show warnings as notes of one line; `NotConverged` is left to the table and `advise`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("ignore", category=NotConverged)
        yield
    for said in dict.fromkeys(" ".join(str(w.message).split()) for w in caught):
        typer.echo(f"note: {said}", err=True)


@contextmanager
def rows_bar(first: int) -> Iterator[Callable[[int], None]]:
    """A bar of rows through the model, on a terminal's stderr; nothing where that is piped.

    `first` is what one round of the rule needs; each further round doubles it.
    """
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("rows"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as p:
        task, total, done = p.add_task("", total=first), first, 0

        def tick(rows: int) -> None:
            nonlocal total, done
            done += rows
            while done > total:
                total = 2 * total + first
            p.update(task, completed=done, total=total)

        yield tick


# ------------------------------------------------------------------------------------- tables


def summary(attributions: Sequence[Attribution], width: int) -> Table:
    """One line a row: what it is, what the model says, and the certificate; in so many columns.

    Numbers are never cut: names and predictions share what they leave.
    """
    rows = [(a, row) for a in attributions for row in range(len(a))]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=0)
    words, cells = [named(a, row) for a, row in rows], [numbers(a, row) for a, row in rows]
    longest = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
    taken = sum(max(len(h), n) for h, n in zip(NUMBERS, longest, strict=True)) + len(NUMBERS) + 4
    for head, most in zip(("input", "prediction"), shares(words, width - taken), strict=True):
        table.add_column(head, no_wrap=True, max_width=most, overflow="ellipsis")
    for head in NUMBERS:
        table.add_column(head, justify="right", no_wrap=True)
    for two, certificate in zip(words, cells, strict=True):
        table.add_row(*two, *certificate)
    return table


def shares(words: Sequence[tuple[Text, Text]], room: int) -> tuple[int, int]:
    """The width of names and of predictions: what they need, or else three fifths and two."""
    name, best = (max(cell.cell_len for cell in column) for column in zip(*words, strict=True))
    least = len("prediction")
    first = max(least, min(name, max(room * 3 // 5, room - max(best, least))))
    return first, max(least, room - first)


def named(a: Attribution, row: int) -> tuple[Text, Text]:
    """A row's name and first prediction; plain, whatever brackets they hold."""
    if not a.subjects:
        return Text(f"row {row}"), Text()
    subject = a.subjects[row]
    best = subject.predictions[0][0] if subject.predictions else ""
    return Text(one_line(subject.name)), Text(one_line(best))


def numbers(a: Attribution, row: int) -> list[Text]:
    """The prediction's probability, and the certificate."""
    sure = [p for s in a.subjects[row : row + 1] for _, p in s.predictions[:1]]
    gap = "-" if a.residual is None else f"{float(a.residual[row]):.1e}"
    cells = ["".join(f"{p:.2f}" for p in sure)]
    cells += [f"{float(f[row]):.4g}" for f in (a.output, a.baseline_output)]
    cells += [gap, percent(a.error[row : row + 1]), f"{float(a.evaluations[row]):.0f}"]
    return [*map(Text, cells), Text("yes") if a.converged[row] else Text("NO", style="bold red")]


def one_line(said: str) -> str:
    """Without line breaks and control characters, which a file's name may hold."""
    return "".join(c if c.isprintable() else " " for c in said)


def catalogue() -> Table:
    """The methods, with their papers and costs."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", no_wrap=True)
    for head in ("what it is", "paper", "cost a row"):
        table.add_column(head, overflow="fold")
    for name, method in CATALOGUE.items():
        said = " ".join((method.__doc__ or "").split())
        first = (method.__doc__ or "").strip().partition("\n")[0]
        table.add_row(Text(name), Text(first), Text(paper(said)), cost(method().quadrature))
    return table


def paper(said: str) -> str:
    """Authors, year and identifier, as a docstring gives them."""
    who = re.search(r"((?:[A-Z][\w'-]+(?:,| and)? )+)(\d{4})", said)
    where = re.search(r"(?:arXiv:|doi:)\S*[\w/]", said)
    return ", ".join(m.group(0) for m in (who, where) if m) or "-"


def cost(quadrature: Any) -> str:
    """What a rule with its default number of nodes asks for."""
    if hasattr(quadrature, "samples"):
        return f"up to {quadrature.max_evaluations} gradients"
    if hasattr(quadrature, "nodes"):
        return f"{quadrature.nodes} gradients"
    return "to a tolerance" if hasattr(quadrature, "max_evaluations") else "1 gradient"


# -------------------------------------------------------------------------------------- files


def deliver(attributions: Sequence[Attribution], folder: Path, title: str) -> None:
    """Print the table, write report, pictures and numbers, and say where they are."""
    written = write(attributions, folder, title)
    screen = Console(highlight=False)
    screen.print(summary(attributions, screen.width))
    what = {name for a in attributions for name in a.targets}
    said = what.pop() if len(what) == 1 else "what is explained"
    legend = LEGEND.format(what=one_line(said), rtol=attributions[0].run.rtol)
    typer.echo(textwrap.fill(legend, min(screen.width, 80) - 1))
    typer.echo(f"\nWritten to {folder}:")
    for line in written:
        typer.echo(f"  {line}")


def write(attributions: Sequence[Attribution], folder: Path, title: str) -> list[str]:
    """Numbers, pictures and report, named; each file appears whole or not at all."""
    numbers, page = folder / "attributions.safetensors", folder / "report.html"
    pictures = [a for a in attributions if a.subjects and isinstance(a.subjects[0], Picture)]
    storage.save(attributions, numbers)
    drawn = report.save_pngs(pictures, folder) if pictures else []
    report.page(attributions, page, title)
    names = [path.name for path in drawn]
    if len(names) > 2:
        names = [f"{names[0]} to {names[-1]}, {len(names)} pictures"]
    return [page.name, *names, numbers.name]


def prepare(folder: Path) -> None:
    """Make the folder, before anything costly is done."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; expected a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise InputError(f"--out {folder} cannot be written to; choose another folder.")


def advise(attributions: Sequence[Attribution], adaptive: bool, most: int) -> int:
    """Say what to do about the rows that have not converged; how many they are."""
    missed = sum(int((~a.converged).sum()) for a in attributions)
    if missed:
        rows, rtol = sum(map(len, attributions)), attributions[0].run.rtol
        remedy = (
            f"even with {most} gradients; accept more error with a larger --tolerance"
            if adaptive
            else f"use --tolerance {rtol:.2g}, which gives each as many gradients as it needs, up to {most}"
        )
        noun = "row has" if rows == 1 else "rows have"
        typer.echo(f"\n{missed} of {rows} {noun} not converged to {rtol:.2g}: {remedy}.", err=True)
    return missed

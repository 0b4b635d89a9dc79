"""The catalogue as the command line lists it, and one method of it told whole."""

from __future__ import annotations

import re
import textwrap
from dataclasses import fields
from inspect import getdoc, signature

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from intgrad.axioms import AXIOMS, Axioms
from intgrad.begin import beginning
from intgrad.cli.family import refuse_unknown, why_not
from intgrad.methods import CATALOGUE
from intgrad.recipe import Recipe
from intgrad.recipe import show as written

WIDTH = 79
COLUMNS = tuple(field.name for field in fields(Axioms))


def show(name: str | None) -> None:
    """Print the whole catalogue, or one method.

    Raises
    ------
    InputError
        There is no such method.
    """
    if name is not None:
        refuse_unknown(name)
        typer.echo(whole(name))
        return
    screen = Console(highlight=False, width=WIDTH + 1)
    screen.print(catalogue())
    screen.print(axioms())
    typer.echo("\nEach is a function of intgrad.methods that returns a recipe:")
    typer.echo("  a = ig.methods.guided_ig()(model, x, target=3)")
    typer.echo("  intgrad explain MODEL cat.jpg --method guided_ig")
    typer.echo("'intgrad methods NAME' tells all of one.")


# ------------------------------------------------------------------------------------- tables


def catalogue() -> Table:
    """The methods and what they cost; what each is, and its paper."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("method, cost a row", no_wrap=True)
    table.add_column("what it is, paper")
    for name, method in CATALOGUE.items():
        said = (getdoc(method) or "").strip()
        first, own = said.partition("\n")[0], " ".join(said.split())
        table.add_row(Text(f"{name}\n  {cost(method())}"), Text(f"{first}\n{paper(own)}\n"))
    return table


def axioms() -> Table:
    """Which axioms each method keeps; conditions are numbered, and told beneath."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0)
    table.add_column("axioms kept", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="center", no_wrap=True)
    conditions: dict[str, int] = {}
    for name in CATALOGUE:
        kept = [getattr(AXIOMS[name], column) for column in COLUMNS]
        table.add_row(name, *(mark(said, conditions) for said in kept))
    table.caption = Text("\n".join(f"({n}) {said}" for said, n in conditions.items()))
    table.caption_justify = "left"
    return table


def mark(said: str, conditions: dict[str, int]) -> str:
    """Yes or no as they are; else the number of the condition, one of its own if it is new."""
    if said in ("yes", "no"):
        return said
    return f"({conditions.setdefault(said, len(conditions) + 1)})"


def paper(said: str) -> str:
    """Authors, year and identifier, as a docstring gives them."""
    who = re.search(r"((?:[A-Z][\w'-]+(?:,| and)? )+)(\d{4})", said)
    where = re.search(r"(?:arXiv:|doi:)\S*[\w/]", said)
    return ", ".join(m.group(0) for m in (who, where) if m) or "-"


def cost(recipe: Recipe) -> str:
    """What a method asks for with its defaults, in three words."""
    rule = recipe.quadrature
    copies = getattr(recipe.around or recipe.baseline, "samples", None) or 1
    if hasattr(rule, "samples"):
        return f"up to {rule.max_evaluations} gradients"
    if hasattr(rule, "max_evaluations"):
        return "to a tolerance"
    if not hasattr(rule, "t"):
        return "forwards alone"
    return f"{copies} gradients" if copies > 1 else "1 gradient"


# --------------------------------------------------------------------------------- one method


def whole(name: str) -> str:
    """Everything there is to say of a method, in lines of at most 79 letters."""
    method = CATALOGUE[name]
    own = ", ".join(f"{p.name}={written(p.default)}" for p in signature(method).parameters.values())
    return "\n\n".join(
        [
            textwrap.fill(f"{name}({own})", WIDTH, subsequent_indent="  "),
            *(
                textwrap.fill(" ".join(p.split()), WIDTH)
                for p in (getdoc(method) or "").split("\n\n")
            ),
            told("Recipe", parts(method())),
            told("Axioms", kept(name)),
            told(
                "From the command line",
                {kind: usable(name, kind) for kind in ("pictures", "texts")},
            ),
        ]
    )


def parts(recipe: Recipe) -> dict[str, str]:
    """The recipe with its defaults."""
    start = beginning(recipe)
    own = {f.name: written(getattr(recipe, f.name)) for f in fields(recipe)[1:]}
    if recipe.baseline is None:
        own["baseline"] = "zeros, if not named" if start is None else f"{written(start)}, no other"
    return own if recipe.around else {k: v for k, v in own.items() if k != "around"}


def kept(name: str) -> dict[str, str]:
    """Each axiom: whether it is kept, and what it says."""
    says = dict(re.findall(r"^(\w+)\n {4}(.+)$", getdoc(Axioms) or "", re.M))
    return {column: f"{getattr(AXIOMS[name], column)}. ({says[column]})" for column in COLUMNS}


def usable(name: str, kind: str) -> str:
    """The command for such inputs, or why there is none."""
    why = why_not(name, kind == "pictures")
    if why is not None:
        return f"no: it {why}"
    given = "cat.jpg" if kind == "pictures" else '--text "..." --baseline mask'
    return f"intgrad explain MODEL {given} --method {name}"


def told(title: str, lines: dict[str, str]) -> str:
    """A title, and names with what is to be said of them."""
    column = max(map(len, lines)) + 4
    rows = (
        textwrap.fill(
            said, WIDTH, initial_indent=f"  {n}".ljust(column), subsequent_indent=" " * column
        )
        for n, said in lines.items()
    )
    return "\n".join([title, *rows])

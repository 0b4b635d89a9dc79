"""The certificate and the provenance, as rows of small tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from intgrad._types import flatten, total
from intgrad.attribution import Attribution
from intgrad.headline import spread_share
from intgrad.report.say import about, number, percent, visible


@dataclass(frozen=True)
class Fact:
    """One row of a table: its name, and what is to be said."""

    name: str
    text: str


MEANINGS = (
    Fact("f(x), f(baseline)", "What the model gives for the explained target, here and where the paths start."),
    Fact("Residual", "Sum of the values minus (f(x) − f(baseline)). It shows that something is missing, "
         "never that all is well: it can be 0 while every value is wrong."),
    Fact("Error", "Estimated distance of the values from the exact integral, as a share of the sum of "
         "their absolute values."),
    Fact("±", "Estimated absolute error of one value, or of a group: the errors of its members added. "
         "The sign is open where the error is larger than the value."),
    Fact("Floor", "What rounding alone does to this row in this dtype, relative like the error. "
         "Nothing below it means anything."),
    Fact("Evaluations", "Gradients, plus 0.45 for each forward without one."),
    Fact("Converged", "The error is within the tolerance that was asked for, or negligible beside f."),
)  # fmt: skip


def found(one: Attribution) -> tuple[Fact, ...]:
    """What a row's answer is; `one` has one row and one target."""
    f, start = float(one.output[0]), float(one.baseline_output[0])
    values = flatten(one.values, "values")[0]
    return (
        *predictions(one),
        Fact("Target explained", visible(one.targets[0])),
        Fact("f(x)", number(f)),
        Fact("f(baseline)", number(start)),
        Fact("f(x) − f(baseline)", number(f - start)),
        Fact("Sum of the values", number(float(total(values)[0]))),
    )


def sure(one: Attribution, several: int) -> tuple[Fact, ...]:
    """How sure the answer is, and what it cost; with several targets, all of them."""
    residual = "not defined for this method" if one.residual is None else float(one.residual[0])
    return (
        Fact("Residual", residual if isinstance(residual, str) else number(residual)),
        Fact("Error (estimated, relative L1)", percent(float(one.error[0]))),
        Fact("Tolerance", held_to(one)),
        Fact("Floor (rounding)", percent(float(one.floor[0]))),
        *spread(one),
        *cost(one, several),
        Fact("Converged", verdict(one)),
    )


def spread(one: Attribution) -> tuple[Fact, ...]:
    """How far several baselines are apart, where there were several."""
    if one.spread is None:
        return ()
    said = f"{percent(float(spread_share(one)[0]))} of the values, over {len(one.members)}"
    return (Fact("Spread over baselines", said),)


def predictions(one: Attribution) -> tuple[Fact, ...]:
    """The model's top predictions, where a front gave them."""
    top = one.subjects[0].predictions if one.subjects else ()
    return tuple(
        Fact(f"Prediction {i}", f"{visible(n)}: {p:.3g}") for i, (n, p) in enumerate(top, 1)
    )


def cost(one: Attribution, several: int) -> tuple[Fact, ...]:
    """What was asked of the model for this row."""
    shared = f" (all {several} targets together)" if several else ""
    names = ("evaluations", "forwards", "backwards")
    return tuple(Fact(n.capitalize(), number(float(getattr(one, n)[0])) + shared) for n in names)


def verdict(one: Attribution) -> str:
    """Whether the error is small enough, in a few words."""
    if not bool(one.converged[0]):
        unknown = bool(one.error.isnan()[0])
        return "no: the error is " + ("unknown" if unknown else "above the tolerance")
    if not one.run.rtol:
        return "yes: nothing is approximated"
    return "yes, but for rounding" if float(one.floor[0]) > float(one.tolerance[0]) else "yes"


def held_to(one: Attribution) -> str:
    """The tolerance, and why it is not the one asked for."""
    if not one.run.rtol:
        return "none: nothing is approximated"
    least = float(one.tolerance[0])
    floored = least == float(one.floor[0])
    return about(least) + (f", the floor of {one.run.dtype}" if floored else "")


def provenance(a: Attribution) -> tuple[Fact, ...]:
    """How an attribution was made: the recipe in full, and the circumstances."""
    recipe, run = a.recipe.describe(), a.run
    parts = (
        Fact(n.capitalize(), spell(p)) for n, p in recipe.items() if n not in ("name", "at") and p
    )
    names = ("rule", "dtype", "device", "width", "seed", "threads", "checks", "versions")
    return (
        Fact("Method", a.recipe.name),
        *parts,
        Fact("At", visible(run.at)),
        *(Fact(n.capitalize(), visible(str(getattr(run, n)))) for n in names),
        Fact("Tolerance", about(run.rtol)),
        Fact("Notes", visible("; ".join(run.notes)) or "none"),
    )


def spell(described: Any) -> str:
    """A described part as one would write it."""
    if isinstance(described, list):
        return f"({', '.join(spell(d) for d in described)})"
    if not isinstance(described, dict):
        return visible(str(described))
    if "lost" in described:
        return visible(described["lost"])
    fields = ", ".join(
        f"{k}={spell(v)}"
        for k, v in described.items()
        if k not in ("part", "home") and v is not None
    )
    return f"{described['part']}({fields})"

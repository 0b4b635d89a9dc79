"""The methods of the catalogue on the command line: what each is for, and as which recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from inspect import signature
from typing import Any

import intgrad as ig
from intgrad.cli.request import MOST, Start, made, refuse_baseline
from intgrad.integrand import BareGradient
from intgrad.methods import CATALOGUE

Reasons = tuple[tuple[Callable[[ig.Recipe], bool], str], ...]

LAYERED = ("layer_ig", "conductance", "internal_influence", "grad_cam", "layer_cam")
LAYER: Reasons = (
    (
        lambda r: r.name in LAYERED,
        "explains a layer, which only Python can name: ig.methods, with at= the layer",
    ),
)
NOT_FOR_PICTURES: Reasons = (
    *LAYER,
    (lambda r: r.at != "input", "goes from word to word, and a picture has none"),
    (
        lambda r: isinstance(r.path, ig.Sequential | ig.Permutation),
        "takes one feature at a time, a word or a column, and a pixel is too small for that",
    ),
)
NOT_FOR_TEXTS: Reasons = (
    *LAYER,
    (
        lambda r: r.around is not None or isinstance(r.baseline, ig.Around),
        "adds noise to its input, and a text is made of whole numbers, which take none",
    ),
    (
        lambda r: isinstance(r.integrand, BareGradient),
        "is a gradient in each dimension of an embedding, and their sum says nothing of a word",
    ),
    (
        lambda r: isinstance(r.path, ig.ScaleSpace),
        "blurs its input, and an embedding has no scale",
    ),
    (
        lambda r: not (r.baseline is None or isinstance(r.baseline, ig.Zeros)),
        "has baselines of its own, which are no texts",
    ),
)

# Where a method begins that leaves no choice of it, and how it is told of pictures or of texts.
OWN_START = {
    ("expected_gradients", True): Start.noise,
    ("gradient_x_input", True): Start.black,
    ("gradient_x_input", False): Start.zero,
}
OWN_PARTS: dict[tuple[str, bool], dict[str, Any]] = {
    ("big", True): {"boundary": ig.Boundary(low=0.0, high=1.0)},
    ("shapley_path", False): {"axis": 1},
}


def recipe_of(
    name: str,
    starts: Sequence[Start],
    nodes: int | None,
    tolerance: float | None,
    pictures: bool,
) -> ig.Recipe:
    """The recipe that a method's name and the options stand for; of several baselines, the first's.

    Raises
    ------
    InputError
        No such method; one that is not for such inputs; an option that it has no use for.
    """
    refuse_unknown(name)
    refuse_kind(name, pictures)
    recipe = CATALOGUE[name](**OWN_PARTS.get((name, pictures), {}))
    begins = begin(name, starts, pictures)
    own = recipe if begins is None else recipe.but(baseline=made(begins))
    return own.but(quadrature=rule_of(name, own, nodes, tolerance))


def begin(name: str, starts: Sequence[Start], pictures: bool) -> Start | None:
    """Where a method begins: as told, or at a place of its own (None where that is its own part)."""
    if "baseline" in takes(name):
        for start in starts or (None,):
            refuse_baseline(start, pictures)
        return starts[0] if starts else Start.black
    own = OWN_START.get((name, pictures))
    for start in starts:
        if start is not own:
            instead = f" (it is {own.value})" if own else ""
            raise ig.InputError(
                f"{name} leaves no choice of a baseline{instead}, and {start.value} was named; leave it "
                f"out, or take integrated_gradients from there."
            )
    return own


def rule_of(name: str, recipe: ig.Recipe, nodes: int | None, tolerance: float | None) -> Any:
    """The quadrature: as told, or the recipe's own."""
    if nodes is None and tolerance is None:
        return recipe.quadrature
    refuse_rule(name, nodes, tolerance)
    if tolerance is not None:
        return replace(recipe.quadrature, rtol=tolerance, max_evaluations=MOST)
    assert nodes is not None
    by_panel = recipe.integrand.unit == "panel"
    return ig.LeftRiemann(nodes) if by_panel else ig.GaussLegendre(nodes)


def takes(name: str) -> tuple[str, ...]:
    """The parts that a method leaves open."""
    return tuple(signature(CATALOGUE[name]).parameters)


def remedy(one: ig.Attribution) -> str:
    """What helps a row that has not converged."""
    copies = getattr(one.recipe.around, "samples", 0)
    if copies:
        return (
            f"{copies} noisy copies tell no more; from Python, "
            f"ig.methods.{one.recipe.name}(samples={4 * copies}) halves the error"
        )
    if hasattr(one.recipe.quadrature, "max_evaluations"):
        return f"even with {MOST} gradients; accept more error with a larger --tolerance"
    return (
        f"use --tolerance {one.run.rtol:.2g}, which gives each as many gradients as it needs, up to "
        f"{MOST}"
    )


# ------------------------------------------------------------------------------- refusals


def refuse_unknown(name: str) -> None:
    """Offer the nearest names where there is no such method."""
    if name not in CATALOGUE:
        said = name.replace("-", "_").lower()
        near = get_close_matches(said, CATALOGUE, 3) or get_close_matches(said, CATALOGUE, 1, 0)
        raise ig.InputError(
            f"{name!r} is no method; did you mean {' or '.join(near)}? 'intgrad methods' lists all."
        )


def refuse_rule(name: str, nodes: int | None, tolerance: float | None) -> None:
    """Nodes and a tolerance at once, one for a method that integrates nothing, or a bad one."""
    if nodes is not None and tolerance is not None:
        raise ig.InputError(
            "--nodes and --tolerance were both given; choose --nodes for a fixed number of "
            "gradients, or --tolerance for as many as the error needs."
        )
    if "quadrature" not in takes(name):
        option = "--nodes" if tolerance is None else "--tolerance"
        raise ig.InputError(
            f"{option}: {name} adds up no gradients along a path, so it has neither nodes nor a "
            f"tolerance; leave it out."
        )
    if tolerance is not None and not 0 < tolerance < 1:
        raise ig.InputError(f"--tolerance {tolerance:g}; expected between 0 and 1, such as 0.01.")


def refuse_kind(name: str, pictures: bool) -> None:
    """Say why a method is not for pictures, or not for texts, and name some that are."""
    if (reason := why_not(name, pictures)) is not None:
        noun = "pictures" if pictures else "texts"
        some = [other for other in CATALOGUE if why_not(other, pictures) is None][:3]
        raise ig.InputError(
            f"{name} is not for {noun}: it {reason}. Take {', '.join(some[:-1])} or {some[-1]}."
        )


def why_not(name: str, pictures: bool) -> str | None:
    """What a method does that such inputs do not allow; None where it can be used."""
    recipe = CATALOGUE[name]()
    reasons = NOT_FOR_PICTURES if pictures else NOT_FOR_TEXTS
    return next((why for applies, why in reasons if applies(recipe)), None)

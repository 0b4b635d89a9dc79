"""Pictures: from files to what a checkpoint sees, and from its attribution back to their pixels.

A processor resizes and crops a picture x, each channel by two matrices, and normalises: the model
sees n(y) with y = R x S^T. What is explained is the net after n, as a function of light y in
[0, 1], so that black is black. The chain rule of the resize carries the answer back to x.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from intgrad.attribute import attribute
from intgrad.attribution import Attribution
from intgrad.baseline import Zeros
from intgrad.certificate import report_convergence
from intgrad.errors import NotConverged, TargetError, Unsupported
from intgrad.image.lens import lens
from intgrad.image.pipeline import Starts, pipeline
from intgrad.image.pull_back import pull_back, pull_back_error
from intgrad.image.squares import squares
from intgrad.image.view import Source, View, look, several, shown
from intgrad.integrand import GradientVelocity
from intgrad.laboratory import (
    BaselineReport,
    Standing,
    each,
    grouping,
    names_of,
    report_missed,
    standing,
)
from intgrad.model.scores import entry_of
from intgrad.naming import labels_of, named, top
from intgrad.path import Straight
from intgrad.quadrature import Automatic
from intgrad.recipe import Recipe
from intgrad.subject import Picture, Predictions

__all__ = ["baseline_report", "explain", "squares"]


MARGIN = 0.75  # of the tolerance, asked of the model, so that it is met on the picture itself


def explain(
    model: Callable[..., Any],
    processor: Callable[..., Any],
    pictures: Source | Sequence[Source],
    *,
    target: Any = None,
    baseline: Any = None,
    quadrature: Any = None,
    labels: Sequence[str] | None = None,
    **call: Any,
) -> list[Attribution]:
    r"""How much each pixel, in each colour, contributed to what the model said of a picture.

    .. math:: A_p = (x - x')_p \sum_q R_{qp} \frac{B_q}{(y - y')_q}, \qquad y = R x

    where B is the attribution on the crop y that the model sees, and R the processor's resize and
    crop. What the 8-bit rounding of y leaves over is spread by R alone; so is B where y = y', and
    everywhere if the path is not straight or the integrand not gradient times velocity. Either way
    the values of a picture sum to those of its crop, and pixels outside the crop get 0.

    Parameters
    ----------
    model, processor
        A classifier and its Hugging Face image processor. Or any model, and any callable that
        makes of a PIL picture a tensor (3, h, w) in the model's own units: values, baseline and
        the pixels shown are then on that grid and in those units.
    pictures
        Files or PIL pictures; turned upright by their EXIF tag, made RGB on white.
    target
        As in `intgrad.attribute`.
    baseline
        `Zeros`, black, by default: applied to each original picture (1, 3, height, width) in
        [0, 1], then resized and cropped like it. Of several samples x' is the mean, and where
        y - y' is small beside their spread, more of B is spread by R alone.
    quadrature
        As in `intgrad.attribute`.
    labels
        Names of the classes; the model's ``config.id2label`` by default.
    **call
        ``path=`` and ``integrand=`` as in `intgrad.attribute`, or a whole ``recipe=``; ``seed=``,
        ``width=`` and the rest of `intgrad.attribute.explain`.

    Returns
    -------
    list of Attribution
        One a picture: values (1, 3, height, width), and a `Picture`. A processor that does more
        than resize and crop gives values on its own crop, and ``run.notes`` says so. Costs what
        `intgrad.attribute` does for all pictures in one call, and a forward each.

    Raises
    ------
    InputError
        No picture, one that cannot be read or is above 40 megapixels, crops of unequal sizes.
    Unsupported
        A processor that does not normalise each channel by a straight line; another location.
    """
    rule = quadrature or getattr(call.get("recipe"), "quadrature", Automatic())
    ask, baseline = _recipe(call, baseline, stricter(rule))
    eye = lens(processor)
    views = look(several(pictures), eye, baseline, int(call.get("seed", 0)))
    net, x = pipeline(model, eye, torch.stack([v.light for v in views]))
    strict = bool(call.pop("strict", False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)  # judged below, on the picture's own pixels
        a = ask(Starts.of(views))(net, x, target=target, **call)
    names = labels_of(model, labels)
    said = tuple(named(t, names) for t in a.targets)
    asked = a.recipe.but(baseline=baseline, quadrature=rule)
    met = getattr(stricter(rule), "rtol", None) == a.run.rtol
    run = replace(a.run, rtol=rule.rtol) if met else a.run
    a = replace(a, recipe=asked, run=run, targets=said)
    tops = [top(model, _scores(net, one[None]), names) for one in x]
    found = [_develop(a.select(i), view, tops[i]) for i, view in enumerate(views)]
    report_convergence(found, strict)
    return found


def baseline_report(
    model: Callable[..., Any],
    processor: Callable[..., Any],
    pictures: Source | Sequence[Source],
    *,
    baselines: Sequence[Any] | Mapping[str, Any],
    target: Any = None,
    group: Any = None,
    k: int | None = None,
    **call: Any,
) -> list[BaselineReport]:
    """Explain pictures from several baselines, and say which conclusions do not depend on them.

    Parameters
    ----------
    model, processor, pictures, target
        As in `explain`.
    baselines, group, k
        As in `intgrad.baseline_report`, pictures in light from 0 to 1 as in `explain`. By default values
        are added up in `squares`, 16 along the longer side: of single pixels hardly a sign is certain.
        ``group=lambda a: a.sum(1)`` compares pixel by pixel.
    **call
        The rest of `explain`: ``quadrature=``, ``labels=``, ``path=``, ``recipe=``, ``seed=``, ``width=`` ...

    Returns
    -------
    list of BaselineReport
        One a picture. Costs what `explain` costs for each baseline, and a forward for each of its points.

    Raises
    ------
    InputError
        As `explain`, with the name of the baseline; fewer than two baselines.
    """
    named, strict = names_of(baselines), bool(call.pop("strict", False))
    sources, eye = several(pictures), lens(processor)
    given = {n: call[n] for n in ("seed", "width", "dtype") if n in call}

    def answer(baseline: Any) -> tuple[list[Attribution], Standing | None, list[View]]:
        how = {"target": target, "baseline": baseline, **call}
        found = explain(model, processor, sources, **how)
        start = found[0].recipe.baseline
        views = look(sources, eye, start, int(call.get("seed", 0)))
        net, x = pipeline(model, eye, torch.stack([v.light for v in views]))
        return found, standing(Recipe(baseline=Starts.of(views)), net, x, target, **given), views

    members, said, views = zip(*each(named, answer), strict=True)
    own = {"labels": tuple(labels_of(model, call.get("labels")))}
    reports = [
        BaselineReport.of(
            list(named),
            [found[i] for found in members],
            [s and s.select(i) for s in said],
            squares() if group is None else grouping(group),
            k,
            pictures=tuple(shown(v[i], eye) for v in views),
            **own,
        )
        for i in range(len(sources))
    ]
    report_missed(reports, strict)
    return reports


# ---------------------------------------------------------------------- back to the picture


def _develop(a: Attribution, view: View, predictions: Predictions) -> Attribution:
    """One row, on the picture's own pixels."""
    run = replace(a.run, notes=(*a.run.notes, view.note))
    a = replace(a, subjects=(Picture(view.name, view.pixels, predictions),), run=run)
    if view.grid is None:
        return a
    chain = isinstance(a.recipe.path, Straight) and isinstance(a.recipe.integrand, GradientVelocity)
    values = _channels(partial(pull_back, straight=chain), a.values, view)
    wrong = None
    if a.error_map is not None:
        wrong = _channels(pull_back_error, a.error_map, view)
    return a.carried(values, wrong)


def _channels(back: Callable[..., Tensor], values: Tensor, view: View) -> Tensor:
    """`back` on each channel, one at a time: the float64 maps of a large picture are large."""
    each = values.detach().cpu().double().unbind(-3)
    parts = [back(part, view.channel(c)).to(values.dtype) for c, part in enumerate(each)]
    return torch.stack(parts, -3).to(values.device)


# ---------------------------------------------------------------------- words for it


def _recipe(call: dict[str, Any], baseline: Any, quadrature: Any) -> tuple[Callable[..., Any], Any]:
    """How to ask once the starts are known; and the baseline as its user named it."""
    recipe = call.pop("recipe", None)
    at = call.pop("at", getattr(recipe, "at", "input"))
    if call.get("differentiable") or at != "input":
        raise Unsupported(
            "pictures are explained at their pixels, and outside a loss; for another location, or "
            "differentiable=True, call intgrad.attribute on the processor's tensors."
        )
    given = {"quadrature": quadrature, **{n: call.pop(n, None) for n in ("path", "integrand")}}
    parts = {n: p for n, p in given.items() if p is not None}
    start = getattr(recipe, "baseline", None) if baseline is None else baseline
    start = Zeros() if start is None else start
    if recipe is None:
        return lambda starts: partial(attribute, baseline=starts, **parts), start
    return lambda starts: recipe.but(baseline=starts, **parts), start


def stricter(rule: Any) -> Any:
    """A rule that stops by itself, told to go further: carrying back to a picture's grid adds error."""
    return replace(rule, rtol=MARGIN * rule.rtol) if hasattr(rule, "max_evaluations") else rule


def _scores(net: Callable[..., Any], x: Tensor) -> Tensor | None:
    """The scores of one picture; None where the output is not scores."""
    with torch.no_grad():
        try:
            return entry_of(net(x), None)
        except TargetError:
            return None

"""Pictures: from files to what a checkpoint sees, and from its attribution back to their pixels.

A processor resizes and crops a picture x, each channel by two matrices, and normalises: the model
sees n(y) with y = R x S^T. What is explained is the net after n, as a function of light y in
[0, 1], so that black is black. The chain rule of the resize carries the answer back to x.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.attribution import Attribution
from intgrad.certificate import report_convergence
from intgrad.errors import NotConverged, TargetError
from intgrad.image.develop import develop
from intgrad.image.lens import Lens, lens
from intgrad.image.origin import Origin, recipe_of
from intgrad.image.squares import squares
from intgrad.image.view import Source, look, several, shown
from intgrad.laboratory import (
    BaselineReport,
    Standing,
    each,
    grouping,
    names_of,
    report_missed,
    row_by_row,
    standing,
)
from intgrad.model.scores import entry_of
from intgrad.naming import labels_of, named, top
from intgrad.quadrature import Automatic
from intgrad.quadrature.tolerance import is_half
from intgrad.recipe import Recipe

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
    how = recipe_of(call, baseline, rule)
    eye = lens(processor)
    origin = Origin.of(how)
    looks = [look(several(pictures), eye, b, int(call.get("seed", 0))) for b in origin.shown]
    net, x = pipeline(model, eye, torch.stack([v.light for v in looks[0]]))
    strict = bool(call.pop("strict", False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)  # judged below, on the picture's own pixels
        finer = how.but(baseline=origin.asked(looks), quadrature=stricter(rule, x.dtype))
        a = finer(net, x, target=target, **call)
    names = labels_of(model, labels)
    said = tuple(named(t, names) for t in a.targets)
    start = a.recipe.baseline if origin.named is None else origin.named
    asked = a.recipe.but(baseline=start, quadrature=rule)
    met = getattr(finer.quadrature, "rtol", None) == a.run.rtol
    run = replace(a.run, rtol=rule.rtol) if met else a.run
    a = replace(a, recipe=asked, run=run, targets=said)
    tops = [top(model, _scores(net, one[None]), names) for one in x]
    found = [
        develop(a.select(i), views, tops[i]) for i, views in enumerate(zip(*looks, strict=True))
    ]
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

    def answer(baseline: Any) -> tuple[list[Attribution], Standing | None, list[Tensor]]:
        found = explain(model, processor, sources, target=target, baseline=baseline, **call)
        origin = Origin.of(found[0].recipe)
        looks = [look(sources, eye, b, int(call.get("seed", 0))) for b in origin.shown]
        net, x = pipeline(model, eye, torch.stack([v.light for v in looks[0]]))
        said = standing(Recipe(baseline=origin.asked(looks)), net, x, target, **given)
        return found, said, [shown(v, eye) for v in looks[0]] if origin.outside else []

    members, said, starts = zip(*each(named, answer), strict=True)
    gather = squares() if group is None else grouping(group)
    names, drawn = labels_of(model, call.get("labels")), starts if all(starts) else ()
    reports = row_by_row(list(named), members, said, gather, k, names, drawn)
    report_missed(reports, strict)
    return reports


# ---------------------------------------------------------------------- to the engine and back


class Pipeline(nn.Module):
    """Normalise, then the net: a module, so that the engine finds the net's parameters."""

    def __init__(self, net: nn.Module, eye: Lens) -> None:
        super().__init__()
        self.net, self.eye = net, eye

    def forward(self, light: Tensor) -> Any:
        """Whatever the net returns for a picture of this light."""
        return self.net(self.eye.numbers(light))


def pipeline(model: Any, eye: Lens, light: Tensor) -> tuple[Callable[..., Any], Tensor]:
    """The model as a function of light, and light (n, 3, h, w) where and as it computes."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    like = next((p for p in parameters if p.is_floating_point()), torch.zeros(()))
    x = light.to(like.device, like.dtype)
    if isinstance(model, nn.Module) and not compiled(model):
        return Pipeline(model, eye), x
    return lambda light: model(eye.numbers(light)), x


def compiled(model: nn.Module) -> bool:
    """Whether the engine calls the module as it is, its parameters out of reach."""
    return hasattr(model, "_orig_mod") or isinstance(model, torch.jit.ScriptModule)


# ---------------------------------------------------------------------- words for it


def stricter(rule: Any, dtype: torch.dtype) -> Any:
    """A rule that stops by itself, told to go further: carrying back to a picture's grid adds error.

    In half types it is rounding that says how far it can go.
    """
    if is_half(dtype) or not hasattr(rule, "max_evaluations"):
        return rule
    return replace(rule, rtol=MARGIN * rule.rtol)


def _scores(net: Callable[..., Any], x: Tensor) -> Tensor | None:
    """The scores of one picture; None where the output is not scores."""
    with torch.no_grad():
        try:
            return entry_of(net(x), None)
        except TargetError:
            return None

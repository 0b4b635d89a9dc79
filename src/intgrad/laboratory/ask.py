"""`baseline_report`: the call, and what the fronts' calls share with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from intgrad._types import flatten
from intgrad.attribute import attribute
from intgrad.attribution import Attribution
from intgrad.baseline import Zeros
from intgrad.certificate import remedy
from intgrad.ensemble import pin_to
from intgrad.errors import InputError, ModelError, NotConverged, Unsupported
from intgrad.laboratory.result import BaselineReport
from intgrad.laboratory.standing import Standing, standing
from intgrad.recipe import Recipe, show

Found = TypeVar("Found")


def baseline_report(
    model: Callable[..., Any],
    x: Any,
    *,
    baselines: Sequence[Any] | Mapping[str, Any],
    target: Any = None,
    recipe: Recipe | None = None,
    group: Any = None,
    k: int | None = None,
    **call: Any,
) -> BaselineReport:
    r"""Explain a prediction from several baselines, and say which conclusions do not depend on them.

    A baseline is part of the question, so its choice is a choice of the answer. For every baseline
    the report holds the attribution and what the model itself says there: where it stands for
    absence, no class should stand out, :math:`-\sum_c p_c \log p_c / \log C \approx 1` (which is
    necessary and not sufficient, and not asked of a class that is the model's default). For every two
    baselines it holds how far they agree, row by row. A sign survives if it is the same under every
    baseline, and certain under each: the value is larger than its estimated error.

    Parameters
    ----------
    model, x, target
        As in `intgrad.attribute`; one target.
    baselines
        Two or more, as a list, or a dict of names. Each is what `intgrad.attribute` takes: a tensor, a
        point, a distribution, or a list of those to be averaged.
    recipe
        A method of `intgrad.methods`, whose own baseline is set aside; integrated gradients without.
    group
        What is compared. Channels of (rows, channels, height, width) are added up by default, and so are
        the dimensions of an embedding of token ids. Or labels, the group of every feature or of every
        pixel, as for `Attribution.group`; or a function of an `Attribution` that returns one, such as
        ``lambda a: a.sum(1)``.
    k
        How many units count as the largest; a tenth by default, 3 at least.
    **call
        ``path=``, ``quadrature=``, ``integrand=``, ``at=`` as in `intgrad.attribute`; ``seed=``,
        ``given=``, ``width=`` and the rest of `intgrad.attribute.explain`.

    Returns
    -------
    BaselineReport
        Prints a table; `BaselineReport.to_html` and `BaselineReport.plot` show it. Costs what the
        attributions cost, and for each baseline a forward a row and one for each of its points.

    Raises
    ------
    InputError
        Fewer than two baselines; one that does not fit, by its name.
    Unsupported
        Several targets.

    Warns
    -----
    NotConverged
        Some row's error is above its tolerance, and under which baseline.

    References
    ----------
    Sundararajan, Taly, Yan 2017, "Axiomatic attribution for deep networks", arXiv:1703.01365; the
    entropy of the baseline is from the authors' guide, howto.md in ankurtaly/Integrated-Gradients.
    How attributions differ between baselines: Sturmfels, Lundberg, Lee 2020, "Visualizing the impact
    of feature attribution baselines", doi:10.23915/distill.00022. Agreement measured by ranks, signs
    and largest features: Krishna et al. 2022, "The disagreement problem", arXiv:2202.01602.
    """
    named, strict = names_of(baselines), bool(call.pop("strict", False))
    how = {n: call[n] for n in ("given", "seed", "width", "dtype") if n in call}
    refuse_several(recipe or Recipe(at=call.get("at", "input")), model, x, target, call)

    def answer(baseline: Any) -> Attribution:
        if recipe is None:
            a = attribute(model, x, target=target, baseline=baseline, **call)
        else:
            a = recipe.but(baseline=baseline)(model, x, target=target, **call)
        call["check"] = False  # the model has been looked at
        return a

    members = each(named, answer)
    standings = [standing(a.recipe, model, x, target, **how) for a in members]
    ids = not any(p.is_floating_point() for p in flatten(x)[0])
    found = BaselineReport.of(list(named), members, standings, grouping(group, ids), k)
    report_missed([found], strict)
    return found


# ------------------------------------------------------------------------------ shared with fronts


def names_of(baselines: object) -> dict[str, Any]:
    """Baselines by name: those of a dict, or each as one would write it.

    Raises
    ------
    InputError
        Neither a list nor a dict, or fewer than two.
    """
    if isinstance(baselines, Mapping):
        named = {str(name): baseline for name, baseline in baselines.items()}
    elif isinstance(baselines, list | tuple):
        named = dict(zip(_told_apart([written(b) for b in baselines]), baselines, strict=True))
    else:
        raise InputError(
            f"baselines is a {type(baselines).__name__}; expected a list of two or more, or a dict of "
            f'names, such as {{"black": ig.Zeros(), "white": ig.Constant(1.0)}}.'
        )
    if len(named) < 2:
        got = f"holds only {next(iter(named))}" if named else "is empty"
        raise InputError(
            f"baselines {got}; expected two or more, to be compared. With one, use ig.attribute."
        )
    return named


def written(baseline: Any) -> str:
    """A baseline as one would write it."""
    if isinstance(baseline, Tensor):
        return f"tensor {tuple(baseline.shape)}"
    if isinstance(baseline, list | tuple):
        return f"({', '.join(map(written, baseline))})"
    if isinstance(baseline, Mapping):
        return "{" + ", ".join(f"{k}: {written(v)}" for k, v in baseline.items()) + "}"
    return show(Zeros() if baseline is None else baseline)


def _told_apart(names: Sequence[str]) -> list[str]:
    """The same names, the second of two alike with its number."""
    seen = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return [f"{name} ({n})" if n > 1 else name for name, n in zip(names, seen, strict=True)]


def each(baselines: Mapping[str, Any], answer: Callable[[Any], Found]) -> list[Found]:
    """An answer for each baseline; a refusal says which it was about, and nobody is warned yet."""
    found = []
    for name, baseline in baselines.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotConverged)  # told once, by `report_missed`
                found.append(answer(baseline))
        except (InputError, ModelError, Unsupported) as error:
            raise type(error)(f"baseline {name!r}: {error}") from error
    return found


def row_by_row(
    names: Sequence[str],
    members: Sequence[Sequence[Attribution]],
    said: Sequence[Standing | None],
    group: Callable[[Attribution], Attribution],
    k: int | None,
    labels: Sequence[str],
    pictures: Sequence[Sequence[Tensor]] = (),
) -> list[BaselineReport]:
    """A report for each picture or text: all but names and labels are one a baseline."""
    return [
        BaselineReport.of(
            names,
            [found[i] for found in members],
            [s and s.select(i) for s in said],
            group,
            k,
            labels=tuple(labels),
            pictures=tuple(drawn[i] for drawn in pictures),
        )
        for i in range(len(members[0]))
    ]


def refuse_several(
    recipe: Recipe, model: Any, x: Any, target: Any, call: Mapping[str, Any]
) -> None:
    """Look at the model, the input and the target before any baseline is blamed for them."""
    how = {n: call.get(n) for n in ("given", "width", "dtype")}
    pin, _ = pin_to(recipe, model, x, target, {"differentiable": False, **how})
    if pin.bound.count:
        raise Unsupported(
            f"a report compares baselines for one target, and this is {pin.bound.count}: "
            f"{', '.join(pin.bound.names[:3])}, ... Make one for each."
        )


def grouping(group: Any, ids: bool = False) -> Callable[[Attribution], Attribution]:
    """How values are gathered into the units that are compared."""
    if callable(group):
        return group  # type: ignore[return-value]
    if group is None:
        return lambda a: channels_summed(a, ids)

    def gather(a: Attribution) -> Attribution:
        summed = channels_summed(a, ids)
        one = flatten(summed.values, "values")[0][0][0]
        fits = isinstance(group, Tensor) and group.shape == one.shape
        return (summed if fits else a).group(group)

    return gather


def channels_summed(a: Attribution, ids: bool) -> Attribution:
    """One value a pixel, or a token: over the channels of pictures, the dimensions of embeddings."""
    if not isinstance(a.values, Tensor):
        return a
    if ids and a.values.ndim > 2:
        return a.sum(tuple(range(2, a.values.ndim)))
    return a.sum(1) if a.values.ndim == 4 else a


def report_missed(reports: Sequence[BaselineReport], strict: bool) -> None:
    """Warn once of the baselines under which rows have not converged, or raise if `strict`."""
    missed: dict[str, list[Attribution]] = {}
    for report in reports:
        for name, a in zip(report.names, report.members, strict=True):
            if not bool(a.converged.all()):
                missed.setdefault(name, []).append(a)
    if not missed:
        return
    found = [a for several in missed.values() for a in several]
    rows = sum(int((~a.converged).sum()) for a in found)
    worst = float(torch.cat([a.error for a in found]).max())
    known = f"an estimated error of up to {worst:.2g}" if worst == worst else "an unknown error"
    message = NotConverged(
        f"{', '.join(missed)}: {rows} of {sum(map(len, found))} rows have {known}, above the tolerance "
        f"of {max(float(a.tolerance.max()) for a in found):.2g}. "
        f"{remedy(found[0].recipe, max(int(a.backwards.max()) for a in found))}, "
        f"or accept it with a larger rtol."
    )
    if strict:
        raise message
    warnings.warn(message, stacklevel=3)

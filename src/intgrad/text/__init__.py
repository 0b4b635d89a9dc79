"""Texts: from sentences to token embeddings, and from their attribution back to words.

A text x is a row of tokens with embeddings e. What is explained is the classifier as a function
of e, taken where the model itself uses it: at the output of its embedding layer. Tokens that the
tokenizer put there, such as [CLS], keep their embedding in the baseline, so they get exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.attribution import Attribution
from intgrad.errors import InputError, Unsupported
from intgrad.integrand import GradientVelocity, Summed
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
from intgrad.model.checks import refuse_training
from intgrad.naming import labels_of, named, top
from intgrad.recipe import Recipe
from intgrad.subject import Predictions, Sentence
from intgrad.text.absence import Mask, Pad, Unknown, ZeroEmbedding, refuse_unnamed
from intgrad.text.tokens import Batch, Reading, read, scores, together

__all__ = ["Mask", "Pad", "Unknown", "ZeroEmbedding", "baseline_report", "explain", "words"]


def explain(
    model: nn.Module,
    tokenizer: Callable[..., Any],
    texts: str | Sequence[str],
    *,
    baseline: Any,
    target: Any = None,
    quadrature: Any = None,
    labels: Sequence[str] | None = None,
    **call: Any,
) -> list[Attribution]:
    r"""How much each token contributed to the class of a text.

    .. math:: A_i = \sum_d \int_0^1 \partial_{e_{id}} f(\gamma(t)) \, \dot\gamma_{id}(t) \, dt

    along a path of embeddings, from those of the baseline to those of the text. The dimensions d
    of an embedding are added up at every node, so tolerance and error are those of the tokens.

    Parameters
    ----------
    model, tokenizer
        A sequence classifier and its tokenizer, as transformers loads them.
    texts
        What is explained. Texts of different lengths are padded on the side that leaves every
        text's scores as they are alone; the padding is cut off again.
    baseline
        `Mask`, `Pad`, `Unknown` or `ZeroEmbedding`: what stands in the place of every word. There
        is no default, because it changes the answer.
    target, quadrature
        As in `intgrad.attribute`.
    labels
        Names of the classes; the model's ``config.id2label`` by default.
    **call
        ``path=`` and ``integrand=`` as in `intgrad.attribute`, or a whole ``recipe=``; ``seed=``,
        ``width=`` and the rest of `intgrad.attribute.explain`.

    Returns
    -------
    list of Attribution
        One a text: values (1, tokens) and a `Sentence`; `words` sums them to words. Costs what
        `intgrad.attribute` does for all texts in one call, and two or three forwards each.

    Raises
    ------
    InputError
        No text, an empty one, one longer than the model takes; no baseline, or one for which the
        tokenizer has no token.
    ModelError
        Padding changes the model's answer, whichever side it is on.
    """
    ask, absence = _recipe(call, baseline, quadrature)
    if call.get("check", True):
        refuse_training(model)
    readings, alone, batch = _read(model, tokenizer, texts)
    ids, given = _inputs(batch)
    a = ask(absence.start(tokenizer, batch))(model, ids, target=target, given=given, **call)
    names = labels_of(model, labels)
    said = tuple(named(t, names) for t in a.targets)
    a = replace(a, recipe=a.recipe.but(baseline=absence), targets=said)
    tops = [top(model, s, names) for s in alone]
    return [_cut(a.select(i), batch.own[i], r, tops[i]) for i, r in enumerate(readings)]


def baseline_report(
    model: nn.Module,
    tokenizer: Callable[..., Any],
    texts: str | Sequence[str],
    *,
    baselines: Sequence[Any] | Mapping[str, Any],
    target: Any = None,
    group: Any = None,
    k: int | None = None,
    **call: Any,
) -> list[BaselineReport]:
    """Explain texts from several baselines, and say which conclusions do not depend on them.

    Parameters
    ----------
    model, tokenizer, texts, target
        As in `explain`.
    baselines, group, k
        As in `intgrad.baseline_report`, of `Mask`, `Pad`, `Unknown` and `ZeroEmbedding`; tokens are added
        up to `words` by default.
    **call
        The rest of `explain`: ``quadrature=``, ``labels=``, ``path=``, ``recipe=``, ``seed=``, ``width=`` ...

    Returns
    -------
    list of BaselineReport
        One a text. Costs what `explain` costs for each baseline, and two forwards a text more.

    Raises
    ------
    InputError
        As `explain`, with the name of the baseline; fewer than two baselines.
    """
    named, strict = names_of(baselines), bool(call.pop("strict", False))
    lines = _several(texts)
    _, _, batch = _read(model, tokenizer, lines)
    ids, given = _inputs(batch)
    how = {n: call[n] for n in ("seed", "width", "dtype") if n in call}

    def answer(baseline: Any) -> tuple[list[Attribution], Standing | None]:
        own = {"target": target, "baseline": baseline, **call}
        found = explain(model, tokenizer, lines, **own)
        start = found[0].recipe.baseline.start(tokenizer, batch)
        recipe = Recipe(baseline=start, at="embedding")
        return found, standing(recipe, model, ids, target, given=given, **how)

    members, said = zip(*each(named, answer), strict=True)
    gather = words if group is None else grouping(group)
    reports = row_by_row(
        list(named), members, said, gather, k, labels_of(model, call.get("labels"))
    )
    report_missed(reports, strict)
    return reports


def words(a: Attribution) -> Attribution:
    """The values of one text, token by token, summed to its words; completeness stays.

    Raises
    ------
    InputError
        Several rows, or one that is no text.
    """
    subject = a.subjects[0] if len(a.subjects) == 1 else None
    if not isinstance(subject, Sentence):
        raise InputError(
            f"words needs the attribution of one text; this one has {len(a)} rows and "
            f"{len(a.subjects)} subjects. Pass one of those that text.explain returns."
        )
    order = tuple(range(len(subject.words)))
    whole = replace(subject, tokens=subject.words, word_of=order)
    return replace(a.group(torch.tensor(subject.word_of)), subjects=(whole,))


def _read(
    model: nn.Module, tokenizer: Any, texts: str | Sequence[str]
) -> tuple[list[Reading], list[Tensor | None], Batch]:
    """Each text by itself, its scores, and all as one batch."""
    readings = [read(model, tokenizer, t, i) for i, t in enumerate(_several(texts))]
    alone = [scores(model, r.batch) for r in readings]
    return readings, alone, together(model, tokenizer, readings, alone)


def _inputs(batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is explained, and what is given with it."""
    given = {**batch.inputs}
    return {"input_ids": given.pop("input_ids")}, given


def _cut(a: Attribution, own: Tensor, reading: Reading, predictions: Predictions) -> Attribution:
    """One row without its padding, whose values are exactly 0."""
    mine = own.to(a.values.device)
    wrong = None if a.error_map is None else a.error_map[..., mine]
    subject = replace(reading.subject, predictions=predictions)
    return replace(a, values=a.values[..., mine], error_map=wrong, subjects=(subject,))


def _recipe(call: dict[str, Any], baseline: Any, quadrature: Any) -> tuple[Callable[..., Any], Any]:
    """How to ask once the starts are known; and the baseline as its user named it."""
    recipe = call.pop("recipe", None)
    at = call.pop("at", getattr(recipe, "at", "embedding"))
    if call.get("differentiable") or at not in ("input", "embedding"):
        raise Unsupported(
            "texts are explained at their embeddings, and outside a loss; for another location, or "
            "differentiable=True, call intgrad.attribute on the tokenizer's tensors."
        )
    absence = getattr(recipe, "baseline", None) if baseline is None else baseline
    refuse_unnamed(absence)
    contributes = call.pop("integrand", None) or getattr(recipe, "integrand", GradientVelocity())
    given = {"quadrature": quadrature, "path": call.pop("path", None)}
    parts = {n: p for n, p in given.items() if p is not None}
    base = recipe or Recipe("integrated_gradients")
    how = base.but(at="embedding", integrand=Summed(contributes), **parts)
    return lambda start: how.but(baseline=start), absence


def _several(texts: str | Sequence[str]) -> Sequence[str]:
    found = [texts] if isinstance(texts, str) else list(texts)
    if not found:
        raise InputError("there are no texts; expected a string, or a list of strings.")
    return found

"""Texts: from sentences to token embeddings, and from their attribution back to words.

A text x is a row of tokens with embeddings e. What is explained is the classifier as a function
of e, taken where the model itself uses it: at the output of its embedding layer. Tokens that the
tokenizer put there, such as [CLS], keep their embedding in the baseline, so a path method gives
them exactly 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.attribution import Attribution
from intgrad.certificate import report_convergence
from intgrad.errors import InputError
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
from intgrad.text.absence import Mask, Pad, Unknown, ZeroEmbedding
from intgrad.text.ask import asking, inputs, of_text
from intgrad.text.tokens import Reading, read, scores, together

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
        ``path=`` and ``integrand=`` as in `intgrad.attribute`, or a whole ``recipe=`` of
        `intgrad.methods`; ``seed=``, ``width=`` and the rest of `intgrad.attribute.explain`.

    Returns
    -------
    list of Attribution
        One a text: values (1, tokens) and a `Sentence`; `words` sums them to words. Costs what
        `intgrad.attribute` does for all texts in one call, and two or three forwards each.

    Raises
    ------
    InputError
        No text, an empty one, one longer than the model takes; no baseline, one for which the
        tokenizer has no token, or a recipe with a baseline of its own that is none of texts.
    Unsupported
        A recipe that adds noise to x, for token ids take none; or one of bare gradients.
    ModelError
        Padding changes the model's answer, whichever side it is on.

    Notes
    -----
    Straight, Left, Sequential and Anchored paths treat every token alone, and texts are asked
    together. To any other path padding may matter: then each text is asked by itself. Tokens that
    stay are no players of a `Permutation` along axis 1, and specials no anchors of an `Anchored`.
    `SquaredShares` (IDGI) looks at gradients and not at what moved: specials have their share too.
    `intgrad.methods.gradient_x_input` is what its name says with `ZeroEmbedding`; with a token it is the
    gradient times the way from that token's embedding.
    """
    ask = asking(call, baseline, quadrature, tokenizer)
    strict = call.pop("strict", False)
    if call.get("check", True):
        refuse_training(model)
    readings, alone = _read(model, tokenizer, texts)
    names = labels_of(model, labels)
    tops = [top(model, s, names) for s in alone]
    found: list[Attribution] = []
    for group in ask.groups(len(readings)):
        some = [readings[i] for i in group]
        batch = together(model, tokenizer, some, [alone[i] for i in group])
        own = target if len(group) == len(readings) else of_text(target, group[0], len(readings))
        a = ask(model, batch, target=own, **call)
        a = replace(a, targets=tuple(named(t, names) for t in a.targets))
        found += [_cut(a.select(k), batch.own[k], some[k], tops[i]) for k, i in enumerate(group)]
        call["check"] = False  # the model has been looked at
    report_convergence(found, strict)
    return found


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
    batch = together(model, tokenizer, *_read(model, tokenizer, lines))
    ids, given = inputs(batch)
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
) -> tuple[list[Reading], list[Tensor | None]]:
    """Each text by itself, and its scores."""
    readings = [read(model, tokenizer, t, i) for i, t in enumerate(_several(texts))]
    return readings, [scores(model, r.batch) for r in readings]


def _cut(a: Attribution, own: Tensor, reading: Reading, predictions: Predictions) -> Attribution:
    """One row without its padding, whose values are exactly 0."""
    mine = own.to(a.values.device)
    wrong = None if a.error_map is None else a.error_map[..., mine]
    subject = replace(reading.subject, predictions=predictions)
    return replace(a, values=a.values[..., mine], error_map=wrong, subjects=(subject,))


def _several(texts: str | Sequence[str]) -> Sequence[str]:
    found = [texts] if isinstance(texts, str) else list(texts)
    if not found:
        raise InputError("there are no texts; expected a string, or a list of strings.")
    return found

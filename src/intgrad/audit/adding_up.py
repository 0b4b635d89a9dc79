"""What adds up, and what one feature does: completeness, linearity, sensitivity, dummy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from intgrad.audit.derived import Capped, Held, Mixed, Rearranged
from intgrad.audit.explanation import Explanation
from intgrad.audit.question import FEATURES, TINY, Case, Row, check, numbers, relative
from intgrad.errors import InputError


@check
def completeness(row: Row) -> Iterator[Case]:
    r"""Values add up to f(x) - E f(x'); relative to the L1 norm of the values.

    Asked about the model, and about the model with all features but one held, where nothing cancels.
    Sundararajan, Taly, Yan 2017, arXiv:1703.01365, proposition 1.
    """
    own = row.own()
    yield _gap(row, row.score, own, _certified(row, own), {})
    for feature in row.features(FEATURES):
        alone = Held(row.score, row.only(feature), row.x)
        gain = row.gain(alone)
        if abs(gain) > 100 * row.rounding(alone):
            yield _gap(row, alone, row.ask(alone), gain, {"features": [feature]})


def _gap(row: Row, f: nn.Module, a: Explanation, gain: float, where: dict[str, Any]) -> Case:
    total, scale = float(a.values.sum()), max(float(a.size[0]), abs(gain))
    allowed = float(a.error[0]) + row.rounding(f)
    return relative(abs(total - gain), scale, allowed, **where, found=total, expected=gain)


def _certified(row: Row, own: Explanation) -> float:
    """f(x) - E f(x'), once it is known that the method starts where the audit thinks it does."""
    gain, said = row.gain(row.score), own.certificate
    if row.baseline is None and said is not None and said.recipe.complete:
        away = abs(float(said.output[0] - said.baseline_output[0]) - gain)
        if away > 1e-3 * float(numbers(row.score, torch.cat([row.x, row.start()])).abs().max()):
            raise InputError(
                f"the method starts at a baseline whose output is {float(said.baseline_output[0]):.4g}, "
                f"and not at zeros; say where: baseline=points (m, ...), or a function of a row."
            )
    return gain


@check
def linearity(row: Row, second: nn.Module | None = None) -> Iterator[Case]:
    r"""Values of a f + b g are a times those of f plus b times those of g; relative to their L1 norms.

    g is `second` (n, ...) -> (n, 1), or a copy of the model on its features in another order.
    Sundararajan, Taly, Yan 2017, arXiv:1703.01365, section 4.
    """
    generator = row.generator()
    order = torch.randperm(row.x.numel(), generator=generator).to(row.x.device)
    g = Rearranged(copy.deepcopy(row.score), order) if second is None else second
    a, b = 2.0, -3.0
    both = row.ask(Mixed(row.score, g, row.x.new_tensor([a, b])))
    of_f, of_g = row.ask(row.score), row.ask(g)
    off = float((both.values - a * of_f.values - b * of_g.values).abs().sum())
    scale = max(float(2 * of_f.size + 3 * of_g.size), float(both.size))
    allowed = float(both.error + 2 * of_f.error + 3 * of_g.error)
    allowed += 2 * row.rounding(row.score) + 3 * row.rounding(g)
    yield relative(off, scale, allowed, weights=[a, b])


@check
def sensitivity(row: Row) -> Iterator[Case]:
    r"""A feature that alone changes the output gets something; size 1 where it gets nothing.

    Of the model with all features but one held; and of the same capped half way, as by a saturated
    unit, where the gradient at x is 0. The size is the share of the change that the feature is not
    given. Sensitivity(a) of Sundararajan, Taly, Yan 2017, arXiv:1703.01365.
    """
    for feature in row.features(FEATURES):
        alone = Held(row.score, row.only(feature), row.x)
        end, rise = float(numbers(alone, row.x)[0]), row.gain(alone)
        if abs(rise) <= 100 * row.rounding(alone):
            continue
        capped = Capped(alone, end - rise / 2, 1.0 if rise > 0 else -1.0, row.x)
        for f, capped_at in ((alone, None), (capped, end - rise / 2)):
            gain, found = row.gain(f), row.ask(f)
            given = float(found.values[0, feature])
            missing = max(0.0, 1 - abs(given) / abs(gain)) if gain else 0.0
            unsure = min(0.5, (row.rounding(f) + float(found.error[0])) / max(abs(gain), TINY))
            where = {"features": [feature], "capped at": capped_at, "found": given, "change": gain}
            yield Case(missing, 1 - unsure, where)


@check
def dummy(row: Row) -> Iterator[Case]:
    r"""A feature the model does not depend on gets 0; relative to the L1 norm of the values.

    Of the model with that feature held. Sensitivity(b) of Sundararajan, Taly, Yan 2017,
    arXiv:1703.01365.
    """
    for feature in row.features(FEATURES):
        blind = Held(row.score, ~row.only(feature), row.x)
        a = row.ask(blind)
        given = float(a.values[0, feature])
        allowed = float(a.error[0]) + row.rounding(blind)
        scale = max(float(a.size[0]), abs(row.gain(blind)))
        yield relative(abs(given), scale, allowed, features=[feature], found=given)

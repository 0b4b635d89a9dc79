"""Erasure of tokens: whether what an attribution points at is needed, and whether it is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from intgrad.audit.order import places
from intgrad.audit.removal import as_scored, one_tensor, removing
from intgrad.audit.units import as_mask, as_values, refuse_empty
from intgrad.errors import InputError
from intgrad.model import LogProbability

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)


def top_fraction(attribution: Any, fraction: float = 0.2, valid: Tensor | None = None) -> Tensor:
    """The most important tokens of each row, as a mask (rows, tokens).

    Parameters
    ----------
    attribution
        A tensor or `Attribution` (rows, tokens, ...); what follows the tokens, such as the
        dimensions of an embedding, is summed. Large is important, with its sign; of tied tokens the
        earlier.
    fraction
        Of the row's valid tokens, above 0 and up to 1; their number is rounded up.
    valid
        (rows, tokens): which tokens may be chosen. Padding and special tokens may not; all others
        by default.

    Raises
    ------
    InputError
        A fraction out of range, a shape that does not fit, a row without valid tokens.
    """
    if isinstance(fraction, bool | str) or not 0 < fraction <= 1:
        raise InputError(f"fraction={fraction!r}; expected a share of the tokens, above 0 up to 1.")
    values = as_values(attribution)
    scores = values.flatten(2).sum(2) if values.ndim > 2 else values
    counted = torch.ones_like(scores, dtype=torch.bool)
    if valid is not None:
        counted = as_mask(valid, scores.shape, "valid").to(scores.device)
        refuse_empty(counted, "valid token")
    share = fraction * counted.sum(1, keepdim=True).double()
    many = (share - 1e-9).ceil()  # for 7 % of 100 come out a little above 7
    return places(scores.masked_fill(~counted, -torch.inf)) < many


def comprehensiveness(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    fraction: float = 0.2,
    valid: Tensor | None = None,
    target: Any = None,
    **how: Any,
) -> Tensor:
    r"""How much the score falls when the most important tokens are replaced: they were needed.

    .. math:: f(x) - f(x_{-T})

    for x without its `top_fraction` T. Higher is better.

    Parameters
    ----------
    model
        Any callable on x, in evaluation mode.
    x
        Token ids (rows, tokens), or embeddings (rows, tokens, d).
    attribution, fraction, valid
        As in `top_fraction`. Tokens that are not valid always stay.
    target
        What is scored, as in `deletion`: by default the probability of the class predicted at x.
    **how
        ``baseline=`` what replaces a token: for ids ``ig.MaskToken(id)`` of the mask, the padding or
        the unknown token; for embeddings zeros by default, or a tensor. ``given=`` extras aligned
        with the rows, such as the attention mask. ``width=`` rows a call of the model.

    Returns
    -------
    Tensor
        (rows,), of probabilities in [-1, 1]. Costs exactly 2 forwards a row; one row more, once, to
        find the width where it is not given.

    Raises
    ------
    InputError, TargetError, ModelError, Unsupported
        In one sentence: what came, what was expected, what to do.

    References
    ----------
    DeYoung et al. 2020, "ERASER: A Benchmark to Evaluate Rationalized NLP Models",
    doi:10.18653/v1/2020.acl-main.408.
    """
    more: dict[str, Any] = {"valid": valid, "target": target, **how}
    return aopc_comprehensiveness(model, x, attribution, fractions=(fraction,), **more)


def sufficiency(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    fraction: float = 0.2,
    valid: Tensor | None = None,
    target: Any = None,
    **how: Any,
) -> Tensor:
    r"""How much the score falls when only the most important tokens stay: they were not enough.

    .. math:: f(x) - f(x_T)

    for the `top_fraction` T alone. Lower is better; below 0 where T alone scores higher than x.
    Parameters, range, cost and errors as in `comprehensiveness`.

    References
    ----------
    DeYoung et al. 2020, doi:10.18653/v1/2020.acl-main.408.
    """
    more: dict[str, Any] = {"valid": valid, "target": target, **how}
    return aopc_sufficiency(model, x, attribution, fractions=(fraction,), **more)


def aopc_comprehensiveness(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    fractions: Sequence[float] = FRACTIONS,
    valid: Tensor | None = None,
    target: Any = None,
    **how: Any,
) -> Tensor:
    """Mean of `comprehensiveness` over fractions: 1, 5, 10, 20 and 50 % of the tokens.

    Higher is better. Costs exactly one forward a row and one more for every fraction; all else as
    in `comprehensiveness`.

    References
    ----------
    DeYoung et al. 2020, doi:10.18653/v1/2020.acl-main.408.
    """
    tops = _tops(x, attribution, fractions, valid)
    return _fall(model, x, tops, as_scored(target), how).mean(1)


def aopc_sufficiency(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    fractions: Sequence[float] = FRACTIONS,
    valid: Tensor | None = None,
    target: Any = None,
    **how: Any,
) -> Tensor:
    """Mean of `sufficiency` over fractions: 1, 5, 10, 20 and 50 % of the tokens.

    Lower is better. Costs exactly one forward a row and one more for every fraction; all else as
    in `comprehensiveness`.

    References
    ----------
    DeYoung et al. 2020, doi:10.18653/v1/2020.acl-main.408.
    """
    rest = _rest(x, attribution, fractions, valid)
    return _fall(model, x, rest, as_scored(target), how).mean(1)


def log_odds(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    fraction: float = 0.2,
    valid: Tensor | None = None,
    target: Any = None,
    **how: Any,
) -> Tensor:
    r"""How the log-probability changes when the most important tokens are replaced.

    .. math:: \log \frac{p(x_{-T})}{p(x)}

    Lower is better: below 0 where the probability falls. `target` is a class index, one a row, or
    None for the class predicted at x; all else as in `comprehensiveness`.

    References
    ----------
    Shrikumar, Greenside, Kundaje 2017, arXiv:1704.02685; of texts: Sanyal, Ren 2021, "Discretized
    Integrated Gradients for Explaining Language Models", arXiv:2108.13654.
    """
    scored = as_scored(target, LogProbability)
    if not isinstance(scored, LogProbability):
        raise InputError(
            f"log_odds compares probabilities of a class, and target={target!r} is none; expected a "
            f"class index, one a row, or None."
        )
    tops = _tops(x, attribution, (fraction,), valid)
    return -_fall(model, x, tops, scored, how).mean(1)


def _tops(x: Tensor, attribution: Any, fractions: Sequence[float], valid: Tensor | None) -> Tensor:
    """The most important tokens by every fraction, (rows, s, tokens)."""
    if not fractions:
        raise InputError("fractions is empty; expected at least one share of the tokens.")
    tops = [top_fraction(attribution, f, valid) for f in fractions]
    if tops[0].shape != one_tensor(x).shape[:2]:
        raise InputError(
            f"attribution speaks of (rows, tokens) = {tuple(tops[0].shape)} and x has "
            f"{tuple(x.shape[:2])}; expected a value for every token of x."
        )
    return torch.stack(tops, 1).to(x.device)


def _rest(x: Tensor, attribution: Any, fractions: Sequence[float], valid: Tensor | None) -> Tensor:
    """The valid tokens that are not among the most important, (rows, s, tokens)."""
    tops = _tops(x, attribution, fractions, valid)
    return ~tops if valid is None else ~tops & valid[:, None].bool().to(x.device)


def _fall(
    model: Callable[..., Any], x: Tensor, gone: Tensor, scored: Any, how: dict[str, Any]
) -> Tensor:
    """The score of x minus that without the tokens in `gone` (rows, s, tokens): (rows, s)."""
    wide = gone.reshape(*gone.shape, *(1,) * (x.ndim - 2))
    with removing(model, x, scored, **how) as left:
        return left.whole[:, None] - left(gone.shape[1], lambda rows, which: ~wide[rows, which])

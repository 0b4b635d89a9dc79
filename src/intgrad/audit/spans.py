"""Metrics of chosen tokens against a rationale: by spans, and by tokens."""

from __future__ import annotations

from torch import Tensor

from intgrad.audit.order import runs
from intgrad.audit.units import as_mask, refuse_empty
from intgrad.errors import InputError


def iou_f1(prediction: Tensor, truth: Tensor, *, threshold: float = 0.5) -> Tensor:
    r"""F1 of spans of tokens, where two spans match if their intersection over union is large.

    .. math:: F_1 = \frac{2 m}{p + t}

    for p predicted spans, t true ones and m matches. A span is a run of True, so at 0.5 and above
    no span matches two others.

    Parameters
    ----------
    prediction, truth
        (rows, tokens) bool or 0 and 1, such as `top_fraction` returns; padding is False in both.
    threshold
        The least intersection over union that matches, 0.5 to 1.

    Returns
    -------
    Tensor
        (rows,) in [0, 1], higher is better; 0 where nothing is predicted. No forwards.

    Raises
    ------
    InputError
        Shapes that differ, a row without a true token, a threshold below 0.5.

    References
    ----------
    DeYoung et al. 2020, "ERASER: A Benchmark to Evaluate Rationalized NLP Models",
    doi:10.18653/v1/2020.acl-main.408.
    """
    if not 0.5 <= threshold <= 1:
        raise InputError(
            f"threshold={threshold!r}; expected 0.5 to 1: below, a span may match several others."
        )
    own, true = _both(prediction, truth)
    shared = own & true  # two spans meet in one run of tokens, or in none
    overlap = _lengths(shared)
    union = _lengths(own) + _lengths(true) - overlap
    matches = _opens(shared) & (overlap >= threshold * union)
    spans = _opens(own).sum(1) + _opens(true).sum(1)
    return 2 * matches.sum(1).double() / spans


def token_f1(prediction: Tensor, truth: Tensor) -> Tensor:
    """F1 of tokens: harmonic mean of the shares of predicted and of true tokens that are both.

    Parameters and errors as in `iou_f1`; (rows,) in [0, 1], higher is better. No forwards.
    """
    own, true = _both(prediction, truth)
    return 2 * (own & true).sum(1).double() / (own.sum(1) + true.sum(1))


def _both(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    if not isinstance(prediction, Tensor) or prediction.ndim != 2 or not prediction.numel():
        got = (
            tuple(prediction.shape) if isinstance(prediction, Tensor) else type(prediction).__name__
        )
        raise InputError(
            f"prediction is {got}; expected a mask (rows, tokens), such as top_fraction returns."
        )
    own = as_mask(prediction, prediction.shape, "prediction")
    true = as_mask(truth, prediction.shape, "truth").to(own.device)
    refuse_empty(true, "true token")
    return own, true


def _lengths(mask: Tensor) -> Tensor:
    """At every token, how long the run it belongs to is."""
    first, last = runs(mask)
    return last - first + 1


def _opens(mask: Tensor) -> Tensor:
    """The first token of every span."""
    opens = mask.clone()
    opens[:, 1:] &= ~mask[:, :-1]
    return opens

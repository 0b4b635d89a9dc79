"""Metrics of whether a map says what the model does: orders of removal, falls foretold, steps.

Most important first is `deletion`, and least important first its mirror, `lerf`. `infidelity`
compares what units are said to contribute with what is lost without them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.audit.curves import Curve, deletion, diff_id, insertion
from intgrad.audit.order import places
from intgrad.audit.removal import one_tensor, removing
from intgrad.audit.units import Channels, units_like
from intgrad.errors import InputError
from intgrad.model.target import as_target

STEPS = 50
SAMPLES = 64


def lerf(model: Callable[..., Any], x: Tensor, attribution: Any, **how: Any) -> Curve:
    """The score of x as its units are replaced by the baseline, the least important first.

    It is `insertion` read from the other end, point by point: what is left without the n - k least
    important units is what k most important ones are when put in; so the two areas are one number.
    Parameters, cost and errors as in `deletion`. The `auc` is high for a good attribution: what does
    not count goes first, and what speaks against the class with it.

    References
    ----------
    Samek et al. 2017, "Evaluating the Visualization of What a Deep Neural Network Has Learned",
    doi:10.1109/TNNLS.2016.2599820.
    """
    return insertion(model, x, attribution, **how).mirrored()


def aopc(model: Callable[..., Any], x: Tensor, attribution: Any, **how: Any) -> Tensor:
    r"""Area over the perturbation curve: how far the score falls on average, most important first.

    .. math:: \frac{1}{L + 1} \sum_{k=0}^{L} f(x) - f(x_{-T_k})

    Parameters, cost and errors as in `deletion`; (rows,), high for a good attribution. It is a plain
    mean over the points of that curve, where the area under it takes trapezoids; with an `rtol` it is
    what that mean tends to, f(x) minus the area.

    References
    ----------
    Samek et al. 2017, doi:10.1109/TNNLS.2016.2599820.
    """
    return deletion(model, x, attribution, **how).aopc


def abpc(model: Callable[..., Any], x: Tensor, attribution: Any, **how: Any) -> Tensor:
    """Area between the perturbation curves, `lerf` above `deletion`: the same number as `diff_id`.

    References
    ----------
    Schulz, Sixt, Tombari, Landgraf 2020, "Restricting the Flow: Information Bottlenecks for
    Attribution", arXiv:2001.00396.
    """
    return diff_id(model, x, attribution, **how)


def infidelity(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    target: Any = None,
    samples: int = SAMPLES,
    channels: Channels = None,
    seed: int = 0,
    **how: Any,
) -> Tensor:
    r"""How wrong an attribution foretells what is lost without some of the units.

    .. math:: E_S \left( \sum_{i \in S} a_i - (f(x) - f(x_{-S})) \right)^2

    over random sets S, in which every unit is with probability one half. 0 for a linear model under
    integrated gradients from the same baseline, whose values are what is lost; the least that any
    attribution can reach otherwise is the model's departure from a sum over units.

    Parameters
    ----------
    model, x, attribution, channels
        As in `deletion`.
    target
        What was explained, as in `intgrad.attribute`: the raw score by default, since the sums must be
        in its units.
    samples
        Sets S, the same for every row.
    seed
        The only source of chance.
    **how
        ``baseline=``, ``given=``, ``width=``, as in `deletion`.

    Returns
    -------
    Tensor
        (rows,) at least 0, in squared units of f; 0 is best. Costs samples + 1 forwards a row. Its own
        sampling error falls as one over the root of `samples`, the same draws for all methods.

    Raises
    ------
    InputError, TargetError, ModelError, Unsupported
        In one sentence: what came, what was expected, what to do.

    References
    ----------
    Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, "On the (In)fidelity and Sensitivity of Explanations",
    arXiv:1901.09392; here with I = the units of S, times x - x', and a the values themselves.
    """
    said, lost = _foretold(model, x, attribution, target, (samples, channels, seed), how)
    return (said - lost).square().mean(1)


def scaled_infidelity(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    target: Any = None,
    samples: int = SAMPLES,
    channels: Channels = None,
    seed: int = 0,
    **how: Any,
) -> Tensor:
    r"""`infidelity` at the best scale of the attribution, as a share of that of saying nothing.

    .. math:: \min_\beta \frac{E_S(\beta \sum_S a - \Delta_S)^2}{E_S \Delta_S^2}
        = 1 - \frac{(E_S \Delta_S \sum_S a)^2}{E_S \Delta_S^2 \; E_S (\sum_S a)^2}

    with the loss :math:`\Delta_S`. In [0, 1], 0 is best; it compares maps that are no contributions,
    such as a gradient, with those that are. Parameters, cost and errors as in `infidelity`.

    A map that says the same of every unit foretells a fall that only depends on how many are gone:
    where that explains most of it, all maps score well. Compare with a random one.

    References
    ----------
    Yeh et al. 2019, arXiv:1901.09392, with their optimal scale.
    """
    said, lost = _foretold(model, x, attribution, target, (samples, channels, seed), how)
    both, own, of = (said * lost).mean(1), said.square().mean(1), lost.square().mean(1)
    none = (own == 0) | (of == 0)
    share = both.square() / torch.where(none, 1, own * of)
    return torch.where(none, (of > 0).double(), 1 - share).clamp(0, 1)


def monotonicity(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    *,
    steps: int = STEPS,
    channels: Channels = None,
    **how: Any,
) -> Tensor:
    r"""The share of steps in which the score moves to the side that the units moved speak for.

    .. math:: \frac{1}{L} \#\{k : (f(x_{T_k}) - f(x_{T_{k-1}}))
        \sum_{i \in T_k \setminus T_{k-1}} a_i \ge 0 \}

    along the curve of `insertion`. 1 for a linear model and its shares. Parameters, cost and errors as
    in `insertion`; (rows,) in [0, 1], high is good, one half by chance.

    References
    ----------
    Arya et al. 2019, "One Explanation Does Not Fit All", arXiv:1909.03012, who ask whether all steps
    rise, of maps without negative values.
    """
    curve = insertion(model, x, attribution, steps=steps, channels=channels, **how)
    units = units_like(attribution, one_tensor(x), channels).flatten(1).double()
    ordered = torch.zeros_like(units).scatter_(1, places(units), units)
    moved = (curve.fractions[1:] * units.shape[1]).round().long() - 1
    sums = ordered.cumsum(1)[:, moved].diff(dim=1, prepend=torch.zeros_like(units[:, :1]))
    return (curve.scores.diff(dim=1) * sums >= 0).double().mean(1)


def _foretold(
    model: Callable[..., Any],
    x: Tensor,
    attribution: Any,
    target: Any,
    draws: tuple[int, Channels, int],
    how: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """What each set of units is said to contribute, and what is lost without it: (rows, samples)."""
    samples, channels, seed = draws
    values = units_like(attribution, one_tensor(x), channels)
    gone = _sets(values[0].shape, whole_number(samples, "samples", 2), seed).to(x.device)
    said = values.double().flatten(1) @ gone.double().flatten(1).T
    if not bool(torch.isfinite(said).all()):
        raise InputError(
            "the sums of the attribution overflow; expected values of a sensible size."
        )
    with removing(model, x, as_target(target), **how) as left:
        lost = left.whole[:, None] - left(samples, lambda rows, which: ~gone[which])
    return said, lost


def _sets(shape: torch.Size, samples: int, seed: int) -> Tensor:
    """Random sets of units, each in with probability one half: (samples, ...) bool."""
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(samples, *shape, generator=draw) < 0.5

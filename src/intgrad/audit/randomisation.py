"""Whether an explanation depends on the model, on what it learned, and on the class asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from intgrad._types import whole_number
from intgrad.audit.agreement import spearman
from intgrad.audit.asking import explained
from intgrad.audit.finding import Explain
from intgrad.audit.order import ranks
from intgrad.audit.units import Channels, as_units
from intgrad.errors import InputError, Unsupported

SHIFTS = 400  # draws of the null distribution
CHANCE = 0.99  # of them are as small as what is allowed


@dataclass(frozen=True, eq=False)
class Dependence:
    """How alike the maps of a model and of one that knows nothing are.

    Attributes
    ----------
    correlation
        Rank correlation of the two maps with their signs, (rows,); near 0 where the explanation
        depends on the model, 1 where it does not look at it. NaN where a map is constant.
    magnitude
        The same of absolute values. Methods that multiply by the input keep some of it.
    chance
        What the mean correlation over rows reaches by chance, in size, once in a hundred: one map is
        shifted against the other, round the edges, so that each keeps its own smoothness.
    """

    correlation: Tensor
    magnitude: Tensor
    chance: float

    @property
    def mean(self) -> float:
        """Mean correlation over the rows."""
        return float(self.correlation.nanmean())


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a model in which every parameter's entries are shuffled.

    Their distribution stays, so activations keep their size; what was learned is gone. Buffers, such
    as the statistics of batch normalisation, stay.

    Parameters
    ----------
    model
        Left as it was.
    seed
        The only source of chance.
    """
    if not isinstance(model, nn.Module):
        raise Unsupported(
            f"the model is a {type(model).__name__}, whose parameters are out of reach; expected an "
            f"nn.Module to shuffle."
        )
    draw, other = torch.Generator().manual_seed(seed), copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            order = torch.randperm(parameter.numel(), generator=draw).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return other


def model_randomisation(
    explain: Explain,
    model: nn.Module,
    x: Tensor,
    target: Any,
    *,
    channels: Channels = None,
    seed: int = 0,
) -> Dependence:
    """Compare the maps of a model with those of its `randomised` copy.

    A map that stays the same explains the input, not the model: an edge detector does. Low
    correlation is necessary and far from sufficient; a random map has none.

    Parameters
    ----------
    explain
        ``(model, x, target) -> values``.
    model, x, target
        As `explain` takes them; the same target is asked of both.
    channels
        The axes summed to one unit; axis 1 of four by default.
    seed
        Of the shuffle, and of chance.

    Returns
    -------
    Dependence
        Costs what explain costs, twice.

    Raises
    ------
    Unsupported
        A model that is no module.
    InputError, ModelError
        What explain returned cannot be used, or it changed the model.

    References
    ----------
    Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim 2018, "Sanity Checks for Saliency Maps",
    arXiv:1810.03292.
    """
    other = randomised(model, seed)
    return label_randomisation(explain, model, other, x, target, channels=channels, seed=seed)


def label_randomisation(
    explain: Explain,
    model: Callable[..., Any],
    other: Callable[..., Any],
    x: Tensor,
    target: Any,
    *,
    channels: Channels = None,
    seed: int = 0,
) -> Dependence:
    """Compare the maps of two models: of the second it is known that it learned nothing true.

    Parameters and errors as in `model_randomisation`.

    Parameters
    ----------
    other
        The same network, trained by its owner on labels that were shuffled.

    References
    ----------
    Adebayo et al. 2018, arXiv:1810.03292, the data randomisation test.
    """
    one, two = (explained(explain, m, x, target) for m in (model, other))
    return dependence(one, two, channels, seed)


def class_randomisation(
    explain: Explain,
    model: Callable[..., Any],
    x: Tensor,
    target: Tensor,
    other: Tensor,
    *,
    channels: Channels = None,
    seed: int = 0,
) -> Dependence:
    """Compare the maps of one class with those of another, on the same model and input.

    A method that explains every class alike does not explain the class. Shared evidence keeps some
    correlation, so what is allowed is no chance level: judge it against other methods.

    Parameters and errors as in `model_randomisation`.

    Parameters
    ----------
    target, other
        Class indices, one a row, different in every row.

    References
    ----------
    Sixt, Granz, Landgraf 2020, "When Explanations Lie: Why Many Modified BP Attributions Fail",
    arXiv:1912.09818, the random logit test.
    """
    if target.shape != other.shape or bool((target == other).any()):
        raise InputError(
            f"target is {target.tolist()} and other {other.tolist()}; expected another class in every row."
        )
    one, two = (explained(explain, model, x, t) for t in (target, other))
    return dependence(one, two, channels, seed)


def dependence(a: Any, b: Any, channels: Channels = None, seed: int = 0) -> Dependence:
    """Compare two maps of the same rows, and say what chance would make of them."""
    one, two = as_units(a, channels, "a"), as_units(b, channels, "b")
    return Dependence(
        spearman(one, two, ()), spearman(one.abs(), two.abs(), ()), chance(one, two, seed)
    )


def chance(a: Tensor, b: Tensor, seed: int = 0, draws: int = SHIFTS) -> float:
    """The size that the mean rank correlation reaches once in a hundred where b is moved about.

    Maps (rows, height, width) are shifted along both axes, round the edges; others (rows, n) are
    shuffled. Each row is moved by itself.
    """
    whole_number(draws, "draws", 1)
    left, right = (_standard(m) for m in (a, b))
    if left.ndim == 3:
        return _quantile(_every_shift(left, right), draws, seed)
    found, draw = [], torch.Generator().manual_seed(seed)
    for _ in range(draws):
        order = torch.rand(right.shape, generator=draw).argsort(1).to(right.device)
        found.append(float((left * right.gather(1, order)).sum(1).mean()))
    return _size(torch.tensor(found, dtype=torch.float64))


def _every_shift(left: Tensor, right: Tensor) -> Tensor:
    """The correlation at each shift of each row, by the convolution theorem: (rows, shifts)."""
    spectrum = torch.fft.rfft2(left) * torch.fft.rfft2(right).conj()
    return torch.fft.irfft2(spectrum, s=left.shape[1:]).flatten(1)


def _quantile(shifted: Tensor, draws: int, seed: int) -> float:
    draw = torch.Generator().manual_seed(seed)
    rows, shifts = shifted.shape
    chosen = torch.randint(shifts, (rows, draws), generator=draw).to(shifted.device)
    return _size(shifted.gather(1, chosen).mean(0))


def _size(found: Tensor) -> float:
    return float(found.abs().quantile(CHANCE))


def _standard(maps: Tensor) -> Tensor:
    """Ranks about their mean, of length 1: a product of two is their rank correlation."""
    rank = ranks(maps.flatten(1))
    rank = rank - rank.mean(1, keepdim=True)
    length = rank.norm(dim=1, keepdim=True)
    unit = torch.where(length > 0, rank / length.clamp(min=1e-300), 0)
    return unit.reshape(maps.shape) if maps.ndim == 3 else unit

"""Statistics over noisy copies of an input: SmoothGrad and its kin, around any recipe."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.errors import InputError


@dataclass(frozen=True)
class SmoothGrad:
    r"""The mean of the values at x + noise, noise normal with `sigma` times the range of each row.

    .. math:: \frac1n \sum_{k=1}^n A(x + \varepsilon_k), \qquad
              \varepsilon_k \sim N\big(0, \sigma^2 (\max x - \min x)^2\big)

    The class explained is that of x itself. Every row gets the same noise, by the call's ``seed=``.
    The error is that of the values, added over the draws, and the standard error of their mean.

    Parameters
    ----------
    sigma
        As a share of each row's range, as published (10 to 20 %).
    samples
        Noisy copies, each explained by the whole recipe: n times its cost.
    rtol
        Relative L1 error that counts as converged, where the recipe's own rule allows no more.

    References
    ----------
    Smilkov, Thorat, Kim, Viegas, Wattenberg 2017, "SmoothGrad", arXiv:1706.03825.
    """

    sigma: float = 0.15
    samples: int = 50
    rtol: float = 0.2

    def __post_init__(self) -> None:
        whole_number(self.samples, "samples", 2)
        if not self.sigma >= 0:
            raise InputError(f"sigma={self.sigma}; expected a number that is not below 0.")

    def measure(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """What is averaged over the last axis of values (..., n), and its slope in them."""
        return values, torch.ones_like(values)


@dataclass(frozen=True)
class SquareGrad(SmoothGrad):
    """The mean of the squared values at noisy copies: SmoothGrad-Squared. Signs are lost.

    References
    ----------
    Hooker, Erhan, Kindermans, Kim 2019, "A benchmark for interpretability methods in deep neural
    networks", arXiv:1806.10758.
    """

    def measure(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Squares (..., n), and their slope."""
        return values.square(), 2 * values


@dataclass(frozen=True)
class VarGrad(SmoothGrad):
    """The variance of the values over noisy copies: where an explanation is least stable.

    References
    ----------
    Adebayo, Gilmer, Goodfellow, Kim 2018, "Local explanation methods for deep neural networks lack
    sensitivity to parameter values", arXiv:1810.03307.
    """

    def measure(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distances from the mean (..., n), and their slope."""
        off = values - values.mean(-1, keepdim=True)
        return off.square(), 2 * off


def settle(around: SmoothGrad, values: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor]:
    """The statistic of values (..., n) with errors `wrong`, and its error: (...)."""
    measured, slope = around.measure(values)
    own = (slope.abs() * wrong).mean(-1)
    chance = measured.std(-1) / values.shape[-1] ** 0.5
    return measured.mean(-1), own + chance

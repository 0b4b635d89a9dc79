"""Through ever finer Gaussian scales to the input: Blur IG."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from intgrad.errors import InputError
from intgrad.path.heat import decay, frequencies, from_cosines, heat, spatial, to_cosines


@dataclass(frozen=True)
class ScaleSpace:
    r"""gamma(t) = x blurred by sigma(t) = max_sigma (1 - t)^power, mirrored at the borders.

    .. math:: \gamma(t) = e^{\sigma(t)^2 \Delta / 2} x, \qquad
              \dot\gamma(t) = \sigma \dot\sigma \, \Delta \gamma(t)

    Both are exact: on cosines the heat kernel multiplies, and no difference is taken. It starts at
    x blurred by `max_sigma`, and at nothing else; ``baseline=`` is best left out. Features may
    overshoot on the way, so it is not monotone.

    Parameters
    ----------
    max_sigma
        Where it starts, in samples. The coarsest structure that is explained.
    power
        How much of the way is spent on fine scales; the integral does not depend on it, its nodes
        do. 1 is the paper's, equal steps of sigma; 1/2 has equal steps of sigma^2. With 2 rules that
        find their nodes ask the fewest; 3 suits a fixed number of panels on models with kinks.
    axes
        Along which samples are neighbours, the row counted as 0; by default all after rows and
        channels: (r, c, length), (r, c, height, width), (r, c, depth, height, width).
    scales
        Sigmas between `max_sigma` and 0, falling: what happens between each two is integrated by
        itself, to the tolerance, and `Attribution.by_scale` tells it apart.

    Notes
    -----
    A node costs three Fourier transforms of x beside its gradient.

    References
    ----------
    Xu, Venugopalan, Sundararajan 2020, "Attribution in Scale and Space", arXiv:2004.03383.
    """

    max_sigma: float = 50.0
    power: float = 2.0
    axes: tuple[int, ...] | None = None
    scales: tuple[float, ...] = ()
    monotone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (0 < self.max_sigma < float("inf") and self.power >= 0.5):
            raise InputError(
                f"ScaleSpace(max_sigma={self.max_sigma}, power={self.power}); expected a finite "
                f"max_sigma above 0 and a power of at least 0.5 (below, the velocity is infinite at x)."
            )
        edges = self.edges
        if any(a <= b for a, b in pairwise(edges)):
            raise InputError(
                f"ScaleSpace(max_sigma={self.max_sigma}, scales={self.scales}); expected sigmas that "
                f"fall, each between max_sigma and 0."
            )

    @property
    def edges(self) -> tuple[float, ...]:
        """max_sigma, the scales, 0."""
        return (self.max_sigma, *self.scales, 0.0)

    def legs(self, x: Tensor) -> list[tuple[Tensor, ScaleSpace]]:
        """What is between two scales, as a scale space of its own: its end, and the path to it.

        Blurring is a semigroup: sigma = sqrt(a^2 - b^2) takes x blurred by b to x blurred by a.
        """
        axes = spatial(x, self.axes, "ScaleSpace")
        return [
            (heat(x, fine, axes) if fine else x, replace(self, max_sigma=gap, scales=()))
            for coarse, fine in pairwise(self.edges)
            for gap in [(coarse**2 - fine**2) ** 0.5]
        ]

    def __call__(self, t: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Points at t, (n, ...)."""
        spectrum, axes, left = self._spectrum(t, end)
        variance = self.max_sigma**2 * left ** (2 * self.power)
        point = from_cosines(spectrum * decay(spectrum, variance, axes), axes)
        return torch.where(left == 0, end, point)

    def velocity(self, t: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Derivative in t, (n, ...)."""
        spectrum, axes, left = self._spectrum(t, end)
        variance = self.max_sigma**2 * left ** (2 * self.power)
        speed = self.power * self.max_sigma**2 * left ** (2 * self.power - 1)
        rate = decay(spectrum, variance, axes) * frequencies(spectrum, axes) * speed
        return from_cosines(spectrum * rate, axes)

    def _spectrum(self, t: Tensor, end: Tensor) -> tuple[Tensor, tuple[int, ...], Tensor]:
        axes = spatial(end, self.axes, "ScaleSpace")
        return to_cosines(end, axes), axes, (1 - t)

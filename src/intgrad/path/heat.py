"""The heat kernel with reflecting borders, exact for every sigma: Gaussian blur by cosines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from intgrad._types import wide
from intgrad.errors import InputError


def spatial(x: Tensor, axes: Sequence[int] | None, who: str) -> tuple[int, ...]:
    """The axes along which samples are neighbours: those named, or all after rows and channels.

    Raises
    ------
    InputError
        There are none, or one named is not there.
    """
    if axes is None and x.ndim < 3:
        raise InputError(
            f"{who} needs (rows, channels, ...) with neighbours to blur; x has shape "
            f"{tuple(x.shape)}. Name them for other layouts: axes=(1,)."
        )
    found = tuple(range(2, x.ndim)) if axes is None else tuple(axes)
    if not found or not all(0 < a < x.ndim for a in found):
        raise InputError(
            f"{who}(axes={axes}) on x of shape {tuple(x.shape)}; expected axes from 1 to {x.ndim - 1}."
        )
    return found


def heat(x: Tensor, sigma: float, axes: Sequence[int]) -> Tensor:
    """Blur `x` along `axes` with a Gaussian of `sigma` samples, mirrored at the borders.

    On cosines cos(pi k (i + 1/2) / n) the kernel multiplies by exp(-(pi k sigma / n)^2 / 2); no
    window is cut off and the mean is kept. An infinite sigma leaves the mean alone.
    """
    spectrum = to_cosines(x.to(wide(x.dtype)), axes)
    return from_cosines(spectrum * decay(spectrum, sigma**2, axes), axes).to(x.dtype)


def decay(spectrum: Tensor, variance: Tensor | float, axes: Sequence[int]) -> Tensor:
    """exp(-omega^2 variance / 2) for every frequency of a spectrum; 1 for the mean, always."""
    square = frequencies(spectrum, axes)
    factor = torch.exp(-0.5 * square * variance)
    return torch.where(square == 0, torch.ones_like(factor), factor)  # inf * 0 would be NaN


def frequencies(spectrum: Tensor, axes: Sequence[int]) -> Tensor:
    """omega^2 summed over `axes`, shaped to multiply the spectrum; in radians a sample."""
    total = spectrum.new_zeros((1,) * spectrum.ndim)
    for axis in axes:
        n = spectrum.shape[axis]
        omega = torch.arange(n, dtype=torch.float64, device=spectrum.device) * (math.pi / n)
        shape = [1] * spectrum.ndim
        shape[axis] = n
        total = total + omega.square().to(spectrum.dtype).reshape(shape)
    return total


def to_cosines(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Cosine transform along `axes`: sums of x_i cos(pi k (i + 1/2) / n).

    By one Fourier transform of n samples, even ones first, odd ones behind them backwards.
    """
    for axis in axes:
        y = x.movedim(axis, -1)
        y = torch.cat([y[..., ::2], y[..., 1::2].flip(-1)], -1)
        turned = torch.fft.fft(y) * _turn(y.shape[-1], y)
        x = turned.real.movedim(-1, axis)
    return x


def from_cosines(spectrum: Tensor, axes: Sequence[int]) -> Tensor:
    """The inverse of `to_cosines`."""
    for axis in axes:
        s = spectrum.movedim(axis, -1)
        n = s.shape[-1]
        mirrored = torch.cat([torch.zeros_like(s[..., :1]), s[..., 1:].flip(-1)], -1)
        y = torch.fft.ifft(torch.complex(s, -mirrored) * _turn(n, s).conj()).real
        x = torch.empty_like(y)
        x[..., ::2], x[..., 1::2] = y[..., : (n + 1) // 2], y[..., (n + 1) // 2 :].flip(-1)
        spectrum = x.movedim(-1, axis)
    return spectrum


def _turn(n: int, like: Tensor) -> Tensor:
    """exp(-i pi k / 2n)."""
    angle = torch.arange(n, dtype=torch.float64, device=like.device) * (-math.pi / (2 * n))
    return torch.polar(torch.ones_like(angle), angle).to(like.dtype.to_complex())

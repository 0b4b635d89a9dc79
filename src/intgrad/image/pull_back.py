"""From the crop back to the picture: the chain rule of the resize, and what it leaves over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from intgrad.image.lens import LEVEL, Grid


@dataclass(frozen=True)
class Channel:
    """One channel of a picture, and how the model saw it.

    Attributes
    ----------
    grid
        R, from the picture to the crop.
    moved
        x - x' (H, W), x' the mean of the samples.
    light, starts, weight
        y (h, w); the samples of y' (k, h, w); the weight of each (k,).
    """

    grid: Grid
    moved: Tensor
    light: Tensor
    starts: Tensor
    weight: Tensor


def pull_back(values: Tensor, channel: Channel, straight: bool = True) -> Tensor:
    """The values of a channel (..., h, w) on the picture (..., H, W), their sum kept.

    G = B d / (d^2 + v) is the mean gradient on the crop, with d = y - y' and v the variance of
    the samples of y' (0 where there is one); (x - x') R^T G carries it back. What that does not
    account for, B - G R (x - x'), is spread by R alone; so is all of B if not `straight`.
    """
    grid, moved = channel.grid, channel.moved
    if not straight:
        return grid.up(values)
    weight = channel.weight[:, None, None]
    mean = (weight * channel.starts).sum(0)
    spread = (weight * (channel.starts - mean).square()).sum(0)
    d = channel.light - mean
    gradient = torch.where(d.abs() >= LEVEL / 2, values * d / (d.square() + spread), 0.0)
    return moved * grid.up(gradient) + grid.up(values - gradient * grid.down(moved))


def pull_back_error(error: Tensor, channel: Channel) -> Tensor:
    """The errors of a channel (..., h, w) on the picture: shared by |R| |x - x'|, their sum kept."""
    grid, far = channel.grid.positive(), channel.moved.abs()
    reach = grid.down(far)
    share = torch.where(reach > LEVEL / 2, error / reach.clamp(min=LEVEL / 2), 0.0)
    return far * grid.up(share) + grid.up(error - share * reach)

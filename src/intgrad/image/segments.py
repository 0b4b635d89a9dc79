"""Segments of a picture at several scales: what may become a region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.errors import InputError
from intgrad.image.lens import light_of, resize
from intgrad.image.view import Source, opened

try:
    from skimage.morphology import isotropic_dilation
    from skimage.segmentation import felzenszwalb
except ImportError as error:
    raise ImportError(
        'intgrad.image.xrai needs scikit-image: pip install "intgrad[image]"'
    ) from error

SIDE = (
    224  # segments are drawn on a picture of this width and height, for which the scales are made
)
SCALES = (50, 100, 150, 250, 500, 1200)
BICUBIC = 3  # pillow's number for it


def segments(
    picture: Tensor | Source,
    *,
    scales: Sequence[float] = SCALES,
    sigma: float = 0.8,
    min_size: int = 150,
    dilation: int = 5,
) -> Tensor:
    """Cut a picture in segments at several scales, each a candidate for a region.

    Felzenszwalb and Huttenlocher's graph-based segments, on the picture resized to 224 x 224, its
    values brought to [-1, 1]. They overlap: between scales, and at their rims.

    Parameters
    ----------
    picture
        A tensor (3, h, w) in any units, a file, or a PIL picture.
    scales
        The larger, the larger the segments.
    sigma
        Width of the Gaussian blur before.
    min_size
        Smaller segments are merged with a neighbour; in pixels of 224 x 224.
    dilation
        Every segment grows by a disk of this radius, so that it holds its edges.

    Returns
    -------
    Tensor
        (k, h, w) bool, a few hundred masks; those of each scale cover the picture.

    References
    ----------
    Felzenszwalb, Huttenlocher 2004, doi:10.1023/B:VISI.0000022288.19776.77.
    """
    if not isinstance(picture, Tensor):
        picture = light_of(opened(picture, 0)[1])
    shape = tuple(picture.shape)
    if len(shape) != 3 or shape[0] != 3 or 0 in shape or not bool(picture.isfinite().all()):
        raise InputError(
            f"the picture is a tensor {shape}; expected (3, height, width), of finite numbers."
        )
    masks = outlines(picture, scales, sigma, min_size, dilation)
    return masks[:, nearest(shape[1])][:, :, nearest(shape[2])]


def outlines(
    light: Tensor,
    scales: Sequence[float] = SCALES,
    sigma: float = 0.8,
    min_size: int = 150,
    dilation: int = 5,
) -> Tensor:
    """`segments` on their own grid: (k, 224, 224)."""
    if not scales or not all(scale > 0 for scale in scales):
        raise InputError(f"scales={scales!r}; expected one positive number or more.")
    smallest, radius = whole_number(min_size, "min_size", 1), whole_number(dilation, "dilation", 0)
    pixels = shrunk(light).permute(1, 2, 0).numpy()
    masks = []
    for scale in scales:
        label = felzenszwalb(pixels, scale=scale, sigma=sigma, min_size=smallest)
        masks += [isotropic_dilation(label == i, radius) for i in range(int(label.max()) + 1)]
    return torch.from_numpy(np.stack(masks))


def shrunk(light: Tensor) -> Tensor:
    """A picture (3, h, w) in any units as (3, 224, 224), its values brought to [-1, 1]."""
    rows, columns = (resize(n, SIDE, BICUBIC) for n in light.shape[1:])
    low, high = float(light.min()), float(light.max())
    small = torch.stack([rows @ c.detach().cpu().double() @ columns.T for c in light])
    return 2 * (small - low) / ((high - low) or 1.0) - 1


def nearest(n: int) -> Tensor:
    """For each of n pixels, the cell of 224 it lies in."""
    return ((torch.arange(n) + 0.5) * SIDE / n).long()

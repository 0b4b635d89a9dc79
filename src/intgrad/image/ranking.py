"""Regions of a map, the best first: masks chosen one by one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.errors import InputError

MIN_PIXEL_DIFF = 50


@dataclass(frozen=True, eq=False)
class Regions:
    """A picture cut in regions, the best first.

    Attributes
    ----------
    order
        (h, w): the region of each pixel, numbered from 0 in the order in which they were chosen.
    steps
        How many were chosen. If there is one more, it is what none of them covers.
    sum
        (regions,) float64: the attributions of a region's pixels, added up. Together they are the
        sum of the map.
    pixels
        (regions,): how many there are.
    """

    order: Tensor
    steps: int
    sum: Tensor
    pixels: Tensor

    @property
    def gain(self) -> Tensor:
        """(regions,): the mean attribution of a region's pixels.

        A region may gain more than the one before it: what it shared with that is gone.
        """
        return self.sum / self.pixels

    @property
    def saliency(self) -> Tensor:
        """(h, w): to each pixel the mean of its region; the sum of the map is kept."""
        return self.gain[self.order]

    def top(self, fraction: float) -> Tensor:
        """(h, w) bool: the first regions, as many as fit in this fraction of the area.

        None, where the first alone is larger.
        """
        if not 0 <= fraction <= 1:
            raise InputError(f"fraction={fraction}; expected between 0 and 1, such as 0.2.")
        room = fraction * self.order.numel() + 1e-6  # 0.29 * 100 is a little less than 29
        return self.order < (self.pixels.cumsum(0) <= room).sum()


def rank(
    attribution: Tensor,
    masks: Tensor,
    min_pixel_diff: int = MIN_PIXEL_DIFF,
    area: float = 1.0,
) -> Regions:
    r"""Choose masks one by one, each time the one whose new pixels are worth most on average.

    .. math:: g_s = \frac{1}{|N_s|} \sum_{p \in N_s} A_p

    where N_s are the pixels of mask s that no mask chosen before has.

    Parameters
    ----------
    attribution
        (h, w): a number a pixel; of colours, their sum.
    masks
        (k, h, w) bool, which may overlap; `segments` draws some.
    min_pixel_diff
        A mask with fewer new pixels is not chosen.
    area
        Stop once this fraction of the map is covered.

    Returns
    -------
    Regions
        What no chosen mask covers is one last region. The order of the others does not change if
        the map is multiplied by a positive number. Asks the model nothing.

    Raises
    ------
    InputError
        Shapes that do not fit, no masks, NaN or infinity.
    """
    refuse_map(attribution)
    refuse_masks(masks, attribution)
    refuse_area(area)
    least = whole_number(min_pixel_diff, "min_pixel_diff", 1)
    own = attribution.detach().cpu().double()
    flat_masks = masks.detach().cpu().flatten(1)
    order, steps = greedy(own.flatten(), torch.ones(own.numel()), flat_masks, least, area)
    return arrange(own, order.reshape(own.shape), steps)


def greedy(
    total: Tensor, pixels: Tensor, masks: Tensor, least: float, area: float
) -> tuple[Tensor, int]:
    """The step at which each cell is covered (n,), or their number where none is; and that number.

    What is left of every mask, its sum and its size, is kept, and loses what each step takes: so
    all steps together look at every cell once.

    Parameters
    ----------
    total, pixels
        (n,): the attribution of a cell, and how many pixels it has.
    masks
        (k, n) bool.
    """
    member = masks.T.contiguous()  # what a step takes is whole rows
    weights = torch.stack([total.double(), pixels.double()])
    left = torch.zeros(2, len(masks), dtype=torch.float64)
    for part in torch.arange(len(total)).split(4096):
        left += weights[:, part] @ member[part].double()
    free = torch.ones(len(total), dtype=torch.bool)
    order, steps = torch.zeros(len(total), dtype=torch.long), 0
    goal = (1 - area) * float(weights[1].sum())
    while float(weights[1, free].sum()) > goal and bool((left[1] >= least).any()):
        gain = torch.where(left[1] >= least, left[0] / left[1], -torch.inf)
        taken = (member[:, int(gain.argmax())] & free).nonzero()[:, 0]
        left -= weights[:, taken] @ member[taken].double()
        order[taken], free[taken], steps = steps, False, steps + 1
    order[free] = steps
    return order, steps


def arrange(attribution: Tensor, order: Tensor, steps: int) -> Regions:
    """Regions from the map and the region of each pixel."""
    added, pixels = tally(order, attribution)
    return Regions(order, steps, added, pixels)


def tally(order: Tensor, values: Tensor, size: int = 0) -> tuple[Tensor, Tensor]:
    """Of each region the sum of its values, float64, and how many there are."""
    label = order.flatten()
    pixels = label.bincount(minlength=size)
    added = torch.zeros(len(pixels), dtype=torch.float64)
    return added.index_add(0, label, values.flatten().double()), pixels


# ---------------------------------------------------------------------- refusals


def refuse_map(attribution: object) -> None:
    """Only (h, w) finite numbers can be ranked."""
    if not isinstance(attribution, Tensor) or attribution.ndim != 2 or attribution.is_complex():
        shape = tuple(getattr(attribution, "shape", ()))
        raise InputError(
            f"the attribution is a {type(attribution).__name__} {shape}; expected a tensor "
            f"(height, width). Add up its colours: a.values[0].sum(0)."
        )
    if not bool(attribution.isfinite().all()):
        raise InputError("the attribution holds NaN or infinity; expected finite numbers.")


def refuse_masks(masks: object, attribution: Tensor) -> None:
    """Masks are boolean, at least one, and of the map's shape."""
    h, w = attribution.shape
    if not isinstance(masks, Tensor) or masks.ndim != 3 or masks.dtype != torch.bool:
        what = f"{tuple(masks.shape)} {masks.dtype}" if isinstance(masks, Tensor) else type(masks)
        raise InputError(f"masks are {what}; expected a tensor of booleans (masks, {h}, {w}).")
    if masks.shape[1:] != attribution.shape:
        raise InputError(
            f"masks are {tuple(masks.shape)} and the attribution is {(h, w)}; expected masks of its "
            f"height and width, (masks, {h}, {w})."
        )
    if not len(masks):
        raise InputError("there are no masks; expected one or more, such as xrai.segments(...).")


def refuse_area(area: float) -> None:
    """A fraction above 0."""
    if not 0 < area <= 1:
        raise InputError(f"area={area}; expected above 0, and 1 at most, such as 0.3.")

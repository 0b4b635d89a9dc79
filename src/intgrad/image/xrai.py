"""XRAI: which regions of a picture matter, in order, rather than which pixels.

Segments of the picture at several scales are candidates; the one whose pixels are worth most on
average comes first, then the one whose pixels not yet taken are, and so on. Every region has the
sum of its pixels' attributions, so the regions add up to what the pixels do.

Kapishnikov, Bolukbasi, Viégas, Terry 2019, "XRAI: Better Attributions Through Regions",
arXiv:1906.02825.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from intgrad.attribution import Attribution
from intgrad.baseline import BlackAndWhite
from intgrad.errors import Unsupported
from intgrad.image import explain
from intgrad.image.lens import lens
from intgrad.image.ranking import MIN_PIXEL_DIFF, Regions, arrange, greedy, rank, refuse_area, tally
from intgrad.image.segments import SIDE, nearest, outlines, segments
from intgrad.image.view import Source
from intgrad.quadrature import Automatic
from intgrad.subject import Picture

__all__ = ["Explained", "Regions", "rank", "regions", "segments"]

LOOSE = Automatic(rtol=5e-2)  # of the pixels: at that, regions keep their sums to about 1 %


@dataclass(frozen=True, eq=False)
class Explained:
    """One picture, by pixels and by regions.

    Attributes
    ----------
    attribution
        Of the pixels, (1, 3, height, width), with its certificate.
    regions
        What they are worth together.
    """

    attribution: Attribution
    regions: Regions

    @property
    def heat(self) -> Attribution:
        """The regions as an attribution (1, height, width): to each pixel the mean of its region.

        Its error is a bound: those of a region's pixels are added up as if all had one sign. Their
        signs differ, and the region's sum is known far better than that.
        """
        a, found = self.attribution, self.regions
        note = (
            f"XRAI: every pixel has the mean of its region, one of {len(found.sum)}; the error is a "
            f"bound, those of the region's pixels added up"
        )
        named = replace(
            a, recipe=a.recipe.but(name="xrai"), run=replace(a.run, notes=(*a.run.notes, note))
        )
        wrong = None
        if a.error_map is not None:
            added, pixels = tally(found.order, flat(a.error_map))
            wrong = (added / pixels)[found.order].to(a.error_map)[None]
        return named.carried(found.saliency.to(a.values)[None], wrong)


# ---------------------------------------------------------------------- pictures, whole


def regions(
    model: Callable[..., Any],
    processor: Callable[..., Any],
    pictures: Source | Sequence[Source],
    *,
    area: float = 1.0,
    **call: Any,
) -> list[Explained]:
    """Rank the regions of pictures by what they contribute to what the model said.

    Integrated gradients from black and from white, averaged; segments of each picture; and `rank`.

    Parameters
    ----------
    model, processor, pictures
        As in `intgrad.image.explain`.
    area
        Stop once this fraction of a picture is covered; what is left is one last region.
    **call
        As in `intgrad.image.explain`. Unless a ``recipe=`` is given, the baseline is
        `BlackAndWhite`, and the quadrature ``Automatic(rtol=0.05)``: the sums of regions are known
        far better than their pixels.

    Returns
    -------
    list of Explained
        One a picture: ``attribution``, ``regions``, and ``heat``, which is an attribution too.
        Costs what `intgrad.image.explain` does from two baselines, and half a second a picture.
        A region adds at least 50 / 224² of the picture's area, or it is not chosen.

    Raises
    ------
    Unsupported
        Several targets at once; a bare callable as processor, whose black and white are not known.
    """
    refuse_area(area)
    if "recipe" not in call:
        named = {k: v for k, v in call.items() if v is not None}
        call = {"quadrature": LOOSE, **named}
        if "baseline" not in named:
            call["baseline"] = black_and_white(processor)
    found = explain(model, processor, pictures, **call)
    if found[0].several:
        raise Unsupported(
            f"regions are ranked for one target, and there are {len(found[0].targets)}; call it for "
            f"each, or rank one of them: xrai.rank(a.target(k).values[0].sum(0), masks)."
        )
    return [Explained(a, _regions_of(a, area)) for a in found]


def black_and_white(processor: Callable[..., Any]) -> BlackAndWhite:
    """The default baseline, refused where black and white are not 0 and 1."""
    if lens(processor).own:
        raise Unsupported(
            "the processor is a bare callable, so values are in its own units, and what is black and "
            "white in them is not known. Say so: baseline=ig.BlackAndWhite(low, high)."
        )
    return BlackAndWhite()


def _regions_of(a: Attribution, area: float) -> Regions:
    """Rank on the grid on which segments are drawn: each of its cells holds some pixels."""
    (picture,) = a.subjects
    assert isinstance(picture, Picture)
    masks = outlines(picture.pixels.permute(2, 0, 1))
    attribution = flat(a.values)
    cell = SIDE * nearest(attribution.shape[0])[:, None] + nearest(attribution.shape[1])
    total, pixels = tally(cell, attribution, SIDE * SIDE)
    least = MIN_PIXEL_DIFF * attribution.numel() / SIDE**2
    order, steps = greedy(total, pixels, masks.flatten(1), least, area)
    return arrange(attribution, order[cell], steps)


def flat(values: Tensor) -> Tensor:
    """The channels of a single row (1, 3, h, w) added up: (h, w) float64."""
    return values[0].detach().cpu().double().sum(0)

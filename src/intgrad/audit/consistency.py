"""C-Score: whether a model looks at the same things whenever it says the same class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from intgrad._types import whole_number
from intgrad.audit.units import Channels, as_units
from intgrad.errors import InputError

POWER = 2.0
SIDE = 32
BLOCK = 256  # maps compared at once


def soft_iou(a: Any, b: Any, *, power: float = POWER, channels: Channels = None) -> Tensor:
    r"""Soft intersection over union of two maps of the same rows, strong places emphasised.

    .. math:: \frac{\sum_i \min(m_i, n_i)}{\sum_i \max(m_i, n_i)}, \qquad
        m_i = \left( \frac{\max(a_i, 0)}{\max_j a_j} \right)^p

    and n the same of b. For maps of 0 and 1 it is the common IoU at any p.

    Parameters
    ----------
    a, b
        Tensors (rows, ...) of the same shape, or `Attribution`. What speaks against the class is 0.
    power
        p: the larger, the more the strongest places count.
    channels
        The axes summed to one unit; axis 1 of four by default.

    Returns
    -------
    Tensor
        (rows,) in [0, 1]; NaN where both maps have nothing above 0. No forwards.
    """
    one, two = (_emphasised(as_units(m, channels), power).flatten(1) for m in (a, b))
    if one.shape != two.shape:
        raise InputError(
            f"a is {tuple(one.shape)} and b {tuple(two.shape)}; expected maps of the same units."
        )
    return torch.minimum(one, two).sum(1) / torch.maximum(one, two).sum(1)


@dataclass(frozen=True, eq=False)
class Consistency:
    """What a `CScore` found.

    Attributes
    ----------
    classes
        Those with two maps or more, (C,).
    counts
        Maps of each, (C,).
    within
        The C-Score of each, (C,).
    between
        The same of each class's maps with those of all other classes, (C,): what maps share without
        having a class in common, such as the middle of the picture.
    """

    classes: Tensor
    counts: Tensor
    within: Tensor
    between: Tensor

    @property
    def score(self) -> float:
        """Mean over the classes."""
        return float(self.within.mean())

    @property
    def contrast(self) -> float:
        """How much more maps share within a class than across: near 0, the score says nothing."""
        return float((self.within - self.between).mean())


class CScore:
    r"""Confidence-weighted pairwise soft IoU of the maps of one class, batch by batch.

    .. math:: C_c = \frac{\sum_{i < j} w_i w_j \, \mathrm{sIoU}(m_i, m_j)}{\sum_{i < j} w_i w_j}

    over the inputs of class c that were classified correctly, weighted by the model's confidence.
    Batches of a data set come one after another, and each is compared with what came before; a map
    is kept as at most 32 x 32 cells, so memory is 4 KB an input. For several checkpoints keep one
    `CScore` each.

    Parameters
    ----------
    power
        As in `soft_iou`.
    side
        Maps (rows, height, width) are averaged down to so many cells a side; others are kept whole.

    Notes
    -----
    The weights and the emphasis are ours: the abstract names both and defines neither.

    References
    ----------
    Elangovan, Ting 2026, "Quantifying Explanation Consistency: The C-Score Metric for CAM-Based
    Explainability in Medical Image Classification", arXiv:2604.08502.
    """

    def __init__(self, power: float = POWER, side: int = SIDE) -> None:
        self.power, self.side = power, whole_number(side, "side", 1)
        self._maps: list[Tensor] = []
        self._classes: list[int] = []
        self._weights: list[float] = []
        self._sums: dict[tuple[int, int], tuple[float, float]] = {}

    def add(
        self,
        maps: Any,
        classes: Sequence[int] | Tensor,
        confidence: Sequence[float] | Tensor,
        predicted: Sequence[int] | Tensor | None = None,
        channels: Channels = None,
    ) -> CScore:
        """Compare a batch with itself and all before it.

        Parameters
        ----------
        maps
            (rows, ...), or an `Attribution` of these classes.
        classes
            The true class of each row.
        confidence
            The probability the model gives it, in [0, 1].
        predicted
            What the model said; rows that it got wrong are left out. All are kept by default.
        channels
            The axes summed to one unit; axis 1 of four by default.

        Raises
        ------
        InputError
            Numbers of rows that differ, maps of another size than before, a confidence out of range.
        """
        cells = self._cells(as_units(maps, channels))
        named, weights = torch.as_tensor(classes).cpu(), torch.as_tensor(confidence).double().cpu()
        said = named if predicted is None else torch.as_tensor(predicted).cpu()
        self._refuse(cells, named, weights, said)
        for i in (named == said).nonzero()[:, 0].tolist():
            self._keep(cells[i], int(named[i]), float(weights[i]))
        return self

    def result(self) -> Consistency:
        """What was found so far.

        Raises
        ------
        InputError
            One class alone, or none with two maps of it.
        """
        known = sorted(set(self._classes))
        several = [c for c in known if self._classes.count(c) > 1]
        if len(known) < 2 or not several:
            raise InputError(
                f"the maps are of {len(known)} class(es), {len(several)} with two or more; expected two "
                f"classes: consistency within one says nothing where maps of all classes look alike."
            )
        return Consistency(
            torch.tensor(several),
            torch.tensor([self._classes.count(c) for c in several]),
            self._mean([[(c, c)] for c in several]),
            self._mean([[(min(c, d), max(c, d)) for d in known if d != c] for c in several]),
        )

    def _keep(self, cells: Tensor, named: int, weight: float) -> None:
        for start in range(0, len(self._maps), BLOCK):
            block = torch.stack(self._maps[start : start + BLOCK])
            shared = torch.minimum(block, cells).sum(1).double()
            overlap = (shared / torch.maximum(block, cells).sum(1).double()).tolist()
            for k, iou in enumerate(overlap, start):
                pair = min(named, self._classes[k]), max(named, self._classes[k])
                both = weight * self._weights[k]
                above, below = self._sums.get(pair, (0.0, 0.0))
                if iou == iou:  # two maps without anything above 0 have no overlap to speak of
                    self._sums[pair] = above + both * iou, below + both
        self._maps.append(cells)
        self._classes.append(named)
        self._weights.append(weight)

    def _mean(self, groups: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
        found = []
        for pairs in groups:
            sums = [self._sums.get(p, (0.0, 0.0)) for p in pairs]
            below = sum(s[1] for s in sums)
            found.append(sum(s[0] for s in sums) / below if below else float("nan"))
        return torch.tensor(found, dtype=torch.float64)

    def _cells(self, units: Tensor) -> Tensor:
        if units.ndim == 3:
            size = min(self.side, units.shape[1]), min(self.side, units.shape[2])
            units = functional.adaptive_avg_pool2d(units.clamp(min=0)[:, None], size)[:, 0]
        return _emphasised(units, self.power).flatten(1).float().cpu()

    def _refuse(self, cells: Tensor, named: Tensor, weights: Tensor, said: Tensor) -> None:
        if not len(cells) == len(named) == len(weights) == len(said):
            raise InputError(
                f"{len(cells)} maps, {len(named)} classes, {len(weights)} confidences and {len(said)} "
                f"predictions; expected one of each a row."
            )
        if bool(((weights < 0) | (weights > 1) | weights.isnan()).any()):
            raise InputError("a confidence is outside [0, 1]; expected probabilities.")
        if self._maps and cells.shape[1:] != self._maps[0].shape:
            raise InputError(
                f"these maps have {cells.shape[1]} cells and those before {len(self._maps[0])}; "
                f"expected maps of one size."
            )


def _emphasised(units: Tensor, power: float) -> Tensor:
    if isinstance(power, bool) or not power > 0:
        raise InputError(f"power={power!r}; expected a positive number, such as 2.")
    flat = units.flatten(1).clamp(min=0)
    top = flat.amax(1, keepdim=True)
    return (flat / torch.where(top > 0, top, 1)).pow(power).reshape(units.shape)

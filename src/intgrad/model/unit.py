"""A neuron as target: one number of a layer's output, or the sum of a channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from intgrad._types import whole_number
from intgrad.errors import TargetError
from intgrad.model.bound import Bound
from intgrad.model.scores import entry_of


@dataclass(frozen=True)
class Unit:
    r"""A neuron: one number of a layer's output, explained instead of the model's own.

    .. math:: f(x) = \sum_{k} Y_{j, k}(x)

    With it, integrated gradients are those of the neuron: what in the input made it fire.

    Parameters
    ----------
    layer
        A module, or its dotted name; ``"name#1"`` is the second call of a module that runs twice.
    index
        Where in one row of the layer's output: a whole number, or several. Axes that are not
        named are added up, so ``Unit("layer2", 5)`` is all of channel 5, and
        ``Unit("layer2", (5, 3, 4))`` one place in it.

    Notes
    -----
    A forward goes through the whole model, the backward pass only from the neuron down.

    References
    ----------
    Shrikumar, Su, Kundaje 2018, "Computationally efficient measures of internal neuron importance",
    arXiv:1807.09946.
    """

    layer: Any
    index: int | tuple[int, ...]

    def __call__(self, output: Any, rows: Tensor) -> Tensor:
        """The neuron of every row, of the layer's output (n, ...): (n,)."""
        return self.of(entry_of(output, None)).reshape(len(rows), -1).sum(1)

    def of(self, output: Tensor) -> Tensor:
        """The neuron's part (n, ...) of the layer's output (n, *layer), a view."""
        return output[:, *self._places()]

    def bind(self, scores: Tensor) -> Bound:
        """Check that the layer's output has such a place.

        Raises
        ------
        TargetError
            It has not.
        """
        shape, places = tuple(scores.shape[1:]), self._places()
        fits = all(-size <= i < size for i, size in zip(places, shape, strict=False))
        if not 1 <= len(places) <= len(shape) or not fits:
            raise TargetError(
                f"index={self.index!r} is no place in a row {shape} of the layer's output; expected 1 to "
                f"{len(shape)} whole numbers inside it."
            )
        name = f"unit {', '.join(map(str, places))} of {_name(self.layer)}"
        return Bound(lambda output, rows: output, self, (name,) * len(scores))

    def _places(self) -> tuple[int, ...]:
        several = self.index if isinstance(self.index, tuple) else (self.index,)
        return tuple(whole_number(i, "index") for i in several)


def _name(layer: Any) -> str:
    return layer if isinstance(layer, str) else type(layer).__name__

"""One place at a time, with all others kept: Sequential IG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intgrad.errors import InputError, Unsupported
from intgrad.path.curve import Bank, Curves
from intgrad.path.permutation import Switched, along


@dataclass(frozen=True)
class Sequential:
    """From x with one word masked to x, a curve for each word, which speaks for that word alone.

    The baseline says what takes a word's place: `MaskToken`, zeros. With `Differences` as the rule it
    is occlusion, exactly: the values of a word add up to f(x) - f(x without it) whatever happens
    between. They do not add up to f(x) - f(baseline), and there is no residual.

    Parameters
    ----------
    axis
        Along which the words stand, the row counted as 0: 1 for embeddings (rows, words, width),
        columns of a table (rows, columns), or points of a series (rows, length, channels).

    Notes
    -----
    As many curves a row as words that differ from the baseline, each with the nodes of the rule.

    References
    ----------
    Enguehard 2023, "Sequential Integrated Gradients", doi:10.18653/v1/2023.findings-acl.477.
    """

    axis: int = 1
    monotone: ClassVar[bool] = True
    complete: ClassVar[bool] = False

    def trace(self, oracle: object, curves: Curves) -> Curves:
        """One masked curve for every place at which start and end differ.

        Raises
        ------
        Unsupported
            x is several tensors.
        InputError
            There is no such axis.
        """
        every = torch.arange(len(curves))
        starts, ends = curves.start.take(every), curves.end.take(every)
        if len(ends) != 1:
            raise Unsupported(
                f"Sequential goes through the places of one tensor; x has {len(ends)}. Pass what is "
                f"not explained in given=."
            )
        (start,), (end,) = starts, ends
        moves = self._moves(start, end)
        curve, place = moves.nonzero(as_tuple=True)
        shape, one = tuple(end.shape[1:]), torch.eye(moves.shape[1], dtype=torch.bool)
        label = along(self.axis, shape)
        without = Switched(curves.end.points, every, curves.start, curves.end, ~one, (label,))
        own = [n if i == self.axis - 1 else 1 for i, n in enumerate(shape)]
        mask = one.to(end).reshape(-1, *own).expand(-1, *shape)
        return Curves(
            curves.row[curve],
            without.at(curve * len(one) + place),
            curves.end.at(curves.end.index[curve]),
            curves.weight[curve],
            Bank((mask,), place),
            single=True,
        )

    def _moves(self, start: Tensor, end: Tensor) -> Tensor:
        """Which places (c, places) have a curve; where none moves, the first, which stands still."""
        if not 0 < self.axis < end.ndim:
            raise InputError(
                f"Sequential(axis={self.axis}) on x of shape {tuple(end.shape)}; expected an axis from "
                f"1 to {end.ndim - 1}, along which its words stand."
            )
        differ = (start != end).movedim(self.axis, 1)
        moves = differ.reshape(*differ.shape[:2], -1).any(2).cpu()
        moves[:, 0] |= ~moves.any(1)
        return moves

"""One place at a time, with all others kept: Sequential IG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intgrad.errors import InputError, Unsupported
from intgrad.path.curve import Bank, Curves


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

    def __call__(self, t: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Not asked: its curves are straight lines."""
        raise NotImplementedError("a Sequential path is traced; its curves are straight lines")

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
        (before,), (after,) = starts, ends
        start, end = self._places(before), self._places(after)
        moves = (start != end).any(2)
        moves[:, 0] |= ~moves.any(
            1
        )  # a text that is its own baseline has one curve, which stands still
        curve, place = moves.nonzero(as_tuple=True)
        masked = end[curve]
        masked[torch.arange(len(curve)), place] = start[curve, place]
        shape = (-1, *after.movedim(self.axis, 1).shape[1:])
        masked = masked.reshape(shape).movedim(1, self.axis)
        one = torch.eye(end.shape[1], dtype=end.dtype, device=end.device)[:, :, None]
        mask = one.expand(-1, -1, end.shape[2]).reshape(shape).movedim(1, self.axis)
        curve, place = curve.cpu(), place.cpu()
        return Curves(
            curves.row[curve],
            Bank((masked,), torch.arange(len(curve))),
            curves.end.at(curves.end.index[curve]),
            curves.weight[curve],
            Bank((mask,), place),
            single=True,
        )

    def _places(self, x: Tensor) -> Tensor:
        """(c, places, all else)."""
        if not 0 < self.axis < x.ndim:
            raise InputError(
                f"Sequential(axis={self.axis}) on x of shape {tuple(x.shape)}; expected an axis from 1 "
                f"to {x.ndim - 1}, along which its words stand."
            )
        return x.movedim(self.axis, 1).reshape(len(x), x.shape[self.axis], -1)

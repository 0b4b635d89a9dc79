"""Pixels that are gone, guessed from those around: conjugate gradients with a coarse grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import pad

from intgrad._types import wide

TINY = 1e-30  # for what is over: 0 / 0
MOST = 2000  # steps: a hole 224 pixels wide takes some 40
CLOSE = 1e-5  # residual at which it ends, relative to the known pixels' pull
RIDGE = 1e-6  # above rounding: where next to nothing is known the matrix is hardly definite
CELL = 8  # pixels along a side of what is one number on the coarse grid, at least
CELLS = 28  # along a side, at most: their matrix is dense

Map = Callable[[Tensor], Tensor]


def imputed(x: Tensor, gone: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    r"""Pictures whose gone pixels are the weighted mean of their neighbours.

    Solves :math:`\sum_q w_{pq} (x_p - x_q) = 0` for every gone p, over the neighbours q inside the
    picture: the matrix of the gone pixels is symmetric and positive definite while one pixel stays.

    Parameters
    ----------
    x
        (rows, channels, height, width).
    gone
        (rows, 1, height, width) bool.
    noise
        Added to what was gone.
    """
    light = x.to(wide(x.dtype))
    mask = gone.to(light.dtype)
    degree = _around(torch.ones_like(mask))

    def matrix(v: Tensor) -> Tensor:  # of v that is 0 outside the mask
        return mask * (degree * v - _around(v))

    grid = Grid.of(matrix, mask)
    known = torch.where(gone, 0, light)
    found = _solved(
        matrix, mask * _around(known), lambda rest: mask / degree * rest + mask * grid(rest)
    )
    return torch.where(gone, (known + found).to(x.dtype) + noise, x)


@dataclass(frozen=True)
class Grid:
    """The same system of cells that are each one number: what a wide hole has to be told from afar.

    Attributes
    ----------
    factor
        Cholesky's of the matrix, (rows, cells, cells).
    cell
        Pixels along a side of a cell.
    """

    factor: Tensor
    cell: int

    @staticmethod
    def of(matrix: Map, mask: Tensor) -> Grid:
        """The matrix between cells: of those that are three apart, no two reach the same cell."""
        rows, _, *sides = mask.shape
        cell = max(CELL, -(-max(sides) // CELLS))
        high, broad = (-(-side // cell) for side in sides)
        found = mask.new_zeros(rows, high * broad, high * broad, dtype=torch.float64)
        i, j = torch.meshgrid(torch.arange(high), torch.arange(broad), indexing="ij")
        for a, b in product(range(3), repeat=2):
            asked = ((i % 3 == a) & (j % 3 == b)).to(mask)
            said = _cells(matrix(mask * _pixels(asked[None, None], cell, sides)), cell)[:, 0]
            # the one asked cell that is next to each, or it
            p, q = i - (i - a + 1) % 3 + 1, j - (j - b + 1) % 3 + 1
            near = (p >= 0) & (p < high) & (q >= 0) & (q < broad)
            here, there = (i * broad + j)[near], (p * broad + q)[near]
            found[:, here, there] = said[:, near.to(mask.device)].double()
        own = found.diagonal(dim1=1, dim2=2)
        own += RIDGE * own + (own == 0)
        return Grid(torch.linalg.cholesky(found), cell)

    def __call__(self, rest: Tensor) -> Tensor:
        """What solves the system of cells, on every pixel."""
        cells = _cells(rest, self.cell)
        flat = cells.flatten(2).double().transpose(1, 2)
        solved = torch.cholesky_solve(flat, self.factor).transpose(1, 2).to(rest.dtype)
        return _pixels(solved.reshape(cells.shape), self.cell, rest.shape[2:])


def _cells(v: Tensor, cell: int) -> Tensor:
    """Sums over cells."""
    high, broad = v.shape[-2:]
    v = pad(v, (0, -broad % cell, 0, -high % cell))
    return v.unflatten(-1, (-1, cell)).sum(-1).unflatten(-2, (-1, cell)).sum(-2)


def _pixels(cells: Tensor, cell: int, sides: Sequence[int]) -> Tensor:
    """A cell's number for each of its pixels."""
    broad = cells.repeat_interleave(cell, -1).repeat_interleave(cell, -2)
    return broad[..., : sides[0], : sides[1]]


def _solved(matrix: Map, right: Tensor, near: Map) -> Tensor:
    """Conjugate gradients of every channel by itself, `near` being close to the inverse."""
    dot = lambda a, b: (a * b).sum((2, 3), keepdim=True)  # noqa: E731
    found, rest = torch.zeros_like(right), right
    way = toward = near(rest)
    size = dot(rest, toward)
    enough = CLOSE**2 * size
    for _ in range(MOST):
        if bool((size <= enough).all()):
            break
        bent = matrix(way)
        step = size / dot(way, bent).clamp(min=TINY)
        found, rest = found + step * way, rest - step * bent
        toward = near(rest)
        before, size = size, dot(rest, toward)
        way = toward + size / before.clamp(min=TINY) * way
    return found


def _around(v: Tensor) -> Tensor:
    """The weighted sum of every pixel's neighbours; outside the picture there are none.

    The weights and 1/3 of the pixel itself are the product of (1, 2, 1) along both sides, over 12.
    """
    across = 2 * v
    across[..., 1:] += v[..., :-1]
    across[..., :-1] += v[..., 1:]
    both = 2 * across
    both[..., 1:, :] += across[..., :-1, :]
    both[..., :-1, :] += across[..., 1:, :]
    return both.sub_(v, alpha=4).div_(12)

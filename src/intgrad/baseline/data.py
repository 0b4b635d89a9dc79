"""Baselines that are data: all rows of a set, the nearest, a cohort, or their mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Point, flatten, plain, refuse_nonfinite, whole_number
from intgrad.errors import InputError
from intgrad.path.curve import Bank, Curves, bind


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    r"""Rows of data, such as a training set or 200 of its rows: the mean over all of them.

    .. math:: A_i(x) = \frac{1}{B} \sum_{b=1}^{B} A_i(x; x'_b)

    They are all there is: an error is about the mean over these rows, not over a population. A
    fixed rule in t costs its nodes times B, one that samples (`Lattice`) a few times B.

    Parameters
    ----------
    points
        A tensor, tuple or dict like x, with B rows of its own: (B, ...). Every row of x starts
        from each of them.
    nearest
        Only so many of them, for each row of x those nearest to it in the L2 norm.
    weights
        (B,) how much each counts, as in importance sampling; by default all count alike. Those of a
        row are scaled to sum to 1.
    title
        What a page calls them, such as "healthy".
    """

    points: Any
    keys: tuple[str, ...] = ()
    nearest: int | None = None
    weights: Any = None
    title: str = ""

    def __post_init__(self) -> None:
        points, structure = flatten(self.points, "Dataset")
        for part in points:
            refuse_complex(part, "Dataset")
            if part.ndim == 0 or len(part) != len(points[0]) or not len(part):
                raise InputError(
                    f"Dataset holds tensors of shapes {[tuple(p.shape) for p in points]}; expected "
                    f"(B, ...) with the same number of rows in each, at least one."
                )
            refuse_nonfinite(part, "Dataset")
        object.__setattr__(self, "points", tuple(plain(p) for p in points))
        object.__setattr__(self, "keys", structure.keys or self.keys)
        if self.nearest is not None and whole_number(self.nearest, "nearest", 1) > len(self):
            raise InputError(f"nearest={self.nearest} of a Dataset of {len(self)} rows.")
        if self.weights is not None:
            object.__setattr__(self, "weights", _weights(self.weights, len(self)))

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """B curves a row, from the same starts for every row."""
        for part, own in zip(self.points, x, strict=True):
            if part.shape[1:] != own.shape[1:]:
                expected = ("B", *own.shape[1:])
                missing = " Is the row axis missing?" if part.shape == own.shape[1:] else ""
                raise InputError(
                    f"Dataset has shape {tuple(part.shape)}; expected ({', '.join(map(str, expected))}) "
                    f"to match x.{missing}"
                )
        points = tuple(b.to(p.device, p.dtype) for b, p in zip(self.points, x, strict=True))
        curves = bind(points, x) if self.nearest is None else self._near(points, x, self.nearest)
        if self.weights is None:
            return curves
        weight = self.weights[curves.start.index]
        mass = torch.zeros(len(rows), dtype=torch.float64).index_add(0, curves.row, weight)
        return replace(curves, weight=weight / mass[curves.row])

    def _near(self, points: Point, x: Point, k: int) -> Curves:
        """Curves from the k points nearest to each row, one row after the other."""
        index = torch.cat([_nearest(points, tuple(p[i] for p in x), k) for i in range(len(x[0]))])
        row = torch.arange(len(x[0])).repeat_interleave(k)
        weight = torch.full((len(row),), 1.0 / k, dtype=torch.float64)
        return Curves(row, Bank(points, index), Bank(x, row), weight)

    def where(self, member: Any, title: str = "") -> Dataset:
        """Only the rows for which `member` (B,) is true, as a cohort: ``where(labels == 0, "healthy")``.

        Raises
        ------
        InputError
            `member` is not one bool a row, or true of none.
        """
        chosen = torch.as_tensor(member)
        if chosen.dtype != torch.bool or tuple(chosen.shape) != (len(self),):
            raise InputError(
                f"a cohort of {len(self)} rows by {tuple(chosen.shape)} {chosen.dtype}; expected one bool "
                f"for each row, such as labels == 0."
            )
        if not bool(chosen.any()):
            raise InputError("a cohort of no rows; expected at least one that is true.")
        own = tuple(p[chosen.to(p.device)] for p in self.points)
        weights = None if self.weights is None else self.weights[chosen.cpu()]
        return replace(self, points=own, weights=weights, title=title or self.title)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.points[0])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Dataset) or hash(self) != hash(other):
            return False
        own, others = ([*d.points, *_given(d.weights)] for d in (self, other))
        return all(torch.equal(a, b) for a, b in zip(own, others, strict=True))

    def __hash__(self) -> int:
        shapes = tuple((tuple(p.shape), p.dtype) for p in self.points)
        return hash((self.keys, shapes, self.nearest, self.weights is None, self.title))

    def __repr__(self) -> str:
        return f"Dataset({self.name})"

    @property
    def name(self) -> str:
        """What a page says of it."""
        near = "" if self.nearest is None else f", the {self.nearest} nearest"
        return f"{len(self)} {self.title} rows".replace("  ", " ") + near

    @property
    def tokens(self) -> bool:
        """Whether the rows are token ids."""
        return not self.points[0].is_floating_point()


@dataclass(frozen=True, eq=False, repr=False)
class Mean:
    """The mean row of a set of data: one point, which may lie where no data are.

    Parameters
    ----------
    points
        (B, ...) rows like x: a tensor, or a tuple or dict of them.
    """

    points: Any
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = Dataset(self.points, self.keys)
        if rows.tokens:
            raise InputError("the mean of token ids is no token; expected real numbers.")
        object.__setattr__(self, "points", rows.points)
        object.__setattr__(self, "keys", rows.keys)

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row."""
        return Dataset(tuple(p.mean(0, keepdim=True) for p in self.points))(x, rows, seed)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mean) and Dataset(self.points) == Dataset(other.points)

    def __hash__(self) -> int:
        return hash((self.keys, tuple((tuple(p.shape), p.dtype) for p in self.points)))

    def __repr__(self) -> str:
        return f"Mean({self.name})"

    @property
    def name(self) -> str:
        """What a page says of it."""
        return f"of {len(self.points[0])} rows"


def _nearest(points: Point, one: Point, k: int) -> Tensor:
    """The k points nearest to one row, nearest first, the earlier where two are as near."""
    gaps = zip(points, one, strict=True)
    far = torch.stack([(p - o).double().flatten(1).square().sum(1) for p, o in gaps]).sum(0)
    return far.cpu().argsort(stable=True)[:k]


def _weights(weights: Any, rows: int) -> Tensor:
    found = torch.as_tensor(weights).detach().cpu().to(torch.float64)
    usable = tuple(found.shape) == (rows,) and bool((found >= 0).all()) and bool(found.sum() > 0)
    if not usable or not bool(torch.isfinite(found).all()):
        raise InputError(
            f"weights of a Dataset of {rows} rows have shape {tuple(found.shape)}; expected ({rows},) "
            f"finite numbers, none below 0, not all 0."
        )
    return found


def _given(weights: Tensor | None) -> list[Tensor]:
    return [] if weights is None else [weights]


def refuse_complex(part: Tensor, name: str) -> None:
    """Attributions are real."""
    if part.is_complex():
        raise InputError(f"{name} is {part.dtype}; attribution needs real numbers.")

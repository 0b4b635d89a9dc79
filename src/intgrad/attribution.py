"""`Attribution`: the result, and the certificate that comes with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from intgrad import storage
from intgrad._types import Point, Structure, Tree, flatten
from intgrad.errors import InputError
from intgrad.headline import headline
from intgrad.quadrature.rule import judge
from intgrad.quadrature.tolerance import tolerance
from intgrad.recipe import Recipe
from intgrad.subject import Subject


@dataclass(frozen=True)
class Run:
    """The circumstances of a call: what else decides its bytes, and what was chosen for it."""

    rule: str
    rtol: float
    at: str
    dtype: str
    device: str
    width: int
    seed: int
    threads: int
    checks: int
    versions: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each feature contributed to the target, and how sure that is.

    Attributes
    ----------
    values
        Shaped like x (tensor, tuple or dict), or like the location's output; float32 at least.
        With several targets, a leading target axis.
    output, baseline_output
        f(x) and f(baseline), averaged over a row's baselines: (rows,), or (targets, rows).
    residual
        Sum of values - (f(x) - f(baseline)); None where completeness does not apply. It is no
        error bar: it can be 0 while every feature is wrong. It does bound the error from below, but
        for rules that correct themselves by completeness (`Lattice`): there it says nothing.
    error
        Estimated relative L1 error of the values: the sum of `error_map`, or |residual| if that
        is larger, over the sum of |values|. NaN: the rule cannot tell.
    error_map
        Estimated absolute error of each value; groups add theirs. None where nothing is
        approximated.
    floor
        What rounding does to this row in this dtype, relative like `error`.
    forwards, backwards, evaluations
        Rows sent through the model; evaluations = backwards + 0.45 x forwards without one.
    converged
        error <= tolerance, or the absolute error <= 1e-6 max(|f(x)|, |f(baseline)|).
    targets
        What was explained: one name a row, or one a target.
    rules
        Which quadrature answered each row, and why.
    recipe, run
        How; and under what circumstances.
    subjects
        What the rows are, where a front knows: pictures or sentences.
    members
        The answers this one was put together from: one a baseline, or one a stretch of scales.
    """

    values: Any
    output: Tensor
    baseline_output: Tensor
    residual: Tensor | None
    error: Tensor
    error_map: Any
    floor: Tensor
    forwards: Tensor
    backwards: Tensor
    evaluations: Tensor
    converged: Tensor
    targets: tuple[str, ...]
    rules: tuple[str, ...]
    recipe: Recipe
    run: Run
    subjects: tuple[Subject, ...] = ()
    several: bool = field(default=False, repr=False)
    members: tuple[Attribution, ...] = ()

    def __len__(self) -> int:
        """How many rows were explained."""
        return self.output.shape[-1]

    @property
    def tolerance(self) -> Tensor:
        """What `error` is held to: the rule's rtol, and in half types at least the floor."""
        return tolerance(self.run.rtol, self.floor, self.run.dtype)

    @property
    def spread(self) -> Tree | None:
        """Standard deviation of the values over several baselines; None where there was one."""
        if not self.members or self.recipe.path_legs:
            return None
        points = [flatten(m.values, "values") for m in self.members]
        parts = zip(*(p for p, _ in points), strict=True)
        return points[0][1].close(tuple(torch.stack(p).std(0, correction=0) for p in parts))

    def by_scale(self) -> dict[tuple[float, float], Attribution]:
        """What each stretch of scales contributed: {(coarser sigma, finer sigma): attribution}."""
        if not self.recipe.path_legs:
            raise InputError(
                "this attribution was not asked by scale; name some: path=ig.ScaleSpace(50, "
                "scales=(16, 4, 1))."
            )
        return dict(zip(pairwise(self.recipe.path.edges), self.members, strict=True))

    # ------------------------------------------------------------------ reading it

    def sum(self, dim: int | Sequence[int]) -> Attribution:
        """Add the values over feature axes; completeness stays, errors add.

        Parameters
        ----------
        dim
            Axes of `values`, not the rows' (nor the targets').
        """
        dims = (dim,) if isinstance(dim, int) else tuple(dim)
        if not dims:  # torch would add up everything, rows too
            return self
        return self._map(lambda p: p.sum(self._feature_axes(p, dims)))

    def group(self, labels: object) -> Attribution:
        """Add the values by group; completeness stays, errors add.

        Parameters
        ----------
        labels
            For each feature, its group: whole numbers from 0, shaped like one row of the values
            (one tensor for each of x's). Values become (rows, groups).
        """
        marks, given = flatten(labels, "labels")
        point, structure = flatten(self.values, "values")
        if len(marks) != len(point) or set(given.keys) != set(structure.keys):
            raise InputError(
                f"labels are a {given.kind} of {len(marks)}; expected a {structure.kind} of "
                f"{len(point)} like the values, a group for every feature."
            )
        if given.keys:
            marks = tuple(marks[given.keys.index(key)] for key in structure.keys)
        size = 1 + max(int(m.max()) for m in marks)
        lead = 2 if self.several else 1
        for part, mark in zip(point, marks, strict=True):
            self._refuse_labels(mark, part.shape[lead:])

        def gather(parts: Point) -> Point:
            grouped = sum(_grouped(p, m, size, lead) for p, m in zip(parts, marks, strict=True))
            return (grouped,)  # type: ignore[return-value]

        return self._recertify(gather, Structure("tensor"))

    def select(self, rows: int | slice | Sequence[int] | Tensor) -> Attribution:
        """The attribution of some rows, with their certificates."""
        index = torch.arange(len(self))[rows].reshape(-1)
        axis = 1 if self.several else 0
        take = lambda p: p.index_select(axis, index.to(p.device))  # noqa: E731
        last = lambda p: p[..., index.to(p.device)]  # noqa: E731
        kept = {
            name: last(getattr(self, name))
            for name in ROW_FIELDS
            if getattr(self, name) is not None
        }
        return replace(
            self,
            values=_apply(take, self.values),
            error_map=None if self.error_map is None else _apply(take, self.error_map),
            subjects=tuple(self.subjects[i] for i in index.tolist()) if self.subjects else (),
            rules=tuple(self.rules[i] for i in index.tolist()),
            targets=self.targets
            if self.several
            else tuple(self.targets[i] for i in index.tolist()),
            members=tuple(m.select(index) for m in self.members),
            **kept,
        )

    def target(self, k: int) -> Attribution:
        """One of several targets, as an attribution of its own."""
        if not self.several:
            raise InputError("this attribution explains a single target; it has no target axis.")
        names = CERTIFICATE_FIELDS
        one = {n: getattr(self, n)[k] for n in names if getattr(self, n) is not None}
        pick = lambda p: p[k]  # noqa: E731
        return replace(
            self,
            values=_apply(pick, self.values),
            error_map=None if self.error_map is None else _apply(pick, self.error_map),
            targets=(self.targets[k],) * len(self),
            several=False,
            members=tuple(m.target(k) for m in self.members),
            **one,
        )

    # ------------------------------------------------------------------ keeping and showing it

    def save(self, path: str | PathLike[str]) -> None:
        """Write values, error map and certificate to one safetensors file."""
        storage.save([self], path)

    @staticmethod
    def load(path: str | PathLike[str]) -> Attribution:
        """Read what `save` wrote; nothing in the file is executed."""
        found = load_all(path)
        if len(found) != 1:
            raise InputError(f"{path} holds {len(found)} attributions; use intgrad.load_all.")
        return found[0]

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """A self-contained page: values drawn, the certificate under each, recipe and versions."""
        from intgrad.report import page  # the result's own face; the floors allow this one look up

        return page([self], path)

    def plot(self, row: int = 0) -> Any:
        """One row as a matplotlib figure."""
        from intgrad.report.figure import plot

        return plot(self, row)

    def __repr__(self) -> str:
        return headline(self)

    def _repr_html_(self) -> str:
        from intgrad.report import fragment

        return fragment([self])

    # ------------------------------------------------------------------ changing shape, keeping truth

    def _map(self, change: Callable[[Tensor], Tensor]) -> Attribution:
        _, structure = flatten(self.values, "values")
        return self._recertify(lambda point: tuple(change(p) for p in point), structure)

    def _recertify(self, change: Callable[[Point], Point], structure: Structure) -> Attribution:
        values = change(flatten(self.values, "values")[0])
        wrong = None
        if self.error_map is not None:
            wrong = structure.close(change(flatten(self.error_map, "error_map")[0]))
        own = self.carried(structure.close(values), wrong)
        return replace(own, members=tuple(m._recertify(change, structure) for m in self.members))

    def carried(self, values: Tree, error_map: Tree | None) -> Attribution:
        """The same answer on other features, with error and convergence drawn up anew.

        Parameters
        ----------
        values, error_map
            What each new feature got, summing to what the old ones did, and its absolute error.
        """
        lift = (lambda t: t) if self.several else (lambda t: t[None])
        drop = (lambda t: t) if self.several else (lambda t: t[0])
        point = tuple(lift(v.detach()) for v in flatten(values, "values")[0])
        wrong = None if error_map is None else flatten(error_map, "error_map")[0]
        error, converged = judge(
            point,
            None if wrong is None else tuple(lift(w) for w in wrong),
            None if self.residual is None else lift(self.residual.to(point[0].device)),
            lift(torch.maximum(self.output.abs(), self.baseline_output.abs())),
            lift(self.tolerance).to(point[0].device),
        )
        return replace(
            self,
            values=values,
            error_map=error_map,
            error=drop(error).cpu(),
            converged=drop(converged).cpu(),
            members=(),
        )

    def _feature_axes(self, part: Tensor, dims: tuple[int, ...]) -> tuple[int, ...]:
        lead = 2 if self.several else 1
        axes = tuple(d % part.ndim if -part.ndim <= d < part.ndim else -1 for d in dims)
        if any(a < lead for a in axes):
            raise InputError(
                f"dim={dims} of values {tuple(part.shape)}: only feature axes, {lead} to "
                f"{part.ndim - 1}, can be added up; rows are explained one by one."
            )
        return axes

    def _refuse_labels(self, mark: Tensor, shape: torch.Size) -> None:
        whole = not mark.is_floating_point() and mark.dtype != torch.bool
        if mark.shape != shape or not whole or int(mark.min()) < 0:
            raise InputError(
                f"labels are {tuple(mark.shape)} {mark.dtype}; expected {tuple(shape)} whole numbers "
                f"from 0, a group for every feature."
            )


CERTIFICATE_FIELDS = ("output", "baseline_output", "residual", "error", "floor", "converged")
ROW_FIELDS = (*CERTIFICATE_FIELDS, "forwards", "backwards", "evaluations")


def save_all(attributions: Sequence[Attribution], path: str | PathLike[str]) -> None:
    """Write several attributions to one safetensors file."""
    storage.save(attributions, path)


def load_all(path: str | PathLike[str]) -> list[Attribution]:
    """Read every attribution of a file; nothing in it is executed."""
    return storage.load(path, Attribution, Run)


def _apply(change: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    point, structure = flatten(tree, "values")
    return structure.close(tuple(change(p) for p in point))


def _grouped(part: Tensor, mark: Tensor, size: int, lead: int) -> Tensor:
    flat = part.reshape(*part.shape[:lead], -1)
    out = flat.new_zeros(*part.shape[:lead], size)
    return out.index_add(lead, mark.reshape(-1).to(part.device), flat)

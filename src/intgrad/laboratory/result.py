"""`BaselineReport`: one prediction explained from several baselines, and what does not depend on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Tree, flatten
from intgrad.attribution import Attribution
from intgrad.audit import metrics
from intgrad.ensemble import combine
from intgrad.laboratory.consensus import Consensus, consensus, pairwise
from intgrad.laboratory.standing import Standing
from intgrad.laboratory.table import summary
from intgrad.naming import index_name
from intgrad.recipe import describe
from intgrad.subject import Sentence

LISTED = 1000  # units of a row that `describe` names, where they survive


@dataclass(frozen=True, eq=False)
class BaselineReport:
    """The same rows explained from several baselines, and how far the answers agree.

    Attributes
    ----------
    names
        The baselines, as one would write them.
    members
        What `attribute` answered under each of them.
    standings
        What the model itself says at each of them; None where its output is no scores of classes.
    units
        The members with their values grouped: what is compared.
    consensus
        How far they agree, row by row, and which conclusions are the same under all.
    labels
        The names of the classes, where a front knows them.
    pictures
        The baselines of a picture as pictures (height, width, 3) uint8, where a front knows them: of
        several draws the first.
    """

    names: tuple[str, ...]
    members: tuple[Attribution, ...]
    standings: tuple[Standing | None, ...]
    units: tuple[Attribution, ...]
    consensus: Consensus
    labels: tuple[str, ...] = ()
    pictures: tuple[Tensor, ...] = ()

    @staticmethod
    def of(
        names: Sequence[str],
        members: Sequence[Attribution],
        standings: Sequence[Standing | None],
        group: Callable[[Attribution], Attribution],
        k: int | None = None,
        **shown: Any,
    ) -> BaselineReport:
        """Compare answers that differ in their baseline alone, once `group` has gathered their values."""
        units = tuple(group(a) for a in members)
        maps = torch.stack([_flat(u.values) for u in units])
        known = [u.error_map for u in units]
        wrong = [torch.zeros_like(maps[0]) if e is None else _flat(e) for e in known]
        found = consensus(maps, torch.stack(wrong), k)
        return BaselineReport(tuple(names), tuple(members), tuple(standings), units, found, **shown)

    def __len__(self) -> int:
        """How many rows were explained."""
        return len(self.members[0])

    @property
    def mean(self) -> Attribution:
        """The mean over the baselines, all alike; its `spread` is their standard deviation."""
        return combined(self.members)

    @property
    def survivors(self) -> Tree:
        """Shaped like the grouped values: whether a sign is the same and certain under every baseline."""
        return self._shaped(self.consensus.survivors)

    @property
    def common(self) -> Tree:
        """Shaped like the grouped values: whether it is among the k largest under every baseline."""
        return self._shaped(self.consensus.common)

    def kendall(self) -> Tensor:
        """Kendall's rank correlation of every two baselines, (rows, B, B); NaN where a map is constant.

        Not among the rest because it takes O(n log² n) for n units.
        """
        return pairwise(torch.stack([_flat(u.values) for u in self.units]), metrics.kendall)

    def unit_names(self, row: int = 0) -> tuple[str, ...]:
        """What the units of a row are called: words, or the indices of their values."""
        point, structure = flatten(self.units[0].values, "values")
        subject = self.units[0].subjects[row] if self.units[0].subjects else None
        size = self.consensus.survivors.shape[1]
        for said in (subject.words, subject.tokens) if isinstance(subject, Sentence) else ():
            if len(said) == size:
                return said
        names = [name[1:] for name in structure.names(len(point))]
        return tuple(index_name(i, point, names) for i in range(size))

    # ------------------------------------------------------------------ keeping and showing it

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """A self-contained page: baselines, agreement, and each row under every baseline."""
        from intgrad.report.baselines import page

        return page([self], path)

    def plot(self, row: int = 0) -> Any:
        """One row under every baseline, side by side, and how far they agree: a matplotlib figure."""
        from intgrad.report.baselines_figure import plot

        return plot(self, row)

    def describe(self) -> dict[str, Any]:
        """All numbers but the maps as plain data, fit for JSON; what is not defined is None.

        Survivors are named where a row has at most 1,000 units.
        """
        c = self.consensus
        pairs = {n: plain(getattr(c, n)) for n in ("spearman", "signs", "certain_signs", "largest")}
        shares = {n: plain(getattr(c, n)) for n in ("certain", "mass")}
        return {
            "inputs": [s.name for s in self.members[0].subjects] or list(range(len(self))),
            "targets": list(self.members[0].targets),
            "f(x)": plain(self.members[0].output),
            "baselines": [self._baseline(b) for b in range(len(self.names))],
            "k": c.k,
            **pairs,
            **shares,
            "survivors": [self._survivors(row) for row in range(len(self))],
        }

    def __repr__(self) -> str:
        return summary([self])

    def _baseline(self, b: int) -> dict[str, Any]:
        a, said = self.members[b], self.standings[b]
        numbers = ("baseline_output", "residual", "error", "evaluations", "converged")
        found = {} if said is None else {n: plain(v) for n, v in vars(said).items()}
        return {
            "name": self.names[b],
            "baseline": describe(a.recipe.baseline),
            **found,
            **{n: plain(getattr(a, n)) for n in numbers},
        }

    def _survivors(self, row: int) -> dict[str, Any]:
        mask = self.consensus.survivors[row]
        found: dict[str, Any] = {
            "count": int(mask.sum()),
            "of": int(self.consensus.live[row].sum()),
        }
        if len(mask) <= LISTED:
            named = zip(self.unit_names(row), mask.tolist(), strict=True)
            found["units"] = [name for name, kept in named if kept]
        return found

    def _shaped(self, flat: Tensor) -> Tree:
        point, structure = flatten(self.units[0].values, "values")
        parts = flat.split([p[0].numel() for p in point], 1)
        return structure.close(tuple(f.reshape(p.shape) for f, p in zip(parts, point, strict=True)))


def combined(members: Sequence[Attribution]) -> Attribution:
    """The mean of answers under several baselines, which stay its members."""
    recipe = members[0].recipe.but(baseline=tuple(a.recipe.baseline for a in members))
    return combine(members, 1 / len(members), recipe, len(members))


def plain(numbers: Tensor | None) -> Any:
    """Nested lists, None for what is not a number."""
    return None if numbers is None else _plain(numbers.tolist())


def _plain(found: Any) -> Any:
    if isinstance(found, list):
        return [_plain(f) for f in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


def _flat(tree: object) -> Tensor:
    """Values of any structure as (rows, units), in float64 on the CPU."""
    parts = flatten(tree, "values")[0]
    return torch.cat([p.detach().double().cpu().flatten(1) for p in parts], 1)

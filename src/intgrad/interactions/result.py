"""`Interactions`: which features matter together, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from intgrad.errors import InputError
from intgrad.headline import percent, spread


@dataclass(frozen=True, eq=False)
class Interactions:
    """How much each pair of groups contributed to the target, and how sure that is.

    Attributes
    ----------
    values
        (rows, k, g) in float64: of each of the groups in `of`, its interactions with all g groups.
        With all groups asked for, symmetric matrices (rows, g, g); each row of one sums to the
        group's integrated gradient, and all of it to f(x) - f(baseline).
    error_map
        Estimated absolute error of each value.
    attribution
        (rows, g): integrated gradients of the groups, from gradients at nodes of their own.
    residual
        (rows,): sum of the values - (f(x) - f(baseline)); None where not all groups were asked for.
    row_residual
        (rows, k): sum over the second group - `attribution`.
    error
        (rows,): estimated relative L1 error: the sum of `error_map`, or of |row_residual|, or
        |residual|, whichever is largest, over the sum of |values|.
    output, baseline_output
        (rows,): f(x), and f(baseline) averaged over the row's baselines.
    of
        (k,): the groups asked for.
    forwards, backwards, evaluations
        Rows sent through the model, as in `Attribution`; a Hessian-vector product counts as two
        backwards.
    products
        (rows,): Hessian-vector products.
    converged
        error <= rtol, or the absolute error <= 1e-6 max(|f(x)|, |f(baseline)|).
    rules
        How each row was integrated.
    """

    values: Tensor
    error_map: Tensor
    attribution: Tensor
    residual: Tensor | None
    row_residual: Tensor
    error: Tensor
    output: Tensor
    baseline_output: Tensor
    of: Tensor
    forwards: Tensor
    backwards: Tensor
    evaluations: Tensor
    products: Tensor
    converged: Tensor
    rtol: float
    at: str
    dtype: str
    targets: tuple[str, ...]
    rules: tuple[str, ...]

    def __len__(self) -> int:
        """How many rows were explained."""
        return len(self.output)

    def pairs(self, row: int = 0, top: int | None = None) -> list[tuple[int, int, float, float]]:
        """Pairs of different groups (i, j, value, error), the strongest first.

        A value is what both orders hold, 2 Gamma_ij, so that pairs and diagonal add up to the whole.
        """
        self.refuse_row(row)
        found: dict[tuple[int, int], tuple[float, float]] = {}
        for place, i in enumerate(self.of.tolist()):
            both = zip(
                self.values[row, place].tolist(), self.error_map[row, place].tolist(), strict=True
            )
            for j, (value, error) in enumerate(both):
                if j != i:
                    found.setdefault((min(i, j), max(i, j)), (2 * value, 2 * error))
        ranked = sorted(found.items(), key=lambda pair: -abs(pair[1][0]))
        return [(i, j, value, error) for (i, j), (value, error) in ranked[:top]]

    def plot(self, row: int = 0, top: int = 10, names: Sequence[str] | None = None) -> Any:
        """The matrix of one row, its strongest pairs as bars and as a network: a matplotlib figure.

        `names` are those of all groups; their numbers by default.
        """
        from intgrad.report.pairs import plot  # the result's own face

        return plot(self, row, top, names)

    def refuse_row(self, row: int) -> None:
        """There must be such a row."""
        if not -len(self) <= row < len(self):
            raise InputError(
                f"row={row}; expected 0 to {len(self) - 1}, as there are {len(self)} rows."
            )

    def __repr__(self) -> str:
        rows = "1 row" if len(self) == 1 else f"{len(self)} rows"
        k, g = self.values.shape[1:]
        named = list(dict.fromkeys(self.targets))
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        missed = int((~self.converged).sum())
        verdict = f"within the tolerance of {self.rtol:.2g}"
        if missed:
            verdict = (
                f"NOT CONVERGED: {missed} of {len(self)} above the tolerance of {self.rtol:.2g}"
            )
        gap = self.row_residual.abs().max() if self.residual is None else self.residual.abs().max()
        return "\n".join(
            [
                f"Interactions of {rows}: {k} x {g} groups, at {self.at}, {self.dtype}",
                f"target: {', '.join(named[:3])}{more}; f(x) {spread(self.output)}, f(baseline) "
                f"{spread(self.baseline_output)}",
                f"error: {percent(self.error)} of the values' L1 norm, {verdict}; residual "
                f"{float(gap):.1e} at most",
                f"cost: {spread(self.evaluations)} gradient evaluations a row, {spread(self.products)} "
                f"of its Hessian-vector products; {self.rules[0]}",
            ]
        )

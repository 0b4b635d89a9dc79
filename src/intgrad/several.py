"""`Layers`: the answers of several layers by name, and the table that says how each adds up."""

from __future__ import annotations

from os import PathLike

from intgrad._types import each_target, flatten, total
from intgrad.attribution import Attribution
from intgrad.headline import percent, spread, targets

HEAD = ("layer", "shape", "sum", "residual", "error", "")


class Layers(dict[str, Attribution]):
    """{name of the layer: its attribution}; printed, a line a layer.

    Each layer has a completeness of its own: its values add up to f(x) - f(baseline) where the layer is a
    cut. Of several rows the sums are shown as a range, the residual and the error are the worst row's.
    """

    def __repr__(self) -> str:
        if not self:
            return "Layers of nothing"
        table = [HEAD, *(_line(name, a) for name, a in self.items())]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join([_title(self), *(_row(cells, widths) for cells in table)])

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """A self-contained page with all layers, the certificate of each under it."""
        from intgrad.report import page  # their own face, as `Attribution.to_html`

        return page(list(self.values()), path)


def _title(layers: Layers) -> str:
    """How many, of what: they share rows, targets and ends of the path."""
    a = next(iter(layers.values()))
    rows = "1 row" if len(a) == 1 else f"{len(a)} rows"
    gain = spread((a.output - a.baseline_output).double())
    return (
        f"{a.recipe.name} of {len(layers)} layers, {rows}, target {targets(a)}: "
        f"f(x) - f(baseline) {gain}"
    )


def _line(name: str, a: Attribution) -> tuple[str, ...]:
    """One layer: the shape of a row of its values, their sum, what it is off by, the error, a remark."""
    point, _ = flatten(a.values, "values")
    lead = 2 if a.several else 1
    shape = " ".join("x".join(map(str, part.shape[lead:])) for part in point)
    sums = each_target(tuple(p if a.several else p[None] for p in point), total).cpu()
    gap = "-" if a.residual is None else f"{float(a.residual.abs().max()):.1e}"
    missed = int((~a.converged).sum())
    remarks = [f"NOT CONVERGED: {missed} of {a.converged.numel()}"] if missed else []
    if any("is no cut" in note for note in a.run.notes):
        gain = (a.output - a.baseline_output).double().reshape(sums.shape).cpu()
        beside = ((sums - gain) / gain.abs().clamp(min=1e-300)).abs().max()
        remarks.append(f"no cut: up to {float(beside):.2g} of it passes beside")
    return name, shape, spread(sums), gap, percent(a.error), "; ".join(remarks)


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    name, *numbers, remark = cells
    right = "  ".join(c.rjust(w) for c, w in zip(numbers, widths[1:], strict=False))
    return f"{name.ljust(widths[0])}  {right}  {remark}".rstrip()

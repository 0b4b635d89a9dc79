"""The curves as a picture: true error against evaluations, net by net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .equal import Curve, curves
from .tables import Points, name

STYLE: dict[str, tuple[str, str]] = {
    "Captum Gauss-Legendre": ("#000000", "-"),
    "Captum trapezoid": ("#888888", "-"),
    "Captum midpoint": ("#bbbbbb", "-"),
    "Gauss-Legendre": ("#0072b2", ":"),
    "midpoint": ("#56b4e9", ":"),
    "panels": ("#d55e00", "-"),
    "panels, self-stopping": ("#d55e00", "--"),
    "adaptive": ("#009e73", "--"),
    "automatic": ("#cc79a7", "--"),
}


def draw(points: Points, heads: tuple[str, ...], where: Path) -> None:
    """One panel a net and target; PNG and SVG."""
    found = [(net, head, c) for (net, head), c in curves(points) if head in heads]
    if not found:
        print("Nothing is measured yet.")
        return
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(4 * columns, 3.2 * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    lines: dict[str, Any] = {}
    for axis, (net, head, c) in zip(axes, found, strict=False):
        panel(axis, f"{name(net)}, {head}", c)
        handles, labels = axis.get_legend_handles_labels()
        lines.update(zip(labels, handles, strict=True))
    for axis in axes[len(found) :]:
        axis.set_visible(False)
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=5)
    figure.savefig(where.with_suffix(".png"), dpi=75)
    figure.savefig(where.with_suffix(".svg"), metadata={"Date": None})
    print(where.with_suffix(".png"))


def panel(axis: Any, title: str, found: dict[str, Curve]) -> None:
    """One net: every rule that has a style, down to what the reference tells."""
    for rule, curve in found.items():
        if rule in STYLE:
            colour, dash = STYLE[rule]
            axis.loglog(curve.evaluations, curve.error, dash, color=colour, label=rule, lw=1.4)
    axis.set_title(title, fontsize=9)
    resolution = max(c.resolution for c in found.values())
    axis.axhspan(1e-20, resolution, color="0.93", zorder=0)
    for level in (1e-2, 1e-3):
        axis.axhline(level, color="0.8", lw=0.7, zorder=0)
    axis.set_ylim(max(1e-8, resolution / 10), 2)
    axis.set_xlim(3, 1500)
    axis.set_xlabel("evaluations", fontsize=8)
    axis.set_ylabel("true error", fontsize=8)

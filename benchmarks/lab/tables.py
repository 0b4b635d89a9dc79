"""What was measured, as Markdown tables of ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from statistics import median, quantiles
from typing import Any

from . import store
from .curves import Key, Point, mean
from .equal import GAUSS, Curve, Need, curves, order, slope
from .page import table
from .zoo import ZOO

Points = dict[Key, dict[str, Point]]
TRAPEZOID = "Captum trapezoid"
SMOOTH = {*(n for n, k in ZOO.items() if not k.kinked), "trec_bert", "stories260k"}
THEIRS = ("Captum", "GL doubling")


def everything(points: Points) -> None:
    """All tables that these measurements fill."""
    rules = dict.fromkeys(k[2] for k in points)
    for rule in [r for r in rules if not r.startswith(THEIRS)]:
        equal(points, rule)
    errors(points)
    against_trapezoid(points)
    smooth_logits(points)
    orders(points)
    estimates(points)
    stopped(points)
    costs(points)
    floors({key[0] for key in points})


# ------------------------------------------------------------------------------ equal true error


def equal(points: Points, rule: str) -> None:
    """Evaluations of one rule beside Captum's Gauss-Legendre, at equal mean error."""
    title = (
        f"**{rule}** beside Captum's Gauss-Legendre (GL): evaluations at equal mean true error, and "
        f"how many times fewer (in brackets: without f(x), f(baseline) and the floor). * is "
        f"extrapolated by 1/n; – is below what the reference or Captum's float32 weights tell."
    )
    lines = [
        (name(net), head, c[GAUSS].rows, f"{gauss_at(c[GAUSS], 50):.1e}", *sides(c[GAUSS], c[rule]))
        for (net, head), c in curves(points)
        if rule in c
    ]
    columns = ("net", "target", "rows", "error of GL-50", "evaluations to it", "to 1 %: GL / ours",
               "to 0.1 %: GL / ours")  # fmt: skip
    table(title, columns, lines)


def sides(gauss: Curve, mine: Curve) -> Sequence[str]:
    """What is needed for the error of GL-50, for 1 % and for 0.1 %."""
    fifty = versus(Need(50), mine, gauss_at(gauss, 50)).removeprefix("50 / ")
    return (fifty, *(versus(gauss.at(e), mine, e) for e in (1e-2, 1e-3)))


def versus(theirs: Need | None, mine: Curve, level: float) -> str:
    """Their evaluations, ours, and the two ratios."""
    ours, alone = mine.at(level), mine.at(level, mine.alone)
    if theirs is None or ours is None or alone is None:
        return "–"
    ratios = f"{theirs.number / ours.number:.2g}× ({theirs.number / alone.number:.2g}×)"
    return f"{theirs} / {ours}, {ratios}"


def gauss_at(curve: Curve, nodes: int) -> float:
    """The mean error of a fixed rule at so many nodes."""
    return curve.error[curve.sizes.index(nodes)]


def name(net: str) -> str:
    """A net, marked where its gradients are smooth."""
    return f"{net} (smooth)" if net in SMOOTH else net


def errors(points: Points) -> None:
    """Mean error of the fixed rules at a few sizes."""
    sizes = (10, 50, 200)
    lines = [
        (name(net), head, rule, *(_error_at(c, n) for n in sizes))
        for (net, head), found in curves(points)
        for rule, c in found.items()
        if any(n in c.sizes for n in sizes)
    ]
    columns = ("net", "target", "rule", *(f"n = {n}" for n in sizes))
    table("Mean true error of fixed rules, relative L1", columns, lines)


def _error_at(curve: Curve, n: int) -> str:
    return f"{gauss_at(curve, n):.1e}" if n in curve.sizes else ""


def against_trapezoid(points: Points) -> None:
    """Any net at 1 %: Captum's trapezoid rule beside ours."""
    lines = []
    for (net, head), found in curves(points):
        theirs = found[TRAPEZOID].at(1e-2) if TRAPEZOID in found else None
        mine = {r: c.at(1e-2) for r, c in found.items() if not r.startswith(THEIRS)}
        if theirs is not None:
            shown = [f"{r} {n} ({theirs.number / n.number:.2g}×)" for r, n in mine.items() if n]
            lines.append((name(net), head, theirs, "; ".join(shown)))
    columns = ("net", "target", "Captum trapezoid", "ours, and how many times fewer")
    table("Evaluations to 1 % on any net, beside Captum's `riemann_trapezoid`", columns, lines)


def smooth_logits(points: Points) -> None:
    """Smooth nets, 1 %: rules that stop by themselves beside the default of 50 nodes."""
    lines = []
    for (net, head, rule, size), cell in sorted(points.items(), key=lambda p: order(p[0][0])):
        if net in SMOOTH and size == 1e-2:
            spent = mean(cell, list(cell)).evaluations
            worst = max(p.error for p in cell.values())
            shown = (f"{spent:.1f}", f"{50 / spent:.2g}×", f"{worst:.1e}")
            lines.append((net, head, rule, len(cell), *shown))
    columns = (
        "net",
        "target",
        "rule",
        "rows",
        "mean evaluations",
        "50 over it",
        "worst true error",
    )
    table("Smooth nets: rules told 1 %, beside Captum's 50 nodes", columns, lines)


def orders(points: Points) -> None:
    """Order of convergence of fixed rules on kinked nets."""
    found = [(key, c) for key, c in curves(points) if key[0] not in SMOOTH]
    rules = dict.fromkeys(r for _, c in found for r in c if min(c[r].sizes) >= 1)
    lines = [(*key, *(_order(c.get(rule)) for rule in rules)) for key, c in found]
    table(
        "Order of convergence on kinked nets (from 16 nodes on)", ("net", "target", *rules), lines
    )


def _order(curve: Curve | None) -> str:
    found = None if curve is None else slope(curve)
    return "–" if found is None else f"{found:.2f}"


# ---------------------------------------------------------------------- estimates and stopping


def estimates(points: Points) -> None:
    """The certificate's error beside the true one."""
    lines = []
    for rule in dict.fromkeys(k[2] for k in points):
        for kind, head in product((True, False), dict.fromkeys(k[1] for k in points)):
            found = list(_estimates(points, rule, head, kind))
            if len(found) > 1:
                lines.append((rule, "kinked" if kind else "smooth", head, *_spread(found)))
    columns = ("rule", "nets", "target", "answers", "estimate / true: 5 %", "median", "95 %",
               "true > estimate", "true > 3 × estimate")  # fmt: skip
    table("Estimated over true error, over all rows and sizes", columns, lines)


def _estimates(points: Points, rule: str, head: str, kinked: bool) -> Iterable[float]:
    """Estimate over true error of every answer whose true error is told from the reference's."""
    for key, cell in points.items():
        if key[1:3] == (head, rule) and (key[0] not in SMOOTH) == kinked:
            for p in cell.values():
                sure = p.error > max(3 * p.doubt, 1e-9)
                if sure and p.estimate is not None and math.isfinite(p.estimate):
                    yield p.estimate / p.error


def _spread(found: list[float]) -> Sequence[str]:
    cuts = quantiles(found, n=20, method="inclusive")
    over = [sum(f < limit for f in found) / len(found) for limit in (1, 1 / 3)]
    middle = f"{median(found):.2g}"
    return (
        str(len(found)),
        f"{cuts[0]:.2g}",
        middle,
        f"{cuts[-1]:.2g}",
        *(f"{o:.1%}" for o in over),
    )


GROUPS: dict[str, Callable[[str, str], bool]] = {
    "all": lambda net, head: True,
    "kinked, logit": lambda net, head: net not in SMOOTH and head == "logit",
    "kinked, probability": lambda net, head: net not in SMOOTH and head != "logit",
    "smooth, logit": lambda net, head: net in SMOOTH and head == "logit",
    "smooth, probability": lambda net, head: net in SMOOTH and head != "logit",
}


def stopped(points: Points) -> None:
    """Do rules that stop by themselves keep their tolerance?"""
    lines = []
    for tolerance, rule in product((1e-2, 1e-3), dict.fromkeys(k[2] for k in points)):
        for group, holds in GROUPS.items():
            cells = [c for k, c in points.items() if k[2:] == (rule, tolerance) and holds(*k[:2])]
            if runs := [p for cell in cells for p in cell.values()]:
                lines.append((rule, f"{tolerance:.1%}", group, *kept(runs, tolerance)))
    columns = ("rule", "tolerance", "nets", "runs", "failed", "worst error / tolerance",
               "median evaluations", "gave up")  # fmt: skip
    table(
        "Rules that stop by themselves: failed is called converged with a true error above the "
        "tolerance (and the reference's doubt)",
        columns,
        lines,
    )


def kept(runs: list[Point], tolerance: float) -> Sequence[str]:
    """Runs, failures among them, the worst, what they cost, and how many say they did not converge."""
    said = [p for p in runs if p.converged]
    failed = sum(p.error > tolerance + p.doubt for p in said)
    worst = max((p.error / tolerance for p in said), default=math.nan)
    spent = median(p.evaluations for p in runs)
    share = 1 - len(said) / len(runs)
    return (
        str(len(runs)),
        f"{failed / len(runs):.1%}",
        f"{worst:.2g}",
        f"{spent:.0f}",
        f"{share:.1%}",
    )


def costs(points: Points) -> None:
    """Median evaluations at 1 % and 0.1 %, net by net, beside what Gauss would have needed."""
    stops = [
        r for r in dict.fromkeys(k[2] for k in points) if any(k[2:] == (r, 1e-2) for k in points)
    ]
    oracle = {key: c[GAUSS] for key, c in curves(points)}
    lines = []
    for key in sorted({k[:2] for k in points}, key=lambda k: (order(k[0]), k)):
        cells = [[points.get((*key, r, t)) for t in (1e-2, 1e-3)] for r in stops]
        known = [oracle[key].at(t) or "–" for t in (1e-2, 1e-3)] if key in oracle else ["–", "–"]
        lines.append((name(key[0]), key[1], " / ".join(map(str, known)), *map(_both, cells)))
    columns = ("net", "target", "Captum GL, known n", *stops)
    table("Median evaluations at 1 % / 0.1 % of rules that stop by themselves", columns, lines)


def _both(cells: Sequence[dict[str, Point] | None]) -> str:
    shown = [f"{median(p.evaluations for p in c.values()):.0f}" if c else "–" for c in cells]
    return " / ".join(shown)


def floors(nets: set[str]) -> None:
    """What float32 does, and what the certificates say."""
    last: dict[tuple[str, str], dict[str, Any]] = {
        (r["case"], r["head"]): r for r in store.noted("floors") if r["case"] in nets
    }
    lines = [
        (
            case,
            head,
            len(r["rows"]),
            *(f"{median(r[k]):.0e}" for k in ("off", "float32", "float64")),
        )
        for (case, head), r in sorted(last.items(), key=lambda p: order(p[0][0]))
    ]
    columns = (
        "net",
        "target",
        "rows",
        "float32 from float64",
        "floor said in float32",
        "in float64",
    )
    table("Rounding at the same 16 nodes, medians over rows", columns, lines)

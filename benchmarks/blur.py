"""Blur IG and Guided IG beside PAIR's `saliency`, each held to the limit of its own path.

    python benchmarks/blur.py                   # all of it, as Markdown tables
    python benchmarks/blur.py errors guided     # some parts: errors, powers, guided, batches
    python benchmarks/blur.py --photos 1        # fewer of SqueezeNet's and MobileNet's
    python benchmarks/blur.py --smoke           # all of it, tiny

`pip install --no-deps saliency` brings the peer; where it is not there its columns are left out.
The probability of the predicted class is explained, in float64. Photos are halved to 112 x 112
pixels of [0, 1]; the smooth net sorts digits of 16 x 16, and is trained here from a seed.

The two Blur IG do not follow the same path: PAIR's is black beyond the borders of the picture, ours
is mirrored there. So each error is from the limit of its own path, 4,000 nodes in both: midpoint
gradients times the increments of PAIR's path (its steps of sigma and its finite differences are what
is measured), and Gauss points on ours, for which a panel-averaged answer says how well they know.
Evaluations of ours are all that `Attribution.evaluations` counts: nodes, edges that two calls share,
one gradient for the floor, 0.45 for f(x) and for f(baseline).

Kept and resumed as in accuracy.py: INTGRAD_BENCH_CACHE, --minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lab import pair
from lab.page import table
from lab.scales import SIGMA, Subject, apart, digits, limits, ours, photos, within
from lab.store import Clock, OutOfTime, remembered

import intgrad as ig

POWERS = (1.0, 2.0, 3.0)
RULES: dict[str, Callable[[int], Any]] = {"Gauss": ig.GaussLegendre, "panels": ig.PanelAveraged}
DEFAULT = ig.ScaleSpace().power


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    photos: int = 2
    digits: int = 2
    budgets: tuple[int, ...] = (20, 50, 100)
    nodes: int = 4000
    tolerances: tuple[float, ...] = (5e-2, 1e-2)


# ------------------------------------------------------------------------------ Blur IG: errors


def measured(case: Subject, budget: int, nodes: int) -> dict[str, Any]:
    """Errors at equal evaluations."""
    truth = limits(case, nodes)
    errors = {
        f"{name}, {power:g}": apart(within(case, power, rule, budget).values[0], truth["ours"])
        for name, rule in RULES.items()
        for power in POWERS
    }
    if pair.installed():
        theirs = pair.blur_ig(case.f, case.x[0], SIGMA, budget)
        errors["PAIR"] = apart(theirs, truth["theirs"])
    return {"errors": errors}


def errors(sizes: Sizes, clock: Clock) -> None:
    """Blur IG at equal evaluations, and how well the limits are known."""
    columns = [f"{name}, {power:g}" for name in RULES for power in POWERS]
    lines, known = [], []
    for case in [*digits(sizes.digits), *photos("squeezenet", sizes.photos)]:
        for budget in sizes.budgets:
            clock.check()
            key = {"case": case.key, "budget": budget, "nodes": sizes.nodes}
            key |= {"peer": pair.installed()}
            ask = lambda c=case, b=budget: measured(c, b, sizes.nodes)  # noqa: E731
            found = remembered("blur", key, ask)["errors"]
            lines.append((case.name, budget, *ratios(case, found, columns)))
        truth = limits(case, sizes.nodes)
        doubts = [apart(truth[f"{who} again"], truth[who]) for who in ("theirs", "ours")]
        between = apart(truth["theirs"], truth["ours"])
        known.append((case.name, *(f"{d:.1e}" for d in doubts), f"{between:.2f}"))
    table(
        "Blur IG: relative L1 error at equal evaluations, by rule and power of `ScaleSpace`; how "
        f"many times smaller than PAIR's the better rule is at the default power of {DEFAULT:g}",
        ("net", "evaluations", "PAIR", *columns, "PAIR / ours"),
        lines,
    )
    table(
        "How well the limits are known, and how far the two paths are apart",
        ("net", "PAIR's path, two sizes", "our path, two rules", "their limits apart"),
        known,
    )


def ratios(case: Subject, found: dict[str, float], columns: list[str]) -> list[str]:
    """One line: PAIR's error, ours, and the ratio."""
    own = min(found[f"{name}, {DEFAULT:g}"] for name in RULES)
    theirs = found.get("PAIR")
    first = "–" if theirs is None else f"{theirs:.2g}"
    ratio = "–" if theirs is None else f"{theirs / own:.2g}"
    return [first, *(f"{found[c]:.2g}" for c in columns), ratio]


# ------------------------------------------------------------------------------ Blur IG: powers


def powers(sizes: Sizes, clock: Clock) -> None:
    """What the default rule asks, by the power of the path."""
    lines = []
    nets = [photos(name, sizes.photos) for name in ("squeezenet", "mobilenet_v1")]
    for case in [*digits(sizes.digits), *(c for net in nets for c in net)]:
        for rtol in sizes.tolerances:
            cells = []
            for power in POWERS:
                clock.check()
                key = {"case": case.key, "power": power, "rtol": rtol}
                ask = lambda c=case, p=power, r=rtol: asked(c, p, r)  # noqa: E731
                found = remembered("blur-powers", key, ask)
                cells.append(f"{found['evaluations']:.0f}{'' if found['converged'] else ' *'}")
            lines.append((case.name, f"{rtol:.0%}", *cells, found["rule"]))
    table(
        "Evaluations that `Automatic` asks, by the power of `ScaleSpace` (* has not converged)",
        ("net", "tolerance", *(f"power {p:g}" for p in POWERS), f"rule at {POWERS[-1]:g}"),
        lines,
    )


def asked(case: Subject, power: float, rtol: float) -> dict[str, Any]:
    """The default rule at one tolerance."""
    a = ours(case, power, ig.Automatic(rtol))
    rule = a.rules[0].split(" (")[0]
    return {
        "evaluations": float(a.evaluations),
        "converged": bool(a.converged.all()),
        "rule": rule,
    }


# ---------------------------------------------------------------------------------- Guided IG


class Seen(ig.Guided):
    """A guided path that shows its knots."""

    def trace(self, oracle: Any, curves: Any) -> Any:
        """The same, kept."""
        found = super().trace(oracle, curves)
        object.__setattr__(self, "knots", found.start.points[0])
        return found


def guided(sizes: Sizes, clock: Clock) -> None:
    """The same traced path, integrated by two Gauss points a segment or by what traced it."""
    if not pair.installed():
        print(f"\nGuided IG: {pair.ABSENT}")
        return
    lines = []
    for case in digits(sizes.digits):
        clock.check()
        gain = float(case.f(case.x) - case.f(torch.zeros_like(case.x)))
        path = Seen(20)
        a = ig.attribute(case.f, case.x, path=path, quadrature=ig.GaussLegendre(2))
        _, points = pair.guided_ig(case.f, case.x[0], 20)
        knots = path.knots.reshape(21, *case.x.shape[1:])[:20]  # type: ignore[attr-defined]
        off = float((knots - points).abs().max() / points.abs().max())
        assert off < 1e-6, "the reference has traced another path"
        assert a.residual is not None
        own = abs(float(a.residual))
        gaps = [
            abs(float(pair.guided_ig(case.f, case.x[0], n)[0].sum()) - gain) for n in (20, 60, 200)
        ]
        shown = [f"{g:.1e}" for g in (*gaps, own)]
        lines.append((case.name, f"{gain:.2f}", f"{off:.0e}", *shown, f"{gaps[-1] / own:.2g}"))
    table(
        "Guided IG: gaps of completeness. Ours puts 2 Gauss points on each of 20 traced segments: 19 "
        "gradients for the way, 40 on it, 1 for the floor",
        ("net", "f(x) - f(0)", "knots apart at 20 steps", *(f"PAIR, {n} steps" for n in (20, 60, 200)),
         "ours, 20 steps", "PAIR 200 / ours"),
        lines,
    )  # fmt: skip


# ------------------------------------------------------------------------------------ batches


def batches(sizes: Sizes, clock: Clock) -> None:
    """How much the answer depends on how many points a call of the model holds."""
    if not pair.installed():
        print(f"\nBatches: {pair.ABSENT}")
        return
    lines = []
    for case in digits(1):
        how = {"max_sigma": SIGMA, "steps": 100, "sqrt": True}
        theirs = [pair.blur_ig(case.f, case.x[0], batch_size=b, **how) for b in (1, 7, 100)]
        own = [ours(case, DEFAULT, ig.GaussLegendre(98), width=w).values[0] for w in (1, 7, 100)]
        exact = float(case.f(case.x) - case.f(pair.blurred(case.x[0], SIGMA**0.5)[None]))
        for who, found, gain in (("PAIR, sqrt=True", theirs, exact), ("ours", own, None)):
            true = float(found[0].sum()) if gain is None else gain
            lines.append(
                (who, f"{true:.4f}", *(f"{float(v.sum()):.4f}" for v in found),
                 *(f"{apart(v, found[0]):.1e}" for v in found[1:]))
            )  # fmt: skip
    del sizes, clock
    table(
        "Blur IG by rows a call (PAIR's batch_size, our width): the sum of the values, and how far they "
        "are from those of one row a call",
        ("", "f(x) - f(start)", "1", "7", "100", "7 from 1", "100 from 1"),
        lines,
    )


# --------------------------------------------------------------------------------------- the run

PARTS = {"errors": errors, "powers": powers, "guided": guided, "batches": batches}
SMALL = Sizes(0, 1, (10,), 40, (5e-2,))


def run(parts: list[str], sizes: Sizes, clock: Clock) -> None:
    """These parts, each with what is kept of it."""
    if not pair.installed():
        print(f"\n{pair.ABSENT}")
    for name in parts or PARTS:
        PARTS[name](sizes, clock)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--photos", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; name {', '.join(PARTS)}.")
    warnings.simplefilter("ignore", ig.NotConverged)  # fixed rules, at errors that are measured
    warnings.filterwarnings("ignore", category=ResourceWarning)  # the loaders beside the data
    clock = Clock(args.minutes)
    try:
        if args.smoke:
            with tempfile.TemporaryDirectory() as where:
                os.environ["INTGRAD_BENCH_CACHE"] = where
                run(args.parts, SMALL, clock)
        else:
            run(args.parts, Sizes(photos=args.photos), clock)
    except OutOfTime:
        sys.exit(f"\nStopped after {args.minutes:g} minutes; run it again to go on from here.")


if __name__ == "__main__":
    main()

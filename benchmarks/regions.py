"""How far are XRAI's regions from right at the default tolerance, and what do they cost?

    python benchmarks/regions.py

For MobileNetV1 on photos: what 5 % of error in the pixels leaves in the sums of regions, beside an
answer to 1 %, how much of the best tenth, fifth and third stays, and the seconds of each part.
Data as in overhead.py.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

from overhead import DATA

import intgrad as ig
from intgrad import hub
from intgrad.image import xrai


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its seconds."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def shared(one: Any, other: Any) -> float:
    """Intersection over union of two masks."""
    return float((one & other).sum() / (one | other).sum())


def main() -> None:
    warnings.simplefilter("ignore")
    net = hub.load(str(DATA / "hf" / "mobilenet_v1_075"))
    print(
        "| photo | regions | evaluations | seconds: all, segments, ranking | pixels off | regions off | "
        "errors added up | best 10, 20, 30 % shared |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in ("bird", "cat", "owl"):
        file = DATA / "imagenet_photos" / "named" / f"{name}.jpg"
        ask = lambda **how: xrai.regions(net.model, net.processor, file, **how)[0]  # noqa: B023, E731
        found, seconds = timed(ask)
        fine = ask(quadrature=ig.Automatic(rtol=1e-2))
        pixels, true = (xrai.flat(f.attribution.values) for f in (found, fine))
        masks, cutting = timed(lambda: xrai.segments(file))  # noqa: B023
        _, ranking = timed(lambda: xrai.rank(pixels, masks))  # noqa: B023
        sums, _ = xrai.tally(found.regions.order, true)
        off = float((found.regions.sum - sums).abs().sum() / sums.abs().sum())
        tops = [shared(found.regions.top(f), fine.regions.top(f)) for f in (0.1, 0.2, 0.3)]
        print(
            f"| {name} | {len(sums)} | {float(found.attribution.evaluations):.0f} | "
            f"{seconds:.0f}, {cutting:.2f}, {ranking:.2f} | "
            f"{float((pixels - true).abs().sum() / true.abs().sum()):.1%} | {off:.1%} | "
            f"{float(found.heat.error):.0%} | {', '.join(f'{t:.3f}' for t in tops)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

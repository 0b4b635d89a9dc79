"""Who gets how much, and of which sign: proportionality, symmetric monotonicity, positivity."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from intgrad.audit.derived import Outside, Plus, Pooled, Rising, Together
from intgrad.audit.question import FEATURES, ROUNDING, Case, Row, check, relative


@check
def proportionality(row: Row) -> Iterator[Case]:
    r"""Where only the sum of the features counts, each gets in proportion to its way.

    Of f on the line from x' to x, gone by the sum of all ways, asked at :math:`x' + |x - x'|`; L1
    distance of the shares from :math:`|x_i - x'_i|`'s. Does not apply under a distribution.
    Lundstrom, Razaviyayn 2025, JMLR 26(177).
    """
    start = row.start()
    x = start[:1] + (row.x - start[:1]).abs()
    if len(start) > 1 or torch.equal(x, start) or not torch.equal(row.start(x), start):
        return
    pooled = Pooled(row.score, row.x, start)
    a, gain = row.ask(pooled, x), row.gain(pooled, x)
    way = (x - start).flatten(1).cpu().double()
    expected = a.values.sum() * way / way.sum()
    off = float((a.values - expected).abs().sum())
    allowed = 2 * (float(a.error[0]) + row.rounding(pooled, x))
    yield relative(
        off, max(float(a.size[0]), abs(gain)), allowed, expected=expected[0, :8].tolist()
    )


@check
def monotonicity(row: Row) -> Iterator[Case]:
    r"""Where the output rises no slower in j than in i, j gets no less than i for each unit of its way.

    Of f with :math:`z_i + z_j` in the place of one feature, where both slopes are equal everywhere,
    and of that plus a linear function of :math:`z_j`; relative to the L1 norm. Of a distribution, for
    pairs whose ways are proportional in all of it.
    Symmetric monotonicity: Young 1985, "Producer incentives in cost allocation", Econometrica 53.
    """
    start, moved = row.start(), row.features(2 * FEATURES)
    for i, j in zip(moved[::2], moved[1::2], strict=False):
        ways = (row.x - start).flatten(1)[:, [i, j]].double().cpu()
        if len({round(float(q), 12) for q in ways[:, 1] / ways[:, 0]}) > 1:
            continue
        as_one = Together(row.score, (i, j), row.x, start[:1])
        tilt = torch.zeros_like(row.x).flatten()
        tilt[j] = abs(row.gain(as_one)) / float(ways.abs().sum())
        for f, extra in ((as_one, 0.0), (Plus(as_one, tilt), float(tilt[j]))):
            yield _pace(row, f, (i, j), ways[0], extra)


def _pace(row: Row, f: nn.Module, pair: tuple[int, int], way: Tensor, extra: float) -> Case:
    """How much less j gets than i does, for the way of the longer one."""
    a = row.ask(f)
    first, last = (float(a.values[0, k] / w) for k, w in zip(pair, way, strict=True))
    lag = first - last if extra else abs(first - last)
    shorter = float(way.abs().min())
    scale = max(float(a.size[0]), abs(row.gain(f)))
    allowed = float(a.error[0]) + row.rounding(f)
    where = {"features": list(pair), "steeper by": extra, "found": [first, last]}
    return relative(max(0.0, lag) * shorter, scale, allowed, **where)


@check
def positivity(row: Row) -> Iterator[Case]:
    r"""Where the output never falls on a monotone way from x' to x, no value is negative.

    Non-decreasing positivity, without which path methods are not the only ones that keep the other
    axioms: Lundstrom, Huang, Razaviyayn 2022, arXiv:2202.11912. Of a random net that never falls, and
    of one that is 0 between x' and x and rises, or falls, beyond, which a path has no business to
    see. The size is the most negative value, in units of what these nets reach.
    """
    start = row.start()
    rises = Rising(row.x, start, row.generator())
    if not rises.counting:
        return  # every feature lies between its starts: nothing but a constant never falls
    nets: dict[str, nn.Module] = {"rises": rises}
    nets |= {
        f"{side} outside": Outside(row.x, start, s) for side, s in (("rises", 1.0), ("falls", -1.0))
    }
    for name, net in nets.items():
        a = row.ask(net)
        least, at = a.values[0].min(0)
        scale = max(float(a.size[0]), 1.0)
        allowed = float(a.error[0]) + row.rounding(net) + ROUNDING * torch.finfo(row.x.dtype).eps
        where = {"net": name, "features": [int(at)], "found": float(least)}
        yield relative(max(0.0, -float(least)), scale, allowed, **where)

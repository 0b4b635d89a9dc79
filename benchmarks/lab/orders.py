"""Orders of methods by a mean over photos, and which differences are more than chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import nan, sqrt
from statistics import mean, stdev

import torch
from scipy.stats import t as student

from intgrad.audit import metrics

from .published import Published

Numbers = dict[str, list[float]]  # of each method one a photo


def error_of(values: Sequence[float]) -> float:
    """The standard error of a mean."""
    return stdev(values) / sqrt(len(values)) if len(values) > 1 else nan


def told_apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the mean difference, photo by photo, is outside chance at 95 %."""
    gaps = [a - b for a, b in zip(one, other, strict=True)]
    if len(gaps) < 2:
        return False
    return bool(abs(mean(gaps)) > student.ppf(0.975, len(gaps) - 1) * error_of(gaps))


def tau(own: Numbers, theirs: dict[str, float]) -> float:
    """Kendall's tau-b of two orders of the same methods."""
    row = lambda found: torch.tensor([list(found)], dtype=torch.float64)  # noqa: E731
    return float(metrics.kendall(row(mean(own[name]) for name in theirs), row(theirs.values())))


def ranked(own: Numbers, low: bool) -> list[str]:
    """Methods by their mean, the best first."""
    return sorted(own, key=lambda name: mean(own[name]), reverse=not low)


def differing(paper: Published, net: str, score: str, own: Numbers) -> Iterator[tuple[str, ...]]:
    """Pairs that all nets of a paper have in one order and our mean has in the other."""
    for pair in combinations(paper.numbers, 2):
        first, second = (paper.numbers[name] for name in pair)
        gaps = [a - b for a, b in zip(first, second, strict=True)]
        one, other = pair if better(gaps, paper.low) else pair[::-1]
        gap = mean(own[one]) - mean(own[other])
        unanimous = all(g > 0 for g in gaps) or all(g < 0 for g in gaps)
        if unanimous and (gap > 0) == paper.low and gap:
            sure = "yes" if told_apart(own[one], own[other]) else "no"
            here = f"{mean(own[one]):.3f} and {mean(own[other]):.3f}"
            yield net, score, f"{one} before {other}", here, sure


def better(gaps: Sequence[float], low: bool) -> bool:
    """Whether the first of two is the better one."""
    return (sum(gaps) < 0) == low

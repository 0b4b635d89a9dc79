"""Is the audit any good? Integrated gradients with a mistake built in, and without one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import intgrad as ig
from intgrad.audit.axioms import CHECKS
from intgrad.audit.finding import Explain, Finding
from intgrad.quadrature.gauss import tables
from intgrad.quadrature.rule import Estimate, estimate

RTOL = 1e-4
FIRST = ("completeness", "sensitivity", "rows_apart")  # see most, for the least
ACTS = (nn.ReLU, nn.Tanh, nn.GELU, nn.Softplus)
Change = Callable[[Tensor], Tensor]


def integrated(model: Any, x: Tensor, target: Any, rule: Any = None) -> ig.Attribution:
    """Integrated gradients to 1e-4."""
    rule = rule or ig.Automatic(rtol=RTOL)
    return ig.attribute(model, x, target=target, quadrature=rule, strict=None)


@dataclass(frozen=True)
class OffByOne:
    """A Gauss rule whose weights are one step away from their nodes."""

    nodes: int = 48
    rtol: float = RTOL

    def __call__(self, integral: Any) -> Estimate:
        t, weight, null = tables(self.nodes)
        value, error = estimate(integral, t, weight.roll(1), null)
        return Estimate(value, error, self.rtol, "Gauss-Legendre, off by one step")


def altered(change: Change) -> Explain:
    """The right answer, its values changed and its certificate kept: a mistake after the integral."""

    def explain(model: Any, x: Tensor, target: Any) -> ig.Attribution:
        found = integrated(model, x, target)
        return replace(found, values=change(found.values.flatten(1)).reshape(x.shape))

    return explain


def flipped(values: Tensor) -> Tensor:
    """The sign of the second feature of each row."""
    return torch.cat([values[:, :1], -values[:, 1:2], values[:, 2:]], 1)


def shuffled(values: Tensor) -> Tensor:
    """Each row in another order, the same for all."""
    order = torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(7))
    if torch.equal(order, order.sort().values):
        order = order.roll(1)
    return values[:, order]


def by_batch(values: Tensor) -> Tensor:
    """Scaled to the largest value of the batch."""
    own = values.abs().amax(1, keepdim=True).clamp_min(1e-300)
    return values * (values.abs().max() / own)


MUTANTS: dict[str, Explain] = {
    "1 % too large": altered(lambda v: 1.01 * v),
    "one sign flipped": altered(flipped),
    "shuffled within a row": altered(shuffled),
    "off by one step": lambda m, x, t: integrated(m, x, t, OffByOne()),
    "dependent on the batch": altered(by_batch),
}


@dataclass(frozen=True)
class Trial:
    """A random net and a row for it."""

    net: nn.Module
    x: Tensor
    target: int
    seed: int


def trial(seed: int) -> Trial:
    """One to three hidden layers of 7, three classes; 3 to 8 features; ReLU, tanh, GELU or softplus."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        depth, size = 1 + seed % 3, 3 + seed % 6
        parts: list[nn.Module] = []
        x = torch.randn(1, size, dtype=torch.float64)
        for _ in range(depth):
            parts += [nn.Linear(size, 7), ACTS[seed % 4]()]
            size = 7
        net = nn.Sequential(*parts, nn.Linear(size, 3)).double().eval().requires_grad_(False)
    return Trial(net, x, seed % 3, seed)


def broken(explain: Explain, on: Trial) -> Finding | None:
    """The first check that the method does not pass, if there is one."""
    for name in sorted(CHECKS, key=lambda n: n not in FIRST):
        found = CHECKS[name](explain, on.net, on.x, on.target, seed=on.seed)
        if not found.holds:
            return found
    return None


def mutants(runs: int, first: int = 0, only: str = "") -> dict[str, Counter[str]]:
    """Run all or one, print a line for each, and count by what was caught."""
    began, caught = time.monotonic(), {}
    print(
        "| integrated gradients | runs | caught | by (the first check that saw it) |\n|---|---|---|---|"
    )
    for name, explain in {"correct": integrated, **MUTANTS}.items():
        if only not in ("", name):
            continue
        by: Counter[str] = Counter()
        for seed in range(first, first + runs):
            found = broken(explain, trial(seed))
            if found is not None:
                by[found.check] += 1
                if name == "correct":
                    print(f"false alarm: seed {seed}: {found}")
        caught[name] = by
        said = ", ".join(f"{check} {n}" for check, n in by.most_common())
        print(f"| {name} | {runs} | {sum(by.values())} | {said or '–'} |", flush=True)
    print(f"\n{time.monotonic() - began:.0f} s")
    return caught

"""Who breaks which axiom, and by how much: methods of the field, and what peers call integrated gradients.

    python benchmarks/axioms.py                     # both tables, and the published examples
    python benchmarks/axioms.py peers               # the second table alone
    python benchmarks/axioms.py claims              # what is said of peers, run again
    python benchmarks/axioms.py mutants --runs 500  # is the audit itself any good?

Needs Captum (`pip install intgrad[compare]`); SHAP, PAIR's saliency and zennit are asked where they are
installed. Nets are small, seeded and in float64: no data are needed. --smoke is a short run of each.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from lab.claims import claims
from lab.explainers import Method, ours, peers
from lab.mutants import mutants
from torch import Tensor, nn

from intgrad.attribution import Attribution
from intgrad.audit.axioms import CHECKS, axioms, invariance, sensitivity
from intgrad.audit.finding import Finding
from intgrad.audit.twins import paper_pair

Net = tuple[nn.Module, Tensor]
# made of modules one after the other: what Captum's LRP can be asked about
OF_CHAINS = ("completeness", "sensitivity", "dummy", "proportionality", "positivity", "rows_apart")


def random_net(seed: int, act: type[nn.Module], grid: bool) -> Net:
    """Two hidden layers of 8, three classes; two rows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: list[nn.Module] = [nn.Flatten()] if grid else []
        size = 9 if grid else 6
        parts += [nn.Linear(size, 8), act(), nn.Linear(8, 8), act(), nn.Linear(8, 3)]
        net = nn.Sequential(*parts).double().eval().requires_grad_(False)
        x = torch.randn(2, 1, 3, 3) if grid else torch.randn(2, 6)
    return net, x.double()


def nets(method: Method, seeds: int) -> Iterator[Net]:
    """The paper's, where a method takes rows of numbers, and random ones."""
    if not method.grid:
        first, _, x = paper_pair()
        yield first, x
    for seed in range(seeds):
        yield random_net(seed, nn.ReLU, method.grid)
        yield random_net(seed, nn.Tanh, method.grid)


def audited(method: Method, seeds: int) -> dict[str, Finding]:
    """The worst finding of every check over the nets, beside what is allowed."""
    worst: dict[str, Finding] = {}
    for net, x in nets(method, seeds):
        how = {"baseline": method.baseline, "slack": method.slack}
        asked = [name for name in CHECKS if not method.chains or name in OF_CHAINS]
        for found in map(lenient(method), axioms(method.explain, net, x, 0, asked, **how)):
            old = worst.get(found.check)
            if old is None or not old.applies or share(found) > share(old):
                worst[found.check] = found
    if not method.grid:
        first, second, x = paper_pair()
        pair = invariance(
            method.explain, first, x, 0, slack=method.slack, baseline=method.baseline,
            twins_of_it=[("G of the paper", second)],
        )  # fmt: skip
        pair = lenient(method)(pair)
        if "invariance" not in worst or share(pair) > share(worst["invariance"]):
            worst["invariance"] = pair
    return worst


def lenient(method: Method) -> Callable[[Finding], Finding]:
    """Allow what a method makes of itself, also where its certificate knows better."""
    return lambda found: replace(found, allowed=max(found.allowed, method.slack))


def share(found: Finding) -> float:
    """Of what is allowed; -1 where there was nothing to check."""
    return found.size / max(found.allowed, 1e-300) if found.applies else -1.0


def cell(found: Finding) -> str:
    """The size where an axiom is broken, `·` where it holds, `–` where it could not be asked."""
    if not found.applies:
        return "–"
    return "·" if found.holds else f"**{found.size:.2g}**"


def table(methods: Sequence[Method], seeds: int) -> None:
    """A method a line, an axiom a column."""
    names = list(CHECKS)
    print("\n| method | from | " + " | ".join(n.replace("_", " ") for n in names) + " |")
    print("|---" * (len(names) + 2) + "|")
    for method in methods:
        found = audited(method, seeds)
        cells = " | ".join(cell(found[name]) if name in found else "–" for name in names)
        print(f"| {method.name} | {method.source} | {cells} |", flush=True)


def who_breaks_what(seeds: int) -> None:
    """The field's table, computed; a number is the worst size found, and it is above what is allowed."""
    others, said = peers()
    print(", ".join(said))
    table(
        [*ours(), *(m for m in others if "integrated" not in m.name and m.source == "Captum")],
        seeds,
    )


def conformance(seeds: int) -> None:
    """What peers call integrated gradients, or expected gradients, on the same nets."""
    others, _ = peers()
    alike = ("integrated gradients", "expected gradients", "GradientSHAP", "GradientExplainer")
    table([m for m in (*ours(), *others) if m.name.startswith(alike)], seeds)


def published() -> None:
    """(3, 1) of the paper's pair: equal functions, and what each method says of both."""
    others, _ = peers()
    first, second, x = paper_pair()
    print("\n| method | from | F | G | invariance | sensitivity |\n|---|---|---|---|---|---|")
    for method in [*ours(), *others]:
        if method.grid:
            continue
        try:
            said = [numbers(method.explain(net, x.clone(), 0)) for net in (first, second)]
        except Exception as error:
            said = [type(error).__name__] * 2
        how = {"slack": method.slack, "baseline": method.baseline}
        twin = [("G of the paper", second)]
        pair = invariance(method.explain, first, x, 0, twins_of_it=twin, **how)
        sense = sensitivity(method.explain, first, x, 0, **how)
        cells = *said, cell(pair), cell(sense)
        print(f"| {method.name} | {method.source} | {' | '.join(cells)} |")


def tables(seeds: int) -> None:
    """All three."""
    published()
    who_breaks_what(seeds)
    conformance(seeds)


def numbers(found: object) -> str:
    """Two values, as one would write them."""
    values = found.values if isinstance(found, Attribution) else torch.as_tensor(found)
    values = values.flatten().tolist()
    return "(" + ", ".join(f"{v + 0.0:.3g}" for v in values) + ")"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    asked.add_argument(
        "part", nargs="?", default="tables", choices=["tables", "peers", "claims", "mutants"]
    )
    asked.add_argument("--runs", type=int, default=500)
    asked.add_argument("--seeds", type=int, default=1)
    asked.add_argument("--only", default="", help="one mutant, by its name")
    asked.add_argument("--smoke", action="store_true")
    words = asked.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    seeds, runs = (0, 3) if words.smoke else (words.seeds, words.runs)
    parts: dict[str, Callable[[], object]] = {
        "tables": lambda: tables(seeds),
        "peers": lambda: conformance(seeds),
        "claims": claims,
        "mutants": lambda: mutants(runs, only=words.only),
    }
    parts[words.part]()


if __name__ == "__main__":
    sys.exit(main())

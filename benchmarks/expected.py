"""Expected gradients beside Captum's GradientShap and SHAP: error at equal numbers of gradients.

    python benchmarks/expected.py

A ReLU network is trained on scikit-learn's digits; its predictions for three test images are
explained against 200 training images, in float64. Truth is Gauss-Legendre with 128 nodes on each of
the 200 lines. Errors are relative L1, means over images and seeds. No data are needed, nor a network
connection; it takes about a minute.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from captum.attr import GradientShap
from sklearn.datasets import load_digits
from torch import Tensor, nn

import intgrad as ig

SEEDS = 10
NODES = 128
Ask = Callable[[int], Tensor]
warnings.simplefilter("ignore")


class Predicted(nn.Module):
    """One number a row: the logit or probability of the class that each explained row has.

    Peers ask many points of all rows at once, and do not say which row a point is of; so rows are
    explained one by one.
    """

    def __init__(self, net: nn.Module, label: int, probability: bool) -> None:
        super().__init__()
        self.net, self.label, self.probability = net, label, probability

    def forward(self, x: Tensor) -> Tensor:
        scores = self.net(x)
        return (scores.softmax(1) if self.probability else scores)[:, [self.label]]


def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """Network, three test images, 200 training images."""
    digits: Any = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 16
    labels = torch.tensor(digits.target)
    torch.manual_seed(0)
    layers = nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    net = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[:1200]), labels[:1200]).backward()
        optimizer.step()
    right = (net(images[1200:]).argmax(1) == labels[1200:]).float().mean()
    print(f"test accuracy {float(right):.3f}; torch {torch.__version__}\n")
    data = images[torch.randperm(1200)[:200]]
    return net.double().eval(), images[[1300, 1400, 1500]].double(), data.double()


def captum(model: nn.Module, x: Tensor, data: Tensor, samples: int) -> Ask:
    """GradientShap without noise: expected gradients by plain Monte Carlo."""

    def ask(seed: int) -> Tensor:
        np.random.seed(seed)
        torch.manual_seed(seed)
        found = GradientShap(model).attribute(x, data, n_samples=samples, target=0)
        assert isinstance(found, Tensor)
        return found.detach()

    return ask


def shap(model: nn.Module, x: Tensor, data: Tensor, samples: int) -> Ask:
    """SHAP's GradientExplainer."""
    explainer: Any = importlib.import_module("shap").GradientExplainer(model, data)

    def ask(seed: int) -> Tensor:
        found = explainer.shap_values(x, nsamples=samples, rseed=seed)
        return torch.as_tensor(np.asarray(found)).reshape(x.shape)

    return ask


def mine(model: nn.Module, x: Tensor, data: Tensor, rule: Any) -> Ask:
    """Expected gradients by a rule of intgrad; every gradient is counted."""
    recipe = ig.methods.expected_gradients(data, rule)

    def ask(seed: int) -> Tensor:
        a = recipe.but(quadrature=replace(rule, seed=seed))(model, x, target=0)
        assert int(a.backwards.max()) <= rule.samples + 1, "more gradients than samples"
        return a.values

    return ask


def asks(model: nn.Module, x: Tensor, data: Tensor, samples: int) -> dict[str, Ask]:
    """Everyone at the same number of gradients."""
    rules = {
        "plain Monte Carlo": ig.MonteCarlo(samples),
        "Latin hypercube": ig.Stratified(samples),
        "Sobol": ig.Sobol(samples),
        "lattice, 4 replicates": ig.Lattice(samples),
        "one lattice": ig.Lattice(samples, replicates=1),
    }
    found = {"Captum GradientShap": captum(model, x, data, samples)}
    if importlib.util.find_spec("shap"):
        found["SHAP GradientExplainer"] = shap(model, x, data, samples)
    return found | {name: mine(model, x, data, rule) for name, rule in rules.items()}


def errors(net: nn.Module, x: Tensor, data: Tensor, probability: bool, samples: int) -> dict:
    """Mean relative L1 error of everyone."""
    made: dict[str, list[float]] = {}
    for row in x.split(1):
        model = Predicted(net, int(net(row).argmax()), probability).eval()
        rule = ig.GaussLegendre(NODES)
        truth = ig.methods.expected_gradients(data, rule)(model, row, target=0).values
        for name, ask in asks(model, row, data, samples).items():
            off = [float((ask(s) - truth).abs().sum() / truth.abs().sum()) for s in range(SEEDS)]
            made.setdefault(name, []).extend(off)
    return {name: sum(off) / len(off) for name, off in made.items()}


def stopping(net: nn.Module, x: Tensor, data: Tensor) -> None:
    """What the self-stopping form spends on 5 %, and how far off it is."""
    print("\n| Lattice(), to 5 % | gradients a row | error told | error made |\n|---|---|---|---|")
    for target in (ig.Logit(), ig.Probability()):
        fine = ig.methods.expected_gradients(data, ig.GaussLegendre(NODES))
        truth = fine(net, x, target=target).values
        a = ig.methods.expected_gradients(data)(net, x, target=target)
        made = (a.values - truth).abs().sum(1) / truth.abs().sum(1)
        cells = [a.backwards, 100 * a.error, 100 * made]
        told = [", ".join(f"{float(c):.3g}" for c in cell) for cell in cells]
        print(f"| {type(target).__name__} | {told[0]} | {told[1]} % | {told[2]} % |")


def main() -> None:
    torch.set_num_threads(1)
    net, x, data = trained()
    if not importlib.util.find_spec("shap"):
        print("SHAP is not installed, so it is left out; pip install shap adds it.\n")
    cases = [(p, n) for p in (False, True) for n in (1000, 4000)]
    found = [errors(net, x, data, *case) for case in cases]
    heads = [f"{'probability' if p else 'logit'}, n = {n}" for p, n in cases]
    print(f"| error (Captum's, divided by it) | {' | '.join(heads)} |\n|---|{'---|' * len(cases)}")
    for name in found[0]:
        cells = [f"{f[name]:.5f} ({f['Captum GradientShap'] / f[name]:.1f})" for f in found]
        print(f"| {name} | {' | '.join(cells)} |")
    stopping(net, x, data)


if __name__ == "__main__":
    main()

"""Integrated Hessians: Hessian-vector products a row of the matrix, beside path_explain's grid.

    python benchmarks/interactions.py            # Markdown tables
    python benchmarks/interactions.py --smoke    # a random small net, in seconds

path_explain's rule (Janizek, Sturmfels, Lee 2021) is written out below: sqrt(n) x sqrt(n) equal weights
on alpha and beta in linspace(0, 1), both ends in, each with a Hessian of its own; the diagonal likewise.
The net is the GELU network of the digits (64 features, trained here from a seed), all 64 x 64 pairs;
errors are relative L1 errors of the matrix, the worst of its rows, against log-weighted Gauss rules to
1e-11. A ReLU network of the same data shows what autograd's Hessian misses, and what softplus twins
cost beside the exact rule.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import intgrad as ig

D = torch.float64


def path_explain(f: Callable[[Tensor], Tensor], x: Tensor, samples: int) -> Tensor:
    """Its interactions of one row x (features,) with a baseline of zeros: (features, features)."""
    steps = torch.linspace(0, 1, round(samples**0.5), dtype=x.dtype)
    scale = (steps[:, None] * steps).flatten()
    points = scale[:, None] * x
    hessian = torch.func.vmap(torch.func.jacrev(torch.func.grad(f)))
    gradient = torch.func.vmap(torch.func.grad(f))
    curved = torch.zeros(len(x), len(x), dtype=x.dtype)
    slope = torch.zeros_like(x)
    for part, share in zip(points.split(16), scale.split(16), strict=True):
        curved += (share[:, None, None] * hessian(part)).sum(0)
        slope += gradient(part).sum(0)
    return (x[:, None] * x * curved + torch.diag(x * slope)) / len(scale)


def off(found: Tensor, true: Tensor) -> float:
    """Relative L1 error of matrices (rows, g, g), the worst row's."""
    return float(((found - true).abs().sum((1, 2)) / true.abs().sum((1, 2))).max())


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its seconds."""
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def zoo(name: str, rows: int) -> tuple[nn.Module, Tensor]:
    """A trained net of the accuracy benchmark and its first held-out rows."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from lab.zoo import case  # it needs scikit-learn

    found = case(name, rows)
    return found.model, found.x


def toy(name: str, rows: int) -> tuple[nn.Module, Tensor]:
    """The same shapes, small and untrained."""
    torch.manual_seed(0)
    act = nn.GELU if name == "gelu_mlp" else nn.ReLU
    net = nn.Sequential(nn.Linear(8, 16), act(), nn.Linear(16, 16), act(), nn.Linear(16, 3))
    return net.double().eval().requires_grad_(False), 2 * torch.rand(rows, 8, dtype=D)


# ------------------------------------------------------------------------------------- tables


def smooth(model: nn.Module, x: Tensor, head: str, grids: tuple[int, ...]) -> None:
    """Errors and products of ours and of the grid, on a smooth net."""
    classes = model(x).argmax(1).tolist()
    target = ig.Probability(classes) if head == "probability" else ig.Logit(classes)
    ask = lambda **how: ig.interactions(model, x, target=target, **how)  # noqa: E731
    true = ask(rtol=1e-11, max_nodes=4000).values
    k = x.shape[1]
    for samples in grids:
        found, seconds = timed(lambda: theirs(model, x, classes, head, samples))  # noqa: B023
        row(head, f"path_explain, {samples} samples", samples, off(found, true), None, seconds)
    for nodes in (3, 4, 6, 8, 12):
        fixed, seconds = timed(lambda: ask(nodes=nodes, max_nodes=nodes, rtol=1e3))  # noqa: B023
        told = float(fixed.error.max())
        row(
            head,
            f"log-weighted Gauss, {nodes} nodes",
            nodes,
            off(fixed.values, true),
            told,
            seconds,
        )
    for rtol in (1e-1, 1e-2, 1e-4):
        found, seconds = timed(lambda: ask(rtol=rtol))  # noqa: B023
        cost = float(found.products.double().mean() / k)
        told = float(found.error.max())
        row(head, f"stops by itself at {rtol:.0e}", cost, off(found.values, true), told, seconds)


def theirs(model: nn.Module, x: Tensor, classes: list[int], head: str, samples: int) -> Tensor:
    """path_explain's matrices of all rows."""
    own = zip(x, classes, strict=True)
    return torch.stack([path_explain(_one(model, c, head), z, samples).detach() for z, c in own])


def _one(model: nn.Module, of: int, head: str) -> Callable[[Tensor], Tensor]:
    """A row (features,) to a number."""
    scores = lambda z: model(z[None])[0]  # noqa: E731
    return lambda z: (scores(z).softmax(0) if head == "probability" else scores(z))[of]


def row(head: str, rule: str, products: float, error: float, told: float | None, s: float) -> None:
    """One line of the table."""
    said = "-" if told is None else f"{told:.1e}"
    print(f"| {head} | {rule} | {products:.3g} | {error:.1e} | {said} | {s:.2f} |", flush=True)


def kinked(model: nn.Module, x: Tensor, betas: tuple[float, ...]) -> None:
    """A ReLU network: exact, as autograd sees it, and its softplus twins."""
    target = model(x).argmax(1).tolist()
    exact, seconds = timed(lambda: ig.interactions(model, x, target=target))
    row_of("exact", exact, exact.values, seconds)
    diagonal = theirs(model, x, target, "logit", 225)
    wrong = f"{off(diagonal, exact.values):.1e}"
    print(f"| autograd's Hessian, 225 samples | {wrong} | - | | | |", flush=True)
    for beta in betas:
        twin = ig.softened(model, beta)
        ask = lambda: ig.interactions(twin, x, target=target, max_nodes=2000)  # noqa: E731, B023
        found, seconds = timed(ask)
        row_of(f"softplus twin, beta {beta:g}", found, exact.values, seconds)


def row_of(name: str, found: ig.Interactions, true: Tensor, seconds: float) -> None:
    """One line of the second table; the residual bounds the error from below."""
    assert found.residual is not None
    gap = float((found.residual.abs() / found.values.abs().sum((1, 2))).max())
    told, cost = float(found.error.max()), float(found.evaluations.mean())
    cells = f"{off(found.values, true):.1e} | {told:.1e} | {gap:.1e} | {cost:.0f} | {seconds:.2f}"
    print(f"| {name} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="a random small net")
    parser.add_argument("--rows", type=int, default=2)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ig.NotConverged)
    warnings.filterwarnings("ignore", ".torch.jit.script.", DeprecationWarning)  # torch's own
    make = toy if args.smoke else zoo
    print("| target | rule | products a row of the matrix | error | error told | seconds |")
    print("|---|---|---|---|---|---|")
    for head in ("logit", "probability"):
        smooth(*make("gelu_mlp", args.rows), head, (16,) if args.smoke else (16, 49, 100, 225))
    columns = "off the exact | error told | residual / L1 | evaluations a row | seconds"
    print(f"\n| ReLU network, logit | {columns} |\n|---|---|---|---|---|---|")
    kinked(*make("mlp_digits", args.rows), (50.0,) if args.smoke else (50.0, 200.0, 800.0, 12800.0))


if __name__ == "__main__":
    main()

"""Where Captum and intgrad agree, and where Captum is silently wrong: sizes, not opinions.

    python benchmarks/agreement.py

Closed forms and small seeded nets in float64; no data are needed. Each line prints the relative
L1 error of both against the truth, or what each does with a model that must not be explained.
"""

from __future__ import annotations

import warnings

import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

import intgrad as ig

warnings.simplefilter("ignore")


def off(found: Tensor, truth: Tensor) -> float:
    """Relative L1 error."""
    return float((found - truth).abs().sum() / truth.abs().sum())


def line(what: str, theirs: str, mine: str) -> None:
    print(f"| {what} | {theirs} | {mine} |")


def agreement() -> None:
    """The same nodes on a random net: the same numbers."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 5)).double().eval()
    x = torch.randn(8, 20).double()
    theirs = IntegratedGradients(net).attribute(x, target=1, n_steps=50)
    mine = ig.attribute(net, x, target=1, quadrature=ig.GaussLegendre(50))
    assert isinstance(theirs, Tensor)
    line("Gauss-Legendre, 50 nodes: apart by", "", f"{off(theirs, mine.values):.0e}")


def trapezoid() -> None:
    """A linear function, whose attribution is exact under any rule whose weights sum to one."""
    w, x = torch.arange(1.0, 5).double(), torch.ones(1, 4).double()
    f = lambda z: (z * w).sum(1)  # noqa: E731
    for n in (5, 50):
        theirs = IntegratedGradients(f).attribute(x, n_steps=n, method="riemann_trapezoid")
        mine = ig.attribute(f, x, quadrature=ig.Trapezoid(n)).values
        what = f"trapezoid, {n} nodes, linear model: relative error"
        line(what, f"{off(theirs, x * w):.0e}", f"{off(mine, x * w):.0e}")


def precision() -> None:
    """Captum keeps the weights of its rules in float32, whatever the model computes in."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2)).double().eval()
    x = torch.randn(4, 6).double()
    _, delta = IntegratedGradients(net).attribute(
        x, target=0, n_steps=64, return_convergence_delta=True
    )
    mine = ig.attribute(net, x, target=0, quadrature=ig.GaussLegendre(64))
    assert mine.residual is not None
    theirs = f"{float(delta.abs().max()):.0e}"
    line("float64 model, 64 nodes: residual", theirs, f"{float(mine.residual.abs().max()):.0e}")


def sharp() -> None:
    """A step of slope 500: the truth is 1.00."""
    f = lambda z: torch.sigmoid(500 * (z[:, 0] - 0.4844))  # noqa: E731
    x = torch.ones(1, 1).double()
    theirs = float(IntegratedGradients(f).attribute(x, n_steps=50))
    mine = ig.attribute(f, x, quadrature=ig.GaussLegendre(50))
    said = "converged" if mine.converged[0] else f"NOT converged, error {float(mine.error[0]):.1f}"
    line("sharp step, 50 nodes, truth 1.00", f"{theirs:.2f}", f"{float(mine.values):.2f}, {said}")


def training_mode() -> None:
    """BatchNorm in training mode: steps of the path become batch mates."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    x, kept = torch.randn(4, 6), net[1].running_mean.clone()  # type: ignore[union-attr]
    IntegratedGradients(net).attribute(x, target=0)
    changed = "overwritten" if not torch.equal(kept, net[1].running_mean) else "kept"  # type: ignore[union-attr]
    kept = net[1].running_mean.clone()  # type: ignore[union-attr]
    try:
        ig.attribute(net, x, target=0)
        mine = "a number"
    except ig.ModelError:
        same = torch.equal(kept, net[1].running_mean)  # type: ignore[union-attr]
        mine = f"refused, statistics {'kept' if same else 'overwritten'}"
    line("BatchNorm in training mode", f"a number, statistics {changed}", mine)


def leaking_rows() -> None:
    """Attention over the batch: the answer depends on the internal batch size."""
    f = lambda z: (torch.softmax(z @ z.T, 1) @ z).square()  # noqa: E731
    torch.manual_seed(3)
    x = torch.randn(4, 3)
    a, b = (IntegratedGradients(f).attribute(x, target=0, internal_batch_size=n) for n in (4, 200))
    try:
        ig.attribute(f, x, target=0)
        mine = "a number"
    except ig.ModelError:
        mine = "refused"
    line("rows that mix: two internal batch sizes apart by", f"{100 * off(a, b):.0f} %", mine)


def nan_gradient() -> None:
    """sqrt at 0, with a rule that asks there."""
    f = lambda z: z.abs().sqrt().sum(1)  # noqa: E731
    x = torch.ones(1, 2)
    theirs = IntegratedGradients(f).attribute(x, n_steps=10, method="riemann_left")
    try:
        ig.attribute(f, x, quadrature=ig.LeftRiemann(10))
        mine = "a number"
    except ig.IntgradError as error:
        mine = "refused: " + str(error).split(".")[0]
    line("infinite gradient at the baseline", f"{theirs[0].tolist()}", mine)


def main() -> None:
    print("| | Captum | intgrad |\n|---|---|---|")
    for probe in (
        agreement,
        trapezoid,
        precision,
        sharp,
        training_mode,
        leaking_rows,
        nan_gradient,
    ):
        probe()


if __name__ == "__main__":
    main()

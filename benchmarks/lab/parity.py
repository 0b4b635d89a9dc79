"""Captum's layer methods beside ours, on small random nets in float64: how far apart they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from captum import attr
from torch import Tensor, nn

import intgrad as ig

D = torch.float64
PUSHED = ig.PushedForward()


class Twice(nn.Module):
    """One layer that runs two times: (n, 4) -> (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.again(torch.tanh(self.first(x))))
        return self.head(torch.tanh(self.again(y)))


class Around(nn.Module):
    """A layer with a way around it: (n, 4) -> (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        return self.head(y + torch.tanh(self.body(y)))


def conv() -> nn.Module:
    """Convolution, batch normalisation, max-pool: (n, 3, 8, 8) -> (n, 4)."""
    first = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(6, 8, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*first, *second, nn.Linear(8, 4))


def smooth() -> nn.Module:
    """(n, 6) -> (n, 4)."""
    act = nn.GELU
    return nn.Sequential(nn.Linear(6, 16), act(), nn.Linear(16, 16), act(), nn.Linear(16, 4))


def made(make: Callable[[], nn.Module], *shape: int) -> tuple[Any, Tensor]:
    """A net and its rows, the same every time."""
    torch.manual_seed(0)
    net = make().to(D).eval().requires_grad_(False)
    return net, torch.randn(3, *shape, dtype=D)


def gauss(nodes: int) -> ig.GaussLegendre:
    return ig.GaussLegendre(nodes, rtol=math.inf)


def off(theirs: Any, ours: Any) -> float:
    """Relative L1 distance over all rows."""
    theirs = theirs[0] if isinstance(theirs, tuple | list) else theirs
    values = ours.values if isinstance(ours, ig.Attribution) else ours
    return float((theirs.detach() - values).abs().sum() / values.abs().sum())


Line = tuple[str, str, str, float]


def alike() -> Iterator[Line]:
    """Methods at equal nodes."""
    net, x = made(conv, 3, 8, 8)
    m: dict[str, Any] = {"target": 2, "n_steps": 16}
    n = 16
    unit = ig.Unit("4", (3, 1, 1))
    own = lambda **how: ig.attribute(net, x, quadrature=gauss(n), **how)  # noqa: E731
    yield (
        "LayerIntegratedGradients",
        "`methods.layer_ig(at)`",
        "16 Gauss points",
        off(attr.LayerIntegratedGradients(net, net[4]).attribute(x, 0, **m), own(at="4", target=2)),
    )
    influence = ig.methods.internal_influence("1", quadrature=gauss(n))(net, x, target=2)
    yield (
        "InternalInfluence",
        "`methods.internal_influence(at)`",
        "16 Gauss points",
        off(attr.InternalInfluence(net, net[1]).attribute(x, **m), influence),
    )
    cam = ig.methods.grad_cam("4")(net, x, target=2)
    yield (
        "LayerGradCam",
        "`methods.grad_cam(at)`",
        "one gradient",
        off(attr.LayerGradCam(net, net[4]).attribute(x, target=2), cam),
    )
    neuron: Any = attr.NeuronIntegratedGradients(net, net[4])
    yield (
        "NeuronIntegratedGradients",
        "`target=ig.Unit(layer, index)`",
        "16 Gauss points",
        off(neuron.attribute(x, (3, 1, 1), n_steps=n), own(target=unit)),
    )
    yield (
        "NeuronGradient",
        "`methods.saliency()`, `target=ig.Unit(...)`",
        "one gradient",
        off(
            attr.NeuronGradient(net, net[4]).attribute(x.clone().requires_grad_(), (3, 1, 1)),
            ig.methods.saliency()(net, x, target=unit),
        ),
    )
    reached: Any = attr.NeuronConductance(net, net[4])
    yield (
        "NeuronConductance",
        "`integrand=ig.inside.Through(ig.Unit(...))`",
        "16 Gauss points",
        off(
            reached.attribute(x, (3, 1, 1), method="gausslegendre", **m),
            own(target=2, integrand=ig.inside.Through(unit)),
        ),
    )


def converging() -> Iterator[Line]:
    """Conductance: finite differences there, tangents here."""
    net, x = made(smooth, 6)
    ours = ig.methods.conductance("1", quadrature=gauss(64))(net, x, target=2)
    for steps in (50, 200, 800):
        theirs: Any = attr.LayerConductance(net, net[1])
        found = theirs.attribute(x, target=2, n_steps=steps)
        yield "LayerConductance", "`methods.conductance(at)`", f"{steps} steps", off(found, ours)


def other() -> Iterator[Line]:
    """A module that runs twice, and the input of one with a way around it."""
    net, x = made(Twice, 4)
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "LayerConductance": (attr.LayerConductance, {"path": PUSHED}),
        "LayerIntegratedGradients": (attr.LayerIntegratedGradients, {}),
    }
    for name, (kind, how) in kinds.items():
        theirs = kind(net, net.again).attribute(x, target=1, n_steps=400)
        for call in ("again#0", "again#1"):
            ours = ig.attribute(net, x, target=1, at=call, quadrature=gauss(64), **how)
            yield name, f"at=`{call}`", "a module that runs twice", off(theirs, ours)
    net, x = made(Around, 4)
    theirs: Any = attr.LayerConductance(net, net.body)
    found = theirs.attribute(x, target=1, n_steps=400, attribute_to_layer_input=True)
    for at in ("body:input", "first"):
        ours = ig.attribute(net, x, target=1, at=at, quadrature=gauss(64), path=PUSHED)
        # what goes into the body is tanh of what the first layer puts out
        yield (
            "LayerConductance, input",
            f"at=`{at}`",
            "a layer with a way around it",
            off(found, ours),
        )


def parity() -> None:
    """A line a comparison."""
    print("| Captum 0.9.0 | intgrad | on | apart, relative L1 |\n|---|---|---|---|")
    for lines in (alike(), converging(), other()):
        for theirs, ours, where, distance in lines:
            print(f"| {theirs} | {ours} | {where} | {distance:.0e} |", flush=True)
    print()

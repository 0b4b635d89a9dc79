"""What blur.py asks about: pictures, the limits of two paths, and rules of an equal price."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import intgrad as ig

from . import pair, real, store, zoo

SIGMA = 50.0  # both defaults


@dataclass(frozen=True)
class Subject:
    """A picture and what is explained of it: (n, c, h, w) -> a probability, (n,)."""

    name: str
    f: Callable[[Tensor], Tensor]
    x: Tensor
    smooth: bool
    key: str


def subject(name: str, net: nn.Module, prepare: Any, x: Tensor, smooth: bool) -> Subject:
    """The probability of the class that is predicted at x (1, c, h, w)."""
    net = net.double().eval().requires_grad_(False)
    x = x.double()
    scores = lambda z: net(prepare(z)).softmax(1)  # noqa: E731
    best = int(scores(x).argmax())
    key = store.digest([x, *net.state_dict().values()], name)
    return Subject(name, lambda z: scores(z)[:, best], x, smooth, key)


def digits(count: int) -> Iterator[Subject]:
    """A smooth net: two convolutions with GELU, and averages for pools."""
    path = store.folder("zoo") / "gelu_average_cnn.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        data = zoo.PICTURES()
        net = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.GELU(), nn.AvgPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.GELU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(384, 10),
        )  # fmt: skip
        state, _ = store.read(path)
        if not state:
            zoo.learn(net, data, 8)
            store.write(path, net.state_dict())
            state, _ = store.read(path)
    net.load_state_dict(state)
    for i in range(count):
        yield subject(f"GELU net, digit {i}", net, lambda z: z, data.x_test[i : i + 1], True)


def photos(name: str, count: int) -> Iterator[Subject]:
    """A trained net on halved photos."""
    if not count:
        return
    if not real.DATA.is_dir():
        print(f"\n{name}: no data at {real.DATA}; set INTGRAD_DATA to their folder.")
        return
    net, prepare, _ = getattr(real.nets(), name)()
    halved = functional.avg_pool2d(real.photos(count), 2)
    for i in range(count):
        yield subject(f"{name}, photo {i}", net, prepare, halved[i : i + 1], False)


# ------------------------------------------------------------------------------ Blur IG: errors


def ours(case: Subject, power: float, rule: Any, **call: Any) -> ig.Attribution:
    """Blur IG of this library."""
    path = ig.ScaleSpace(SIGMA, power=power)
    return ig.attribute(case.f, case.x, path=path, quadrature=rule, **call)


def apart(found: Tensor, truth: Tensor) -> float:
    """Relative L1 distance."""
    return float((found - truth).abs().sum() / truth.abs().sum())


def limits(case: Subject, nodes: int) -> dict[str, Tensor]:
    """Where both converge to, and a second opinion of each."""
    path = store.folder("blur") / f"{case.key}-{nodes}.safetensors"
    if not path.is_file():
        f, x = case.f, case.x[0]
        found = {
            "theirs": pair.blur_limit(f, x, SIGMA, nodes),
            "theirs again": pair.blur_limit(f, x, SIGMA, nodes // 4),
            "ours": ours(case, 2.0, ig.GaussLegendre(nodes)).values[0],
            "ours again": ours(case, 3.0, ig.PanelAveraged(nodes // 4 + 1)).values[0],
        }
        store.write(path, found)
    return store.read(path)[0]


def within(case: Subject, power: float, rule: Callable[[int], Any], budget: int) -> ig.Attribution:
    """The largest odd rule whose evaluations, all of them, stay within the budget."""
    n = budget - 2
    while True:
        n -= 1 - n % 2  # of an even number of panels a coarser answer is asked too
        found = ours(case, power, rule(n))
        over = math.ceil(float(found.evaluations) - budget)
        if over <= 0:
            return found
        n -= over

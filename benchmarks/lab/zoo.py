"""Small nets of every kind, trained here in seconds, from seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor, nn
from torch.nn import functional

import intgrad as ig

from . import store
from .case import Case, Family

MASK = 0  # the synthetic text's token for "no word"
VERSION = 1  # of the nets below: another number trains them anew


@dataclass(frozen=True)
class Data:
    """Inputs and classes to learn from, and those held out."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


def split(x: Tensor, y: Tensor, held_out: int) -> Data:
    """By the random state of the caller."""
    order = torch.randperm(len(y))
    test, train = order[:held_out], order[held_out:]
    return Data(x[train], y[train], x[test], y[test])


def cancer() -> Data:
    """569 tumours, 30 standardised measurements, 2 classes."""
    found: Any = load_breast_cancer()
    x, y = torch.as_tensor(found.data).float(), torch.as_tensor(found.target).long()
    return split((x - x.mean(0)) / x.std(0), y, 150)


def digits(*shape: int, scale: int = 1) -> Data:
    """1,797 digits in [0, 1], `scale` times 8 x 8 pixels, each in this shape."""
    found: Any = load_digits()
    x, y = torch.as_tensor(found.images).float()[:, None] / 16, torch.as_tensor(found.target).long()
    if scale > 1:
        x = functional.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
    return split(x.reshape(len(x), *shape), y, 360)


def shapes(n: int = 1600, size: int = 24) -> Data:
    """Discs, squares, crosses and stripes, of any colour and place, in noise: (n, 3, size, size)."""
    y = torch.randint(0, 4, (n,))
    grid = torch.arange(size).float()
    centre = 7 + (size - 14) * torch.rand(n, 2, 1, 1)
    radius = 4 + 3 * torch.rand(n, 1, 1)
    dy, dx = grid[None, :, None] - centre[:, 0], grid[None, None, :] - centre[:, 1]
    disc = dy.square() + dx.square() < radius.square()
    square = torch.maximum(dy.abs(), dx.abs()) < radius * 0.9
    cross = square & (torch.minimum(dy.abs(), dx.abs()) < 1.2)
    stripes = square & (torch.remainder(dy + dx, 4) < 2)
    mask = torch.stack([disc, square, cross, stripes])[y, torch.arange(n)].float()[:, None]
    paint = torch.rand(n, 3, 1, 1)
    x = (
        mask * paint
        + (1 - mask) * torch.remainder(paint + 0.4, 1)
        + 0.1 * torch.randn(n, 3, size, size)
    )
    return split(x.clamp(0, 1), y, 300)


def sentences(n: int = 3000, length: int = 12, words: int = 40) -> Data:
    """Four kinds of sentences of nonsense, by which marker stands last and whether 1 precedes it."""
    x = torch.randint(6, words, (n, length))
    place, marker = torch.randint(1, length, (n,)), torch.randint(2, 4, (n,))
    turned = torch.rand(n) < 0.5
    rows = torch.arange(n)
    x[rows, place] = marker
    x[rows, place - 1] = torch.where(turned, 1, x[rows, place - 1])
    return split(x, 2 * (marker - 2) + turned.long(), 300)


# --------------------------------------------------------------------------------------- nets


def mlp(act: type[nn.Module], *sizes: int) -> nn.Module:
    """Linear layers of these sizes with `act` between them."""
    layers: list[nn.Module] = []
    for i, o in pairwise(sizes):
        layers += [nn.Linear(i, o), act()]
    return nn.Sequential(*layers[:-1])


def cnn(act: type[nn.Module]) -> nn.Module:
    """Three convolutions and two max-pools: (n, 1, 16, 16) -> (n, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), act(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), act(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1), act(), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


class Block(nn.Module):
    """Two convolutions with BatchNorm beside a shortcut."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(),
            nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o),
        )  # fmt: skip
        short = nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o)
        self.short = nn.Sequential(*short) if stride > 1 else nn.Identity()
        self.end = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.way(x) + self.short(x))


def resnet() -> nn.Module:
    """Eleven convolutions with BatchNorm: (n, 3, 24, 24) -> (n, 4)."""
    blocks = [Block(12, 12, 1), Block(12, 24, 2), Block(24, 24, 1), Block(24, 48, 2)]
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 4),
    )  # fmt: skip


class Transformer(nn.Module):
    """Three encoder layers on tokens (n, length, width), their mean, a linear layer."""

    def __init__(self, enter: nn.Module, length: int, classes: int, act: str) -> None:
        super().__init__()
        self.enter = enter
        self.place = nn.Parameter(0.1 * torch.randn(length, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, act, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.enter(x))

    def after(self, tokens: Tensor) -> Tensor:
        """From the embeddings on."""
        return self.head(self.encoder(tokens + self.place).mean(1))


# -------------------------------------------------------------------------------------- the zoo


@dataclass(frozen=True)
class Kind:
    """How a net of the zoo is made, what it learns, and how it is measured."""

    build: Callable[[], nn.Module]
    data: Callable[[], Data]
    family: Family
    epochs: int = 20
    kinked: bool = True
    linear: bool = False
    rows: int = 12
    width: int = 512
    ids: bool = False


PIXELS = partial(digits, 64)
PICTURES = partial(digits, 1, 16, 16, scale=2)
ZOO: dict[str, Kind] = {
    "mlp_cancer": Kind(lambda: mlp(nn.ReLU, 30, 64, 64, 2), cancer, "ReLU", linear=True),
    "mlp_digits": Kind(lambda: mlp(nn.ReLU, 64, 128, 128, 10), PIXELS, "ReLU", linear=True),
    "mlp_deep": Kind(lambda: mlp(nn.ReLU, 64, *6 * (64,), 10), PIXELS, "ReLU", 30, linear=True),
    "cnn_digits": Kind(
        lambda: cnn(nn.ReLU), PICTURES, "max-pool", 8, linear=True, rows=8, width=128
    ),
    "resnet_bn": Kind(resnet, shapes, "ReLU", 12, linear=True, rows=4, width=64),
    "relu_transformer": Kind(
        lambda: Transformer(nn.Embedding(40, 32), 12, 4, "relu"), sentences, "transformer",
        12, rows=4, ids=True,
    ),
    "gelu_cnn": Kind(lambda: cnn(nn.GELU), PICTURES, "max-pool", 8, rows=8, width=128),
    "gelu_mlp": Kind(lambda: mlp(nn.GELU, 64, 128, 128, 10), PIXELS, "smooth", kinked=False),
    "softplus_mlp": Kind(
        lambda: mlp(nn.Softplus, 64, 128, 128, 10), PIXELS, "smooth", 40, kinked=False
    ),
    "gelu_transformer": Kind(
        lambda: Transformer(nn.Linear(8, 32), 8, 10, "gelu"), partial(digits, 8, 8),
        "transformer", 25, kinked=False,
    ),
}  # fmt: skip


def case(name: str, rows: int | None = None) -> Case:
    """A net of the zoo on its first held-out rows, in float64; trained where it is not kept."""
    kind = ZOO[name]
    net, data, _ = trained(name)
    net, x = net.double(), data.x_test[: rows or kind.rows]
    facts: dict[str, Any] = {"kinked": kind.kinked, "linear": kind.linear, "width": kind.width}
    if kind.ids:
        hidden = ig.MaskToken(MASK)
        with torch.no_grad():
            ends = net.enter(x), net.enter(torch.full_like(x, MASK))
        scores = lambda model, z: model.after(z)  # noqa: E731
        return Case(name, kind.family, net, scores, x, hidden, *ends, at="embedding", **facts)
    x = x.double()
    zeros = torch.zeros_like(x)
    return Case(name, kind.family, net, lambda model, z: model(z), x, zeros, x, zeros, **facts)


def trained(name: str) -> tuple[Any, Data, float]:
    """A net in evaluation mode, its data, and the share of held-out rows that it gets right."""
    kind, path = ZOO[name], store.folder("zoo") / f"{name}-{VERSION}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        data, net = kind.data(), kind.build()
        state, _ = store.read(path)
        if not state:
            learn(net, data, kind.epochs)
            store.write(path, net.state_dict())
            state, _ = store.read(path)
    net.load_state_dict(state)
    net.eval().requires_grad_(False)
    with torch.no_grad():
        right = (net(data.x_test).argmax(1) == data.y_test).double().mean()
    return net, data, float(right)


def learn(net: nn.Module, data: Data, epochs: int, size: int = 64) -> None:
    """Cross-entropy by Adam, the rate falling to zero."""
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    steps = epochs * -(-len(data.y) // size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for _ in range(epochs):
        for index in torch.randperm(len(data.y)).split(size):
            optimizer.zero_grad()
            functional.cross_entropy(net(data.x[index]), data.y[index]).backward()
            optimizer.step()
            schedule.step()

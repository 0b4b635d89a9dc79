"""A demo without a model, a download or a network: handwritten digits, learned on the spot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.attribute import attribute
from intgrad.attribution import Attribution
from intgrad.baseline import Zeros
from intgrad.quadrature import Automatic
from intgrad.subject import Picture

try:
    from sklearn.datasets import load_digits
except ImportError as error:
    raise ImportError(
        'the demo needs scikit-learn for its digits; pip install "intgrad[demo]" brings it.'
    ) from error

HELD_OUT = 360
SHOWN = range(8)
# Kinks bend the path, so the number of nodes is not taken on trust: rows above 1 % get more.
QUADRATURE = Automatic(rtol=1e-2)


@dataclass(frozen=True)
class Digits:
    """Pictures (n, 1, 8, 8) in [0, 1], black 0, and the digits (n,) that were written."""

    x: Tensor
    y: Tensor

    def take(self, index: Tensor) -> Digits:
        """Some of them."""
        return Digits(self.x[index], self.y[index])


@dataclass(frozen=True)
class Demo:
    """What the demo found: the explained digits, and how good and how quick the training was."""

    attribution: Attribution
    accuracy: float
    held_out: int
    seconds: float


def run(seed: int = 0, progress: Callable[[int], None] | bool = False) -> Demo:
    """Train a small network on scikit-learn's digits and explain eight it has not seen.

    Integrated gradients of the predicted class's logit, from black, to 1 %. About two seconds;
    the caller's random state is left as it was, and the same seed gives the same bytes.

    Parameters
    ----------
    seed
        Decides the split, the first weights and the order of training.
    progress
        As in `intgrad.attribute`.
    """
    began = time.perf_counter()
    with alone(seed):
        train, test = split(digits())
        model = trained(train)
        seconds = time.perf_counter() - began
        right = float((scores(model, test.x).argmax(1) == test.y).double().mean())
        found = explained(model, one_of_each(test), progress)
    return Demo(found, right, len(test.y), seconds)


@contextmanager
def alone(seed: int) -> Iterator[None]:
    """One thread and a random state of its own: the same bytes on two cores as on sixty-four.

    For so small a network more threads gain nothing, and on a busy machine they wait for each other.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def digits() -> Digits:
    """All 1,797 of them, 8 x 8 pixels of 17 greys."""
    found: Any = load_digits()
    pixels = torch.as_tensor(found.images, dtype=torch.float32)
    return Digits(pixels[:, None] / 16, torch.as_tensor(found.target, dtype=torch.long))


def split(data: Digits) -> tuple[Digits, Digits]:
    """Those to learn from, and those held out."""
    order = torch.randperm(len(data.y))
    return data.take(order[HELD_OUT:]), data.take(order[:HELD_OUT])


def network() -> nn.Sequential:
    """Two convolutions and a linear layer, 9,930 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )


def trained(data: Digits, epochs: int = 10, size: int = 64) -> nn.Module:
    """A network that has seen `data` so many times, in evaluation mode."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for index in torch.randperm(len(data.y)).split(size):
            batch = data.take(index)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch.x), batch.y).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def scores(model: nn.Module, x: Tensor) -> Tensor:
    """The logits (n, 10)."""
    return model(x)


def one_of_each(data: Digits) -> Digits:
    """The first picture of every digit shown."""
    return data.take(torch.stack([(data.y == digit).nonzero()[0, 0] for digit in SHOWN]))


def explained(
    model: nn.Module, data: Digits, progress: Callable[[int], None] | bool
) -> Attribution:
    """Attribute the predicted digit of every picture, and name the rows."""
    found = attribute(model, data.x, baseline=Zeros(), quadrature=QUADRATURE, progress=progress)
    likely = scores(model, data.x).softmax(1)
    subjects = [picture(*row) for row in zip(data.x, data.y.tolist(), likely, strict=True)]
    return replace(found, subjects=tuple(subjects))


def picture(x: Tensor, digit: int, likely: Tensor) -> Picture:
    """A row as its owner knows it: the digit's own 8 x 8 pixels, and the three best guesses."""
    pixels = (x[0] * 255).round().to(torch.uint8)
    best = likely.topk(3)
    guesses = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Picture(
        name=f"a handwritten {digit}",
        pixels=pixels[:, :, None].repeat(1, 1, 3),
        predictions=tuple((str(label), p) for label, p in guesses),
    )

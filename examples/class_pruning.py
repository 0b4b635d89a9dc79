"""Does a network have neurons for one class? Remove some, or all but some, and count the errors.

python examples/class_pruning.py [ROWS]

After Lundstrom, Huang, Razaviyayn 2022 (arXiv:2202.11912), with a small network of handwritten digits
from the folder that INTGRAD_DATA names; ROWS is how many pictures are tried, 1000 by default.
"""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import intgrad as ig

DATA = Path(os.environ.get("INTGRAD_DATA", "data")) / "mnist_t10k"
HELD = 8000  # the network was trained on the pictures before


def network() -> nn.Module:
    """Two convolutions, a hidden layer of 64 neurons (module 8), ten classes."""
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(1568, 64), nn.ReLU(), nn.Linear(64, 10))
    net.load_state_dict(load_file(DATA / "cnn.safetensors"))
    return net.eval()


def read(name: str, header: int) -> Tensor:
    """The bytes of a file of the data set, without its header."""
    with gzip.open(DATA / name) as file:
        return torch.from_numpy(np.frombuffer(file.read()[header:], np.uint8).copy())


def main() -> None:
    """Print the accuracies on a digit, and on all, without its neurons and without the others."""
    if not DATA.exists():
        print(f"Skipped: there is no {DATA}. Name its folder in INTGRAD_DATA.")
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    net, y = network(), read("t10k-labels-idx1-ubyte.gz", 8).long()
    x = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28).float() / 255
    for digit in (7, 3):
        own = x[:HELD][y[:HELD] == digit][
            :100
        ]  # rank the neurons on pictures the network was shown
        recipe = ig.methods.conductance("8", quadrature=ig.GaussLegendre(32, rtol=float("inf")))
        values = recipe(net, own, target=digit).values
        left = ig.inside.prune_class(
            net,
            x[HELD : HELD + rows],
            y[HELD : HELD + rows],
            at="8",
            ranking=values.mean(0, keepdim=True),
            of=digit,
            counts=(0, 8, 16, 17, 33, 49),
        )
        print(f"\nDigit {digit}: accuracy on it (on all ten), {rows} pictures, 64 neurons")
        print(left.table())


if __name__ == "__main__":
    main()

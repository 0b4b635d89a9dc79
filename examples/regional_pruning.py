"""Which neurons made this part of a picture count? Take them away, and see what goes.

python examples/regional_pruning.py [PICTURES]

After Lundstrom, Huang, Razaviyayn 2022 (arXiv:2202.11912), with the networks and pictures of the
folder that INTGRAD_DATA names: so many pictures of each kind, 20 by default.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import intgrad as ig

DATA = Path(os.environ.get("INTGRAD_DATA", "data"))
NODES = ig.GaussLegendre(32, rtol=float("inf"))  # sums over regions are read, not single pixels


def black_is_zero(net: nn.Module, prepare, *names) -> nn.Module:
    """The network, of pictures in [0, 1]."""
    net.register_forward_pre_hook(lambda module, given: (prepare(given[0]),))
    return net


def boxes(pixels: Tensor, side: int) -> Tensor:
    """Of each picture (n, 1, size, size), the window with the largest sum, as a mask."""
    found = torch.zeros_like(pixels, dtype=torch.bool)
    for mask, sums in zip(found, nn.functional.avg_pool2d(pixels, side, 1), strict=True):
        i, j = divmod(int(sums.argmax()), sums.shape[-1])
        mask[:, i : i + side, j : j + side] = True
    return found


def compare(title: str, model: nn.Module, x: Tensor, at: str) -> None:
    """Sums of integrated gradients inside and outside, as the highest neurons of a layer go."""
    how = {"target": ig.Probability(model(x).argmax(1)), "quadrature": NODES}
    box = boxes(ig.attribute(model, x, **how).values.sum(1, keepdim=True), x.shape[-1] // 4)
    regional = ig.inside.regional(model, x, at=at, region=box, **how)
    conductance = ig.attribute(model, x, at=at, path=ig.PushedForward(), **how)
    torch.manual_seed(0)
    ranks = {"the box": regional, "conductance": conductance}
    for name, rank in {**ranks, "chance": torch.rand(regional.values.shape)}.items():
        left = ig.inside.prune(model, x, at=at, ranking=rank, region=box, **how)
        print(f"\n{title}, {len(x)} pictures: neurons of {at}, ranked by {name}\n{left.table()}")
        turned, risen = left.inside[:, 1] < 0, left.outside[:, 1] > left.outside[:, 0]
        held = (turned, risen, turned & risen & (left.total[:, 1] > left.total[:, 0] / 2))
        said = "At 1 %: inside below 0 in {}, outside risen in {}, and half of the total left in {}"
        print(said.format(*(int(rows.sum()) for rows in held)))


def main() -> None:
    """Print what goes with the neurons behind a box of each picture."""
    if not (DATA / "nets.py").exists():
        print(f"Skipped: there is no {DATA / 'nets.py'}. Name its folder in INTGRAD_DATA.")
        return
    pictures = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    sys.path.insert(0, str(DATA))
    nets = importlib.import_module("nets")
    small = np.load(DATA / "cifar10_test1000" / "cifar10_test1000.npz")["x"][:: 1000 // pictures]
    x = torch.from_numpy(small[:pictures]).permute(0, 3, 1, 2).float() / 255
    compare("CIFAR-10 ResNet-56", black_is_zero(*nets.cifar_resnet(56)), x, "layer2")
    photos = sorted((DATA / "imagenet_photos" / "ig").glob("*.jpg"))
    x = torch.cat([nets.load_image(photo) for photo in photos[:pictures]])
    compare("SqueezeNet 1.1", black_is_zero(*nets.squeezenet()), x, "fire5")


if __name__ == "__main__":
    main()

"""Is the certificate's floor of the right order? Beside what float32 really does, by float64.

    python benchmarks/floor.py

For real nets on real pictures: the relative L1 change from float64 to float32 at the same nodes,
the floor that the float32 answer states, and their ratio, a row. Data as in overhead.py.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import torch
from overhead import DATA

import intgrad as ig


def main() -> None:
    sys.path.insert(0, str(DATA))
    import nets  # pyright: ignore[reportMissingImports]

    warnings.simplefilter("ignore")
    paths = sorted((DATA / "imagenet_photos" / "named").glob("*.jpg"))[:5]
    photos = torch.cat([nets.load_image(p) for p in paths])
    small = np.load(DATA / "cifar10_test1000" / "cifar10_test1000.npz")["x"][:10]
    tiny = torch.from_numpy(small).permute(0, 3, 1, 2).float() / 255
    cases = {
        "SqueezeNet 1.1": (nets.squeezenet(), photos),
        "MobileNetV1": (nets.mobilenet_v1(), photos),
        "ResNet-20": (nets.cifar_resnet(20), tiny),
    }
    print(
        "| net | rows | float32 from float64, median (range) | floor, median | floor / true, range |"
    )
    print("|---|---|---|---|---|")
    for name, ((net, prepare, _), pictures) in cases.items():
        x = prepare(pictures)
        y, rule = net(x).argmax(1), ig.GaussLegendre(16)
        one = ig.attribute(net, x, target=y, quadrature=rule)
        two = ig.attribute(net, x, target=y, quadrature=rule, dtype="float64")
        off = (one.values - two.values).abs().flatten(1).sum(1)
        true = off / two.values.abs().flatten(1).sum(1)
        ratio = one.floor / true
        print(
            f"| {name} | {len(x)} | {true.median():.0e} ({true.min():.0e} to {true.max():.0e}) | "
            f"{one.floor.median():.0e} | {ratio.min():.2g} to {ratio.max():.2g} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

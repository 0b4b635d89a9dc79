"""All classes in one sweep, beside as many runs of Captum; batches of backwards beside a loop; memory.

    python benchmarks/targets.py                  # all of it, as Markdown tables
    python benchmarks/targets.py --repeats 5      # steadier medians

The same 50 Gauss-Legendre nodes everywhere. Captum is asked once a class and returns values only;
intgrad returns values, error, floor and residual of every class. Captum's internal batch is the
faster of its default and of intgrad's width for one class. Contestants take turns in one process;
a ratio is the median of the ratios of neighbouring runs. ResNet-20 has published weights, read from
INTGRAD_DATA or from ../shared/data beside the repository; with 100 classes its last layer, like the
other nets, is random.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from captum.attr import IntegratedGradients
from lab import memory
from overhead import DATA, seconds
from torch import Tensor, nn

import intgrad as ig
from intgrad.model.backward import Backward
from intgrad.model.memory import cotangents_for

NODES = 50
RULE = ig.GaussLegendre(NODES, rtol=1.0)


def mlp(classes: int) -> nn.Module:
    """Two hidden layers of 128: (n, 64) -> (n, classes)."""
    hidden = nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(128, classes)).eval()


def cnn(classes: int) -> nn.Module:
    """Three convolutions, two max-pools: (n, 1, 16, 16) -> (n, classes)."""
    first = nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    third = nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*first, *second, *third, nn.Linear(512, classes)).eval()


def resnet(classes: int) -> nn.Module:
    """ResNet-20 of CIFAR-10: (n, 3, 32, 32) -> (n, classes)."""
    sys.path.insert(0, str(DATA))
    import nets  # pyright: ignore[reportMissingImports]

    net = nets.cifar_resnet(20)[0]
    if classes != 10:
        net.linear = nn.Linear(64, classes)
    return net.eval()


CASES: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...], int]] = {
    "MLP": (mlp, (64,), 8),
    "small CNN": (cnn, (1, 16, 16), 4),
    "ResNet-20": (resnet, (3, 32, 32), 1),
}


def case(name: str, classes: int) -> tuple[nn.Module, Tensor]:
    """A net and its input, the same every time."""
    make, shape, rows = CASES[name]
    torch.manual_seed(0)
    return make(classes), torch.rand(rows, *shape)


# ------------------------------------------------------------------------------- contestants


def ours(net: nn.Module, x: Tensor, target: Any) -> ig.Attribution:
    return ig.attribute(net, x, target=target, quadrature=RULE)


def captum(net: nn.Module, x: Tensor, classes: range, width: int | None) -> Tensor:
    """Values (classes, n, ...), one run a class."""
    explain = IntegratedGradients(net).attribute
    how: dict[str, Any] = {"n_steps": NODES, "method": "gausslegendre"}
    return torch.stack([explain(x, target=k, internal_batch_size=width, **how) for k in classes])


def faster(net: nn.Module, x: Tensor) -> int | None:
    """The internal batch with which Captum needs less time, of its default and of our width."""
    widths = (None, max(ours(net, x, 0).run.width, len(x)))
    spent = {
        w: min(seconds(lambda w=w: captum(net, x, range(2), w)) for _ in range(3)) for w in widths
    }
    return min(widths, key=lambda w: spent[w])


def compare(name: str, classes: int, repeats: int) -> str:
    """One row of the table of times."""
    net, x = case(name, classes)
    width, every, found = faster(net, x), range(classes), {}
    runs = [
        (
            seconds(lambda: found.update(ours=ours(net, x, ig.All()))),
            seconds(lambda: found.update(captum=captum(net, x, every, width))),
        )
        for _ in range(repeats)
    ]
    a, theirs = found["ours"], found["captum"]
    apart = float((a.values - theirs).abs().sum() / theirs.abs().sum())
    mine, other = (median(r[i] for r in runs) for i in (0, 1))
    ratio = median(b / m for m, b in runs)
    return (
        f"| {name} ({len(x)}) | {classes} | {a.run.width} | {mine:.3f} | {other:.3f} | {ratio:.2f} "
        f"| {apart:.0e} |"
    )


# ------------------------------------------------------------------------- a batch beside a loop


def batches(name: str, rows: int, repeats: int) -> str:
    """One row of the table that decides when backwards are batched: 16 targets of one call."""
    net, x = case(name, 16)
    x = x[:1].repeat(rows, *(1,) * (x.ndim - 1)).requires_grad_()
    kept = kept_by(net.requires_grad_(False), x)
    spent: dict[str, list[float]] = {"loop": [], "batch": []}
    for _ in range(repeats + 1):
        for how, backward in (
            ("loop", Backward()),
            ("batch", Backward(row=0)),
        ):  # 0: never too much
            values = net(x).T
            spent[how].append(seconds(lambda v=values, b=backward: b(v, (x,), False)))
    runs = list(zip(spent["loop"], spent["batch"], strict=True))[1:]
    ratio, chosen = median(a / b for a, b in runs), cotangents_for(kept, x.device)
    return f"| {name} | {rows} | {kept / 2**20:.2f} | {ratio:.2f} | {chosen if chosen > 1 else 'a loop'} |"


def kept_by(net: nn.Module, x: Tensor) -> int:
    """Bytes that a call keeps for its backward pass."""
    kept: dict[int, int] = {}

    def note(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        net(x)
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    return sum(size for address, size in kept.items() if address not in own)


# ------------------------------------------------------------------------------------ memory


def peak_of(who: str, name: str, classes: int) -> int:
    """Peak resident bytes of one call, in this process."""
    net, x = case(name, classes)
    run = {
        "all": lambda: ours(net, x, ig.All()),
        "one": lambda: ours(net, x, 0),
        "captum": lambda: captum(net, x, range(1), None),
    }[who]
    ours(net.requires_grad_(False), x[:1, ...], 0)  # what torch sets up once
    return memory.peak(run)


def in_child(who: str, name: str, classes: int) -> float:
    """The peak in MiB, measured in a process of its own."""
    return memory.in_child(__file__, "--peak", who, name, classes) / 2**20


# ------------------------------------------------------------------------------------- tables


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.peak:
        who, name, classes = args.peak
        print(peak_of(who, name, int(classes)))
        return
    if not DATA.is_dir():
        sys.exit(f"{DATA} is not there; set INTGRAD_DATA to the folder of models and photos.")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.repeats} repeats\n")
    print("| net (rows) | classes | width | ours s | Captum s | Captum / ours | values apart |")
    print("|---|---|---|---|---|---|---|")
    for name in CASES:
        for classes in (10, 100):
            print(compare(name, classes, args.repeats), flush=True)
    print(
        "\n| net | rows in a call | MiB kept | loop / batch of 16 | used |\n|---|---|---|---|---|"
    )
    for name, sizes in (("MLP", (1, 50, 400)), ("small CNN", (1, 8, 50)), ("ResNet-20", (1, 8))):
        for rows in sizes:
            print(batches(name, rows, 2 * args.repeats), flush=True)
    print(
        "\n| peak of a call, MiB | one class | 10 classes | 100 classes | values of 100 | Captum, one |"
    )
    print("|---|---|---|---|---|---|")
    for name in ("small CNN", "ResNet-20"):
        one, ten, every = (
            in_child(w, name, c) for w, c in (("one", 100), ("all", 10), ("all", 100))
        )
        values = 100 * case(name, 100)[1].nbytes / 2**20
        theirs = in_child("captum", name, 100)
        print(
            f"| {name} | {one:.0f} | {ten:.0f} | {every:.0f} | {values:.1f} | {theirs:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

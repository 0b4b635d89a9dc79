"""Faithfulness: which methods say what the model does, beside a random map and the model's gradient.

    python benchmarks/faithfulness.py                      # SqueezeNet, MobileNetV1, and texts
    python benchmarks/faithfulness.py --photos 4 --texts 16 --only squeezenet
    python benchmarks/faithfulness.py randomisation        # do maps change with the model's weights?
    python benchmarks/faithfulness.py areas                # how well areas are known, and what that costs
    python benchmarks/faithfulness.py quantus              # the same results as Quantus, and what each costs
    python benchmarks/faithfulness.py --smoke              # all but Quantus, tiny

Photos are of 224 x 224 pixels of [0, 1]; the logit of the predicted class is explained from black, and
removed pixels are blurred (sigma 10), which no method here starts from. Texts are sentences of SST on
hf/sst_bert, words masked. Numbers are means over inputs with half of their 95 % interval (Student's);
* marks those that are better than the random map's by more than chance explains, - those that are worse,
input by input. Of so many pairs, one in twenty is marked by chance.

In float32 on one thread. For `quantus` install it beside this library; the rest does not need it.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lab import scenes
from lab.areas import areas
from lab.erasure import sentences
from lab.flipping import beside_quantus
from lab.page import table
from lab.real import DATA
from torch import Tensor

import intgrad as ig
from intgrad.audit import measures
from intgrad.audit.interval import half_width
from intgrad.audit.randomisation import dependence, randomised
from intgrad.audit.run import as_explain
from intgrad.audit.task import Task

RULE = ig.GaussLegendre(16)
METRICS: dict[str, tuple[measures.Metric, bool]] = {
    "deletion": (measures.area("deletion"), False),
    "insertion": (measures.area("insertion"), True),
    "ABPC": (measures.between, True),
    "ROAD": (measures.road, False),
    "infidelity": (measures.infidelity, False),
    "monotonicity": (measures.monotonicity, True),
}
SHUFFLES = 3


def edges(model: Any, x: Tensor, target: Any) -> Tensor:
    """The size of Sobel's gradient: it never looks at the model."""
    slope = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=x.dtype)
    both = torch.stack([slope, slope.T])[:, None]
    return torch.conv2d(x.sum(1, keepdim=True), both, padding=1).square().sum(1).sqrt()


def for_photos(others: Tensor) -> dict[str, Any]:
    """Who is compared on photos."""
    m = ig.methods
    return {
        "IG": m.integrated_gradients(quadrature=RULE),
        "blur IG": m.blur_ig(quadrature=RULE),
        "expected gradients": m.expected_gradients(others, quadrature=ig.MonteCarlo(16)),
        "SmoothGrad": m.smooth_grad(samples=16),
        "edges": edges,
    }


@dataclass(frozen=True, eq=False)
class Bench:
    """A net with inputs, and who is compared on them."""

    name: str
    task: Task
    methods: dict[str, Any]
    skip: tuple[str, ...] = ()

    def maps(self) -> Iterator[tuple[str, Tensor, float]]:
        """Each method's map, and its seconds an input."""
        yield "random", self.task.random, 0.0
        for name, method in {**self.methods, "gradient x input": None}.items():
            began = time.perf_counter()
            if method is None:
                found = self.task.gradient
            else:
                own = Task(as_explain(method), self.task.model, self.task.x, self.task.target)
                found = own.ask()
            yield name, found, (time.perf_counter() - began) / len(self.task.x)


def of_photos(name: str, found: list[scenes.Scene]) -> Bench:
    """Photos of one net."""
    x = torch.cat([s.x for s in found])
    target = torch.tensor([s.best for s in found])
    task = Task(edges, found[0].model, x, target, absent=ig.Blurred(10.0), width=8)
    return Bench(name, task, for_photos(found[0].others))


def of_texts(count: int) -> Bench:
    """Sentences of SST's test set that are not neutral."""
    from intgrad import hub
    from intgrad.cli.audit import method_of, texts
    from intgrad.cli.request import Start

    rows = texts(hub.load(str(DATA / "hf" / "sst_bert")), sentences(count), Start.mask)
    with torch.no_grad():
        target = rows.model(rows.x).logits.argmax(1)
    m = ig.methods
    recipes = {
        "IG": m.integrated_gradients(quadrature=RULE),
        "Sequential IG": m.sequential_ig(quadrature=ig.GaussLegendre(4)),
        "occlusion": m.occlusion(),
    }
    named = {n: method_of(r, rows) for n, r in recipes.items()}
    task = Task(as_explain(named["IG"]), rows.model, rows.x, target, rows.baseline, width=32)
    return Bench("sst_bert", task, named, skip=("ROAD",))


# -------------------------------------------------------------------------------- the metrics


def compare(bench: Bench) -> None:
    """One table: methods by metrics."""
    chosen = {n: m for n, m in METRICS.items() if n not in bench.skip}
    lines, first = [], {}
    for name, values, seconds in bench.maps():
        found = {n: metric(bench.task, values) for n, (metric, _) in chosen.items()}
        first = first or found
        cells = [cell(found[n], first[n], high) for n, (_, high) in chosen.items()]
        lines.append([name, *cells, f"{seconds:.2f}" if seconds else "-"])
    heads = [f"{n}, {'high' if high else 'low'}" for n, (_, high) in chosen.items()]
    title = f"{bench.name}, {len(bench.task.x)} inputs"
    table(title, ("method", *heads, "s an input"), lines)


def cell(found: Tensor, random: Tensor, high: bool) -> str:
    """A mean, how sure it is, and whether it is better or worse than random."""
    ahead = (found - random) * (1 if high else -1)
    sure = half_width(ahead)
    mark = " *" if float(ahead.mean()) > sure else " -" if float(-ahead.mean()) > sure else ""
    return f"{float(found.mean()):.3f} ± {half_width(found):.2g}{mark}"


# ------------------------------------------------------------------------------- randomisation


def randomisation(bench: Bench) -> None:
    """One table: how alike the maps of a model and of its shuffled copies are; constant maps are left out."""
    others = [randomised(bench.task.model, k) for k in range(SHUFFLES)]  # type: ignore[arg-type]
    tasks = [Task(edges, o, bench.task.x, bench.task.target, width=8) for o in others]
    shuffled = [{n: v for n, v, _ in Bench("", t, bench.methods).maps()} for t in tasks]
    lines = []
    for name, values, _ in bench.maps():
        if name == "random":
            continue
        found = [dependence(values, s[name], 1 if values.ndim == 4 else ()) for s in shuffled]
        mean = sum(f.mean for f in found) / SHUFFLES
        size = float(torch.stack([f.magnitude for f in found]).nanmean())
        most = float(torch.stack([f.correlation for f in found]).nan_to_num().abs().max())
        lines.append([name, f"{mean:+.4f}", f"{most:.4f}", f"{found[0].chance:.4f}", f"{size:.3f}"])
    heads = ("method", "rank correlation", "largest of a photo", "chance, 99 %", "of magnitudes")
    table(
        f"{bench.name}, weights shuffled {SHUFFLES} times, {len(bench.task.x)} inputs", heads, lines
    )


# --------------------------------------------------------------------------------------- areas


def maps() -> dict[str, Any]:
    """Those whose curves are asked finely: of three kinds."""

    def drawn(model: Any, x: Tensor, target: Any) -> Tensor:
        return torch.randn(x[:, :1].shape, generator=torch.Generator().manual_seed(0))

    ours = ig.methods.integrated_gradients(quadrature=RULE)
    return {"IG": ours, "edges": edges, "random": drawn}


# ------------------------------------------------------------------------------------- the run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add(
        "part",
        nargs="?",
        choices=("methods", "randomisation", "areas", "quantus"),
        default="methods",
    )
    add("--photos", type=int, default=6)
    add("--texts", type=int, default=24)
    nets = ("squeezenet", "mobilenet_v1", "sst_bert")
    add("--only", nargs="*", choices=nets, default=nets)
    add("--device", default="cpu", help="of `quantus`")
    add("--smoke", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ig.NotConverged)  # rules are fixed here
    warnings.filterwarnings("ignore", category=ResourceWarning)  # the loaders beside the data
    if args.smoke:
        bench = of_photos("tiny", list(scenes.tiny(3)))
        compare(bench)
        areas(list(scenes.tiny(1)), maps())
        return randomisation(bench)
    if args.part == "quantus":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs
            return beside_quantus(args.photos, args.device)
    if not DATA.is_dir():
        sys.exit(f"no data at {DATA}; set INTGRAD_DATA to their folder.")
    ask = compare if args.part == "methods" else randomisation
    for name in args.only:
        if name == "sst_bert":
            if args.part == "methods":
                ask(of_texts(args.texts))
            continue
        photos = list(scenes.photos(name, args.photos))
        if args.part == "areas":
            areas(photos, maps())
        else:
            ask(of_photos(name, photos))


if __name__ == "__main__":
    main()

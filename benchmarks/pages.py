"""The figures that the documentation's pages quote of one method alone, a part for each page.

    python benchmarks/pages.py                  # all of them
    python benchmarks/pages.py boundary photos  # some: boundary photos discretized guided noise
    python benchmarks/pages.py --smoke          # all of them, tiny

Networks and photographs are read from INTGRAD_DATA, or ../shared/data; a part whose data are not
there is left out with a sentence. Evaluations are all that `Attribution.evaluations` counts.
"""

from __future__ import annotations

import argparse
import re
import time
import warnings
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from lab import erasure, real, scales
from lab.page import table
from torch import Tensor, nn

import intgrad as ig
from intgrad import hub, text
from intgrad.path.curve import bind_rows

ONE = ig.LeftRiemann(1)  # where the start alone is wanted


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rows: int = 40
    attempts: int = 150
    photos: int = 2
    sentences: int = 24
    steps: tuple[int, ...] = (10, 20, 50)
    fine: int = 64


TINY = Sizes(2, 3, 1, 2, (3, 4), 4)


def distances(model: Any, x: Tensor, start: ig.Boundary) -> Tensor:
    """How far away the boundary was found, a row."""
    a = ig.attribute(model, x, baseline=start, quadrature=ONE)
    found = re.findall(r"([\d.e+-]+) away", a.run.notes[-1])
    return torch.tensor([float(d) for d in found], dtype=torch.float64)


# ------------------------------------------------------------------------------ docs/methods/big.md


def boundary(sizes: Sizes) -> None:
    """How far the search stops from the nearest point, on random networks."""
    searches = {
        "walk alone": (0, 0),
        "and slide": (0, 20),
        "and 2 restarts": (2, 20),
        "and 4": (4, 20),
    }
    lines = []
    for kind, features in ((nn.ReLU, 6), (nn.GELU, 6), (nn.ReLU, 20)):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(features, 32), kind(), nn.Linear(32, 32), kind(), nn.Linear(32, 4)
        )
        net = net.double().eval()
        with torch.no_grad():
            for weights in net.parameters():
                weights.mul_(3)
        x = torch.randn(sizes.rows, features, dtype=torch.float64)
        least = distances(net, x, ig.Boundary(restarts=sizes.attempts))
        line = [f"{kind.__name__}, {features} features"]
        for restarts, refine in searches.values():
            found = distances(net, x, ig.Boundary(restarts=restarts, refine=refine))
            least = torch.minimum(least, found)
            over = found / least - 1
            line.append(f"{100 * over.mean():.1f} %, {100 * over.max():.2g} %")
        lines.append(line)
    title = (
        f"Excess of the distance to the boundary, mean and worst of {sizes.rows} rows, nearest of "
        f"{sizes.attempts + 1} attempts"
    )
    table(title, ("network", *searches), lines)


class Pixels(nn.Module):
    """A network on pixels in [0, 1]."""

    def __init__(self, net: nn.Module, prepare: Any) -> None:
        super().__init__()
        self.net, self.prepare = net.eval(), prepare

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.prepare(x))


def pixels(name: str) -> tuple[Pixels, Any]:
    """A network of photographs, and the names of its classes."""
    net, prepare, labels = getattr(real.nets(), name)()
    return Pixels(net, prepare), labels


def photos(sizes: Sizes) -> None:
    """The boundary near photographs."""
    if absent():
        return
    lines = []
    for name in ("mobilenet_v1", "squeezenet"):
        model, labels = pixels(name)
        for i, x in enumerate(real.photos(sizes.photos).split(1)):
            for restarts in (2, 0):
                near = ig.Boundary(restarts=restarts, low=0, high=1)
                began = time.perf_counter()
                a = ig.attribute(model, x, baseline=near, quadrature=ONE)
                took = time.perf_counter() - began
                note = a.run.notes[-1]
                classes = re.search(r"from class (\d+) to (\d+), ([\d.e+-]+) away", note)
                assert classes is not None
                start, end = (labels[int(c)] for c in classes.groups()[:2])
                walk = distances(model, x, ig.Boundary(restarts=restarts, refine=0, low=0, high=1))
                lines.append(
                    (f"{name}, photo {i}: {start}", end, restarts, f"{float(walk):.3f}",
                     classes[3], f"{float(a.evaluations):.0f}", f"{took:.1f}")
                )  # fmt: skip
    columns = ("network, photograph", "crosses into", "restarts", "distance, walk alone", "distance",
               "evaluations", "seconds")  # fmt: skip
    table("The boundary near photographs, 224 x 224 pixels in [0, 1], L2", columns, lines)


# ------------------------------------------------------------------------------ other pages


def discretized(sizes: Sizes) -> None:
    """The published sum, two Gauss points, the default; how far the first anchor goes."""
    if absent("hf/sst_bert"):
        return
    found = hub.load(str(real.DATA / "hf" / "sst_bert"))
    some = erasure.sentences(sizes.sentences)
    rules = {"left, 1 a segment": ONE, "Gauss, 2 a segment": ig.GaussLegendre(2),
             "the default": ig.Automatic()}  # fmt: skip
    truth = walked(found, some, ig.GaussLegendre(12))
    lines = []
    for name, rule in rules.items():
        answers = walked(found, some, rule)
        off = [scales.apart(a.values, t.values) for a, t in zip(answers, truth, strict=True)]
        cost = sum(float(a.evaluations) for a in answers) / len(answers)
        lines.append((name, f"{100 * median(off):.2g} %", f"{100 * max(off):.2g} %", f"{cost:.0f}"))
    columns = ("rule", "relative L1 error, median", "worst", "evaluations a text")
    table(f"Discretized IG, {len(some)} sentences, sst_bert", columns, lines)
    print(f"\nOf the way to the baseline the first anchor covers {100 * leap(found, some):.0f} %.")


def walked(found: Any, some: list[str], rule: Any) -> list[ig.Attribution]:
    """Discretized IG of each text."""
    recipe = ig.methods.discretized_ig(quadrature=rule)
    answers = text.explain(found.model, found.processor, some, baseline=text.Mask(), recipe=recipe)
    return list(answers)


def leap(found: Any, some: list[str]) -> float:
    """The share of a word's way to [MASK] that the first of 31 segments goes, mean over words, L1."""
    tokenizer = found.processor
    table = found.model.get_input_embeddings().weight.detach().double()
    ids = {i for line in some for i in tokenizer(line, add_special_tokens=False)["input_ids"]}
    words = table[sorted(ids)][:, None]
    mask = table[tokenizer.mask_token_id].expand_as(words)
    path = ig.Anchored(table, skip=(*tokenizer.all_special_ids,))
    way = path.trace(None, bind_rows((mask,), (words,)))
    first = way.start.take(torch.arange(len(way)))[0].unflatten(0, (-1, len(words)))[-1]
    share = (words - first).abs().sum((1, 2)) / (words - mask).abs().sum((1, 2))
    return float(share.mean())


def guided(sizes: Sizes) -> None:
    """One path, two sums; and other numbers of steps."""
    lines = []
    for case in scales.digits(2):

        def ask(steps: int, rule: Any, case: scales.Subject = case) -> ig.Attribution:
            return ig.methods.guided_ig(steps=steps, quadrature=rule)(case.f, case.x)

        truth = ask(20, ig.GaussLegendre(16))
        left = ask(20, ONE)
        two = ask(20, ig.GaussLegendre(2))
        others = [ask(n, ig.GaussLegendre(8)) for n in sizes.steps]
        apart = max(scales.apart(o.values, truth.values) for o in others)
        off = [scales.apart(a.values, truth.values) for a in (left, two)]
        lines.append((case.name, *(f"{o:.1e}" for o in off), f"{100 * apart:.2g} %"))
    columns = ("net", "left sum on 20 steps, error", "2 Gauss points, error",
               f"{sizes.steps} steps apart from 20, at most")  # fmt: skip
    table("Guided IG: the integral on one path, and other paths", columns, lines)


def noise(sizes: Sizes) -> None:
    """How well 50 noisy copies know the mean gradient of a photograph."""
    if absent():
        return
    lines = []
    for name in ("mobilenet_v1", "squeezenet"):
        model, _ = pixels(name)
        for i, x in enumerate(real.photos(sizes.photos).split(1)):
            a = ig.methods.smooth_grad()(model, x)
            assert a.error_map is not None
            share = float(a.error_map.abs().sum() / a.values.abs().sum())
            lines.append((f"{name}, photo {i}", f"{100 * share:.0f} %"))
    table("SmoothGrad, 50 copies: standard error over mean", ("network", "L1"), lines)


def absent(folder: str = "imagenet_photos") -> bool:
    """Whether data are missing, said in a sentence."""
    missing = not (real.DATA / folder).is_dir()
    if missing:
        print(f"There is no {folder} at {real.DATA}; set INTGRAD_DATA to the folder that has it.")
    return missing


PARTS = {"boundary": boundary, "photos": photos, "discretized": discretized, "guided": guided,
         "noise": noise}  # fmt: skip


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--smoke", action="store_true", help="all of it, tiny")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ig.NotConverged)  # sums that are meant to be poor
    torch.set_num_threads(1)
    for name in args.parts or PARTS:
        PARTS[name](TINY if args.smoke else Sizes())


if __name__ == "__main__":
    main()

"""What intgrad costs beside a bare hand-written loop and beside Captum: time and peak memory.

    python benchmarks/overhead.py                 # all of it, as Markdown tables
    python benchmarks/overhead.py --pairs 5       # more pairs, steadier medians

The same nodes (Gauss-Legendre), the same call width and the same target everywhere; all three
return values and f(x) - f(baseline). Contestants take turns in one process, and a ratio is the
median of the ratios of neighbouring runs. Memory is the peak resident size of a child process
above what it held before the call, with an allocator that gives back what is freed. Real models
and inputs are read from INTGRAD_DATA, or from
../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from lab import memory
from torch import Tensor

import intgrad as ig

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("INTGRAD_DATA", ROOT.parent / "shared" / "data"))


class Case:
    """A real model on real input: how to ask it, and where its features start and end."""

    def __init__(self, name: str, model: Any, x: Tensor, start: Tensor, extras: tuple[Tensor, ...]):
        self.name, self.model, self.x, self.start, self.extras = name, model, x, start, extras
        self.y = model(x, *extras).argmax(1)


def squeezenet(rows: int) -> Case:
    """SqueezeNet 1.1 on named photos, from black."""
    sys.path.insert(0, str(DATA))
    import nets  # pyright: ignore[reportMissingImports]

    model, prepare, _ = nets.squeezenet()
    paths = sorted((DATA / "imagenet_photos" / "named").glob("*.jpg"))[:rows]
    x = torch.cat([prepare(nets.load_image(p)) for p in paths])
    return Case("SqueezeNet 1.1, photos", model, x, prepare(torch.zeros_like(x)), ())


def questions(rows: int) -> Case:
    """trec_bert on questions of TREC_10, at the embeddings, from zero."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = DATA / "hf" / "trec_bert"
    bert = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    lines = (DATA / "text_trec" / "TREC_10.label").read_text("latin-1").splitlines()[:rows]
    texts = [line.split(" ", 1)[1] for line in lines]
    batch = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, embeddings: Tensor, mask: Tensor) -> Tensor:
            return self.bert(inputs_embeds=embeddings, attention_mask=mask).logits

    x = bert.get_input_embeddings()(batch["input_ids"]).detach()
    case = Case(
        "trec_bert, questions", Net().eval(), x, torch.zeros_like(x), (batch["attention_mask"],)
    )
    return case


CASES: dict[str, Callable[[int], Case]] = {"squeezenet": squeezenet, "trec_bert": questions}


# ------------------------------------------------------------------------------- contestants


def bare(case: Case, nodes: int, width: int) -> tuple[Tensor, Tensor]:
    """What one would write by hand: row by row, gradients of `width` points at a time."""
    t, w = np.polynomial.legendre.leggauss(nodes)
    t, w = torch.from_numpy((t + 1) / 2).float(), torch.from_numpy(w / 2).float()
    values = torch.zeros_like(case.x)
    shape = (-1, *(1,) * (case.x.ndim - 1))
    for r in range(len(case.x)):
        d = case.x[r] - case.start[r]
        for i in range(0, nodes, width):
            z = (case.start[r] + t[i : i + width].view(shape) * d).requires_grad_()
            extras = [e[r : r + 1].expand(len(z), *e.shape[1:]) for e in case.extras]
            (g,) = torch.autograd.grad(case.model(z, *extras)[:, case.y[r]].sum(), z)
            values[r] += (g * w[i : i + width].view(shape)).sum(0)
        values[r] *= d
    with torch.no_grad():
        ends = [case.model(p, *case.extras) for p in (case.x, case.start)]
    gain = (ends[0] - ends[1]).gather(1, case.y[:, None])[:, 0]
    return values, gain - values.flatten(1).sum(1)


def ours(case: Case, nodes: int, width: int) -> tuple[Tensor, Any]:
    """The same with intgrad: its own width, its checks, its error and rounding floor."""
    given = {"mask": case.extras[0]} if case.extras else None
    a = ig.attribute(
        case.model, case.x, target=case.y, baseline=case.start, given=given,
        quadrature=ig.GaussLegendre(nodes),
    )  # fmt: skip
    return a.values, a


def captum(case: Case, nodes: int, width: int | None) -> tuple[Tensor, Tensor]:
    """Captum's IntegratedGradients with the same nodes and internal batch."""
    from captum.attr import IntegratedGradients

    return IntegratedGradients(case.model).attribute(
        case.x, case.start, target=case.y, additional_forward_args=case.extras or None,
        n_steps=nodes, method="gausslegendre", internal_batch_size=width,
        return_convergence_delta=True,
    )  # fmt: skip


# -------------------------------------------------------------------------------------- time


def seconds(run: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def compare(case: Case, nodes: int, pairs: int) -> dict[str, Any]:
    """Median seconds, and median ratios of neighbouring runs."""
    _, a = ours(case, nodes, 0)
    width = a.run.width
    runs = {
        "bare": lambda: bare(case, nodes, width),
        "ours": lambda: ours(case, nodes, width),
        "captum": lambda: captum(case, nodes, max(width, len(case.x))),
    }
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(pairs)]
    apart = (a.values - bare(case, nodes, width)[0]).abs().sum() / a.values.abs().sum()
    return {
        "nodes": nodes,
        "width": width,
        **{name: median(t[name] for t in times) for name in runs},
        "over bare": median(t["ours"] / t["bare"] for t in times),
        "over captum": median(t["ours"] / t["captum"] for t in times),
        "values apart": float(apart),
    }


# ------------------------------------------------------------------------------------ memory


def peak_of(who: str, name: str, nodes: int, rows: int) -> int:
    """Peak resident bytes of one call, in this process."""
    case = CASES[name](rows)
    run = {"ours": lambda: ours(case, nodes, 0), "captum": lambda: captum(case, nodes, None)}[who]
    return memory.peak(run)


def in_child(who: str, name: str, nodes: int, rows: int) -> int:
    """The peak, measured in a process of its own."""
    return memory.in_child(__file__, "--peak", who, name, nodes, rows)


# ------------------------------------------------------------------------------------- tables


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--nodes", type=int, nargs="*", default=[50, 300])
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ig.NotConverged)
    if args.peak:
        who, name, nodes, rows = args.peak
        print(peak_of(who, name, int(nodes), int(rows)))
        return
    if not DATA.is_dir():
        sys.exit(f"{DATA} is not there; set INTGRAD_DATA to the folder of models and photos.")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {args.pairs} pairs\n")
    print("| case | nodes | width | bare s | ours s | Captum s | ours / bare | ours / Captum |")
    print("|---|---|---|---|---|---|---|---|")
    for make, rows in ((squeezenet, args.photos), (questions, args.questions)):
        case = make(rows)
        for nodes in args.nodes:
            r = compare(case, nodes, args.pairs)
            print(
                f"| {case.name} ({len(case.x)}) | {nodes} | {r['width']} | {r['bare']:.2f} | "
                f"{r['ours']:.2f} | {r['captum']:.2f} | {r['over bare']:.3f} | {r['over captum']:.3f} |",
                flush=True,
            )
    print("\n| peak memory of a call, MiB | ours, 50 | ours, 300 | ours, 1000 | Captum, 300 | "
          "1000 / 50 | ours / Captum, 300 |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for name, rows in (("squeezenet", 1), ("trec_bert", 10)):
        p = {n: in_child("ours", name, n, rows) / 2**20 for n in (50, 300, 1000)}
        theirs = in_child("captum", name, 300, rows) / 2**20
        print(
            f"| {name} ({rows}) | {p[50]:.0f} | {p[300]:.0f} | {p[1000]:.0f} | {theirs:.0f} | "
            f"{p[1000] / p[50]:.3f} | {p[300] / theirs:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Circuits of a small storyteller: how much of a behaviour is left with so many edges of each ranking?

    python benchmarks/circuits.py            # a minute on one thread
    python benchmarks/circuits.py --smoke    # all of it, tiny

The model is hf/stories260k (5 layers of 8 heads with 4 key and value heads, 1,701 edges), read from
INTGRAD_DATA or ../shared/data. After a sentence about a girl or a boy it goes on with "She" or "He".

*Words.* "A girl named Tom liked to play." against "A boy named Tom liked to play.": the name is the
same, the word decides. *Names.* "Lily liked to play." against "Tim liked to play.": names of as many
tokens. Kept are pairs that the model takes for different pronouns; she is the clean one of every
second pair. (Were each asked both ways round, EAP and clean-corrupted would be the same.) The target
is the logit of the right pronoun less that of the other. Shorter prompts are padded on the left and
masked.

Edges are ranked by absolute mean score over all pairs, the highest are kept clean and all others
corrupted: faithfulness is (f - f(corrupt)) / (f(clean) - f(corrupt)), of means. `off` is the mean
distance of faithfulness from 1 over the counts; random is the mean of several rankings, and what it
spreads by. `same 100` is how many of the highest 100 edges are those of EAP-IG to 0.5 %.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from lab import texts
from torch import Tensor

import intgrad as ig

WORDS = [("A girl named {}", "A boy named {}"), ("The girl with {}", "The boy with {}")]
CALLED = ("Tom", "Sam", "Ben", "Max", "Sue")
NAMES = [("Lily", "Tim"), ("Sue", "Max"), ("Mia", "Bob"), ("Amy", "Max"), ("Jane", "Fred")]
ENDS = (
    " liked to play.",
    " was very happy.",
    " had a big red ball.",
    " went to the park.",
    " and the dog went home.",
)
COUNTS = (20, 50, 100, 200, 400, 800, 1200)
SURE = ig.GaussLegendre(32, rtol=5e-3, max_nodes=256)
METHODS: dict[str, dict[str, Any]] = {
    "EAP": {"quadrature": ig.At(1.0)},
    "clean-corrupted": {"quadrature": ig.Trapezoid(2)},
    "EAP-IG, 5 left": {"quadrature": ig.LeftRiemann(5)},
    "EAP-IG, 30 left": {"quadrature": ig.LeftRiemann(30)},
    "EAP-IG, Gauss": {},
    "EAP-IG to 0.5 %": {"quadrature": SURE},
    "activations": {"path": ig.inside.InTurn()},
    "conductance": {"path": ig.PushedForward()},
}


@dataclass(frozen=True)
class Task:
    """Pairs of prompts, their mask, and the right and the wrong next token of each."""

    name: str
    clean: Tensor
    corrupt: Tensor
    mask: Tensor
    right: Tensor
    wrong: Tensor

    def target(self, out: Any, rows: Tensor) -> Tensor:
        """The right token's logit less the wrong one's, (rows,)."""
        last = out.logits[:, -1]
        return (
            last.gather(1, self.right[rows, None])[:, 0]
            - last.gather(1, self.wrong[rows, None])[:, 0]
        )

    def asked(self) -> dict[str, Any]:
        """What every call gets."""
        return {"target": self.target, "given": {"attention_mask": self.mask}}


def task(name: str, pairs: list[tuple[str, str]], model: Any, tokenizer: Any) -> Task:
    """Of the pairs those that the model takes for different pronouns, she and he clean in turn."""
    she, he = tokenizer.convert_tokens_to_ids(["▁She", "▁He"])
    both = [tokenizer([p[i] for p in pairs], padding=True, return_tensors="pt") for i in (0, 1)]
    ids = torch.stack([b["input_ids"] for b in both])
    mask = both[0]["attention_mask"]
    assert torch.equal(mask, both[1]["attention_mask"]), "a pair is of equal length"
    with torch.no_grad():
        last = torch.stack([model(i, attention_mask=mask).logits[:, -1] for i in ids])
    lead = last[..., she] - last[..., he]
    ids, mask = (t[..., (lead[0] > 0) & (lead[1] < 0), :] for t in (ids, mask))
    turn, rows = torch.arange(len(mask)) % 2, torch.arange(len(mask))
    print(f"{name}: {len(rows)} of {len(pairs)} pairs are told apart.")
    right = torch.where(turn == 0, she, he)
    return Task(name, ids[turn, rows], ids[1 - turn, rows], mask, right, she + he - right)


def tasks(model: Any, tokenizer: Any, few: bool) -> list[Task]:
    """Both kinds of pairs."""
    ends = ENDS[:2] if few else ENDS
    called = CALLED[:2] if few else CALLED
    words = [(a.format(n) + e, b.format(n) + e) for a, b in WORDS for n in called for e in ends]
    names = [(a + e, b + e) for a, b in (NAMES[:2] if few else NAMES) for e in ends]
    return [task(n, p, model, tokenizer) for n, p in (("words", words), ("names", names))]


def scored(model: Any, one: Task, methods: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Edges by every method, and how long they took."""
    found = {}
    for name, how in methods.items():
        start = time.perf_counter()
        edges = ig.inside.edges(model, one.clean, one.corrupt, **one.asked(), **how)
        found[name] = edges, time.perf_counter() - start
    return found


def report(model: Any, one: Task, args: argparse.Namespace) -> None:
    """One task's tables."""
    found = scored(model, one, METHODS)
    count = len(found["EAP"][0])
    chance = {f"random {i}": torch.rand(count) for i in range(args.draws)}
    ranking = {**{n: e for n, (e, _) in found.items()}, **chance}
    f = ig.inside.faithfulness(
        model, one.clean, one.corrupt, ranking=ranking, counts=(*COUNTS, count), **one.asked()
    )
    ends = f.clean, f.corrupt
    print(f"f(clean) {float(ends[0].mean()):.3f}, f(corrupt) {float(ends[1].mean()):.3f} (means)\n")
    best = set(found["EAP-IG to 0.5 %"][0].order()[:100].tolist())
    head = "".join(f" {n} |" for n in COUNTS)
    print(f"| {one.name} | evaluations | s | error | same 100 |{head} off |")
    print("|---" * (len(COUNTS) + 6) + "|")
    for i, (name, (edges, seconds)) in enumerate(found.items()):
        a = edges.attribution
        same = len(best & set(edges.order()[:100].tolist()))
        told = f"{float(a.evaluations.mean()):.1f} | {seconds:.2f} | {float(a.error.max()):.1%} | {same}"
        print(f"| {name} | {told} | {line(f.values[i : i + 1])} |")
    print(f"| random, {args.draws} | | | | | {line(f.values[len(found) :])} |\n")


def line(values: Tensor) -> str:
    """Faithfulness at every count, with its spread where there are several; and `off`."""
    mean, spread = values.mean(0).tolist(), values.std(0, correction=0).tolist()
    several = len(values) > 1
    cells = [
        f"{m:.3f}" + (f" ± {s:.3f}" if several else "") for m, s in zip(mean, spread, strict=True)
    ]
    off = float((values[:, : len(COUNTS)] - 1).abs().mean())
    return " | ".join([*cells[: len(COUNTS)], f"{off:.3f}"])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=10, help="random rankings")
    parser.add_argument("--smoke", action="store_true", help="all of it, tiny")
    args = parser.parse_args()
    place = texts.DATA / "hf" / "stories260k"
    if not place.is_dir():
        print(
            f"There is no hf/stories260k at {texts.DATA}; set INTGRAD_DATA to the folder that has it."
        )
        return
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore", ig.NotConverged)  # five left nodes do not claim to be enough
    model = AutoModelForCausalLM.from_pretrained(place).eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    args.draws = 2 if args.smoke else args.draws
    for one in tasks(model, tokenizer, args.smoke):
        report(model, one, args)


if __name__ == "__main__":
    main()

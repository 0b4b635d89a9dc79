"""Circuits of a small storyteller: how much of a behaviour is left with so many edges of each ranking?

    python benchmarks/circuits.py            # three minutes on one thread
    python benchmarks/circuits.py --cost     # GPT-2 small beside integrated gradients
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
distance of faithfulness from 1 over the counts; the tables of nodes rank by the sums of the edges that
leave a node, and keep all edges between those chosen. Random is the mean of several rankings, and what it
spreads by. Of the scores: `error` is the largest of a pair, as estimated; `input` is the sum of the
edges that leave the input, as a share of f(clean) - f(corrupt): 1 if the integral is right; `same 100`
is how many of the highest 100 edges are those of EAP-IG to 0.5 %. `effects` is the correlation of the
scores with what is lost if one edge alone is corrupted, over all edges, for the first ten pairs;
`ranks` is that of their ranks. `less EAP's` is the difference of `off`, with its standard error over
pairs, the rankings being as they are.

`--cost` sets the time of edges beside that of integrated gradients of the embeddings, at the same nodes,
on GPT-2 small with random weights (124 million, 32,491 edges); no data are needed.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from lab import texts
from torch import Tensor

import intgrad as ig
from intgrad.audit.metrics import spearman
from intgrad.inside.circuits.decoder import dissect
from intgrad.inside.circuits.faithfulness import Pairs
from intgrad.inside.circuits.runs import Uncached

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
NODES = (2, 5, 10, 20, 30, 40)
HIGHEST = 100
METHODS: dict[str, dict[str, Any]] = {
    "EAP": {"quadrature": ig.At(1.0)},
    "clean-corrupted": {"quadrature": ig.Trapezoid(2)},
    "EAP-IG, 5 left": {"quadrature": ig.LeftRiemann(5)},
    "EAP-IG, 30 left": {"quadrature": ig.LeftRiemann(30)},
    "EAP-IG to 5 %": {},  # the default
    "EAP-IG to 0.5 %": {"quadrature": ig.Automatic(5e-3)},
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
    """One task's tables: the scores, and what the highest edges hold."""
    found = scored(model, one, METHODS)
    count = len(found["EAP"][0])
    chance = {f"random {i}": torch.rand(count) for i in range(args.draws)}
    ranking = {**{n: e for n, (e, _) in found.items()}, **chance}
    f = ig.inside.faithfulness(
        model, one.clean, one.corrupt, ranking=ranking, counts=COUNTS, **one.asked()
    )
    high, low = float(f.clean.mean()), float(f.corrupt.mean())
    print(f"\nf(clean) {high:.3f}, f(corrupt) {low:.3f}: means.\n")
    print(f"| {one.name} | evaluations | s | error | input | same {HIGHEST} | effects | ranks |")
    print("|---" * 8 + "|")
    real = effects(model, one, args.pairs)
    best = set(found["EAP-IG to 0.5 %"][0].order()[:HIGHEST].tolist())
    for name, (edges, seconds) in found.items():
        print(f"| {name} | {told(edges, seconds, high - low, best, real)} |")
    kept(one, f, list(found))
    nodes = {name: e.node_scores.mean(0).abs() for name, (e, _) in found.items()}
    ranking = {**nodes, **{name: c[: len(nodes["EAP"])] for name, c in chance.items()}}
    f = ig.inside.faithfulness(
        model, one.clean, one.corrupt, ranking=ranking, counts=NODES, **one.asked()
    )
    kept(one, f, list(found))


def kept(one: Task, f: Any, names: list[str]) -> None:
    """The faithfulness at every count; below the methods, that of chance."""
    counts = "".join(f" {n} |" for n in f.counts.tolist())
    print(f"\n| {one.name}, {f.unit} |{counts} off | less EAP's |")
    print("|---" * (len(f.counts) + 3) + "|")
    beside, doubt = beside_first(f)
    for i, name in enumerate(names):
        print(f"| {name} | {line(f.values[i : i + 1])} | {beside[i]:+.3f} ± {doubt[i]:.3f} |")
    print(f"| random, {len(f.names) - len(names)} | {line(f.values[len(names) :])} | |")


def beside_first(f: Any, draws: int = 1000) -> tuple[list[float], list[float]]:
    """`off` less that of the first ranking, and its standard error over the pairs (bootstrap)."""
    rows = len(f.clean)
    again = torch.randint(rows, (draws, rows), generator=torch.Generator().manual_seed(0))
    low, high = f.corrupt[again].mean(1), f.clean[again].mean(1)
    values = (f.output[..., again].mean(-1) - low) / (high - low)
    off = (values - 1).abs().mean(1)
    whole = (f.values - 1).abs().mean(1)
    return (whole - whole[0]).tolist(), (off - off[0]).std(1).tolist()


def told(edges: Any, seconds: float, gain: float, best: set[int], real: Tensor) -> str:
    """What there is to say of one method's scores."""
    a = edges.attribution
    known = a.run.rtol > 0 and bool(torch.isfinite(a.error).all())
    error = f"{float(a.error.max()):.1%}" if known else ""
    left = float(edges.node_scores[:, 0].mean()) / gain
    same = len(best & set(edges.order()[:HIGHEST].tolist()))
    mine = a.values[: real.shape[1]].double().mean(0)
    true = real.mean(1)
    alike = (
        float(torch.corrcoef(torch.stack([mine, true]))[0, 1]),
        float(spearman(mine[None], true[None])),
    )
    return (
        f"{float(a.evaluations.mean()):.1f} | {seconds:.2f} | {error} | {left:.3f} | {same} | "
        f"{alike[0]:.3f} | {alike[1]:.3f}"
    )


def effects(model: Any, one: Task, pairs: int) -> Tensor:
    """What the target loses if one edge alone is corrupted, for the first pairs: (edges, pairs)."""
    decoder = dissect(model)
    part = replace(one, **{f.name: getattr(one, f.name)[:pairs] for f in fields(one)[1:]})
    given = {"attention_mask": part.mask}
    ask = Pairs(decoder, Uncached(model), part.clean, part.corrupt, given, pairs)
    bound, clean = ask.bind(part.target)
    return clean - ask.patched(bound, 1 - torch.eye(len(decoder.graph)))[1]


def line(values: Tensor) -> str:
    """Faithfulness at every count, with its spread where there are several; and `off`."""
    mean, spread = values.mean(0).tolist(), values.std(0, correction=0).tolist()
    several = len(values) > 1
    cells = [
        f"{m:.3f}" + (f" ± {s:.3f}" if several else "") for m, s in zip(mean, spread, strict=True)
    ]
    return " | ".join([*cells, f"{float((values - 1).abs().mean()):.3f}"])


def cost(tiny: bool) -> None:
    """Edges beside integrated gradients, at the same nodes: medians of neighbouring runs."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=2, n_embd=48, n_head=4) if tiny else GPT2Config()
    model = GPT2LMHeadModel(config).eval()
    clean = torch.randint(50_000, (8, 15))
    corrupt = clean.clone()
    corrupt[:, 3] = torch.randint(50_000, (8,))
    rule, target = ig.LeftRiemann(5), lambda out: out.logits[:, -1, 5] - out.logits[:, -1, 9]
    asks = {
        "integrated gradients": lambda: ig.attribute(
            model, clean, target=target, baseline=corrupt, at="embedding", quadrature=rule
        ),
        "edges": lambda: ig.inside.edges(model, clean, corrupt, target=target, quadrature=rule),
        "edge conductance": lambda: ig.inside.edges(
            model, clean, corrupt, target=target, quadrature=rule, path=ig.PushedForward()
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(1 if tiny else 3):
        for name, ask in asks.items():
            start = time.process_time()
            ask()
            seconds[name].append(time.process_time() - start)
    first = seconds["integrated gradients"]
    print(
        "| 8 pairs of 15 tokens, 5 nodes | processor s | times integrated gradients |\n|---|---|---|"
    )
    for name, mine in seconds.items():
        times = statistics.median(a / b for a, b in zip(mine, first, strict=True))
        print(f"| {name} | {statistics.median(mine):.1f} | {times:.2f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=10, help="random rankings")
    parser.add_argument("--pairs", type=int, default=10, help="for the effects of single edges")
    parser.add_argument("--cost", action="store_true", help="the time of GPT-2 small alone")
    parser.add_argument("--smoke", action="store_true", help="all of it, tiny")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore", ig.NotConverged)  # five left nodes do not claim to be enough
    if args.smoke:
        args.draws, args.pairs = 2, 1
    if args.cost or args.smoke:
        cost(args.smoke)
    if not args.cost:
        stories(args)


def stories(args: argparse.Namespace) -> None:
    """The tables of the storyteller."""
    place = texts.DATA / "hf" / "stories260k"
    if not place.is_dir():
        print(
            f"There is no hf/stories260k at {texts.DATA}; set INTGRAD_DATA to the folder that has it."
        )
        return
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(place).eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    for one in tasks(model, tokenizer, args.smoke):
        report(model, one, args)


if __name__ == "__main__":
    main()

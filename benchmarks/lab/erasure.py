"""Erasure on sentences of the Stanford Sentiment Treebank, against one baseline at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

import intgrad as ig
from intgrad import text
from intgrad.audit import metrics
from intgrad.path import Greedy, MaxCount
from intgrad.path.curve import bind_rows

from .texts import DATA, Scores, explained

TOKENS = {"[MASK]": text.Mask(), "[PAD]": text.Pad(), "[UNK]": text.Unknown()}
CLEAN = {"-LRB-": "(", "-RRB-": ")", "\\/": "/", "\\*": "*", "``": '"', "''": '"'}
KINDS = (metrics.log_odds, metrics.comprehensiveness, metrics.sufficiency)
HEAD = """
| {} | log-odds | minus IG's, ± standard error | comprehensiveness | sufficiency | evaluations | seconds |
|---|---|---|---|---|---|---|"""
REASONS = """
| baseline | P(POSITIVE) there | Kendall, IG and Sequential | to the nearest word: straight, greedy, max count |
|---|---|---|---|"""


def sentences(count: int) -> list[str]:
    """Test sentences that are not neutral, evenly spaced."""
    lines = (DATA / "text_sst_trees" / "test.txt").read_text("utf-8").splitlines()
    lines = [line for line in lines if line[1] != "2"]
    lines = lines[:: max(1, len(lines) // count)][:count]
    return [clean(" ".join(re.findall(r" ([^()\s]+)\)", line))) for line in lines]


def clean(line: str) -> str:
    """Brackets, slashes and quotes as people write them, which is how the model was trained."""
    for tree, written in CLEAN.items():
        line = line.replace(tree, written)
    return line


def table(found: Any, texts: list[str], token: str, recipes: dict[str, ig.Recipe]) -> str:
    """Print the table of one baseline; return what may explain it, as a row of another."""
    measure = measuring(found, texts, token)
    print(HEAD.format(token))
    scores = {n: explained(found, texts, r, TOKENS[token]) for n, r in recipes.items()}
    chance = torch.Generator().manual_seed(0)
    scores["random"] = Scores([torch.rand(len(v), generator=chance) for v in scores["IG"].values])
    told = {name: measure(s.values) for name, s in scores.items()}
    for name, rows in told.items():
        means, apart = rows.mean(1).tolist(), rows[0] - told["IG"][0]
        beside = f"{apart.mean():+.3f} ± {apart.std() / len(texts) ** 0.5:.3f}"
        cost = f"{scores[name].evaluations:.0f} | {scores[name].seconds:.3f}"
        print(f"| {name} | {means[0]:.3f} | {beside} | {means[1]:.3f} | {means[2]:.3f} | {cost} |")
    return reasons(found, texts, token, scores)


def measuring(found: Any, texts: list[str], token: str) -> Any:
    """The metrics of scores, one a text: (3, texts)."""
    tok = found.processor
    batch = tok(texts, padding=True, return_tensors="pt", return_special_tokens_mask=True)
    valid = (batch.pop("special_tokens_mask") == 0) & (batch["attention_mask"] == 1)
    ids, gone = batch.pop("input_ids"), ig.MaskToken(tok.convert_tokens_to_ids(token))
    how: dict[str, Any] = {"valid": valid, "baseline": gone, "given": dict(batch)}

    def measure(values: Sequence[Tensor]) -> Tensor:
        fill = [torch.nn.functional.pad(v.double(), (0, ids.shape[1] - len(v))) for v in values]
        return torch.stack([k(found.model, ids, torch.stack(fill), **how) for k in KINDS])

    return measure


def reasons(found: Any, texts: list[str], token: str, scores: dict[str, Scores]) -> str:
    """What the model says without words, how far methods agree, how far from words they go."""
    tok = found.processor
    ids = tok(texts[0], return_tensors="pt")["input_ids"]
    ids[0, 1:-1] = number = tok.convert_tokens_to_ids(token)
    with torch.no_grad():
        says = found.model(input_ids=ids).logits.softmax(1)[0, 1]
    both = zip(scores["IG"].values, scores["Sequential IG"].values, strict=True)
    tau = [metrics.kendall(a[None, 1:-1], b[None, 1:-1]) for a, b in both if len(a) > 3]
    near = ", ".join(f"{d:.2f}" for d in distances(found.model, tok, texts, number))
    return f"| {token} | {says:.2f} | {torch.cat(tau).nanmean():.2f} | {near} |"


def distances(model: Any, tok: Any, texts: list[str], number: int) -> Iterator[float]:
    """How far 30 points on the way of 100 words are from the nearest word, in the mean."""
    words = torch.tensor(sorted({i for t in texts for i in tok(t)["input_ids"]}))
    words = words[~torch.isin(words, torch.tensor(tok.all_special_ids))][:100]
    vectors = model.get_input_embeddings().weight.detach()
    start, end = vectors[number].expand(len(words), 1, -1), vectors[words][:, None]
    t = torch.arange(1, 31)[:, None, None, None] / 31
    yield nearest(start + t * (end - start), vectors)
    for choose in (Greedy(), MaxCount()):
        path = ig.Anchored(vectors, 30, choose=choose, skip=tuple(tok.all_special_ids))
        way = path.trace(None, bind_rows((start,), (end,)))
        yield nearest(way.end.take(torch.arange(30 * len(words)))[0], vectors)


def nearest(points: Tensor, vectors: Tensor) -> float:
    """The mean distance of points to the nearest of all words."""
    return float(torch.cdist(points.reshape(-1, points.shape[-1]), vectors).amin(1).mean())

"""Human rationales: movie reviews of ERASER, sentence by sentence."""

from __future__ import annotations

import argparse
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification
from transformers.utils.logging import disable_progress_bar

import intgrad as ig
from intgrad import text
from intgrad.audit import metrics

from .texts import DATA, Scores, explained

LONGEST = 126  # pieces of a text, [CLS] and [SEP] left out
HEAD = """
{} reviews, {} texts; {:.1%} of the words are rationale, and {:.1%} are chosen for IoU-F1

| | token AUPRC, ± standard error | IoU-F1 | evaluations a text | seconds a text |
|---|---|---|---|---|"""


@dataclass(frozen=True)
class Review:
    """A review: its class, its words in pieces of text, and which words are the rationale."""

    label: int
    pieces: list[list[str]]
    truth: Tensor


def table(found: Any, args: argparse.Namespace, recipes: dict[str, ig.Recipe]) -> None:
    """Print every method against the rationales."""
    several, share = reviews(found.processor, args.reviews, args.most)
    texts = [" ".join(piece) for review in several for piece in review.pieces]
    labels = [review.label for review in several for _ in review.pieces]
    true = sum(float(r.truth.float().mean()) for r in several) / len(several)
    print(HEAD.format(len(several), len(texts), true, share))
    ask = lambda r: explained(found, texts, r, text.Mask(), labels)  # noqa: E731
    ways: dict[str, Callable[[], Scores]] = {n: lambda r=r: ask(r) for n, r in recipes.items()}
    ways["attention"] = lambda: attention(found.processor, texts)
    ways["random"] = lambda: chance(found.processor, texts)
    for name, way in ways.items():
        scores = way()
        area, f1 = measure(found.processor, several, scores.values, share)
        spread = f"{area.mean():.3f} ± {area.std(correction=0) / len(area) ** 0.5:.3f}"
        cost = f"{scores.evaluations:.0f} | {scores.seconds:.3f}"
        print(f"| {name} | {spread} | {f1.mean():.3f} | {cost} |", flush=True)


def measure(
    tok: Any, several: list[Review], values: list[Tensor], share: float
) -> tuple[Tensor, Tensor]:
    """AUPRC and IoU-F1 of each review."""
    left, found = iter(values), []
    for r in several:
        own = torch.cat([of_words(tok, piece, next(left)) for piece in r.pieces])[None]
        top = metrics.top_fraction(own, share)
        found.append((metrics.auprc(own, r.truth[None]), metrics.iou_f1(top, r.truth[None])))
    area, f1 = zip(*found, strict=True)
    return torch.cat(area), torch.cat(f1)


def of_words(tok: Any, words: list[str], values: Tensor) -> Tensor:
    """Values of tokens added up to those of the words they are of, specials left out."""
    line = tok(" ".join(words), return_offsets_mapping=True, return_special_tokens_mask=True)
    starts = torch.tensor([0, *(len(w) + 1 for w in words)]).cumsum(0)
    at = torch.tensor([first for first, _ in line["offset_mapping"]])
    own = torch.tensor(line["special_tokens_mask"]) == 0
    word = torch.searchsorted(starts, at[own], right=True) - 1
    return torch.zeros(len(words), dtype=torch.float64).index_add(0, word, values[own].double())


# ------------------------------------------------------------------------------------ controls


def attention(tok: Any, texts: list[str]) -> Scores:
    """From [CLS] to each token in the last layer, the mean over heads; one forward a text."""
    disable_progress_bar()
    place = DATA / "hf" / "sst_bert"  # a second copy, for fused attention does not tell
    model = AutoModelForSequenceClassification.from_pretrained(place, attn_implementation="eager")
    began, values = time.perf_counter(), []
    with torch.no_grad():
        for t in texts:
            seen = model.eval()(**tok(t, return_tensors="pt"), output_attentions=True).attentions
            values.append(seen[-1][0].mean(0)[0])
    return Scores(values, 0.45, (time.perf_counter() - began) / len(texts))


def chance(tok: Any, texts: list[str]) -> Scores:
    """Random numbers."""
    generator = torch.Generator().manual_seed(0)
    return Scores([torch.rand(len(tok(t)["input_ids"]), generator=generator) for t in texts])


# ------------------------------------------------------------------------------------ the data


def reviews(tok: Any, count: int, most: int | None) -> tuple[list[Review], float]:
    """Reviews evenly spaced, `most` sentences of each; and the mean share of a training rationale."""
    docs = documents()
    shares = [float(truth.float().mean()) for _, truth in marked("train", docs)]
    every = list(marked("val", docs))
    chosen = every[:: max(1, len(every) // count)][:count]
    several = [review(tok, note, truth, docs, most) for note, truth in chosen]
    return several, sum(shares) / len(shares)


def review(
    tok: Any, note: dict[str, Any], truth: Tensor, docs: dict[str, str], most: int | None
) -> Review:
    """All sentences of a review, or `most` of them from the first that is marked."""
    lines = [line.split() for line in docs[note["annotation_id"]].splitlines()]
    own = truth.split([len(line) for line in lines])
    first = next(i for i, mask in enumerate(own) if bool(mask.any())) if most else 0
    some = slice(first, first + most if most else None)
    pieces = [piece for line in lines[some] for piece in cut(tok, line)]
    return Review(int(note["classification"] == "POS"), pieces, torch.cat(own[some]))


def cut(tok: Any, words: list[str]) -> Iterator[list[str]]:
    """A sentence in parts that the model takes."""
    part, size = [], 0
    for word in words:
        more = len(tok(word, add_special_tokens=False)["input_ids"])
        if part and size + more > LONGEST:
            yield part
            part, size = [], 0
        part, size = [*part, word], size + more
    yield part


def marked(split: str, docs: dict[str, str]) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """The reviews of a split, each with its rationale as a mask over the review's words."""
    lines = (DATA / "text_eraser_movies" / f"{split}.jsonl").read_text("utf-8").splitlines()
    for note in map(json.loads, lines):
        truth = torch.zeros(len(docs[note["annotation_id"]].split()), dtype=torch.bool)
        for span in (span for group in note["evidences"] for span in group):
            truth[span["start_token"] : span["end_token"]] = True
        yield note, truth


def documents() -> dict[str, str]:
    """The text of every review, by name."""
    with tarfile.open(DATA / "text_eraser_movies" / "docs.tar.xz") as packed:
        files = [(f.name, packed.extractfile(f)) for f in packed if f.isfile()]
        return {Path(name).name: f.read().decode() for name, f in files if f is not None}

"""Which edges of a small storyteller make it go on with "She" after a girl, and with "He" after a boy?

python examples/circuit.py [CHECKPOINT]

CHECKPOINT is a local directory with a Hugging Face language model that has both words. Without it the
script looks for hf/stories260k in the folder that INTGRAD_DATA names. Writes circuit.dot, which
Graphviz draws: dot -Tsvg circuit.dot -o circuit.svg
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

import intgrad as ig

TEXTS = ("A {} named {} liked to play.", "One day, a {} named {} went to the park.")
NAMES = ("Tom", "Sam", "Max")


def main() -> None:
    """Score every edge, keep the highest, and see how much of the behaviour they hold."""
    data = Path(os.environ.get("INTGRAD_DATA", "data"))
    checkpoint = Path(sys.argv[1]) if len(sys.argv) > 1 else data / "hf" / "stories260k"
    if not checkpoint.exists():
        print(f"Skipped: there is no {checkpoint}. Name a checkpoint, or INTGRAD_DATA.")
        return
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    she, he = tokenizer.convert_tokens_to_ids(["▁She", "▁He"])

    # Pairs of prompts as long as each other, that differ in one word. Shorter ones are padded, and
    # the mask is given to both runs.
    girl, boy = (
        tokenizer(
            [t.format(who, n) for t in TEXTS for n in NAMES], padding=True, return_tensors="pt"
        )
        for who in ("girl", "boy")
    )
    prompts = girl["input_ids"], boy["input_ids"]
    how = {
        "target": lambda out: out.logits[:, -1, she] - out.logits[:, -1, he],
        "given": {"attention_mask": girl["attention_mask"]},
    }

    # A score for every edge; the certificate says how sure the integrals are.
    edges = ig.inside.edges(model, *prompts, **how)
    print(edges)
    for source, reader, score, error in edges.top(8):
        print(f"  {source:>6} -> {reader:<12} {score:+.3f} ± {error:.3f}")

    # What is left of the difference if only so many edges are clean, and all others corrupted.
    ranking = {"edges": edges, "random": torch.rand(len(edges))}
    counts = (0, 25, 50, 100, 200, 400, len(edges))
    print(ig.inside.faithfulness(model, *prompts, ranking=ranking, counts=counts, **how).table())

    circuit = edges.circuit(30)
    circuit.to_dot("circuit.dot")
    print(f"{circuit}\nSee circuit.dot")


if __name__ == "__main__":
    main()

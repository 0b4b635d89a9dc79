"""Which words made the network take a question for one about a person, a place, a number?

python examples/question.py [CHECKPOINT]

CHECKPOINT is a local directory with a Hugging Face text classifier. Without it the script looks
for one that sorts questions (trec_bert) in the folder that INTGRAD_DATA names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import intgrad as ig
from intgrad import hub, text
from intgrad.subject import Sentence

QUESTIONS = (
    "Who was Galileo ?",
    "What is an atom ?",
    "How far is it from Denver to Aspen ?",
    "What city had a world fair in 1900 ?",
)


def tell(a: ig.Attribution) -> None:
    """Print one question's words, each with its value and how wrong that may be."""
    subject = a.subjects[0]
    assert isinstance(subject, Sentence)
    label, probability = subject.predictions[0]
    print(f"{subject.name!r} is a question of kind {label} ({probability:.0%})")

    # A value for every token, (1, tokens). Long words are several tokens: their values are added
    # up to the word's, and so are their errors.
    words = text.words(a)
    for i, word in enumerate(subject.words):
        value, error = float(words.values[0, i]), float(words.error_map[0, i])
        sure = "" if abs(value) > error or value == 0 else "   its sign is not certain"
        print(f"  {word:>10} {value:+8.4f} ± {error:.4f}{sure}")

    # The certificate: the words must add up to f(x) - f(baseline), and the values' own error.
    print(
        f"  f(x) {float(a.output[0]):.4f}, f(baseline) {float(a.baseline_output[0]):.4f};", end=""
    )
    print(f" the words add up to {float(words.values.sum()):.4f}")
    verdict = "converged" if a.converged[0] else "NOT converged"
    print(
        f"  error {float(a.error[0]):.2g} of the absolute sum, tolerance {a.run.rtol:.2g}: {verdict}\n"
    )


def main() -> None:
    """Explain the predicted kind of every question."""
    data = Path(os.environ.get("INTGRAD_DATA", "data"))
    checkpoint = Path(sys.argv[1]) if len(sys.argv) > 1 else data / "hf" / "trec_bert"
    if not checkpoint.exists():
        print(f"Skipped: there is no {checkpoint}. Name a checkpoint, or INTGRAD_DATA.")
        return
    found = hub.load(str(checkpoint))

    # Compared with what? With the same question, every word of it masked. A text has no natural
    # zero, so this choice is part of the question and intgrad does not make it for you.
    attributions = text.explain(
        found.model, found.processor, QUESTIONS, baseline=text.Mask(), labels=found.labels
    )
    for a in attributions:
        tell(a)


if __name__ == "__main__":
    main()

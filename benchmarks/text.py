"""Attributions of texts: are the words they point at needed, and do people point at them too?

    python benchmarks/text.py                                  # some minutes on one thread
    python benchmarks/text.py --sentences 200 --reviews 20 --rtol 0.01
    python benchmarks/text.py --smoke                          # all of it, tiny

The model is hf/sst_bert, a sentiment classifier of sentences. Data are read from INTGRAD_DATA, or
../shared/data; what is not there is left out with a sentence.

*Erasure.* Test sentences of the Stanford Sentiment Treebank (neutral ones left out), evenly spaced.
Every method explains the logit of the predicted class against one baseline, [MASK], [PAD] or [UNK]
in the place of every word; then the 20 % most important tokens are replaced by the same token
(log-odds, comprehensiveness), or all others (sufficiency). Gradient x input knows no baseline.

*Rationales.* Movie reviews of ERASER, validation split, evenly spaced. A review is some 37
sentences, far more than the model's 128 tokens, and the model was trained on sentences: so each
sentence is explained by itself, for the class of the review, which is what people marked reasons
for, and the values of all its sentences are compared with the rationale as one list of words.
Sentences above 126 tokens are cut between words. A word is what the review's own files separate by
blanks. For IoU-F1 as many words are chosen as a rationale has on average in the training split.
"""

from __future__ import annotations

import argparse
import warnings

import torch
from lab import erasure, rationales, texts

import intgrad as ig
from intgrad import hub

PARTS = {"erasure": "text_sst_trees", "rationales": "text_eraser_movies"}


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sentences", type=int, default=60)
    parser.add_argument("--reviews", type=int, default=6)
    parser.add_argument("--most", type=int, help="sentences of a review, from the first marked one")
    parser.add_argument("--rtol", type=float, default=0.05, help="error of every path method")
    parser.add_argument("--steps", type=int, default=30, help="of Discretized IG")
    parser.add_argument("--orders", type=int, default=16, help="of words, for Shapley values")
    parser.add_argument("--smoke", action="store_true", help="all of it, tiny")
    args = parser.parse_args()
    tiny = {"sentences": 2, "reviews": 1, "most": 2, "rtol": 0.3, "steps": 3, "orders": 2}
    return argparse.Namespace(**{**vars(args), **(tiny if args.smoke else {})})


def main() -> None:
    """Print the tables whose data are there."""
    args = arguments()
    warnings.simplefilter("ignore", ig.NotConverged)  # so few random orders do not claim to be
    torch.set_num_threads(1)
    place = texts.DATA / "hf" / "sst_bert"
    if not place.is_dir():
        print(
            f"There is no hf/sst_bert at {texts.DATA}; set INTGRAD_DATA to the folder that has it."
        )
        return
    found, recipes = hub.load(str(place)), texts.methods(args)
    missing = [p for p, folder in PARTS.items() if not (texts.DATA / folder).is_dir()]
    for part in missing:
        print(f"There is no {PARTS[part]} at {texts.DATA}, so {part} are left out.")
    if "erasure" not in missing:
        some = erasure.sentences(args.sentences)
        print(f"{len(some)} sentences; torch {torch.__version__}")
        why = [erasure.table(found, some, token, recipes) for token in erasure.TOKENS]
        print("\n".join([erasure.REASONS, *why]), flush=True)
    if "rationales" not in missing:
        rationales.table(found, args, recipes)


if __name__ == "__main__":
    main()

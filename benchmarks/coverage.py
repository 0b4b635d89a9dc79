"""Are real checkpoints covered by panel averaging, to rounding, and at which order does it converge?

    python benchmarks/coverage.py [--only NAME] [--finest 512]

In float64, one input each: what is not linear in the model, what of it is not averaged, the residual
at 32 panels over the L1 norm, and the relative L1 error against the finest number of panels. Data are
looked for where INTGRAD_DATA points, or in shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from overhead import DATA
from torch import Tensor

import intgrad as ig

Case = tuple[Callable[..., Any], Tensor, dict[str, Any]]


def pictures(name: str) -> Case:
    """A net on one picture, black baseline."""
    sys.path.insert(0, str(DATA))
    import numpy as np

    import nets  # pyright: ignore[reportMissingImports]

    if name == "ResNet-20":
        net, prepare, _ = nets.cifar_resnet(20)
        raw = np.load(DATA / "cifar10_test1000" / "cifar10_test1000.npz")["x"][:1]
        light = torch.from_numpy(raw).permute(0, 3, 1, 2).double() / 255
    else:
        net, prepare, _ = nets.squeezenet() if name == "SqueezeNet" else nets.mobilenet_v1()
        path = min((DATA / "imagenet_photos" / "named").glob("*.jpg"))
        light = nets.load_image(path).double()
    return net.double(), prepare(light), {"baseline": prepare(torch.zeros_like(light))}


def question() -> Case:
    """trec_bert on a question, from masked words."""
    import transformers as tf

    home = DATA / "hf" / "trec_bert"
    tokens = tf.AutoTokenizer.from_pretrained(home)
    net = tf.AutoModelForSequenceClassification.from_pretrained(home).double().eval()
    ids = tokens("How far is it from Denver to Aspen ?", return_tensors="pt")["input_ids"]
    keep = tuple(tokens.all_special_ids)
    start = ig.MaskToken(tokens.mask_token_id, keep=keep)
    return net, ids, {"at": "embedding", "baseline": start}


def story() -> Case:
    """stories260k: the next word's log-probability, from the mean embedding."""
    import transformers as tf

    home = DATA / "hf" / "stories260k"
    tokens = tf.AutoTokenizer.from_pretrained(home)
    net: Any = tf.AutoModelForCausalLM.from_pretrained(home).double().eval()
    text = "Once upon a time, there was a little girl named Lily. She loved to play"
    ids = tokens(text, return_tensors="pt")["input_ids"]
    embedding = net.get_input_embeddings().weight.detach()
    start = embedding.mean(0).expand(1, ids.shape[1], -1)
    with torch.no_grad():
        best = int(net(ids).logits[0, -1].argmax())
    read = lambda out: out.logits[:, -1].log_softmax(-1)[:, best]  # noqa: E731
    return net, ids, {"at": "embedding", "baseline": start, "target": read}


def translation() -> Case:
    """multi30k_en_de: the log-probability of the third German word, from zero embeddings."""
    import transformers as tf

    home = DATA / "hf" / "multi30k_en_de"
    tokens = tf.AutoTokenizer.from_pretrained(home)
    net: Any = tf.AutoModelForSeq2SeqLM.from_pretrained(home).double().eval()
    ids = tokens("A man is riding a bicycle on the street.", return_tensors="pt")["input_ids"]
    said = net.generate(ids, max_new_tokens=6, num_beams=1, do_sample=False)

    class Teacher(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, ids: Tensor) -> Tensor:
            forced = said[:, :4].expand(len(ids), -1)
            out = self.net(input_ids=ids, decoder_input_ids=forced)
            return out.logits[:, -1].log_softmax(-1)[:, int(said[0, 4])]

    at = net.get_encoder().embed_tokens
    start = torch.zeros(1, ids.shape[1], net.config.d_model, dtype=torch.float64)
    return Teacher().eval(), ids, {"at": at, "baseline": start}


CASES: dict[str, Callable[[], Case]] = {
    "SqueezeNet": lambda: pictures("SqueezeNet"),
    "MobileNetV1": lambda: pictures("MobileNetV1"),
    "ResNet-20": lambda: pictures("ResNet-20"),
    "trec_bert": question,
    "stories260k": story,
    "multi30k_en_de": translation,
}


def measured(case: Case, finest: int) -> dict[str, Any]:
    """Coverage, residual and errors of one case."""
    net, x, how = case
    seen: dict[str, Any] = {}

    class Peek(ig.PanelAveraged):
        def __call__(self, integral: Any) -> Any:
            found = super().__call__(integral)
            seen["coverage"] = integral.oracle.coverage
            return found

    ask = lambda n: ig.attribute(net, x, quadrature=Peek(n), **how)  # noqa: E731
    fine = ask(finest + 1).values  # odd: no coarser panels are asked for an error
    size = fine.abs().sum().item()
    errors = {}
    for n in (8, 16, 32, 64, 128):
        if n <= finest // 4:
            errors[n] = (ask(n).values - fine).abs().sum().item() / size
    a = ask(32)
    coverage = seen["coverage"]
    return {
        "operations": sorted(coverage.operations),
        "uncovered": sorted(coverage.uncovered) or coverage.reason,
        "approximate": sorted(coverage.approximate),
        "kinks": sorted(coverage.kinks),
        "residual": float(a.residual.abs().max()) / size if a.residual is not None else math.nan,
        "rule": a.run.rule,
        "errors": errors,
    }


def order(errors: dict[int, float]) -> float:
    """Slope of log error against log panels, over the finest two doublings."""
    few, many = list(errors)[-3], list(errors)[-1]
    return math.log(errors[few] / errors[many]) / math.log(many / few)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[*CASES])
    parser.add_argument("--finest", type=int, default=512)
    told = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        "| net | kinks | averaged at Gauss points | not averaged | residual at 32 / L1 | "
        "error at 8, 16, 32, ... panels | order |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, make in CASES.items():
        if told.only in (None, name):
            m = measured(make(), told.finest)
            errors = ", ".join(f"{e:.1e}" for e in m["errors"].values())
            print(
                f"| {name} | {', '.join(m['kinks']) or 'none'} | {', '.join(m['approximate']) or 'none'} | "
                f"{m['uncovered'] or 'none'} | {m['residual']:.0e} | {errors} | {order(m['errors']):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

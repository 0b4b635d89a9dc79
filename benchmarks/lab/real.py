"""Trained nets of the world on real inputs, read from INTGRAD_DATA (or ../shared/data)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import intgrad as ig

from .case import Case, Family

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("INTGRAD_DATA") or ROOT.parent / "shared" / "data")
TOKENS = 24  # to which questions are padded, so that a row does not depend on its batch
PROMPTS = (
    "Once upon a time, there was a little girl named Lily. She loved to play in the",
    "Tom and his dog went to the park. The dog saw a big red",
    "The sun was hot and the sky was blue. Mom said it was time to go",
    "One day, a small bird fell from the tree. It was sad and wanted to find its",
    "Ben had a new toy car. He showed it to his friend and they both",
    "The little cat was very hungry, so it ran to the kitchen to look for some",
    "Anna wanted to help her mom make a cake. They put eggs and milk in the big",
    "There was a big bear who lived in the forest. He liked to eat honey and",
)
CUT = 20  # tokens of a prompt


@cache
def nets() -> ModuleType:
    """The loaders that stand beside the data."""
    spec = importlib.util.spec_from_file_location("data_nets", DATA / "nets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def frozen(model: nn.Module) -> nn.Module:
    """In float64 and evaluation mode."""
    return model.double().eval().requires_grad_(False)


def picture(
    name: str, family: Family, loaded: Any, x: Tensor, width: int, linear: bool = True
) -> Case:
    """A net on pictures in [0, 1], from black."""
    net, prepare, _ = loaded
    x = x.double()
    x, start = prepare(x), prepare(torch.zeros_like(x))
    model, facts = frozen(net), {"width": width, "linear": linear, "most": 640}
    return Case(name, family, model, lambda m, z: m(z), x, start, x, start, **facts)


def photos(rows: int, folder: str = "named") -> Tensor:
    """Photographs, (rows, 3, 224, 224): named ones, or those of the paper, ``ig``."""
    paths = sorted((DATA / "imagenet_photos" / folder).glob("*.jpg"))
    plain = [p for p in paths if "segmentation" not in p.name]
    return torch.cat([nets().load_image(p) for p in plain[:rows]])


def squeezenet(rows: int) -> Case:
    """SqueezeNet 1.1: ReLU and max-pool."""
    return picture("squeezenet", "max-pool", nets().squeezenet(), photos(rows), 8)


def mobilenet(rows: int) -> Case:
    """MobileNetV1 0.75: BatchNorm and ReLU6."""
    return picture("mobilenet", "ReLU", nets().mobilenet_v1(), photos(rows), 4)


def cifar(depth: int, rows: int) -> Case:
    """A CIFAR ResNet, on the first pictures of each class in turn."""
    x = np.load(DATA / "cifar10_test1000" / "cifar10_test1000.npz")["x"]
    order = np.arange(len(x)).reshape(10, -1).T.flatten()[:rows]
    x = torch.from_numpy(x[order]).permute(0, 3, 1, 2).float() / 255
    return picture(f"resnet{depth}", "ReLU", nets().cifar_resnet(depth), x, 32)


def quiet() -> None:
    """No bar while weights are read."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def trec_bert(rows: int) -> Case:
    """A BERT that sorts questions, at its embeddings, from the question masked."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    quiet()
    where = DATA / "hf" / "trec_bert"
    tokenizer: Any = AutoTokenizer.from_pretrained(where)
    model: Any = frozen(AutoModelForSequenceClassification.from_pretrained(where))
    lines = (DATA / "text_trec" / "TREC_10.label").read_text("latin-1").splitlines()[:rows]
    texts = [line.split(" ", 1)[1] for line in lines]
    batch = tokenizer(
        texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    )
    keep = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
    masked = ig.MaskToken(tokenizer.mask_token_id, keep=keep)
    return embedded(
        "trec_bert",
        model,
        lambda m, z, attention: m(inputs_embeds=z, attention_mask=attention).logits,
        batch["input_ids"],
        masked,
        given={"attention_mask": batch["attention_mask"]},
    )


class NextToken(nn.Module):
    """Scores (n, vocabulary) of the token that follows."""

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.lm = lm

    def get_input_embeddings(self) -> nn.Module:
        return self.lm.get_input_embeddings()

    def forward(self, ids: Tensor) -> Tensor:
        return self.lm(input_ids=ids, use_cache=False).logits[:, -1]

    def after(self, z: Tensor) -> Tensor:
        """From the embeddings on."""
        return self.lm(inputs_embeds=z, use_cache=False).logits[:, -1]


def stories(rows: int) -> Case:
    """A Llama of 260,000 parameters: the token after a prompt, from the prompt unknown."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet()
    where = DATA / "hf" / "stories260k"
    tokenizer: Any = AutoTokenizer.from_pretrained(where)
    model = frozen(NextToken(AutoModelForCausalLM.from_pretrained(where)))
    ids = torch.tensor([tokenizer(p)["input_ids"][:CUT] for p in PROMPTS[:rows]])
    unknown = ig.MaskToken(tokenizer.unk_token_id, keep=(tokenizer.bos_token_id,))
    heads = ("logit", "log-probability")
    return embedded("stories260k", model, lambda m, z: m.after(z), ids, unknown, heads=heads)


def embedded(
    name: str, model: Any, scores: Callable[..., Tensor], ids: Tensor, hidden: Any, **facts: Any
) -> Case:
    """A smooth transformer on token ids, explained at its embeddings."""
    table = model.get_input_embeddings()
    with torch.no_grad():
        ends = table(ids), table(hidden.replace(ids))
    facts = {"at": "embedding", "kinked": False, "width": 64, **facts}
    return Case(name, "transformer", model, scores, ids, hidden, *ends, **facts)


REAL: dict[str, tuple[Callable[[int], Case], int, tuple[int, ...]]] = {
    # how it is made, rows, nodes
    "squeezenet": (squeezenet, 2, (5, 10, 20, 50, 100, 200, 400)),
    "mobilenet": (mobilenet, 2, (5, 10, 20, 50, 100, 200, 400)),
    "resnet20": (partial(cifar, 20), 8, (5, 10, 20, 50, 100, 200, 400, 800)),
    "resnet56": (partial(cifar, 56), 4, (5, 10, 20, 50, 100, 200, 400)),
    "trec_bert": (trec_bert, 32, (2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 50, 100, 200)),
    "stories260k": (stories, 8, (2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 50, 100, 200)),
}


def case(name: str, rows: int | None = None) -> Case:
    """A real net on its first rows."""
    make, usual, _ = REAL[name]
    return make(rows or usual)

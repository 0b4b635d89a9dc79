"""A small BERT and its tokenizer, for tests of texts; needs transformers."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["who", "wrote", "the", "play", "of", "day", "##s"]


def tokenizer(
    names=SPECIAL, ends: bool = True, longest: int = 12, **more
) -> PreTrainedTokenizerFast:
    """A small BERT-like tokenizer: word pieces, lower case, [CLS] ... [SEP]."""
    vocabulary = {w: i for i, w in enumerate([*SPECIAL, *WORDS])}
    bare = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if ends:
        bare.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    special = {f"{n.strip('[]').lower()}_token": n for n in names}
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, model_max_length=longest, **special, **more
    )


def seeded(build) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().eval()
        for p in model.parameters():
            nn.init.normal_(p, std=0.3)
    return model


def small_bert(positions: int = 20) -> nn.Module:
    """Two layers of 16, three classes."""
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=12, intermediate_size=16, max_position_embeddings=positions,
                        id2label={0: "no", 1: "yes", 2: "so"}, **size)  # fmt: skip
    return seeded(lambda: BertForSequenceClassification(config))

"""Tiny random decoders of every family, and one that is linear throughout."""

from __future__ import annotations

from functools import cache

import torch
import transformers as hf
from torch import nn

from intgrad.inside import Family, Whole

SIZE = {
    "vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 32, "max_position_embeddings": 32, "initializer_range": 0.3,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SMALL = {"vocab_size": 40, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 32}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.3}
STATES = {"hidden_size": 24, "num_hidden_layers": 3, "state_size": 4, "time_step_rank": 4}

MAKE = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZE, num_key_value_heads=2)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**SIZE, num_key_value_heads=1)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SIZE, num_key_value_heads=2)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZE, num_key_value_heads=2, head_dim=8)),
    "phi3": lambda: hf.Phi3ForCausalLM(
        hf.Phi3Config(**SIZE, num_key_value_heads=2, pad_token_id=0)
    ),
    "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**SMALL, **ENDS)),
    "neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SIZE)),
    "neox in series": lambda: hf.GPTNeoXForCausalLM(
        hf.GPTNeoXConfig(**SIZE, use_parallel_residual=False)
    ),
    "mamba": lambda: hf.MambaForCausalLM(hf.MambaConfig(vocab_size=40, **STATES, **ENDS)),
    "gemma2": lambda: hf.Gemma2ForCausalLM(
        hf.Gemma2Config(**SIZE, num_key_value_heads=2, head_dim=6)
    ),
}
KNOWN = [name for name in MAKE if name != "gemma2"]
EXACT = ["gpt2", "neox", "neox in series"]  # in float64 throughout; others have float32 inside


@cache
def decoder(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MAKE[name]().eval()
        for module in model.modules():  # biases begin at 0, and would hide a mistake
            if isinstance(bias := getattr(module, "bias", None), torch.Tensor):
                nn.init.normal_(bias, std=0.3)
    return model.double() if name in EXACT else model


class Linear(nn.Module):
    """A stream to which parts add what they make of it, all of them linear."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 6)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"norm": nn.Identity(), "body": nn.Linear(6, 6)}) for _ in range(3)
        )
        self.norm, self.head = nn.Identity(), nn.Linear(6, 4)

    def forward(self, ids):
        x = self.embedding(ids)
        for block in self.blocks:
            x = x + block["body"](block["norm"](x))
        return self.head(self.norm(x))


LINEAR = Family("blocks", (Whole("norm", "body"),), "norm")


def linear() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Linear().double().eval()

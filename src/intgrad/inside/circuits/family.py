"""Where a decoder keeps its parts: one value a family of models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Heads:
    """Attention: a node a head. Names are counted from the block.

    Parameters
    ----------
    norm
        What it reads the residual stream through.
    projections
        Query, key and value, or one module that puts out all three.
    out
        The output projection; what goes into it is cut by heads.
    interleaved
        Of a single projection: query, key and value head by head; else all queries come first.
    letter
        What the nodes are called by: ``a0.h3``.
    """

    norm: str
    projections: tuple[str, ...]
    out: str
    interleaved: bool = False
    letter: str = "a"


@dataclass(frozen=True)
class Whole:
    """A part that is one node: what `body` makes of the residual stream, read through `norm`."""

    norm: str
    body: str
    letter: str = "m"


@dataclass(frozen=True)
class Family:
    """The names of a decoder's parts, and what they are.

    It fits models whose blocks add what their parts put out to a residual stream, each part reading
    the stream through a norm of its own. That the parts do add up is checked on the prompts.

    Parameters
    ----------
    blocks
        The list of blocks.
    parts
        Of a block, in their order.
    norm
        What stands between the stream and the logits.
    parallel
        A flag of the model's configuration: where it is set, all parts of a block read the same.
    embedding
        The layer whose output goes from corrupted to clean; by default the model's own input embedding,
        or its only one.
    """

    blocks: str
    parts: tuple[Heads | Whole, ...]
    norm: str
    parallel: str = ""
    embedding: str = "embedding"


_APART = tuple(f"self_attn.{kind}_proj" for kind in "qkv")

LLAMA = Family(  # Llama, Mistral, Qwen 2 and 3, and others of their layout
    "model.layers",
    (
        Heads("input_layernorm", _APART, "self_attn.o_proj"),
        Whole("post_attention_layernorm", "mlp"),
    ),
    "model.norm",
)
PHI3 = Family(
    "model.layers",
    (
        Heads("input_layernorm", ("self_attn.qkv_proj",), "self_attn.o_proj"),
        Whole("post_attention_layernorm", "mlp"),
    ),
    "model.norm",
)
GPT2 = Family(
    "transformer.h",
    (Heads("ln_1", ("attn.c_attn",), "attn.c_proj"), Whole("ln_2", "mlp")),
    "transformer.ln_f",
)
NEOX = Family(  # Pythia
    "gpt_neox.layers",
    (
        Heads("input_layernorm", ("attention.query_key_value",), "attention.dense", True),
        Whole("post_attention_layernorm", "mlp"),
    ),
    "gpt_neox.final_layer_norm",
    parallel="use_parallel_residual",
)
MAMBA = Family("backbone.layers", (Whole("norm", "mixer", "s"),), "backbone.norm_f")

FAMILIES = {"Llama": LLAMA, "Phi-3": PHI3, "GPT-2": GPT2, "GPT-NeoX": NEOX, "Mamba": MAMBA}

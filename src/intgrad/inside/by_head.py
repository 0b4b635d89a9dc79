"""Attention heads: the numbers of a layer, added up head by head."""

from __future__ import annotations

from intgrad._types import Tree, flatten, whole_number
from intgrad.attribution import Attribution
from intgrad.errors import InputError


def by_head(a: Attribution, count: int) -> Attribution:
    """What each attention head is worth: the last axis in `count` equal parts, each added up.

    The heads of a transformer stand side by side in what goes into the projection behind them:
    explain that, at ``"model.layers.0.self_attn.o_proj:input"`` in a Llama,
    ``"bert.encoder.layer.0.attention.output.dense:input"`` in a BERT, ``"transformer.h.0.attn.c_proj:input"``
    in a GPT-2.

    Parameters
    ----------
    a
        Values (rows, ..., count x width).
    count
        How many heads the layer has, as ``config.num_attention_heads`` says.

    Returns
    -------
    Attribution
        Values (rows, ..., count); completeness stays, errors add. ``.sum(1)`` adds up the words.

    Raises
    ------
    InputError
        The last axis has no `count` equal parts.
    """
    count = whole_number(count, "count", 1)
    (values, *more), structure = flatten(a.values, "values")
    if more or values.ndim < (3 if a.several else 2) or values.shape[-1] % count:
        raise InputError(
            f"values are {tuple(values.shape)}; expected one tensor whose last axis holds {count} heads side "
            f"by side. Explain what goes into the projection behind them, at='...o_proj:input'."
        )

    def add(tree: Tree) -> Tree:
        (part,), _ = flatten(tree, "values")
        return structure.close((part.unflatten(-1, (count, -1)).sum(-1),))

    return a.carried(add(a.values), None if a.error_map is None else add(a.error_map))

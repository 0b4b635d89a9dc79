"""Tensors as the memory they lie in, whatever the order of their dimensions (channels last too)."""

from __future__ import annotations

import torch
from torch import Tensor


def rows_lie_apart(tensor: Tensor) -> bool:
    """Whether memory is dense and rows (dimension 0) lie one after the other in it."""
    order = sorted(range(tensor.ndim), key=lambda d: (-tensor.stride(d), d))
    return order[:1] == [0] and tensor.permute(order).is_contiguous()


def arranged(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor`, copied if need be to lie in memory as `like` does."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)


def flat(tensor: Tensor) -> Tensor:
    """All numbers of a dense tensor, in the order of memory."""
    return tensor.as_strided((tensor.numel(),), (1,))

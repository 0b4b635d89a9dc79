"""Sums over nodes and over features, in an order that no batch mate can change."""

from __future__ import annotations

import torch
from torch import Tensor

from intgrad._types import Point

LARGE = 8192  # features a row from which adding node by node beats one indexed addition


def add_in_order(total: Tensor, found: Tensor, rows: Tensor, weight: Tensor) -> None:
    """total[k, :, rows] += weight[:, k] * found, node after node.

    The order of additions is the order of nodes whatever the calls were, so a row's sum does not
    depend on its batch mates.
    """
    if found[0, 0].numel() >= LARGE and not total.requires_grad and not found.requires_grad:
        flat, units = total.flatten(3), found.flatten(2)
        own = weight.to(found.device, found.dtype)
        for i, row in enumerate(rows.tolist()):
            for t in range(len(units)):
                flat[:, t, row].addr_(own[i], units[t, i])
        return
    index = rows.to(found.device)
    for k in range(weight.shape[1]):
        total[k].index_add_(1, index, found * along(weight[:, k], found))


def heights(found: Point) -> Tensor:
    """The sum over features of every contribution (T, n, ...), in float64: (T, n).

    Halves are added to halves, element by element, so that no contribution knows the others.
    """
    return torch.stack([_folded(f.reshape(*f.shape[:2], -1)) for f in found]).sum(0)


def _folded(numbers: Tensor) -> Tensor:
    while (size := numbers.shape[2]) > 1:
        half, odd = size // 2, numbers[..., size // 2 * 2 :]
        numbers = numbers[..., :half].double() + numbers[..., half : 2 * half]
        if odd.shape[2]:
            numbers[..., :1] += odd
    return numbers[..., 0].double()


def behind(numbers: Tensor, found: Tensor) -> Tensor:
    """Shape (T, n) numbers so that they multiply (T, n, ...)."""
    return numbers.to(found).reshape(*numbers.shape, *(1,) * (found.ndim - 2))


def along(numbers: Tensor, found: Tensor) -> Tensor:
    """Shape (n,) numbers so that they multiply axis 1 of (T, n, ...)."""
    return numbers.to(found.device, found.dtype).reshape(1, -1, *(1,) * (found.ndim - 2))

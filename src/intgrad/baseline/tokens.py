"""Baselines of token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.errors import Unsupported
from intgrad.path.curve import Curves, bind_rows


@dataclass(frozen=True)
class MaskToken:
    """Every token replaced by `token` (mask, pad, unknown), but for the ids in `keep`.

    `keep` names special tokens, such as [CLS], [SEP] and padding: they stay, so they get 0.
    """

    token: int
    keep: tuple[int, ...] = ()
    tokens: ClassVar[bool] = True

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row, between token ids."""
        return bind_rows(tuple(self.replace(p) for p in x), x)

    def replace(self, ids: Tensor) -> Tensor:
        """The ids of the baseline."""
        if ids.is_floating_point():
            raise Unsupported(
                f"MaskToken replaces token ids, and x is {ids.dtype}. Pass ids and at='embedding'."
            )
        stay = torch.isin(ids, torch.tensor(self.keep, dtype=ids.dtype, device=ids.device))
        return torch.where(stay, ids, torch.full_like(ids, self.token))

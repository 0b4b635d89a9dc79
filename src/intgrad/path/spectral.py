"""Singular values of the difference, opened in order of their size: Spectral IG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from intgrad.errors import InputError


@dataclass(frozen=True)
class Spectral:
    r"""gamma(t) = start + sum over i of phi_i(t) s_i u_i v_i^T, the largest s_i first.

    U diag(s) V^T is the singular value decomposition of end - start over its last two axes, one a
    channel, and gate i of k opens linearly,

    .. math:: \phi_i(t) = \mathrm{clip}\Big(\frac{t - (1 - w) i / k}{w + (1 - w) / k}, 0, 1\Big),

    with w the overlap: 0 opens one after the other, 1 all at once, which is the straight line.

    Parameters
    ----------
    overlap
        w, from 0 to 1; the paper's is 0.4. Its gates are not printed in full where it is quoted;
        these have its two limits.

    Notes
    -----
    One decomposition a curve, and one product of matrices a node beside its gradient. Pixels may
    turn back on the way, so it is not monotone, and it does not preserve symmetry.

    References
    ----------
    Kim, Lim, Lee, Choi 2026, "Spectral Integrated Gradients", arXiv:2605.19607.
    """

    overlap: float = 0.4
    monotone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= 1:
            raise InputError(f"Spectral(overlap={self.overlap}); expected a number from 0 to 1.")

    def prepare(self, start: Tensor, end: Tensor) -> tuple[Tensor, ...]:
        """Factors of end - start: U s (c, ..., h, k) and V^T (c, ..., k, w)."""
        if end.ndim < 3:
            raise InputError(
                f"Spectral needs a matrix a row, (rows, ..., height, width); x has shape "
                f"{tuple(end.shape)}."
            )
        u, s, v = torch.linalg.svd(end - start, full_matrices=False)
        return u * s[..., None, :], v

    def __call__(self, t: Tensor, start: Tensor, end: Tensor, *factors: Tensor) -> Tensor:
        """Points at t, (n, ...)."""
        left, right = factors or self.prepare(start, end)
        gate, _ = self._gates(t, left)
        point = start + (left * gate) @ right
        return torch.where(t == 1, end, point)

    def velocity(self, t: Tensor, start: Tensor, end: Tensor, *factors: Tensor) -> Tensor:
        """Derivative in t, (n, ...)."""
        left, right = factors or self.prepare(start, end)
        _, speed = self._gates(t, left)
        return (left * speed) @ right

    def _gates(self, t: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """Phi (n, ..., 1, k) and its derivative."""
        k = left.shape[-1]
        order = torch.arange(k, dtype=left.dtype, device=left.device)
        length = self.overlap + (1 - self.overlap) / k
        along = (t - (1 - self.overlap) * order / k) / length
        last = (t == 1) & (order == k - 1) if self.overlap < 1 else t == 1
        open_ = (along >= 0) & ((along < 1) | last)  # from the left, where the way ends
        return along.clamp(0, 1), open_.to(left) / length

"""The nearest words of a vocabulary, found when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from intgrad._types import chunks
from intgrad.errors import InputError

HELD = 1 << 23  # distances that are held at a time
MOST = 1 << 28  # numbers of a table, above which it is refused


class Neighbours:
    """The k nearest words of a word in a table (V, d), the nearest first, of ties the earlier.

    There is no graph of all words: V d operations for every word that is asked for, once. Each
    distance is computed by itself, so that it does not depend on which others are.

    Parameters
    ----------
    table
        (V, d); distances are in float64.
    k
        How many; fewer where the table has fewer.
    skip
        Words that are no neighbours.
    """

    def __init__(self, table: Tensor, k: int, skip: tuple[int, ...]) -> None:
        self.k = min(k, len(table) - len(set(skip)) - 1)
        self._refuse(table, skip)
        self.table = table.double()
        self.skip = torch.tensor(sorted(set(skip)), dtype=torch.long, device=table.device)
        self.place = torch.full((len(table),), -1, device=table.device)
        self.found = self.place.new_empty(0, self.k)

    def __call__(self, words: Tensor) -> Tensor:
        """The neighbours of words (n,): (n, k)."""
        new = words[self.place[words] < 0].unique()
        if len(new):
            self.place[new] = len(self.found) + torch.arange(len(new), device=new.device)
            self.found = torch.cat([self.found, self._search(new)])
        return self.found[self.place[words]]

    def nearest(self, points: Tensor) -> Tensor:
        """The word nearest to each of points (n, d): (n,)."""
        return torch.cat([far.argmin(1) for _, far in self._distances(points)])

    def _search(self, words: Tensor) -> Tensor:
        lists = []
        for part, far in self._distances(self.table[words]):
            far[:, self.skip] = torch.inf
            far.scatter_(1, words[part, None], torch.inf)
            lists.append(smallest(far, self.k))
        return torch.cat(lists)

    def _distances(self, points: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Some of the points (n, d) at a time: which, and how far all words are, (m, V)."""
        for part in chunks(len(points), max(1, HELD // len(self.table))):
            # by differences: a product of matrices would round by the size of the call
            how = "donot_use_mm_for_euclid_dist"
            yield part, torch.cdist(points[part], self.table, compute_mode=how)

    def _refuse(self, table: Tensor, skip: tuple[int, ...]) -> None:
        words, width = table.shape
        if table.numel() > MOST:
            raise InputError(
                f"a table of {words} words of {width} numbers is too large to look for neighbours in (at "
                f"most 2^28 numbers); pass some of its rows, such as those of frequent words."
            )
        if any(not 0 <= i < words for i in skip):
            raise InputError(f"skip={skip} of a table whose words are 0 to {words - 1}.")
        if self.k < 1:
            raise InputError(
                f"a table of {words} words of which {len(set(skip))} are skipped leaves none to go to."
            )


def smallest(far: Tensor, k: int) -> Tensor:
    """Where the k smallest of each row (n, V) are, in order, of ties the earlier: (n, k)."""
    found = far.topk(k, largest=False)
    if bool(((far <= found.values[:, -1:]).sum(1) > k).any()):  # the last is tied with one left out
        return far.argsort(dim=1, stable=True)[:, :k]
    which = found.indices.sort(1).values
    return which.gather(1, far.gather(1, which).argsort(dim=1, stable=True))

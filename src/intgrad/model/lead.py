"""A model asked about its own class against the others: what a decision boundary is made of."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from intgrad._types import Point
from intgrad.errors import TargetError
from intgrad.model.bound import Bound
from intgrad.model.scores import Entry, entry_of
from intgrad.model.torch_oracle import TorchOracle

RIVALS = 10  # classes whose boundaries are looked at from x, as DeepFool does


@dataclass(frozen=True)
class Classes:
    """The class of every row, and the model asked about it in three ways.

    Attributes
    ----------
    own, several
        The class predicted at x (r,), and whether there are classes at all: of a single score,
        `own` is its sign.
    lead, rivals
        Its score less that of the strongest other (n,); less those of the strongest few (k, n).
    into
        Which other is the strongest (n,).
    """

    own: Tensor
    several: bool
    lead: TorchOracle
    rivals: TorchOracle
    into: TorchOracle

    @staticmethod
    def of(oracle: TorchOracle, entry: Entry) -> Classes:
        """Ask for the scores at x: one bare forward a row."""
        ask = copy(oracle)
        ask.differentiable = False
        read = lambda output, rows: flat(entry_of(output, entry))  # noqa: E731
        features = tuple(p.detach() for p in oracle.features)

        def about(of: Callable[[Tensor, Tensor], Tensor], count: int | None = None) -> TorchOracle:
            asked = copy(ask)
            asked.bind(Bound(read, of, (), count), features)
            return asked

        _, scores = ask.read(oracle.raw, torch.arange(len(oracle.raw[0])), read)
        classes = scores.shape[1]
        own = scores.argmax(1) if classes > 1 else torch.where(scores[:, 0] < 0, -1, 1)
        k = min(RIVALS, max(classes - 1, 1))
        return Classes(
            own,
            classes > 1,
            about(lambda s, rows: margins_of(s, own, rows, 1)[0]),
            about(lambda s, rows: margins_of(s, own, rows, k), k),
            about(lambda s, rows: others_of(s, own, rows).argmax(1).double()),
        )

    def crossings(self, starts: Point, distance: Tensor) -> str:
        """Which class each row crosses into, and how far away: one bare forward a row."""
        own, rows = self.own.tolist(), torch.arange(len(self.own))
        said = ["above 0 to below" if s > 0 else "below 0 to above" for s in own]
        if self.several:
            into = self.into.value(starts, rows).long().tolist()
            said = [f"class {a} to {b}" for a, b in zip(own, into, strict=True)]
        each = enumerate(zip(said, distance.tolist(), strict=True))
        told = "; ".join(f"row {i} from {what}, {d:.4g} away" for i, (what, d) in each)
        return f"starts lie on the decision boundary: {told}"


def flat(scores: Tensor) -> Tensor:
    """Scores (n, classes); a number a row is one column.

    Raises
    ------
    TargetError
        More axes: a boundary is between classes, or where the one score is 0.
    """
    if scores.ndim > 2:
        raise TargetError(
            f"the model's scores have shape {tuple(scores.shape)}; a decision boundary needs (rows, "
            f"classes), or one number a row. Wrap the model so that it returns those."
        )
    return scores.reshape(len(scores), -1)


def others_of(scores: Tensor, own: Tensor, rows: Tensor) -> Tensor:
    """Scores (n, classes) with minus infinity for the class of the row."""
    mine = own.to(scores.device)[rows.to(scores.device)]
    return scores.scatter(1, mine[:, None], -torch.inf)


def margins_of(scores: Tensor, own: Tensor, rows: Tensor, count: int) -> Tensor:
    """A row's own score less those of the `count` strongest others: (count, n), strongest first.

    A single score is measured from 0, with the sign it has at x.
    """
    mine = own.to(scores.device)[rows.to(scores.device)]
    if scores.shape[1] == 1:
        return (mine * scores[:, 0])[None]
    others = others_of(scores, own, rows).topk(count, 1).values
    return (scores.gather(1, mine[:, None]) - others).T

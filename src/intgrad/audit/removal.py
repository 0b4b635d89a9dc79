"""What a model says of x when some of its units are replaced by a baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from intgrad._types import Structure, chunks, open_door, plain, whole_number
from intgrad.baseline import as_baseline
from intgrad.begin import start
from intgrad.caller import calm
from intgrad.ends import refuse_nan
from intgrad.errors import InputError, TargetError, Unsupported
from intgrad.model import Logit, LogProbability, Probability, TorchOracle
from intgrad.model.checks import refuse_training
from intgrad.model.cost import Meter
from intgrad.model.location import Location
from intgrad.model.refusals import row_extras
from intgrad.model.target import Predicted, as_target, reader
from intgrad.path import Bank

# (rows (n,) or (1,), which (n,)) -> mask of x[rows]; inputs (n, ...)
Keep = Callable[[Tensor, Tensor], Tensor]
Points = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Removal:
    """A model asked about x, some units of which are replaced.

    Attributes
    ----------
    x, start
        (rows, ...), and what replaces its units.
    whole
        The target at x, (rows,).
    """

    oracle: TorchOracle
    x: Tensor
    start: Bank
    whole: Tensor

    def __call__(self, count: int, keep: Keep) -> Tensor:
        """The target of what is left of every row by each of `count` masks, (rows, count).

        Masks are made for one call of the model at a time.
        """
        return self.of(count, self.keeping(keep))

    def keeping(self, keep: Keep) -> Points:
        """What a mask leaves of each row."""

        def left(rows: Tensor, which: Tensor) -> Tensor:
            return torch.where(keep(rows, which), self.x[rows], self.start.take(rows.cpu())[0])

        return left

    def of(self, count: int, points: Points) -> Tensor:
        """The target at `count` points for every row: (rows, count)."""
        every = torch.arange(len(self.x) * count)
        return self.at(every // count, every % count, points).reshape(len(self.x), count)

    def at(self, rows: Tensor, which: Tensor, points: Points) -> Tensor:
        """The target at one point for each of these rows, made for one call at a time: (n,).

        Of a call that is all one row, `points` is given that row once, to be repeated by broadcasting.
        """
        found = []
        for part in chunks(len(rows), self.oracle.width):
            distinct = rows[part].unique()
            named = distinct if len(distinct) == 1 else rows[part]
            made = points(named.to(self.x.device), which[part].to(self.x.device))
            found.append(self.oracle.value((made,), rows[part].cpu()))
        scores = torch.cat(found).double()
        per_row = torch.zeros(len(self.x), dtype=torch.float64, device=scores.device)
        refuse_nan(per_row.index_add(0, rows.to(scores.device), scores)[None], "what is left of x")
        return scores


@contextmanager
def removing(
    model: Callable[..., Any],
    x: Any,
    target: Any,
    *,
    baseline: Any = None,
    given: dict[str, Tensor] | None = None,
    width: int | None = None,
) -> Iterator[Removal]:
    """Ask the model about x and fix what is scored; it is left as it was.

    Parameters
    ----------
    model
        Any callable on tensors, in evaluation mode.
    x
        One tensor, rows first: real numbers, or token ids.
    target
        What is scored; see `as_scored`.
    baseline
        What replaces a unit, as in `intgrad.attribute`: a tensor like x (one row, or one a row), or
        `Zeros` (the default for real numbers), `Constant`, `Blurred`; for token ids `MaskToken`.
    given
        Extras aligned with the rows, passed to the model by name.
    width
        Rows in every call of the model, the last padded; found from memory by default.

    Raises
    ------
    InputError, TargetError, ModelError, Unsupported
        In one sentence: what came, what was expected, what to do.
    """
    width = None if width is None else whole_number(width, "width", 1)
    with calm(model, differentiable=False):
        (part,), structure = open_door(one_tensor(x))
        part, rows = plain(part), torch.arange(len(part))
        refuse_training(model)
        extras, meter = row_extras(given, len(part)), Meter(len(part))
        oracle = TorchOracle(model, (part,), structure, extras, Location(), meter, width)
        yield Removal(oracle, part, absent(baseline, part), _whole(oracle, target, rows))


def as_scored(target: Any, kind: type[Probability | LogProbability] = Probability) -> Any:
    """Read `target=`: of a class index, one a row, or None (the predicted) the softmax probability.

    Anything else is scored as it is: ``ig.Logit(3)``, ``ig.Margin()``, a callable on the output.
    """
    wanted = as_target(target)
    named = wanted is not target and isinstance(wanted, Logit | Predicted)
    return kind(target) if named else wanted


def one_tensor(x: Any) -> Tensor:
    """The tensor that units are removed from."""
    if not isinstance(x, Tensor) or x.ndim < 2:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise InputError(
            f"x is {got}; expected one tensor (rows, ...) to remove units from. "
            f"What stays goes in given=, by name."
        )
    return x


def absent(baseline: Any, x: Tensor) -> Bank:
    """What stands in the place of x, one point a row.

    Raises
    ------
    InputError
        Token ids without a baseline made of token ids.
    Unsupported
        A distribution of baselines.
    """
    chosen = as_baseline(baseline)
    if not x.is_floating_point() and not getattr(chosen, "tokens", False):
        raise InputError(
            f"x is {x.dtype}, and nothing says which id replaces a token; pass "
            f"baseline=ig.MaskToken(tokenizer.mask_token_id) or a tensor of ids."
        )
    curves = start(chosen, (x,), Structure("tensor"), 0)
    if len(curves) != len(x):
        raise Unsupported(
            f"the baseline has {len(curves) // len(x)} points a row; a unit is replaced by one. Pass a "
            f"tensor like x, such as their mean."
        )
    return curves.start


def _whole(oracle: TorchOracle, target: Any, rows: Tensor) -> Tensor:
    """Run the model at x, and bind what is scored to the rows."""
    x, scores = oracle.read(oracle.raw, rows, reader(target))
    if isinstance(target, Probability | LogProbability) and scores[0].numel() == 1:
        raise TargetError(
            "the model returns one number a row, of which there is no softmax; say what is scored, "
            "e.g. target=lambda out: out.flatten(), or its sigmoid."
        )
    bound = target.bind(scores)
    if bound.count:
        raise Unsupported(
            f"the target names {bound.count} numbers a row; one is scored. Pass them one by one."
        )
    oracle.bind(bound, x)
    whole = bound.of(scores, rows).double()
    refuse_nan(whole[None], "x")
    return whole

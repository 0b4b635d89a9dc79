"""One row, asked about by an audit: its number, where its paths start, and what was found there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from intgrad._types import open_door, plain
from intgrad.audit.derived import Score
from intgrad.audit.explanation import Explanation, explained
from intgrad.audit.finding import Explain, Finding
from intgrad.errors import InputError, Unsupported
from intgrad.model.bound import reader
from intgrad.model.checks import refuse_training
from intgrad.model.target import as_target

Start = Tensor | Callable[[Tensor], Tensor] | None

SLACK = 0.01  # relative L1 error of a method that says nothing of its own
ROUNDING = 64.0  # units in the last place
CHUNK = 256  # baselines in one call
FEATURES = 4  # looked at by a check
TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Case:
    """One comparison: how far apart, how far is allowed, and what is needed to see it again."""

    size: float
    allowed: float
    worst: Mapping[str, Any] = field(default_factory=dict)


def relative(size: float, scale: float, allowed: float, **worst: Any) -> Case:
    """A case whose size and allowance are shares of the same scale."""
    scale = max(scale, TINY)
    return Case(size / scale, allowed / scale, worst)


@dataclass(frozen=True, eq=False)
class Row:
    """A row of x, and all that a check needs to ask about it.

    Attributes
    ----------
    x
        (1, ...).
    score
        The explained number of the model, (n, ...) -> (n, 1).
    seed
        Decides every draw of a check; row r of a call has the call's seed + r.
    """

    explain: Explain
    model: Any
    x: Tensor
    target: Any
    score: nn.Module
    baseline: Start
    slack: float
    seed: int

    def own(self) -> Explanation:
        """The method's answer to the question as it was put."""
        return explained(self.explain, self.model, self.x, self.target, self.slack)

    def ask(self, f: nn.Module, x: Tensor | None = None) -> Explanation:
        """Its answer about another model (n, ...) -> (n, 1), here or at another point."""
        own = set(self.model.modules()) if isinstance(self.model, nn.Module) else set()
        for part in set(f.modules()) - own:
            part.training = False
        return explained(self.explain, f, self.x if x is None else x, 0, self.slack)

    def start(self, x: Tensor | None = None) -> Tensor:
        """Where paths to x start, (m, ...)."""
        return starts(self.baseline, self.x if x is None else x)

    def gain(self, f: nn.Module, x: Tensor | None = None) -> float:
        """f(x) less the mean of f over the starts."""
        x = self.x if x is None else x
        return float(numbers(f, x)[0] - numbers(f, self.start(x)).mean())

    def rounding(self, f: nn.Module, x: Tensor | None = None) -> float:
        """What rounding may do to f and its values here, absolute."""
        points = torch.cat([self.x if x is None else x, self.start(x)])
        largest = float(numbers(f, points).abs().max())
        return ROUNDING * torch.finfo(self.x.dtype).eps * largest

    def generator(self) -> torch.Generator:
        """Random numbers of this row."""
        return torch.Generator().manual_seed(self.seed)

    def features(self, most: int) -> list[int]:
        """Some that differ from where paths start, by the seed."""
        moved = (self.x.flatten() != self.start().flatten(1)).any(0).nonzero()[:, 0]
        order = torch.randperm(len(moved), generator=self.generator())
        return moved.cpu()[order[:most]].tolist()

    def only(self, *features: int) -> Tensor:
        """A mask (1, ...) that is True at these."""
        mask = torch.zeros(self.x.numel(), dtype=torch.bool, device=self.x.device)
        mask[list(features)] = True
        return mask.reshape(self.x.shape)


def numbers(f: nn.Module, z: Tensor) -> Tensor:
    """What f makes of these points, (n,) in float64."""
    with torch.no_grad():
        return torch.cat([f(part)[:, 0] for part in z.split(CHUNK)]).double().cpu()


def starts(baseline: Start, x: Tensor) -> Tensor:
    """Where paths to one row (1, ...) start: zeros, the point or points given, or a function of x.

    Raises
    ------
    InputError
        Not points shaped like x.
    """
    found: Any = baseline(x) if callable(baseline) else baseline
    found = torch.zeros_like(x) if found is None else found
    if not isinstance(found, Tensor) or found.shape[1:] != x.shape[1:] or not len(found):
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            f"baseline is {got}; expected points {('m', *x.shape[1:])}: one, or the m of a distribution, "
            f"or a function from a row to them."
        )
    return plain(found).to(x)


def rows(
    explain: Explain, model: Any, x: Any, target: Any, baseline: Start, seed: int, slack: float
) -> list[Row]:
    """Every row of x by itself.

    Raises
    ------
    InputError
        x is not one tensor of floats with rows.
    Unsupported
        Several targets, or one that is not a number of the model's output.
    """
    point, _ = open_door(x)
    if len(point) != 1 or not point[0].is_floating_point():
        raise InputError("an audit takes one tensor of floating-point numbers, rows first.")
    refuse_training(model)
    found, whole = [], plain(point[0])
    for r in range(len(whole)):
        one, own = whole[r : r + 1], _of_row(target, r)
        score, fixed = _score(model, one, own)
        found.append(Row(explain, model, one, fixed, score, baseline, slack, seed + r))
    return found


def _of_row(target: Any, row: int) -> Any:
    """The target of one row, where there is one for each."""
    if isinstance(target, list | tuple | Tensor) and len(target):
        return int(target[row])
    return target


def _score(model: Any, x: Tensor, target: Any) -> tuple[nn.Module, Any]:
    """The number to explain; and the target, with the predicted class named."""
    wanted = as_target(target)
    with torch.no_grad():
        read = reader(wanted)(model(x), torch.zeros(1, dtype=torch.long, device=x.device))
    if not hasattr(wanted, "bind") or hasattr(wanted, "layer"):
        raise Unsupported(f"target={target!r} reads a layer; an audit explains the model's output.")
    bound = wanted.bind(read)
    if bound.count is not None:
        raise Unsupported("an audit explains one target at a time; pass one of them.")
    if target is None and read.ndim == 2 and read.shape[1] > 1:
        target = int(read.argmax())
    return Score(model, bound), target


class Check(Protocol):
    """An axiom, as a function that says how far a method is from it."""

    __name__: str

    def __call__(
        self,
        explain: Explain,
        model: Any,
        x: Any,
        target: Any = None,
        *,
        baseline: Start = None,
        seed: int = 0,
        slack: float = SLACK,
        **given: Any,
    ) -> Finding:
        """The worst finding over the rows of x; parameters as in `intgrad.audit.axioms`."""
        ...


def check(cases: Callable[..., Iterator[Case]]) -> Check:
    """Make a check of a generator of cases over one row; the worst is the largest beside what is allowed."""

    @functools.wraps(cases)
    def asked(
        explain: Explain,
        model: Any,
        x: Any,
        target: Any = None,
        *,
        baseline: Start = None,
        seed: int = 0,
        slack: float = SLACK,
        **given: Any,
    ) -> Finding:
        found = []
        for r, row in enumerate(rows(explain, model, x, target, baseline, seed, slack)):
            where = {"row": r, "seed": row.seed}
            found += [replace(c, worst={**where, **c.worst}) for c in cases(row, **given)]
        return _worst(cases.__name__, found, (cases.__doc__ or "").splitlines()[0])

    del asked.__wrapped__  # its own signature is the true one
    return asked  # type: ignore[return-value]


def _worst(name: str, cases: list[Case], says: str) -> Finding:
    if not cases:
        return Finding(name, float("nan"), 0.0, note="there is nothing here to which it applies.")
    worst = max(cases, key=lambda c: c.size / max(c.allowed, TINY))
    return Finding(name, worst.size, worst.allowed, worst.worst, says)

"""Baselines: where paths start. One point, a few, or a distribution.

A baseline is asked for the curves that end at x. Those that are random draw by an explicit seed,
on the CPU, and give every row the same draws: so that a row's answer does not depend on where it
stands in a batch, or on the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from intgrad._types import Point, flatten, plain, refuse_nonfinite
from intgrad.errors import InputError, Unsupported
from intgrad.path.curve import Curves, bind, bind_rows
from intgrad.path.heat import heat


class Baseline(Protocol):
    """x (r, ...) -> curves that end there.

    `rows` numbers the examples; `seed` is the only source of chance. A baseline of token ids says
    ``tokens = True`` and is given ids; any other is given real numbers. One that must ask the model
    for its starts also has ``trace(oracle, entry, seed)``, and is called by that.
    """

    def __call__(self, x: Point, rows: Tensor, seed: int, /) -> Curves: ...


@dataclass(frozen=True)
class Zeros:
    """All zeros: a black picture before normalisation, the absence of a standardised feature."""

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row."""
        return bind(tuple(torch.zeros_like(p[:1]) for p in x), x)


@dataclass(frozen=True)
class Constant:
    """The same number everywhere."""

    value: float = 0.0

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row."""
        return bind(tuple(torch.full_like(p[:1], self.value) for p in x), x)


@dataclass(frozen=True)
class Fixed:
    """Given points: one row for all, or one a row. What a tensor passed as baseline becomes."""

    points: Point
    name: str = "tensor"
    tokens: bool = False

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row."""
        own = [fit(b, p) for b, p in zip(self.points, x, strict=True)]
        if all(len(b) == 1 for b in own):
            return bind(tuple(own), x)
        return bind_rows(tuple(b.expand(p.shape) for b, p in zip(own, x, strict=True)), x)


@dataclass(frozen=True)
class Blurred:
    """The input without its detail: Gaussian blur of `sigma` samples, mirrored at the borders.

    Blurs the axes after rows and channels: (r, c, length), (r, c, height, width), ...
    """

    sigma: float = 20.0

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """One curve a row."""
        for part in x:
            if part.ndim < 3:
                raise InputError(
                    f"Blurred needs (rows, channels, ...) with neighbours to blur; x has shape "
                    f"{tuple(part.shape)}."
                )
        return bind_rows(tuple(self._each(p) for p in x), x)

    def _each(self, part: Tensor) -> Tensor:
        """Row by row: a product of matrices rounds differently with other rows beside it."""
        axes = tuple(range(2, part.ndim))
        return torch.cat([heat(row[None], self.sigma, axes) for row in part])


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    r"""Rows of data, such as a training set or 200 of its rows: the mean over all of them.

    .. math:: A_i(x) = \frac{1}{B} \sum_{b=1}^{B} A_i(x; x'_b)

    They are all there is: an error is about the mean over these rows, not over a population. A
    fixed rule in t costs its nodes times B, one that samples (`Lattice`) a few times B.

    Parameters
    ----------
    points
        A tensor, tuple or dict like x, with B rows of its own: (B, ...). Every row of x starts
        from each of them, with weight 1/B.
    """

    points: Any
    keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        points, structure = flatten(self.points, "Dataset")
        for part in points:
            refuse_complex(part, "Dataset")
            if part.ndim == 0 or len(part) != len(points[0]) or not len(part):
                raise InputError(
                    f"Dataset holds tensors of shapes {[tuple(p.shape) for p in points]}; expected "
                    f"(B, ...) with the same number of rows in each, at least one."
                )
            refuse_nonfinite(part, "Dataset")
        object.__setattr__(self, "points", tuple(plain(p) for p in points))
        object.__setattr__(self, "keys", structure.keys or self.keys)

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """B curves a row, from the same starts for every row."""
        for part, own in zip(self.points, x, strict=True):
            if part.shape[1:] != own.shape[1:]:
                expected = ("B", *own.shape[1:])
                missing = " Is the row axis missing?" if part.shape == own.shape[1:] else ""
                raise InputError(
                    f"Dataset has shape {tuple(part.shape)}; expected ({', '.join(map(str, expected))}) "
                    f"to match x.{missing}"
                )
        return bind(tuple(b.to(p.device, p.dtype) for b, p in zip(self.points, x, strict=True)), x)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.points[0])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Dataset) or hash(self) != hash(other):
            return False
        return all(torch.equal(a, b) for a, b in zip(self.points, other.points, strict=True))

    def __hash__(self) -> int:
        return hash((self.keys, tuple((tuple(p.shape), p.dtype) for p in self.points)))

    def __repr__(self) -> str:
        return f"Dataset({self.name})"

    @property
    def name(self) -> str:
        """What a page says of it."""
        return f"{len(self)} rows"

    @property
    def tokens(self) -> bool:
        """Whether the rows are token ids."""
        return not self.points[0].is_floating_point()


@dataclass(frozen=True)
class Uniform:
    """Noise, uniform on [low, high], independent in every feature.

    Parameters
    ----------
    samples
        How many draws to average over: they are then all there is, and an error is about their
        mean. Without it, a rule that draws by itself (`Lattice`, `MonteCarlo`) says how many, and
        its standard error is about the mean over the distribution; a fixed rule in t refuses.
    """

    low: float = 0.0
    high: float = 1.0
    samples: int | None = None

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """`samples` curves a row, the same draws for every row."""
        draw = lambda s, g: torch.rand(s, generator=g) * (self.high - self.low) + self.low  # noqa: E731
        return bind(draws(x, self, seed, draw), x)


@dataclass(frozen=True)
class Gaussian:
    """Noise, normal with `mean` and `sigma`, independent in every feature; `samples` as in `Uniform`."""

    mean: float = 0.0
    sigma: float = 1.0
    samples: int | None = None

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """`samples` curves a row, the same draws for every row."""
        draw = lambda s, g: torch.randn(s, generator=g) * self.sigma + self.mean  # noqa: E731
        return bind(draws(x, self, seed, draw), x)


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


def as_baseline(baseline: object) -> Any:
    """Read the `baseline=` argument: None, a tensor (tuple, dict), or a baseline."""
    if baseline is None:
        return Zeros()
    if isinstance(baseline, Tensor | tuple | list | dict):
        points, _ = flatten(baseline, "baseline")
        for part in points:
            refuse_complex(part, "baseline")
            refuse_nonfinite(part if part.ndim else part[None], "baseline")
        return Fixed(tuple(plain(p) for p in points), tokens=not points[0].is_floating_point())
    if isinstance(baseline, type):
        name = baseline.__name__
        raise InputError(f"baseline is the class {name}; write {name}(...).")
    if not callable(baseline):
        got = repr(baseline) if isinstance(baseline, int | float | str) else type(baseline).__name__
        raise InputError(
            f"baseline={got} is not understood; expected a tensor like x, or a baseline such "
            f"as ig.Zeros(), ig.Constant(0.5), ig.Blurred(20)."
        )
    return baseline


def refuse_complex(part: Tensor, name: str) -> None:
    """Attributions are real."""
    if part.is_complex():
        raise InputError(f"{name} is {part.dtype}; attribution needs real numbers.")


def populated(baseline: Any, rule: Any) -> tuple[Any, bool]:
    """A distribution that does not say how many draws gets as many as the rule asks for.

    Returns
    -------
    baseline, drawn
        And whether it did, so that its draws stand for a population.
    """
    unsaid = is_dataclass(baseline) and getattr(baseline, "samples", 0) is None
    if isinstance(baseline, type) or not (unsaid and getattr(rule, "samples_baselines", False)):
        return baseline, False
    return replace(baseline, samples=rule.baselines), True  # type: ignore[type-var]


def fit(baseline: Tensor, x: Tensor) -> Tensor:
    """The baseline in x's dtype and on its device, with one row or as many as x.

    Raises
    ------
    InputError
        A shape that is neither.
    """
    one, every = (1, *x.shape[1:]), tuple(x.shape)
    if tuple(baseline.shape) not in (one, every):
        missing = " Is the batch axis missing?" if tuple(baseline.shape) == every[1:] else ""
        raise InputError(
            f"baseline has shape {tuple(baseline.shape)}; expected {every} or {one} to match x.{missing}"
        )
    return baseline.to(x.device, x.dtype)


def draws(x: Point, baseline: Any, seed: int, draw: Callable[..., Tensor]) -> Point:
    """(samples, ...) points shaped like rows of x, drawn on the CPU."""
    if baseline.samples is None:
        name = type(baseline).__name__
        raise Unsupported(
            f"{name} is a distribution, and a fixed rule in t needs to know how many draws to "
            f"average: {name}(samples=16)."
        )
    if baseline.samples < 1:
        raise InputError(f"samples={baseline.samples}; expected at least 1.")
    generator = torch.Generator().manual_seed(seed)
    shapes = [(baseline.samples, *p.shape[1:]) for p in x]
    return tuple(draw(s, generator).to(p.device, p.dtype) for s, p in zip(shapes, x, strict=True))

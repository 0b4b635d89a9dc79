"""A target tied to the rows of one call; one target, or several from the same forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from intgrad.errors import TargetError
from intgrad.model.scores import entry_of

Read = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Bound:
    """A target tied to the rows of one call.

    Attributes
    ----------
    extract
        Output -> the tensor the target reads, rows first.
    of
        (that tensor, rows) -> values (n,), or (T, n) where `count` is T.
    names
        What is explained, one a row, or one a target where there are several.
    """

    extract: Read
    of: Callable[[Tensor, Tensor], Tensor]
    names: tuple[str, ...]
    count: int | None = None

    def __call__(self, output: Any, rows: Tensor) -> Tensor:
        return self.of(self.extract(output, rows), rows)


@dataclass(frozen=True)
class Pinned:
    """A target that was bound before, for `times` copies of each of its rows, one after the other.

    So noisy copies of an input, or coarser ones, are explained for the class that was predicted at the
    input itself.
    """

    wanted: Any
    bound: Bound
    times: int = 1

    def reads(self, output: Any, rows: Tensor) -> Tensor:
        """What the target itself reads."""
        return reader(self.wanted)(output, rows // self.times)

    def bind(self, scores: Tensor) -> Bound:
        """The target as it was bound."""
        bound, times = self.bound, self.times
        names = bound.names
        if not bound.count:
            names = tuple(name for name in names for _ in range(times))
        return Bound(
            lambda output, rows: bound.extract(output, rows // times),
            lambda found, rows: bound.of(found, rows // times),
            names,
            bound.count,
        )


def reader(target: Any) -> Read:
    """What to keep of an output to bind `target` later: a tensor with rows first."""
    own = getattr(target, "reads", None)
    return own or (lambda output, rows: entry_of(output, getattr(target, "entry", None)))


@dataclass
class Several:
    """A list of targets, explained together: one forward a node, one backward a target.

    What they read of an output travels as one tensor (n, columns) and is cut again, whatever its
    shapes and dtypes were; what several read in common travels once.
    """

    of: tuple[Any, ...]
    packed: list[tuple[torch.Size, torch.dtype]] = field(default_factory=list, repr=False)

    def reads(self, output: Any, rows: Tensor) -> Tensor:
        """Everything the targets read, side by side."""
        found = {key: read(output, rows) for key, read in self._readers().items()}
        self._refuse_constants([found[self._key(target)] for target in self.of])
        self.packed = [(part.shape[1:], part.dtype) for part in found.values()]
        odd = [part for part in found.values() if len(part) != len(rows)]
        if odd or len(found) == 1:
            return (odd or list(found.values()))[0]  # what has other rows is refused by the oracle
        return torch.cat([part.reshape(len(part), -1) for part in found.values()], 1)

    def bind(self, scores: Tensor) -> Bound:
        """Bind every target; one that already is several counts as many.

        Raises
        ------
        TargetError
            One of them cannot be found in the output.
        """
        parts = self._cut(scores)
        bound = [(self._key(t), t.bind(parts[self._key(t)])) for t in self.of]
        names = tuple(name for _, b in bound for name in (b.names if b.count else _joined(b.names)))

        def values(packed: Tensor, rows: Tensor) -> Tensor:
            cut = self._cut(packed)
            found = (b.of(cut[key], rows) for key, b in bound)
            return torch.cat([f if f.ndim == 2 else f[None] for f in found])

        return Bound(self.reads, values, names, len(names))

    def _refuse_constants(self, found: list[Tensor]) -> None:
        """Beside a target that autograd can follow, one that it cannot would be 0 everywhere."""
        live = [part.requires_grad for part in found]
        if any(live) and not all(live):
            raise TargetError(
                f"target {live.index(False)} of the list, counted from 0, does not depend on the input "
                f"through autograd: it is detached or constant. Remove the break, or the target."
            )

    def _key(self, target: Any) -> tuple[str, Any]:
        own = hasattr(target, "reads")
        return ("own", id(target)) if own else ("entry", getattr(target, "entry", None))

    def _readers(self) -> dict[tuple[str, Any], Read]:
        return {self._key(t): reader(t) for t in self.of}

    def _cut(self, packed: Tensor) -> dict[tuple[str, Any], Tensor]:
        if len(self.packed) == 1:
            return dict.fromkeys(self._readers(), packed)
        sizes = [shape.numel() for shape, _ in self.packed]
        parts = zip(self._readers(), packed.split(sizes, 1), self.packed, strict=True)
        return {k: p.reshape(len(p), *shape).to(dtype) for k, p, (shape, dtype) in parts}


def _joined(names: tuple[str, ...]) -> tuple[str]:
    """One name for a target whose class is the row's own."""
    own = list(dict.fromkeys(names))
    return (" | ".join(own[:3]) + (" | ..." if len(own) > 3 else ""),)

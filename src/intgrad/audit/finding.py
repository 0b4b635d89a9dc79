"""What a check of an explanation finds: a size, what is allowed, and the worst case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# (model, x, target) -> values shaped like x: a tensor, an array, or an Attribution
Explain = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class Finding:
    """One check of one method on one model.

    Attributes
    ----------
    check
        Its name, as in ``audit.toml`` and on the command line.
    size
        The worst violation found, 0 for none; NaN where the check does not apply.
    allowed
        The largest size that rounding and the method's own error explain.
    worst
        What is needed to see the worst case again: row, feature, seed, numbers.
    note
        What the size is relative to, or why the check does not apply; a sentence.
    """

    check: str
    size: float
    allowed: float
    worst: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def applies(self) -> bool:
        """Whether there was anything to check."""
        return self.size == self.size

    @property
    def holds(self) -> bool:
        """Whether the size is allowed; a check that does not apply is not broken."""
        return not self.applies or self.size <= self.allowed

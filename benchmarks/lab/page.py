"""Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(title: str, head: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Print a table, if it has a line."""
    found = [" | ".join(map(str, line)) for line in lines]
    if found:
        print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
        print("\n".join(f"| {line} |" for line in found), flush=True)

"""Numbers and names as a page says them."""

from __future__ import annotations

import math
import unicodedata

SHOWN = {"\n": "⏎", "\r": "⏎", "\t": "⇥"}


def number(x: float) -> str:
    """A number of the certificate: six digits, or that it is unknown."""
    return "unknown" if math.isnan(x) else f"{x:.6g}"


def signed(x: float) -> str:
    """A contribution: always with its sign, unless it is nothing."""
    if math.isnan(x):
        return "unknown"
    return f"{x:+.4g}" if x else "0"


def about(x: float) -> str:
    """An error: two digits."""
    return "unknown" if math.isnan(x) else f"{x:.2g}"


def percent(x: float) -> str:
    """A relative error: in percent where that reads well."""
    if math.isnan(x):
        return "unknown"
    return f"{100 * x:.2g} %" if x >= 1e-4 or x == 0 else f"{x:.1e}"


def part(x: float) -> str:
    """A share of a whole, in whole percents."""
    return f"{100 * x:.0f} %"


def counted(size: int, noun: str) -> str:
    """``1 row``, ``3 rows``."""
    return f"{size:,} {noun}" + ("" if size == 1 else "s")


def visible(text: str) -> str:
    """Text with nothing hidden in it: line ends and tabs drawn, other control characters replaced.

    They would be invisible or illegal in a page; half a surrogate pair could not even be written.
    """
    return "".join(SHOWN.get(c) or _drawn(c) for c in text)


def _drawn(character: str) -> str:
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cs") else character

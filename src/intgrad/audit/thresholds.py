"""What is asked of the findings: read from ``audit.toml``, compared with what was found."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from intgrad.audit.checks import refuse_unknown
from intgrad.audit.finding import Finding
from intgrad.audit.task import Measured
from intgrad.errors import InputError

FORM = "a number, the largest size; or {min = ...}, {max = ...} of the mean score"


@dataclass(frozen=True)
class Threshold:
    """What a check must keep to.

    Attributes
    ----------
    size
        The largest size, in the place of what the finding itself allows.
    least, most
        Of the method's mean score, for checks that have one.
    """

    size: float | None = None
    least: float | None = None
    most: float | None = None

    def missed(self, finding: Finding) -> str | None:
        """Why a finding does not keep to it, in words; None where it does."""
        if not finding.applies:
            return f"{finding.check} does not apply: {finding.note}"
        if self.size is not None:
            too = finding.size > self.size
            return (
                f"{finding.check} has size {finding.size:.4g}, above {self.size:g}" if too else None
            )
        if not isinstance(finding, Measured):
            return f"{finding.check} has a size and no score; ask for a number alone"
        return self._score(finding.check, finding.mean())

    def _score(self, check: str, mean: float) -> str | None:
        if self.least is not None and not mean >= self.least:
            return f"{check} scores {mean:.4g}, below {self.least:g}"
        if self.most is not None and not mean <= self.most:
            return f"{check} scores {mean:.4g}, above {self.most:g}"
        return None


Thresholds = Mapping[str, Threshold]


def read(path: str | PathLike[str], known: Sequence[str]) -> dict[str, Threshold]:
    """Thresholds from a TOML file with a table ``[thresholds]``.

    Raises
    ------
    InputError
        No such file, no TOML, no such table, an unknown check, or something that is no threshold.
    """
    path = Path(path)
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read as TOML: {error}.") from error
    table = told.get("thresholds")
    if not isinstance(table, dict) or not table:
        raise InputError(f"{path} has no table [thresholds]; expected lines of check = {FORM}.")
    return thresholds_of(table, known, str(path))


def thresholds_of(
    table: Mapping[str, Any], known: Sequence[str], where: str = "thresholds"
) -> dict[str, Threshold]:
    """The same from a mapping."""
    refuse_unknown(list(table), known, where)
    return {name: _threshold(name, asked, where) for name, asked in table.items()}


def _threshold(name: str, asked: Any, where: str) -> Threshold:
    if isinstance(asked, Threshold):
        return asked
    if _number(asked):
        return Threshold(size=float(asked))
    bounds = isinstance(asked, Mapping) and asked and set(asked) <= {"min", "max"}
    if bounds and all(_number(v) for v in asked.values()):
        return Threshold(None, asked.get("min"), asked.get("max"))
    raise InputError(f"{where}: {name} = {asked!r} is no threshold; expected {FORM}.")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value

"""The baseline laboratory: one prediction from several baselines, and what survives their choice."""

from intgrad.laboratory.ask import (
    baseline_report,
    each,
    grouping,
    names_of,
    refuse_several,
    report_missed,
    row_by_row,
)
from intgrad.laboratory.consensus import Consensus
from intgrad.laboratory.result import BaselineReport
from intgrad.laboratory.standing import Standing, standing
from intgrad.laboratory.table import summary

__all__ = [
    "BaselineReport",
    "Consensus",
    "Standing",
    "baseline_report",
    "each",
    "grouping",
    "names_of",
    "refuse_several",
    "report_missed",
    "row_by_row",
    "standing",
    "summary",
]

"""Paths, one a file, and `Curves`, which bind a path to its ends."""

from intgrad.path.curve import Bank, Curves, Path, polyline
from intgrad.path.straight import Straight

__all__ = ["Bank", "Curves", "Path", "Straight", "polyline"]

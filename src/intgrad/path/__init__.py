"""Paths, one a file, and `Curves`, which bind a path to its ends."""

from intgrad.path.anchored import Anchored, Greedy, MaxCount
from intgrad.path.curve import Bank, Curves, Path, polyline
from intgrad.path.guided import Guided
from intgrad.path.knots import Polyline
from intgrad.path.left import Left
from intgrad.path.permutation import Permutation
from intgrad.path.pushed_forward import PushedForward
from intgrad.path.scale_space import ScaleSpace
from intgrad.path.sequential import Sequential
from intgrad.path.spectral import Spectral
from intgrad.path.straight import Straight

__all__ = [
    "Anchored",
    "Bank",
    "Curves",
    "Greedy",
    "Guided",
    "Left",
    "MaxCount",
    "Path",
    "Permutation",
    "Polyline",
    "PushedForward",
    "ScaleSpace",
    "Sequential",
    "Spectral",
    "Straight",
    "polyline",
]

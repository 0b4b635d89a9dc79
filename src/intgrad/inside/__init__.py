"""What happens between input and output: which neurons made a region of the map, which edges a behaviour."""

from intgrad.inside.by_head import by_head
from intgrad.inside.circuits import (
    Circuit,
    Edges,
    Faithfulness,
    Family,
    Heads,
    InTurn,
    Whole,
    edges,
    faithfulness,
)
from intgrad.inside.prune import Pruning, prune
from intgrad.inside.pruned_class import ClassPruning, prune_class
from intgrad.inside.regional import PublishedRule, regional
from intgrad.inside.through import Through

__all__ = [
    "Circuit",
    "ClassPruning",
    "Edges",
    "Faithfulness",
    "Family",
    "Heads",
    "InTurn",
    "Pruning",
    "PublishedRule",
    "Through",
    "Whole",
    "by_head",
    "edges",
    "faithfulness",
    "prune",
    "prune_class",
    "regional",
]

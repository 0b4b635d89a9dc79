"""What happens between input and output: which neurons made a region of the map."""

from intgrad.inside.heads import heads
from intgrad.inside.prune import Pruning, prune
from intgrad.inside.pruned_class import ClassPruning, prune_class
from intgrad.inside.regional import PublishedRule, regional
from intgrad.inside.through import Through

__all__ = [
    "ClassPruning",
    "Pruning",
    "PublishedRule",
    "Through",
    "heads",
    "prune",
    "prune_class",
    "regional",
]

"""What happens between input and output: which neurons made a region of the map."""

from intgrad.inside.by_head import by_head
from intgrad.inside.prune import Pruning, prune
from intgrad.inside.pruned_class import ClassPruning, prune_class
from intgrad.inside.regional import PublishedRule, regional
from intgrad.inside.through import Through

__all__ = [
    "ClassPruning",
    "Pruning",
    "PublishedRule",
    "Through",
    "by_head",
    "prune",
    "prune_class",
    "regional",
]

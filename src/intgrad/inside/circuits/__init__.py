"""Circuits: which edges of a decoder carried a behaviour, and how much is left of it with them alone."""

from intgrad.inside.circuits.edges import InTurn, edges
from intgrad.inside.circuits.faithfulness import Faithfulness, faithfulness
from intgrad.inside.circuits.family import Family, Heads, Whole
from intgrad.inside.circuits.graph import Graph
from intgrad.inside.circuits.result import Circuit, Edges

__all__ = [
    "Circuit",
    "Edges",
    "Faithfulness",
    "Family",
    "Graph",
    "Heads",
    "InTurn",
    "Whole",
    "edges",
    "faithfulness",
]

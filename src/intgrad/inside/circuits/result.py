"""`Edges`: what every edge carried, and how sure that is; `Circuit`: the edges that were chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike

import torch
from torch import Tensor

from intgrad._types import whole_number
from intgrad.attribution import Attribution
from intgrad.errors import InputError
from intgrad.headline import certainty, spread, targets
from intgrad.inside.circuits import export
from intgrad.inside.circuits.graph import Graph


@dataclass(frozen=True, eq=False)
class Edges:
    """Every edge of a decoder with its score.

    Attributes
    ----------
    graph
        The nodes, their readers, and the edges in their order.
    attribution
        Values (rows, edges), a pair of prompts a row, with the certificate: `residual` is the largest
        difference from the sums that must hold, see `edges`.
    """

    graph: Graph
    attribution: Attribution

    def __len__(self) -> int:
        """How many edges there are."""
        return len(self.graph)

    @property
    def scores(self) -> Tensor:
        """The mean over the rows, (edges,), in float64."""
        return self.attribution.values.double().mean(0).cpu()

    @property
    def errors(self) -> Tensor:
        """The mean of the rows' estimated absolute errors, (edges,); 0 where nothing is approximated."""
        wrong = self.attribution.error_map
        return torch.zeros(len(self)) if wrong is None else wrong.double().mean(0).cpu()

    @property
    def node_scores(self) -> Tensor:
        """Scores of the nodes (rows, nodes): the sum over the edges that leave each.

        That is the node's own move times the gradient at its output, integrated: node attribution
        patching. With `PushedForward` it is the node's conductance.
        """
        values = self.attribution.values.double().cpu()
        found = values.new_zeros(len(values), len(self.graph.nodes) - 1)
        return found.index_add(1, self.graph.source, values)

    def nodes(self) -> dict[str, float]:
        """The nodes' mean scores by name, the strongest first."""
        found = zip(self.graph.nodes, self.node_scores.mean(0).tolist(), strict=False)
        return dict(sorted(found, key=lambda pair: -abs(pair[1])))

    def top(self, n: int) -> list[tuple[str, str, float, float]]:
        """The n edges of the largest absolute mean score: source, reader, score, error."""
        chosen = self.order()[: refuse_size(n, len(self))].tolist()
        numbers = self.scores.tolist(), self.errors.tolist()
        return [(*self.graph.names(e), numbers[0][e], numbers[1][e]) for e in chosen]

    def order(self) -> Tensor:
        """The edges by absolute mean score, the largest first; of equals the earlier."""
        return self.scores.abs().argsort(descending=True, stable=True)

    def circuit(self, n: int) -> Circuit:
        """The n edges of the largest absolute score, less those on no way from input to logits.

        Those are left out because they change nothing: the circuit's faithfulness is the same.
        """
        keep = torch.zeros(len(self), dtype=torch.bool)
        keep[self.order()[: refuse_size(n, len(self))]] = True
        return Circuit(self.graph, self.graph.live(keep), self.scores, ", ".join(self.targets))

    @property
    def targets(self) -> tuple[str, ...]:
        """What was explained."""
        return tuple(dict.fromkeys(self.attribution.targets))

    @property
    def residual(self) -> Tensor | None:
        """The largest difference from the sums that must hold, (rows,); None where none must."""
        return self.attribution.residual

    def __repr__(self) -> str:
        a, graph = self.attribution, self.graph
        return "\n".join(
            [
                f"Edges of {len(a)} pairs of prompts: {len(self)} edges from {len(graph.nodes) - 1} nodes to "
                f"{len(graph.readers)} readers",
                f"target: {targets(a)}; f(clean) {spread(a.output)}, f(corrupt) {spread(a.baseline_output)}",
                certainty(a),
                f"cost: {spread(a.evaluations)} gradient evaluations a row; {a.run.rule}",
            ]
        )


@dataclass(frozen=True, eq=False)
class Circuit:
    """Edges that were kept, of all that a graph has.

    Attributes
    ----------
    graph, keep
        The graph, and which of its edges are kept: (edges,), True or False.
    scores
        Of all edges, (edges,).
    target
        What they are scores of.
    """

    graph: Graph
    keep: Tensor
    scores: Tensor
    target: str = ""

    def __len__(self) -> int:
        """How many edges it has."""
        return int(self.keep.sum())

    def edges(self) -> list[tuple[str, str, float]]:
        """Source, reader, score; in the order in which the decoder runs."""
        chosen = self.keep.nonzero()[:, 0].tolist()
        return [(*self.graph.names(e), float(self.scores[e])) for e in chosen]

    def nodes(self) -> list[str]:
        """The nodes that its edges leave, and the logits."""
        left = set(self.graph.source[self.keep].tolist())
        return [name for i, name in enumerate(self.graph.nodes[:-1]) if i in left] + ["logits"]

    def but(self, keep: Tensor) -> Circuit:
        """The same graph with other edges kept."""
        return replace(self, keep=keep)

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """Nodes and edges as JSON, and written to a file if one is named."""
        return export.written(export.to_json(self), path)

    def to_dot(self, path: str | PathLike[str] | None = None) -> str:
        """Graphviz text, and written to a file if one is named; ``dot -Tsvg`` draws it."""
        return export.written(export.to_dot(self), path)

    def __repr__(self) -> str:
        return f"Circuit of {len(self)} of {len(self.graph)} edges: {', '.join(self.nodes())}"


def refuse_size(n: int, most: int, unit: str = "edges") -> int:
    """A number of edges, or nodes.

    Raises
    ------
    InputError
        Less than none, or more than there are.
    """
    number = whole_number(n, "n", 0)
    if number > most:
        raise InputError(f"n={n}; expected 0 to {most}, as there are {most} {unit} to choose from.")
    return number

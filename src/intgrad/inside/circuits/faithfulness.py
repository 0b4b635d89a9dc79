"""How much of a behaviour is left when only a circuit's edges are clean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from intgrad._types import chunks, whole_number
from intgrad.caller import calm
from intgrad.errors import InputError, Unsupported
from intgrad.inside.circuits.decoder import Decoder, dissect
from intgrad.inside.circuits.family import Family
from intgrad.inside.circuits.patch import Patch
from intgrad.inside.circuits.result import Edges, refuse_size
from intgrad.inside.circuits.runs import Run, Uncached, read_output, refuse_prompts, run
from intgrad.integral import ATOL
from intgrad.model.bound import Bound, reader
from intgrad.model.checks import refuse_training
from intgrad.model.refusals import row_extras

Ranking = Edges | Tensor


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """The target with only so many edges, or nodes, clean, for one or several rankings of them.

    Attributes
    ----------
    names, counts
        Of the rankings, m of them, and how many edges, or nodes, were kept, (k,).
    live
        How many edges then lie on a way from the input to the logits, (m, k); the rest change nothing.
    output
        The target with those edges alone, (m, k, rows).
    clean, corrupt
        The target with all edges clean, and with none: (rows,).
    unit
        ``"edges"`` or ``"nodes"``.
    """

    names: tuple[str, ...]
    counts: Tensor
    live: Tensor
    output: Tensor
    clean: Tensor
    corrupt: Tensor
    unit: str = "edges"

    @property
    def values(self) -> Tensor:
        """(mean target - mean corrupted) / (mean clean - mean corrupted), (m, k): 1 is all of it."""
        low, high = self.corrupt.mean(), self.clean.mean()
        return (self.output.mean(2) - low) / (high - low)

    def table(self) -> str:
        """A line a count: the faithfulness of every ranking, and its live edges in brackets."""
        wide = max(16, *map(len, self.names)) + 2
        lines = [self.unit + "".join(f"{name:>{wide}}" for name in self.names)]
        columns = zip(
            self.counts.tolist(), self.values.T.tolist(), self.live.T.tolist(), strict=True
        )
        for count, values, live in columns:
            cells = (f"{f'{v:.3f} ({n})':>{wide}}" for v, n in zip(values, live, strict=True))
            lines.append(f"{count:5d}" + "".join(cells))
        return "\n".join(lines)

    def plot(self) -> Any:
        """Faithfulness against the number of edges, as a matplotlib figure."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.5, 3.8), layout="constrained")
        axes = figure.subplots()
        for name, values in zip(self.names, self.values, strict=True):
            axes.plot(self.counts, values, marker="o", markersize=3, label=name)
        axes.axhline(1, color="0.7", linewidth=0.8)
        axes.set(xlabel=f"{self.unit} kept", ylabel="faithfulness", xscale="symlog")
        axes.legend()
        return figure


@torch.no_grad()
def faithfulness(
    model: nn.Module,
    clean: Tensor,
    corrupt: Tensor,
    *,
    target: Any,
    ranking: Ranking | Mapping[str, Ranking],
    counts: Sequence[int],
    family: Family | None = None,
    given: dict[str, Tensor] | None = None,
    width: int = 32,
) -> Faithfulness:
    r"""Keep the highest edges clean, corrupt all others, and see what is left of the target.

    .. math:: \frac{f(\text{circuit}) - f(\text{corrupt})}{f(\text{clean}) - f(\text{corrupt})}

    means over the rows above and below. The model runs on the clean prompts; every reader (each query,
    key and value head, each MLP, the logits) gets a residual stream of its own, in which sources along
    kept edges are those of this run, and all others those of the corrupted run. Nothing is converted:
    hooks put the streams together, for the length of a call.

    Parameters
    ----------
    model, clean, corrupt, target, family, given
        As in `edges`.
    ranking
        `Edges`, ranked by absolute mean score, or a tensor (edges,), the largest first as it is, such
        as ``torch.rand(len(edges))``; or several by name, which are asked together. A tensor (nodes,),
        such as ``edges.node_scores.mean(0).abs()``, ranks nodes: kept are the edges between those
        chosen, the input and the logits.
    counts
        How many edges to keep; or how many nodes, beside the input.
    width
        Rows a call.

    Returns
    -------
    Faithfulness
        Costs a forward a row for each ranking and count, and two more. Memory of a call is rows x
        words x nodes x width of the stream.

    Raises
    ------
    InputError, TargetError, Unsupported
        In one sentence: what came, what was expected, what to do.

    References
    ----------
    Hanna, Pezzelle, Belinkov 2024, arXiv:2403.17806. Marks et al. 2024, arXiv:2403.19647.
    """
    refuse_prompts(clean, corrupt)
    decoder, plain = dissect(model, family), Uncached(model)
    whole_number(width, "width", 1)
    named = ranking if isinstance(ranking, Mapping) else {"ranking": ranking}
    if not named:
        raise InputError("ranking is empty; expected Edges, or several of them by name.")
    extras = row_extras(given, len(clean))
    units, choices = zip(*(order_of(decoder, r) for r in named.values()), strict=True)
    if len(set(units)) > 1:
        raise InputError(
            "some rankings are of edges and some of nodes; ask for each kind by itself."
        )
    numbers, keep = keeping(decoder, choices, counts, units[0])
    live = torch.stack([decoder.graph.live(k) for k in keep.flatten(0, 1)])
    ask = Pairs(decoder, plain, clean, corrupt.to(clean.device), extras, width)
    with calm(model, False):
        refuse_training(model)
        bound, high = ask.bind(target)
        low, found = ask.patched(bound, live.double())
    refuse_still(high, low)
    each = lambda t: t.unflatten(0, keep.shape[:2])  # noqa: E731
    return Faithfulness(tuple(named), numbers, each(live.sum(1)), each(found), high, low, units[0])


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of prompts, and the model that is asked about them in calls of `width` rows."""

    decoder: Decoder
    model: nn.Module
    clean: Tensor
    corrupt: Tensor
    given: dict[str, Tensor]
    width: int

    def bind(self, target: Any) -> tuple[Bound, Tensor]:
        """The target, tied to the answers on the clean prompts, and its values there, (rows,)."""
        wanted = read_output(target)
        read = reader(wanted)
        scores = torch.cat(
            [read(self._call(self.clean, rows).output, rows) for rows in self._rows()]
        )
        bound = wanted.bind(scores)
        if bound.count:
            raise Unsupported("faithfulness is of one target; several were given. Ask for each.")
        return bound, bound.of(scores, torch.arange(len(self.clean))).double().cpu()

    def patched(self, bound: Bound, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The target on corrupted prompts (rows,), and with edges weighted, (k, edges) -> (k, rows)."""
        found = []
        for rows in self._rows():
            before = self._call(self.corrupt, rows)
            ids, given = self._part(self.clean, rows), self._given(rows)
            patches = (Patch(self.decoder, before, self.decoder.by_part(w)) for w in weights)
            outputs = (patch(self.model, ids, given) for patch in patches)
            answers = [bound(output, rows) for output in (before.output, *outputs)]
            found.append(torch.stack(answers).double().cpu())
        corrupt, *kept = torch.cat(found, 1)
        return corrupt, torch.stack(kept)

    def _rows(self) -> Iterator[Tensor]:
        every = torch.arange(len(self.clean))
        return (every[part] for part in chunks(len(every), self.width))

    def _part(self, ids: Tensor, rows: Tensor) -> Tensor:
        return ids[rows.to(ids.device)]

    def _given(self, rows: Tensor) -> dict[str, Tensor]:
        return {name: self._part(value, rows) for name, value in self.given.items()}

    def _call(self, ids: Tensor, rows: Tensor) -> Run:
        return run(self.decoder, self.model, self._part(ids, rows), self._given(rows))


def order_of(decoder: Decoder, ranking: Any) -> tuple[str, Tensor]:
    """What is ranked, and its order, highest first.

    Raises
    ------
    InputError
        The ranking is of other edges.
    """
    edges, nodes = len(decoder.graph), len(decoder.graph.nodes) - 1
    if isinstance(ranking, Edges) and ranking.graph.readers == decoder.graph.readers:
        return "edges", ranking.order()
    if isinstance(ranking, Tensor) and ranking.shape in ((edges,), (nodes,)):
        order = ranking.argsort(descending=True, stable=True).cpu()
        return ("edges", order) if len(order) == edges else ("nodes", order[order != 0])
    got = f"{len(ranking)} edges" if isinstance(ranking, Edges) else type(ranking).__name__
    if isinstance(ranking, Tensor):
        got = f"a tensor {tuple(ranking.shape)}"
    raise InputError(
        f"ranking is {got}; expected Edges of this model, or a tensor ({edges},) for edges or ({nodes},) "
        f"for nodes."
    )


def keeping(
    decoder: Decoder, orders: Sequence[Tensor], counts: Sequence[int], unit: str
) -> tuple[Tensor, Tensor]:
    """How many are kept (k,), and the edges that then are, (rankings, k, edges)."""
    numbers = [refuse_size(count, len(orders[0]), unit) for count in counts]
    if not numbers:
        raise InputError("counts is empty; expected at least one number of edges or nodes.")
    every = len(decoder.graph) if unit == "edges" else len(decoder.graph.nodes) - 1
    chosen = torch.zeros(len(orders), len(numbers), every, dtype=torch.bool)
    for i, order in enumerate(orders):
        for k, number in enumerate(numbers):
            chosen[i, k, order[:number]] = True
    if unit == "edges":
        return torch.tensor(numbers), chosen
    chosen[..., 0] = True  # the input
    between = [decoder.graph.between(nodes) for nodes in chosen.flatten(0, 1)]
    return torch.tensor(numbers), torch.stack(between).unflatten(0, chosen.shape[:2])


def refuse_still(clean: Tensor, corrupt: Tensor) -> None:
    """There must be something to be faithful to.

    Raises
    ------
    InputError
        The mean target is the same on both kinds of prompts.
    """
    low, high = float(corrupt.mean()), float(clean.mean())
    if abs(high - low) <= ATOL * max(abs(high), abs(low)):
        raise InputError(
            f"the mean target is {high:.4g} on clean prompts and {low:.4g} on corrupted ones: there is "
            f"nothing to explain. Pair prompts that are answered differently."
        )

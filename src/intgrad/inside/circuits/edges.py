"""`edges`: how much each edge of a decoder carried of the way from a corrupted prompt to a clean one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.attribution import Attribution
from intgrad.caller import bar, calm
from intgrad.certificate import Question, certify, report_convergence
from intgrad.errors import InputError, Unsupported
from intgrad.inside.circuits.answer import cuts, held_to, joined, named
from intgrad.inside.circuits.decoder import Decoder, dissect
from intgrad.inside.circuits.family import Family
from intgrad.inside.circuits.result import Edges
from intgrad.inside.circuits.runs import (
    Uncached,
    moves,
    read_output,
    refuse_gaps,
    refuse_prompts,
    run,
    spread,
)
from intgrad.inside.circuits.scores import EdgeScores
from intgrad.integral import ATOL
from intgrad.model.checks import refuse_training
from intgrad.model.torch_oracle import TorchOracle
from intgrad.path import PushedForward, Straight
from intgrad.quadrature import Automatic
from intgrad.quadrature.tolerance import reachable
from intgrad.question import opened, prepare, refuse_parts
from intgrad.recipe import Recipe

RULE = Automatic(5e-2)  # a ranking needs no more


@dataclass(frozen=True)
class InTurn:
    """One part goes from its corrupted output to its clean one, all others stay as on the clean prompt.

    A path of `edges`. The edges that leave a part then add up to what the target loses if that part is
    corrupted: this is the *activations* variant of EAP-IG. Costs an integral for every part.

    References
    ----------
    Hanna, Pezzelle, Belinkov 2024, arXiv:2403.17806; Marks et al. 2024, arXiv:2403.19647.
    """


def edges(
    model: nn.Module,
    clean: Tensor,
    corrupt: Tensor,
    *,
    target: Any,
    quadrature: Any = RULE,
    path: Any = Straight(),
    family: Family | None = None,
    given: dict[str, Tensor] | None = None,
    width: int | None = None,
    check: bool = True,
    strict: bool = False,
    progress: bool | Callable[[int], None] = False,
) -> Edges:
    r"""How much each edge of a decoder carried of the way from corrupted prompts to clean ones.

    .. math:: s(u \to v) = (z_u - z'_u) \cdot \int_0^1
              \frac{\partial f(\gamma(t))}{\partial (\text{input of } v)} \, dt

    Edge attribution patching with integrated gradients (EAP-IG). z and z' are what node u writes to
    the residual stream on the clean and the corrupted prompt; :math:`\gamma` is the straight line of
    the embeddings from corrupted to clean; the input of v is v's own copy of the stream, before its
    norm, so that queries, keys and values are readers of their own. A positive edge makes f on the
    clean prompt higher than on the corrupted one. The published methods are values of `quadrature`
    and `path`:

    ==================================  =======================================================
    EAP                                 ``quadrature=ig.At(1.0)``: the gradient at the clean end
    EAP-IG, published rule              ``quadrature=ig.LeftRiemann(5)``
    clean-corrupted                     ``quadrature=ig.Trapezoid(2)``: the mean of both ends
    EAP-IG, activations                 ``path=ig.inside.InTurn()``
    edge conductance                    ``path=ig.PushedForward()``: dz_u/dt in place of z_u - z'_u
    ==================================  =======================================================

    What adds up: the edges out of the input make f(clean) - f(corrupt), as integrated gradients do;
    with `PushedForward` so do the edges over *every* cut of the stream; with `InTurn` the edges out of
    each part make what f loses if that part alone is corrupted. `Edges.residual` is the largest
    difference from these sums. Edges out of a node always add up to the node's own score.

    Parameters
    ----------
    model
        A decoder of Hugging Face transformers, as it is: Llama and its like, Phi-3, GPT-2, GPT-NeoX,
        Mamba;
        or any module that `family` describes. In evaluation mode.
    clean, corrupt
        Token ids (rows, words), pair by pair as long as each other.
    target
        One number a row of the model's output, as in `intgrad.attribute`; mostly a callable, such as
        ``lambda out: out.logits[:, -1, she] - out.logits[:, -1, he]``.
    quadrature, path
        See above. By default as few nodes as meet 5 % of the sum of a pair's absolute scores.
    family
        Where the parts are, for a model that is not known.
    given
        Row-aligned tensors for both runs, by name, such as ``attention_mask``.
    width, check, strict, progress
        As in `intgrad.attribute`.

    Returns
    -------
    Edges
        Scores with their certificate. Costs three bare forwards a row, and a gradient a node of the
        rule: no second derivative. `PushedForward` takes a pass in forward mode a node besides.

    Raises
    ------
    InputError
        Prompts that are no pairs, or between which the target does not change.
    TargetError, ModelError
        In one sentence: what came, what was expected, what to do.
    Unsupported
        A model that is no known decoder; several targets.

    Warns
    -----
    NotConverged
        Some row's error is above its tolerance.

    Notes
    -----
    The error is that of the integral, and no more: that patching an edge does what its score says is
    not promised. `faithfulness` measures it.

    References
    ----------
    Hanna, Pezzelle, Belinkov 2024, "Have Faith in Faithfulness", arXiv:2403.17806. Syed, Rager, Conmy
    2023, "Attribution Patching Outperforms Automated Circuit Discovery", arXiv:2310.10348.
    """
    refuse_prompts(clean, corrupt)
    refuse_path(path)
    target, recipe = read_output(target), Recipe("edge_attribution", corrupt, path, quadrature)
    refuse_parts(recipe.but(path=Straight()))
    with calm(model, False), bar(progress) as tick:
        if check:
            refuse_training(model)
        ask = Ask(dissect(model, family), Uncached(model), clean, target, given, width, check, tick)
        found = ask.in_turn(recipe) if isinstance(path, InTurn) else ask.together(recipe)
    report_convergence([found], strict)
    return Edges(ask.decoder.graph, found)


@dataclass
class Ask:
    """The question about all edges, asked once or part by part."""

    decoder: Decoder
    model: Uncached
    clean: Tensor
    target: Any
    given: dict[str, Tensor] | None
    width: int | None
    check: bool
    tick: Callable[[int], None] | None
    moved: tuple[Tensor, ...] | None = None

    def together(self, recipe: Recipe) -> Attribution:
        """All edges from one integral along the embeddings."""
        graph, pushed = self.decoder.graph, isinstance(recipe.path, PushedForward)
        own = recipe.but(path=recipe.path.of) if pushed else recipe
        own = own.but(at=self.decoder.embedding)
        sums = list(cuts(graph)) if pushed else [graph.source == 0]
        found = self._integrated(own, slice(0, len(graph.nodes) - 1), pushed)
        return named(recipe, held_to(sums, *found))

    def in_turn(self, recipe: Recipe) -> Attribution:
        """The edges out of each part from an integral along its own output."""
        own = [(p.location, p.own) for p in self.decoder.writers]
        parts = [(self.decoder.embedding, slice(0, 1)), *own]
        found = []
        for at, sources in parts:
            question, a = self._integrated(recipe.but(path=Straight(), at=at), sources, False)
            found.append(held_to([torch.ones(a.values.shape[1]).bool()], question, a))
        whole = joined(self.decoder.graph, found, [sources for _, sources in parts])
        return named(recipe, whole)

    def _integrated(
        self, recipe: Recipe, sources: slice, pushed: bool
    ) -> tuple[Question, Attribution]:
        """The edges of some sources along one path, not yet held to a sum."""
        how = {"width": self.width, "differentiable": False, "dtype": None}
        oracle = opened(recipe, self.model, self.clean, self.given, self.tick, **how)
        question = prepare(recipe, oracle, self.target, 0, self.check)
        if oracle.targets is not None:
            raise Unsupported("edges are scored for one target; several were given. Ask for each.")
        if self.moved is None:
            refuse_still(question)
            self.moved = moves_of(self.decoder, oracle, recipe.baseline)
        integrand = EdgeScores(self.decoder, None if pushed else self.moved, sources)
        integral = replace(question.integral, integrand=integrand, gain=None, gains=None)
        estimate = reachable(recipe.quadrature, integral.dtype)(integral)
        question = replace(question, integral=integral)
        own = recipe.but(integrand=integrand)
        return question, certify(own, question, estimate, 0, None, complete=False)


def moves_of(decoder: Decoder, oracle: TorchOracle, corrupt: Tensor) -> tuple[Tensor, ...]:
    """What each part writes on the clean prompts, less what it writes on the corrupted: two forwards."""
    found, (clean,) = [], oracle.raw
    for rows in torch.arange(len(clean)).split(oracle.width or len(clean)):
        given = {name: value[rows.to(value.device)] for name, value in oracle.given.items()}
        both = [ids[rows.to(ids.device)].to(clean.device) for ids in (clean, corrupt)]
        after, before = (run(decoder, oracle.model, ids, given) for ids in both)  # type: ignore[arg-type]
        moved = moves(after, before)
        refuse_gaps(decoder, after, before, spread(decoder, moved))
        found.append(moved)
        oracle.meter.count(rows.repeat(2), 0)
    return tuple(torch.cat(m) for m in zip(*found, strict=True))


def refuse_path(path: Any) -> None:
    """Moves are from end to end, or the path's own.

    Raises
    ------
    Unsupported
        Another path.
    """
    if not isinstance(path, Straight | InTurn | PushedForward):
        raise Unsupported(
            f"path={path!r}; edges know ig.Straight(), ig.inside.InTurn() and ig.PushedForward(), in which "
            f"another path of the embeddings can be put: ig.PushedForward(of=...)."
        )


def refuse_still(question: Question) -> None:
    """The target must change between the two prompts of every pair.

    Raises
    ------
    InputError
        It does not: there is nothing to explain.
    """
    gain, scale = question.gain[0].abs().cpu(), question.output[0].abs().cpu()
    still = (gain <= ATOL * scale).nonzero()[:, 0].tolist()
    if still:
        raise InputError(
            f"the target is {float(question.output[0, still[0]]):.4g} on the clean prompt of row {still[0]} "
            f"and on its corrupted one: there is nothing to explain. Does the target look at a place "
            f"where the two differ, or behind it? Leave such rows out."
        )

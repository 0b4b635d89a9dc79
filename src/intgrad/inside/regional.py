"""Regional neuron attribution: which neurons of a layer made a region of the input count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from intgrad._types import Point, whole_number
from intgrad.attribution import Attribution
from intgrad.certificate import report_convergence
from intgrad.errors import InputError
from intgrad.integrand import NodeWork, PanelWork
from intgrad.layers import Sweep, certified, sweep
from intgrad.model.observe import Place
from intgrad.model.oracle import Oracle, ability
from intgrad.model.places import places_of
from intgrad.path import PushedForward
from intgrad.quadrature import Automatic, LeftRiemann
from intgrad.recipe import Recipe

ASKED: dict[str, Any] = {
    "target": None, "given": None, "seed": 0, "width": None, "check": True,
    "differentiable": False, "dtype": None, "progress": False,
}  # fmt: skip


@dataclass(frozen=True)
class PublishedRule:
    r"""The rule of the paper's code: finite differences, the gradient at a step's right end.

    .. math:: \sum_k \partial_{y_j} H\big(Y(\gamma_{k+1})\big) \,
              \big(Y_j(\gamma_k + \delta 1_D) - Y_j(\gamma_k)\big)

    For comparison with published numbers. Its error is of order 1/steps and it does not know it, so
    every row is said not to have converged, and nothing holds its values to a sum.

    Parameters
    ----------
    steps
        Equal steps of the path. Each costs a gradient, and another for every region.
    """

    steps: int = 256
    approximates: ClassVar[bool] = False  # nothing that it could be complete about

    def __post_init__(self) -> None:
        whole_number(self.steps, "steps", 1)


@dataclass(frozen=True, eq=False)
class Regional:
    """At one place, a tensor (T, n, *layer) a region; then what each region is worth, (T, n, 1)."""

    place: Place
    regions: tuple[Tensor, ...]
    unit: ClassVar[str] = "node"
    complete: ClassVar[bool] = True

    def __call__(self, oracle: Oracle, work: NodeWork) -> Point:
        """Gradient . tangent along each region, and the target's own derivative along it."""
        ways = [_within(r, work.rows, work.velocity) for r in self.regions]
        _, rise, (seen,) = ability(oracle, "observe")(work.x, work.rows, (self.place,), ways)
        return *(seen.gradient * t for t in seen.tangents), *(r[..., None] for r in rise)


@dataclass(frozen=True, eq=False)
class RegionalSteps:
    """The same by finite differences, panel by panel, without what the regions are worth."""

    place: Place
    regions: tuple[Tensor, ...]
    unit: ClassVar[str] = "panel"
    complete: ClassVar[bool] = False

    def __call__(self, oracle: Oracle, work: PanelWork) -> Point:
        """Contributions (T, p, *layer), one a region."""
        look = lambda x, rows: ability(oracle, "observe")(x, rows, (self.place,), ())[2][0]  # noqa: E731
        seen, rows = look(work.x, work.rows), work.rows[work.first]
        before, gradient = seen.activation[work.first], seen.gradient[:, work.second]
        found = []
        for region in self.regions:
            step = _within(region, rows, work.increments())
            part = tuple(p[work.first] + s.to(p) for p, s in zip(work.x, step, strict=True))
            found.append(gradient * (look(part, rows).activation - before))
        return tuple(found)


def regional(
    model: nn.Module,
    x: Any,
    *,
    at: Any,
    region: Tensor | Sequence[Tensor],
    baseline: Any = None,
    quadrature: Any = Automatic(),
    **call: Any,
) -> Any:
    r"""Which neurons of a layer made a region of the input count.

    .. math:: A_j(D) = \int_0^1 \frac{\partial f}{\partial y_j}
              \big[J_Y(\gamma(t)) \, (\dot\gamma(t) \, 1_D)\big]_j dt, \qquad
              \sum_j A_j(D) = \sum_{i \in D} A_i

    The region of everything gives conductance, and disjoint regions add up to it. That the sum over
    the neurons is what integrated gradients give to the region is checked: `residual` is the
    difference, the region's share being integrated from the same nodes, past all layers.

    Parameters
    ----------
    model, x
        A module, and one tensor (rows, ...).
    at
        The layer: a module, or its dotted name. It must be a cut for the sums to hold.
    region
        True inside. Broadcast to x, so (height, width) is the same for all rows and channels, and
        (rows, 1, height, width) one a row. A list of them is answered from one sweep.
    baseline, quadrature
        As in `attribute`; `PublishedRule` for the finite differences of the paper's code.
    **call
        ``target=``, and the rest as in `intgrad.attribute`; ``path=`` an `intgrad.PushedForward`, for
        another path of the input, or ``PushedForward(at="embedding")`` for token ids: the region is
        then of the embedding (rows, words, dimensions).

    Returns
    -------
    Attribution, or a list of them
        Values (rows, *layer), a neuron each; ``.sum((2, 3))`` of it is one number a channel. The second
        where `region` is a list. Costs a node a gradient, and a pass in forward mode for each region,
        which `evaluations` does not count.

    Raises
    ------
    InputError, TargetError, ModelError, Unsupported
        In one sentence: what came, what was expected, what to do.

    References
    ----------
    Lundstrom, Huang, Razaviyayn 2022, "A Rigorous Study of Integrated Gradients Method and Extensions
    to Internal Neuron Attributions", arXiv:2202.11912.
    """
    strict = call.pop("strict", False)
    path = call.pop("path", PushedForward())
    several = not isinstance(region, Tensor)
    recipe = Recipe("regional", baseline, path, quadrature, at=at)
    masks = tuple(as_region(mask) for mask in (region if several else [region]))
    found = _regional(recipe, masks, model, x, _asked(call))
    if strict is not None:
        report_convergence(found, strict)
    return found if several else found[0]


@torch.inference_mode(False)
def _regional(
    recipe: Recipe, masks: tuple[Tensor, ...], model: Any, x: Any, call: dict[str, Any]
) -> list[Attribution]:
    place, *others = places_of(model, recipe.at)
    if others:
        raise InputError(f"at={recipe.at!r} names several layers; expected one.")
    kind, own = Regional, recipe
    if isinstance(recipe.quadrature, PublishedRule):
        kind, own = RegionalSteps, recipe.but(quadrature=LeftRiemann(recipe.quadrature.steps))
    swept = sweep(own, kind(place, masks), model, x, call, len(masks))
    return [_answer(recipe, swept, i, len(masks), place) for i in range(len(masks))]


def _answer(recipe: Recipe, swept: Sweep, i: int, regions: int, place: Place) -> Attribution:
    """One region's neurons, held to what the region is worth."""
    question = swept.question
    worth = question.gain
    if recipe.complete:
        worth = swept.estimate.value[regions + i].detach()[..., 0].double()
        swept = replace(swept, question=replace(question, gain=worth))
    return certified(recipe, swept, i, place, worth, "what the region is worth")


def as_region(mask: Any) -> Tensor:
    """A mask of True and False, or of 1 and 0, as booleans.

    Raises
    ------
    InputError
        Something else.
    """
    if not isinstance(mask, Tensor) or not mask.ndim:
        raise InputError(f"region is a {type(mask).__name__}; expected a tensor, True inside.")
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError("region holds more than 0 and 1; compare first, e.g. region > 0.5.")
    return mask.detach().bool()


def _within(region: Tensor, rows: Tensor, moves: Point) -> Point:
    """Velocities, or increments, of some rows, where the region is; 0 elsewhere."""
    if len(moves) != 1:
        raise InputError(
            f"a region is of one tensor; x has {len(moves)}. Give the others in given=."
        )
    region = region.to(moves[0].device)
    if region.ndim == moves[0].ndim and len(region) > 1:
        region = region[rows.to(region.device)]
    try:
        return (moves[0] * region.expand(moves[0].shape),)
    except RuntimeError as error:
        raise InputError(
            f"region is {tuple(region.shape)}; expected one that broadcasts to a row of the features, "
            f"{tuple(moves[0].shape[1:])}, or has a first axis of rows before that."
        ) from error


def _asked(call: dict[str, Any]) -> dict[str, Any]:
    """How the model is asked, as in `attribute`."""
    if unknown := sorted(call.keys() - ASKED):
        raise TypeError(f"regional() has no {unknown[0]}=; expected one of {', '.join(ASKED)}.")
    return {**ASKED, **call}

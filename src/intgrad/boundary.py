"""The decision boundary as a baseline: the nearest point that the model puts into another class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from intgrad._types import Point, chunks, whole_number
from intgrad.errors import InputError, ModelError, Unsupported
from intgrad.model.lead import Classes
from intgrad.model.scores import Entry
from intgrad.model.torch_oracle import TorchOracle
from intgrad.nearest import Box, Search, along, difference, norm, put, take
from intgrad.path.curve import Curves, bind_rows


@dataclass(frozen=True)
class Boundary:
    r"""The nearest point of another class, in L2: what would just have been decided otherwise.

    .. math:: x' = \arg\min_z \|z - x\|_2 \quad\text{where}\quad
        m(z) = s_c(z) - \max_{j \ne c} s_j(z) \le 0

    c is the class that is predicted at x, s are the model's scores. One score a row is a logit, its
    boundary is 0, and m is the score or its negative. The point lives where the features do: in the
    input, the embedding or the layer. Values from it say what keeps x on its side
    (`intgrad.methods.big`).

    The search asks the model. Each attempt walks across the boundary by DeepFool's steps, to where
    the linearised margin is a little below zero, in the box. It comes back along the line to x until
    0 >= m > -1e-8 m(x), or as near as the dtype rounds. Then it slides: the projection of x on the
    tangent of the boundary gives a direction, which is taken as far as it makes the point nearer.
    The first attempt goes towards the class whose linearised boundary is nearest, out of the 10
    strongest; each restart towards the next class, from a point that is displaced at random by as
    much. The nearest point of all attempts is kept. It is a local minimum, so the distance is an
    upper bound; where the model is linear it is exact.

    Parameters
    ----------
    steps
        Steps of a walk, at most.
    restarts
        Attempts after the first.
    refine
        Rounds of sliding, at most. A row that comes no nearer stops.
    low, high
        The box in which every feature must lie, in the features' units: 0 and 1 for pixels.
    overshoot
        How far across the linearised boundary a step aims, as a share of its length.

    Raises
    ------
    ModelError
        A row without a boundary within the budget; it says how far was searched.
    InputError
        x is outside the box.

    Notes
    -----
    Cost: at x one gradient of up to 10 classes; then, an attempt, about one gradient a step or round
    and 3 to 8 bare forwards a crossing. All are counted. Every row has the same random draws, by
    the seed of the call, and its way does not depend on its batch mates. The starts are numbers:
    with ``differentiable=True`` no gradient goes through the search. ``run.notes`` of the answer
    names the class that each row crosses into, and the distance.

    Wang, Fredrikson, Datta 2021, "Robust Models Are More Interpretable Because Attributions Look
    Normal", arXiv:2103.11257 (there found by adversarial attacks). Steps: Moosavi-Dezfooli, Fawzi,
    Frossard 2016, "DeepFool", arXiv:1511.04599. Projection of x on the tangent: Croce, Hein 2020,
    "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack", arXiv:1907.02044.
    """

    steps: int = 50
    restarts: int = 2
    refine: int = 20
    low: float | None = None
    high: float | None = None
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        whole_number(self.steps, "steps", 1)
        whole_number(self.restarts, "restarts", 0)
        whole_number(self.refine, "refine", 0)
        if not self.overshoot > 0:
            raise InputError(f"overshoot={self.overshoot!r}; expected a number above 0.")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise InputError(f"low={self.low!r}, high={self.high!r}; expected low < high.")

    def __call__(self, x: Point, rows: Tensor, seed: int) -> Curves:
        """Refuse: without the model there is no boundary."""
        raise Unsupported(
            "Boundary asks the model for its starts, and here baselines are drawn before the model is "
            "asked. Call ig.attribute(model, x, baseline=ig.Boundary()) on the model's own input."
        )

    def trace(self, oracle: TorchOracle, entry: Entry, seed: int) -> Curves:
        """One curve a row, from the nearest point found; every evaluation is counted.

        Parameters
        ----------
        oracle
            Who knows the model, the rows and where the features live.
        entry
            Which entry of the model's output holds the scores.
        seed
            Of the random displacements.
        """
        classes = Classes.of(oracle, entry)
        x, every = tuple(p.detach() for p in oracle.features), torch.arange(len(classes.own))
        refuse_outside(x, Box(self.low, self.high))
        starts, distance = tuple(p.clone() for p in x), torch.zeros(len(every)).double()
        lost: list[str] = []
        for part in chunks(len(every), oracle.width or 64):
            found = self.search(classes, take(x, every[part]), every[part], seed)
            put(starts, found.rows, found.point)
            distance[found.rows] = found.distance
            lost += told(found)
        refuse_lost(lost, self, classes.several)
        oracle.notes.append(classes.crossings(starts, distance))
        return bind_rows(starts, oracle.features)

    def search(self, classes: Classes, x: Point, rows: Tensor, seed: int) -> Search:
        """The nearest crossings of those rows that are not on the boundary themselves."""
        margins, gradient = classes.rivals.cotangents(x, rows)
        margins = margins.double().cpu()
        live = (~(margins[0] <= 0)).nonzero()[:, 0]
        margins, gradient = margins[:, live], tuple(g[:, live.to(g.device)] for g in gradient)
        box = Box(self.low, self.high)
        search = Search(classes.lead, take(x, live), rows[live], margins[0], box)
        order = nearest_first(margins, gradient)
        generator = torch.Generator().manual_seed(seed)
        for i in range(1 + self.restarts if len(live) else 0):
            way, margin = of_class(order[i % len(order)], gradient, margins)
            start = box.project(search.x, way, (1 + self.overshoot) * margin)
            start = displaced(search, start, i, generator) if i else start
            search.attempt(start, self.steps, self.overshoot, self.refine)
        return search


def nearest_first(margins: Tensor, gradient: Point) -> Tensor:
    """Classes (k, n) by the distance of their linearised boundaries, for each row."""
    slope = torch.stack([norm(tuple(g[k] for g in gradient)) for k in range(len(margins))])
    return torch.where(slope > 0, margins / slope, torch.inf).argsort(dim=0, stable=True)


def of_class(index: Tensor, gradient: Point, margins: Tensor) -> tuple[Point, Tensor]:
    """The gradient (n, ...) and the margin (n,) of one class (n,) a row."""
    every = torch.arange(len(index))
    way = tuple(g[index.to(g.device), every.to(g.device)] for g in gradient)
    return way, margins[index, every]


def displaced(search: Search, start: Point, attempt: int, generator: torch.Generator) -> Point:
    """`start`, moved in a random direction by its own distance from x; the same for every row.

    Where the gradient at x vanishes there is no such distance: the moves are then 1, 2, 4, ... 128
    times as long as x.
    """
    draw = [torch.randn(p.shape[1:], generator=generator, dtype=torch.float64) for p in start]
    way = tuple(w.to(p).expand(p.shape) for w, p in zip(draw, start, strict=True))
    size, length = norm(search.x), norm(way)
    size = torch.where(size > 0, size, sum(w.numel() for w in draw) ** 0.5)
    reach = norm(difference(start, search.x))
    reach = torch.where(reach > 0, reach, size * 2.0 ** ((attempt - 1) % 8))
    return search.box.clip(along(start, way, reach / length))


def refuse_outside(x: Point, box: Box) -> None:
    """The search keeps to the box, and so x must lie in it."""
    for part, inside in zip(x, box.clip(x), strict=True):
        out = (part != inside).reshape(len(part), -1).any(1).nonzero()[:, 0]
        if len(out):
            own = part[out[0]]
            raise InputError(
                f"row {int(out[0])} of x goes from {float(own.min()):.4g} to {float(own.max()):.4g}, "
                f"outside the box of Boundary(low={box.low}, high={box.high}). Name the box in the "
                f"units of x, or leave it out."
            )


def told(search: Search) -> list[str]:
    """What there is to say of each row that found no boundary."""
    lost = (~torch.isfinite(search.distance)).nonzero()[:, 0]
    return [
        f"row {int(search.rows[i])} (its margin of {float(search.margin[i]):.3g} fell to "
        f"{float(search.least[i]):.3g} at best, up to {float(search.farthest[i]):.3g} away)"
        for i in lost.tolist()
    ]


def refuse_lost(lost: list[str], boundary: Boundary, several: bool) -> None:
    """Say which rows have no boundary within the budget, and what can be done."""
    if not lost:
        return
    more = " ..." if len(lost) > 8 else ""
    walls = Box(boundary.low, boundary.high).walls
    remedy = "steps=, restarts= or a wider box" if walls else "steps= or restarts="
    single = (
        " One score a row is read as a logit, whose boundary is 0; probabilities have none there."
    )
    raise ModelError(
        f"no point of another class was found by {boundary.restarts + 1} attempts of "
        f"{boundary.steps} steps for {', '.join(lost[:8])}{more}.{'' if several else single} Give "
        f"Boundary more {remedy}, or these rows another baseline."
    )

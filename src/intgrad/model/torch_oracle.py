"""`TorchOracle`: any callable on torch tensors, asked in bounded memory and left as it was.

Gradients are taken with respect to the points alone. Where the model is an `nn.Module`, its
parameters are exchanged for detached views, functionally and for the length of one call, so that
no graph to them is built; buffers are exchanged for copies, so that none is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from intgrad._types import Point, Structure
from intgrad.errors import InputError, IntgradError, ModelError
from intgrad.model.backward import Backward, differentiate, or_zeros
from intgrad.model.calls import find_width, in_calls
from intgrad.model.cost import Meter
from intgrad.model.hessian import curvatures
from intgrad.model.inner import by_way_of, observed
from intgrad.model.location import Location
from intgrad.model.memory import out_of_memory, width_for_targets
from intgrad.model.observe import Place, Seen, expect, recording
from intgrad.model.panels import Coverage, average, probe
from intgrad.model.places import places_of
from intgrad.model.precision import held
from intgrad.model.refusals import explain, refuse_rows
from intgrad.model.regions import Regions, around
from intgrad.model.strides import REFUSED, channels_last, convolves
from intgrad.model.target import Bound
from intgrad.model.unit import Unit
from intgrad.model.watch import Layout


@dataclass
class TorchOracle:
    """Asks `model` about features at `location`, in calls of at most `width` rows.

    Parameters
    ----------
    raw, structure
        What the user passed as x, taken apart, and how to put it together for the model.
    given
        Row-aligned extras, passed by name.
    fixed
        The call width; every call then has exactly that many rows, the last one padded. None
        finds one from the memory a single row keeps for its backward pass.
    dtype
        What the model is made to compute in for this call; None for its own.
    notes
        What the certificate should say of how it was asked.
    twice
        Whether second derivatives will be wanted: a compiled model then runs as what it was made of.
    inner
        The layer whose output stands for the model's, where the target is a neuron.
    """

    model: Callable[..., Any]
    raw: Point
    structure: Structure
    given: dict[str, Tensor]
    location: Location
    meter: Meter
    fixed: int | None = None
    differentiable: bool = False
    dtype: torch.dtype | None = None
    bound: Bound | None = None
    features: Point = ()
    notes: list[str] = field(default_factory=list)
    inner: Place | None = None
    width: int = field(init=False)
    padded: bool = field(init=False)
    copies: bool = field(init=False, default=False)
    held: dict[str, Tensor] | None = field(init=False)
    coverage: Coverage | None = field(init=False, default=None)
    panel_width: int | None = field(init=False, default=None)
    layout: Layout | None = field(init=False, default=None)
    backward: Backward = field(init=False, default_factory=Backward)
    second: Backward | None = field(init=False, default=None)
    twice: bool = field(init=False, default=False)
    channels_last: bool = field(init=False)

    def __post_init__(self) -> None:
        self.width = self.fixed or 0
        self.padded = self.fixed is not None
        self.held = held(self.model, self.differentiable, self.dtype)
        self.channels_last = convolves(self.model)
        twice = sorted(set(self.given) & set(self.structure.keys))
        if twice:
            raise InputError(
                f"given= and x both name {twice}; a tensor is either explained or given."
            )

    @property
    def targets(self) -> int | None:
        """How many targets are explained at once, or None for one."""
        return None if self.bound is None else self.bound.count

    def bind(self, bound: Bound, features: Point) -> None:
        """Fix what is explained, and narrow the calls until the gradients of all targets fit."""
        self.bound, self.features = bound, features
        if bound.count and not self.padded:
            most = width_for_targets(bound.count, features)
            self.width = min(self.width, most)
            self.panel_width = min(self.panel_width or most, max(most, 2))

    def __call__(self, x: Point, rows: Tensor) -> tuple[Tensor, Point]:
        """Values (n,) and gradients like x: one forward and one backward a row."""
        values, *gradient = in_calls(self, x, rows, self._gradients)
        return values[0], tuple(g[0] for g in gradient)

    def cotangents(self, x: Point, rows: Tensor) -> tuple[Tensor, Point]:
        """Values (T, n) and gradients (T, n, ...): one forward and T backwards a row."""
        values, *gradient = in_calls(self, x, rows, self._gradients)
        return values, tuple(gradient)

    def value(self, x: Point, rows: Tensor) -> Tensor:
        """Values alone, (n,) or (T, n): one bare forward a row."""
        (values,) = in_calls(self, x, rows, self._values)
        return values if self.targets else values[0]

    def panels(
        self,
        x: Point,
        rows: Tensor,
        first: Tensor,
        second: Tensor,
        places: Sequence[Place] = (),
    ) -> Point:
        """Gradients (T, p, ...) averaged over the panels between consecutive points; see `averaged`.

        Raises
        ------
        Unsupported
            Something in the model cannot be averaged.
        """
        assert bool((second == first + 1).all())
        return average(self, self.covered(x, rows), x, rows, first, places)

    def covered(self, x: Point, rows: Tensor) -> Coverage:
        """Which operations the model has and whether they can be averaged; probed once."""
        if self.coverage is None:
            self.coverage = probe(self, x, rows)
        return self.coverage

    def regions(self, x: Point, rows: Tensor, direction: Point, **how: Any) -> Regions:
        """The linear regions around points that move in `direction`; see `around`."""
        return around(self, x, rows, direction, **how)

    def vocabulary(self) -> Tensor:
        """What the embedding layer at the location gives for every id: (V, d)."""
        return self.location.vocabulary()

    def observe(
        self, x: Point, rows: Tensor, places: Sequence[Place], directions: Sequence[Point]
    ) -> tuple[Tensor, Tensor, list[Seen]]:
        """Values (T, n), their derivatives (k, T, n), what is seen at each place; see `observe`."""
        return observed(self, x, rows, places, directions)

    def through(self, x: Point, rows: Tensor, unit: Unit) -> Point:
        """Gradients (T, n, ...) by way of a neuron; see `observe.through`."""
        (place,) = places_of(self.model, [unit.layer])
        return by_way_of(self, x, rows, place, unit.of)

    def hvp(
        self, x: Point, rows: Tensor, velocity: Point, read: Callable[[Tensor], Tensor], mix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Slopes (n, g) and curvatures (k, n, g) along a velocity, by groups; see `curvatures`."""
        return curvatures(self, x, rows, velocity, read, mix)

    def read(
        self, raw: Point, rows: Tensor, keep: Callable[[Any, Tensor], Tensor]
    ) -> tuple[Point, Tensor]:
        """Run the model as the user would: features at the location, and what `keep` reads.

        The first call finds the width, where it is not fixed.
        """

        def ask(point: Point, which: Tensor) -> tuple[Tensor, ...]:
            return tuple(t[None] for t in self._read(point, which, keep))

        if not self.width:
            find_width(self, raw, rows, ask)
        with torch.set_grad_enabled(self.differentiable):
            kept, *features = in_calls(self, raw, rows, ask)
        return (tuple(f[0] for f in features) or raw), kept[0]

    def probe(self, x: Point, rows: Tensor) -> tuple[Tensor, Point]:
        """Values (T, n) of a single call, and the gradient of the first row's at every point."""
        leaves = tuple(p.detach().requires_grad_() for p in x)
        with torch.enable_grad():
            values = self._target(self._entered(leaves), rows)
            number = values[:, 0].sum()
            found = differentiate(number, leaves) if number.requires_grad else (None,) * len(x)
        self.meter.count(rows, 1)
        pairs = zip(leaves, found, strict=True)
        return values.detach(), tuple(or_zeros(g, leaf) for leaf, g in pairs)

    # ------------------------------------------------------------------ one call of the model

    def _gradients(self, x: Point, rows: Tensor) -> tuple[Tensor, ...]:
        leaves = tuple(p if p.requires_grad else p.detach().requires_grad_() for p in x)
        with torch.enable_grad():
            values = self._target(self._entered(leaves), rows)
            if not values.requires_grad:
                raise ModelError(
                    "the model's output does not depend on the input through autograd: it is "
                    "detached (no_grad, .detach(), numpy, argmax) or constant. Remove the break; a "
                    "constant model has attribution 0 everywhere."
                )
            again = lambda: self._again(leaves, rows)  # noqa: E731
            gradient = self.backward(values, leaves, self.differentiable, again)
        self.meter.count(rows, len(values))
        return (values if self.differentiable else values.detach(), *gradient)

    def _again(self, leaves: Point, rows: Tensor) -> Tensor:
        self.meter.count(rows, 0)
        return self._target(self._entered(leaves), rows)

    def _values(self, x: Point, rows: Tensor) -> tuple[Tensor]:
        with torch.set_grad_enabled(self.differentiable):
            values = self._target(tuple(p.clone() for p in x), rows)
        self.meter.count(rows, 0)
        return (values,)

    def _read(self, raw: Point, rows: Tensor, keep: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        try:
            return self._seen(raw, rows, keep)
        except ModelError as error:
            if not self.channels_last or REFUSED not in str(error):
                raise
        self.channels_last = False  # the model takes memory as it lies: leave it so from now on
        return self._seen(raw, rows, keep)

    def _seen(self, raw: Point, rows: Tensor, keep: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        features: tuple[Tensor, ...] = ()
        if self.location.module is None:
            kept = keep(self._call(tuple(_fresh(p) for p in raw), rows, clone=True), rows)
        else:
            with self.location.reading(live=self.differentiable) as seen:
                kept = keep(self._call(tuple(p.clone() for p in raw), rows), rows)
            features = (seen[0],)
        self.meter.count(rows, 0)
        refuse_rows(kept, rows)
        found = (kept, *features)
        return found if self.differentiable else tuple(f.detach() for f in found)

    def _target(self, x: Point, rows: Tensor) -> Tensor:
        assert self.bound is not None
        found = self.bound.extract(self._output(x, rows), rows)
        refuse_rows(found, rows)
        values = self.bound.of(found, rows)
        return values if values.ndim == 2 else values[None]

    def _output(self, x: Point, rows: Tensor) -> Any:
        if self.location.module is None:
            return self._call(x, rows)
        with self.location.replacing(self._laid(x)[0]):
            return self._call(tuple(p.index_select(0, rows.to(p.device)) for p in self.raw), rows)

    def _entered(self, leaves: Point) -> Point:
        copied = self.copies or self.differentiable
        return tuple(p.clone() for p in leaves) if copied else leaves

    def _call(self, x: Point, rows: Tensor, clone: bool = False) -> Any:
        args, named = self._arguments(tuple(p.clone() for p in x) if clone else x, rows)
        try:
            if self.inner is None:
                return self._run(args, named)
            with recording((self.inner,)) as seen:
                self._run(args, named)
            expect(seen, (self.inner,))
            return seen[0]
        except IntgradError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            if "a leaf Variable that requires grad" in str(error) and not self.copies:
                self.copies = True  # the model writes into its input: hand it copies from now on
                return self._call(x, rows, clone=True)
            raise ModelError(explain(error, self, x, rows)) from error

    def _run(self, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> Any:
        if self.held is None:
            return self._as_is()(*args, **named)
        assert isinstance(self.model, nn.Module)
        # tied tensors are held under every name, so that torch need not look for ties each time
        return functional_call(self.model, self.held, args, named, tie_weights=False)

    def _as_is(self) -> Callable[..., Any]:
        """The model; what a compiled one was made of, where its backward must run more than once."""
        if not (self.differentiable or self.targets or self.twice):
            return self.model
        made_of = getattr(self.model, "_torchdynamo_orig_callable", self.model)
        return getattr(self.model, "_orig_mod", made_of)

    def _arguments(self, x: Point, rows: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        named = {k: v.index_select(0, rows.to(v.device)) for k, v in self.given.items()}
        x = self._laid(x)
        if self.structure.kind == "dict":
            return (), {**dict(zip(self.structure.keys, x, strict=True)), **named}
        return x, named

    def _laid(self, x: Point) -> Point:
        return tuple(map(channels_last, x)) if self.channels_last else x


def _fresh(part: Tensor) -> Tensor:
    """A copy that gradients can be asked for, where it is one of real numbers."""
    return part.clone().requires_grad_(part.is_floating_point() and torch.is_grad_enabled())

"""`attribute`: the call. What is several questions goes to `ensemble`, what is one to `question`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from torch import Tensor

from intgrad.attribution import Attribution
from intgrad.ensemble import members
from intgrad.question import ask, refuse_parts
from intgrad.recipe import Recipe
from intgrad.several import Layers


@overload
def attribute(  # pyright: ignore[reportOverlappingOverload]  # the second is for everything else
    model: Callable[..., Any], x: Any, *, at: list[Any] | Literal["all"], **parts: Any
) -> Layers: ...
@overload
def attribute(
    model: Callable[..., Any], x: Any, *, at: Any = "input", **parts: Any
) -> Attribution: ...
def attribute(
    model: Callable[..., Any],
    x: Any,
    *,
    target: Any = None,
    baseline: Any = None,
    path: Any = None,
    quadrature: Any = None,
    integrand: Any = None,
    at: Any = "input",
    **call: Any,
) -> Any:
    r"""How much each feature of x contributed to a prediction, compared with a baseline.

    .. math:: A_i(x) = \sum_c w_c \int_0^1 \partial_i f(\gamma_c(t)) \, \dot\gamma_{c,i}(t) \, dt

    By default integrated gradients (Sundararajan, Taly, Yan 2017, arXiv:1703.01365): one straight
    line from zeros to x. Each part can be exchanged; the parts of a published method are in
    `intgrad.methods`.

    Parameters
    ----------
    model
        Any callable on tensors. Modules must be in evaluation mode.
    x
        What is explained: a tensor, tuple or dict of tensors, rows first. A tuple is passed as
        positional arguments, a dict by name.
    target
        Which number of the output: None (the predicted class, or the output itself for
        regression), a class index, one index a row, `Logit`, `Probability`, `LogProbability`,
        `Margin`, a callable on the output that gives one number a row, or several targets from
        the same forwards: `All`, or a list of targets.
    baseline
        Where paths start: a tensor like x (one row, or one a row), or a baseline such as `Zeros`
        (the default), `Blurred`, `Uniform`. It lives in the model's input and is carried to the
        location by the model; where the input is token ids, `MaskToken` or a tensor of ids is
        carried, and real numbers mean the location's own units. A list of them is averaged, and the
        spread between them reported.
    path
        How to go: `Straight` (the default), or any ``(t, start, end) -> point``.
    quadrature
        How to integrate: `Automatic` (1 % by default) takes a tolerance and finds the nodes; rules
        with fixed nodes, such as `GaussLegendre(50)`, are there to reproduce a paper.
    integrand
        What a node contributes; gradient times velocity by default.
    at
        Where the features live: ``"input"``, ``"embedding"``, a module, or its dotted name
        (``"name:input"`` is what goes into it, ``"name#1"`` its second call). A list of them, or ``"all"``
        with ``path=PushedForward()``, is answered by `Layers`: a dict from name to attribution.
    **call
        Who is asked and how; see `explain`.

    Returns
    -------
    Attribution
        Values shaped like x (with several targets, a leading target axis), and the certificate. A
        dict of them, one a layer, where ``at`` names several.
        Costs what the quadrature says, a row; one gradient more for the rounding floor, and a bare
        forward for f(x) and each f(baseline).

    Raises
    ------
    InputError, TargetError, ModelError, Unsupported
        In one sentence: what came, what was expected, what to do.

    Warns
    -----
    NotConverged
        Some row's error is above its tolerance.
    ToleranceRaised
        Rounding in a half type is above the usual tolerance, so rows are held to their floor.
    """
    given: dict[str, Any] = {"path": path, "quadrature": quadrature, "integrand": integrand}
    parts = {name: part for name, part in given.items() if part is not None}
    recipe = Recipe(
        "integrated_gradients" if not parts.keys() & {"path", "integrand"} else "path_method"
    )
    return explain(recipe.but(baseline=baseline, at=at, **parts), model, x, target=target, **call)


def explain(
    recipe: Recipe,
    model: Callable[..., Any],
    x: Any,
    *,
    target: Any = None,
    given: dict[str, Tensor] | None = None,
    seed: int = 0,
    width: int | None = None,
    check: bool = True,
    strict: bool = False,
    differentiable: bool = False,
    dtype: torch.dtype | str | None = None,
    progress: bool | Callable[[int], None] = False,
) -> Attribution:
    """Attribute by a recipe.

    Parameters
    ----------
    given
        Extras aligned with the rows but not explained, passed to the model by name.
    seed
        The only source of chance, for baselines that draw.
    width
        Rows in every call of the model, the last call padded: a row's bytes then do not depend on
        its batch mates. Found from memory by default.
    check
        Probe whether rows leak into each other and whether the model repeats itself.
    strict
        Raise `NotConverged` instead of warning.
    differentiable
        Keep the graph, through parameters and x, for attributions inside a loss. Fused attention
        has no second derivative and runs as its mathematical form for the length of the call.
    dtype
        ``torch.float64`` (or ``"float64"``) or float32: the model runs in it for this call, on copies
        of its parameters and buffers; x, baseline and given real numbers are cast.
    progress
        True for a bar, or a function told how many rows went through the model.
    """
    refuse_parts(recipe)
    call: dict[str, Any] = {
        "target": target, "given": given, "seed": seed, "width": width, "check": check,
        "strict": strict, "differentiable": differentiable, "dtype": dtype, "progress": progress,
    }  # fmt: skip
    several = members(recipe)
    return several(model, x, **call) if several else ask(recipe, model, x, **call)

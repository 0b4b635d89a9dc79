"""How texts are asked: a recipe, fitted to rows of tokens of which some stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from intgrad._types import arity
from intgrad.attribution import Attribution
from intgrad.baseline import Zeros
from intgrad.errors import InputError, Unsupported
from intgrad.integrand import BareGradient, Summed
from intgrad.path import Anchored, Left, Permutation, Sequential, Straight
from intgrad.recipe import Recipe, show
from intgrad.text.absence import Absence, refuse_unnamed
from intgrad.text.tokens import Batch

TOKEN_BY_TOKEN = (Straight, Left, Sequential, Anchored)  # paths to which padding is nothing


@dataclass(frozen=True)
class Ask:
    """A recipe whose baseline is a text's: ``ask(model, batch, ...)`` explains its rows."""

    recipe: Recipe
    absence: Absence
    tokenizer: Callable[..., Any]

    def groups(self, texts: int) -> list[list[int]]:
        """Which texts may be asked as one batch."""
        if isinstance(self.recipe.path, TOKEN_BY_TOKEN):
            return [list(range(texts))]
        return [[i] for i in range(texts)]

    def __call__(self, model: Any, batch: Batch, **call: Any) -> Attribution:
        """Values (rows, tokens); nobody is warned."""
        (ids, given), path = inputs(batch), self.recipe.path
        start = self.absence.start(self.tokenizer, batch)
        own = self.recipe.but(baseline=start, path=fitted(path, batch.special))
        a = own(model, ids, given=given, strict=None, **call)
        return replace(a, recipe=a.recipe.but(baseline=self.absence, path=path))


def inputs(batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is explained, and what is given with it."""
    given = {**batch.inputs}
    return {"input_ids": given.pop("input_ids")}, given


def asking(
    call: dict[str, Any], baseline: Any, quadrature: Any, tokenizer: Callable[..., Any]
) -> Ask:
    """Take the parts of a recipe out of a call, and put one together that is for texts.

    Raises
    ------
    InputError, Unsupported
        What came is not for texts.
    """
    recipe = call.pop("recipe", None) or Recipe("integrated_gradients")
    at = call.pop("at", recipe.at)
    if call.get("differentiable") or at not in ("input", "embedding"):
        raise Unsupported(
            "texts are explained at their embeddings, and outside a loss; for another location, or "
            "differentiable=True, call intgrad.attribute on the tokenizer's tensors."
        )
    absence = recipe.baseline if baseline is None else baseline
    refuse_unnamed(absence)
    contributes = call.pop("integrand", None) or recipe.integrand
    refuse_other(recipe, contributes)
    given = {"quadrature": quadrature, "path": call.pop("path", None)}
    parts = {n: p for n, p in given.items() if p is not None}
    how = recipe.but(at="embedding", integrand=Summed(contributes), **parts)
    if isinstance(how.path, Anchored) and not how.path.skip:
        special = sorted(set(getattr(tokenizer, "all_special_ids", ())))
        how = how.but(path=replace(how.path, skip=tuple(special)))
    return Ask(how, absence, tokenizer)


def refuse_other(recipe: Recipe, contributes: Any) -> None:
    """Refuse what is not for texts: noise, bare gradients, and baselines of other things."""
    if recipe.around is not None:
        raise Unsupported(
            f"{recipe.name} adds noise to x, and a text is made of token ids, which take none. Take a "
            f"recipe without it: recipe.but(around=None)."
        )
    if isinstance(contributes, BareGradient):
        raise Unsupported(
            f"{recipe.name} is a gradient in each dimension of an embedding, and their sum says nothing "
            f"of a token: before a layer norm it is 0. Take a method that multiplies it by a way, such "
            f"as ig.methods.gradient_x_input(), or a norm of what intgrad.attribute(at='embedding') says."
        )
    own = recipe.baseline
    if not (own is None or isinstance(own, Zeros) or hasattr(own, "start")):
        raise InputError(
            f"{recipe.name} begins at {show(own)}, which is no text's baseline; take a recipe that leaves "
            f"it open: recipe.but(baseline=None)."
        )


def of_text(target: Any, i: int, texts: int) -> Any:
    """The same target for text i alone, where it names a class for each of several texts."""
    if isinstance(target, list | tuple) and any(callable(t) or hasattr(t, "bind") for t in target):
        return [of_text(t, i, texts) for t in target]
    if isinstance(target, list | tuple | Tensor | np.ndarray):
        one_each = np.ndim(target) == 1 and len(target) == texts
        return target[i : i + 1] if one_each else target
    if is_dataclass(target) and not isinstance(target, type) and hasattr(target, "bind"):
        own = {f.name: of_text(getattr(target, f.name), i, texts) for f in fields(target)}
        return replace(target, **own)
    return _shifted(target, i) if callable(target) and arity(target) >= 2 else target


def _shifted(function: Any, i: int) -> Callable[..., Tensor]:
    """A function of (output, rows) that is told row i of each row 0."""
    shifted = lambda output, rows: function(output, rows + i)  # noqa: E731
    shifted.__name__ = getattr(function, "__name__", type(function).__name__)
    return shifted


def fitted(path: Any, special: Tensor) -> Any:
    """A path for one batch: to a permutation along the tokens, those that stay are no players.

    They join the token before them; they do not move, so they change nothing.
    """
    if not isinstance(path, Permutation) or path.axis != 1:
        return path
    player = (~special[0]).cumsum(0).sub(1).clamp(min=0)
    return replace(path, axis=None, groups=player[:, None])

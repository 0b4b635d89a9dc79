r"""Twins without kinks: :math:`\mathrm{softplus}_\beta(z) = \ln(1 + e^{\beta z}) / \beta` for ReLU."""

from __future__ import annotations

import copy
from numbers import Real

from torch import nn

from intgrad.errors import InputError, Unsupported


def softened(model: nn.Module, beta: float = 50.0) -> nn.Module:
    r"""A copy of a model whose `nn.ReLU` modules are softplus with this beta.

    It differs from the model by ln 2 / beta at most at each unit. Smaller beta: fewer nodes
    (Janizek, Sturmfels, Lee 2021, arXiv:2002.04138, section 4); larger: nearer to the model.

    Raises
    ------
    InputError
        beta is not a positive number.
    Unsupported
        There is no `nn.ReLU` in it: kinks that are functions inside a forward cannot be exchanged.
    """
    if isinstance(beta, bool) or not isinstance(beta, Real) or not beta > 0:
        raise InputError(f"beta={beta!r}; expected a positive number, such as 50.")
    twin = copy.deepcopy(model)
    if isinstance(twin, nn.ReLU):
        return nn.Softplus(float(beta))
    places = [
        (parent, name)
        for parent in twin.modules()
        for name, child in parent._modules.items()
        if isinstance(child, nn.ReLU)
    ]
    if not places:
        raise Unsupported(
            "this model has no nn.ReLU module to soften: write its kinks as modules, or replace them "
            "by smooth functions yourself."
        )
    for parent, name in places:
        setattr(parent, name, nn.Softplus(float(beta)))
    return twin

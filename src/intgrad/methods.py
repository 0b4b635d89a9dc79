"""The catalogue: a method of the literature is a recipe, and here is its name.

Every function returns a `Recipe`, which is callable: ``methods.integrated_gradients()(model, x)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from intgrad.baseline import Dataset, Gaussian, Zeros
from intgrad.boundary import Boundary
from intgrad.integrand import BareGradient
from intgrad.path import Straight
from intgrad.quadrature import At, Automatic, Lattice
from intgrad.recipe import Recipe


def integrated_gradients(
    baseline: Any = None, quadrature: Any = Automatic(), at: Any = "input"
) -> Recipe:
    """Gradients along the straight line, times its length.

    Complete, linear, symmetric, implementation invariant. Cost: the nodes of the quadrature.
    Sundararajan, Taly, Yan 2017, "Axiomatic Attribution for Deep Networks", arXiv:1703.01365.
    """
    return Recipe("integrated_gradients", baseline, Straight(), quadrature, at=at)


def expected_gradients(
    background: Any = Gaussian(), quadrature: Any = Lattice(), at: Any = "input"
) -> Recipe:
    """Integrated gradients averaged over baselines: rows of data, or a distribution.

    Complete against the mean output of the baselines. `background` is a tensor, tuple or dict of
    rows like x, or a baseline; by default standard normal noise, which stands for standardised
    features and for nothing else. Cost: as many gradients as 5 % takes, at most 2,000 a row, and a
    bare forward for each baseline.
    Erion, Janizek, Sturmfels, Lundberg, Lee 2021, "Improving performance of deep learning models
    with axiomatic attribution priors and expected gradients", doi:10.1038/s42256-021-00343-w.
    """
    rows = isinstance(background, Tensor | tuple | list | Mapping)
    baseline = Dataset(background) if rows else background
    return Recipe("expected_gradients", baseline, Straight(), quadrature, at=at)


def gradient_x_input(at: Any = "input") -> Recipe:
    """Gradient at x, times x: one gradient, exact for homogeneous models, incomplete otherwise.

    Shrikumar, Greenside, Shcherbina, Kundaje 2016, "Not Just a Black Box", arXiv:1605.01713.
    """
    return Recipe("gradient_x_input", Zeros(), Straight(), At(1.0), at=at)


def mean_gradient(baseline: Any = None, quadrature: Any = Automatic(), at: Any = "input") -> Recipe:
    """The gradient averaged along the straight line, not multiplied by its length.

    In units of output per unit of input: a sensitivity, not a share of the output, so there is no
    completeness. What Captum calls integrated gradients with ``multiply_by_inputs=False``.
    """
    return Recipe("mean_gradient", baseline, Straight(), quadrature, BareGradient(), at)


def big(boundary: Any = Boundary(), quadrature: Any = Automatic(), at: Any = "input") -> Recipe:
    """Boundary-based integrated gradients: from the nearest point of another class to x.

    Complete against the output on the decision boundary: the values say what keeps x on its side.
    The class is the one predicted at x. Cost: the search, which is counted (see `Boundary`; 50 to
    300 gradients a row), and the nodes of the quadrature.
    Wang, Fredrikson, Datta 2021, "Robust Models Are More Interpretable Because Attributions Look
    Normal", arXiv:2103.11257.
    """
    return Recipe("big", boundary, Straight(), quadrature, at=at)


CATALOGUE: dict[str, Callable[..., Recipe]] = {
    method.__name__: method
    for method in (integrated_gradients, expected_gradients, gradient_x_input, mean_gradient, big)
}

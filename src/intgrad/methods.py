"""The catalogue: a method of the literature is a recipe, and here is its name.

Every function returns a `Recipe`, which is callable: ``methods.integrated_gradients()(model, x)``.
Which axioms each keeps is in `intgrad.axioms`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from intgrad.activation import ChannelGradient, RaisedActivation
from intgrad.around import SmoothGrad, SquareGrad, VarGrad
from intgrad.baseline import Around, Dataset, Gaussian, Zeros
from intgrad.boundary import Boundary
from intgrad.integrand import BareGradient, DecisionGradient, SquaredShares
from intgrad.path import (
    Anchored,
    Greedy,
    Guided,
    Left,
    Permutation,
    PushedForward,
    ScaleSpace,
    Sequential,
    Spectral,
    Straight,
)
from intgrad.quadrature import At, Automatic, Differences, Lattice
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
    bare forward for each baseline. Also called distributional integrated gradients, and GradientSHAP.
    Erion, Janizek, Sturmfels, Lundberg, Lee 2021, "Improving performance of deep learning models
    with axiomatic attribution priors and expected gradients", doi:10.1038/s42256-021-00343-w.
    """
    rows = isinstance(background, Tensor | tuple | list | Mapping)
    baseline = Dataset(background) if rows else background
    return Recipe("expected_gradients", baseline, Straight(), quadrature, at=at)


def blur_ig(
    max_sigma: float = 50.0, scales: tuple[float, ...] = (), quadrature: Any = Automatic()
) -> Recipe:
    """Gradients through ever finer Gaussian scales, from the blurred input to itself.

    Complete against the blurred input. With `scales` the answer tells what each stretch of scales
    contributed (`Attribution.by_scale`). Cost: the nodes of the quadrature.
    Xu, Venugopalan, Sundararajan 2020, "Attribution in Scale and Space", arXiv:2004.03383.
    """
    return Recipe("blur_ig", None, ScaleSpace(max_sigma, scales=scales), quadrature)


def guided_ig(
    steps: int = 20,
    fraction: float = 0.25,
    max_dist: float = 0.02,
    baseline: Any = None,
    quadrature: Any = Automatic(),
) -> Recipe:
    """Gradients along the way of least gradient, which the model itself is asked for.

    Complete; not linear, for the path depends on the model. Cost: a gradient for each of the steps, and
    the nodes of the quadrature on each.
    Kapishnikov, Venugopalan, Avci, Wedin, Terry, Bolukbasi 2021, "Guided Integrated Gradients",
    arXiv:2106.09788.
    """
    return Recipe("guided_ig", baseline, Guided(steps, fraction, max_dist), quadrature)


def spectral_ig(
    overlap: float = 0.4, baseline: Any = None, quadrature: Any = Automatic()
) -> Recipe:
    """Gradients while the singular values of x - baseline open, the largest first.

    Complete and linear; it does not preserve symmetry. Cost: the nodes of the quadrature.
    Kim, Lim, Lee, Choi 2026, "Spectral Integrated Gradients", arXiv:2605.19607.
    """
    return Recipe("spectral_ig", baseline, Spectral(overlap), quadrature)


def sequential_ig(
    baseline: Any = None, axis: int = 1, quadrature: Any = Automatic(), at: Any = "embedding"
) -> Recipe:
    """Integrated gradients of one word at a time, from the text with that word masked.

    Each word's values add up to what its removal changes, not all to f(x) - f(baseline). Cost: the
    nodes of the quadrature for every word.
    Enguehard 2023, "Sequential Integrated Gradients", doi:10.18653/v1/2023.findings-acl.477.
    """
    return Recipe("sequential_ig", baseline, Sequential(axis), quadrature, at=at)


def discretized_ig(
    table: Any = None,
    steps: int = 30,
    neighbours: int = 500,
    choose: Callable[[Tensor, Tensor], Tensor] = Greedy(),
    baseline: Any = None,
    quadrature: Any = Automatic(),
    at: Any = "embedding",
) -> Recipe:
    """Gradients along a way that passes near the embeddings of real words.

    Complete and linear. Without a `table` of words it takes that of the model's embedding layer.
    `intgrad.path.MaxCount` is the other published way to choose them. Cost: the nodes of the
    quadrature on each of `steps` + 1 segments.
    Sanyal, Ren 2021, "Discretized Integrated Gradients for Explaining Language Models",
    arXiv:2108.13654.
    """
    path = Anchored(table, steps, neighbours, choose)
    return Recipe("discretized_ig", baseline, path, quadrature, at=at)


def occlusion(baseline: Any = None, axis: int = 1, at: Any = "input") -> Recipe:
    """What the removal of one place at a time changes: a word, a column, a time.

    The values of a place add up to f(x) - f(x without it). Cost: a forward for every place.
    Zeiler, Fergus 2014, "Visualizing and understanding convolutional networks", arXiv:1311.2901.
    """
    return Recipe("occlusion", baseline, Sequential(axis), Differences(), at=at)


def shapley_path(
    samples: int | None = None,
    groups: Any = None,
    axis: int | None = None,
    baseline: Any = None,
    at: Any = "input",
) -> Recipe:
    """Features go in one after the other, in all orders or random ones: the Shapley value.

    Complete. Exact up to 12 features or groups of features, from 2^g forwards; beyond, name the number
    of random orders, each a forward a group.
    Castro, Gomez, Tejada 2009, "Polynomial calculation of the Shapley value based on sampling",
    doi:10.1016/j.cor.2008.04.004.
    """
    path = Permutation(samples, groups, axis)
    return Recipe("shapley_path", baseline, path, Differences(), at=at)


def idgi(path: Any = Straight(), baseline: Any = None, quadrature: Any = Automatic()) -> Recipe:
    """What the output gains along any path, shared out by squared gradients.

    Complete at any number of panels; not linear, and the sign of a feature is that of the gain. Cost:
    the edges of the panels, halved until the tolerance is met. With
    ``integrand=SquaredShares(published=True)`` and `LeftRiemann` it is the published rule.
    Yang, Wang, Bilgic 2023, "IDGI", arXiv:2303.14242.
    """
    return Recipe("idgi", baseline, path, quadrature, SquaredShares())


def integrated_decision_gradients(baseline: Any = None, quadrature: Any = Automatic()) -> Recipe:
    """Gradients along the straight line, weighted by how fast the output moves there.

    Not complete: in units of the output squared. Cost: the nodes of the quadrature.
    Walker, Jha, Chen, Ewetz 2024, "Integrated Decision Gradients", arXiv:2305.20052.
    """
    return Recipe(
        "integrated_decision_gradients", baseline, Straight(), quadrature, DecisionGradient()
    )


def left_ig(share: float = 0.9, baseline: Any = None, quadrature: Any = Automatic()) -> Recipe:
    """Integrated gradients up to the place where the output has made 90 % of its way.

    Complete against that share. Cost: 54 forwards to find the place, and the nodes of the quadrature.
    Miglani, Kokhlikyan, Alsallakh, Martin, Reblitz-Richardson 2020, "Investigating saturation effects
    in integrated gradients", arXiv:2010.12697.
    """
    return Recipe("left_ig", baseline, Left(share), quadrature)


def smooth_taylor(sigma: float = 0.5, samples: int = 150) -> Recipe:
    """Gradients at noisy copies of x, times the way from each to x.

    Loosely complete only. `sigma` is in units of x: of a normalised picture as published.
    `intgrad.audit.adaptive_noise` finds one for each row. Cost: a gradient and a bare forward a copy.
    Goh, Lapuschkin, Weber, Samek, Binder 2020, "Understanding integrated gradients with SmoothTaylor
    for deep neural network attribution", arXiv:2004.10484.
    """
    return Recipe("smooth_taylor", Around(sigma, samples), Straight(), At(0.0))


def smooth_grad(of: Recipe | None = None, sigma: float = 0.15, samples: int = 50) -> Recipe:
    """The mean over noisy copies of x of the gradient, or of any other recipe.

    Cost: the recipe's, once a copy.
    Smilkov, Thorat, Kim, Viegas, Wattenberg 2017, "SmoothGrad", arXiv:1706.03825.
    """
    return (of or saliency()).but(name="smooth_grad", around=SmoothGrad(sigma, samples))


def smooth_grad_squared(of: Recipe | None = None, sigma: float = 0.15, samples: int = 50) -> Recipe:
    """The mean over noisy copies of x of the squared gradient, or of any other recipe squared.

    Cost: the recipe's, once a copy.
    Hooker, Erhan, Kindermans, Kim 2019, "A benchmark for interpretability methods in deep neural
    networks", arXiv:1806.10758.
    """
    return (of or saliency()).but(name="smooth_grad_squared", around=SquareGrad(sigma, samples))


def var_grad(of: Recipe | None = None, sigma: float = 0.15, samples: int = 50) -> Recipe:
    """The variance over noisy copies of x of the gradient, or of any other recipe.

    Cost: the recipe's, once a copy.
    Adebayo, Gilmer, Goodfellow, Kim 2018, "Local explanation methods for deep neural networks lack
    sensitivity to parameter values", arXiv:1810.03307.
    """
    return (of or saliency()).but(name="var_grad", around=VarGrad(sigma, samples))


def big(boundary: Any = Boundary(), quadrature: Any = Automatic(), at: Any = "input") -> Recipe:
    """Boundary-based integrated gradients: from the nearest point of another class to x.

    Complete against the output on the decision boundary: the values say what keeps x on its side.
    The class is the one predicted at x. Cost: the search, which is counted (see `Boundary`; 50 to
    300 gradients a row), and the nodes of the quadrature.
    Wang, Fredrikson, Datta 2021, "Robust Models Are More Interpretable Because Attributions Look
    Normal", arXiv:2103.11257.
    """
    return Recipe("big", boundary, Straight(), quadrature, at=at)


def gradient_x_input(at: Any = "input") -> Recipe:
    """Gradient at x, times x: one gradient, exact for homogeneous models, incomplete otherwise.

    Shrikumar, Greenside, Shcherbina, Kundaje 2016, "Not Just a Black Box", arXiv:1605.01713.
    """
    return Recipe("gradient_x_input", Zeros(), Straight(), At(1.0), at=at)


def saliency(at: Any = "input") -> Recipe:
    """The gradient at x, with its sign; its absolute value is the map of the paper.

    A sensitivity, not a share of the output, so there is no completeness. Cost: one gradient.
    Simonyan, Vedaldi, Zisserman 2014, "Deep inside convolutional networks", arXiv:1312.6034.
    """
    return Recipe("saliency", Zeros(), Straight(), At(1.0), BareGradient(), at)


def mean_gradient(baseline: Any = None, quadrature: Any = Automatic(), at: Any = "input") -> Recipe:
    """The gradient averaged along the straight line, not multiplied by its length.

    In units of output per unit of input: a sensitivity, not a share of the output, so there is no
    completeness. What Captum calls integrated gradients with ``multiply_by_inputs=False``.
    """
    return Recipe("mean_gradient", baseline, Straight(), quadrature, BareGradient(), at)


def layer_ig(at: Any = "input", baseline: Any = None, quadrature: Any = Automatic()) -> Recipe:
    """Integrated gradients of a layer, along a straight line in the layer's own units.

    Complete where the layer is a cut. `at` names one layer, or a list of them: {name: attribution}.
    Cost: the nodes of the quadrature, for every layer. Along the curve of the input it is
    `conductance`; both agree where what lies before the layer is affine.
    """
    return Recipe("layer_ig", baseline, Straight(), quadrature, at=at)


def conductance(at: Any = "input", baseline: Any = None, quadrature: Any = Automatic()) -> Recipe:
    """What went through each neuron of a layer, while the input goes from baseline to x.

    Complete where the layer is a cut. `at` names one layer, or a list of them, or is ``"all"``:
    {name: attribution}, from one sweep. Cost: the nodes of the quadrature, each with a pass in forward
    mode; on models with kinks the edges of its panels, without.
    Dhamdhere, Sundararajan, Yan 2018, "How important is a neuron?", arXiv:1805.12233.
    """
    return Recipe("conductance", baseline, PushedForward(), quadrature, at=at)


def internal_influence(
    at: Any = "input", baseline: Any = None, quadrature: Any = Automatic()
) -> Recipe:
    """The gradient at each neuron of a layer, averaged while the input goes from baseline to x.

    A sensitivity, not a share of the output, so there is no completeness. `at` as in `conductance`.
    Cost: the nodes of the quadrature.
    Leino, Sen, Datta, Fredrikson, Li 2018, "Influence-Directed Explanations for Deep Convolutional
    Networks", arXiv:1802.03788.
    """
    path = PushedForward()
    return Recipe("internal_influence", baseline, path, quadrature, BareGradient(), at)


def grad_cam(at: Any = "input") -> Recipe:
    """A coarse map of a convolution's channels, each weighed by its mean gradient at x.

    Values (rows, 1, *space), with their sign: the ReLU of the paper is for display. Cost: one gradient.
    Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra 2017, "Grad-CAM", arXiv:1610.02391.
    """
    return Recipe("grad_cam", Zeros(), Straight(), At(1.0), ChannelGradient(), at)


def layer_cam(at: Any = "input") -> Recipe:
    """A map of a convolution's activations, each weighed by its own gradient where that is above 0.

    Values (rows, 1, *space). Cost: one gradient.
    Jiang, Zhang, Hou, Cheng, Wei 2021, "LayerCAM", doi:10.1109/TIP.2021.3089943.
    """
    return Recipe("layer_cam", Zeros(), Straight(), At(1.0), RaisedActivation(), at)


CATALOGUE: dict[str, Callable[..., Recipe]] = {
    method.__name__: method
    for method in (
        integrated_gradients,
        expected_gradients,
        blur_ig,
        guided_ig,
        spectral_ig,
        sequential_ig,
        discretized_ig,
        occlusion,
        shapley_path,
        idgi,
        integrated_decision_gradients,
        left_ig,
        smooth_taylor,
        smooth_grad,
        smooth_grad_squared,
        var_grad,
        big,
        gradient_x_input,
        saliency,
        mean_gradient,
        layer_ig,
        conductance,
        internal_influence,
        grad_cam,
        layer_cam,
    )
}

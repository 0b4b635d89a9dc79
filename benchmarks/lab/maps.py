"""Every image method of the catalogue, as a map of one photo (1, height, width).

Values are summed over colours with their sign. What is a sensitivity and no share of the output
(saliency, the mean gradient, SmoothGrad) is summed by absolute value, as their authors show it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import intgrad as ig
from intgrad.audit import adaptive_noise
from intgrad.image import xrai

from .scenes import Scene

make = ig.methods


@dataclass(frozen=True)
class Effort:
    """What a method may spend.

    Attributes
    ----------
    rtol, most
        Of rules that stop by themselves: the tolerance, and evaluations at which they give up.
    draws
        Gradients from a distribution of baselines.
    noisy
        Copies of SmoothGrad and its kin.
    copies
        Of SmoothTaylor at sigma 0.3, 0.5 and 0.7, as in its paper.
    trial, trials
        Copies and steps of the search for SmoothTaylor's noise.
    guided
        Traced steps of Guided IG.
    steps
        Of insertion and deletion, pixel by pixel.
    """

    rtol: float = 0.05
    most: int = 600
    draws: int = 400
    noisy: int = 25
    copies: tuple[int, int, int] = (200, 150, 200)
    trial: int = 30
    trials: int = 20
    guided: int = 20
    steps: int = 20

    @property
    def rule(self) -> ig.Automatic:
        return ig.Automatic(self.rtol, self.most)

    @property
    def lattice(self) -> ig.Lattice:
        return ig.Lattice(rtol=self.rtol, max_evaluations=self.draws)


SMALL = Effort(0.2, 100, 40, 2, (4, 4, 4), 3, 2, 2, 3)


@dataclass(frozen=True)
class Found:
    """A map, what it cost, and whether it met its tolerance."""

    map: Tensor
    evaluations: float
    converged: bool = True


Method = Callable[[Scene, Effort], Found]


def asked(recipe: Any, scene: Scene, standard: bool = False) -> ig.Attribution:
    """A recipe's answer, in pixels or in standard units."""
    model, x = scene.standard if standard else (scene.model, scene.x)
    return recipe(model, x, target=scene.target)


def found(a: ig.Attribution, absolute: bool = False) -> Found:
    """An answer as a map."""
    values = a.values.abs() if absolute else a.values
    return Found(values.sum(1), float(a.evaluations), bool(a.converged.all()))


def shares(recipe: Callable[[Effort], Any], standard: bool = False) -> Method:
    """A method whose values are shares of the output."""
    return lambda scene, effort: found(asked(recipe(effort), scene, standard))


def sizes(recipe: Callable[[Effort], Any]) -> Method:
    """A method whose values are sensitivities."""
    return lambda scene, effort: found(asked(recipe(effort), scene), absolute=True)


def from_photos(scene: Scene, effort: Effort) -> Found:
    """Expected gradients from other photos."""
    return found(asked(make.expected_gradients(scene.others, effort.lattice), scene))


def adapted(scene: Scene, effort: Effort) -> Found:
    """SmoothTaylor with the noise that makes the AUTVC of a map of fewer copies least."""
    model, x = scene.standard
    copies, steps = effort.trial, effort.trials
    noise = adaptive_noise(model, x, target=scene.target, samples=copies, steps=steps)
    recipe = make.smooth_taylor(float(noise.sigma), effort.copies[1])
    whole = found(asked(recipe, scene, standard=True))
    return replace(whole, evaluations=whole.evaluations + float(noise.evaluations))


def by_regions(scene: Scene, effort: Effort) -> Found:
    """XRAI: to each pixel the mean of its region, of IG from black and from white."""
    pixels = found(asked(make.integrated_gradients(ig.BlackAndWhite(), effort.rule), scene))
    heat = xrai.rank(pixels.map[0], xrai.segments(scene.x[0])).saliency
    return Found(heat[None].to(pixels.map), pixels.evaluations, pixels.converged)


def by_chance(scene: Scene, effort: Effort) -> Found:
    """Noise, the same for every photo."""
    generator = torch.Generator().manual_seed(0)
    return Found(torch.rand(1, *scene.x.shape[2:], generator=generator), 0.0)


def smooth_taylor(k: int, sigma: float) -> Method:
    """At one of the sigmas of the paper."""
    return shares(lambda e: make.smooth_taylor(sigma, e.copies[k]), standard=True)


def noise_ig(samples: int) -> Method:
    """Integrated gradients from pictures of uniform noise."""
    start = ig.Uniform(samples=samples)
    return shares(lambda e: make.integrated_gradients(start, e.rule))


METHODS: dict[str, Method] = {
    "integrated_gradients, black": shares(lambda e: make.integrated_gradients(None, e.rule)),
    "integrated_gradients, black and white": shares(
        lambda e: make.integrated_gradients(ig.BlackAndWhite(), e.rule)
    ),
    "integrated_gradients, 1 noise": noise_ig(1),
    "integrated_gradients, 5 noises": noise_ig(5),
    "expected_gradients, noise": shares(lambda e: make.expected_gradients(ig.Uniform(), e.lattice)),
    "expected_gradients, 5 photos": from_photos,
    "blur_ig": shares(lambda e: make.blur_ig(quadrature=e.rule)),
    "guided_ig": shares(lambda e: make.guided_ig(e.guided, quadrature=e.rule)),
    "spectral_ig": shares(lambda e: make.spectral_ig(quadrature=e.rule)),
    "idgi": shares(lambda e: make.idgi(quadrature=e.rule)),
    "idgi, guided": shares(lambda e: make.idgi(ig.Guided(e.guided), quadrature=e.rule)),
    "idgi, blur": shares(lambda e: make.idgi(ig.ScaleSpace(), quadrature=e.rule)),
    "integrated_decision_gradients": shares(
        lambda e: make.integrated_decision_gradients(quadrature=e.rule)
    ),
    "left_ig": shares(lambda e: make.left_ig(quadrature=e.rule)),
    "big": shares(
        lambda e: make.big(ig.Boundary(restarts=0, low=0.0, high=1.0), quadrature=e.rule)
    ),
    "gradient_x_input": shares(lambda e: make.gradient_x_input()),
    "smooth_taylor, 0.3": smooth_taylor(0, 0.3),
    "smooth_taylor, 0.5": smooth_taylor(1, 0.5),
    "smooth_taylor, 0.7": smooth_taylor(2, 0.7),
    "smooth_taylor, adaptive": adapted,
    "saliency": sizes(lambda e: make.saliency()),
    "mean_gradient": sizes(lambda e: make.mean_gradient(quadrature=e.rule)),
    "smooth_grad": sizes(lambda e: make.smooth_grad(samples=e.noisy)),
    "smooth_grad_squared": sizes(lambda e: make.smooth_grad_squared(samples=e.noisy)),
    "var_grad": sizes(lambda e: make.var_grad(samples=e.noisy)),
    "xrai": by_regions,
    "random": by_chance,
}


def timed(method: Method, scene: Scene, effort: Effort) -> tuple[Found, float]:
    """What a method finds, and its seconds of processor time."""
    start = time.process_time()
    return method(scene, effort), time.process_time() - start

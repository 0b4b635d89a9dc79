"""The methods of the field as `explain(model, x, target)` functions, ours and the peers'.

A peer that is not installed is left out; what is random has a fixed seed. `slack` is what a method's own
sampling makes at the sizes used here; of methods that are exact it is rounding.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from captum import attr
from captum.attr._utils.lrp_rules import GammaRule
from torch import Tensor, nn

import intgrad as ig
from intgrad.audit.finding import Explain

EXACT = 1e-6
FINE = ig.Automatic(rtol=1e-6)
METHODS = ig.methods
NOISE = ig.Around(0.3, 400)
# exchangeable in all features, and all below 0 or at it
BACKGROUND = torch.tensor([0.0, -0.25, -0.5, -1.0])


@dataclass(frozen=True)
class Method:
    """One method: how it is asked, and where its paths start.

    Attributes
    ----------
    grid
        Whether it is for pictures: its nets take (n, 1, 3, 3).
    chains
        Whether it is for modules one after the other: Captum's LRP sends relevance through any other
        operation as if it were a gradient.
    catalogue
        Its name in the catalogue, for the table of `intgrad.axioms`.
    """

    name: str
    explain: Explain
    source: str = "intgrad"
    baseline: Any = None
    slack: float = EXACT
    grid: bool = False
    chains: bool = False
    catalogue: str | None = None


def background(like: Tensor, rows: int = len(BACKGROUND)) -> Tensor:
    """Baselines (4, ...) that are exchangeable in all features."""
    levels = BACKGROUND[:rows].to(like).reshape(-1, *(1,) * (like.ndim - 1))
    return levels.expand(-1, *like.shape[1:]).contiguous()


def recipe(made: Callable[[Tensor], Any]) -> Explain:
    """A recipe that may depend on x, as explain function."""
    return lambda model, x, target: made(x)(model, x, target=target, strict=None)


def blurred(x: Tensor) -> Tensor:
    """Where Blur IG starts."""
    t = torch.zeros((1,) * x.ndim, dtype=x.dtype)
    return ig.ScaleSpace(2.0)(t, torch.zeros_like(x), x)


def nearby(x: Tensor) -> Tensor:
    """Where SmoothTaylor's paths start: noisy copies of x."""
    curves = NOISE((x,), torch.arange(1), 0)
    return curves.start.points[0]


def ours() -> Iterator[Method]:
    """The methods of the catalogue that the table names."""
    fixed = {
        "integrated gradients": METHODS.integrated_gradients(quadrature=FINE),
        "guided IG": METHODS.guided_ig(quadrature=FINE),
        "IDGI": METHODS.idgi(quadrature=ig.LeftRiemann(400)),
        "integrated decision gradients": METHODS.integrated_decision_gradients(quadrature=FINE),
        "gradient": METHODS.saliency(),
        "gradient × input": METHODS.gradient_x_input(),
        "occlusion": METHODS.occlusion(),
        "Shapley values": METHODS.shapley_path(),
    }
    for name, own in fixed.items():
        slack = {"idgi": 1e-2, "guided_ig": 1e-4}.get(own.name, EXACT)  # rounding breaks its ties
        yield Method(name, recipe(lambda x, r=own: r), slack=slack, catalogue=own.name)
    taylor = METHODS.smooth_taylor(NOISE.sigma, NOISE.samples or 1)
    yield Method(
        "SmoothTaylor", recipe(lambda x: taylor), baseline=nearby, catalogue="smooth_taylor"
    )
    eg = lambda x: METHODS.expected_gradients(background(x), FINE)  # noqa: E731
    yield Method(
        "expected gradients", recipe(eg), baseline=background, catalogue="expected_gradients"
    )
    blur = METHODS.blur_ig(2.0, quadrature=FINE)
    yield Method(
        "Blur IG", recipe(lambda x: blur), baseline=blurred, grid=True, catalogue="blur_ig"
    )
    spectral = METHODS.spectral_ig(quadrature=ig.Midpoint(2000))
    yield Method("spectral IG", recipe(lambda x: spectral), grid=True, catalogue="spectral_ig")


def captum(kind: Callable[[Any], Any], **how: Any) -> Explain:
    """A Captum class, asked with these words."""

    def explain(model: Any, x: Tensor, wanted: Any) -> Any:
        torch.manual_seed(0)
        np.random.seed(0)
        ready = how if "baselines" not in how else {**how, "baselines": how["baselines"](x)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of hooks, and that x gets a gradient
            return kind(model).attribute(x, target=wanted, **ready)

    return explain


def one_by_one(explain: Explain) -> Explain:
    """For methods that take a row at a time."""

    def asked(model: Any, x: Tensor, target: Any) -> Any:
        return torch.cat([torch.as_tensor(explain(model, row, target)) for row in x.split(1)])

    return asked


def unbiased_lrp(model: nn.Module, x: Tensor, target: int) -> Tensor:
    """a_i w_i / sum of a_k w_k, without the bias: the rule of the paper's example."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, nn.Linear):
            module.rule = GammaRule(gamma=0.0, set_bias_to_zero=True)  # type: ignore[assignment]
    return captum(attr.LRP)(twin, x, target)


def of_captum() -> Iterator[Method]:
    """What Captum has and the catalogue has not; and its integrated gradients."""
    source = "Captum"
    fixed = attr.IntegratedGradients
    yield Method("integrated gradients", captum(fixed, n_steps=50), source, slack=1e-2)
    trapezoid = captum(fixed, n_steps=50, method="riemann_trapezoid")
    yield Method("integrated gradients, trapezoid", trapezoid, source, slack=1e-2)
    yield Method("DeepLIFT", captum(attr.DeepLift), source)
    yield Method("LRP, ε", captum(attr.LRP), source, chains=True)
    yield Method("LRP, biases left out", unbiased_lrp, source, chains=True)
    yield Method("guided backpropagation", captum(attr.GuidedBackprop), source)
    yield Method("deconvolution", captum(attr.Deconvolution), source)
    lime = one_by_one(captum(attr.Lime, n_samples=200))
    yield Method("LIME", lime, source, slack=0.05)
    kernel = one_by_one(captum(attr.KernelShap, n_samples=400))
    yield Method("KernelSHAP", kernel, source, slack=0.05)
    shap = captum(attr.GradientShap, baselines=background, n_samples=2000)
    yield Method("GradientSHAP", one_by_one(shap), source, baseline=background, slack=0.1)


def package(name: str) -> Any:
    """A peer. numba looks for `coverage`, and would find the script of that name beside this folder."""
    sys.modules.setdefault("coverage", None)  # type: ignore[arg-type]
    return import_module(name)


def of_shap() -> Iterator[Method]:
    """SHAP's GradientExplainer, which is expected gradients."""
    shap = package("shap")

    def explain(model: Any, x: Tensor, target: int) -> Any:
        asked = shap.GradientExplainer(Column(model, target, x.dtype), background(x))
        found = asked.shap_values(x, nsamples=2000, rseed=0)
        return np.asarray(found).reshape(x.shape)

    yield Method("GradientExplainer", explain, "SHAP", baseline=background, slack=0.1)


class Column(nn.Module):
    """One score of a model, (n, 1), asked in its own dtype: the explainer has float32 only."""

    def __init__(self, model: Any, target: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.target, self.dtype = model, target, dtype

    def forward(self, z: Tensor) -> Tensor:
        return self.model(z.to(self.dtype))[:, self.target, None]


def of_pair() -> Iterator[Method]:
    """PAIR's integrated gradients, an array at a time."""
    core = package("saliency.core")

    def explain(model: Any, x: Tensor, target: int) -> Any:
        def call(points: Any, call_model_args: Any = None, expected_keys: Any = None) -> Any:
            z = torch.from_numpy(np.asarray(points)).to(x).requires_grad_()
            (slope,) = torch.autograd.grad(model(z)[:, target].sum(), z)
            return {core.INPUT_OUTPUT_GRADIENTS: slope.numpy()}

        own = core.IntegratedGradients()
        masks = [own.GetMask(row.numpy(), call, x_steps=50, batch_size=51) for row in x]
        return np.stack(masks)

    yield Method("integrated gradients", explain, "PAIR saliency", slack=1e-2)


def of_zennit() -> Iterator[Method]:
    """zennit's integrated gradients."""
    attribution = package("zennit.attribution")

    def explain(model: Any, x: Tensor, target: int) -> Any:
        def chosen(out: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(torch.full((len(out),), target), out.shape[1]).to(
                out
            )

        with attribution.IntegratedGradients(model, n_iter=50) as own:
            return own(x, chosen)[1]

    yield Method("integrated gradients", explain, "zennit", slack=1e-2)


PEERS: dict[str, tuple[str, Callable[[], Iterator[Method]]]] = {
    "captum": ("Captum", of_captum),
    "shap": ("SHAP", of_shap),
    "saliency": ("PAIR saliency", of_pair),
    "zennit": ("zennit", of_zennit),
}


def peers() -> tuple[list[Method], list[str]]:
    """The methods of the peers that are here, and what is to be said of each."""
    found: list[Method] = []
    said: list[str] = []
    for key, (name, methods) in PEERS.items():
        try:
            found += list(methods())
            said.append(f"{name} {version(key)}")
        except (ImportError, RuntimeError, PackageNotFoundError) as error:
            said.append(f"{name} is left out: {type(error).__name__}: {str(error).splitlines()[0]}")
    return found, said

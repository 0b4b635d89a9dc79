"""What is said of peers' integrated gradients, run again: confirmed, or corrected."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from captum import attr
from torch import Tensor, nn

from .explainers import background, package
from .pair import blur_ig, blurred

D = torch.float64


def net(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Linear, tanh, linear: (n, 5) -> (n, 1)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))
    return made.to(dtype).eval()


def points(rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(rows, 5, generator=torch.Generator().manual_seed(1)).to(dtype)


def captum_trapezoid() -> str:
    """Weights of its trapezoid rule add up to (n - 1) / n."""
    f = lambda z: z.sum(1)  # noqa: E731
    own = attr.IntegratedGradients(f)
    x = torch.ones(1, 4, dtype=D)
    found = [
        float(own.attribute(x, n_steps=n, method="riemann_trapezoid").sum() / 4)  # type: ignore[union-attr]
        for n in (5, 50)
    ]
    return f"of a linear function {found[0]:.2f} of the truth at 5 nodes, {found[1]:.2f} at 50"


def captum_float32() -> str:
    """Its weights are float32 whatever the model computes in."""
    made, x = net(dtype=D), points(4, D)
    own = attr.IntegratedGradients(made)
    _, gap = own.attribute(x, target=0, n_steps=100, return_convergence_delta=True)
    return f"residual {float(gap.abs().max()):.0e} at 100 nodes, on a smooth net in float64"


def shap_layer() -> str:
    """Of a layer, gradients times the activation, not times its way from the baseline."""
    shap, made, x = package("shap"), net(), points(3)
    start = background(x)
    own = shap.GradientExplainer((made, made[1]), start)
    sums = np.asarray(own.shap_values(x, nsamples=2000, rseed=0)).reshape(3, -1).sum(1)
    with torch.no_grad():
        true = (made(x) - made(start).mean()).flatten().numpy()
    return f"sums {_few(sums)}, where f(x) - E f(b) is {_few(true)}"


def shap_variance() -> str:
    """What it calls the variance of the means is the variance over sqrt(n), not over n."""
    shap, made, x = package("shap"), net(), points(1)
    own = shap.GradientExplainer(made, background(x))
    ratios = []
    for n in (100, 1600):
        runs = [own.shap_values(x, nsamples=n, rseed=s, return_variances=True) for s in range(60)]
        true = np.stack([np.asarray(r[0]).ravel() for r in runs]).var(0, ddof=1)
        said = np.stack([np.asarray(r[1]).ravel() for r in runs]).mean(0)
        ratios.append(float(np.median(said / true)))
    return f"{ratios[0]:.0f} times the variance of 60 repeats at n = 100, {ratios[1]:.0f} times at 1600"


def shap_expected() -> str:
    """It has no expected_value, so nothing to add its values to."""
    shap, x = package("shap"), points(1)
    own = shap.GradientExplainer(net(), background(x))
    return f"hasattr(explainer, 'expected_value') is {hasattr(own, 'expected_value')}"


def pair_ends() -> str:
    """Both ends of the path are counted with full weight."""
    core = package("saliency.core")

    def slope(x, call_model_args=None, expected_keys=None):
        return {core.INPUT_OUTPUT_GRADIENTS: 3 * x**2}

    own = core.IntegratedGradients()
    cube = float(own.GetMask(np.ones(1), slope, x_steps=25).sum())
    flat = lambda x, call_model_args=None, expected_keys=None: {  # noqa: E731
        core.INPUT_OUTPUT_GRADIENTS: np.ones_like(x)
    }
    line = float(own.GetMask(np.ones(1), flat, x_steps=25).sum())
    return f"25 steps: of x³ {100 * (cube - 1):+.1f} %, of x {100 * (line - 1):+.1f} %"


def pair_blur() -> str:
    """Blur IG with sqrt=True takes the last step width of a batch for all of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = nn.Conv2d(1, 6, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(384, 1)
        made = nn.Sequential(*parts).to(D).eval().requires_grad_(False)
    f = lambda z: 10 * made(z)[:, 0]  # noqa: E731
    x = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=D)
    sums = [float(blur_ig(f, x, 4.0, 100, batch_size=b, sqrt=True).sum()) for b in (1, 7, 100)]
    gains = [float(f(x[None]) - f(blurred(x, sigma)[None])) for sigma in (2.0, 4.0)]
    return (
        f"values add up to {_few(sums)} with batches of 1, 7, 100; f(x) - f(blurred) is {gains[0]:.3g} from "
        f"sqrt(max_sigma), where it begins, and {gains[1]:.3g} from max_sigma"
    )


def pair_guided() -> str:
    """Guided IG asks numpy for a word that numpy 2.4 has dropped."""
    core = package("saliency.core")
    slope = lambda x, call_model_args=None, expected_keys=None: {  # noqa: E731
        core.INPUT_OUTPUT_GRADIENTS: 3 * x**2
    }
    try:
        core.GuidedIG().GetMask(np.ones((2, 2, 1)), slope, x_steps=5)
        said = "it runs"
    except TypeError as error:
        said = f"TypeError: {error}"
    known = "interpolation" in inspect.signature(np.quantile).parameters
    return f"{said} (numpy {np.__version__}, which knows interpolation=: {known})"


def zennit_right() -> str:
    """It is a right sum: of first order, with no choice of another."""
    attribution = package("zennit.attribution")

    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().sum(1, keepdim=True)

    found = []
    for n in (10, 20, 100):
        with attribution.IntegratedGradients(Square(), n_iter=n) as own:
            found.append(float(own(torch.ones(1, 1, dtype=D), torch.ones(1, 1, dtype=D))[1].sum()))
    return "of x² " + " / ".join(f"{f:.3f}" for f in found) + " of the truth at 10 / 20 / 100 steps"


def _few(numbers: object) -> str:
    return " / ".join(f"{float(n):.3g}" for n in np.asarray(numbers).ravel())


CLAIMS: dict[str, tuple[Callable[[], str], ...]] = {
    "captum": (captum_trapezoid, captum_float32),
    "shap": (shap_layer, shap_variance, shap_expected),
    "saliency": (pair_ends, pair_blur, pair_guided),
    "zennit": (zennit_right,),
}


def claims() -> None:
    """A line for each that can be run here."""
    print("| peer | what is said | what was found |\n|---|---|---|")
    for name, probes in CLAIMS.items():
        for probe in probes:
            said = (probe.__doc__ or "").strip()
            try:
                package(name)
                print(f"| {name} {version(name)} | {said} | {probe()} |", flush=True)
            except ImportError:
                print(f"| {name} | {said} | not installed here |")

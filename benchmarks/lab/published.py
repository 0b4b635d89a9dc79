"""What two papers print of methods that the catalogue has too, by our names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A table: of each method a number for each of their nets.

    Attributes
    ----------
    low
        Whether a low number is better.
    """

    source: str
    metric: str
    nets: tuple[str, ...]
    numbers: dict[str, tuple[float, ...]]
    low: bool = False


SMOOTH_TAYLOR = Published(
    "SmoothTaylor (Goh et al. 2021, arXiv:2004.10484)",
    "AUTVC",
    ("DenseNet121", "ResNet152"),
    {
        "integrated_gradients, black": (1.52, 1.51),
        "integrated_gradients, 1 noise": (1.62, 1.54),
        "integrated_gradients, 5 noises": (1.52, 1.43),
        "smooth_taylor, 0.3": (1.22, 1.14),
        "smooth_taylor, 0.5": (1.19, 1.10),
        "smooth_taylor, 0.7": (1.12, 1.01),
        "smooth_taylor, adaptive": (0.99, 0.85),
    },
    low=True,
)

SPECTRAL = Published(
    "Spectral IG (Kim et al. 2026, arXiv:2605.19607)",
    "DiffID",
    ("ResNet18", "VGG16", "InceptionV1"),
    {
        "gradient_x_input": (0.104, 0.188, 0.138),
        "integrated_gradients, black": (0.159, 0.240, 0.192),
        "big": (0.312, 0.326, 0.347),
        "guided_ig": (0.251, 0.281, 0.303),
        "spectral_ig": (0.342, 0.374, 0.378),
    },
)

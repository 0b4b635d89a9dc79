"""Axiomatic attribution of deep networks: which features made the model say so, and how sure that is."""

from intgrad import methods
from intgrad.attribute import attribute
from intgrad.attribution import Attribution, load_all, save_all
from intgrad.baseline import Blurred, Constant, Gaussian, MaskToken, Uniform, Zeros
from intgrad.errors import (
    InputError,
    IntgradError,
    ModelError,
    NotConverged,
    TargetError,
    ToleranceRaised,
    Unsupported,
)
from intgrad.model import All, Logit, LogProbability, Margin, Probability
from intgrad.path import Straight
from intgrad.quadrature import (
    Adaptive,
    At,
    Automatic,
    Exact,
    GaussLegendre,
    LeftRiemann,
    Midpoint,
    PanelAveraged,
    RightRiemann,
    Trapezoid,
)
from intgrad.recipe import Recipe

__all__ = [
    "Adaptive",
    "All",
    "At",
    "Attribution",
    "Automatic",
    "Blurred",
    "Constant",
    "Exact",
    "GaussLegendre",
    "Gaussian",
    "InputError",
    "IntgradError",
    "LeftRiemann",
    "LogProbability",
    "Logit",
    "Margin",
    "MaskToken",
    "Midpoint",
    "ModelError",
    "NotConverged",
    "PanelAveraged",
    "Probability",
    "Recipe",
    "RightRiemann",
    "Straight",
    "TargetError",
    "ToleranceRaised",
    "Trapezoid",
    "Uniform",
    "Unsupported",
    "Zeros",
    "attribute",
    "load_all",
    "methods",
    "save_all",
]

"""Axiomatic attribution of deep networks: which features made the model say so, and how sure that is."""

from intgrad import methods
from intgrad.attribute import attribute
from intgrad.attribution import Attribution, load_all, save_all
from intgrad.baseline import Blurred, Constant, Dataset, Gaussian, MaskToken, Uniform, Zeros
from intgrad.boundary import Boundary
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
    Lattice,
    LeftRiemann,
    Midpoint,
    MonteCarlo,
    PanelAveraged,
    RightRiemann,
    Sobol,
    Stratified,
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
    "Boundary",
    "Constant",
    "Dataset",
    "Exact",
    "GaussLegendre",
    "Gaussian",
    "InputError",
    "IntgradError",
    "Lattice",
    "LeftRiemann",
    "LogProbability",
    "Logit",
    "Margin",
    "MaskToken",
    "Midpoint",
    "ModelError",
    "MonteCarlo",
    "NotConverged",
    "PanelAveraged",
    "Probability",
    "Recipe",
    "RightRiemann",
    "Sobol",
    "Straight",
    "Stratified",
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

"""Axiomatic attribution of deep networks: which features made the model say so, and how sure that is."""

from intgrad import methods
from intgrad.attribute import attribute
from intgrad.attribution import Attribution, load_all, save_all
from intgrad.baseline import Blurred, Constant, Dataset, Gaussian, MaskToken, Uniform, Zeros
from intgrad.errors import (
    InputError,
    IntgradError,
    ModelError,
    NotConverged,
    TargetError,
    Unsupported,
)
from intgrad.model import All, Logit, LogProbability, Margin, Probability
from intgrad.path import Straight
from intgrad.quadrature import (
    At,
    GaussLegendre,
    Lattice,
    LeftRiemann,
    Midpoint,
    MonteCarlo,
    RightRiemann,
    Sobol,
    Stratified,
    Trapezoid,
)
from intgrad.recipe import Recipe

__all__ = [
    "All",
    "At",
    "Attribution",
    "Blurred",
    "Constant",
    "Dataset",
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
    "Probability",
    "Recipe",
    "RightRiemann",
    "Sobol",
    "Straight",
    "Stratified",
    "TargetError",
    "Trapezoid",
    "Uniform",
    "Unsupported",
    "Zeros",
    "attribute",
    "load_all",
    "methods",
    "save_all",
]

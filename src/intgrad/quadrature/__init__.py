"""Quadratures, one family a file."""

from intgrad.quadrature.adaptive import Adaptive
from intgrad.quadrature.automatic import Automatic
from intgrad.quadrature.differences import Differences
from intgrad.quadrature.exact import Exact
from intgrad.quadrature.gauss import GaussLegendre
from intgrad.quadrature.montecarlo import Lattice, MonteCarlo, Sobol, Stratified
from intgrad.quadrature.panel import PanelAveraged
from intgrad.quadrature.riemann import At, LeftRiemann, Midpoint, RightRiemann, Trapezoid
from intgrad.quadrature.rule import Estimate, Quadrature

__all__ = [
    "Adaptive",
    "At",
    "Automatic",
    "Differences",
    "Estimate",
    "Exact",
    "GaussLegendre",
    "Lattice",
    "LeftRiemann",
    "Midpoint",
    "MonteCarlo",
    "PanelAveraged",
    "Quadrature",
    "RightRiemann",
    "Sobol",
    "Stratified",
    "Trapezoid",
]

"""Quadratures, one family a file."""

from intgrad.quadrature.gauss import GaussLegendre
from intgrad.quadrature.montecarlo import Lattice, MonteCarlo, Sobol, Stratified
from intgrad.quadrature.riemann import At, LeftRiemann, Midpoint, RightRiemann, Trapezoid
from intgrad.quadrature.rule import Estimate, Quadrature

__all__ = [
    "At",
    "Estimate",
    "GaussLegendre",
    "Lattice",
    "LeftRiemann",
    "Midpoint",
    "MonteCarlo",
    "Quadrature",
    "RightRiemann",
    "Sobol",
    "Stratified",
    "Trapezoid",
]

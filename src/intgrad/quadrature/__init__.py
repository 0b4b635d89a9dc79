"""Quadratures, one family a file."""

from intgrad.quadrature.gauss import GaussLegendre
from intgrad.quadrature.panel import PanelAveraged
from intgrad.quadrature.riemann import At, LeftRiemann, Midpoint, RightRiemann, Trapezoid
from intgrad.quadrature.rule import Estimate, Quadrature

__all__ = [
    "At",
    "Estimate",
    "GaussLegendre",
    "LeftRiemann",
    "Midpoint",
    "PanelAveraged",
    "Quadrature",
    "RightRiemann",
    "Trapezoid",
]

"""How a model is asked: target, location, oracle, checks."""

from intgrad.model.oracle import Oracle
from intgrad.model.target import All, Logit, LogProbability, Margin, Probability, Target
from intgrad.model.torch_oracle import TorchOracle
from intgrad.model.unit import Unit

__all__ = [
    "All",
    "LogProbability",
    "Logit",
    "Margin",
    "Oracle",
    "Probability",
    "Target",
    "TorchOracle",
    "Unit",
]

"""Hypothesis strategies: random nets, shapes and dtypes for whatever is an axiom."""

import torch
from hypothesis import strategies as st
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "softplus": nn.Softplus}

seeds = st.integers(0, 2**20)
features = st.integers(1, 6)
depths = st.integers(1, 3)
activations = st.sampled_from(sorted(ACTIVATIONS))
dtypes = st.sampled_from([torch.float64, torch.float32])
rows = st.integers(1, 5)


def mlp(seed: int, inputs: int, depth: int, activation: str, dtype: torch.dtype, outputs: int = 3):
    """A random multilayer perceptron in evaluation mode."""
    generator = torch.random.fork_rng()
    with generator:
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        size = inputs
        for _ in range(depth):
            layers += [nn.Linear(size, 7), ACTIVATIONS[activation]()]
            size = 7
        return nn.Sequential(*layers, nn.Linear(size, outputs)).to(dtype).eval()


def points(seed: int, n: int, inputs: int, dtype: torch.dtype):
    """Random inputs (n, inputs)."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, inputs, generator=g, dtype=torch.float64).to(dtype)

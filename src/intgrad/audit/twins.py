r"""Twins: networks that compute the same function by other means.

The pair of the paper is :math:`F = \mathrm{ReLU}(\mathrm{ReLU}(x_1) - 1 - \mathrm{ReLU}(x_2))` and
:math:`G = \mathrm{ReLU}(\mathrm{ReLU}(x_1 - 1) - \mathrm{ReLU}(x_2))`: equal everywhere, wired otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from intgrad.audit.derived import linear

Affine = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)
ELEMENTWISE = (nn.Tanh, nn.Sigmoid, nn.GELU, nn.Softplus, nn.SiLU, nn.ELU, nn.Dropout, nn.Identity)


class Wired(nn.Module):
    """F, or G: (n, 2) -> (n, 1)."""

    def __init__(self, inside: bool, like: Tensor) -> None:
        super().__init__()
        one = like.new_ones(1, 1)
        self.first = linear(one, like.new_tensor([-1.0 if inside else 0.0]))
        self.mix = linear(
            like.new_tensor([[1.0, -1.0]]), like.new_tensor([0.0 if inside else -1.0])
        )
        self.relus = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.ReLU()])

    def forward(self, z: Tensor) -> Tensor:
        """ReLU(ReLU(x1 + a) + b - ReLU(x2))."""
        left, right = self.relus[0](self.first(z[:, :1])), self.relus[1](z[:, 1:])
        return self.relus[2](self.mix(torch.cat([left, right], 1)))


def paper_pair(dtype: torch.dtype = torch.float64) -> tuple[nn.Module, nn.Module, Tensor]:
    """F, G and the point (1, 2) of the paper, (3, 1), whose baseline is (0, 0).

    Sundararajan, Taly, Yan 2017, arXiv:1703.01365.
    """
    x = torch.tensor([[3.0, 1.0]], dtype=dtype)
    return Wired(False, x).eval(), Wired(True, x).eval(), x


class Beside(nn.Module):
    """A model plus `much` times F - G of two of its features, which is 0 everywhere.

    The features are measured so that x is at (3, 1) and the start at (0, 0).
    """

    def __init__(
        self, f: nn.Module, x: Tensor, start: Tensor, pair: tuple[int, int], much: float = 1.0
    ) -> None:
        super().__init__()
        i, j = pair
        ends, origin = x.flatten(), start.flatten()
        way = (ends - origin)[[i, j]]
        self.pair = [i, j]
        units = torch.diag(ends.new_tensor([3.0, 1.0]) / way)
        self.f, self.units = f, linear(units, -(units @ origin[[i, j]]))
        self.wired = nn.ModuleList([Wired(False, x), Wired(True, x)])
        self.mix = linear(x.new_tensor([[1.0, much, -much]]))

    def forward(self, z: Tensor) -> Tensor:
        """(n, ...) -> (n, 1)."""
        pair = self.units(z.flatten(1)[:, self.pair])
        return self.mix(torch.cat([self.f(z), *(wired(pair) for wired in self.wired)], 1))


def twins(model: nn.Module, generator: torch.Generator) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a model, re-parametrised where its parts allow it: (what was done, twin).

    Looks into every `nn.Sequential`. Hidden units between two affine layers of a kind are permuted, and
    where what lies between is positively homogeneous (ReLU, pooling) rescaled; BatchNorm is folded into
    the layer before it; a linear layer is split in two, and two that follow each other are merged.
    """
    edits: dict[str, Callable[[nn.Sequential, torch.Generator], bool]] = {
        "hidden units permuted and rescaled": _rearrange,
        "batch normalisation folded": _fold,
        "a linear layer split in two": _split,
        "two linear layers merged": _merge,
    }
    for name, edit in edits.items():
        twin = copy.deepcopy(model)
        chains = [m for m in twin.modules() if isinstance(m, nn.Sequential)]
        done = [edit(chain, generator) for chain in chains]
        if any(done):
            yield name, twin.eval()


def _rearrange(chain: nn.Sequential, generator: torch.Generator) -> bool:
    done = False
    parts: list[Any] = list(chain)
    for i, first in enumerate(parts):
        between = _until_affine(chain, i)
        if between is None:
            continue
        second = parts[i + len(between) + 1]
        order = torch.randperm(len(first.weight), generator=generator)
        scale = torch.ones(len(order))
        if all(isinstance(m, HOMOGENEOUS) for m in between):
            scale = 0.5 + 1.5 * torch.rand(len(order), generator=generator)
        _rewire(first, second, order, scale.to(first.weight))
        done = True
    return done


def _until_affine(chain: nn.Sequential, i: int) -> list[nn.Module] | None:
    """What lies between this affine layer and the next of its kind, if units may be exchanged there."""
    if not isinstance(chain[i], Affine) or getattr(chain[i], "groups", 1) != 1:
        return None
    between: list[nn.Module] = []
    for module in list(chain)[i + 1 :]:
        if type(module) is type(chain[i]) and getattr(module, "groups", 1) == 1:
            return between
        if not isinstance(module, HOMOGENEOUS + ELEMENTWISE):
            return None
        between.append(module)
    return None


def _rewire(first: Any, second: Any, order: Tensor, scale: Tensor) -> None:
    shape = (-1, *(1,) * (first.weight.ndim - 1))
    with torch.no_grad():
        first.weight.copy_(first.weight[order] * scale.reshape(shape))
        if first.bias is not None:
            first.bias.copy_(first.bias[order] * scale)
        back = scale.reshape(1, -1, *(1,) * (second.weight.ndim - 2))
        second.weight.copy_(second.weight[:, order] / back)


def _fold(chain: nn.Sequential, generator: torch.Generator) -> bool:
    parts: list[Any] = list(chain)
    done = False
    for i in reversed(range(len(parts) - 1)):
        layer, norm = parts[i], parts[i + 1]
        if not isinstance(norm, NORMS) or norm.running_mean is None:
            continue
        if isinstance(layer, nn.Linear):
            parts[i : i + 2] = [fuse_linear_bn_eval(layer, norm)]
        elif isinstance(layer, CONVOLUTIONS):
            parts[i : i + 2] = [fuse_conv_bn_eval(layer, norm)]
        else:
            continue
        done = True
    return _replace(chain, parts) if done else False


def _split(chain: nn.Sequential, generator: torch.Generator) -> bool:
    parts: list[Any] = list(chain)
    places = [i for i, m in enumerate(parts) if type(m) is nn.Linear]
    for i in places[:1]:
        layer = parts[i]
        size = len(layer.weight)
        noise = torch.rand(size, size, generator=generator, dtype=torch.float64)
        mix = (torch.eye(size, dtype=torch.float64) + 0.5 * noise / size).to(layer.weight)
        back = torch.linalg.inv(mix.double()).to(layer.weight)
        bias = None if layer.bias is None else mix @ layer.bias
        parts[i : i + 1] = [linear(mix @ layer.weight, bias), linear(back)]
    return _replace(chain, parts) if places else False


def _merge(chain: nn.Sequential, generator: torch.Generator) -> bool:
    parts: list[Any] = list(chain)
    done, i = False, 0
    while i + 1 < len(parts):
        one, two = parts[i], parts[i + 1]
        if type(one) is not nn.Linear or type(two) is not nn.Linear:
            i += 1
            continue
        zero = one.weight.new_zeros(1)
        bias = two.weight @ (zero.expand(len(one.weight)) if one.bias is None else one.bias)
        bias = bias if two.bias is None else bias + two.bias
        parts[i : i + 2] = [linear(two.weight @ one.weight, bias)]
        done = True
    return _replace(chain, parts) if done else False


def _replace(chain: nn.Sequential, parts: list[nn.Module]) -> bool:
    chain._modules.clear()
    for i, part in enumerate(parts):
        chain.add_module(str(i), part)
    return True

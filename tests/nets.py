"""Small networks that all tests share, and what a call must leave as it was."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def _seeded(build, seed: int, dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().to(dtype).eval()


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers by a seed of their own."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def mlp(
    act: type[nn.Module], seed: int, dtype: torch.dtype, features: int, classes: int
) -> nn.Module:
    """Two hidden layers of 16."""
    return _seeded(
        lambda: nn.Sequential(
            nn.Linear(features, 16), act(), nn.Linear(16, 16), act(), nn.Linear(16, classes)
        ),
        seed,
        dtype,
    )


def relu_mlp(seed: int = 0, dtype=torch.float32, features: int = 6, classes: int = 4) -> nn.Module:
    """Kinked: (n, features) -> (n, classes)."""
    return mlp(nn.ReLU, seed, dtype, features, classes)


def gelu_mlp(seed: int = 0, dtype=torch.float32, features: int = 6, classes: int = 4) -> nn.Module:
    """Smooth: (n, features) -> (n, classes)."""
    return mlp(nn.GELU, seed, dtype, features, classes)


def conv_net(seed: int = 0, dtype=torch.float32) -> nn.Module:
    """Convolution, batch normalisation, max-pool: (n, 3, 8, 8) -> (n, 4)."""
    return _seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        ),
        seed,
        dtype,
    )


class TinyTransformer(nn.Module):
    """Token ids (n, L) -> logits (n, 3), through one layer of attention; padding by a mask."""

    def __init__(self, size: int = 20, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3)

    def forward(self, ids: Tensor, keep: Tensor | None = None) -> Tensor:
        h = self.embedding(ids) * math.sqrt(8)
        hide = None if keep is None else keep == 0
        mixed, _ = self.attention(h, h, h, key_padding_mask=hide, need_weights=False)
        return self.head(self.norm(h + mixed).mean(1))


def tiny_transformer(seed: int = 0, dtype=torch.float32) -> nn.Module:
    """A seeded `TinyTransformer`."""
    return _seeded(TinyTransformer, seed, dtype)


class Attention(nn.Module):
    """Real numbers (n, L, 4) -> (n, 3), by fused scaled dot-product attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.head(nn.functional.scaled_dot_product_attention(q, k, v).mean(1))


def attention_net(seed: int = 0, dtype=torch.float32) -> nn.Module:
    """A seeded `Attention`."""
    return _seeded(Attention, seed, dtype)


class Output(OrderedDict):
    """What transformers models return: a mapping whose entries are attributes too."""

    def __getattr__(self, name: str) -> Tensor:
        return self[name]


class Counted(nn.Module):
    """Any callable as a module that counts its calls and rows."""

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner, self.sizes = inner, []

    def forward(self, *args: Tensor, **named: Tensor):
        first = args[0] if args else next(iter(named.values()))
        self.sizes.append(len(first))
        return self.inner(*args, **named)


class Interrupts(nn.Module):
    """Hands through, until the call of this number raises."""

    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__()
        self.left, self.error = at, error

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return x


HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
)


def state_of(model: nn.Module) -> dict[str, object]:
    """Everything a call must leave alone: identities, bytes, flags, hooks, random state, modes."""
    found: dict[str, object] = {
        "random": torch.get_rng_state().numpy().tobytes(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "global hooks": len(nn.modules.module._global_forward_hooks),
    }
    for name, module in model.named_modules():
        found[f"{name} training"] = module.training
        found[f"{name} hooks"] = [list(getattr(module, h)) for h in HOOKS]
        found[f"{name} attributes"] = sorted(vars(module))
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in tensors:
        grad = tensor.grad
        found[f"{name} identity"] = id(tensor), tensor.data_ptr(), tensor.requires_grad
        found[f"{name} bytes"] = bytes_of(tensor)
        found[f"{name} grad"] = None if grad is None else (id(grad), bytes_of(grad))
        if not tensor.is_inference():
            found[f"{name} version"] = tensor._version
    return found


def bytes_of(tensor: Tensor) -> bytes:
    """The bytes of a tensor, NaN and all."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """State that the block leaves `model` and the caller's world as they were, also on an error."""
    before = state_of(model)
    try:
        yield
    finally:
        after = state_of(model)
        changed = [k for k in before.keys() | after.keys() if before.get(k) != after.get(k)]
        assert not changed, f"changed: {changed}"


def integrated_gradients(f, x: Tensor, baseline: Tensor, nodes: int = 64) -> Tensor:
    """Written out by hand, in float64: (n, ...), differentiable in everything f holds."""
    import numpy as np

    t, w = np.polynomial.legendre.leggauss(nodes)
    total = torch.zeros_like(x)
    for s, weight in zip((t + 1) / 2, w / 2, strict=True):
        point = baseline + float(s) * (x - baseline)
        if not point.requires_grad:
            point.requires_grad_()
        (g,) = torch.autograd.grad(f(point).sum(), point, create_graph=True)
        total = total + float(weight) * g * (x - baseline)
    return total

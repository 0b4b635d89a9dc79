"""How a processor sees: its normalisation measured, its resize and crop as two matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from intgrad.errors import Unsupported

try:
    from PIL import Image
except ImportError as error:
    raise ImportError('intgrad.image needs pillow: pip install "intgrad[image]"') from error

LEVEL = 1 / 255  # one step of an 8-bit picture
BILINEAR = 2  # pillow's number for it
COLOURS = (0, 0, 0), (51, 51, 51), (255, 255, 255), (0, 51, 255)


@dataclass(frozen=True)
class Lens:
    """A processor as a function of light: numbers = shift + scale * light[order], a channel.

    `own`: it is a bare callable, and its units are left alone.
    """

    process: Callable[..., Any]
    scale: Tensor
    shift: Tensor
    order: Tensor
    own: bool = False

    def numbers(self, light: Tensor) -> Tensor:
        """What the net is given for light (..., 3, h, w)."""
        return light[..., self.order.to(light.device), :, :] * self.scale.to(light) + self.shift.to(
            light
        )

    def light(self, picture: Image.Image, **flags: bool) -> Tensor:
        """What the model sees of a picture: (3, h, w) float64, exact where it is 8-bit."""
        seen = (_numbers(self.process, picture, **flags) - self.shift) / self.scale
        light = seen[self.order.argsort()]
        levels = (light / LEVEL).round() / 255
        eight_bit = not self.own and bool((light - levels).abs().max() < LEVEL / 100)
        return levels if eight_bit else light


def lens(processor: Callable[..., Any]) -> Lens:
    """Measure a processor's normalisation on black, grey, white and one colour.

    Raises
    ------
    Unsupported
        A channel is not a straight line in the light of one channel of the picture.
    """
    process = getattr(processor, "image_processor", processor)
    if not hasattr(process, "preprocess"):
        return Lens(process, torch.ones(3, 1, 1), torch.zeros(3, 1, 1), torch.arange(3), own=True)
    black, grey, white, colour = (_of_colour(process, c) for c in COLOURS)
    scale = white - black
    order = ((colour - black) / scale).argsort(0).flatten()
    expected = black + scale * torch.tensor([0.0, 0.2, 1.0]).double()[order.argsort()].view(3, 1, 1)
    off = torch.maximum((black + 0.2 * scale - grey).abs(), (expected - colour).abs())
    if not bool((off < 1e-4 * scale.abs()).all()):
        raise Unsupported(
            f"{type(process).__name__} does not normalise each channel by a straight line. Pass a "
            f"callable in its place: from a PIL picture to a tensor (3, h, w) in the model's units."
        )
    return Lens(process, scale, black, order.argsort())


def _of_colour(process: Callable[..., Any], colour: tuple[int, int, int]) -> Tensor:
    """What becomes of one colour, away from the border: (3, 1, 1)."""
    seen = _numbers(process, Image.new("RGB", (64, 64), colour))
    return seen[:, seen.shape[1] // 2, seen.shape[2] // 2, None, None]


def _numbers(process: Callable[..., Any], picture: Image.Image, **flags: bool) -> Tensor:
    """One picture through the processor: (3, h, w) float64."""
    if hasattr(process, "preprocess"):
        found = process(images=picture, return_tensors="pt", **flags)["pixel_values"]
    else:
        found = process(picture)
    shape: tuple[int, ...] = tuple(found.shape) if isinstance(found, Tensor) else ()
    if shape[-3:-2] != (3,) or shape[:-3] not in ((), (1,)):
        raise Unsupported(
            f"the processor makes {shape or type(found).__name__} of a picture; expected one tensor "
            f"(3, h, w)."
        )
    return found.detach().cpu().double().reshape(shape[-3:])


@dataclass(frozen=True)
class Grid:
    """A resize and crop of each channel: rows (h, H) and columns (w, W) that sum to 1, float64."""

    rows: Tensor
    columns: Tensor

    def down(self, x: Tensor) -> Tensor:
        """R x S^T: (..., H, W) to (..., h, w)."""
        return self.rows @ x.double() @ self.columns.T

    def up(self, y: Tensor) -> Tensor:
        """Its transpose R^T y S: (..., h, w) to (..., H, W), sums kept."""
        return self.rows.T @ y.double() @ self.columns

    def positive(self) -> Grid:
        """The same reach with weights of one sign, for what must not cancel."""
        one = lambda m: m.abs() / m.abs().sum(1, keepdim=True)  # noqa: E731
        return Grid(one(self.rows), one(self.columns))


def grid_of(eye: Lens, size: tuple[int, int], seen: tuple[int, int]) -> Grid | None:
    """The resize and crop of pictures of this (width, height) to (h, w); None if it is neither.

    The crop is read off a picture of coordinates; the resize is pillow's, with the processor's
    own ``resample``; and both must foretell, to one level, what becomes of a test picture.
    """
    if eye.own:
        return None
    ramp, crops = _ramp(*size), bool(getattr(eye.process, "do_center_crop", False))
    whole = tuple(eye.light(ramp, do_center_crop=False).shape[1:]) if crops else seen
    corner = _corner(eye, whole, seen) if crops else (0, 0)
    if corner is None:
        return None
    kernel = getattr(eye.process, "resample", None)
    kernel = int(kernel) if isinstance(kernel, int) else BILINEAR  # what processors do by default
    (top, left), (h, w) = corner, seen
    rows = resize(size[1], whole[0], kernel)[top : top + h]
    grid = Grid(rows, resize(size[0], whole[1], kernel)[left : left + w])
    off = (grid.down(light_of(ramp)).clamp(0, 1) - eye.light(ramp)).abs().mean()
    return grid if bool(off < LEVEL) else None


@lru_cache(maxsize=16)
def resize(n: int, m: int, kernel: int) -> Tensor:
    """Pillow's resize of n samples to m, as a matrix (m, n) float64: what it makes of the unit vectors."""
    strips = []
    for first in range(0, n, 512):
        units = np.eye(min(512, n - first), n, first, dtype=np.float32)
        strips.append(np.asarray(Image.fromarray(units).resize((m, len(units)), kernel)))
    matrix = torch.from_numpy(np.concatenate(strips)).T.double()
    return matrix / matrix.sum(1, keepdim=True)


def _corner(eye: Lens, whole: tuple[int, ...], seen: tuple[int, int]) -> tuple[int, int] | None:
    """Where the crop begins in the resized picture (top, left); None where it pads."""
    codes = (eye.light(_coordinates(whole[1], whole[0]), do_resize=False) * 255).round().long()
    if codes.shape[1:] != seen:
        return None
    y, x = codes[0] + 256 * (codes[2] // 16), codes[1] + 256 * (codes[2] % 16)
    top, left = int(y[0, 0]), int(x[0, 0])
    straight = (y == top + torch.arange(seen[0])[:, None]) & (x == left + torch.arange(seen[1]))
    inside = top + seen[0] <= whole[0] and left + seen[1] <= whole[1]
    return (top, left) if inside and bool(straight.all()) else None


def _coordinates(width: int, height: int) -> Image.Image:
    """A picture that holds its own coordinates, up to 4095: low bytes of y and x, high halves of both."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([y % 256, x % 256, y // 256 % 16 * 16 + x // 256 % 16], -1).astype(np.uint8)
    )


def _ramp(width: int, height: int) -> Image.Image:
    """A picture that tells where it was resized (two slopes) and how (noise, far from clipping)."""
    y, x = np.mgrid[:height, :width]
    noise = 64 + (x * 40503 + y * 30011 + x * y * 7) % 251 % 128
    slopes = [255 * y / max(height - 1, 1), 255 * x / max(width - 1, 1)]
    return Image.fromarray(np.stack([*slopes, noise], -1).round().astype(np.uint8))


def light_of(picture: Image.Image) -> Tensor:
    """An RGB picture in [0, 1]: (3, height, width) float64."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).double() / 255


def bytes_of(light: Tensor) -> Tensor:
    """Light (3, height, width) as 8-bit pixels (height, width, 3), clipped to what they can show."""
    return (light.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()

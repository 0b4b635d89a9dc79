"""Pictures, one by one: opened, brought to the crop the model sees, with where their paths start."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from intgrad.baseline import as_baseline
from intgrad.errors import InputError
from intgrad.image.lens import Grid, Lens, bytes_of, grid_of, light_of
from intgrad.image.pull_back import Channel

try:
    from PIL import Image, ImageOps
except ImportError as error:
    raise ImportError('intgrad.image needs pillow: pip install "intgrad[image]"') from error

LARGEST = 40_000_000  # pixels: the float64 maps of a larger picture do not fit everywhere

Source = str | PathLike[str] | Image.Image


@dataclass(frozen=True)
class View:
    """One picture: as it is, as the model sees it, and where its paths start.

    Attributes
    ----------
    pixels
        (H, W, 3) uint8, the picture the values belong to.
    light
        (3, h, w) float64, the crop.
    grid
        How one became the other; None where the values stay on the crop.
    points, starts, weight
        The samples of the baseline where the values are (k, 3, H, W), the same on the crop
        (k, 3, h, w), and the weight of each (k,).
    note
        What was done, in words.
    """

    name: str
    pixels: Tensor
    light: Tensor
    grid: Grid | None
    points: Tensor
    starts: Tensor
    weight: Tensor
    note: str

    def channel(self, c: int) -> Channel:
        """One channel, ready to be carried back."""
        assert self.grid is not None
        mean = torch.tensordot(self.weight, self.points[:, c].double(), 1)
        moved = self.pixels[..., c].double() / 255 - mean
        return Channel(self.grid, moved, self.light[c], self.starts[:, c], self.weight)


def look(sources: Sequence[Source], eye: Lens, baseline: Any, seed: int) -> list[View]:
    """Open pictures and bring them, and their baselines, to the model's crop.

    Raises
    ------
    InputError
        A picture that cannot be read, or crops of unequal sizes.
    """
    grids: dict[Any, Grid | None] = {}
    views: list[View] = []
    for i, source in enumerate(sources):
        name, picture = opened(source, i)
        light = eye.light(picture)
        key = picture.size, (light.shape[1], light.shape[2])
        if key not in grids:
            grids[key] = grid_of(eye, *key)
        canvas = light if eye.own else light_of(picture)
        points, weight = begin(baseline, canvas, seed)
        brought = _bring(eye, grids[key], canvas, light, points)
        views.append(
            View(name, brought[0], light, grids[key], points, brought[1], weight, brought[2])
        )
        _refuse_sizes(views[0], views[-1])
    return views


def begin(baseline: Any, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A baseline of one picture (3, H, W): points (k, 3, H, W) float32, and their weights (k,)."""
    curves = as_baseline(baseline)((x[None].float(),), torch.arange(1), seed)
    (points,) = curves.start.take(torch.arange(len(curves)))
    return points, curves.weight


def _bring(
    eye: Lens, grid: Grid | None, canvas: Tensor, light: Tensor, points: Tensor
) -> tuple[Tensor, Tensor, str]:
    """The pixels to show, the baseline's points on the crop, and a note."""
    if grid is not None:
        note = (
            f"explained on the {_size(light)} crop the model sees, carried back to {_size(canvas)}"
        )
        return bytes_of(canvas), torch.stack([grid.down(p) for p in points]), note
    if eye.own:
        return (
            _stretched(light, light),
            points,
            f"on the processor's own {_size(light)} grid, in its own units",
        )
    starts = torch.stack([eye.light(Image.fromarray(bytes_of(p).numpy())) for p in points])
    who = type(eye.process).__name__
    note = f"on the {_size(light)} grid the model sees: {who} does more than resize and crop"
    return bytes_of(light), starts, note


def shown(view: View, eye: Lens) -> Tensor:
    """The baseline as a picture like `view.pixels`, its first sample: (H, W, 3) uint8."""
    if eye.own:
        return _stretched(view.points[0], view.light)
    return bytes_of(view.points[0] if view.grid is not None else view.starts[0])


def _stretched(light: Tensor, like: Tensor) -> Tensor:
    """Numbers in units of their own as pixels, `like` from black to white."""
    return bytes_of((light - like.min()) / (like.max() - like.min()).clamp(min=1e-9))


def _refuse_sizes(first: View, last: View) -> None:
    if first.light.shape != last.light.shape:
        raise InputError(
            f"the processor makes {first.name} {_size(first.light)} and {last.name} "
            f"{_size(last.light)}; expected crops of one size. Explain them in calls of their own."
        )


def several(pictures: Source | Sequence[Source]) -> Sequence[Source]:
    """One picture or many, as many."""
    found = [pictures] if isinstance(pictures, str | PathLike | Image.Image) else list(pictures)
    if not found:
        raise InputError("there are no pictures; expected file names or PIL pictures, one or more.")
    return found


def opened(source: Source, i: int) -> tuple[str, Image.Image]:
    """A picture's name and its pixels, upright and RGB.

    Raises
    ------
    InputError
        Not a picture, not readable, or too large; the file is named.
    """
    if not isinstance(source, Image.Image | str | PathLike):
        raise InputError(
            f"picture {i} is a {type(source).__name__}; expected a file name or a PIL picture."
        )
    path = getattr(source, "filename", "") if isinstance(source, Image.Image) else source
    name = Path(path).name if path else f"picture {i}"
    try:
        return name, _read(source, name)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"there is no picture {source}; name a file that exists.") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        said = f"{type(error).__name__}: {error}"
        raise InputError(f"{name} cannot be read as a picture ({said}); is it one?") from error


def _read(source: Source, name: str) -> Image.Image:
    if isinstance(source, Image.Image):
        return _upright(source, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
        with Image.open(source) as picture:
            return _upright(picture, name)


def _upright(picture: Image.Image, name: str) -> Image.Image:
    """Turned by its EXIF tag, RGB, what is transparent on white: as processors do."""
    width, height = picture.size
    if width * height > LARGEST:
        raise InputError(
            f"{name} has {width} x {height} pixels, above {LARGEST:,}; make it smaller first, e.g. "
            f"picture.thumbnail((2000, 2000))."
        )
    picture = ImageOps.exif_transpose(picture)
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _size(light: Tensor) -> str:
    return f"{light.shape[-1]} x {light.shape[-2]}"

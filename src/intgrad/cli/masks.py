"""Where the truth lies in pictures: masks from a folder, brought to the crop that the model sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import intgrad as ig


def masks_of(folder: Path, paths: Sequence[Path], eye: Any) -> Tensor:
    """A mask for each picture: (rows, h, w) bool, of the pixels that are mostly inside.

    In a mask 0 is outside and every other number inside, as in maps of labels. That of ``cat.jpg`` is
    ``cat_mask.*`` or ``cat.*``, and of the picture's size.

    Raises
    ------
    InputError
        No folder, no mask for a picture or more than one, another size, nothing inside.
    """
    if not folder.is_dir():
        raise ig.InputError(
            f"--masks {folder} is no folder; expected one with a mask for every picture."
        )
    return torch.stack([mask_of(folder, path, eye) for path in paths])


def mask_of(folder: Path, path: Path, eye: Any) -> Tensor:
    """The mask of one picture, (h, w) bool."""
    from PIL import Image

    from intgrad.image.view import opened

    found = sorted(folder.glob(f"{_plain(path.stem)}_mask.*")) or [
        p for p in sorted(folder.glob(f"{_plain(path.stem)}.*")) if not p.samefile(path)
    ]
    if len(found) != 1:
        named = ", ".join(p.name for p in found) or "none"
        raise ig.InputError(
            f"masks of {path.name} in {folder}: {named}; expected one, {path.stem}_mask.png or "
            f"{path.stem}.png."
        )
    (_, picture), (_, mask) = opened(path, 0), opened(found[0], 0)
    if mask.size != picture.size:
        raise ig.InputError(
            f"{found[0].name} has {mask.size[0]} x {mask.size[1]} pixels and {path.name} "
            f"{picture.size[0]} x {picture.size[1]}; expected a mask of the picture's size."
        )
    inside = mask.convert("L").point(lambda level: 255 if level else 0)
    seen = eye.light(Image.merge("RGB", [inside] * 3)).mean(0) > 0.5
    if not bool(seen.any()):
        raise ig.InputError(
            f"{found[0].name} has nothing inside on the crop that the model sees; in a mask 0 is "
            f"outside, and every other number inside."
        )
    return seen


def _plain(stem: str) -> str:
    """A name as a pattern that means itself."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)

"""The colours: orange speaks for, blue pulls away, in a light and a dark scheme.

Orange and blue stay apart for every common kind of colour blindness, and never carry a meaning
alone: words are underlined solid or dashed, numbers have signs. All text keeps a contrast of
4.5 : 1 on whatever it stands on; a test computes it for every pair.
"""

from __future__ import annotations

import torch
from torch import Tensor

POSITIVE = (230, 110, 10)
NEGATIVE = (33, 130, 220)
WORD = 0.6  # opacity behind the strongest word: more would cost the text its contrast

LIGHT = {
    "paper": "#f6f7f9",
    "card": "#ffffff",
    "ink": "#1b1f26",
    "muted": "#545d6b",
    "line": "#dce0e6",
    "link": "#0a5aa8",
    "good": "#17653a",
    "good-back": "#e3f4ea",
    "bad": "#a1220f",
    "bad-back": "#fdeae6",
}
DARK = {
    "paper": "#101318",
    "card": "#181c23",
    "ink": "#e9edf3",
    "muted": "#a5afbd",
    "line": "#303743",
    "link": "#7fbcf5",
    "good": "#8fdcae",
    "good-back": "#15301f",
    "bad": "#ffab9c",
    "bad-back": "#3f1a14",
}


def sides(strength: Tensor) -> Tensor:
    """The colour of each side, (height, width) -> (height, width, 3) float."""
    pair = torch.tensor([NEGATIVE, POSITIVE], dtype=torch.float64)
    return pair[(strength > 0).long()]


def heat(strength: Tensor) -> Tensor:
    """Paint strengths in [-1, 1]: the side's colour, as opaque as the strength; RGBA uint8.

    What is weak is transparent, so the same picture stands on light and on dark paper.
    """
    painted = torch.cat([sides(strength), 255 * strength.abs()[..., None]], -1)
    return painted.round().to(torch.uint8)


def overlay(strength: Tensor, pixels: Tensor) -> Tensor:
    """Paint strengths over the picture in pale greys, so that only the heat has colour; RGB uint8."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    grey = 255 - 0.65 * (255 - pixels.double() @ weights)
    opaque = strength.abs()[..., None]
    mixed = grey[..., None] * (1 - opaque) + sides(strength) * opaque
    return mixed.round().to(torch.uint8)

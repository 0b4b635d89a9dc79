"""Draw what the paths of one photo attribute, and print the table that the documentation quotes.

INTGRAD_DATA=... python docs/make_path_pictures.py [paths] [scales]

Needs the photos and checkpoints in the folder that INTGRAD_DATA names (or shared/data beside the
repository); some minutes on one core.
"""

from __future__ import annotations

import os
import sys
import time
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

import intgrad as ig
from intgrad import hub, image
from intgrad.report import colour
from intgrad.report.picture import flat, pool, strongest
from intgrad.subject import Picture

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("INTGRAD_DATA") or HERE.parent.parent / "shared" / "data")
PHOTO = DATA / "imagenet_photos" / "named" / "bird.jpg"
BOX = (0, 0, 343, 343)  # of the photo
SIDE, MARGIN = 256, 16  # the network looks at all but the margin
CELL = 4  # pixels added up for a dot of the map, either way
PALE = 0.55  # how much of the photo shows beneath it
RULE = ig.Automatic(0.03)  # 5 % on the photo's own pixels
SCALES = (12.0, 4.0, 1.0)
RECIPES = {
    "integrated gradients": ig.methods.integrated_gradients(quadrature=RULE),
    "guided IG": ig.methods.guided_ig(quadrature=RULE),
    "spectral IG": ig.methods.spectral_ig(quadrature=RULE),
    "IDGI": ig.methods.idgi(quadrature=RULE),
    "blur IG": ig.methods.blur_ig(quadrature=RULE),
}


def explained(recipe: ig.Recipe) -> ig.Attribution:
    """The bird by one recipe."""
    net = hub.load(str(DATA / "hf" / "mobilenet_v1_075"))
    photo = Image.open(PHOTO).convert("RGB").crop(BOX).resize((SIDE, SIDE))
    (found,) = image.explain(net.model, net.processor, photo, recipe=recipe, labels=net.labels)
    return found


def seen(pixels: Tensor) -> Tensor:
    """What the network looks at."""
    return pixels[MARGIN:-MARGIN, MARGIN:-MARGIN]


def photo_of(a: ig.Attribution) -> Tensor:
    """The picture that was explained, (height, width, 3)."""
    (picture,) = a.subjects
    assert isinstance(picture, Picture)
    return seen(picture.pixels)


def heat(a: ig.Attribution) -> Tensor:
    """Its map over it, (height, width, 3)."""
    sums = pool(seen(flat(a.values)), CELL)
    strength = (sums / strongest(sums)).clamp(-1, 1)
    dots = strength.repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)
    return colour.overlay(dots, 255 - PALE * (255 - photo_of(a).double()))


def told(name: str, a: ig.Attribution, seconds: float) -> str:
    """A line of the table: what it cost, and how much of it cancels."""
    values = flat(a.values)
    cells = (
        name,
        f"{float(a.evaluations):.0f}",
        f"{seconds:.0f}",
        f"{100 * float(a.error):.1f} %",
        f"{float(a.output - a.baseline_output):.1f}",
        f"{float(values.sum()):.1f}",
        f"{float(values.abs().sum()):.0f}",
    )
    return f"| {' | '.join(cells)} |"


def beside(shown: dict[str, Tensor], columns: int) -> Figure:
    """Pictures in rows of so many, each with its name."""
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.65 * rows), layout="constrained")
    for axis, (name, pixels) in zip(
        figure.subplots(rows, columns).flat, shown.items(), strict=True
    ):
        axis.imshow(pixels.numpy())
        axis.set_title(name, fontsize="small")
        axis.set_axis_off()
    return figure


def save(figure: Figure, name: str) -> None:
    """A figure as a small PNG."""
    held = BytesIO()
    figure.savefig(held, format="png", dpi=90)
    found = Image.open(held).convert("RGB").quantize(160, kmeans=2, dither=Image.Dither.NONE)
    path = HERE / "pictures" / f"{name}.png"
    found.save(path, optimize=True)
    print(f"{path.relative_to(HERE.parent)}: {path.stat().st_size / 1000:.0f} kB\n")


def paths() -> None:
    """The photo, and what five methods make of it."""
    shown: dict[str, Tensor] = {}
    print("| method | evaluations | seconds | error | f(x) - f(baseline) | sum | sum of sizes |")
    print("|---|---|---|---|---|---|---|")
    for name, recipe in RECIPES.items():
        began = time.perf_counter()
        a = explained(recipe)
        print(told(name, a, time.perf_counter() - began))
        shown = shown or {f"chickadee, {float(a.output):.1f}": photo_of(a)}
        shown[name] = heat(a)
    save(beside(shown, 3), "paths")


def scales() -> None:
    """What each stretch of scales adds, from coarse to fine."""
    a = explained(ig.methods.blur_ig(scales=SCALES, quadrature=RULE))
    shown = {
        f"sigma {coarse:g} to {fine:g}: {float(flat(one.values).sum()):+.1f}": heat(one)
        for (coarse, fine), one in a.by_scale().items()
    }
    gain = float(a.output - a.baseline_output)
    print(f"f(x) - f(blurred) = {gain:.1f}; {float(a.evaluations):.0f} evaluations")
    save(beside(shown, len(shown)), "scales")


PICTURES = {"paths": paths, "scales": scales}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or PICTURES:
        PICTURES[wanted]()

"""Draw the pictures of the documentation, and print the tables that it quotes.

INTGRAD_DATA=... python docs/make_pictures.py [baselines] [photo] [questions]

Needs the photos and checkpoints in the folder that INTGRAD_DATA names (or shared/data beside the
repository); a few minutes on one core.
"""

from __future__ import annotations

import os
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

import intgrad as ig
from intgrad import hub, image, text
from intgrad.laboratory import summary

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("INTGRAD_DATA") or HERE.parent.parent / "shared" / "data")
PHOTOS = DATA / "imagenet_photos" / "named"
QUESTIONS = [
    "Who was Galileo ?",
    "What county is Modesto , California in ?",
    "How far is it from Denver to Aspen ?",
]


def photo(name: str, size: tuple[int, int] = (250, 166)) -> Image.Image:
    """A photo, small."""
    return Image.open(PHOTOS / f"{name}.jpg").convert("RGB").resize(size)


def light(name: str) -> torch.Tensor:
    """A photo as light from 0 to 1, (3, height, width)."""
    return torch.from_numpy(np.array(photo(name))).permute(2, 0, 1) / 255


def save(figure: Figure, name: str) -> None:
    """A figure as a small PNG."""
    held = BytesIO()
    figure.savefig(held, format="png", dpi=100)
    found = Image.open(held).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    path = HERE / "pictures" / f"{name}.png"
    found.save(path, optimize=True)
    print(f"{path.relative_to(HERE.parent)}: {path.stat().st_size / 1000:.0f} kB\n")


def baselines() -> None:
    """Every baseline of a picture, and what a network sees in it."""
    found = hub.load(str(DATA / "hf" / "mobilenet_v1_075"))
    others = torch.stack([light(n) for n in ("bird", "dragonfly", "owl", "parrot", "sunflower")])
    named = {
        "Zeros()": ig.Zeros(),
        "Constant(0.5)": ig.Constant(0.5),
        "Constant(1.0)": ig.Constant(1.0),
        "Blurred(20)": ig.Blurred(20),
        "Uniform()": ig.Uniform(samples=4),
        "Gaussian(0.5, 0.2)": ig.Gaussian(0.5, 0.2, samples=4),
        "Around(0.3)": ig.Around(0.3, samples=4),
        "Invert()": ig.Invert(),
        "Mean(photos)": ig.Mean(others),
        "Dataset(photos)": ig.Dataset(others, nearest=1),
    }
    cat = photo("cat")
    quick = ig.GaussLegendre(4, rtol=1e9)  # the baselines are shown, not the attributions
    (report,) = image.baseline_report(
        found.model, found.processor, cat, baselines=named, labels=found.labels, quadrature=quick
    )
    figure = Figure(figsize=(9, 3.7), layout="constrained")
    axes = figure.subplots(2, 5).flat
    parts = zip(axes, report.names, report.pictures, report.standings, strict=True)
    for axis, name, pixels, said in parts:
        axis.imshow(pixels.numpy())
        seen = found.labels[int(said.top)].split(",")[0]
        axis.set_title(f"{name}\n{seen}, entropy {float(said.entropy):.2f}", fontsize=7)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_color("0.8")
    save(figure, "baselines")


def of_photo() -> None:
    """A photo of a cat under five baselines."""
    found = hub.load(str(DATA / "hf" / "mobilenet_v1_075"))
    named = {
        "black": ig.Zeros(),
        "white": ig.Constant(1.0),
        "grey": ig.Constant(0.5),
        "blur": ig.Blurred(),
        "noise": ig.Uniform(samples=4),
    }
    (report,) = image.baseline_report(
        found.model,
        found.processor,
        PHOTOS / "cat.jpg",
        baselines=named,
        labels=found.labels,
        quadrature=ig.Automatic(0.03),
    )
    print(report)
    save(report.plot(), "laboratory-photo")


def of_questions() -> None:
    """Three questions under four baselines."""
    found = hub.load(str(DATA / "hf" / "trec_bert"))
    named = {"mask": text.Mask(), "pad": text.Pad(), "unk": text.Unknown()}
    named["zero"] = text.ZeroEmbedding()
    reports = text.baseline_report(
        found.model, found.processor, QUESTIONS, baselines=named, labels=found.labels
    )
    print(summary(reports))
    save(reports[-1].plot(), "laboratory-question")


PICTURES = {"baselines": baselines, "photo": of_photo, "questions": of_questions}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or PICTURES:
        PICTURES[wanted]()

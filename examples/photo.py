"""What in a photo made the network see a cat? A page and pictures with the answer.

python examples/photo.py CHECKPOINT PHOTO...

CHECKPOINT is a local directory with a Hugging Face image classifier. Without arguments the script
looks for one, and for photos, in the folder that INTGRAD_DATA names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import intgrad as ig
from intgrad import hub, image, report


def arguments() -> tuple[Path, list[Path]]:
    """The checkpoint and the photos, from the command line or from INTGRAD_DATA."""
    if len(sys.argv) > 2:
        return Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    data = Path(os.environ.get("INTGRAD_DATA", "data"))
    photos = [data / "imagenet_photos" / "named" / name for name in ("cat.jpg", "bird.jpg")]
    return data / "hf" / "mobilenet_v1_075", photos


def main() -> None:
    """Explain the predicted class of every photo."""
    checkpoint, photos = arguments()
    missing = [str(path) for path in (checkpoint, *photos) if not path.exists()]
    if missing:
        print(f"Skipped: there is no {missing[0]}. Name a checkpoint and photos, or INTGRAD_DATA.")
        return

    # A checkpoint is the model, its processor (how a photo becomes numbers) and its labels.
    found = hub.load(str(checkpoint))

    # Which pixels raised the logit of the predicted class, compared with a black photo? The rule is
    # given a tolerance and finds its nodes; 5 % of this network, with a kink in every unit, takes
    # some hundred gradients a photo.
    attributions = image.explain(
        found.model,
        found.processor,
        photos,
        baseline=ig.Zeros(),
        quadrature=ig.Automatic(rtol=0.05),
        labels=found.labels,
    )

    # One attribution a photo, in the photo's own pixels: values (1, 3, height, width).
    for a in attributions:
        label, probability = a.subjects[0].predictions[0]
        verdict = "converged" if a.converged.all() else "NOT converged, more nodes would help"
        print(f"{a.subjects[0].name}: {label} ({probability:.0%})")
        print(f"  values {tuple(a.values.shape)}, summing to {float(a.values.sum()):.3f}")
        print(f"  f(x) - f(black) = {float(a.output[0] - a.baseline_output[0]):.3f}")
        print(f"  error {float(a.error[0]):.1%} of the values' absolute sum: {verdict}")
        print(f"  it cost {float(a.evaluations[0]):.0f} gradients")

    folder = Path("photo-report")
    report.save_pngs(attributions, folder)
    report.page(attributions, folder / "report.html", title="Photos, explained")
    print(f"Open {folder / 'report.html'} in a browser.")


if __name__ == "__main__":
    main()

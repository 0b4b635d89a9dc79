"""The checks by name: each looks at a `Task` and says what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from intgrad.audit import measures
from intgrad.audit.asking import explained
from intgrad.audit.axioms import axioms
from intgrad.audit.consistency import CScore
from intgrad.audit.duplicates import duplicates
from intgrad.audit.finding import Finding
from intgrad.audit.interval import half_width
from intgrad.audit.measures import compared
from intgrad.audit.randomisation import (
    Dependence,
    class_randomisation,
    dependence,
    label_randomisation,
    randomised,
)
from intgrad.audit.stability import noise_stability, sensitivity_max
from intgrad.audit.task import Task, measured
from intgrad.baseline import Zeros, as_baseline
from intgrad.errors import InputError

Check = Callable[[Task], Finding]

SAMPLES = 4  # noisy copies: each is a call of explain, and of the gradient
SHUFFLES = 5  # of the weights: a single one may happen to see the same colours
SAME = 0.95  # rank correlation above which two classes have the same map
FEW = 1000  # units: among more, equal values are chance
SHARE = 0.01  # of a map, held by units with equal values


# -------------------------------------------------------------------------------- stability


def steady(name: str, metric: Callable[..., Tensor], high: bool) -> Check:
    """Whether the map moves more than the gradient's does, where x moves a little."""

    def check(task: Task) -> Finding:
        asked = {"method": task.explain, "gradient": task.by_gradient}
        how = {"samples": SAMPLES, "seed": task.seed}
        scores = {
            who: metric(f, task.model, task.x, task.target, **how) for who, f in asked.items()
        }
        return measured(name, scores, high, "gradient")

    return check


def of_model(task: Task) -> Finding:
    """Whether the map survives shuffles of the model's weights."""
    assert isinstance(task.model, nn.Module)
    found = [
        dependence(
            task.values,
            explained(task.explain, randomised(task.model, task.seed + k), task.x, task.target),
            seed=task.seed + k,
        )
        for k in range(SHUFFLES)
    ]
    means = torch.tensor([f.mean for f in found], dtype=torch.float64).nan_to_num()
    allowed = max(found[0].chance, half_width(means))
    note = (
        f"mean rank correlation with the maps of {SHUFFLES} models with shuffled weights; allowed is what "
        f"chance makes of maps so smooth once in a hundred, or of {SHUFFLES} shuffles once in twenty."
    )
    together = Dependence(
        torch.stack([f.correlation for f in found]).mean(0),
        torch.stack([f.magnitude for f in found]).mean(0),
        allowed,
    )
    return _dependent("model_randomisation", together, abs(float(means.mean())), allowed, note)


def of_labels(task: Task) -> Finding:
    """Whether the map survives a training on shuffled labels."""
    assert task.shuffled is not None
    found = label_randomisation(
        task.explain, task.model, task.shuffled, task.x, task.target, seed=task.seed
    )
    note = "mean rank correlation with the maps of the model that learned shuffled labels."
    return _dependent("label_randomisation", found, abs(found.mean), found.chance, note)


def of_class(task: Task) -> Finding:
    """Whether the map is the same for the class that comes second."""
    assert task.scores is not None
    order = task.scores.argsort(1, descending=True)
    other = torch.where(order[:, 0] == task.target, order[:, 1], order[:, 0])
    found = class_randomisation(
        task.explain, task.model, task.x, task.target, other, seed=task.seed
    )
    note = (
        "mean rank correlation with the maps of the model's next best class; 1 ignores the class."
    )
    return _dependent("class_randomisation", found, max(0.0, found.mean), SAME, note)


def _dependent(name: str, found: Dependence, size: float, allowed: float, note: str) -> Finding:
    if bool(found.correlation.isnan().all()):
        return Finding(
            name, float("nan"), 0.0, note="every map is constant, and correlates with nothing."
        )
    sizes = found.correlation.abs().nan_to_num(-1.0)
    row = int(sizes.argmax())
    worst = {
        "row": row,
        "correlation": float(found.correlation[row]),
        "of magnitudes": float(found.magnitude[row]),
    }
    return Finding(name, size, allowed, worst, note)


# -------------------------------------------------------------------------------- agreement


def c_score(task: Task) -> Finding:
    """Whether maps of one class share more than maps of different ones."""
    assert task.scores is not None
    sure = task.scores.double().softmax(1).gather(1, task.target[:, None])[:, 0]
    found = CScore().add(task.units, task.target, sure).result()
    gap = found.between - found.within
    k = int(gap.nan_to_num(-torch.inf).argmax())
    worst = {
        "class": int(found.classes[k]),
        "row": int((task.target == found.classes[k].to(task.target.device)).nonzero()[0]),
        "within": float(found.within[k]),
        "between": float(found.between[k]),
    }
    note = f"how much less maps share within a class ({found.score:.3g}) than across classes."
    return Finding("c_score", max(0.0, -found.contrast), 0.0, worst, note)


def equal(task: Task) -> Finding:
    """How much of a map is held by units with equal values."""
    found = duplicates(task.units)
    row = int(found.share.argmax())
    worst = {"row": row, "units": list(found.groups[row][0]) if found.groups[row] else []}
    note = "largest share of a map held by units whose values are equal."
    return Finding("duplicates", float(found.share[row]), SHARE, worst, note)


# ----------------------------------------------------------------------------------- axioms

AXIOMS = {
    "completeness": "completeness",
    "sensitivity": "sensitivity",
    "dummy": "dummy",
    "implementation_invariance": "invariance",
    "linearity": "linearity",
    "symmetry": "symmetry",
    "affine_scale_invariance": "scale",
    "proportionality": "proportionality",
    "positivity": "positivity",
    "symmetric_monotonicity": "monotonicity",
    "rows_apart": "rows_apart",
}  # what an axiom is called here: the function of `intgrad.audit.axioms`


def axiom(name: str) -> Check:
    """A check that asks whether the method keeps an axiom."""

    def check(task: Task) -> Finding:
        how = {"seed": task.seed, "baseline": starts(task.baseline, task.seed)}
        (found,) = axioms(task.explain, task.model, task.x, task.target, [AXIOMS[name]], **how)
        return replace(found, check=name)

    return check


def starts(baseline: Any, seed: int) -> Any:
    """A baseline of `intgrad.attribute` as the axioms take it: zeros, or a function from a row."""
    if baseline is None or isinstance(baseline, Zeros):
        return None

    def points(row: Tensor) -> Tensor:
        curves = as_baseline(baseline)((row,), torch.arange(1), seed)
        return curves.start.take(torch.arange(len(curves)))[0].to(row)

    return points


# ------------------------------------------------------------------------------- the list

CHECKS: dict[str, Check] = {
    **{name: axiom(name) for name in AXIOMS},
    "deletion": compared("deletion", measures.area("deletion"), high=False),
    "insertion": compared("insertion", measures.area("insertion"), high=True),
    "lerf": compared("lerf", measures.area("insertion"), high=True),
    "aopc": compared("aopc", measures.fall, high=True),
    "abpc": compared("abpc", measures.between, high=True),
    "road": compared("road", measures.road, high=False),
    "infidelity": compared("infidelity", measures.infidelity, high=False),
    "monotonicity": compared("monotonicity", measures.monotonicity, high=True),
    "pointing_game": compared("pointing_game", measures.pointing_game, high=True),
    "sensitivity_max": steady("sensitivity_max", sensitivity_max, high=False),
    "noise_stability": steady("noise_stability", noise_stability, high=True),
    "model_randomisation": of_model,
    "label_randomisation": of_labels,
    "class_randomisation": of_class,
    "c_score": c_score,
    "duplicates": equal,
}
USUAL = ("deletion", "insertion", "infidelity", "model_randomisation", "class_randomisation")


def why_not(name: str, task: Task) -> str | None:
    """Why a check does not apply; None where it does."""
    if name in AXIOMS:
        return _without_features(task)
    of_classes = isinstance(task.target, Tensor) and task.scores is not None
    moves = task.x.is_floating_point()
    reasons = {
        "road": None if moves and task.x.ndim == 4 else "only a picture's pixels have neighbours.",
        "pointing_game": "no masks were given." if task.masks is None else None,
        "sensitivity_max": None if moves else "token ids do not move a little.",
        "noise_stability": None if moves else "token ids do not move a little.",
        "model_randomisation": (
            None if isinstance(task.model, nn.Module) else "the model's weights are out of reach."
        ),
        "label_randomisation": (
            "no model trained on shuffled labels was given." if task.shuffled is None else None
        ),
        "class_randomisation": None if of_classes else "the target is no class.",
        "c_score": _without_classes(task) if of_classes else "the target is no class.",
        "duplicates": (
            None
            if task.units[0].numel() <= FEW
            else f"of more than {FEW:,} units some are equal by chance."
        ),
    }
    return reasons.get(name)


def _without_features(task: Task) -> str | None:
    if not task.x.is_floating_point():
        return "token ids are no features that could be moved."
    if task.traced:
        return "the method asks the model where to start, so there is nothing to measure from."
    whole = task.values.shape == task.x.shape
    return None if whole else "the method sums channels, and an axiom speaks of every feature."


def _without_classes(task: Task) -> str | None:
    found = task.target.unique(return_counts=True)[1].tolist()
    if len(found) > 1 and max(found) > 1:
        return None
    return f"it needs two classes, one of them twice; these rows have {len(found)}."


def refuse_unknown(names: Sequence[str], known: Sequence[str], what: str) -> None:
    """Offer the nearest names where there is no such check."""
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 3) or list(known)
            raise InputError(f"{what}: {name!r} is no check; expected some of {', '.join(near)}.")

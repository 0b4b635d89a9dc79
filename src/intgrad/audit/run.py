"""The audit of one method: checks by name, findings, thresholds, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from intgrad._types import plain
from intgrad.audit import checks as listed
from intgrad.audit.finding import Explain, Finding
from intgrad.audit.origin import asks_the_model, origin
from intgrad.audit.removal import one_tensor
from intgrad.audit.task import Measured, Task, target_of
from intgrad.audit.thresholds import Threshold, Thresholds, read, thresholds_of
from intgrad.audit.units import as_mask
from intgrad.recipe import Recipe
from intgrad.subject import Subject

CHECKS = tuple(listed.CHECKS)


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found.

    Attributes
    ----------
    method
        Its name.
    findings
        One a check, in the order they were asked for.
    missed
        Each threshold that is not met, in words.
    values
        The method's map at x, as it was returned.
    units
        The same with channels summed.
    subjects
        What the rows are in words and pictures, if it was said.
    masks
        Where the truth lies, if it was said.
    """

    method: str
    findings: tuple[Finding, ...]
    missed: tuple[str, ...]
    thresholds: Thresholds
    values: Tensor
    units: Tensor
    subjects: tuple[Subject, ...] = ()
    masks: Tensor | None = None

    def __getitem__(self, check: str) -> Finding:
        """The finding of a check."""
        return next(f for f in self.findings if f.check == check)

    @property
    def passed(self) -> bool:
        """Whether every threshold is met; without thresholds there is nothing to miss."""
        return not self.missed

    def __str__(self) -> str:
        lines = [f"{self.method} on {len(self.values)} row(s)", *map(line, self.findings)]
        return "\n".join([*lines, *(f"not met: {why}" for why in self.missed)])

    def describe(self) -> dict[str, Any]:
        """As plain data for JSON: what is not a finite number is None."""
        return {
            "method": self.method,
            "rows": len(self.values),
            "findings": [told(f) for f in self.findings],
            "thresholds": {
                n: {k: v for k, v in vars(t).items() if v is not None}
                for n, t in self.thresholds.items()
            },
            "missed": list(self.missed),
            "passed": self.passed,
        }

    def to_html(self, path: str | PathLike[str] | None = None, title: str | None = None) -> str:
        """The same as a page, with the worst rows drawn; written to `path` if one is given."""
        from intgrad.report.audits import page

        return page(self, path, title)


def run(
    model: Callable[..., Any],
    x: Tensor,
    method: Recipe | Explain | None = None,
    *,
    checks: Sequence[str] | None = None,
    target: Any = None,
    baseline: Any = None,
    **how: Any,
) -> Audit:
    """Ask whether a method's explanations of a model are sound.

    Parameters
    ----------
    model
        Any callable on tensors, in evaluation mode; left as it was.
    x
        One tensor, rows first. The more rows, the narrower the intervals.
    method
        A recipe of `intgrad.methods` (integrated gradients by default), or anybody's function
        ``(model, x, target) -> values``, like x or with the channels of pictures summed.
    checks
        Names of `intgrad.audit.CHECKS`, ``"all"`` of them, or by default a few that are cheap and those
        of the thresholds, of masks and of a shuffled model. One that does not apply says why, with a
        size of NaN.
    target
        A class, one a row, or a function of the output; the predicted class by default.
    baseline
        Where the method starts, as in `intgrad.attribute`: of a recipe its own by default. The gradient
        it is compared with starts there too; what is removed becomes the mean, where it is several points.
    **how
        ``absent=`` what stands for a removed unit, the baseline by default: another one is fairer.
        ``masks=`` where the truth lies, shaped like the units, for ``pointing_game``. ``shuffled=`` the
        same network trained on shuffled labels, for ``label_randomisation``. ``thresholds=`` a mapping,
        or the path of a TOML file. ``subjects=`` what the rows are, for the report; ``name=`` of the
        method; ``seed=``; ``width=`` rows a call of the model.

    Returns
    -------
    Audit
        Prints as a table. Each metric of faithfulness costs what its page says, three times: for the
        method, a random map, and the model's gradient. ``sensitivity_max`` and ``noise_stability`` ask
        the method five times each, the randomisations twice.

    Raises
    ------
    InputError, ModelError
        An unknown check, a threshold for one, masks of another size, an explain function that returns
        another shape, NaN, or changes the model: a sentence each.

    Notes
    -----
    No check proves an explanation right. Those of removal compare methods under one way of removing;
    a random map is a low bar, and a method below it is not sound on these inputs.
    """
    asked = _Options(**how)
    named = _thresholds(asked.thresholds)
    wanted = _wanted(checks, named, asked)
    x = plain(one_tensor(x))
    explain = as_explain(method, baseline, asked.width, asked.seed)
    own = method if baseline is None and isinstance(method, Recipe) else None
    start = baseline if own is None else origin(own)
    task = Task(
        explain,
        model,
        x,
        target_of(model, x, target),
        start,
        asked.absent,
        asked.masks,
        asked.shuffled,
        asked.seed,
        asked.width,
        traced=own is not None and asks_the_model(own),
    )
    if asked.masks is not None:
        as_mask(asked.masks, task.units.shape, "masks")
    findings = tuple(f for name in wanted for f in found(name, task))
    missed = (named[f.check].missed(f) for f in findings if f.check in named)
    return Audit(
        asked.name or name_of(method),
        findings,
        tuple(why for why in missed if why),
        named,
        task.values.cpu(),
        task.units.cpu(),
        tuple(asked.subjects),
        asked.masks,
    )


@dataclass(frozen=True)
class _Options:
    absent: Any = None
    masks: Tensor | None = None
    shuffled: Callable[..., Any] | None = None
    thresholds: Any = None
    subjects: Sequence[Subject] = ()
    name: str | None = None
    seed: int = 0
    width: int | None = None


def found(name: str, task: Task) -> list[Finding]:
    """What a check finds, or why it does not apply."""
    why = listed.why_not(name, task)
    if why is not None:
        return [Finding(name, float("nan"), 0.0, note=why)]
    return [listed.CHECKS[name](task)]


def as_explain(
    method: Recipe | Explain | None, baseline: Any = None, width: int | None = None, seed: int = 0
) -> Explain:
    """A method as a function of (model, x, target)."""
    recipe = Recipe() if method is None else method
    if not isinstance(recipe, Recipe):
        return recipe
    own = recipe if baseline is None else recipe.but(baseline=baseline)

    def explain(model: Any, x: Tensor, target: Any) -> Any:
        return own(model, x, target=target, width=width, seed=seed)

    return explain


def name_of(method: Recipe | Explain | None) -> str:
    """What a method is called."""
    if method is None or isinstance(method, Recipe):
        return (method or Recipe()).name
    return str(getattr(method, "__name__", type(method).__name__))


def line(finding: Finding) -> str:
    """A finding in one line."""
    if not finding.applies:
        return f"  {finding.check}: does not apply: {finding.note}"
    verdict = "holds" if finding.holds else "BROKEN"
    said = f"  {finding.check}: {verdict}, size {finding.size:.3g}, allowed {finding.allowed:.3g}"
    if isinstance(finding, Measured):
        said += "; " + ", ".join(f"{who} {finding.mean(who):.3g}" for who in finding.scores)
    return said


def told(finding: Finding) -> dict[str, Any]:
    """A finding as plain data."""
    said: dict[str, Any] = {
        "check": finding.check,
        "size": plain_number(finding.size),
        "allowed": plain_number(finding.allowed),
        "holds": finding.holds if finding.applies else None,
        "worst": {k: plain_number(v) for k, v in finding.worst.items()},
        "note": finding.note,
    }
    if isinstance(finding, Measured):
        said |= {"better": "high" if finding.high else "low", "against": finding.against}
        said["scores"] = {
            who: {
                "mean": plain_number(finding.mean(who)),
                "interval": plain_number(finding.interval(who)),
                "rows": [plain_number(v) for v in scores.tolist()],
            }
            for who, scores in finding.scores.items()
        }
    return said


def plain_number(value: Any) -> Any:
    """What JSON can hold: NaN and infinity are None, tensors lists, other things their text."""
    if isinstance(value, Tensor):
        return plain_number(value.tolist())
    if isinstance(value, list | tuple):
        return [plain_number(v) for v in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if torch.isfinite(torch.tensor(value)) else None
    return str(value)


def _thresholds(asked: Any) -> dict[str, Threshold]:
    if asked is None:
        return {}
    return thresholds_of(asked, CHECKS) if isinstance(asked, Mapping) else read(asked, CHECKS)


def _wanted(checks: Sequence[str] | None, named: Thresholds, asked: _Options) -> list[str]:
    if checks is None:
        pointing = () if asked.masks is None else ("pointing_game",)
        labels = () if asked.shuffled is None else ("label_randomisation",)
        return list(dict.fromkeys((*listed.USUAL, *pointing, *labels, *named)))
    names = [checks] if isinstance(checks, str) else list(checks)
    if names == ["all"]:
        return list(CHECKS)
    listed.refuse_unknown(names, CHECKS, "checks")
    return list(dict.fromkeys((*names, *named)))

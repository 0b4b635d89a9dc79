"""Checkpoints: a model with what turns pictures or texts into its input, and the names of its classes.

Weights are read from safetensors files alone, and no code that lies beside them is ever run.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from intgrad.errors import InputError, IntgradError, TargetError

try:
    from transformers import (
        CONFIG_MAPPING,
        AutoImageProcessor,
        AutoModelForImageClassification,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        PretrainedConfig,
    )
    from transformers.utils.logging import (
        disable_progress_bar,
        enable_progress_bar,
        is_progress_bar_enabled,
    )
except ImportError as error:
    raise ImportError('intgrad.hub needs transformers: pip install "intgrad[text]"') from error

Kind = Literal["image", "text"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A classifier, ready to be explained.

    Attributes
    ----------
    model
        In evaluation mode.
    processor
        An image processor, or a tokenizer.
    labels
        The names of the classes, in the order of the scores.
    kind
        ``"image"`` or ``"text"``: which front explains it.
    name
        What its user calls it.
    """

    model: Any
    processor: Any
    labels: tuple[str, ...]
    kind: Kind
    name: str


def load(name: str) -> Checkpoint:
    """Load a classifier of pictures or texts.

    Parameters
    ----------
    name
        A directory that transformers wrote; a hub id ``owner/name``; or ``package.module:factory``,
        a function of your own that returns a `Checkpoint`, found from the current directory as
        ``python -m`` would.

    Raises
    ------
    InputError
        Nothing there, no network, weights that are pickled or missing, code beside the weights, or
        a model that is no classifier of pictures or texts.
    """
    if re.fullmatch(r"[\w.]+:\w+", name) and not Path(name).exists():
        return _made(*name.split(":"))
    place = Path(name).expanduser()
    if name and place.is_dir():
        _refuse_files(place)
        return _pretrained(str(place), place.resolve().name)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise InputError(
            f"{name!r} is no directory; expected one, a hub id such as 'owner/name', or "
            f"'package.module:factory'."
        )
    return _pretrained(name, name)


def find_class(labels: Sequence[str], wanted: str) -> int:
    """The class a user means, by its number or its name.

    A number is an index. A name is compared without regard to case: with whole labels, then with
    what stands between a label's commas, then as a part that one label alone has.

    Raises
    ------
    TargetError
        No such class, or several; the nearest are named.
    """
    wanted = wanted.strip()
    if wanted.isdecimal() and int(wanted) < len(labels):
        return int(wanted)
    found = _named(labels, wanted.casefold())
    if len(found) == 1:
        return found[0]
    some = ", ".join(f"{labels[i]!r} ({i})" for i in (found or _nearest(labels, wanted))[:5])
    if found:
        raise TargetError(
            f"{wanted!r} names {len(found)} classes: {some}. Say which by its number."
        )
    raise TargetError(
        f"{wanted!r} is not a class: there are {len(labels)}, counted 0 to {len(labels) - 1}, among "
        f"them {some}."
    )


def _named(labels: Sequence[str], key: str) -> list[int]:
    """The classes of that name, by the strictest reading that finds one."""
    names = [label.casefold() for label in labels]
    readings: list[Callable[[str], bool]] = [
        lambda n: n == key,
        lambda n: key in n.split(", "),
        lambda n: bool(key) and key in n,
    ]
    for fits in readings:
        found = [i for i, n in enumerate(names) if fits(n)]
        if found:
            return found
    return []


def _nearest(labels: Sequence[str], wanted: str) -> list[int]:
    """The classes whose names look alike; the first few where none does."""
    names = {
        part: i for i, n in enumerate(labels) for part in (n.casefold(), *n.casefold().split(", "))
    }
    near = difflib.get_close_matches(wanted.casefold(), names, n=5, cutoff=0.5)
    return list(dict.fromkeys(names[n] for n in near)) or list(range(min(5, len(labels))))


# ---------------------------------------------------------------------- a function of the user's


def _made(module: str, factory: str) -> Checkpoint:
    """Call a factory the user named; this is the only code that is imported."""
    name = f"{module}:{factory}"
    with current_directory():
        try:
            function: Any = getattr(importlib.import_module(module), factory)
            made = function()
        except IntgradError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise InputError(f"{name} gave no checkpoint ({said}).") from error
    if not isinstance(made, Checkpoint) or made.kind not in ("image", "text"):
        got = f"kind {made.kind!r}" if isinstance(made, Checkpoint) else f"a {type(made).__name__}"
        raise InputError(
            f"{name} returned {got}; expected an intgrad.hub.Checkpoint of kind 'image' or 'text'."
        )
    return made


@contextmanager
def current_directory() -> Iterator[None]:
    """Look for modules where the user stands, first, for a while."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


# ---------------------------------------------------------------------- a pretrained one


AUTO: dict[str, tuple[Kind, Any, Any]] = {
    "ForImageClassification": ("image", AutoModelForImageClassification, AutoImageProcessor),
    "ForSequenceClassification": ("text", AutoModelForSequenceClassification, AutoTokenizer),
}


def _pretrained(source: str, name: str) -> Checkpoint:
    safe = {"trust_remote_code": False}
    with _quiet():
        config, _ = _try(source, lambda: PretrainedConfig.get_config_dict(source))
        _refuse_code(source, config)
        kind, auto, prepare = AUTO[_task(source, config)]
        load = lambda: auto.from_pretrained(  # noqa: E731
            source, use_safetensors=True, output_loading_info=True, **safe
        )
        model, told = _try(source, load)
        _refuse_missing(source, sorted(told["missing_keys"]))
        processor = _try(source, lambda: prepare.from_pretrained(source, **safe))
    names = model.config.id2label
    labels = tuple(str(names.get(i, f"class {i}")) for i in range(model.config.num_labels))
    return Checkpoint(model.eval(), processor, labels, kind, name)


def _try(source: str, read: Callable[[], Any]) -> Any:
    """Read something, and say in one sentence why it cannot be."""
    try:
        return read()
    except Exception as error:
        said = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        raise InputError(
            f"{source!r} cannot be loaded ({type(error).__name__}: {said.strip()}). Check the name, "
            f"the files, and for a hub id the network; weights must be safetensors."
        ) from error


def _refuse_files(place: Path) -> None:
    """A checkpoint's directory holds a configuration and safetensors."""
    if not (place / "config.json").is_file():
        raise InputError(
            f"{place} has no config.json; expected a directory that save_pretrained wrote."
        )
    if any(place.glob("*.safetensors")):
        return
    pickled = sorted(f.name for ending in ("bin", "pt", "pth") for f in place.glob(f"*.{ending}"))
    if pickled:
        raise InputError(
            f"{place} has only pickled weights ({pickled[0]}), which can run code when they are read; "
            f"convert them with model.save_pretrained(...), which writes safetensors."
        )
    raise InputError(f"{place} has no weights; expected model.safetensors.")


def _refuse_code(source: str, config: dict[str, Any]) -> None:
    """The model's code must be transformers' own."""
    kind = config.get("model_type")
    if kind in CONFIG_MAPPING:
        return
    if "auto_map" in config:
        raise InputError(
            f"{source} brings code of its own (auto_map), which is never run; import it yourself and "
            f"pass 'package.module:factory', a function that returns an intgrad.hub.Checkpoint."
        )
    raise InputError(
        f"{source} is of model_type {kind!r}, which this version of transformers does not know."
    )


def _task(source: str, config: dict[str, Any]) -> str:
    """What the model is for, by the name of its class."""
    names = [str(n) for n in config.get("architectures") or ()]
    found = [task for task in AUTO for name in names if name.endswith(task)]
    if not found:
        raise InputError(
            f"{source} is {', '.join(names) or 'of no named architecture'}; supported are classifiers "
            f"of pictures (...ForImageClassification) and texts (...ForSequenceClassification)."
        )
    return found[0]


def _refuse_missing(source: str, keys: Sequence[str]) -> None:
    """Weights that are not in the file would be random."""
    if keys:
        raise InputError(
            f"{source} lacks {len(keys)} weights of its model ({', '.join(keys[:3])}), which would be "
            f"random numbers; expected a checkpoint of the whole classifier."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, reports or advice while a checkpoint is read; then as it was."""
    loggers = [logging.getLogger(n) for n in ("transformers", "huggingface_hub")]
    levels, bars = [lg.level for lg in loggers], is_progress_bar_enabled()
    disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for lg in loggers:
                lg.setLevel(logging.ERROR)
            yield
    finally:
        for lg, level in zip(loggers, levels, strict=True):
            lg.setLevel(level)
        if bars:
            enable_progress_bar()

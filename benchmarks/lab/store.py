"""What is kept between runs, outside the repository: weights, references and measurements."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import intgrad as ig

Tensors = dict[str, Tensor]


def folder(*parts: str) -> Path:
    """A folder of the cache, made where it is not there; INTGRAD_BENCH_CACHE says where."""
    root = Path(
        os.environ.get("INTGRAD_BENCH_CACHE") or Path.home() / ".cache" / "intgrad-bench"
    ).joinpath(*parts)
    root.mkdir(parents=True, exist_ok=True)
    return root


def write(path: Path, tensors: Tensors, **facts: Any) -> None:
    """Tensors and facts into a safetensors file, whole or not at all."""
    half = path.with_suffix(f".{os.getpid()}")
    plain = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
    save_file(plain, half, {k: json.dumps(v) for k, v in facts.items()})
    half.replace(path)


def read(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """What `write` wrote; nothing where there is no file."""
    if not path.is_file():
        return {}, {}
    with safe_open(path, framework="pt") as file:
        facts = {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
        return {k: file.get_tensor(k) for k in file.keys()}, facts  # noqa: SIM118


def digest(tensors: Iterable[Tensor], *words: object) -> str:
    """A short name for some tensors and words, by their bytes."""
    total = hashlib.sha256(repr(words).encode())
    for tensor in tensors:
        flat = tensor.detach().cpu().contiguous()
        total.update(f"{flat.dtype}{tuple(flat.shape)}".encode())
        total.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


@cache
def code() -> str:
    """The commit whose rules are measured."""
    asked = ["git", "-C", str(Path(ig.__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def note(part: str, record: dict[str, Any]) -> None:
    """Add one line to the measurements of a part."""
    facts = {"day": date.today().isoformat(), "code": code(), "torch": torch.__version__}
    with (folder() / f"{part}.jsonl").open("a") as file:
        file.write(json.dumps({**record, **facts}) + "\n")


def noted(part: str) -> Iterator[dict[str, Any]]:
    """The measurements of a part, oldest first."""
    path = folder() / f"{part}.jsonl"
    if path.is_file():
        with path.open() as file:
            yield from (json.loads(line) for line in file)


def remembered(
    part: str, key: dict[str, Any], measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What is noted under this key; measured now, and noted, where nothing is."""
    for record in noted(part):
        if all(record.get(name) == value for name, value in key.items()):
            return record
    record = {**key, **measure()}
    note(part, record)
    return record


class OutOfTime(Exception):
    """The minutes given are over; what was done is kept, and the next run goes on from there."""


class Clock:
    """Minutes that a run may take."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def check(self) -> None:
        """Raise where they are over."""
        if time.monotonic() > self.end:
            raise OutOfTime

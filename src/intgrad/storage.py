"""Attributions in safetensors files: tensors, and the certificate as JSON in the metadata.

Nothing in such a file is executed when it is read. A file is written beside its destination and
renamed, so that a crash leaves the old file or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from intgrad._types import Structure, flatten
from intgrad.errors import InputError
from intgrad.recipe import Recipe
from intgrad.subject import Picture, Sentence

FORMAT = 1
NUMBERS = (
    "output", "baseline_output", "residual", "error", "floor", "forwards", "backwards",
    "evaluations", "converged",
)  # fmt: skip


def save(attributions: Sequence[Any], path: str | PathLike[str]) -> None:
    """Write attributions to one file.

    Raises
    ------
    InputError
        The folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; create it first.")
    tensors: dict[str, Tensor] = {}
    about = [_pack(a, f"{i}", tensors) for i, a in enumerate(attributions)]
    metadata = {"intgrad": json.dumps({"format": FORMAT, "attributions": about})}
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        own = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        save_file(own, beside, metadata)  # copies, for the format refuses shared memory
        beside.chmod(
            0o666 & ~_umask()
        )  # safetensors makes it private; it is as public as its folder
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _umask() -> int:
    """What this process takes from the mode of new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load(path: str | PathLike[str], kind: type, run: type) -> list[Any]:
    """Read the attributions of a file.

    Raises
    ------
    InputError
        Not a safetensors file, or not one that intgrad wrote.
    """
    try:
        with safe_open(path, "pt") as file:
            about = (file.metadata() or {}).get("intgrad")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read as a safetensors file: {error}.") from error
    try:
        found = json.loads(about or "null")
        if isinstance(found, dict) and found.get("format") == FORMAT:
            packed = enumerate(found["attributions"])
            return [_unpack(a, str(i), tensors, kind, run) for i, a in packed]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}.") from error
    raise InputError(f"{path} is no intgrad file of format {FORMAT}; write it with a.save(path).")


def _pack(a: Any, key: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    for name in NUMBERS:
        if getattr(a, name) is not None:
            tensors[f"{key}.{name}"] = getattr(a, name)
    point, structure = flatten(a.values, "values")
    wrong = () if a.error_map is None else flatten(a.error_map, "error_map")[0]
    tensors.update({f"{key}.values.{i}": p for i, p in enumerate(point)})
    tensors.update({f"{key}.error_map.{i}": p for i, p in enumerate(wrong)})
    return {
        "structure": [structure.kind, list(structure.keys), len(point), len(wrong)],
        "targets": list(a.targets),
        "rules": list(a.rules),
        "several": a.several,
        "recipe": a.recipe.describe(),
        "run": {**vars(a.run), "notes": list(a.run.notes)},
        "members": [_pack(m, f"{key}.member.{i}", tensors) for i, m in enumerate(a.members)],
        "subjects": [
            _pack_subject(s, f"{key}.subject.{i}", tensors) for i, s in enumerate(a.subjects)
        ],
    }


def _unpack(
    about: dict[str, Any], key: str, tensors: dict[str, Tensor], kind: type, run: type
) -> Any:
    shape, keys, size, wrong = about["structure"]
    structure = Structure(shape, tuple(keys))
    values = structure.close(tuple(tensors[f"{key}.values.{i}"] for i in range(size)))
    error = tuple(tensors[f"{key}.error_map.{i}"] for i in range(wrong))
    return kind(
        values=values,
        error_map=structure.close(error) if error else None,
        targets=tuple(about["targets"]),
        rules=tuple(about["rules"]),
        several=about["several"],
        recipe=Recipe.restore(about["recipe"]),
        run=run(**{**about["run"], "notes": tuple(about["run"]["notes"])}),
        subjects=tuple(_unpack_subject(s, tensors) for s in about["subjects"]),
        members=tuple(
            _unpack(m, f"{key}.member.{i}", tensors, kind, run)
            for i, m in enumerate(about.get("members", ()))
        ),
        **{n: tensors[f"{key}.{n}"] for n in NUMBERS if n != "residual"},
        residual=tensors.get(f"{key}.residual"),
    )


def _pack_subject(subject: Any, key: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    own = dict(vars(subject))
    if isinstance(subject, Picture):
        tensors[key] = own.pop("pixels")
        return {"kind": "picture", "pixels": key, **own}
    return {"kind": "sentence", **own}


def _unpack_subject(own: dict[str, Any], tensors: dict[str, Tensor]) -> Picture | Sentence:
    predictions = tuple((label, float(p)) for label, p in own["predictions"])
    if own["kind"] == "picture":
        return Picture(own["name"], tensors[own["pixels"]], predictions)
    lists = {k: tuple(own[k]) for k in ("tokens", "words", "word_of", "special")}
    return Sentence(own["name"], predictions=predictions, **lists)

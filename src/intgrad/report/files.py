"""Files appear whole or not at all: written beside their destination, then renamed."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from intgrad.errors import InputError


def write(path: str | PathLike[str], content: bytes) -> Path:
    """Write `content` so that a crash leaves the old file or the new one.

    Raises
    ------
    InputError
        The folder does not exist, or the file cannot be written there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; create it first.")
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise InputError(
            f"{path} cannot be written: {reason}. Choose a file in a folder you may write to."
        ) from error
    return path


def make_folder(folder: str | PathLike[str]) -> Path:
    """Create a folder, unless it is there.

    Raises
    ------
    InputError
        It cannot be created.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"the folder {folder} cannot be created: {reason}.") from error
    return folder

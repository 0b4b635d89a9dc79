"""Where data that are not in the repository are looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def data_root() -> Path:
    """INTGRAD_DATA, or ``shared/data`` beside the repository; it may not exist."""
    return Path(os.environ.get("INTGRAD_DATA") or REPOSITORY.parent / "shared" / "data")


@pytest.fixture(scope="session")
def data() -> Path:
    root = data_root()
    if not root.is_dir():
        pytest.skip(f"the test data are not at {root}; name their folder in INTGRAD_DATA.")
    return root

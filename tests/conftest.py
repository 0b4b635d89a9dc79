"""Where data that are not in the repository are looked for."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def data_root() -> Path:
    """INTGRAD_DATA, or ``shared/data`` beside the repository; it may not exist."""
    return Path(os.environ.get("INTGRAD_DATA") or REPOSITORY.parent / "shared" / "data")


def load_nets(root: Path) -> ModuleType:
    """The loaders that stand beside the data, under a name of their own."""
    spec = importlib.util.spec_from_file_location("data_nets", root / "nets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Left to itself, MKL's product of a few rows depends in its last bit on a row's place among them,
# and no rule could give a row the same bytes in every batch. Read at the first product.
os.environ.setdefault("MKL_CBWR", "COMPATIBLE")


@pytest.fixture(scope="session")
def data() -> Path:
    root = data_root()
    if not root.is_dir():
        pytest.skip(f"the test data are not at {root}; name their folder in INTGRAD_DATA.")
    return root

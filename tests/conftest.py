"""Where tests find the real data and the golden vectors that are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _folder(variable: str, name: str) -> Path:
    """The folder that ``variable`` names, else ``../shared/name``; absent, the test is skipped, or fails if it was named."""
    named = os.environ.get(variable)
    folder = Path(named) if named else ROOT.parent / "shared" / name
    if not folder.is_dir():
        reason = f"{folder} is not there; set {variable} to the folder with the {name} files"
        if named:
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data sets with published figures."""
    return _folder("SHORTLIST_DATA", "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Numbers computed by the authors' implementations."""
    return _folder("SHORTLIST_GOLDEN", "golden")

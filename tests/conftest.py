"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# As in the window's workers, before anything loads torch: waiting threads sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores

_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real volumes, or skip: it is not part of the project."""
    folder = Path(os.environ.get("NEUROPIL_DATA", _ROOT.parent / "shared" / "data"))
    if not (folder / "ac4_image.tif").is_file():
        pytest.skip(f"no real volumes in {folder} (set NEUROPIL_DATA to their folder)")
    return folder

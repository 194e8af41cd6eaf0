"""The examples run as a user runs them: each in a process of its own, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

_EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run_example(name: str, folder: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    done = subprocess.run(
        [sys.executable, str(_EXAMPLES / name)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_segment_walks_the_whole_way(tmp_path: Path) -> None:
    shown = run_example("segment.py", tmp_path)
    labels = tifffile.imread(tmp_path / "example.tif")
    assert labels.shape == (16, 160, 160)
    assert len(np.unique(labels)) > 5
    score = re.search(r"voi=([\d.]+)", shown)
    assert score is not None
    # One segment for all, or one for each fragment, is far worse than this.
    assert float(score.group(1)) < 3


def test_proofread_answers_the_queue_and_takes_it_back(tmp_path: Path) -> None:
    shown = run_example("proofread.py", tmp_path)
    assert re.search(r"(split|merge)_error at \(\d+, \d+, \d+\): 0\.\d+ bits", shown)
    assert "(taken back)" in shown


def test_every_example_is_run() -> None:
    assert {path.name for path in _EXAMPLES.glob("*.py")} == {"proofread.py", "segment.py"}


@pytest.mark.parametrize("path", sorted(_EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    code = path.read_text(encoding="utf-8").partition("\n\n")[2]
    statements = [line for line in code.splitlines() if line and not line.startswith("from ")]
    assert len(statements) <= 10

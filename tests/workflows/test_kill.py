"""A run killed without warning loses nothing but the blocks in flight."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_neuropil.project import Project
from napari_neuropil.workflows.requests import SegmentRequest
from napari_neuropil.workflows.segment import segment

_SCRIPT = """
import sys
from napari_neuropil.workflows.requests import SegmentRequest
from napari_neuropil.workflows.segment import segment
heard = 0
def report(progress):
    global heard
    heard += 1
    print(progress.stage, heard, flush=True)
    sys.stdin.readline()  # the test lets every step pass, or kills here
segment(SegmentRequest.model_validate_json(sys.argv[1]), report=report)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a POSIX signal")
def test_killed_run_resumes_to_the_same_bytes(
    tiny_checkpoint: Path, small_image: Path, tmp_path: Path
) -> None:
    request = SegmentRequest(
        image=f"{small_image}/image",
        project=str(tmp_path / "killed.neuropil"),
        checkpoint=str(tiny_checkpoint),
        device="cpu",
        block_shape=(8, 40, 64),
        settings={"smallest_fragment": 8, "seed_sigma": 1.0, "beta": 0.6},
    )
    wanted = segment(request.model_copy(update={"project": str(tmp_path / "whole.neuropil")}))
    steps_before_kill = np.random.default_rng(0).permutation([3, 12, 24]).tolist()
    for steps in steps_before_kill:
        child = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, request.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        )
        assert child.stdin is not None
        assert child.stdout is not None
        for _ in range(steps):
            if not child.stdout.readline():
                break
            child.stdin.write("\n")
            child.stdin.flush()
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdin.close()
        child.stdout.close()
        request = request.model_copy(update={"resume": True})
    found = segment(request)
    assert found.info.fingerprint == wanted.info.fingerprint
    np.testing.assert_array_equal(found.lookup, wanted.lookup)
    np.testing.assert_array_equal(
        np.asarray(Project.open(request.project).fragments.array[:, :, :]),
        np.asarray(wanted.fragments.array[:, :, :]),
    )

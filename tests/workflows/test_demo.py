"""The demo never takes away what somebody has edited."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.workflows import demo
from napari_neuropil.workflows.requests import SegmentRequest
from napari_neuropil.workflows.samples import SAMPLE_PROJECT, find_sample


class _AskedError(Exception):
    """Carries the project the demo would have made."""


def _asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    def stop(request: SegmentRequest, **_: Any) -> None:
        raise _AskedError(Path(request.project).name)

    monkeypatch.setattr(demo, "segment", stop)
    with pytest.raises(_AskedError) as asked:
        demo.run_demo(folder)
    return str(asked.value)


def test_an_edited_demo_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _asked_for(tmp_path, monkeypatch) == "sample.neuropil"
    project = shutil.copytree(find_sample(SAMPLE_PROJECT), tmp_path / "sample.neuropil")
    assert _asked_for(tmp_path, monkeypatch) == "sample.neuropil"
    with ProofreadingSession.open(project) as session:
        assert _asked_for(tmp_path, monkeypatch) == "sample-2.neuropil", "a window has it open"
        session.delete(int(session.segment_ids()[0]))
    assert _asked_for(tmp_path, monkeypatch) == "sample-2.neuropil"

"""The image that is prompted on, beside a project that somebody edits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.workflows.prompting.volume import open_prompt_volume


def test_segments_of_a_section_after_edits(make_project: Callable[..., Path]) -> None:
    fragments = np.zeros((3, 8, 16), np.uint64)
    fragments[:, :, :8], fragments[:, :, 8:] = 1, 2
    project = make_project(fragments)
    volume = open_prompt_volume(project.with_suffix(".zarr"), project=project)
    with volume.segments() as read:
        assert read is not None
        np.testing.assert_array_equal(read(1)[:, :], fragments[1])
    with ProofreadingSession.open(project) as session:
        session.merge(1, 2)
        merged = int(session.lookup[1])
        with volume.segments() as read:
            assert read is not None
            np.testing.assert_array_equal(read(2)[2:5, 6:9], np.full((3, 3), merged))

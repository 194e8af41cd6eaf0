"""A drawing in words, and its scores against truth. No window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from napari_neuropil.evaluation.scores import evaluate_segmentation
from napari_neuropil.geometry import Roi
from napari_neuropil.plugin.proposal_text import proposal_text
from napari_neuropil.plugin.score_history import ScoreHistory
from napari_neuropil.proofreading import DrawingRules, ProofreadingSession

SHAPE = (8, 40, 60)
EXACT = DrawingRules(whole_share=1.0, sliver=0)


@pytest.fixture
def session(brain: Path) -> Iterator[ProofreadingSession]:
    with ProofreadingSession.open(brain) as opened:
        yield opened


def _rows(y: slice, x: slice) -> list[tuple[int, int, int, np.ndarray]]:
    plane = np.zeros(SHAPE[1:], bool)
    plane[y, x] = True
    return [(z, 0, 0, plane) for z in range(8)]


def test_a_drawing_in_words(session: ProofreadingSession) -> None:
    # Half of fragment 3, all of 6, and a stripe of background.
    rows = _rows(slice(10, 40), slice(38, 59))
    lines = proposal_text(session, session.propose_drawing(rows, rules=EXACT)).splitlines()
    assert lines[0] == "The drawing and segments 3 and 4 become"
    assert lines[1].startswith("  4: 6 080 voxels")
    assert lines[2].startswith("  7: 5 040 voxels")
    assert lines[3].startswith("  3: 1 520 voxels")
    assert lines[4] == "1 fragment is taken whole, 1 is cut, 480 voxels of background are new."
    assert len(lines) == 5
    grown = proposal_text(session, session.propose_drawing(rows, into=3, rules=EXACT))
    assert grown.splitlines()[0] == "The drawing and segments 3 and 4 become"
    assert grown.splitlines()[1].startswith("  3: 6 560 voxels")
    new = proposal_text(session, session.propose_drawing(_rows(slice(0, 9), slice(57, 60))))
    assert new.splitlines()[0] == "The drawing becomes"
    assert new.splitlines()[1].startswith("  7: 216 voxels")


def test_scores_follow_drawings_through_the_history(session: ProofreadingSession) -> None:
    truth = np.ones(SHAPE, np.uint16)
    truth[:, 20:, 45:] = 2
    truth[:, 18:20] = 0
    history = ScoreHistory(session, truth)
    session.draw(_rows(slice(10, 40), slice(38, 59)), rules=EXACT)
    session.draw(_rows(slice(15, 30), slice(20, 60)), into=1, rules=EXACT)
    session.undo()
    session.delete(4)
    session.draw(_rows(slice(15, 30), slice(20, 60)), rules=EXACT)
    volume = session.segments()
    for goal in (0, 1, 2, 5, 1, 4, 0, 5):
        session.jump(goal)
        history.follow(session.edits, session.cursor)
        expected = evaluate_segmentation(volume.read(Roi.of_shape(SHAPE)), truth)
        np.testing.assert_allclose(astuple(history.now), astuple(expected), rtol=1e-9, atol=1e-12)

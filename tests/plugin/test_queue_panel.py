"""The queue panel: build, show, answer with keys, keep up with edits, filters, texts."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import Qt  # type: ignore[attr-defined]

from napari_neuropil.plugin.layers import facts_of
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.plugin.queue_panel import QueuePanel
from napari_neuropil.plugin.queue_text import candidate_html, evidence_text, pace_text, stop_text
from napari_neuropil.proofreading.candidate_table import Candidate
from napari_neuropil.proofreading.open_candidates import CandidateFilter
from napari_neuropil.proofreading.scorers import SCORERS


@pytest.fixture
def panel(live: ProofreadController, qtbot: Any) -> QueuePanel:
    made = QueuePanel(live)
    qtbot.addWidget(made)
    made.show()
    qtbot.waitUntil(lambda: made.queue is not None, timeout=20_000)
    return made


def shown(panel: QueuePanel) -> Candidate:
    assert panel.queue is not None
    candidate = panel.queue.current
    assert candidate is not None
    return candidate


def until(panel: QueuePanel, kind: str) -> Candidate:
    """Put off what is not of this kind."""
    for _ in range(20):
        if shown(panel).kind == kind:
            return shown(panel)
        panel.go_next()
    raise AssertionError(f"no {kind}")


def visible_overlays(live: ProofreadController) -> set[str]:
    layers = [x for x in live.viewer.layers if x.visible]
    return {str(facts_of(x)["overlay"]) for x in layers if "overlay" in facts_of(x)}


def test_first_candidate_is_shown(live: ProofreadController, panel: QueuePanel) -> None:
    candidate = shown(panel)
    centre = live.viewer.scene.camera.center
    assert live.world_to_voxel(centre) == candidate.position
    assert set(live.selected) == {candidate.segment_a, candidate.segment_b}
    assert visible_overlays(live) >= {"Proposed edit", "Contact"}
    assert f"{candidate.probability:.0%}" in panel.text.text()
    assert panel.progress.text().startswith("0 of ")
    assert "less than" in panel.stop_line.text()


def test_accept_makes_the_edit_and_goes_on(live: ProofreadController, panel: QueuePanel) -> None:
    candidate = until(panel, "split_error")
    assert panel.accept_button.text() == "Merge  (Q)"
    live.keys["Q"][1]()
    lookup = live.session.lookup
    assert lookup[candidate.a] == lookup[candidate.b]
    (decision,) = live.session.decisions()
    assert decision.answer == "merge"
    assert decision.edit_id == live.session.edits[-1].id
    assert decision.seconds >= 0
    assert panel.progress.text().startswith("1 of ")
    assert panel.queue.current is None or shown(panel).key != candidate.key


def test_merge_error_is_split(live: ProofreadController, panel: QueuePanel) -> None:
    candidate = until(panel, "merge_error")
    assert panel.accept_button.text() == "Split  (Q)"
    assert f"Is {candidate.segment_a} two neurons?" in panel.text.text()
    panel.accept_button.click()
    lookup = live.session.lookup
    assert lookup[candidate.a] != lookup[candidate.b]
    assert live.session.decisions()[0].answer == "split"


@pytest.mark.parametrize(
    ("key", "answer"), [("W", "apart"), ("Shift-W", "unsure"), ("Shift-Q", "later")]
)
def test_other_answers_change_nothing(
    live: ProofreadController, panel: QueuePanel, key: str, answer: str
) -> None:
    first = until(panel, "split_error")
    live.keys[key][1]()
    assert not live.session.edits
    assert [(d.key, d.answer) for d in live.session.decisions()] == [(first.key, answer)]
    assert panel.queue.current is None or shown(panel).key != first.key


def test_previous_shows_what_was_answered(live: ProofreadController, panel: QueuePanel) -> None:
    first = shown(panel)
    panel.reject_button.click()
    live.keys["Shift-N"][1]()
    assert shown(panel).key == first.key
    assert "Answered before" in panel.text.text()


def test_nobody_answers_what_he_does_not_see(
    live: ProofreadController, panel: QueuePanel, qtbot: Any
) -> None:
    panel.hide()
    assert "Proposed edit" not in visible_overlays(live)
    for key in ("Q", "W", "Shift-W", "Shift-Q"):
        live.keys[key][1]()
    assert not live.session.decisions()
    with qtbot.waitSignal(panel.attention):
        live.keys["N"][1]()
    panel.show()
    assert "Proposed edit" in visible_overlays(live)
    live.begin_mode("merge")
    live.keys["Q"][1]()
    assert not live.session.decisions()
    live.leave_mode()
    live.keys["W"][1]()
    assert len(live.session.decisions()) == 1


def test_refused_edit_is_not_logged_and_can_be_forced(
    live: ProofreadController, panel: QueuePanel
) -> None:
    panel.filters.done.setChecked(True)
    candidate = until(panel, "split_error")
    live.session.annotate(candidate.segment_a, status="done")
    refused: list[Any] = []
    live.refused.connect(lambda error, forced: refused.append((error, forced)))
    panel.accept()
    assert len(refused) == 1
    assert not live.session.decisions()
    refused[0][1]()
    assert live.session.decisions()[0].answer == "merge"


def test_edits_elsewhere_take_candidates_away(
    live: ProofreadController, panel: QueuePanel, qtbot: Any
) -> None:
    before = panel.queue.progress.total
    live.session.merge(1, 3)
    live.session.merge(1, 4)
    qtbot.waitUntil(lambda: panel.queue.pending == 0, timeout=5_000)
    assert panel.queue.progress.total < before
    for _ in range(10):
        panel.go_next()
        if panel.queue.current is not None:
            assert shown(panel).kind == "merge_error"


def test_evidence_is_explained_and_greyed_where_it_does_not_count(panel: QueuePanel) -> None:
    box = panel.filters.scorer
    for name, scorer in SCORERS.items():
        row = box.findData(name)
        tip = box.itemData(row, Qt.ItemDataRole.ToolTipRole)
        assert tip.startswith(scorer.help)
        assert bool(box.model().flags(box.model().index(row, 0)) & Qt.ItemFlag.ItemIsEnabled) == (
            name not in ("area", "confidence")
        )
        assert ("Does not count" in tip) == (name in ("area", "confidence"))


def test_filters(live: ProofreadController, panel: QueuePanel) -> None:
    total = panel.queue.progress.total
    panel.filters.kind.setCurrentIndex(2)
    assert panel.queue.filter == CandidateFilter(kind="merge_error")
    assert 0 < panel.queue.progress.total < total
    assert panel.filters_button.text() == "Filters (on)"
    panel.go_next()
    assert shown(panel).kind == "merge_error"
    panel.filters.kind.setCurrentIndex(0)
    assert panel.filters_button.text() == "Filters"
    panel.filters.selected.setChecked(True)
    live.select([3])
    assert panel.queue.filter.segment == 3


def test_place_is_kept(live: ProofreadController, panel: QueuePanel, qtbot: Any) -> None:
    panel.go_next()
    key = shown(panel).key
    qtbot.waitUntil(lambda: live.session.recall("queue") is not None, timeout=5_000)
    assert live.session.recall("queue")["current"] == key


def test_closing_the_project_empties_the_panel(
    live: ProofreadController, panel: QueuePanel
) -> None:
    live.close_project()
    assert panel.queue is None
    assert panel.text.text() == ""
    assert not panel.accept_button.isEnabled()


def test_texts() -> None:
    candidate = Candidate(
        "split_error:1:2", "split_error", 1, 2, 10, 20, (0, 0, 0), 0.25, 0.08, 0.0,
        {"affinity": 0.5, "area": -1.25, "size": 0.001},
    )  # fmt: skip
    text = candidate_html(candidate, [0.5, 2.0], None)
    assert "Are these two one neuron?" in text
    assert "25%" in text
    assert "0.02" in text
    assert "2 µm³" in text
    assert "Answered" not in text
    assert "Answered before: <b>apart</b>" in candidate_html(candidate, [1, 1], "apart")
    assert evidence_text(candidate) == "Contact area -1.25 · Affinity +0.50"
    assert stop_text(0.12345) == "The rest is expected to change VI by less than 0.123 bits."
    assert pace_text([]) == ""
    assert pace_text([1.0, 2.0, 60.0]) == " · 2.0 s each"

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from napari_neuropil.errors import OutputError
from napari_neuropil.proofreading import Decision, Edit, ProofreadingSession
from napari_neuropil.proofreading.meter import Meter, meter_rows


def decision(at: float, seconds: float, answer: str = "apart", **more: object) -> Decision:
    values = {"key": "split_error:1:2", "kind": "split_error", "a": 1, "b": 2, "score": 0.5}
    return Decision(answer=answer, seconds=seconds, time=at, **{**values, **more})  # type: ignore[arg-type]


def edit(at: float, number: int, seconds: float | None = None) -> Edit:
    return Edit(number, at, "merge", 0, None, {}, None, seconds)


def test_working_time_is_the_gaps_between_answers() -> None:
    rows = meter_rows([decision(100, 5), decision(110, 4), decision(140, 20)], [])
    assert [row.working_seconds for row in rows] == [5, 15, 45]
    assert rows[-1].decisions_per_hour == pytest.approx(3 / 45 * 3600)


def test_pauses_do_not_count() -> None:
    night = 8 * 3600
    rows = meter_rows([decision(100, 5), decision(100 + night, 7), decision(110 + night, 9)], [])
    assert [row.working_seconds for row in rows] == [5, 12, 22]
    assert [row.idle_before for row in rows] == [False, True, False]
    # Nobody was there while the answer took the night: it counts as one pause's length at most.
    slept = meter_rows([decision(100, 5), decision(100 + night, night)], [], idle_after=60)
    assert slept[-1].working_seconds == 65


def test_gap_just_at_the_limit_is_work() -> None:
    rows = meter_rows([decision(0.5, 0), decision(60.5, 1)], [], idle_after=60)
    assert rows[-1].working_seconds == 60


def test_later_costs_time_but_is_no_decision() -> None:
    rows = meter_rows([decision(100, 10, "later"), decision(110, 10)], [])
    assert rows[-1].working_seconds == 20
    assert rows[-1].decisions_per_hour == pytest.approx(180)


def test_edits_count_as_work_once() -> None:
    answered = decision(110, 5, "merge", edit_id=2)
    rows = meter_rows([answered], [edit(100, 1, 4.0), edit(109.9, 2, 5.0)])
    assert [(row.event, row.edit) for row in rows] == [("edit", 1), ("decision", 2)]
    assert rows[-1].working_seconds == 14
    assert rows[0].decisions_per_hour == 0


def test_nothing_done_yet(session: ProofreadingSession) -> None:
    reading = Meter(session).read()
    assert (reading.decisions, reading.edits, reading.working_seconds) == (0, 0, 0.0)
    assert reading.decisions_per_hour is None
    assert reading.seconds_mean is None
    assert reading.seconds_median is None
    assert reading.volume_um3 == pytest.approx(4 * 12 * 16 * 30 * 8 * 8 * 1e-9)


def test_reads_a_session(session: ProofreadingSession) -> None:
    for number, seconds in enumerate((2.0, 4.0, 9.0, 500.0)):
        session.decide(decision(1000 + 10 * number, seconds))
    session.decide(decision(1050, 3.0, "later"))
    first = session.merge(1, 2, seconds=1.0)
    session.merge(3, 4, seconds=1.0)
    session.undo()
    reading = Meter(session).read()
    assert reading.decisions == 4
    assert reading.seconds_median == 4.0
    assert reading.seconds_mean == 5.0
    assert reading.edits == 1
    assert reading.edits_per_um3 == pytest.approx(1 / reading.volume_um3)
    assert first.id == 1


def test_export(session: ProofreadingSession, tmp_path: Path) -> None:
    session.decide(decision(1000, 2.0))
    session.decide(replace(decision(1010, 3.0), answer="unsure"))
    file = Meter(session).export(tmp_path / "meter.csv")
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["answer"] for row in rows] == ["apart", "unsure"]
    assert [float(row["working_seconds"]) for row in rows] == [2.0, 12.0]
    assert rows[0]["time"].startswith("1970-01-01T00:16:40")
    assert rows[0]["edit"] == ""
    with pytest.raises(OutputError):
        Meter(session).export(tmp_path / "none" / "meter.csv")

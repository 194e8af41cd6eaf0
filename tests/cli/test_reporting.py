from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from napari_neuropil.cli import reporting
from napari_neuropil.cli.reporting import (
    JsonReporter,
    LineReporter,
    TerminalReporter,
    format_bytes,
    format_seconds,
)
from napari_neuropil.workflows.requests import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose only item is the time the reporters see."""
    now = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    return now


def test_json_progress_is_thinned_but_never_loses_a_stages_ends(clock: list[float]) -> None:
    stream = io.StringIO()
    reporter = JsonReporter(stream)
    for done in range(101):
        clock[0] += 0.01
        reporter.progress(Progress(stage="affinities", done=done, total=100))
    reporter.progress(Progress(stage="fragments", done=0, total=4, message="µm"))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    done = [event["done"] for event in events if event["stage"] == "affinities"]
    assert done[0] == 0
    assert done[-1] == 100
    assert 8 <= len(done) <= 13
    assert events[-1] == {
        "event": "progress", "stage": "fragments", "done": 0.0, "total": 4.0, "message": "µm"
    }  # fmt: skip


def test_a_log_gets_few_lines(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    reporter = LineReporter()
    for done in range(61):
        clock[0] += 0.5
        reporter.progress(Progress(stage="fragments", done=done, total=60))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "fragments: 0 %"
    assert lines[-1] == "fragments: 100 %"
    assert 3 <= len(lines) <= 6


def test_a_terminal_gets_one_bar_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(
        reporting, "console", lambda **_: Console(file=stream, force_terminal=True, width=100)
    )
    reporter = TerminalReporter()
    with reporter.bars:
        for stage in ("affinities", "fragments"):
            for done in range(3):
                reporter.progress(Progress(stage=stage, done=done, total=2))
        reporter.notice("tiles were halved")
    assert [task.description for task in reporter.bars.tasks] == ["affinities", "fragments"]
    assert all(task.finished for task in reporter.bars.tasks)
    assert "note: tiles were halved" in stream.getvalue()


def test_what_others_print_stays_out_of_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting.reporting(as_json=True) as reporter:
        print("a library's chatter")  # noqa: T201
        reporter.notice("mine")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"event": "notice", "message": "mine"}
    assert "chatter" in captured.err


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e15, "3000.0 TB")],
)
def test_bytes_read_well(size: float, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.51234, "0.512 s"), (45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_seconds_read_well(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text

"""A child process that speaks in lines: all of them, in order, and how it ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from qtpy.QtCore import QObject

from napari_neuropil.plugin.line_process import LineProcess

_WAIT = 30_000


def _run(qtbot: Any, command: list[str]) -> tuple[LineProcess, list[bytes], list[int | None]]:
    process = LineProcess(command)
    heard: list[bytes] = []
    ended: list[int | None] = []
    process.heard.connect(heard.append)
    process.ended.connect(ended.append)
    process.start()
    qtbot.waitUntil(lambda: bool(ended), timeout=_WAIT)
    return process, heard, ended


def test_every_line_is_heard_and_the_last_words_are_kept(qtbot: Any) -> None:
    code = (
        "import sys; print('one'); print('two', end=''); "
        "[print(f'word {n}', file=sys.stderr) for n in range(20)]; sys.exit(3)"
    )
    process, heard, ended = _run(qtbot, [sys.executable, "-c", code])
    assert heard == [b"one", b"two"]
    assert ended == [3]
    facts = process.failure(3, "a result", "look")
    assert facts["found"].splitlines() == [
        "The worker process ended with code 3.",
        *(f"word {n}" for n in range(12, 20)),
    ]
    assert (facts["expected"], facts["cure"]) == ("a result", "look")


def test_a_program_that_is_not_there(qtbot: Any, tmp_path: Path) -> None:
    process, heard, ended = _run(qtbot, [str(tmp_path / "nowhere")])
    assert (heard, ended) == ([], [None])
    assert "could not be started" in process.failure(None, "", "")["found"]


@pytest.mark.parametrize(("own", "found"), [(None, b"PASSIVE"), ("ACTIVE", b"ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_says_otherwise(
    qtbot: Any, monkeypatch: pytest.MonkeyPatch, own: str | None, found: bytes
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", own)
    code = "import os; print(os.environ['OMP_WAIT_POLICY'])"
    assert _run(qtbot, [sys.executable, "-c", code])[1] == [found]


def test_who_is_deleted_takes_the_process_along(qtbot: Any, qtlog: Any) -> None:
    owner = QObject()
    process = LineProcess([sys.executable, "-c", "import time; print('up'); time.sleep(60)"], owner)
    heard: list[bytes] = []
    ended: list[int | None] = []
    process.heard.connect(heard.append)
    process.ended.connect(ended.append)
    process.start()
    qtbot.waitUntil(lambda: bool(heard), timeout=_WAIT)
    child = psutil.Process(process.pid)
    owner.deleteLater()
    qtbot.waitUntil(lambda: not child.is_running(), timeout=_WAIT)
    # Its owner is gone: nobody is told, and Qt has nothing to complain about.
    assert ended == []
    assert not [record for record in qtlog.records if "QProcess" in record.message]

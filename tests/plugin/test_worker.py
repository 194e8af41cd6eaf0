"""The protocol between window and worker process, against a fake command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_neuropil.plugin import worker
from napari_neuropil.plugin.worker import WorkerProcess, error_text

Choose = Callable[[str], None]


class Heard:
    """Everything a worker said, in order."""

    def __init__(self, process: WorkerProcess) -> None:
        self.events: list[tuple[str, Any]] = []
        for name in ("planned", "progressed", "noticed", "finished", "failed"):
            getattr(process, name).connect(lambda value, n=name: self.events.append((n, value)))
        process.cancelled.connect(lambda: self.events.append(("cancelled", None)))

    def named(self, name: str) -> list[Any]:
        return [value for kind, value in self.events if kind == name]

    @property
    def ended(self) -> bool:
        return any(kind in ("finished", "failed", "cancelled") for kind, _ in self.events)


@pytest.fixture
def start(qtbot: Any, fake_cli: Choose) -> Callable[..., tuple[WorkerProcess, Heard]]:
    kept = []

    def _start(*words: str) -> tuple[WorkerProcess, Heard]:
        process = WorkerProcess(words)
        kept.append(process)
        heard = Heard(process)
        process.start()
        return process, heard

    return _start


def test_info_is_the_result(start: Any, qtbot: Any) -> None:
    _, heard = start("info", "--json")
    qtbot.waitUntil(lambda: heard.ended, timeout=10_000)
    (facts,) = heard.named("finished")
    assert facts["devices"][1]["device"] == "cuda"


def test_dry_run_gives_a_plan_and_no_project(start: Any, qtbot: Any, tmp_path: Path) -> None:
    _, heard = start("segment", "a.zarr", str(tmp_path / "p.neuropil"), "--dry-run", "--json")
    qtbot.waitUntil(lambda: heard.ended, timeout=10_000)
    assert [kind for kind, _ in heard.events] == ["planned", "finished"]
    assert heard.named("planned")[0]["blocks"] == 3
    assert heard.named("finished") == [{}]


def test_progress_comes_in_order(start: Any, fake_cli: Choose, qtbot: Any, tmp_path: Path) -> None:
    fake_cli("slow")
    process, heard = start("segment", "a.zarr", str(tmp_path / "p.neuropil"), "--json")
    qtbot.waitUntil(lambda: len(heard.named("progressed")) == 4, timeout=10_000)
    assert [event["done"] for event in heard.named("progressed")] == [0, 1, 2, 3]
    process.kill()


@pytest.mark.parametrize("behaviour", ["slow", "stubborn"])
def test_cancel_within_two_seconds(
    start: Any, fake_cli: Choose, qtbot: Any, tmp_path: Path, behaviour: str
) -> None:
    fake_cli(behaviour)
    process, heard = start("segment", "a.zarr", str(tmp_path / "p.neuropil"), "--json")
    qtbot.waitUntil(lambda: bool(heard.named("progressed")), timeout=10_000)
    begin = time.monotonic()
    process.cancel()
    qtbot.waitUntil(lambda: heard.ended, timeout=5_000)
    assert time.monotonic() - begin < 2.0
    assert heard.events[-1][0] == "cancelled"
    assert not heard.named("failed")
    assert not process.running


def test_crash_shows_the_end_of_stderr(
    start: Any, fake_cli: Choose, qtbot: Any, tmp_path: Path
) -> None:
    fake_cli("crash")
    _, heard = start("segment", "a.zarr", str(tmp_path / "p.neuropil"), "--json")
    qtbot.waitUntil(lambda: heard.ended, timeout=10_000)
    (error,) = heard.named("failed")
    assert "out of luck" in error["found"]


def test_garbage_is_no_event(start: Any, fake_cli: Choose, qtbot: Any, tmp_path: Path) -> None:
    fake_cli("garbage")
    _, heard = start("segment", str(tmp_path / "no.zarr"), str(tmp_path / "p"), "--json")
    qtbot.waitUntil(lambda: heard.ended, timeout=20_000)
    assert len(heard.named("planned")) == 1
    assert len(heard.named("progressed")) == 4
    # The image does not exist: the fake ends in a traceback, which must arrive whole.
    (error,) = heard.named("failed")
    assert "There is no no.zarr" in error["found"]


def test_refusal_keeps_its_facts(start: Any, fake_cli: Choose, qtbot: Any) -> None:
    fake_cli("refuse")
    _, heard = start("segment", "a.zarr", "p.neuropil", "--json")
    qtbot.waitUntil(lambda: heard.ended, timeout=10_000)
    (error,) = heard.named("failed")
    assert error["type"] == "VolumeFormatError"
    assert error_text(error) == "constant volume\nExpected: EM\nCure: look"


def test_program_that_is_not_there(
    start: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker, "cli_command", lambda: [str(tmp_path / "nowhere")])
    _, heard = start("info")
    qtbot.waitUntil(lambda: heard.ended, timeout=10_000)
    (error,) = heard.named("failed")
    assert "could not be started" in error["found"]


def test_kill_leaves_no_process(start: Any, fake_cli: Choose, qtbot: Any, tmp_path: Path) -> None:
    fake_cli("stubborn")
    process, heard = start("segment", "a.zarr", str(tmp_path / "p.neuropil"), "--json")
    qtbot.waitUntil(lambda: bool(heard.named("progressed")), timeout=10_000)
    process.kill()
    assert not process.running
    assert not heard.ended

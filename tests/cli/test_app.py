from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NoReturn

import pytest

from napari_neuropil.cli.app import run
from napari_neuropil.errors import CancelledError, MissingExtraError, SettingsError
from napari_neuropil.workflows import evaluate


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Return a setter for what the workflow behind `neuropil evaluate` raises."""

    def set_error(error: BaseException) -> None:
        def fail(*_args: object) -> NoReturn:
            raise error

        monkeypatch.setattr(evaluate, "evaluate_files", fail)

    return set_error


WORDS = ["evaluate", "a.zarr", "b.zarr"]


def test_a_user_error_shows_what_was_found_expected_and_the_cure(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(SettingsError("found [red]x[/red]", "a b", "do c"))
    assert run(WORDS) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: found [red]x[/red]\nexpected: a b\ncure: do c\n"


def test_a_user_error_is_an_event_for_programs(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(MissingExtraError("found", "expected", "cure"))
    assert run([*WORDS, "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {
        "event": "error",
        "type": "MissingExtraError",
        "found": "found",
        "expected": "expected",
        "cure": "cure",
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CancelledError("Stopped.")])
def test_an_interruption_ends_with_130(
    error: BaseException,
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(error)
    assert run([*WORDS, "--json"]) == 130
    assert capsys.readouterr().out == ""


def test_a_full_disk_is_a_user_error_with_its_path(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(OSError(errno.ENOSPC, "No space left on device", "/data/out.zarr"))
    assert run(WORDS) == 2
    shown = capsys.readouterr().err
    assert "disk is full: /data/out.zarr" in shown
    assert "cure: " in shown


def test_a_defect_keeps_its_traceback_and_is_told_to_programs(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(ZeroDivisionError("division by zero"))
    with pytest.raises(ZeroDivisionError):
        run([*WORDS, "--json"])
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["type"]) == ("error", "ZeroDivisionError")
    assert "report" in event["cure"]


def test_other_system_errors_are_defects(failing: Callable[[BaseException], None]) -> None:
    failing(OSError(errno.EBADF, "Bad file descriptor"))
    with pytest.raises(OSError, match="Bad file"):
        run(WORDS)


def test_a_reader_that_has_gone_ends_the_run(
    failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "dup2", lambda a, b: moved.append((a, b)))
    failing(BrokenPipeError())
    assert run(WORDS) in (1, 130)


def test_words_that_cannot_be_read_are_told_to_programs_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["evaluate", "only-one", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["type"] == "UsageError"
    assert "labels" in captured.err.lower()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_sigterm_interrupts_and_the_handler_is_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end_oneself(*_args: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(evaluate, "evaluate_files", end_oneself)
    before = signal.getsignal(signal.SIGTERM)
    assert run(WORDS) == 130
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_help_is_light() -> None:
    script = (
        "import sys\n"
        "from napari_neuropil.cli.app import run\n"
        "code = run(['--help'])\n"
        "heavy = {'torch', 'numpy', 'scipy', 'napari', 'zarr', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    for command in ("segment", "export", "evaluate", "convert", "train", "demo", "info"):
        assert command in done.stdout

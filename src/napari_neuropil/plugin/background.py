"""A function on another thread, with its result as a signal on the window's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.errors import NeuropilError

_NAME: Final = "neuropil-call"
_TURN_SECONDS: Final = 0.0005
_USUAL_TURN_SECONDS: Final = 0.005  # Python's own


class BackgroundCall(QObject):
    """Calls a function once, beside the window.

    Parameters
    ----------
    function : callable
        Takes nothing. A `NeuropilError` or an error of the system becomes `failed`; a defect too,
        after its traceback has gone where those of threads go, so that nobody waits for ever.
    parent : QObject, optional
        The owner.
    """

    returned = Signal(object)
    failed = Signal(dict)

    def __init__(self, function: Callable[[], Any], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._function = function
        self._thread = threading.Thread(target=self._run, name=_NAME, daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def _run(self) -> None:
        facts: dict[str, Any] = {
            "type": "Defect",
            "found": "This failed; the traceback says where.",
        }
        try:
            with _short_turns():
                result = self._function()
            facts = {}
        except NeuropilError as error:
            facts = error_facts(error)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            facts = {"type": type(error).__name__, "found": str(error)}
        finally:
            if facts:
                _emit(self.failed, facts)
        if not facts:
            _emit(self.returned, result)


@contextmanager
def _short_turns() -> Iterator[None]:
    """Let the window's thread have the interpreter ten times as often.

    Qt gives the interpreter lock away with every call and asks for it back, and by default waits
    up to 5 ms each time for a thread that computes. While the queue is built, the window's longest
    wait was 0.86 and 0.87 s without this, 0.72 and 0.58 s with it (two runs each in turn, two busy
    cores).
    """
    sys.setswitchinterval(_TURN_SECONDS)
    try:
        yield
    finally:
        others = sum(thread.name == _NAME for thread in threading.enumerate()) - 1
        if others <= 0:
            sys.setswitchinterval(_USUAL_TURN_SECONDS)


def _emit(signal: Any, value: Any) -> None:
    # The owner may be deleted while the thread still runs; then nobody listens.
    with suppress(RuntimeError):
        signal.emit(value)


def error_facts(error: NeuropilError) -> dict[str, Any]:
    """Return an error as the worker process words it."""
    return {
        "type": type(error).__name__,
        "found": error.found,
        "expected": error.expected,
        "cure": error.cure,
        "forceable": bool(getattr(error, "forceable", False)),
    }

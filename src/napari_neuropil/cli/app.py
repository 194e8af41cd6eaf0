"""The ``neuropil`` command: table of commands, exit codes, signals.

Exit codes: 0 done, 2 the user can mend it (also a command line that cannot be read), 130
interrupted by Ctrl-C or SIGTERM, 1 a defect (with its traceback). Nothing heavy is imported here:
each command imports its workflow when it runs.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

import typer

from napari_neuropil.cli import (
    convert,
    demo,
    distances,
    embeddings,
    evaluate,
    evaluate_detector,
    evaluate_prompts,
    export,
    import_labels,
    info,
    log,
    prompts,
    segment,
    suggest_split,
    train,
    tune,
    tune_detector,
)
from napari_neuropil.cli.reporting import JsonReporter, console
from napari_neuropil.errors import BlockFailedError, CancelledError, NeuropilError, OutputError

_OK: Final = 0
_DEFECT: Final = 1
_USER_ERROR: Final = 2
_INTERRUPTED: Final = 130

_DISK: Final = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk quota is used up",
    errno.EROFS: "The file system is read-only",
    errno.EACCES: "Access was refused",
    errno.EPERM: "Access was refused",
}

app = typer.Typer(
    name="neuropil",
    help="Dense neuron segmentation of electron microscopy volumes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _module in (
    segment,
    import_labels,
    export,
    log,
    distances,
    embeddings,
    suggest_split,
    prompts,
    evaluate,
    evaluate_detector,
    evaluate_prompts,
    convert,
    train,
    tune,
    tune_detector,
    demo,
    info,
):
    _module.register(app)


def main() -> NoReturn:
    """Run the command line of this process and leave it."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code.

    Parameters
    ----------
    arguments : sequence of str
        The words after ``neuropil``.
    """
    json_reporter = JsonReporter(sys.stdout) if "--json" in arguments else None
    try:
        with _terminable():
            app(args=list(arguments), prog_name="neuropil")
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else _DEFECT
        if code == _USER_ERROR and json_reporter:
            json_reporter.usage_error(arguments)
        return code
    except CancelledError:
        return _interrupted()
    except NeuropilError as error:
        if isinstance(error, BlockFailedError) and not isinstance(error.__cause__, OSError):
            # The input was fine: this is a defect, and its traceback is what mends it.
            if json_reporter:
                json_reporter.error(error)
            raise
        return _refuse(error, json_reporter)
    except BrokenPipeError:
        # The reader has gone; a later flush of stdout must not raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return _INTERRUPTED
    except OSError as error:
        if error.errno not in _DISK:
            raise
        return _refuse(_name_disk_error(error), json_reporter)
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        # A program that reads events must learn of a defect too; the traceback follows on stderr.
        if json_reporter:
            json_reporter.defect(error)
        raise
    return _OK


def _refuse(error: NeuropilError, json_reporter: JsonReporter | None) -> int:
    if json_reporter:
        json_reporter.error(error)
    else:
        _show_error(error)
    return _USER_ERROR


def _show_error(error: NeuropilError) -> None:
    stderr = console(stderr=True)
    stderr.print("error:", error.found, style="bold red", markup=False, highlight=False)
    for name, text in (("expected", error.expected), ("cure", error.cure)):
        if text:
            stderr.print(f"{name}: {text}", markup=False, highlight=False)


def _interrupted() -> int:
    console(stderr=True).print("interrupted: finished blocks are kept; --resume goes on from them.")
    return _INTERRUPTED


def _name_disk_error(error: OSError) -> OutputError:
    where = f": {error.filename}" if error.filename else ""
    reason = _DISK[error.errno or 0]
    return OutputError(
        f"{reason}{where} ({error.strerror or error}).",
        "an output folder that can be written, with room enough",
        "free some space or choose another output; --resume keeps the finished blocks.",
    )


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the work the way Ctrl-C does, with files closed and nothing half-written."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a program started in the background inherits it as ignored, and the window's
    # Cancel would go unheard.
    caught = (signal.SIGTERM, signal.SIGINT)
    try:
        before = [signal.signal(number, stop) for number in caught]
    except ValueError:
        # Only the main thread may set handlers; elsewhere the host's own hold.
        yield
        return
    try:
        yield
    finally:
        for number, handler in zip(caught, before, strict=True):
            signal.signal(number, handler)

"""What a command shows while it works: bars on a terminal, lines in a log, JSON to a program."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

from rich.console import Console

from napari_neuropil.errors import NeuropilError

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from napari_neuropil.workflows.requests import SegmentPlan
    from napari_neuropil.workflows.tuning.detector_requests import DetectorTunePlan
    from napari_neuropil.workflows.tuning.requests import TunePlan

    AnyPlan = SegmentPlan | TunePlan | DetectorTunePlan

_JSON_INTERVAL: Final = 0.1
_LINE_INTERVAL: Final = 10.0


class ProgressLike(Protocol):
    """One report of a workflow: `done` of `total` units of a stage."""

    @property
    def stage(self) -> str:
        """Name of the stage."""

    @property
    def done(self) -> float:
        """Finished units."""

    @property
    def total(self) -> float:
        """All units; 0 where unknown."""

    @property
    def message(self) -> str:
        """What there is to say, or nothing."""


class Reporter(Protocol):
    """Receives what a command has to say."""

    def plan(self, plan: AnyPlan) -> None:
        """Show what is going to be done."""

    def progress(self, progress: ProgressLike) -> None:
        """Show how far it has come."""

    def notice(self, message: str) -> None:
        """Show something the user should know."""

    def done(self, **facts: Any) -> None:
        """Show what came out."""


def console(*, stderr: bool = False) -> Console:
    """Return a console on the present stdout or stderr; lines are not broken in a log or pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, soft_wrap=not stream.isatty(), highlight=False)


@contextmanager
def reporting(*, as_json: bool) -> Iterator[Reporter]:
    """Choose a reporter and keep stdout for it while it is open.

    Parameters
    ----------
    as_json : bool
        Write JSON lines on stdout, and send whatever else is printed to stderr.
    """
    if as_json:
        reporter = JsonReporter(sys.stdout)
        with redirect_stdout(sys.stderr):
            yield reporter
    elif sys.stderr.isatty():
        terminal = TerminalReporter()
        with terminal.bars:
            yield terminal
    else:
        yield LineReporter()


class JsonReporter:
    """One JSON object a line; see docs/cli.md for the events.

    Parameters
    ----------
    stream : text stream
        Where the lines go; flushed after each, since a program waits for them.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._thin = _Thinner(_JSON_INTERVAL)

    def plan(self, plan: AnyPlan) -> None:
        """Write the event ``plan``."""
        self._write("plan", **plan.model_dump(mode="json"))

    def progress(self, progress: ProgressLike) -> None:
        """Write the event ``progress``, at most ten a second, never leaving out a stage's end."""
        if not self._thin.passes(progress):
            return
        values = getattr(progress, "values", None)
        self._write(
            "progress",
            stage=progress.stage,
            done=progress.done,
            total=progress.total,
            message=progress.message,
            **({"values": values} if values else {}),
        )

    def notice(self, message: str) -> None:
        """Write the event ``notice``."""
        self._write("notice", message=message)

    def done(self, **facts: Any) -> None:
        """Write the event ``done``."""
        self._write("done", **facts)

    def error(self, error: NeuropilError) -> None:
        """Write the event ``error``."""
        self._write(
            "error",
            type=type(error).__name__,
            found=error.found,
            expected=error.expected,
            cure=error.cure,
        )

    def usage_error(self, arguments: Sequence[str]) -> None:
        """Write the event ``error`` for a command line that cannot be read."""
        self._write(
            "error",
            type="UsageError",
            found=f"neuropil {' '.join(arguments)}",
            expected="a command line that can be read; standard error says what is wrong with it",
            cure="see neuropil --help.",
        )

    def defect(self, error: Exception) -> None:
        """Write the event ``error`` for a failure nobody foresaw."""
        self._write(
            "error",
            type=type(error).__name__,
            found=str(error) or type(error).__name__,
            expected="",
            cure="this is a defect of napari-neuropil: please report it with the traceback.",
        )

    def _write(self, event: str, **facts: Any) -> None:
        line = json.dumps({"event": event, **facts}, default=str, ensure_ascii=False)
        self._stream.write(line + "\n")
        self._stream.flush()


class TerminalReporter:
    """Bars that move, one a stage, on stderr (stdout stays free for results)."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.bars: Bars = Progress(
            TextColumn("{task.description:<16}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[message]}", markup=False, style="dim"),
            console=console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def plan(self, plan: AnyPlan) -> None:
        """Print the plan as a table."""
        show_plan(plan, self.bars.console)

    def progress(self, progress: ProgressLike) -> None:
        """Move the bar of the stage."""
        task = self._tasks.get(progress.stage)
        if task is None:
            task = self.bars.add_task(progress.stage, message="")
            self._tasks[progress.stage] = task
        self.bars.update(
            task,
            completed=progress.done,
            total=progress.total or None,
            message=progress.message,
        )

    def notice(self, message: str) -> None:
        """Print the notice above the bars."""
        self.bars.console.print(f"note: {message}", style="yellow", markup=False)

    def done(self, **facts: Any) -> None:
        """Print the facts."""
        show_facts(facts)


class LineReporter:
    """Plain lines on stderr, for logs: a stage's start, its end, and one every ten seconds."""

    def __init__(self) -> None:
        self._thin = _Thinner(_LINE_INTERVAL)

    def plan(self, plan: AnyPlan) -> None:
        """Print the plan as lines."""
        show_plan(plan, console(stderr=True))

    def progress(self, progress: ProgressLike) -> None:
        """Print a line where the last is old enough."""
        if not self._thin.passes(progress):
            return
        share = f"{100 * progress.done / progress.total:.0f} %" if progress.total else ""
        text = " ".join(filter(None, [f"{progress.stage}:", share, progress.message]))
        console(stderr=True).print(text, markup=False)

    def notice(self, message: str) -> None:
        """Print the notice."""
        console(stderr=True).print(f"note: {message}", markup=False)

    def done(self, **facts: Any) -> None:
        """Print the facts."""
        show_facts(facts)


class _Thinner:
    """Lets a stage's first and last report pass, and between them one an interval."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._stage = ""
        self._done = -1.0
        self._time = float("-inf")

    def passes(self, progress: ProgressLike) -> bool:
        now = time.monotonic()
        if progress.stage == self._stage:
            at_end = progress.done >= progress.total and progress.done != self._done
            if now - self._time < self._interval and not at_end:
                return False
        self._stage, self._done, self._time = progress.stage, progress.done, now
        return True


def show_plan(plan: AnyPlan, target: Console) -> None:
    """Print what a run will do and cost, one fact a line; notices come last."""
    from napari_neuropil.workflows.requests import SegmentPlan
    from napari_neuropil.workflows.tuning.requests import TunePlan

    if isinstance(plan, SegmentPlan):
        facts = _segment_facts(plan)
    elif isinstance(plan, TunePlan):
        facts = _tune_facts(plan)
    else:
        facts = _detector_facts(plan)
    for name, fact in facts.items():
        target.print(f"{name:<8} {fact}", markup=False)
    for notice in plan.notices:
        target.print(f"note: {notice}", style="yellow", markup=False)


def _segment_facts(plan: SegmentPlan) -> dict[str, str]:
    return {
        "voxels": f"{_times(plan.shape)}, of {_times(plan.voxel_size)} nm",
        "roi": plan.roi,
        "method": f"{plan.request.method}, weights {plan.checkpoint}",
        "grid": f"{_times(plan.grid_shape)}, pooled by {_times(plan.factors)}",
        "work": f"{plan.blocks} blocks, {plan.tiles} tiles of {_times(plan.tile_shape)}",
        "device": f"{plan.device}, {plan.dtype}",
        "time": f"about {format_seconds(plan.seconds)}",
        "memory": f"about {format_bytes(plan.memory_bytes)}",
        "disk": f"up to {format_bytes(plan.disk_bytes)}",
    }


def _tune_facts(plan: TunePlan) -> dict[str, str]:
    held, own = plan.held_out_sections, plan.training_sections
    going_on = f", {plan.done_steps} of them done" if plan.done_steps else ""
    trainer = ", micro_sam's trainer" if plan.trainer == "micro_sam" else ""
    return {
        "base": f"{plan.base}, pixels pooled by {_times(plan.factors)}",
        "learns": f"{plan.request.parts}: {plan.learning} numbers, {plan.steps} steps{going_on}"
        f"{trainer}",
        "from": f"{plan.training_objects} cross-sections of {len(plan.training_segments)} "
        f"segments, {len(own)} sections from {own[0]} to {own[-1]}",
        "pseudo": f"{plan.pseudo_objects} cross-sections, never measured on",
        "held out": f"{plan.held_out_objects} cross-sections of {len(plan.held_out_segments)} "
        f"segments, {len(held)} sections from {held[0]} to {held[-1]} "
        f"(by {plan.request.held_out})",
        "left out": f"{plan.left_out} cross-sections",
        "device": plan.device,
    }


def _detector_facts(plan: DetectorTunePlan) -> dict[str, str]:
    (first, last), (low, high) = plan.training_sections, plan.held_out_sections
    found = "all labels" if plan.segments is None else f"{plan.segments} segments"
    return {
        "base": f"{plan.base}, at {plan.pixel_size:g} nm",
        "finds": f"{plan.object_name}: {found}",
        "from": f"sections {first} to {last - 1}, {plan.epochs} epochs",
        "held out": f"sections {low} to {high - 1}",
    }


def show_facts(facts: dict[str, Any]) -> None:
    """Print facts on stdout, one a line."""
    for name, value in facts.items():
        if value is not None:
            console().print(f"{_words(name):<20} {_readable(name, value)}", markup=False)


def format_bytes(size: float) -> str:
    """Return for example ``1.5 GB`` (decimal, as disks are sold)."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def format_seconds(seconds: float) -> str:
    """Return for example ``45 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _words(name: str) -> str:
    return name.removesuffix("_bytes").replace("_", " ")


def _readable(name: str, value: Any) -> str:
    if name.endswith("_bytes") and isinstance(value, int | float):
        return format_bytes(value)
    if name.endswith("seconds") and isinstance(value, int | float):
        return format_seconds(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)

"""The meter: what proofreading costs, live and as a table.

Working time counts gaps between answers and edits as they are; a gap longer than `idle_after` is
a pause and counts only the seconds that the answer after it says it took, at most `idle_after`.
So a night between two answers does not make the day slow, and thinking for a minute is work.
Seconds per decision leave out answers that took longer than `idle_after`: nobody was there.
"Later" is no decision, but the time it took was worked.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Final

from napari_neuropil.errors import OutputError
from napari_neuropil.proofreading.edits import Decision, Edit

if TYPE_CHECKING:
    from napari_neuropil.proofreading.session import ProofreadingSession

IDLE_AFTER: Final = 120.0
"""Seconds without an answer or edit that are a pause."""


@dataclass(frozen=True)
class MeterReading:
    """What the work has cost so far.

    Parameters
    ----------
    decisions : int
        Answers other than later.
    edits : int
        Edits that stand: those undone do not count.
    working_seconds : float
        Without pauses.
    decisions_per_hour : float or None
        None before any working time.
    seconds_mean, seconds_median : float or None
        Of a decision, pauses left out; None if there is none.
    edits_per_um3 : float
        Edits that stand per cubic micrometre of the project's volume.
    volume_um3 : float
        That volume.
    """

    decisions: int
    edits: int
    working_seconds: float
    decisions_per_hour: float | None
    seconds_mean: float | None
    seconds_median: float | None
    edits_per_um3: float
    volume_um3: float


@dataclass(frozen=True)
class MeterRow:
    """One answer or edit of the exported table; what does not apply is empty.

    Parameters
    ----------
    time : str
        When it was made, UTC, ISO 8601.
    event : str
        "decision" or "edit"; an edit made by an answer is not repeated.
    what : str
        The candidate's key, or the edit's kind.
    answer : str
        Of a decision.
    seconds : float or None
        It took, where known.
    probability : float or None
        Of an error when asked.
    edit : int or None
        The edit, or the one that the answer led to.
    idle_before : bool
        A pause came before it.
    working_seconds : float
        Worked up to then.
    decisions_per_hour : float or None
        Up to then.
    """

    time: str
    event: str
    what: str
    answer: str
    seconds: float | None
    probability: float | None
    edit: int | None
    idle_before: bool
    working_seconds: float
    decisions_per_hour: float | None


class Meter:
    """Reads the cost of a session's work off its log.

    Parameters
    ----------
    session : ProofreadingSession
        Open; nothing is kept, each reading is of the log as it is.
    idle_after : float
        Seconds that make a pause.
    """

    def __init__(self, session: ProofreadingSession, idle_after: float = IDLE_AFTER) -> None:
        self._session = session
        self._idle_after = idle_after

    def read(self) -> MeterReading:
        """Return the cost so far; costs the length of the log."""
        session = self._session
        rows = self.rows()
        took = [d.seconds for d in session.decisions() if _is_decision(d)]
        counted = [s for s in took if s <= self._idle_after]
        volume = session.info.voxel_size_nm.volume_um3 * _voxels(session.fragments().shape)
        edits = sum(row.active for row in session.history())
        return MeterReading(
            decisions=len(took),
            edits=edits,
            working_seconds=rows[-1].working_seconds if rows else 0.0,
            decisions_per_hour=rows[-1].decisions_per_hour if rows else None,
            seconds_mean=fmean(counted) if counted else None,
            seconds_median=median(counted) if counted else None,
            edits_per_um3=edits / volume if volume else 0.0,
            volume_um3=volume,
        )

    def rows(self) -> list[MeterRow]:
        """Return answers and edits in the order of time, with the cost up to each."""
        return meter_rows(self._session.decisions(), self._session.edits, self._idle_after)

    def export(self, path: str | Path) -> Path:
        """Write the rows as CSV.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        return write_rows(self.rows(), path)


def meter_rows(
    decisions: Iterable[Decision], edits: Iterable[Edit], idle_after: float = IDLE_AFTER
) -> list[MeterRow]:
    """Work out the cost of answers and edits.

    Parameters
    ----------
    decisions : iterable of Decision
        Answers.
    edits : iterable of Edit
        The log; undo and redo count as work, too.
    idle_after : float
        Seconds that make a pause.

    Returns
    -------
    list of MeterRow
        In the order of time.
    """
    answers = list(decisions)
    answered = {d.edit_id for d in answers if d.edit_id is not None}
    events: list[Decision | Edit] = [*answers, *(e for e in edits if e.id not in answered)]
    events.sort(key=lambda event: event.time)
    rows: list[MeterRow] = []
    worked, count = 0.0, 0
    before: float | None = None
    for event in events:
        seconds = event.seconds
        gap = None if before is None else event.time - before
        idle = gap is not None and gap > idle_after
        worked += min(seconds or 0.0, idle_after) if gap is None or idle else gap
        before = event.time
        decision = event if isinstance(event, Decision) else None
        count += decision is not None and _is_decision(decision)
        rows.append(
            MeterRow(
                time=datetime.fromtimestamp(event.time, UTC).isoformat(timespec="milliseconds"),
                event="edit" if decision is None else "decision",
                what=event.kind if isinstance(event, Edit) else event.key,
                answer="" if decision is None else decision.answer,
                seconds=seconds,
                probability=None if decision is None else decision.score,
                edit=event.id if isinstance(event, Edit) else event.edit_id,
                idle_before=idle,
                working_seconds=worked,
                decisions_per_hour=3600.0 * count / worked if worked > 0 else None,
            )
        )
    return rows


def write_rows(rows: Sequence[MeterRow], path: str | Path) -> Path:
    """Write rows as CSV with a heading, replacing the file.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    target = Path(path)
    try:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(MeterRow)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    except OSError as error:
        raise OutputError(
            f"{target} cannot be written: {error}",
            "a file in a folder that can be written",
            "choose another place.",
        ) from error
    return target


def _is_decision(decision: Decision) -> bool:
    return decision.answer != "later"


def _voxels(shape: Sequence[int]) -> int:
    count = 1
    for length in shape:
        count *= int(length)
    return count

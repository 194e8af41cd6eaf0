"""What the user notes beside the edits: snapshots, names and states, answers, the view.

Notes are durable like edits, and not part of the history: undoing an edit keeps them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from psygnal import Signal

from napari_neuropil.errors import EditRejectedError, OutputError
from napari_neuropil.project import Project
from napari_neuropil.project.fragment_table import FragmentTable
from napari_neuropil.proofreading.database import SessionDatabase, now
from napari_neuropil.proofreading.edits import ANSWERS, STATUSES, Annotation, Decision, Status
from napari_neuropil.proofreading.live_project import LiveProject


class NotedProject(LiveProject):
    """A project with its edits and notes.

    Parameters
    ----------
    project : Project
        As segmented.
    table : FragmentTable
        Sizes and boxes of its fragments.
    database : SessionDatabase
        Where notes go.

    Attributes
    ----------
    read_only : bool
        Edits and notes are refused.
    owner : str
        Who has the project open for writing, if not we.
    """

    annotated: ClassVar[Signal] = Signal(int)
    decided: ClassVar[Signal] = Signal(Decision)

    def __init__(self, project: Project, table: FragmentTable, database: SessionDatabase) -> None:
        super().__init__(project, table)
        self.read_only = True
        self.owner = ""
        self._database = database
        self._annotations = database.read_annotations()
        self._decisions = database.read_decisions()
        self._memory = database.read_memory()

    def annotate(
        self,
        segment: int,
        *,
        name: str | None = None,
        status: Status | None = None,
        comment: str | None = None,
    ) -> Annotation:
        """Note something on a segment; what is not given stays. "done" protects it from edits."""
        self._check_writable()
        if status is not None and status not in STATUSES:
            raise EditRejectedError(f"{status!r} is no status.", ", ".join(STATUSES), "")
        if not len(self.members(segment)):
            raise EditRejectedError(f"There is no segment {segment}.", "the id of a segment", "")
        old = self.annotation(segment)
        annotation = Annotation(
            old.name if name is None else name,
            old.status if status is None else status,
            old.comment if comment is None else comment,
        )
        self._database.write_annotation(segment, annotation)
        self._annotations[segment] = annotation
        self.annotated.emit(segment)
        return annotation

    def annotation(self, segment: int) -> Annotation:
        """Return what is noted on a segment."""
        return self._annotations.get(segment, Annotation())

    def annotations(self) -> dict[int, Annotation]:
        """Return all notes, by segment."""
        return dict(self._annotations)

    def decide(self, decision: Decision) -> Decision:
        """Log the answer to a candidate; the edit it led to is made apart."""
        self._check_writable()
        if decision.answer not in ANSWERS:
            raise EditRejectedError(f"{decision.answer!r} is no answer.", ", ".join(ANSWERS), "")
        decision = replace(
            decision,
            seconds=float(decision.seconds),
            score=float(decision.score),
            a=int(decision.a),
            b=int(decision.b),
            time=float(decision.time) or now(),
        )
        self._database.write_decision(decision)
        self._decisions.append(decision)
        self.decided.emit(decision)
        return decision

    def decisions(self) -> list[Decision]:
        """Return all answers, oldest first."""
        return list(self._decisions)

    def remember(self, key: str, value: Any) -> None:
        """Keep a JSON value: the view, the place in the queue. Does nothing where read-only."""
        if not self.read_only and self._memory.get(key) != value:
            self._database.write_memory(key, value)
        self._memory[key] = value

    def recall(self, key: str, default: Any = None) -> Any:
        """Return what was kept under a key."""
        return self._memory.get(key, default)

    def _check_writable(self) -> None:
        if self.read_only:
            raise OutputError(
                f"{self.path} is open read-only"
                + (f": {self.owner} has it." if self.owner else "."),
                "a session that may write",
                "close it there, or open a copy of the project.",
            )

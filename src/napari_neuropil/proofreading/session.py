"""A proofreading session: what the dock, the command line and scripts use, and nothing else.

    with ProofreadingSession.open("brain.neuropil") as session:
        session.merge(12, 40)
        session.split((10, 200, 310), (10, 240, 330))
        session.undo()

The order of an edit is: work out the effect, make it durable, change the state, tell the
listeners. An edit that is refused or cannot be written has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_neuropil.errors import EditRejectedError, ProjectError
from napari_neuropil.geometry import Roi
from napari_neuropil.project import Project
from napari_neuropil.project.fragment_table import FragmentTable, fragment_table
from napari_neuropil.proofreading.database import SessionDatabase, now
from napari_neuropil.proofreading.drawings import Drawing, DrawingRules, DrawnRow
from napari_neuropil.proofreading.edits import (
    Delta,
    Edit,
    HistoryRow,
    Proposal,
    Snapshot,
)
from napari_neuropil.proofreading.encoding import unpack_rest
from napari_neuropil.proofreading.fingerprint import fingerprint_of
from napari_neuropil.proofreading.history import History
from napari_neuropil.proofreading.lock import WriterLock
from napari_neuropil.proofreading.proposing_project import ProposingProject
from napari_neuropil.proofreading.requests import Pick
from napari_neuropil.proofreading.skimming import skim_effects
from napari_neuropil.segmentation.metric_offsets import HALF_WAY


class ProofreadingSession(ProposingProject):
    """Edits on a project. Make one with `open`; close it, or use it in a ``with``.

    Attributes
    ----------
    project : Project
        As segmented.
    read_only : bool
        Edits are refused.
    owner : str
        Who has the project open for writing, if not we.
    notices : tuple of str
        What the user should know.
    """

    edited: ClassVar[Signal] = Signal(Delta)

    def __init__(
        self,
        project: Project,
        table: FragmentTable,
        database: SessionDatabase,
        lock: WriterLock | None,
        notices: tuple[str, ...] = (),
    ) -> None:
        super().__init__(project, table, database)
        self.read_only = lock is None
        self.notices = notices
        self._lock = lock
        self._load()

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> Self:
        """Open the session of a project; it begins with the first edit.

        Where another program has the project open for writing, or its folder cannot be written,
        the session is read-only and `owner` or `notices` say why.

        Raises
        ------
        ProjectError
            No project, damaged, newer than this program, or edited on other fragments.
        """
        project = Project.open(path)
        notices: list[str] = []
        owner = ""
        with ExitStack() as undo:
            lock: WriterLock | None = None
            if not read_only:
                lock = WriterLock(project.path)
                try:
                    owner = lock.acquire()
                except OSError as error:
                    notices.append(f"{project.path} cannot be written ({error}): read-only.")
                    owner = " "
                if owner:
                    lock = None
                else:
                    undo.callback(lock.release)
            if owner.strip():
                notices.append(f"{owner} has this project open: read-only.")
            database = SessionDatabase(
                project.path, fingerprint_of(project), read_only=lock is None
            )
            undo.callback(database.close)
            session = cls(project, fragment_table(project), database, lock, tuple(notices))
            session.owner = owner.strip()
            undo.pop_all()
        return session

    def _load(self) -> None:
        edits: list[Edit] = []
        try:
            edits.extend(self._database.read_edits())
        except ProjectError as error:
            if not self.read_only:
                raise
            # What is readable can be looked at; a writer would build on sand.
            self.notices += (str(error),)
        self._history = History(edits)
        made = [edit for edit in edits if edit.packed is not None]
        skimmed = skim_effects([edit.packed for edit in made if edit.packed is not None])
        active = set(self._history.path_to(self._history.cursor))
        self._state.fold(
            skimmed.of(np.fromiter((edit.id in active for edit in made), bool, len(made)))
        )
        # Undone edits count too: an id that the log has used is never given out again. Not read
        # through `Edit.effect`, which would keep the voxels of all pieces a second time.
        splits = (split for data in skimmed.rest.values() for split in unpack_rest(data)[0])
        self._reserve(skimmed.after.values, splits)

    def close(self) -> None:
        """Give the project back; may be called twice."""
        with self._turn:
            self._database.close()
            if self._lock is not None:
                self._lock.release()
            self._lock, self.read_only = None, True

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    # what is there

    @property
    def edits(self) -> Sequence[Edit]:
        """The log, in order; live."""
        return self._history.edits

    @property
    def cursor(self) -> int:
        """The edit the history stands on; 0 is the result as segmented."""
        return self._history.cursor

    # edits

    def commit(self, proposal: Proposal, *, seconds: float | None = None) -> Edit:
        """Make a proposed edit; it is durable when this returns.

        Parameters
        ----------
        proposal : Proposal
            Worked out on the present state.
        seconds : float, optional
            The user's time for it.

        Raises
        ------
        EditRejectedError
            If another edit came between.
        OutputError
            If it cannot be written: disk full, or the session is read-only.
        """
        with self._turn:
            if proposal.base != len(self._history.edits):
                raise EditRejectedError(
                    "Another edit was made since this one was worked out.",
                    "a proposal on the present state",
                    "look at the preview again.",
                )
            number = len(self._history.edits) + 1
            return self._enter(Edit.of_proposal(proposal, number, now(), self.cursor, seconds))

    def merge(self, a: Pick, b: Pick, *, force: bool = False, seconds: float | None = None) -> Edit:
        """Merge two segments; see `propose_merge`."""
        with self._turn:
            return self.commit(self.propose_merge(a, b, force=force), seconds=seconds)

    def merge_below(
        self,
        distance: float = HALF_WAY,
        roi: Roi | None = None,
        *,
        segments: Iterable[int] | None = None,
        leave_done: bool = False,
        force: bool = False,
        seconds: float | None = None,
    ) -> Edit:
        """Merge whatever lies below an embedding distance, as one edit; see `propose_merge_below`.

        Needs distances: ``neuropil distances PROJECT`` measures them.
        """
        with self._turn:
            proposal = self.propose_merge_below(
                distance, roi=roi, segments=segments, leave_done=leave_done, force=force
            )
            return self.commit(proposal, seconds=seconds)

    def split(
        self, side_a: Any, side_b: Any, *, force: bool = False, seconds: float | None = None
    ) -> Edit:
        """Split a segment; see `propose_split`."""
        with self._turn:
            return self.commit(self.propose_split(side_a, side_b, force=force), seconds=seconds)

    def detach(self, fragments: Any, *, force: bool = False, seconds: float | None = None) -> Edit:
        """Take fragments out of their segment; see `propose_detach`."""
        with self._turn:
            return self.commit(self.propose_detach(fragments, force=force), seconds=seconds)

    def isolate(self, fragments: Any, *, force: bool = False, seconds: float | None = None) -> Edit:
        """Take fragments out and let the rest fall apart; see `propose_isolate`."""
        with self._turn:
            return self.commit(self.propose_isolate(fragments, force=force), seconds=seconds)

    def assign(
        self, fragments: Any, segment: Pick, *, force: bool = False, seconds: float | None = None
    ) -> Edit:
        """Move fragments to a segment; see `propose_assign`."""
        with self._turn:
            return self.commit(
                self.propose_assign(fragments, segment, force=force), seconds=seconds
            )

    def delete(self, segment: Pick, *, force: bool = False, seconds: float | None = None) -> Edit:
        """Make a segment background; see `propose_delete`."""
        with self._turn:
            return self.commit(self.propose_delete(segment, force=force), seconds=seconds)

    def draw(
        self,
        drawn: Drawing | Iterable[DrawnRow],
        into: Pick | None = None,
        *,
        rules: DrawingRules | None = None,
        force: bool = False,
        seconds: float | None = None,
    ) -> Edit:
        """Make a drawn object a segment, or a part of one; see `propose_drawing`."""
        self._check_writable()  # before a second of work, not after it
        with self._turn:
            proposal = self.propose_drawing(drawn, into, rules=rules, force=force)
            return self.commit(proposal, seconds=seconds)

    # history

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return self.cursor > 0

    @property
    def can_redo(self) -> bool:
        """Whether an edit was taken back that can be made again."""
        return self._history.child_of(self.cursor) is not None

    def undo(self) -> Edit:
        """Take back the last edit.

        Raises
        ------
        EditRejectedError
            If there is none.
        """
        if not self.can_undo:
            raise EditRejectedError("There is nothing to undo.", "an edit", "")
        return self.jump(self._history.parent_of(self.cursor))

    def redo(self) -> Edit:
        """Make the edit again that was taken back last.

        Raises
        ------
        EditRejectedError
            If there is none.
        """
        child = self._history.child_of(self.cursor)
        if child is None:
            raise EditRejectedError("There is nothing to redo.", "an edit taken back", "")
        return self.jump(child)

    def jump(self, edit_id: int) -> Edit:
        """Go to any point of the history; 0 is the result as segmented.

        Returns
        -------
        Edit
            The move, as logged: going there can be undone like an edit.
        """
        with self._turn:
            count = len(self._history.edits)
            known = 0 <= edit_id <= count
            if not known or (edit_id and self._history[edit_id].kind == "move"):
                raise EditRejectedError(
                    f"There is no edit {edit_id} to go to.", f"an edit from 0 to {count}", ""
                )
            return self._enter(Edit.move(count + 1, now(), self.cursor, int(edit_id)))

    def history(self) -> list[HistoryRow]:
        """Return the edits as a table shows them, oldest first."""
        return self._history.rows()

    def take_snapshot(self, name: str) -> Snapshot:
        """Give the present point of the history a name, moving the name if it is taken."""
        self._check_writable()
        snapshot = Snapshot(name.strip(), self.cursor, now())
        if not snapshot.name:
            raise EditRejectedError("The snapshot has no name.", "a name", "")
        self._database.write_snapshot(snapshot)
        return snapshot

    def snapshots(self) -> list[Snapshot]:
        """Return the named points of the history, oldest first."""
        return self._database.read_snapshots()

    def restore_snapshot(self, name: str) -> Edit:
        """Go to a named point of the history."""
        for snapshot in self.snapshots():
            if snapshot.name == name:
                return self.jump(snapshot.edit_id)
        raise EditRejectedError(f"There is no snapshot {name!r}.", "the name of a snapshot", "")

    # parts

    def append(self, edit: Edit) -> Edit:
        """Append a line of another log (replay); checked against the present state first.

        Raises
        ------
        ProjectError
            If it does not fit.
        """
        with self._turn:
            if edit.effect is not None:
                self._state.check(edit.effect)
            return self._enter(edit)

    def _enter(self, edit: Edit) -> Edit:
        """Make an edit durable, then change the state, then tell."""
        self._check_writable()
        began = self.cursor
        self._history.check(edit)
        self._database.append(edit)
        self._history.append(edit)
        if edit.effect is not None:
            self._reserve(edit.effect.after, edit.effect.splits)
        changed: list[NDArray[np.uint64]] = []
        segments: set[int] = set()
        if edit.effect is not None:
            self._state.apply(edit.effect)
            changed.append(edit.effect.fragments)
            segments.update(edit.effect.segments)
        else:
            back, forth = self._history.way(began, self.cursor)
            for numbers, carry in ((back, self._state.revert), (forth, self._state.apply)):
                for number in numbers:
                    effect = self._history[number].effect
                    if effect is not None:
                        carry(effect)
                        changed.append(effect.fragments)
                        segments.update(effect.segments)
        fragments = np.unique(np.concatenate([np.zeros(0, np.uint64), *changed]))
        self.edited.emit(Delta(edit, tuple(sorted(segments)), fragments, self._box(fragments)))
        return edit

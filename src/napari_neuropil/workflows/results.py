"""A project as it is now: with the edits of its session, where there are any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast, get_args

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError, ProjectError, SettingsError
from napari_neuropil.project import Project
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.proofreading.database import DATABASE
from napari_neuropil.proofreading.edits import Status
from napari_neuropil.volumes import Volume

_STATUSES: Final = get_args(Status)
_MOST_NAMED: Final = 5


@contextmanager
def open_edited(path: str | Path) -> Iterator[ProofreadingSession]:
    """Open a project's session for reading, also while another program edits it.

    Raises
    ------
    ProjectError
        No project, or a session whose log is damaged: what comes after the damage would be missing
        without a word.
    """
    with ProofreadingSession.open(path, read_only=True) as session:
        if session.notices:
            raise ProjectError(
                f"The edits of {path} are damaged: {' '.join(session.notices)}",
                "an undamaged session",
                f"save what can be read first: neuropil repair {path}.",
            )
        yield session


@contextmanager
def open_segments(path: str | Path) -> Iterator[Volume]:
    """Open a project's segments, edited or as segmented, as a lazy volume.

    Raises
    ------
    ProjectError
        As `open_edited`.
    """
    if (Path(path) / DATABASE).exists():
        with open_edited(path) as session:
            yield session.segments()
    else:
        yield Project.open(path).segments()


def refuse_edited(path: Path) -> None:
    """Refuse a project whose edits would be lost if it were replaced.

    Raises
    ------
    OutputError
        If it holds edits, notes or answers, or another program has it open.
    ProjectError
        If its session is damaged: there may be edits in it.
    """
    if not (path / DATABASE).exists():
        return
    with ProofreadingSession.open(path) as session:
        kept = {
            "edits": len(session.edits),
            "notes on segments": len(session.annotations()),
            "answers": len(session.decisions()),
        }
        owner = session.owner
    if owner:
        raise OutputError(f"{owner} has {path} open.", "a closed project", "close it there.")
    held = ", ".join(f"{count} {name}" for name, count in kept.items() if count)
    if held:
        raise OutputError(
            f"{path} holds {held}.",
            "a project without edits to replace",
            "choose another name, or remove the folder yourself if they may be lost.",
        )


def choose_segments(session: ProofreadingSession, words: str) -> NDArray[np.uint64]:
    """Return the segments that a user named.

    Parameters
    ----------
    session : ProofreadingSession
        Of the project.
    words : str
        Ids with commas between them, a status (``done``), or ``all``.

    Returns
    -------
    NDArray[np.uint64]
        Ascending, each once.

    Raises
    ------
    SettingsError
        If a word is none of these, or there is no such segment.
    """
    known = session.segment_ids()
    text = words.strip()
    if text == "all":
        return known
    if text in _STATUSES:
        status = cast("Status", text)
        marked = {s for s, note in session.annotations().items() if note.status == status}
        chosen = [int(s) for s in known if int(s) in marked]
        if not chosen:
            raise SettingsError(
                f"No segment has the status {text!r}.",
                "a status that segments have",
                "name the segments' ids, or set the status in the dock.",
            )
        return np.array(chosen, np.uint64)
    try:
        ids = sorted({int(word) for word in text.split(",")})
        asked = np.array(ids, np.uint64)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"--segments {words} cannot be read.",
            f"ids such as 5,9, a status ({', '.join(_STATUSES)}) or all",
            "give for example --segments 5,9.",
        ) from None
    missing = asked[~np.isin(asked, known)]
    if len(missing):
        raise SettingsError(
            f"There is no segment {_named(missing)}.",
            f"ids of the {len(known)} segments of {session.path}",
            "neuropil export PROJECT --statistics FILE.csv lists them.",
        )
    return asked


def _named(ids: Iterable[np.uint64]) -> str:
    names = [str(int(i)) for i in ids]
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")

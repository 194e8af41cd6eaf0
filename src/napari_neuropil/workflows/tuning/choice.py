"""Which segments a user means: ids, ranges, a status, or what was edited."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.proofreading.edits import STATUSES
from napari_neuropil.workflows.id_ranges import parse_ids

_CORRECTED: Final = "corrected"
_ALL: Final = "all"
_SWEEP: Final = 50
"""An edit of more segments at once is no correction that somebody looked at."""


def segments_of_project(session: ProofreadingSession, words: str) -> frozenset[int]:
    """Return segments of a project as it is now.

    Parameters
    ----------
    session : ProofreadingSession
        Of the project.
    words : str
        With commas between them: ids (``5``), ranges (``8-24``, of which those count that are
        there), a status (``done``), ``corrected`` (touched by an edit that holds, unless marked
        wrong), ``all``. None for an empty text.

    Raises
    ------
    SettingsError
        If a word is none of these, or an id is no segment.
    """
    known = frozenset(int(s) for s in session.segment_ids())
    found: set[int] = set()
    for word in filter(None, (part.strip() for part in words.split(","))):
        if word == _ALL:
            found |= known
        elif word == _CORRECTED:
            found |= corrected_segments(session)
        elif word in STATUSES:
            notes = session.annotations().items()
            found |= {segment for segment, note in notes if note.status == word}
        else:
            found |= _named(word, known)
    return frozenset(found & known)


def ids_of_labels(words: str) -> frozenset[int] | None:
    """Return the ids of labels that a text names; None for ``all``.

    Raises
    ------
    SettingsError
        If a word is neither an id nor a range.
    """
    return None if words.strip() == _ALL else frozenset(parse_ids(words))


def corrected_segments(session: ProofreadingSession) -> frozenset[int]:
    """Return the segments that edits have touched which hold now, but those marked wrong."""
    active = {row.id for row in session.history() if row.active}
    touched: set[int] = set()
    for edit in session.edits:
        effect = edit.effect if edit.id in active else None
        if effect is None or len(effect.segments) > _SWEEP:
            continue
        touched.update(effect.segments, _present(session.lookup, effect.fragments))
    wrong = {s for s, note in session.annotations().items() if note.status == "wrong"}
    known = {int(s) for s in session.segment_ids()}
    return frozenset((touched - wrong) & known)


def _present(lookup: NDArray[np.uint64], fragments: NDArray[np.uint64]) -> set[int]:
    """Return the segments that fragments are in now; later edits may have moved them."""
    return {int(s) for s in np.unique(lookup[fragments.astype(np.intp)])} - {0}


def _named(word: str, known: frozenset[int]) -> set[int]:
    try:
        asked = set(parse_ids(word))
    except SettingsError:
        raise SettingsError(
            f"{word!r} names no segments.",
            f"ids and ranges such as 5,8-24, a status ({', '.join(STATUSES)}), corrected or all",
            "",
        ) from None
    if len(asked) == 1 and not asked <= known:
        raise SettingsError(f"There is no segment {word}.", f"ids of the {len(known)} segments", "")
    return asked

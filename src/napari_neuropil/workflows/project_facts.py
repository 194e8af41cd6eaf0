"""What a project is and how far its proofreading has come, in a few facts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from napari_neuropil.project import Project, read_info
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.proofreading.database import DATABASE


def describe_project(path: str | Path) -> dict[str, Any]:
    """Return the facts of a project as plain data.

    Parameters
    ----------
    path : path-like
        The project folder, finished or not.

    Returns
    -------
    dict
        ``path``, ``state``, ``method``, ``image``, ``roi``, ``voxel_size_nm``, ``fragments``,
        ``notices``; of a finished one ``shape``, ``segments``, ``edits`` (0 where there are none),
        and of one with edits ``active_edits`` (those not undone), ``last_edit`` (seconds since
        1970), ``kinds``, ``snapshots``, ``decisions``, ``statuses``.

    Raises
    ------
    ProjectError
        If there is no project, or it is damaged.
    """
    folder = Path(path)
    info = read_info(folder)
    facts: dict[str, Any] = {
        "path": str(folder),
        "state": info.state,
        "method": info.method,
        "image": info.image_source,
        "roi": info.roi,
        "voxel_size_nm": list(info.voxel_size),
        "fragments": info.fragment_count,
        "notices": list(info.notices),
    }
    if info.state != "finished":
        return facts
    if not (folder / DATABASE).exists():
        project = Project.open(folder)
        segments = int(np.count_nonzero(np.unique(project.lookup)))
        return {**facts, "shape": list(project.fragments.shape), "segments": segments, "edits": 0}
    # Also of a damaged session: what can be read, and the notice that says what cannot.
    with ProofreadingSession.open(folder, read_only=True) as session:
        rows = session.history()
        facts["notices"] += session.notices
        return {
            **facts,
            "shape": list(session.project.fragments.shape),
            "segments": len(session.segment_ids()),
            "edits": len(rows),
            "active_edits": sum(row.active for row in rows),
            "last_edit": rows[-1].time if rows else None,
            "kinds": dict(Counter(row.kind for row in rows)),
            "snapshots": len(session.snapshots()),
            "decisions": len(session.decisions()),
            "statuses": dict(Counter(note.status for note in session.annotations().values())),
        }

"""Segment a volume into a project, or run some of the stages that lead there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_neuropil.errors import SettingsError
from napari_neuropil.project import Project
from napari_neuropil.project.fragment_table import fragment_table
from napari_neuropil.workflows.plan import resolve
from napari_neuropil.workflows.requests import (
    LAST_STAGE,
    Progress,
    Report,
    SegmentPlan,
    SegmentRequest,
)
from napari_neuropil.workflows.segment_stages import StagedRun


def segment(
    request: SegmentRequest,
    *,
    report: Report = lambda _progress: None,
    cancelled: Callable[[], bool] = lambda: False,
    planned: Callable[[SegmentPlan], None] = lambda _plan: None,
) -> Project:
    """Plan and run a segmentation.

    Parameters
    ----------
    request : SegmentRequest
        The wish.
    report : callable
        Hears of progress.
    cancelled : callable
        Asked before every pass of the network.
    planned : callable
        Hears of the plan before the work begins.

    Returns
    -------
    Project
        The finished project, opened.

    Raises
    ------
    NeuropilError
        Bad input, an existing project, no space, a wish for some stages only (see `run_stages`);
        `CancelledError` if `cancelled` said so.
    """
    if request.until != LAST_STAGE:
        raise SettingsError(
            f"until = {request.until}: no segments come of it.",
            f"until = {LAST_STAGE}",
            "call run_stages.",
        )
    path = run_stages(request, report=report, cancelled=cancelled, planned=planned)
    project = Project.open(path)
    # Measured now, so that opening the project for proofreading does not wait for it.
    fragment_table(
        project,
        report=lambda done, total: report(Progress(stage="sizes", done=done, total=total)),
    )
    return project


def run_stages(
    request: SegmentRequest,
    *,
    report: Report = lambda _progress: None,
    cancelled: Callable[[], bool] = lambda: False,
    planned: Callable[[SegmentPlan], None] = lambda _plan: None,
) -> Path:
    """Run the stages up to `request.until`; parameters and errors as `segment`.

    Returns
    -------
    Path
        The project, unfinished unless the last stage was run.
    """
    resolved = resolve(request)
    planned(resolved.plan)
    return StagedRun(resolved, report, cancelled).run()

"""Going on with a project that exists: the same run, or the same network and other settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from napari_neuropil.blockwise import Ledger
from napari_neuropil.errors import ProjectError
from napari_neuropil.methods import method_entry
from napari_neuropil.methods.settings import network_fields
from napari_neuropil.project import read_info, write_info
from napari_neuropil.workflows.requests import SegmentPlan
from napari_neuropil.workflows.results import refuse_edited

_SAME_NETWORK: Final = {
    "shape", "voxel_size", "roi", "factors", "tile_shape", "overlap", "block_shape",
    "grey_range", "checkpoint_sha256",
}  # fmt: skip
"""What must agree for the network's values of one run to be those of another."""

_KEPT: Final = {"project.json", "affinities.zarr", "fragments.zarr", "blocks"}
_KEPT_OF_BLOCKS: Final = {"begun", "affinities", "windows"}


def check_same_run(project: Path, plan: SegmentPlan) -> None:
    """Refuse to go on with a run that was begun otherwise.

    Raises
    ------
    ProjectError
        Naming what differs.
    """
    old = SegmentPlan.model_validate(read_info(project).plan)
    _compare(project, _facts(plan, plan.settings), _facts(old, old.settings))


def begin_again(project: Path, plan: SegmentPlan, blocks: int) -> None:
    """Clear all that follows the network's stage.

    Parameters
    ----------
    project : Path
        Finished or not.
    plan : SegmentPlan
        Of the new run.
    blocks : int
        How many blocks the network must have finished.

    Raises
    ------
    ProjectError
        If the network has not finished there, or would say something else now.
    OutputError
        If edits would be lost.
    """
    info = read_info(project)
    old = SegmentPlan.model_validate(info.plan)
    shared = network_fields(method_entry(old.request.method).settings_class)
    ours, theirs = (
        _facts(p, {k: v for k, v in p.settings.items() if k in shared}) for p in (plan, old)
    )
    _compare(project, ours, theirs)
    done = Ledger(project / "blocks" / "affinities").count()
    if done < blocks:
        raise ProjectError(
            f"In {project} the network has finished {done} of {blocks} blocks.",
            "a finished stage of affinities",
            "go on with --resume first.",
        )
    refuse_edited(project)
    # First of all, so that a project killed while it is cleared does not pass for a finished one.
    write_info(project, info.model_copy(update={"state": "unfinished"}))
    for folder, kept in ((project, _KEPT), (project / "blocks", _KEPT_OF_BLOCKS)):
        for path in folder.iterdir():
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _facts(plan: SegmentPlan, settings: dict[str, Any]) -> dict[str, Any]:
    facts = plan.model_dump(include=_SAME_NETWORK)
    return {**facts, "image": plan.request.image, "settings": settings}


def _compare(project: Path, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    different = [k for k in ours if ours[k] != theirs[k]]
    if different:
        facts = "; ".join(f"{k} was {theirs[k]} and is {ours[k]}" for k in different)
        raise ProjectError(
            f"{project} was begun otherwise: {facts}.",
            "the same image, roi and settings",
            "repeat the first command with --resume added, or choose another folder.",
        )

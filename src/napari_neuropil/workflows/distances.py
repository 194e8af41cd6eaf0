"""Mean-embedding distances of a project's contacts: measured once, kept in the project."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, ProjectError
from napari_neuropil.geometry import Roi
from napari_neuropil.inference.grey_values import GreyRange, find_grey_range
from napari_neuropil.methods.settings import MethodSettings
from napari_neuropil.project import Project
from napari_neuropil.project.contact_distances import (
    ContactDistances,
    read_distances,
    write_distances,
)
from napari_neuropil.volumes import open_volume
from napari_neuropil.workflows.embedded_image import EmbeddedImage
from napari_neuropil.workflows.requests import Progress, Report

_SAVE_SECONDS: Final = 5.0
_COMMON: Final = ("resample", "invert", "normalisation", "overlap", "mean_embedding")


def measure_distances(
    path: str | Path,
    *,
    near: Roi | None = None,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    report: Report = lambda _progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ContactDistances:
    """Measure the contacts nobody has looked at yet.

    Between two segments the mean embeddings of the segments near the contact are compared, inside
    one segment those of the two fragments. What is measured is saved every few seconds.

    Parameters
    ----------
    path : path-like
        A finished project whose image can be read.
    near : Roi, optional
        Only contacts whose centroid lies in this box, voxels of the fragments.
    checkpoint : path-like, optional
        Embedding network; None takes the shipped one.
    device : str
        auto, cpu, cuda or mps.
    report : callable
        Hears of progress.
    cancelled : callable
        Asked before each patch.

    Returns
    -------
    ContactDistances
        Of all contacts, in the order of the graph.

    Raises
    ------
    ProjectError
        No project, or one without an image.
    CancelledError
        If `cancelled` said so; what was measured is kept.
    """
    project = Project.open(path)
    image = open_embedded_image(project, checkpoint=checkpoint, device=device)
    rag, lookup = project.rag, project.lookup
    found = read_distances(project.path, len(rag))
    if found is None or found.checkpoint_sha256 != image.checkpoint_sha256:
        found = ContactDistances.none_yet(len(rag), image.checkpoint_sha256)
    distance, measured = found.distance.copy(), found.measured.copy()
    wanted = ~measured
    if near is not None:
        inside = (rag.centroid >= np.array(near.start)) & (rag.centroid < np.array(near.stop))
        wanted &= inside.all(axis=1)
    ends = lookup[rag.contacts.astype(np.intp)]
    within = ends[:, 0] == ends[:, 1]
    last_saved = time.monotonic()

    def current() -> ContactDistances:
        return ContactDistances(distance, measured, image.checkpoint_sha256)

    before = 0
    total = int(wanted.sum())

    def tell(done: int, _count: int) -> None:
        if cancelled():
            raise CancelledError("Stopped.", "", "what was measured is kept; go on any time.")
        report(Progress(stage="distances", done=before + done, total=max(1, total)))

    try:
        for rows, pairs, names in (
            (np.flatnonzero(wanted & ~within), ends, lookup),
            (np.flatnonzero(wanted & within), rag.contacts, None),
        ):

            def labels(patch: Roi, names: NDArray[np.uint64] | None = names) -> NDArray[np.uint64]:
                fragments = image.labels_of(project.fragments.array, patch)
                return fragments if names is None else names[fragments]

            def keep(
                part: NDArray[np.intp], values: NDArray[np.float32], rows: NDArray[np.intp] = rows
            ) -> None:
                nonlocal last_saved
                distance[rows[part]], measured[rows[part]] = values, True
                if time.monotonic() - last_saved > _SAVE_SECONDS:
                    write_distances(project.path, current())
                    last_saved = time.monotonic()

            image.distances(labels, pairs[rows], rag.centroid[rows], report=tell, measured=keep)
            before += len(rows)
    finally:
        # Also after Ctrl-C: nothing measured is lost.
        write_distances(project.path, current())
    return current()


def open_embedded_image(
    project: Project, *, checkpoint: str | Path | None = None, device: str = "auto"
) -> EmbeddedImage:
    """Open the image a project was made from, with the embedding network.

    Raises
    ------
    ProjectError
        If the project names no image.
    VolumeNotFoundError
        If the image is not where it was.
    """
    info = project.info
    if not info.image_source:
        raise ProjectError(
            f"{project.path} names no image.",
            "a project with an image: embeddings are made of it",
            "import the labels again with --image.",
        )
    # A relative source starts from the project; an absolute one replaces it.
    volume = open_volume(project.path / info.image_source)
    roi = Roi.parse(info.roi, volume.shape)
    made_with = info.plan.get("settings", {})
    settings = MethodSettings(**{k: made_with[k] for k in _COMMON if k in made_with})
    if "grey_range" in info.plan:
        grey = GreyRange(*info.plan["grey_range"])
    else:
        grey, _ = find_grey_range(volume, roi, settings.normalisation, invert=settings.invert)
    return EmbeddedImage.open(
        volume,
        roi,
        info.voxel_size_nm,
        grey,
        settings=settings,
        checkpoint=checkpoint,
        device=device,
    )

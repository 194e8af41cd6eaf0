"""What block-wise fragments promise: the same segments wherever affinities do not contradict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_neuropil.errors import CancelledError
from napari_neuropil.geometry import Roi
from napari_neuropil.project import Project
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.segmentation.metric_offsets import OFFSETS
from napari_neuropil.training.targets import affinities_of_labels, widen_borders
from napari_neuropil.workflows.requests import Progress, SegmentRequest
from napari_neuropil.workflows.segment import segment

SHAPE = (10, 70, 54)


@pytest.fixture(scope="module")
def cells() -> np.ndarray[Any, Any]:
    """Cells of random centres, each in one piece, between membranes."""
    rng = np.random.default_rng(8)
    seeds = np.zeros(SHAPE, np.int32)
    places = [rng.integers(0, n, 14) for n in SHAPE]
    seeds[tuple(places)] = np.arange(1, 15)
    index = ndimage.distance_transform_edt(
        seeds == 0, sampling=(3, 1, 1), return_distances=False, return_indices=True
    )
    labels = widen_borders(seeds[tuple(index)].astype(np.uint32), through_sections=False)
    parts = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        found, _ = ndimage.label(labels == label)
        sizes = np.bincount(found.ravel())
        sizes[0] = 0
        parts[found == sizes.argmax()] = label
    return parts


def perfect(labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return what a network that is right would have stored."""
    affinities, _ = affinities_of_labels(labels, OFFSETS)
    foreground = (labels > 0).astype(np.float32)
    return np.concatenate([affinities, foreground[None]])


def run(
    wish: dict[str, Any], block_shape: tuple[int, ...], stored: np.ndarray[Any, Any]
) -> Project:
    """Segment with `stored` in the place of what the network said."""
    reached = False

    def listen(progress: Progress) -> None:
        nonlocal reached
        reached = progress.stage == "fragments"

    wish = {**wish, "block_shape": block_shape}
    with pytest.raises(CancelledError):
        segment(SegmentRequest(**wish), report=listen, cancelled=lambda: reached)
    store = AffinityStore.open(Path(wish["project"]) / "affinities.zarr")
    store.write(Roi((0, 0, 0), SHAPE), stored)
    return segment(SegmentRequest(**wish, resume=True))


@pytest.mark.parametrize("seed", range(4))
def test_segments_do_not_depend_on_blocks(
    embedding_checkpoint: Path,
    small_image: Path,
    cells: np.ndarray[Any, Any],
    tmp_path: Path,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(rng.integers(low, n + 1)) for low, n in zip((3, 12, 12), SHAPE, strict=True))
    wish = {
        "image": f"{small_image}/image",
        "project": str(tmp_path / "parts.neuropil"),
        "method": "voxel-embeddings",
        "checkpoint": str(embedding_checkpoint),
        "device": "cpu",
        "settings": {"smallest_fragment": 0, "fill_background": False, "mean_embedding": False},
    }
    project = run(wish, shape, perfect(cells))
    segments = project.lookup[np.asarray(project.fragments.array[:, :, :])]
    np.testing.assert_array_equal(segments > 0, cells > 0)
    pairs = np.unique(np.stack([segments[cells > 0], cells[cells > 0]]), axis=1)
    assert len(pairs.T) == len(np.unique(cells)) - 1, f"one segment a cell, blocks {shape}"

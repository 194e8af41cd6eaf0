"""Colours of a project: on its grid, one colour for one object, after all edits; and their file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ortho_group

from napari_neuropil.errors import (
    CancelledError,
    OutputError,
    ProjectError,
    SettingsError,
    VolumeFormatError,
    VolumeNotFoundError,
)
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.workflows import embedding_view
from napari_neuropil.workflows.colour_box import ColourBox, read_colour_box, write_colour_box
from napari_neuropil.workflows.embedded_image import EmbeddedImage
from napari_neuropil.workflows.embedding_view import embedding_colours

MakeProject = Callable[..., Path]
SHAPE = (5, 70, 90)


@pytest.fixture
def objects() -> NDArray[np.uint64]:
    """Return nine rectangles, ids 1 to 9, and background in the last columns."""
    _, y, x = np.indices(SHAPE)
    ids = 1 + 3 * (y // 24) + np.minimum(x // 30, 2)
    ids[..., 84:] = 0
    return ids.astype(np.uint64)


@pytest.fixture
def true_embeddings(
    objects: NDArray[np.uint64], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, ...]]:
    """Let the network be perfect: a vector for each object, each patch in a frame of its own.

    Returns the starts of the patches that were embedded.
    """
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1, (10, 6))
    seen: list[tuple[int, ...]] = []

    def embed(image: EmbeddedImage, patch: Roi) -> NDArray[np.float32]:
        seen.append(patch.start)
        field = vectors[image.labels_of(objects, patch).astype(np.intp)]
        noisy = field + rng.normal(0, 0.02, field.shape)
        return np.moveaxis(noisy @ ortho_group.rvs(6, random_state=rng), -1, 0).astype(np.float32)

    monkeypatch.setattr(EmbeddedImage, "embed", embed)
    monkeypatch.setattr("napari_neuropil.inference.embeddings.PATCH_SHAPE", (4, 24, 24))
    monkeypatch.setattr(embedding_view, "CORE_SHAPE", (3, 14, 14))
    return seen


def test_objects_have_their_colour_in_every_patch(
    make_project: MakeProject,
    embedding_checkpoint: Path,
    objects: NDArray[np.uint64],
    true_embeddings: list[tuple[int, ...]],
) -> None:
    path = make_project(objects)
    heard: list[tuple[float, float]] = []
    near = Roi((1, 3, 5), (5, 66, 88))
    box = embedding_colours(
        path,
        near=near,
        checkpoint=embedding_checkpoint,
        device="cpu",
        report=lambda p: heard.append((p.done, p.total)),
    )
    assert box.roi == near
    assert box.colours.shape == (4, 63, 83, 3)
    assert box.colours.dtype == np.uint8
    assert tuple(box.voxel_size) == (30, 6, 6)
    assert box.translation == (100 + 30, 18, 30)
    patches = len(true_embeddings)
    assert patches > 6
    assert heard == [(n, patches) for n in range(patches + 1)]
    inside = objects[near.slices]
    means = {n: box.colours[inside == n].mean(axis=0) for n in range(1, 10)}
    for number, mean in means.items():
        # A pooled pixel has the colour of its first voxel, so an object's edge may be one off.
        apart = abs(box.colours[inside == number] - mean).max(axis=1)
        assert np.percentile(apart, 90) < 25
        assert min(abs(mean - m).max() for n, m in means.items() if n != number) > 25


def test_deleted_segments_no_longer_count(
    make_project: MakeProject,
    embedding_checkpoint: Path,
    objects: NDArray[np.uint64],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def embed(image: EmbeddedImage, patch: Roi) -> NDArray[np.float32]:
        labels = image.labels_of(objects, patch).astype(np.float32)
        values = np.where(labels == 9, 100, labels)
        return np.stack([values, np.zeros_like(values), np.zeros_like(values)])

    monkeypatch.setattr(EmbeddedImage, "embed", embed)
    path = make_project(objects)

    def reds() -> set[int]:
        box = embedding_colours(path, checkpoint=embedding_checkpoint, device="cpu")
        return {int(box.colours[0, y, x, 0]) for y in (5, 30) for x in (5, 40, 70)}

    assert max(reds()) - min(reds()) < 30, "nine against all others takes the whole range"
    with ProofreadingSession.open(path) as session:
        session.delete(9)
        # Also while another program has the project open.
        assert max(reds()) - min(reds()) > 120


def test_an_untrained_network_colours_a_box(
    make_project: MakeProject, embedding_checkpoint: Path, objects: NDArray[np.uint64]
) -> None:
    path = make_project(objects)
    near = Roi((2, 11, 0), (3, 40, 29))
    first, second = (
        embedding_colours(path, near=near, checkpoint=embedding_checkpoint, device="cpu")
        for _ in range(2)
    )
    assert first.colours.shape == (1, 29, 29, 3)
    np.testing.assert_array_equal(first.colours, second.colours)
    assert len(np.unique(first.colours.reshape(-1, 3), axis=0)) > 5
    assert len(first.checkpoint_sha256) == 64
    # The grid is two voxels wide: 11 belongs to the pixel of 10, 12 and 13 are one.
    np.testing.assert_array_equal(first.colours[:, 1], first.colours[:, 2])
    np.testing.assert_array_equal(first.colours[:, :, 0], first.colours[:, :, 1])
    assert (first.colours[:, 0] != first.colours[:, 1]).any()


def test_what_cannot_be_coloured_is_said(
    make_project: MakeProject,
    embedding_checkpoint: Path,
    objects: NDArray[np.uint64],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = make_project(objects)
    options: dict[str, Any] = {"checkpoint": embedding_checkpoint, "device": "cpu"}
    with pytest.raises(SettingsError, match="leaves the project"):
        embedding_colours(path, near=Roi((0, 0, 0), (5, 71, 9)), **options)
    with pytest.raises(CancelledError):
        embedding_colours(path, cancelled=lambda: True, **options)
    monkeypatch.setattr(embedding_view, "MOST_VOXELS", 1000)
    with pytest.raises(SettingsError, match="31,500 voxels"):
        embedding_colours(path, **options)
    with pytest.raises(ProjectError, match="names no image"):
        embedding_colours(
            make_project(objects, image=False), near=Roi((0, 0, 0), (1, 9, 9)), **options
        )


def test_the_file_holds_colours_and_their_place(tmp_path: Path) -> None:
    colours = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    box = ColourBox(colours, (5, 0, 7), VoxelSize(30, 6, 6.5), (150, 0, 45.5), "abc")
    path = tmp_path / "c.npz"
    write_colour_box(path, box)
    with np.load(path) as content:
        assert content["start"].tolist() == [5, 0, 7]
        assert content["voxel_size"].tolist() == [30, 6, 6.5]
        assert content["translation"].tolist() == [150, 0, 45.5]
    again = read_colour_box(path)
    np.testing.assert_array_equal(again.colours, colours)
    assert again.roi == Roi((5, 0, 7), (7, 3, 11))
    assert (again.voxel_size, again.translation) == (box.voxel_size, box.translation)
    assert again.checkpoint_sha256 == "abc"
    with pytest.raises(OutputError, match="exists"):
        write_colour_box(path, box)
    write_colour_box(path, box, overwrite=True)
    with pytest.raises(OutputError, match=r"\.npz"):
        write_colour_box(tmp_path / "c.tif", box)
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]


def test_other_files_are_no_colours(tmp_path: Path) -> None:
    with pytest.raises(VolumeNotFoundError):
        read_colour_box(tmp_path / "none.npz")
    for name, arrays in (("a", {"colours": np.zeros(3)}), ("b", None), ("c", {})):
        path = tmp_path / f"{name}.npz"
        if arrays is None:
            path.write_bytes(b"PK no zip")
        else:
            np.savez(path, **arrays)
        with pytest.raises(VolumeFormatError, match="neuropil embeddings"):
            read_colour_box(path)
    place = {"start": np.zeros(3, int), "voxel_size": np.ones(3), "translation": np.zeros(3)}
    np.savez(tmp_path / "d.npz", colours=np.zeros((2, 2, 2)), checkpoint_sha256="", **place)
    with pytest.raises(VolumeFormatError, match="float64"):
        read_colour_box(tmp_path / "d.npz")

"""Seeds for a split: where the network sees two objects in a segment, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.errors import CancelledError, SettingsError
from napari_neuropil.geometry import Roi
from napari_neuropil.project import Project
from napari_neuropil.project.contact_distances import ContactDistances, write_distances
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.workflows.embedded_image import EmbeddedImage
from napari_neuropil.workflows.split_seeds import SplitSuggestion, suggest_split

MakeProject = Callable[..., Path]
Look = Callable[..., SplitSuggestion]

# Neighbours in the row of tests are 2.4 apart in L1, those two steps away 4.8.
STEP = 2.4


@pytest.fixture
def patches() -> list[Roi]:
    """Return the patches that were embedded, in order."""
    return []


@pytest.fixture
def look(
    embedding_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, patches: list[Roi]
) -> Callable[[NDArray[np.uint64]], Look]:
    """Return a function: given the true objects, one that suggests splits by a perfect network."""

    def of(objects: NDArray[np.uint64]) -> Look:
        rng = np.random.default_rng(0)

        def embed(image: EmbeddedImage, patch: Roi) -> NDArray[np.float32]:
            patches.append(patch)
            along = image.labels_of(objects, patch).astype(np.float32) * STEP / 4
            field = np.repeat(along[None], 4, 0) + rng.normal(0, 0.03, (4, *along.shape))
            return field.astype(np.float32)

        monkeypatch.setattr(EmbeddedImage, "embed", embed)
        monkeypatch.setattr("napari_neuropil.inference.embeddings.PATCH_SHAPE", (6, 40, 40))
        options: dict[str, Any] = {"checkpoint": embedding_checkpoint, "device": "cpu"}
        return lambda path, segment, **more: suggest_split(path, segment, **options, **more)

    return of


@pytest.fixture
def row() -> NDArray[np.uint64]:
    """Return four objects beside each other, 6 x 40 x 80 voxels of 30 x 6 x 6 nm."""
    ids = np.zeros((6, 40, 80), np.uint64)
    for number in range(4):
        ids[:, 4:36, 20 * number : 20 * (number + 1)] = number + 1
    return ids


def test_a_merge_error_gets_a_seed_on_both_sides(
    make_project: MakeProject, look: Any, row: NDArray[np.uint64], patches: list[Roi]
) -> None:
    path = make_project(row, np.array([0, 1, 1, 3, 4]))
    found = look(row)(path, 1)
    assert found.two_objects
    assert found.distance == pytest.approx(STEP, abs=0.1)
    assert found.separation is not None
    assert found.separation > 10
    assert found.red is not None
    assert found.blue is not None
    assert {int(row[found.red]), int(row[found.blue])} == {1, 2}
    # Deep inside: the farthest from the border and from the other object.
    assert 8 <= found.red[1] <= 32
    assert 8 <= found.blue[1] <= 32
    assert abs(found.red[2] - found.blue[2]) > 10
    assert found.patches == len(patches) == 1
    assert found.patch is not None
    assert found.patch.start[2] == 0


def test_one_object_gets_none(
    make_project: MakeProject, look: Any, row: NDArray[np.uint64]
) -> None:
    path = make_project(row)
    found = look(row)(path, 3)
    assert not found.two_objects
    assert found.red is None
    assert found.blue is None
    assert found.distance is not None
    assert found.distance < 0.5
    assert found.patches == 1


def test_two_objects_in_one_fragment_can_be_split_with_the_seeds(
    make_project: MakeProject, look: Any, row: NDArray[np.uint64]
) -> None:
    grey = np.full(row.shape, 200, np.uint8)
    grey[..., 59:61] = 40
    path = make_project(np.minimum(row, 3), grey=grey)
    found = look(row)(path, 3)
    assert found.two_objects
    with ProofreadingSession.open(path) as session:
        session.split(found.red, found.blue)
        left, right = session.segment_at((3, 20, 50)), session.segment_at((3, 20, 70))
        assert left != right
        for segment in (left, right):
            # The cut may leave a rim of the one with the other: too narrow to be a neuron.
            assert not look(row)(path, segment).two_objects


def test_a_narrow_rim_is_no_neuron(
    make_project: MakeProject, look: Any, row: NDArray[np.uint64]
) -> None:
    truth = row.copy()
    truth[:, 4:36, 40:44] = 2
    path = make_project(row)
    found = look(truth)(path, 3)
    assert (found.two_objects, found.red, found.distance, found.patches) == (False, None, None, 1)
    truth[:, 4:36, 44:48] = 2
    assert look(truth)(path, 3).two_objects


def test_edits_are_honoured_while_the_project_is_open(
    make_project: MakeProject, look: Any, row: NDArray[np.uint64]
) -> None:
    path = make_project(row)
    with ProofreadingSession.open(path) as session:
        assert not look(row)(path, 1).two_objects
        session.merge(1, 2)
        found = look(row)(path, 1)
        assert found.two_objects
        assert {int(row[found.red]), int(row[found.blue])} == {1, 2}
        session.undo()
        assert not look(row)(path, 1).two_objects


@pytest.fixture
def long() -> NDArray[np.uint64]:
    """Return a row of twelve fragments, 6 x 20 x 480 voxels: six patches long."""
    ids = np.zeros((6, 20, 480), np.uint64)
    ids[:, 2:18] = 1 + np.arange(480) // 40
    return ids


def weak_at(shape: tuple[int, ...], **columns: float) -> NDArray[np.float32]:
    affinity = np.full((3, *shape), 0.9, np.float32)
    for column, value in columns.items():
        affinity[2, :, :, int(column[1:])] = value
    return affinity


def test_a_large_segment_is_looked_at_where_its_contacts_are_weak(
    make_project: MakeProject, look: Any, long: NDArray[np.uint64], patches: list[Roi]
) -> None:
    truth = np.where(np.arange(480) < 400, 1, 2) * (long > 0)
    affinity = weak_at(long.shape, x80=0.4, x400=0.2)
    path = make_project(long, np.minimum(np.arange(13), 1), affinity)
    found = look(truth.astype(np.uint64))(path, 1, patches=1)
    assert found.two_objects
    assert {int(truth[found.red]), int(truth[found.blue])} == {1, 2}
    assert [patch.start[2] for patch in patches] == [180], "around column 400, which is pixel 200"
    patches.clear()
    same = np.ones_like(long) * (long > 0)
    none = look(same)(path, 1, patches=3)
    assert not none.two_objects
    assert none.patches == 3
    assert [patch.start[2] for patch in patches][:2] == [180, 20]


def test_far_embeddings_come_before_weak_contacts(
    make_project: MakeProject, look: Any, long: NDArray[np.uint64], patches: list[Roi]
) -> None:
    path = make_project(long, np.minimum(np.arange(13), 1), weak_at(long.shape, x400=0.2))
    rag = Project.open(path).rag
    distance = np.full(len(rag), np.nan, np.float32)
    distance[(rag.contacts == [3, 4]).all(axis=1)] = 2.5
    distance[(rag.contacts == [1, 2]).all(axis=1)] = 1.2
    write_distances(path, ContactDistances(distance, np.isfinite(distance), "x"))
    look(np.ones_like(long))(path, 1, patches=2)
    # The contact 3-4 is at column 120, pixel 60; then the weak one. 1.2 is not far.
    assert [patch.start[2] for patch in patches] == [40, 180]


def test_a_large_fragment_without_contacts_is_walked(
    make_project: MakeProject, look: Any, long: NDArray[np.uint64], patches: list[Roi]
) -> None:
    fragments = (long > 0).astype(np.uint64)
    fragments[:, :, 240:] = 0
    fragments[:, 2:6, 240:260] = 1
    truth = np.where(np.arange(480) < 180, 1, 2) * fragments
    fragments[:, 2:18, 300:] = 2
    path = make_project(fragments)
    found = look(truth.astype(np.uint64))(path, 1)
    assert found.two_objects
    assert found.distance == pytest.approx(STEP, abs=0.1)
    assert {int(truth[found.red]), int(truth[found.blue])} == {1, 2}


def test_branches_that_meet_elsewhere_are_not_two_neurons(
    make_project: MakeProject, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A horseshoe: the two arms in a patch are two objects to a network that sees no more."""
    fragments = np.zeros((6, 60, 300), np.uint64)
    fragments[:, 2:14] = 1
    fragments[:, 40:52] = 1
    fragments[:, 2:52, 290:] = 1
    fragments[:, 18:36, :280] = 2
    patches: list[Roi] = []

    def embed(image: EmbeddedImage, patch: Roi) -> NDArray[np.float32]:
        patches.append(patch)
        pieces, count = ndimage.label(image.labels_of(fragments, patch) == 1)
        assert count in (1, 2)
        return np.repeat(pieces[None].astype(np.float32), 4, 0)

    look_at = look(fragments)
    monkeypatch.setattr(EmbeddedImage, "embed", embed)
    found = look_at(make_project(fragments), 1)
    assert len(patches) > 2
    assert not found.two_objects
    assert found.distance == 0


def test_too_small_unknown_and_cancelled(
    make_project: MakeProject, look: Any, row: NDArray[np.uint64]
) -> None:
    fragments = row.copy()
    fragments[0, 0, :3] = 5
    path = make_project(fragments)
    small = look(row)(path, 5)
    assert (small.two_objects, small.distance, small.patches) == (False, None, 0)
    with pytest.raises(SettingsError, match="no segment 77"):
        look(row)(path, 77)
    with pytest.raises(CancelledError):
        look(row)(path, 1, cancelled=lambda: True)

"""The third method end to end with a tiny random network: windows, fragments, joined blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_neuropil.errors import CancelledError, ProjectError, SettingsError
from napari_neuropil.geometry import Roi
from napari_neuropil.inference.windows import window_of
from napari_neuropil.networks import load_checkpoint
from napari_neuropil.networks.agq import AGQ
from napari_neuropil.networks.agq.query_map import QueryMap
from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
from napari_neuropil.project import Project
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.project.query_evidence import read_query_evidence
from napari_neuropil.workflows.plan import plan_segmentation
from napari_neuropil.workflows.requests import Progress, SegmentRequest
from napari_neuropil.workflows.segment import segment

ARGUMENTS = {
    "channels": [8, 8, 8, 8, 8],
    "fused": 8,
    "learned_queries": 6,
    "smallest_component": 20,
}


@pytest.fixture(scope="module")
def agq_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(4)
    network = AGQ(**ARGUMENTS)
    path = tmp_path_factory.mktemp("weights") / "agq.safetensors"
    spec = CheckpointSpec(
        network="agq",
        arguments=ARGUMENTS,
        offsets=((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
        voxel_sizes=((30.0, 12.0, 12.0),),
        tile_shape=(7, 41, 33),
    )
    save_checkpoint(path, network.state_dict(), spec)
    return path


@pytest.fixture
def wish(agq_checkpoint: Path, small_image: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "image": f"{small_image}/image",
        "project": str(tmp_path / "out.neuropil"),
        "method": "agq",
        "checkpoint": str(agq_checkpoint),
        "device": "cpu",
        "settings": {"smallest_fragment": 4},
    }


def _stored(project: Project) -> np.ndarray[Any, Any]:
    return np.asarray(AffinityStore.open(project.path / "affinities.zarr").array[:])


def test_a_project_comes_out(wish: dict[str, Any]) -> None:
    plan = plan_segmentation(SegmentRequest(**wish))
    assert plan.block_shape == (5, 35, 27)
    assert plan.tiles == plan.blocks == 2 * 2 * 2
    project = segment(SegmentRequest(**wish))
    assert _stored(project).shape == (8, 10, 70, 54)
    fragments = np.asarray(project.fragments.array[:, :, :])
    assert fragments.max() == project.info.fragment_count > 1


def test_each_block_has_the_labels_of_its_window(
    wish: dict[str, Any], agq_checkpoint: Path, small_image: Path
) -> None:
    import h5py

    project = segment(SegmentRequest(**wish))
    with h5py.File(small_image) as file:
        image = file["image"][:].astype(np.float32) / 255
    network, _ = load_checkpoint(agq_checkpoint, "agq")
    block = Roi((5, 35, 27), (10, 70, 54))
    window = window_of(block, image.shape, (7, 41, 33))
    with torch.inference_mode():
        affinities, _, labels, *_ = QueryMap(network)(
            torch.from_numpy(np.ascontiguousarray(image[window.slices]))[None, None]
        )
    inside = block.shifted([-o for o in window.start]).slices
    stored = _stored(project)[(slice(None), *block.slices)]
    np.testing.assert_array_equal(stored[4], np.round(255 * labels[0, 0].numpy())[inside])
    assert np.abs(stored[:3] - 255 * affinities[0].numpy()[(slice(None), *inside)]).max() <= 0.51


@pytest.mark.parametrize("assembly", ["agreement", "affinity"])
def test_a_stopped_run_goes_on_to_the_same(wish: dict[str, Any], assembly: str) -> None:
    wish["settings"] = {**wish["settings"], "assembly": assembly, "join_threshold": 0.1}
    whole = segment(SegmentRequest(**{**wish, "project": wish["project"] + "2"}))
    assert len(np.unique(whole.lookup)) < len(whole.lookup), "some pieces were joined"
    seen = 0.0

    def listen(progress: Progress) -> None:
        nonlocal seen
        seen = progress.done if progress.stage == "affinities" else seen

    with pytest.raises(CancelledError):
        segment(SegmentRequest(**wish), report=listen, cancelled=lambda: seen >= 5)
    with pytest.raises(ProjectError):
        Project.open(wish["project"])
    resumed = segment(SegmentRequest(**wish, resume=True))
    np.testing.assert_array_equal(resumed.lookup, whole.lookup)
    np.testing.assert_array_equal(_stored(resumed), _stored(whole))


def test_what_queries_say_reaches_the_queue(wish: dict[str, Any]) -> None:
    from napari_neuropil.proofreading.candidates import find_candidates
    from napari_neuropil.proofreading.session import ProofreadingSession

    project = segment(SegmentRequest(**wish))
    found = read_query_evidence(project.path, project.info.fragment_count)
    assert found is not None
    # Each fragment was made of a label, and none is its own rival.
    assert (found.confidence[1:] > 0).all()
    assert found.rival.any()
    assert (found.rival[1:] != np.arange(1, len(found.rival))).all()
    assert (found.share[found.rival > 0] <= found.confidence[found.rival > 0]).all()
    with ProofreadingSession.open(project.path) as session:
        assert find_candidates(session).parts["rivals"].any()
    (project.path / "queries.npz").write_bytes(b"damaged")
    assert read_query_evidence(project.path, project.info.fragment_count) is None
    with ProofreadingSession.open(project.path) as session:
        assert not find_candidates(session).parts["rivals"].any()


def test_coarse_masks_are_kept_on_demand(wish: dict[str, Any], small_image: Path) -> None:
    usual = segment(SegmentRequest(**wish))
    settings = {**wish["settings"], "keep_coarse_masks": True}
    more = SegmentRequest(**{**wish, "project": wish["project"] + "2", "settings": settings})
    project = segment(more)
    store = AffinityStore.open(project.path / "affinities.zarr")
    assert store.names[-4:-1] == (
        "runner-up's share",
        "query before stage 1",
        "query before stage 2",
    )
    stored = _stored(project)
    np.testing.assert_array_equal(stored[[*range(7), 9]], _stored(usual))
    np.testing.assert_array_equal(project.lookup, usual.lookup)
    assert (stored[7] != stored[4]).any()
    assert set(np.unique(stored[7])) <= set(range(7 + 100))
    # What is stored depends on it, so it cannot be asked for afterwards.
    with pytest.raises(ProjectError, match="keep_coarse_masks"):
        segment(SegmentRequest(**wish | {"settings": settings}, again=True))
    # Other settings can.
    segment(SegmentRequest(**wish | {"settings": {"smallest_fragment": 9}}, again=True))


def test_the_background_of_the_published_inference(wish: dict[str, Any]) -> None:
    usual = segment(SegmentRequest(**wish))
    settings = {**wish["settings"], "own_background": False}
    published = segment(
        SegmentRequest(**wish | {"project": wish["project"] + "2", "settings": settings})
    )
    # Its logit is never negative, so 0 instead makes the background smaller.
    assert (_stored(published)[4] > 0).sum() > (_stored(usual)[4] > 0).sum()


def test_blocks_of_ones_own_are_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="one window of the network"):
        segment(SegmentRequest(**wish, block_shape=(4, 32, 32)))


def test_a_volume_thinner_than_a_window(wish: dict[str, Any]) -> None:
    project = segment(SegmentRequest(**wish, roi="0:2,0:20,0:30"))
    assert np.asarray(project.fragments.array[:, :, :]).shape == (2, 20, 30)


def test_the_order_of_blocks_does_not_matter(
    wish: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_neuropil.blockwise import split_blocks
    from napari_neuropil.blockwise.grid import Block
    from napari_neuropil.workflows import segment_stages as module

    def backwards(shape: Any, block_shape: Any) -> list[Block]:
        blocks = split_blocks(shape, block_shape)
        return [Block(i, b.roi) for i, b in enumerate(reversed(blocks))]

    wish["settings"] = {**wish["settings"], "join_threshold": 0.1}
    one = segment(SegmentRequest(**wish))
    monkeypatch.setattr(module, "split_blocks", backwards)
    other = segment(SegmentRequest(**{**wish, "project": wish["project"] + "2"}))
    pairs = np.unique(
        np.stack(
            [p.lookup[np.asarray(p.fragments.array[:, :, :])].ravel() for p in (one, other)], axis=1
        ),
        axis=0,
    )
    assert len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1]))

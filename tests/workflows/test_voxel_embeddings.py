"""The second method end to end with a tiny random network, and distances measured afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_neuropil.errors import (
    CancelledError,
    CheckpointError,
    OutputError,
    ProjectError,
    SettingsError,
)
from napari_neuropil.geometry import Roi
from napari_neuropil.networks import load_checkpoint
from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
from napari_neuropil.networks.residual_unet import ResidualUNet
from napari_neuropil.project import Project
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.project.contact_distances import read_distances
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.segmentation.metric_offsets import OFFSETS
from napari_neuropil.workflows.distances import measure_distances
from napari_neuropil.workflows.joining import Joins
from napari_neuropil.workflows.requests import Progress, SegmentRequest
from napari_neuropil.workflows.segment import run_stages, segment


@pytest.fixture(scope="module")
def embedding_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    network = ResidualUNet((4, 4, 4), dimensions=6)
    path = tmp_path_factory.mktemp("weights") / "embedding.safetensors"
    spec = CheckpointSpec(
        network="voxel-embeddings",
        arguments={"widths": [4, 4, 4], "dimensions": 6},
        offsets=OFFSETS,
        voxel_sizes=((30.0, 12.0, 12.0),),
        tile_shape=(8, 32, 32),
    )
    save_checkpoint(path, network.state_dict(), spec)
    return path


@pytest.fixture
def wish(embedding_checkpoint: Path, small_image: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "image": f"{small_image}/image",
        "project": str(tmp_path / "out.neuropil"),
        "method": "voxel-embeddings",
        "checkpoint": str(embedding_checkpoint),
        "device": "cpu",
        "settings": {"smallest_fragment": 4, "background_threshold": 0.9},
    }


def _affinities(project: Project) -> np.ndarray[Any, Any]:
    return np.asarray(AffinityStore.open(project.path / "affinities.zarr").array[:])


def test_a_project_comes_out(wish: dict[str, Any]) -> None:
    project = segment(SegmentRequest(**wish))
    assert project.info.method == "voxel-embeddings"
    assert _affinities(project).shape == (13, 10, 70, 54)
    fragments = np.asarray(project.fragments.array[:, :, :])
    assert fragments.max() == project.info.fragment_count > 1
    assert fragments.min() > 0, "membranes are filled"
    joins = Joins.read(project.path)
    assert joins is not None
    assert joins.measured.all()
    # Joined exactly where the distance is below the threshold.
    for (a, b), distance in zip(joins.pairs, joins.distance, strict=True):
        if distance < 1.5:
            assert project.lookup[int(a)] == project.lookup[int(b)]


def test_affinities_do_not_depend_on_blocks(wish: dict[str, Any], tmp_path: Path) -> None:
    whole = segment(SegmentRequest(**wish))
    blocks = {**wish, "project": str(tmp_path / "b.neuropil"), "block_shape": (8, 32, 32)}
    parts = segment(SegmentRequest(**blocks))
    difference = _affinities(whole).astype(int) - _affinities(parts)
    assert np.abs(difference).max() <= 1  # the order of sums


def test_without_agglomeration_nobody_is_asked(wish: dict[str, Any]) -> None:
    settings = {**wish["settings"], "mean_embedding": False}
    project = segment(SegmentRequest(**{**wish, "settings": settings}))
    assert not (project.path / "candidates.npz").exists()


def test_a_run_stopped_while_joining_goes_on(wish: dict[str, Any]) -> None:
    whole = segment(SegmentRequest(**{**wish, "project": wish["project"] + "2"}))
    joining = False

    def listen(progress: Progress) -> None:
        nonlocal joining
        joining = progress.stage == "segments"

    with pytest.raises(CancelledError):
        segment(SegmentRequest(**wish), report=listen, cancelled=lambda: joining)
    with pytest.raises(ProjectError):
        Project.open(wish["project"])
    resumed = segment(SegmentRequest(**wish, resume=True))
    np.testing.assert_array_equal(resumed.lookup, whole.lookup)


def test_distances_are_measured_once_and_reach_the_session(
    wish: dict[str, Any], embedding_checkpoint: Path
) -> None:
    project = segment(SegmentRequest(**wish))
    box = Roi((0, 0, 0), (10, 35, 54))
    some = measure_distances(project.path, near=box, checkpoint=embedding_checkpoint)
    inside = (project.rag.centroid[:, 1] < 35) & (project.rag.centroid[:, 2] < 54)
    np.testing.assert_array_equal(some.measured, inside)
    assert np.isfinite(some.distance[inside]).any()
    heard: list[Progress] = []
    everything = measure_distances(
        project.path, checkpoint=embedding_checkpoint, report=heard.append
    )
    assert everything.measured.all()
    assert heard[-1].done == heard[-1].total == (~inside).sum(), "what was known is not redone"
    np.testing.assert_array_equal(everything.distance[inside], some.distance[inside])
    with ProofreadingSession.open(project.path) as session:
        np.testing.assert_array_equal(session.graph.distance, everything.distance)


def test_stopped_measurements_are_kept(wish: dict[str, Any], embedding_checkpoint: Path) -> None:
    project = segment(SegmentRequest(**wish))
    with pytest.raises(CancelledError):
        measure_distances(project.path, checkpoint=embedding_checkpoint, cancelled=lambda: True)
    kept = read_distances(project.path, len(project.rag))
    assert kept is not None
    assert not kept.measured.any()


def test_a_damaged_cache_is_measured_anew(wish: dict[str, Any], embedding_checkpoint: Path) -> None:
    project = segment(SegmentRequest(**wish))
    (project.path / "distances.npz").write_bytes(b"nonsense")
    assert measure_distances(project.path, checkpoint=embedding_checkpoint).measured.all()


def test_another_network_can_use_the_agglomeration(
    wish: dict[str, Any], tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_neuropil import networks
    from napari_neuropil.workflows import plan

    own = wish["checkpoint"]
    for module in (networks, plan):
        monkeypatch.setattr(module, "pretrained_path", lambda _network: Path(own))
    project = segment(
        SegmentRequest(
            **{
                **wish,
                "method": "segneuron",
                "checkpoint": str(tiny_checkpoint),
                "settings": {"mean_embedding": True, "smallest_fragment": 8, "beta": 0.6},
            }
        )
    )
    assert Joins.read(project.path) is not None


def test_missing_weights_are_found_before_the_work(
    wish: dict[str, Any], tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from napari_neuropil.networks import pretrained

    monkeypatch.setattr(pretrained, "_WEIGHTS", tmp_path / "none")
    changes = {"method": "segneuron", "checkpoint": str(tiny_checkpoint)}
    with pytest.raises(CheckpointError, match="train voxel-embeddings"):
        segment(SegmentRequest(**{**wish, **changes, "settings": {"mean_embedding": True}}))
    assert not Path(wish["project"]).exists()


def test_stages_run_alone_and_the_rest_again(wish: dict[str, Any]) -> None:
    whole = segment(SegmentRequest(**{**wish, "project": wish["project"] + "2"}))
    heard: list[str] = []

    def listen(progress: Progress) -> None:
        heard.append(progress.stage)

    path = run_stages(SegmentRequest(**wish, until="fragments"), report=listen)
    assert set(heard) == {"affinities", "fragments"}
    with pytest.raises(ProjectError):
        Project.open(path)
    resumed = segment(SegmentRequest(**wish, resume=True))
    np.testing.assert_array_equal(resumed.lookup, whole.lookup)

    heard.clear()
    other = {**wish["settings"], "smallest_fragment": 300, "mean_embedding": False}
    again = segment(SegmentRequest(**{**wish, "settings": other}, again=True), report=listen)
    assert heard.count("affinities") == 1, "only told that all blocks are done"
    assert again.info.fragment_count < whole.info.fragment_count
    assert again.info.plan["settings"]["smallest_fragment"] == 300
    assert not (again.path / "candidates.npz").exists()
    np.testing.assert_array_equal(_affinities(again), _affinities(whole))
    back = segment(SegmentRequest(**wish, again=True))
    np.testing.assert_array_equal(back.lookup, whole.lookup)
    assert back.info.fingerprint == whole.info.fingerprint


def test_again_keeps_edits_and_asks_for_the_same_network(wish: dict[str, Any]) -> None:
    with pytest.raises(ProjectError, match="no project"):
        segment(SegmentRequest(**wish, again=True))
    project = segment(SegmentRequest(**wish))
    other = {**wish["settings"], "overlap": 0.5}
    with pytest.raises(ProjectError, match="overlap"):
        segment(SegmentRequest(**{**wish, "settings": other}, again=True))
    with ProofreadingSession.open(project.path) as session:
        first, second = (int(s) for s in session.segment_ids()[:2])
        session.annotate(first, comment="mine")
        assert second
    with pytest.raises(OutputError, match="1 notes"):
        segment(SegmentRequest(**wish, again=True))
    assert Project.open(project.path).info.fragment_count == project.info.fragment_count


def test_again_needs_a_finished_network(wish: dict[str, Any]) -> None:
    wish["block_shape"] = (8, 32, 32)
    seen = 0.0

    def listen(progress: Progress) -> None:
        nonlocal seen
        seen = progress.done

    with pytest.raises(CancelledError):
        segment(SegmentRequest(**wish), report=listen, cancelled=lambda: seen >= 2)
    with pytest.raises(ProjectError, match="--resume first"):
        segment(SegmentRequest(**wish, again=True))


def test_segments_are_not_returned_before_they_exist(wish: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="until"):
        segment(SegmentRequest(**wish, until="contacts"))
    assert not Path(wish["project"]).exists()


def test_distances_are_in_units_of_the_weights(
    wish: dict[str, Any], embedding_checkpoint: Path, tmp_path: Path
) -> None:
    network, spec = load_checkpoint(embedding_checkpoint)
    twice = tmp_path / "twice.safetensors"
    state = network.state_dict()
    save_checkpoint(twice, state, spec.model_copy(update={"distance_scale": 2.0}), half=False)
    once = tmp_path / "once.safetensors"
    save_checkpoint(once, state, spec, half=False)
    project = segment(SegmentRequest(**wish))
    own = measure_distances(project.path, checkpoint=once).distance.copy()
    (project.path / "distances.npz").unlink()
    scaled = measure_distances(project.path, checkpoint=twice).distance
    np.testing.assert_allclose(scaled, 2 * own, rtol=1e-4)
    again = segment(SegmentRequest(**{**wish, "checkpoint": str(twice)}, overwrite=True))
    np.testing.assert_array_equal(_affinities(again), _affinities(project))

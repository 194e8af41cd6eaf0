"""Embedding colours and suggested splits, as typed, with an untrained network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.cli.app import run
from napari_neuropil.project import Project
from napari_neuropil.proofreading import ProofreadingSession


@pytest.fixture(scope="module")
def project(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny volume's labels as a project with its image."""
    path = tmp_path_factory.mktemp("imported") / "brain.neuropil"
    words = ["import", str(volumes / "labels.h5"), str(path)]
    assert run([*words, "--image", str(volumes / "image.zarr")]) == 0
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the options for an untrained embedding network at the tiny volume's voxel size."""
    import torch

    from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
    from napari_neuropil.networks.registry import METRIC_OFFSETS
    from napari_neuropil.networks.residual_unet import ResidualUNet

    torch.manual_seed(3)
    state = ResidualUNet((4, 4), 6).state_dict()
    state["out.embedding.1.scale"] += 3
    path = tmp_path_factory.mktemp("weights") / "embeddings.safetensors"
    spec = CheckpointSpec(
        network="voxel-embeddings",
        arguments={"widths": [4, 4], "dimensions": 6},
        offsets=METRIC_OFFSETS,
        voxel_sizes=((30.0, 8.0, 8.0),),
        tile_shape=(20, 128, 128),
    )
    save_checkpoint(path, state, spec)
    return ["--checkpoint", str(path), "--device", "cpu"]


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_colours_of_a_box(
    project: Path, network: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c.npz"
    words = ["embeddings", str(project), str(out), "--near", "1:5,:40,8:", *network, "--json"]
    capsys.readouterr()
    assert run(words) == 0
    events = lines(capsys)
    assert [e["done"] for e in events if e["event"] == "progress"] == [0, 1]
    assert events[-1]["event"] == "done"
    assert events[-1]["colours"] == str(out)
    assert events[-1]["box"] == "1:5,0:40,8:64"
    with np.load(out, allow_pickle=False) as content:
        assert content["colours"].shape == (4, 40, 56, 3)
        assert content["start"].tolist() == [1, 0, 8]
        assert content["colours"].std() > 5
    assert run(words) == 2
    assert lines(capsys)[-1]["type"] == "OutputError"
    assert run([*words, "--overwrite"]) == 0
    capsys.readouterr()
    assert run(["embeddings", str(project), str(tmp_path / "c.tif"), *network]) == 2
    assert "ends in .npz" in capsys.readouterr().err


def test_suggested_splits(
    project: Path, network: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lookup = Project.open(project).lookup
    segment = int(np.bincount(lookup[1:].astype(np.intp)).argmax())
    words = ["suggest-split", str(project), str(segment), *network]
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    done = lines(capsys)[-1]
    assert done["event"] == "done"
    assert done["segment"] == segment
    assert set(done) == {
        "event", "project", "segment", "two_objects", "distance", "separation", "red", "blue",
        "box", "patches",
    }  # fmt: skip
    with ProofreadingSession.open(project, read_only=True) as session:
        assert not session.edits
        if done["two_objects"]:
            assert session.segment_at(tuple(done["red"])) == segment
            assert session.segment_at(tuple(done["blue"])) == segment
    assert run(["suggest-split", str(project), "999999", *network, "--json"]) == 2
    assert lines(capsys)[-1]["type"] == "SettingsError"
    assert run(["suggest-split", str(project), "nonsense", "--json"]) == 2

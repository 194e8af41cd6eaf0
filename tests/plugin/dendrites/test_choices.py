"""What can be chosen, and the words the worker is started with. No window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_neuropil.errors import CheckpointError, ProjectError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin.dendrites import segmenter_choice
from napari_neuropil.plugin.dendrites.image_choice import image_choices, worker_words
from napari_neuropil.plugin.dendrites.segmenter_choice import (
    detector_choices,
    segmenter_choices,
)
from napari_neuropil.plugin.dendrites.thumbnail import mask_icon
from napari_neuropil.plugin.layers import layer_from_volume
from napari_neuropil.plugin.reader import get_reader
from napari_neuropil.project import read_info, write_info
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.volumes import open_volume


@pytest.mark.parametrize("ships", [True, False])
def test_the_default_is_what_ships(monkeypatch: pytest.MonkeyPatch, ships: bool) -> None:
    def path_of(network: str) -> Path:
        if not ships:
            raise CheckpointError(f"No weights for {network!r} ship.", "some", "train")
        return Path("here")

    monkeypatch.setattr(segmenter_choice, "pretrained_path", path_of)
    monkeypatch.setattr(segmenter_choice, "cached_models", dict)
    segmenters, detectors = segmenter_choices(), detector_choices()
    assert segmenters[0].name == ("compact" if ships else "watershed")
    assert [c.name for c in segmenters if not c.missing] == (
        ["compact", "watershed"] if ships else ["watershed"]
    )
    assert "micro_sam has not downloaded" in segmenters[-1].missing
    assert detectors[0].name == ("dendrite-detector" if ships else "")
    monkeypatch.setattr(segmenter_choice, "cached_models", lambda: {"vit_b": Path("x")})
    assert not segmenter_choices()[-1].missing


def image_layer(brain: Path) -> Image:
    data, attributes, _ = layer_from_volume(open_volume(brain.parent / "brain.zarr"))
    return Image(data, **attributes)


def test_an_image_and_its_words(brain: Path) -> None:
    layer = image_layer(brain)
    (choice,) = image_choices([layer, Labels(np.zeros((8, 40, 60), int))])
    assert (choice.title, choice.project, choice.missing) == ("brain", None, "")
    assert choice.shape == (8, 40, 60)
    words = worker_words(choice, segmenter="watershed")
    assert words[:4] == ["prompts", choice.place, "--segmenter", "watershed"]
    assert words[4:] == ["--voxel-size", "30,8,8"]
    words = worker_words(
        choice,
        segmenter="a.pt",
        detector="d.safetensors",
        voxel_size=VoxelSize(40, 4, 4),
        cache_dir=Path("kept"),
    )
    assert words[4:] == [
        "--detector",
        "d.safetensors",
        "--voxel-size",
        "40,4,4",
        "--cache-dir",
        "kept",
    ]


def test_a_project_brings_its_image(brain: Path) -> None:
    reader = get_reader(str(brain))
    assert reader is not None
    layers: list[Any] = []
    for data, attributes, kind in reader(str(brain)):
        layers.append({"image": Image, "labels": Labels}[kind](data, **attributes))
    choices = image_choices(layers)
    assert [c.title for c in choices] == ["brain (project)", "brain"]
    words = worker_words(choices[0], segmenter="watershed")
    assert Path(words[1]).resolve() == (brain.parent / "brain.zarr").resolve()
    assert words[4:] == ["--project", str(brain)]
    info = read_info(brain)
    write_info(brain, info.model_copy(update={"image_source": "../gone.zarr"}))
    with pytest.raises(ProjectError, match=r"The image of brain\.neuropil cannot be opened"):
        worker_words(choices[0], segmenter="watershed")


def test_thumbnails_keep_the_form(qtbot: Any) -> None:
    wide = PackedMask.of(np.ones((4, 8), bool))
    assert wide is not None
    image = mask_icon(wide, 16).pixmap(16, 16).toImage()
    bright = [[image.pixelColor(x, y).red() > 200 for x in range(16)] for y in range(16)]
    rows = [n for n, row in enumerate(bright) if any(row)]
    assert rows == list(range(4, 12))
    assert all(bright[8])

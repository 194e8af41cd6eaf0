"""Objects followed from one box: by a segmenter that knows, one that leaks, one that stops."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, SettingsError, VolumeFormatError
from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.segmenter import ImageEmbedding
from napari_neuropil.workflows.evaluate_following import FollowedObject, evaluate_following
from napari_neuropil.workflows.examined_sections import Examined
from napari_neuropil.workflows.import_inputs import ImportRequest
from napari_neuropil.workflows.import_labels import import_labels


class _Reader:
    """Finds the object by its grey value in the box; from a section on everything in the box."""

    name, fingerprint, longest_side = "reader", "0", 4096

    def __init__(self, leaky: Sequence[int] = (), blind: Sequence[int] = ()) -> None:
        self._leaky, self._blind = leaky, blind

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        return ImageEmbedding({"section": section}, (section.shape[0], section.shape[1]))

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        return [self._mask(embedding.arrays["section"], prompt) for prompt in prompts]

    def _mask(self, section: NDArray[Any], prompt: Prompt) -> SectionMask:
        mask = np.zeros(section.shape, np.bool_)
        marked = int(section[0, 0])  # the section's number, as the files below have it
        assert prompt.box is not None
        y0, x0, y1, x1 = (int(v) for v in prompt.box)
        inside = section[y0:y1, x0:x1]
        known = np.isin(inside, (100, 200))
        if marked not in self._blind and known.any():
            mask[y0:y1, x0:x1] = inside == np.bincount(inside[known]).argmax()
            if marked in self._leaky:
                mask[y0:y1, x0:x1] = True
        return SectionMask(mask, 1.0)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return six sections with a disc of 100 and, in four of them, a square of 200."""
    labels = np.zeros((6, 60, 80), np.uint8)
    y, x = np.indices((60, 80))
    labels[:, (y - 20) ** 2 + (x - 25) ** 2 < 144] = 100
    labels[1:5, 30:50, 50:70] = 200
    labels[2, 29:51, 49:71] = 200  # here it is largest
    image = labels.copy()
    image[:, 0, 0] = np.arange(6)
    image[:, 0, 1] = 255  # so that grey values stay as they are
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path / "image.npy", tmp_path / "labels.npy"


def _by_label(found: Any) -> dict[int, FollowedObject]:
    return {item.label: item for item in found.each}


def test_who_knows_finds_all_of_it(files: tuple[Path, Path]) -> None:
    found = evaluate_following(*files, _Reader(), Examined(smallest=20))
    disc, square = _by_label(found)[100], _by_label(found)[200]
    assert disc == FollowedObject(100, 0, 1.0, 1.0, 0.0, 1.0, 1.0, 0)
    # The box is carried on, which the square fills; it ends in sections 0 and 5.
    assert (square.begin, square.recall, square.leak, square.complete) == (2, 1, 0, 1)
    assert square.doubtful_stops == 2
    assert found.means()["dice_3d"] == 1
    assert found.means()["followed"] == 2


def test_a_leak_is_counted(files: tuple[Path, Path]) -> None:
    found = evaluate_following(*files, _Reader(leaky=[4]), Examined(ids=[100], smallest=20))
    (disc,) = found.each
    area = int((np.load(files[1])[0] == 100).sum())
    # In one of six sections the box is full: 23 x 23 pixels.
    leak = (23 * 23 - area) / (6 * area)
    assert disc.leak == pytest.approx(leak)
    assert disc.recall == 1
    assert disc.dice == pytest.approx(2 / (2 + leak))
    assert disc.complete == 1


def test_what_is_lost_is_counted(files: tuple[Path, Path]) -> None:
    (disc,) = evaluate_following(*files, _Reader(blind=[3]), Examined(ids=[100], smallest=20)).each
    assert disc.recall == pytest.approx(0.5)
    assert disc.complete == pytest.approx(0.5)
    assert disc.doubtful_stops == 1
    # Where the first mask is empty, nothing is found.
    (none,) = evaluate_following(
        *files, _Reader(blind=range(6)), Examined(ids=[100], smallest=20)
    ).each
    assert (none.box_iou, none.recall, none.leak, none.dice, none.complete) == (0, 0, 0, 0, 0)


def test_a_project_of_the_part_cuts_off_leaks(files: tuple[Path, Path], tmp_path: Path) -> None:
    # A neighbour in the corner of the disc's box, where the leak of section 4 goes.
    image, labels = (np.load(path) for path in files)
    neighbour = np.zeros(labels.shape, np.bool_)
    neighbour[:, 9:14, 14:19] = labels[:, 9:14, 14:19] == 0
    labels[neighbour], image[neighbour] = 50, 50
    np.save(files[0], image)
    np.save(files[1], labels)
    part = Examined(ids=[100], smallest=20)
    project = tmp_path / "p.neuropil"
    import_labels(
        ImportRequest(labels=str(files[1]), project=str(project), voxel_size=(30, 12, 12))
    )
    (alone,) = evaluate_following(*files, _Reader(leaky=[4]), part).each
    (guided,) = evaluate_following(*files, _Reader(leaky=[4]), part, project=project).each
    per_voxel = 1 / (6 * int((labels[0] == 100).sum()))
    assert alone.leak - guided.leak == pytest.approx(neighbour[0].sum() * per_voxel)
    assert guided.recall == alone.recall == 1
    with pytest.raises(VolumeFormatError, match="the part that is looked at"):
        evaluate_following(*files, _Reader(), Examined(roi="0:3,:,:", smallest=20), project=project)


def test_part_and_averaging(files: tuple[Path, Path]) -> None:
    part = Examined(roi="2:6,10:60,0:80", factor=2, smallest=20, ids=[200])
    np_image = np.load(files[0])
    np_image[:, 10:12, 0:2] = np.arange(6)[:, None, None]
    np_image[:, 10:12, 2:4] = 255
    np.save(files[0], np_image)
    (square,) = evaluate_following(*files, _Reader(), part).each
    assert square.begin == 2
    assert square.recall > 0.9  # the rim of section 2 lies across averaged pixels
    assert square.leak == 0


def test_what_does_not_fit(files: tuple[Path, Path]) -> None:
    with pytest.raises(SettingsError, match="no object"):
        evaluate_following(*files, _Reader(), Examined(ids=[7]))
    with pytest.raises(SettingsError, match="no object"):
        evaluate_following(*files, _Reader(), Examined(smallest=4000))
    with pytest.raises(CancelledError):
        evaluate_following(*files, _Reader(), cancelled=lambda: True)


def test_the_command(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    from napari_neuropil.cli.app import run

    words = ["evaluate-prompts", *map(str, files), "--segmenter", "box", "--follow"]
    words += ["--smallest", "20", "--device", "cpu"]
    assert run(words) == 0
    printed = capsys.readouterr().out
    assert "dice 3d" in printed
    assert "each 3d" not in printed
    assert run([*(word for word in words if word != "--follow"), "--project", "p.neuropil"]) == 2
    assert "add --follow" in " ".join(capsys.readouterr().err.split())
    assert run([*words, "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    scores = last["scores"]["box"]
    assert scores["followed"] == 2
    assert [item["label"] for item in scores["each_3d"]] == [100, 200]
    assert scores["recall_3d"] == 1

"""Segmenters measured on made-up sections: one that knows, boxes, and input that does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, SettingsError, VolumeFormatError
from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.segmenter import ImageEmbedding
from napari_neuropil.prompts.segmenters import open_segmenter
from napari_neuropil.workflows.evaluate_prompts import evaluate_prompts
from napari_neuropil.workflows.examined_sections import Examined
from napari_neuropil.workflows.id_ranges import parse_ids


class _Oracle:
    """Reads the object off the section: grey value = label. After `late` points only."""

    name, fingerprint, longest_side = "oracle", "0", 4096

    def __init__(self, late: int = 0) -> None:
        self._late = late

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        return ImageEmbedding({"section": section}, (section.shape[0], section.shape[1]))

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        return [self._mask(embedding.arrays["section"], prompt) for prompt in prompts]

    def _mask(self, section: NDArray[Any], prompt: Prompt) -> SectionMask:
        mask = np.zeros(section.shape, np.bool_)
        if len(prompt.points) >= self._late:
            if prompt.box is not None:
                y0, x0, y1, x1 = (int(v) for v in prompt.box)
                inside = section[y0:y1, x0:x1]
                mask[y0:y1, x0:x1] = inside == np.bincount(inside[inside > 0]).argmax()
            else:
                y, x = prompt.points[0].astype(int)
                mask = section == section[y, x]
        elif prompt.box is not None:
            y0, x0, y1, x1 = (int(v) for v in prompt.box)
            mask[y0:y1, x0:x1] = True
        return SectionMask(mask, 1.0)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return three sections with a disc of 90, a square of 200 and a crumb."""
    labels = np.zeros((3, 60, 80), np.uint16)
    y, x = np.indices((60, 80))
    labels[:, (y - 20) ** 2 + (x - 25) ** 2 < 144] = 90
    labels[:, 30:50, 50:70] = 200
    labels[:, 2:5, 70:73] = 30
    np.save(tmp_path / "image.npy", labels.astype(np.uint8))
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path / "image.npy", tmp_path / "labels.npy"


def test_who_knows_needs_no_click(files: tuple[Path, Path]) -> None:
    scores = evaluate_prompts(*files, _Oracle(), Examined(smallest=20))
    assert scores.objects == 6
    assert scores.box_iou == scores.box_dice == scores.point_iou == 1
    assert scores.object_error == pytest.approx(0)
    assert scores.clicks_090 == 0
    assert scores.reached_090 == 1


def test_boxes_alone(files: tuple[Path, Path]) -> None:
    scores = evaluate_prompts(*files, open_segmenter("box"), Examined(smallest=20))
    disc = np.count_nonzero(np.load(files[1])[0] == 90) / 23**2
    assert scores.box_iou == pytest.approx((1 + disc) / 2)
    assert scores.box_dice == pytest.approx((1 + 2 * disc / (1 + disc)) / 2)
    assert 0 < scores.object_error < 0.3


def test_clicks_are_counted(files: tuple[Path, Path]) -> None:
    scores = evaluate_prompts(*files, _Oracle(late=2), Examined(smallest=20, ids=[90]))
    assert scores.objects == 3
    assert scores.clicks_090 == 2
    assert scores.reached_090 == 1


def test_parts_ids_sections_and_averaging(files: tuple[Path, Path]) -> None:
    assert evaluate_prompts(*files, _Oracle(), Examined(smallest=1)).objects == 9
    assert evaluate_prompts(*files, _Oracle(), Examined(smallest=1, every=2)).objects == 6
    assert evaluate_prompts(*files, _Oracle(), Examined(smallest=1, roi="0:1,25:60,:")).objects == 2
    coarse = evaluate_prompts(*files, _Oracle(), Examined(smallest=20, factor=2, ids=[200]))
    assert coarse.objects == 3
    assert coarse.box_iou == 1


def test_what_does_not_fit(files: tuple[Path, Path], tmp_path: Path) -> None:
    image, labels = files
    with pytest.raises(SettingsError, match="no object"):
        evaluate_prompts(image, labels, _Oracle(), Examined(ids=[7]))
    np.save(tmp_path / "short.npy", np.load(labels)[:2])
    with pytest.raises(VolumeFormatError, match="shape"):
        evaluate_prompts(image, tmp_path / "short.npy", _Oracle())
    with pytest.raises(SettingsError, match="whole numbers"):
        evaluate_prompts(image, labels, _Oracle(), Examined(every=0))
    with pytest.raises(CancelledError):
        evaluate_prompts(image, labels, _Oracle(), cancelled=lambda: True)


def test_the_command(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    from napari_neuropil.cli.app import run

    words = ["evaluate-prompts", *map(str, files), "--segmenter", "box", "--segmenter", "ellipse"]
    assert run([*words, "--smallest", "20", "--ids", "90,200", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "box iou" in printed
    assert "ellipse" in printed
    assert run([*words, "--ids", "x"]) == 2


def test_ids_as_people_write_them() -> None:
    assert parse_ids("") == ()
    assert parse_ids("8-10, 2,9") == (2, 8, 9, 10)
    for text in ("a", "3-1", "1,,2", "1-99999999", "-4"):
        with pytest.raises(SettingsError, match="ids"):
            parse_ids(text)

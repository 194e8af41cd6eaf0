from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.metrics import adapted_rand_error, variation_of_information

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.evaluation import scores as scores_module
from napari_neuropil.evaluation.scores import evaluate_segmentation


def test_perfect_whatever_the_names() -> None:
    labels = np.random.default_rng(0).integers(1, 6, (4, 8, 8))
    result = evaluate_segmentation((labels * 37).astype(np.uint64), labels)
    assert result.voi == pytest.approx(0, abs=1e-12)
    assert result.adapted_rand_error == pytest.approx(0, abs=1e-12)
    assert (result.precision, result.recall) == (1, 1)


def test_one_object_in_two_halves_is_one_bit_of_split() -> None:
    labels = np.ones((2, 4, 4), np.uint32)
    segmentation = labels.copy()
    segmentation[1] = 2
    result = evaluate_segmentation(segmentation, labels)
    assert (result.voi_split, result.voi_merge) == (pytest.approx(1), pytest.approx(0))
    assert result.precision == 1
    # 2 * 16 * 15 of 32 * 31 pairs are still together.
    assert result.recall == pytest.approx(2 * 16 * 15 / (32 * 31))


def test_two_objects_in_one_segment_is_one_bit_of_merge() -> None:
    labels = np.ones((2, 4, 4), np.uint32)
    labels[1] = 2
    result = evaluate_segmentation(np.full_like(labels, 9), labels)
    assert (result.voi_split, result.voi_merge) == (pytest.approx(0), pytest.approx(1))
    assert result.recall == 1
    precision = 2 * 16 * 15 / (32 * 31)
    assert result.precision == pytest.approx(precision)
    assert result.adapted_rand_error == pytest.approx(1 - 2 * precision / (1 + precision))


def test_truth_0_is_left_out_and_segment_0_counts() -> None:
    labels = np.array([0, 0, 1, 1, 1, 1])
    assert evaluate_segmentation(np.array([5, 6, 3, 3, 3, 3]), labels).voi == 0
    half_missed = evaluate_segmentation(np.array([5, 6, 3, 3, 0, 0]), labels)
    assert half_missed.voi_split == pytest.approx(1)


@pytest.mark.parametrize("slab", [1, 100, 1 << 22])
def test_equals_scikit_image(monkeypatch: pytest.MonkeyPatch, slab: int) -> None:
    monkeypatch.setattr(scores_module, "_SLAB_VOXELS", slab)
    random = np.random.default_rng(2)
    labels = random.integers(0, 7, (5, 6, 7))
    segmentation = random.integers(0, 9, (5, 6, 7))
    result = evaluate_segmentation(segmentation, labels)
    split, merge = variation_of_information(labels, segmentation, ignore_labels=(0,))
    error = adapted_rand_error(labels, segmentation)[0]
    assert result.voi_split == pytest.approx(split)
    assert result.voi_merge == pytest.approx(merge)
    assert result.voi == pytest.approx(split + merge)
    assert result.adapted_rand_error == pytest.approx(error)
    assert 1 - 2 / (1 / result.precision + 1 / result.recall) == pytest.approx(error)
    assert set(result.as_dict()) == {
        "voi_split", "voi_merge", "voi", "adapted_rand_error", "precision", "recall",
    }  # fmt: skip


def test_names_and_memory_layout_do_not_matter() -> None:
    random = np.random.default_rng(3)
    labels = random.integers(0, 7, (4, 6, 8)).astype(np.uint16)
    segmentation = random.integers(0, 9, (4, 6, 8)).astype(np.uint64)
    plain = evaluate_segmentation(segmentation, labels)
    names = (random.permutation(9).astype(np.uint64) + np.uint64(1)) * np.uint64(1 << 59)
    renamed = evaluate_segmentation(np.asfortranarray(names[segmentation]), labels)
    assert renamed.as_dict() == pytest.approx(plain.as_dict())
    every_second = evaluate_segmentation(segmentation[:, ::2], labels[:, ::2])
    copied = evaluate_segmentation(segmentation[:, ::2].copy(), labels[:, ::2].copy())
    assert every_second == copied


def test_objects_of_one_voxel_leave_no_pairs_to_judge() -> None:
    alone = evaluate_segmentation(np.arange(1, 5), np.arange(1, 5))
    assert (alone.adapted_rand_error, alone.precision, alone.recall) == (0, 1, 1)
    merged = evaluate_segmentation(np.ones(4, int), np.arange(1, 5))
    assert (merged.adapted_rand_error, merged.precision, merged.recall) == (1, 0, 1)
    assert merged.voi_merge == pytest.approx(2)
    assert not any(math.isnan(value) for value in merged.as_dict().values())


@pytest.mark.parametrize(
    ("segmentation", "labels"),
    [
        (np.ones((2, 3, 4), int), np.ones((2, 3, 5), int)),
        (np.ones((2, 3), int), np.ones((3, 2), int)),
        (np.ones((2, 3)), np.ones((2, 3), int)),
        (np.ones((2, 3), int), np.ones((2, 3), bool)),
        (np.ones((2, 3), int), np.zeros((2, 3), int)),
        (np.ones((0, 3), int), np.ones((0, 3), int)),
    ],
)
def test_bad_input_is_refused(segmentation: Any, labels: Any) -> None:
    with pytest.raises(VolumeFormatError):
        evaluate_segmentation(segmentation, labels)


def test_published_scores_of_a_real_volume(real_data: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(real_data / "fib25_sample2.h5") as file:
        fragments, labels = file["fragments"][:], file["labels"][:]
    result = evaluate_segmentation(fragments, labels)
    assert result.voi_split == pytest.approx(2.38, abs=0.01)
    assert result.voi_merge == pytest.approx(0.33, abs=0.01)
    assert result.adapted_rand_error == pytest.approx(0.266, abs=0.001)

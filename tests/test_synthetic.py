"""Generated neuropil: dense, connected, repeatable, and too hard for a threshold."""
# scikit-image has no types.
# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label
from skimage.metrics import variation_of_information

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.synthetic import KnownErrors, Neuropil, make_errors, make_neuropil
from napari_neuropil.synthetic.noise import make_smooth_noise
from napari_neuropil.volumes import open_volume

SHAPE = (14, 128, 128)
VOXEL_SIZE = VoxelSize(30, 12, 12)


@pytest.fixture(scope="module")
def neuropil() -> Neuropil:
    return make_neuropil(SHAPE, 4, voxel_size=VOXEL_SIZE)


@pytest.fixture(scope="module")
def errors(neuropil: Neuropil) -> KnownErrors:
    return make_errors(neuropil.labels, 7, splits=4, merges=4)


def _information(truth: NDArray[np.integer], found: NDArray[np.integer]) -> tuple[float, float]:
    """Return VI (split, merge) in bits over the labelled voxels."""
    known = truth > 0
    # scikit-image orders them as H(second | first), H(first | second).
    split, merge = variation_of_information(truth[known], found[known])
    return float(split), float(merge)


def test_shapes_and_types(neuropil: Neuropil) -> None:
    assert neuropil.image.shape == neuropil.labels.shape == neuropil.membranes.shape == SHAPE
    assert neuropil.image.dtype == np.uint8
    assert neuropil.labels.dtype == np.uint32
    assert neuropil.membranes.dtype == np.float32
    assert 0 <= neuropil.membranes.min() < 0.1 < 0.8 < neuropil.membranes.max() <= 1
    assert neuropil.voxel_size == VOXEL_SIZE


def test_same_seed_same_volume() -> None:
    one, two, other = (make_neuropil((3, 48, 40), seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.kinds == two.kinds
    assert (one.labels != other.labels).mean() > 0.2


def test_labels_are_dense_with_thin_membranes(neuropil: Neuropil) -> None:
    background = neuropil.labels == 0
    assert 0.03 < background.mean() < 0.22
    depth = [ndimage.distance_transform_edt(section) for section in background]
    assert np.percentile(np.stack(depth)[background], 99) <= 3


def test_each_object_is_one_piece_and_known(neuropil: Neuropil) -> None:
    ids = np.unique(neuropil.labels[neuropil.labels > 0])
    assert set(neuropil.kinds) == set(ids.tolist())
    # Cells of every calibre, none of which takes the volume.
    assert len(ids) > 20
    assert set(neuropil.kinds.values()) == {"dendrite", "axon", "glia"}
    sizes = np.bincount(neuropil.labels.ravel())[1:]
    assert sizes.max() < 0.5 * neuropil.labels.size
    assert sizes.max() > 10 * np.median(sizes[sizes > 0])
    split, merge = _information(neuropil.labels, label(neuropil.labels, connectivity=3))
    assert split < 0.1
    assert merge == pytest.approx(0)


def test_objects_continue_through_sections(neuropil: Neuropil) -> None:
    upper, lower = neuropil.labels[1:], neuropil.labels[:-1]
    both = (upper > 0) & (lower > 0)
    agreement = (upper == lower)[both].mean()
    # Continuous, yet not a prism.
    assert 0.6 < agreement < 0.97


def test_membranes_are_dark_and_some_are_weak(neuropil: Neuropil) -> None:
    image = neuropil.image.astype(np.float32)
    strong = neuropil.membranes > 0.6
    cytoplasm = np.median(image[neuropil.membranes < 0.02])
    assert image[strong].mean() < 0.7 * cytoplasm
    assert (image[strong] > 0.85 * cytoplasm).mean() > 0.01


def test_threshold_and_components_fail_where_the_truth_succeeds(neuropil: Neuropil) -> None:
    labels = neuropil.labels
    totals = []
    for sigma in (0.0, 1.0):
        smooth = ndimage.gaussian_filter(neuropil.image.astype(np.float32), (0, sigma, sigma))
        for threshold in np.percentile(smooth, np.arange(5, 75, 5)):
            components = label(smooth > threshold, connectivity=1)
            totals.append(sum(_information(labels, components)))
    assert min(totals) > 1.5
    grown = label(labels, connectivity=3)
    assert sum(_information(labels, grown)) < 0.1


def test_sections_differ_in_brightness_and_are_shifted() -> None:
    still = make_neuropil((10, 64, 64), 2, jitter=0.0)
    moved = make_neuropil((10, 64, 64), 2, jitter=2.0)
    assert still.image.mean(axis=(1, 2)).std() > 3

    def agreement(labels: NDArray[np.uint32]) -> float:
        return float((labels[1:] == labels[:-1]).mean())

    assert agreement(moved.labels) < agreement(still.labels) - 0.01


def test_isotropic_voxels() -> None:
    neuropil = make_neuropil((24, 32, 32), 1, voxel_size=VoxelSize(8, 8, 8), jitter=0.0)
    assert neuropil.image.shape == (24, 32, 32)
    assert neuropil.labels.max() > 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 3), (2, 5, 64)])
def test_tiny_volumes(shape: tuple[int, int, int], seed: int) -> None:
    neuropil = make_neuropil(shape, seed)
    assert neuropil.labels.shape == shape
    assert set(neuropil.kinds) == set(np.unique(neuropil.labels[neuropil.labels > 0]).tolist())


@pytest.mark.parametrize("shape", [(0, 8, 8), (8, 8), (2, 8, 8.5), (1, -8, 8)])
def test_bad_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match="three positive integers"):
        make_neuropil(shape, 0)


@pytest.mark.parametrize(("seed", "jitter"), [(-1, 1.0), (0, -0.5), (0, float("nan"))])
def test_bad_numbers_are_refused(seed: int, jitter: float) -> None:
    with pytest.raises(SettingsError, match="0 or more"):
        make_neuropil((2, 8, 8), seed, jitter=jitter)


def test_smooth_noise_is_normal_and_smooth() -> None:
    field = make_smooth_noise((20, 200, 200), (30, 8, 8), 80.0, np.random.default_rng(0))
    assert abs(field.mean()) < 0.1
    assert field.std() == pytest.approx(1, abs=0.1)
    assert np.abs(np.diff(field, axis=2)).max() < 0.6


class TestMakeErrors:
    def test_counts_and_dtype(self, errors: KnownErrors) -> None:
        assert errors.segmentation.dtype == np.uint64
        kinds = [error.kind for error in errors.errors]
        assert kinds == ["split"] * 4 + ["merge"] * 4

    def test_the_list_explains_every_difference(
        self, neuropil: Neuropil, errors: KnownErrors
    ) -> None:
        mended = errors.segmentation.copy()
        touched: list[int] = []
        for error in errors.errors:
            touched += error.objects
            if error.kind == "split":
                kept, new = error.segments
                assert error.objects == (kept,)
                assert (mended == new).sum() >= 200
                assert (mended == kept).sum() >= 200
                mended[mended == new] = kept
            else:
                (segment,) = error.segments
                inside = np.unique(neuropil.labels[mended == segment])
                assert tuple(inside.tolist()) == error.objects
                lost = error.objects[1]
                mended[neuropil.labels == lost] = lost
        assert len(touched) == len(set(touched))
        np.testing.assert_array_equal(mended, neuropil.labels)

    def test_positions_lie_at_the_wrong_border(
        self, neuropil: Neuropil, errors: KnownErrors
    ) -> None:
        for error in errors.errors:
            z, y, x = error.position
            box = tuple(slice(max(0, c - r), c + r + 1) for c, r in ((z, 1), (y, 4), (x, 4)))
            assert errors.segmentation[z, y, x] in error.segments
            volume = errors.segmentation if error.kind == "split" else neuropil.labels
            ids = error.segments if error.kind == "split" else error.objects
            assert set(ids) <= set(np.unique(volume[box]).tolist())

    def test_scores_say_the_same(self, neuropil: Neuropil, errors: KnownErrors) -> None:
        split, merge = _information(neuropil.labels, errors.segmentation)
        assert split > 0.01
        assert merge > 0.01
        only = make_errors(neuropil.labels, 7, splits=4, merges=0)
        assert _information(neuropil.labels, only.segmentation)[1] == pytest.approx(0, abs=1e-9)

    def test_repeatable_and_leaves_the_labels(self, neuropil: Neuropil) -> None:
        before = neuropil.labels.copy()
        one, two = (make_errors(neuropil.labels, 1) for _ in range(2))
        assert one.errors == two.errors
        np.testing.assert_array_equal(one.segmentation, two.segmentation)
        np.testing.assert_array_equal(before, neuropil.labels)

    def test_no_room_for_errors(self) -> None:
        result = make_errors(np.zeros((2, 4, 4), np.uint32), 0)
        assert result.errors == ()
        assert not result.segmentation.any()

    def test_bad_input(self) -> None:
        with pytest.raises(VolumeFormatError, match="integers"):
            make_errors(np.zeros((2, 4, 4)), 0)  # type: ignore[arg-type]
        with pytest.raises(VolumeFormatError, match="3D"):
            make_errors(np.zeros((4, 4), int), 0)
        with pytest.raises(SettingsError, match="0 or more"):
            make_errors(np.zeros((2, 4, 4), int), 0, splits=-1)


def test_sample_data_holds_image_and_labels() -> None:
    path = Path(__file__).resolve().parents[1] / "sample_data" / "neuropil.ome.zarr"
    image, labels = open_volume(path), open_volume(path / "labels" / "neurons")
    assert image.shape == labels.shape == (24, 192, 192)
    assert image.voxel_size == labels.voxel_size == VoxelSize(30, 12, 12)
    pixels, ids = image.read(Roi.of_shape(image.shape)), labels.read(Roi.of_shape(labels.shape))
    assert pixels.dtype == np.uint8
    assert ids.dtype == np.uint32
    assert len(np.unique(ids)) > 50
    # The labels belong to this image: their borders are dark in it.
    assert pixels[ids == 0].mean() < 0.75 * pixels[ids > 0].mean()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert size < 1_500_000

"""Training images of a detector: exact boxes, y before x, and a split by z that holds."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import yaml
from skimage.measure import label

from napari_neuropil.errors import OutputError, SettingsError, VolumeFormatError
from napari_neuropil.training.detector_data import DetectorImage, outline_objects, read_images
from napari_neuropil.training.detector_recipe import (
    DetectorRecipe,
    DetectorVolume,
    check_split,
    split_sections,
)
from napari_neuropil.training.yolo_dataset import write_yolo_dataset


def _image(labels: np.ndarray, ids: object = "all", smallest: int = 1) -> DetectorImage:
    return DetectorImage(
        "i", np.zeros(labels.shape, np.uint8), outline_objects(labels, ids, smallest)
    )


def test_boxes_by_hand() -> None:
    labels = np.zeros((20, 30), np.uint16)
    labels[2:5, 10:28] = 7  # wide: y and x cannot be confused
    labels[8, 3] = 7  # a second piece of the same object, one pixel
    labels[9, 4] = 7  # touches it at a corner only
    labels[5:9, 10:12] = 4  # touches the first, another id
    boxes = {tuple(box) for box in _image(labels).boxes.tolist()}
    assert boxes == {(2, 10, 5, 28), (8, 3, 9, 4), (9, 4, 10, 5), (5, 10, 9, 12)}
    assert _image(labels, (7,), 2).boxes.tolist() == [[2, 10, 5, 28]]
    assert _image(labels, (4,)).boxes.tolist() == [[5, 10, 9, 12]]
    assert _image(labels, (5,)).boxes.shape == (0, 4)
    assert _image(np.zeros((5, 5), int)).boxes.shape == (0, 4)


@pytest.mark.parametrize("seed", range(3))
def test_an_outline_keeps_its_box_under_any_turn(seed: int) -> None:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :60]
    labels = ((y - 30) ** 2 / 400 + (x - 25 + y / 3) ** 2 / 40 < 1).astype(np.uint8)
    labels[random.integers(10, 50, 30), random.integers(10, 50, 30)] = 1
    (outline,) = outline_objects(labels, "all", 200)  # specks are smaller
    pieces = label(labels, connectivity=1)
    sizes = np.bincount(pieces.ravel())
    rows, columns = np.nonzero(pieces == sizes[1:].argmax() + 1)
    corners = np.concatenate([np.stack([rows + a, columns + b], 1) for a in (0, 1) for b in (0, 1)])
    turn = random.normal(size=(2, 2))
    for end in (np.min, np.max):
        np.testing.assert_allclose(
            end(outline @ turn, axis=0), end(corners @ turn, axis=0), rtol=1e-5, atol=1e-4
        )


def _volume(**changes: object) -> dict[str, object]:
    return {
        "name": "v", "image": "image.tif", "labels": "labels.tif", "voxel_size": (30, 6, 6),
        "ids": (1, 2), "train_sections": (0, 6), "validation_sections": (7, 10),
    } | changes  # fmt: skip


def _recipe(*volumes: dict[str, object], **changes: object) -> DetectorRecipe:
    content = {
        "seed": 0, "pixel_size": 12, "image_side": 64, "overlap": 32, "smallest_area": 0,
        "volumes": volumes or (_volume(),),
    } | changes  # fmt: skip
    return DetectorRecipe.model_validate(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a volume whose sections are as grey as they are deep."""
    image = np.broadcast_to(np.arange(10, dtype=np.uint8)[:, None, None] * 20, (10, 90, 200))
    labels = np.zeros((10, 90, 200), np.uint16)
    labels[:, 11:33, 20:190] = 1
    labels[:, 50:80, 150:170] = 2
    labels[:, 50:80, 10:100] = 3
    tifffile.imwrite(tmp_path / "image.tif", image)
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    return tmp_path


def test_validation_sections_are_never_trained_on(folder: Path) -> None:
    recipe = _recipe(_volume(step=2))
    greys = {
        part: {int(image.pixels.max()) // 20 for image in read_images(recipe, folder, part)}
        for part in ("train", "validation")
    }
    assert greys == {"train": {0, 2, 4}, "validation": {7, 9}}


def test_boxes_are_exact_at_the_recipes_pixel_size(folder: Path) -> None:
    images = list(read_images(_recipe(image_side=128), folder, "validation"))
    assert [image.pixels.shape for image in images] == [(45, 100)] * 3
    # 11 and 33 fall between two pixels: a label picked from each block would say 6 to 17.
    assert images[0].boxes.tolist() == [[5.5, 10, 16.5, 95], [25, 75, 40, 85]]
    assert len({image.name for image in images}) == 3


def test_tiles_see_what_lies_in_them(folder: Path) -> None:
    tiles = list(read_images(_recipe(), folder, "train"))
    assert len(tiles) == 6 * 3
    assert all(tile.pixels.shape == (45, 64) for tile in tiles)
    assert [tile.boxes.tolist() for tile in tiles[:3]] == [
        [[5.5, 10, 16.5, 64]],
        [[5.5, 0, 16.5, 64], [25, 57, 40, 64]],
        [[5.5, 0, 16.5, 59], [25, 39, 40, 49]],
    ]


def test_small_pieces_have_no_box(folder: Path) -> None:
    # Object 2 has 20 x 30 pixels of 6 nm: 0.0216 square micrometres.
    for area, count in ((0.0215, 2), (0.0217, 1)):
        recipe = _recipe(image_side=128, smallest_area=area)
        assert len(next(read_images(recipe, folder, "train")).outlines) == count


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"train_sections": (0, 11)}, SettingsError),
        ({"voxel_size": (30, 20, 20)}, SettingsError),
        ({"voxel_size": (30, 6, 8.5)}, SettingsError),
        ({"labels": "other.tif"}, VolumeFormatError),
        ({"image": "labels.tif"}, VolumeFormatError),
    ],
)
def test_what_does_not_fit_is_refused(
    folder: Path, changes: dict[str, object], error: type[Exception]
) -> None:
    tifffile.imwrite(folder / "other.tif", np.zeros((10, 90, 199), np.uint16))
    with pytest.raises(error):
        list(read_images(_recipe(_volume(**changes)), folder, "train"))


def test_split_by_z() -> None:
    assert split_sections(0, 100) == ((0, 80), (80, 100))
    assert split_sections(10, 30, share=0.25, gap=3) == ((10, 22), (25, 30))
    assert split_sections(0, 2) == ((0, 1), (1, 2))
    for bad in ({"last": 1}, {"last": 3, "gap": 2}, {"last": 9, "share": 1.0}, {"gap": -1}):
        with pytest.raises(SettingsError):
            split_sections(**({"first": 0, "last": 9} | bad))


@pytest.mark.parametrize(
    ("volumes", "words"),
    [
        ([{"validation_sections": (5, 9)}], "5-5 are trained on"),
        ([{"validation_sections": None}], "validation sections"),
        ([{"validation_sections": (9, 9)}], "sections 9 to 9"),
        # The same image twice, under two names.
        ([{"name": "a", "validation_sections": None}, {"name": "b", "train_sections": (8, 9),
          "validation_sections": (0, 3)}], r"b: .* 0-2 are trained on \(by a\)"),
    ],
)  # fmt: skip
def test_validating_on_what_is_trained_on_is_refused(
    volumes: list[dict[str, object]], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        check_split([DetectorVolume.model_validate(_volume(**v)) for v in volumes])
    check_split([DetectorVolume.model_validate(_volume())])


def test_data_set_on_disk(folder: Path, tmp_path: Path) -> None:
    recipe, place = _recipe(image_side=128), tmp_path / "set"
    (place / "labels").mkdir(parents=True)
    (place / "labels" / "train.cache").write_bytes(b"a stale pickle")
    train = list(read_images(recipe, folder, "train"))
    written = write_yolo_dataset(place, train, read_images(recipe, folder, "validation"), "bar é")
    assert (written.images, written.objects) == ({"train": 6, "val": 3}, {"train": 12, "val": 6})
    assert not list(place.rglob("*.cache"))
    content = yaml.safe_load(written.file.read_text(encoding="utf-8"))
    assert content["names"] == {0: "bar é"}
    for part, count in (("train", 6), ("val", 3)):
        pictures = sorted((Path(content["path"]) / content[part]).glob("*.png"))
        assert len(pictures) == count
    first = Path(content["path"]) / "images" / "train" / f"{train[0].name}.png"
    np.testing.assert_array_equal(imagecodecs.png_decode(first.read_bytes()), train[0].pixels)
    boxes = []
    for line in (place / "labels" / "train" / f"{train[0].name}.txt").read_text().splitlines():
        kind, *numbers = line.split()
        assert kind == "0"
        x, y = np.array(numbers[::2], float) * 100, np.array(numbers[1::2], float) * 45
        boxes.append([y.min(), x.min(), y.max(), x.max()])
    np.testing.assert_allclose(boxes, train[0].boxes, atol=1e-3)


def test_the_hash_tells_data_sets_apart(folder: Path, tmp_path: Path) -> None:
    train = list(read_images(_recipe(), folder, "train"))

    def digest(images: list[DetectorImage]) -> str:
        return write_yolo_dataset(tmp_path / "set", images, train[:1], "bar").sha256

    same, less = digest(train), digest(train[:-1])
    assert digest(train) == same != less
    other = DetectorImage(train[0].name, train[0].pixels + np.uint8(1), train[0].outlines)
    assert digest([other, *train[1:]]) != same


def test_nothing_to_learn_is_refused(folder: Path, tmp_path: Path) -> None:
    images = list(read_images(_recipe(_volume(ids=(9,))), folder, "train"))
    with pytest.raises(SettingsError, match="0 objects"):
        write_yolo_dataset(tmp_path / "set", images, images, "bar")
    with pytest.raises(SettingsError, match="0 images to validate"):
        write_yolo_dataset(tmp_path / "set", images, [], "bar")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_yolo_dataset(tmp_path / "file" / "set", images, images, "bar")

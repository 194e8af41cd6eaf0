"""Training images as the folder that YOLO reads: PNG, a text file of outlines each, a YAML."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import yaml

from napari_neuropil.errors import OutputError, SettingsError
from napari_neuropil.training.detector_data import DetectorImage


@dataclass(frozen=True, slots=True)
class YoloDataset:
    """What was written.

    Parameters
    ----------
    file : Path
        The YAML that ultralytics is given.
    images, objects : dict of str to int
        Of ``train`` and ``val``.
    sha256 : str
        Hash of all images and outlines.
    """

    file: Path
    images: dict[str, int]
    objects: dict[str, int]
    sha256: str


def write_yolo_dataset(
    folder: Path,
    train: Iterable[DetectorImage],
    validation: Iterable[DetectorImage],
    object_name: str,
) -> YoloDataset:
    """Write a data set; what the folder held is removed.

    A line is the class 0, then x and y of each corner as shares of width and height: YOLO's
    format of outlines, from which it makes the boxes itself.

    Parameters
    ----------
    folder : Path
        Made anew. A stale one could hold caches, which are pickles.
    train, validation : iterable of DetectorImage
        Taken one at a time.
    object_name : str
        Of the one class.

    Returns
    -------
    YoloDataset

    Raises
    ------
    SettingsError
        If either part has no image, or no object is to be learnt.
    OutputError
        If the folder cannot be written.
    """
    images, objects = {"train": 0, "val": 0}, {"train": 0, "val": 0}
    digest = hashlib.sha256(object_name.encode())
    try:
        if folder.exists():
            shutil.rmtree(folder)
        for part, given in (("train", train), ("val", validation)):
            pictures, texts = (folder / kind / part for kind in ("images", "labels"))
            pictures.mkdir(parents=True)
            texts.mkdir(parents=True)
            for image in given:
                text = "".join(_lines(image))
                (pictures / f"{image.name}.png").write_bytes(imagecodecs.png_encode(image.pixels))
                (texts / f"{image.name}.txt").write_text(text)
                digest.update(f"{part} {image.name} {image.pixels.shape}\n{text}".encode())
                digest.update(image.pixels.tobytes())
                images[part] += 1
                objects[part] += len(image.outlines)
        file = folder / "data.yaml"
        content = {
            "path": str(folder.resolve()),
            "train": "images/train",
            "val": "images/val",
            "names": {0: object_name},
        }
        file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"Training images cannot be written to {folder}: {error}", "", "choose another folder."
        ) from error
    if not all(images.values()) or not objects["train"]:
        raise SettingsError(
            f"{images['train']} images with {objects['train']} objects to train on, "
            f"{images['val']} images to validate on.",
            "images for both, and objects to learn",
            "check ids, sections and smallest_area.",
        )
    return YoloDataset(file, images, objects, digest.hexdigest())


def _lines(image: DetectorImage) -> Iterable[str]:
    height, width = image.pixels.shape
    for outline in image.outlines:
        corners = (f"{x / width:.6f} {y / height:.6f}" for y, x in outline)
        yield f"0 {' '.join(corners)}\n"

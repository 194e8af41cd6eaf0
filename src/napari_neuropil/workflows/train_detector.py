"""Train a detector by a recipe, or on labels of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml
from pydantic import ValidationError

from napari_neuropil.errors import OutputError, SettingsError
from napari_neuropil.workflows.requests import Progress, Report
from napari_neuropil.workflows.train import read_recipe

if TYPE_CHECKING:
    from napari_neuropil.training.detector_recipe import DetectorRecipe


def train_detector_from(
    settings_file: Path,
    out: Path,
    *,
    data_root: Path | None = None,
    work_folder: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    report: Report = lambda _progress: None,
) -> Path:
    """Train a detector; called again, it goes on after the last whole epoch.

    Parameters
    ----------
    settings_file : Path
        YAML of its recipe.
    out : Path
        Weights to write, ends in ``.safetensors``.
    data_root : Path, optional
        Folder that the recipe's paths start from; None takes that of the settings file.
    work_folder : Path, optional
        Gets images, log and state; None takes ``OUT.run``. A copy of its log goes beside `out`.
    device : str
        auto, cpu, cuda or mps.
    threads : int, optional
        Of the CPU; None takes all there are.
    report : callable
        Hears of every step.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    MissingExtraError
        If ultralytics is not installed.
    NeuropilError
        Bad settings or volumes, or an output that cannot be written.
    """
    from napari_neuropil.inference.devices import choose_device, usable_cores
    from napari_neuropil.training.detector import train_detector
    from napari_neuropil.training.detector_recipe import DetectorRecipe

    if out.suffix != ".safetensors":
        raise SettingsError(f"{out} is no name for weights.", "NAME.safetensors", "")
    if threads is not None and threads < 1:
        raise SettingsError(f"{threads} threads.", "at least 1", "")
    recipe = read_recipe(settings_file, DetectorRecipe)
    folder = work_folder or out.with_suffix(".run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error}", "", "choose another.") from error

    def tell(done: float, total: int, message: str) -> None:
        report(Progress(stage="train", done=done, total=total, message=message))

    train_detector(
        recipe,
        data_root or settings_file.parent,
        out,
        folder,
        device=choose_device(device).type,
        threads=threads or usable_cores(),
        tell=tell,
    )
    return out


def make_detector_recipe(
    image: Path,
    labels: Path,
    ids: Sequence[int] | Literal["all"],
    *,
    voxel_size: tuple[float, float, float],
    sections: tuple[int, int],
    share: float = 0.2,
    gap: int = 0,
    object_name: str = "dendrite",
) -> DetectorRecipe:
    """Make the recipe for a detector of the user's own objects, with its held-out sections.

    Parameters
    ----------
    image, labels : Path
        Volumes of the same shape.
    ids : sequence of int or "all"
        Labels of the objects to find.
    voxel_size : tuple of float
        (z, y, x) nm.
    sections : tuple of int
        The labelled ones: first and one past the last.
    share, gap
        As `training.detector_recipe.split_sections`.
    object_name : str
        What they are.

    Returns
    -------
    DetectorRecipe
        Its paths are absolute, so the data root does not matter. `model_copy` gives it another
        seed, a start or other settings of training.

    Raises
    ------
    SettingsError
        If there are too few sections, or a value is out of bounds.
    """
    from napari_neuropil.training.detector_recipe import DetectorRecipe, split_sections

    train, validation = split_sections(*sections, share=share, gap=gap)
    content = {
        "seed": 0,
        "object_name": object_name,
        "volumes": [
            {
                "name": image.name,
                "image": str(image.absolute()),
                "labels": str(labels.absolute()),
                "voxel_size": voxel_size,
                "ids": ids if ids == "all" else tuple(ids),
                "train_sections": train,
                "validation_sections": validation,
            }
        ],
    }
    try:
        return DetectorRecipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{name}: {first['msg']} (found {first['input']!r:.60}).") from error


def save_detector_recipe(recipe: DetectorRecipe, path: Path) -> None:
    """Write a recipe as YAML, for ``neuropil train detector``."""
    content = recipe.model_dump(mode="json", exclude_defaults=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")

"""The table of segmenters: what can be chosen by name, and how a name or a file is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks.pretrained import pretrained_path
from napari_neuropil.prompts.sam_files import (
    BUILT_IN,
    cached_models,
    find_sam_file,
    is_model_name,
)
from napari_neuropil.prompts.segmenter import Segmenter

DEFAULT_SEGMENTER: Final = BUILT_IN


@dataclass(frozen=True, slots=True)
class SegmenterEntry:
    """A row of the table.

    Parameters
    ----------
    title : str
        What users read.
    open : callable
        Makes the segmenter on a device.
    """

    title: str
    open: Callable[[str], Segmenter]


def _open_compact(device: str) -> Segmenter:
    return _open_file(pretrained_path("compact-sam"), device, DEFAULT_SEGMENTER)


def _open_classical(name: str) -> Callable[[str], Segmenter]:
    def open_on(_device: str) -> Segmenter:
        from napari_neuropil.prompts.classical_segmenter import CLASSICAL

        return CLASSICAL[name]()

    return open_on


SEGMENTERS: Final[dict[str, SegmenterEntry]] = {
    "compact": SegmenterEntry("Compact SAM (built in)", _open_compact),
    "watershed": SegmenterEntry("Seeded watershed in the box", _open_classical("watershed")),
    "ellipse": SegmenterEntry("Ellipse in the box", _open_classical("ellipse")),
    "box": SegmenterEntry("The box itself", _open_classical("box")),
}
"""Segmenters that need no file of the user's."""


def segmenter_names() -> list[str]:
    """Return all names that `open_segmenter` takes here and now, the default first."""
    return [*SEGMENTERS, *cached_models()]


def open_segmenter(
    name_or_path: str | Path = DEFAULT_SEGMENTER, device: str = "cpu", *, download: bool = False
) -> Segmenter:
    """Open a segmenter.

    Parameters
    ----------
    name_or_path : str or path-like
        A name of `SEGMENTERS`; the name of a published SAM that micro_sam has downloaded, such as
        ``vit_b`` or ``vit_b_em_organelles``; or the path of a checkpoint, also of a fine-tuned
        one, whose base is then opened too.
    device : str
        ``cpu``, ``cuda`` or ``mps``.
    download : bool
        Let micro_sam download a published SAM that is not there. Otherwise nothing goes online.

    Raises
    ------
    CheckpointError
        If there is no such segmenter or file, or the file is unsafe, damaged or of another make.
    MissingExtraError
        If a package is needed that is not installed.
    """
    text = str(name_or_path)
    if text in SEGMENTERS:
        return SEGMENTERS[text].open(device)
    if download and is_model_name(text) and text not in cached_models():
        from napari_neuropil.prompts._micro_sam import download_model

        return _open_file(download_model(text), device, text)
    if not is_model_name(text) and not Path(text).suffix and Path(text).name == text:
        raise CheckpointError(
            f"There is no segmenter {text!r}.",
            f"one of {', '.join(segmenter_names())}, a published model such as vit_b, or a path",
            "choose one of these.",
        )
    path = find_sam_file(name_or_path)
    return _open_file(path, device, path.stem)


def _open_file(path: Path, device: str, name: str) -> Segmenter:
    from napari_neuropil.prompts.sam_networks import read_network
    from napari_neuropil.prompts.sam_segmenter import SamSegmenter

    opened = read_network(path, name)
    return SamSegmenter(opened.network, name, device, pixel_sizes_nm=opened.pixel_sizes_nm)

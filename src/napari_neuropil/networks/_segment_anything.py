"""The one door to the package segment_anything, and to mobile_sam, which has its smallest encoder.

Both import torchvision, which may not fit the torch that is installed; so they come in through the
guard. Two distributions bring the package: segment-anything-py is the one on the package index.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from napari_neuropil.errors import MissingExtraError
from napari_neuropil.networks._torchvision import import_beside_torch


def import_sam_parts() -> Any:
    """Return the module that holds SAM's classes (encoders, transformer, mask decoder).

    Raises
    ------
    MissingExtraError
        If segment_anything is not installed.
    """
    return _import("segment_anything", "pip install segment-anything-py").modeling


def build_tiny_sam() -> Any:
    """Return mobile_sam's SAM with the encoder vit_t, not yet filled.

    Raises
    ------
    MissingExtraError
        If mobile_sam is not installed; it is not on the package index.
    """
    package = _import(
        "mobile_sam", "pip install git+https://github.com/ChaoningZhang/MobileSAM.git"
    )
    return package.sam_model_registry["vit_t"]()


def _import(name: str, cure: str) -> ModuleType:
    try:
        return import_beside_torch(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name:
            raise
        raise MissingExtraError(f"The package {name!r} is not installed.", name, cure) from error

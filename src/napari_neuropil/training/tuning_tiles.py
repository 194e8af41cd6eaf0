"""Sections with corrected objects, cut into what a promptable network sees at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_neuropil.networks.feature_window import Features
from napari_neuropil.networks.promptable import PromptableNetwork
from napari_neuropil.prompts.section_tiles import nearest_tile, tile_boxes
from napari_neuropil.training.sam_view import section_input
from napari_neuropil.training.section_objects import SectionObject, paint_objects


@dataclass(frozen=True, eq=False, slots=True)
class TuningTile:
    """A section, or a tile of one, with objects.

    Parameters
    ----------
    z : int
        The section.
    image : ndarray of uint8, (Y, X)
        Its pixels.
    parts : ndarray of int64, (Y, X)
        Objects from 1; 0 elsewhere.
    features : mapping of str to ndarray, optional
        The image, encoded.
    box : tuple of int
        Where it lies in its section, (y0, x0, y1, x1), half open.
    weight : float
        How often it is drawn, relative to a tile with as many objects.
    """

    z: int
    image: NDArray[np.uint8]
    parts: NDArray[np.int64]
    features: Features | None = None
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    weight: float = 1.0


def cut_tiles(
    objects: Sequence[SectionObject], read_section: Callable[[int], NDArray[np.uint8]], side: int
) -> list[TuningTile]:
    """Cut sections into tiles that a network sees whole, and leave out those without objects.

    Parameters
    ----------
    objects : sequence of SectionObject
        Each goes to the tile whose centre is nearest to it, as at a click.
    read_section : callable
        Returns section z, (Y, X) uint8.
    side : int
        Of a tile, pixels.
    """
    tiles = []
    for z in sorted({item.z for item in objects}):
        section = read_section(z)
        members = [item for item in objects if item.z == z]
        boxes = tile_boxes((section.shape[0], section.shape[1]), side, side // 4)
        places = [nearest_tile(boxes, _centre(item)) for item in members]
        for number in sorted(set(places)):
            y0, x0, y1, x1 = box = boxes[number]
            inside = [m for m, place in zip(members, places, strict=True) if place == number]
            parts = paint_objects(inside, (section.shape[0], section.shape[1]))
            tiles.append(
                TuningTile(z, section[y0:y1, x0:x1].copy(), parts[y0:y1, x0:x1].copy(), box=box)
            )
    return tiles


def _centre(item: SectionObject) -> tuple[float, float]:
    y0, x0, y1, x1 = item.box
    return (y0 + y1) / 2, (x0 + x1) / 2


@torch.no_grad()
def encode_tile(network: PromptableNetwork, tile: TuningTile, device: torch.device) -> TuningTile:
    """Return a tile with what the encoder makes of it, as halves."""
    grey = torch.from_numpy(tile.image.astype(np.float32) / 255)
    features = network.encode(section_input(network, grey, device))
    kept = {name: tensor[0].to("cpu", torch.float16).numpy() for name, tensor in features.items()}
    return replace(tile, features=kept)

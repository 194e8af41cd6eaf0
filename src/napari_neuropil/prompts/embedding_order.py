"""In which order sections are embedded: the one that is looked at, then its neighbours outward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from napari_neuropil.prompts.section_tiles import TileBox, tiles_by_distance


class SectionTile(NamedTuple):
    """One tile of one section: what is embedded at a time."""

    z: int
    tile: int


def sections_outward(centre: int, depth: int, reach: int) -> list[int]:
    """Return sections by distance from a centre: itself, one below, one above, two below, ...

    "Below" is the higher number: people mostly scroll down.

    Parameters
    ----------
    centre : int
        Where one is.
    depth : int
        Sections of the volume.
    reach : int
        Largest distance.
    """
    near = [centre]
    for distance in range(1, reach + 1):
        near += [centre + distance, centre - distance]
    return [z for z in near if 0 <= z < depth]


def embedding_order(
    sections: Sequence[int], boxes: Sequence[TileBox], place: tuple[float, float]
) -> list[SectionTile]:
    """Return what to embed, in order.

    All tiles of the first section come first, then the tile nearest to the place in every other
    section, then the rest: whoever scrolls on looks at the same place.

    Parameters
    ----------
    sections : sequence of int
        Nearest first.
    boxes : sequence of TileBox
        The tiles of a section.
    place : tuple of float
        (y, x), pixels: where one looks.
    """
    tiles = tiles_by_distance(boxes, place)
    first, others = sections[:1], sections[1:]
    return [
        *(SectionTile(z, tile) for z in first for tile in tiles),
        *(SectionTile(z, tiles[0]) for z in others),
        *(SectionTile(z, tile) for z in others for tile in tiles[1:]),
    ]

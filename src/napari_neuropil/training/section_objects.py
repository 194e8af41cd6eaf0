"""Cross-sections of chosen segments: what fine-tuning learns from and is measured on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.training.embedding_patches import connected_objects


@dataclass(frozen=True, eq=False, slots=True)
class SectionObject:
    """A connected part of a segment within one section.

    Parameters
    ----------
    segment : int
        Its id.
    z : int
        Section of the volume.
    box : tuple of int
        Tight box (y0, x0, y1, x1), half open, pixels of the section.
    mask : ndarray of bool
        Within the box.
    pseudo : bool
        Made by a network and not looked at by anybody. May be learned from; never measured on.
    """

    segment: int
    z: int
    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]
    pseudo: bool = False

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.mask.sum())


def find_objects(
    labels: NDArray[np.unsignedinteger],
    z: int,
    corrected: Collection[int],
    pseudo: Collection[int] = (),
    *,
    smallest: int = 60,
) -> list[SectionObject]:
    """Return the cross-sections of chosen segments in one section, in raster order.

    Parameters
    ----------
    labels : ndarray of unsigned int, (Y, X)
        Segments, 0 = background.
    z : int
        The section's number.
    corrected : collection of int
        Segments that somebody corrected or called done.
    pseudo : collection of int
        Segments that a network is sure of. Those in `corrected` too count as corrected.
    smallest : int
        Parts of fewer pixels are left out.
    """
    chosen = {int(n) for n in corrected} | {int(n) for n in pseudo}
    ids, inverse = np.unique(labels, return_inverse=True)
    wanted = np.array([int(n) in chosen and n != 0 for n in ids])
    # Small numbers instead of ids, which may be larger than what the next step takes.
    numbers = np.where(wanted, np.arange(1, len(ids) + 1), 0).astype(np.uint32)
    parts, origins = connected_objects(numbers[inverse.reshape((1, *labels.shape))], smallest)
    found = []
    for number, place in enumerate(ndimage.find_objects(parts[0]), start=1):
        rows, columns = place
        segment = int(ids[origins[number - 1] - 1])
        found.append(
            SectionObject(
                segment,
                z,
                (rows.start, columns.start, rows.stop, columns.stop),
                parts[0][place] == number,
                pseudo=segment not in corrected,
            )
        )
    return found


def paint_objects(objects: Iterable[SectionObject], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return a section (Y, X) with the objects numbered from 1, 0 elsewhere."""
    section = np.zeros(shape, np.int64)
    for number, item in enumerate(objects, start=1):
        y0, x0, y1, x1 = item.box
        section[y0:y1, x0:x1][item.mask] = number
    return section

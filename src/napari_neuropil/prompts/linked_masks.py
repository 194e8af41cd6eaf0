"""Masks of many sections as 3D objects, and the links between them that deserve a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Shape
from napari_neuropil.prompts.packed_mask import PackedMask, masks_united
from napari_neuropil.prompts.sparse_object import SparseObject


@dataclass(frozen=True, slots=True)
class DoubtfulLink:
    """A link worth a look, made or not made.

    Parameters
    ----------
    z, mask : int
        A mask: its section, and which of those given for it.
    other_z, other_mask : int
        The mask in the section above.
    linked : bool
        Whether the two became one object.
    overlap : float
        Intersection over union.
    agreement : float
        Share of their pixels in common segments; NaN where nothing is known.
    support : float
        Rough share of such pairs that are one object.
    stake : int
        Voxels that change sides if the link is wrong: those of the smaller object.
    """

    z: int
    mask: int
    other_z: int
    other_mask: int
    linked: bool
    overlap: float
    agreement: float
    support: float
    stake: int

    @property
    def worth(self) -> float:
        """Voxels that a look is expected to put right."""
        return self.stake * (1 - self.support if self.linked else self.support)


@dataclass(frozen=True, eq=False, slots=True)
class LinkedMasks:
    """The objects of all masks.

    Parameters
    ----------
    z, mask : NDArray[np.int64], (M,)
        Section of each mask, and which of those given for it; in this order.
    area : NDArray[np.int64], (M,)
        Pixels.
    object_id : NDArray[np.int64], (M,)
        From 1, in order of the first mask. A section may hold several masks of one object.
    doubtful : tuple of DoubtfulLink
        The most worthwhile first.
    """

    z: NDArray[np.int64]
    mask: NDArray[np.int64]
    area: NDArray[np.int64]
    object_id: NDArray[np.int64]
    doubtful: tuple[DoubtfulLink, ...]

    @property
    def count(self) -> int:
        """Number of objects."""
        return int(self.object_id.max(initial=0))

    def ids_of(self, z: int) -> NDArray[np.int64]:
        """Return the object of each mask of a section, in the order they were given."""
        return self.object_id[np.searchsorted(self.z, z) : np.searchsorted(self.z, z, "right")]

    def masks_of(self, object_id: int) -> list[tuple[int, int]]:
        """Return the masks of an object: section, and which of those given for it."""
        rows = np.flatnonzero(self.object_id == object_id)
        return list(zip(self.z[rows].tolist(), self.mask[rows].tolist(), strict=True))

    def object_of(
        self, object_id: int, masks: Mapping[int, Sequence[PackedMask]], shape: Shape
    ) -> SparseObject:
        """Return an object's voxels.

        Parameters
        ----------
        object_id : int
            Which.
        masks : mapping of int to sequence of PackedMask
            Those that were linked, by section.
        shape : tuple of int
            Of the volume, (Z, Y, X).
        """
        parts: dict[int, list[PackedMask]] = {}
        for z, mask in self.masks_of(object_id):
            parts.setdefault(z, []).append(masks[z][mask])
        united = {z: masks_united(found) for z, found in parts.items()}
        return SparseObject(shape).with_packed(united)

"""A dendrite as what others take: rows of a drawing, or a dense crop of labels. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from napari_neuropil.errors import EditRejectedError, SettingsError
from napari_neuropil.geometry import Shape
from napari_neuropil.plugin.dendrites.records import Dendrite
from napari_neuropil.prompts.sparse_object import SparseObject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_neuropil.proofreading import DrawnRows, Proposal

_MOST_VOXELS: Final = 1 << 30
_MOST_NAMES: Final = 5


def drawn_rows(dendrite: Dendrite, shape: Shape) -> DrawnRows:
    """Return a dendrite as a drawing on a volume of that shape."""
    from napari_neuropil.proofreading import DrawnRows

    return DrawnRows(
        [(z, mask.start[0], mask.start[1], mask.crop()) for z, mask in dendrite.masks.items()],
        grid=shape,
    )


def dense_crop(dendrite: Dendrite, shape: Shape) -> tuple[NDArray[np.uint8], Shape]:
    """Return the box around a dendrite, 1 where it is, and the box's first voxel.

    Raises
    ------
    EditRejectedError
        If it has no mask.
    SettingsError
        If its box holds more voxels than a layer in memory should.
    """
    thing = SparseObject(shape, dendrite.masks)
    extent = thing.extent
    if extent is None:
        raise EditRejectedError("The dendrite has no mask.", "a mask in one section", "accept one.")
    if extent.size > _MOST_VOXELS:
        raise SettingsError(
            f"The box around the dendrite has {extent.size} voxels.",
            f"at most {_MOST_VOXELS}: a labels layer lies in memory",
            "make a project of the volume, and commit the dendrite to it.",
        )
    labels = np.zeros(extent.shape, np.uint8)
    thing.paint(labels, extent, 1)
    return labels, extent.start


def summary_text(proposal: Proposal) -> str:
    """Return what an edit is going to do, in lines.

    Parameters
    ----------
    proposal : Proposal
        Of a drawing.
    """
    wish = proposal.wish
    before = sorted({int(s) for s in np.unique(proposal.effect.before) if s})
    names = ", ".join(str(s) for s in before[:_MOST_NAMES])
    if len(before) > _MOST_NAMES:
        names += f" and {len(before) - _MOST_NAMES} more"
    voxels = f"{int(wish['voxels']):,}".replace(",", " ")
    first = f"Segment {wish['segment']}, {voxels} voxels drawn"
    return "\n".join([f"{first}, takes from {names}." if names else f"{first}.", *proposal.notices])

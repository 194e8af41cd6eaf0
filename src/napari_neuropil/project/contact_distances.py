"""How far apart the mean embeddings on both sides of each contact are: a cache of the project.

``distances.npz`` holds one value a contact, in the order of the graph; NaN where nobody has
looked yet or a side has no voxel near the contact. Deleting it loses time, nothing else.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError

DISTANCES: Final = "distances.npz"


@dataclass(frozen=True, eq=False)
class ContactDistances:
    """Distances of a project's contacts.

    Parameters
    ----------
    distance : ndarray of float32, (C,)
        L1 distance of the mean embeddings; NaN where unknown.
    measured : ndarray of bool, (C,)
        Whether somebody has looked.
    checkpoint_sha256 : str
        The network's weights; distances of other weights cannot be compared.
    """

    distance: NDArray[np.float32]
    measured: NDArray[np.bool_]
    checkpoint_sha256: str

    @classmethod
    def none_yet(cls, count: int, checkpoint_sha256: str) -> ContactDistances:
        """Return the distances of `count` contacts before any measurement."""
        return cls(np.full(count, np.nan, np.float32), np.zeros(count, bool), checkpoint_sha256)

    def with_rows(self, rows: NDArray[np.intp], distance: NDArray[np.float32]) -> ContactDistances:
        """Return these with some more measured."""
        values, measured = self.distance.copy(), self.measured.copy()
        values[rows], measured[rows] = distance, True
        return ContactDistances(values, measured, self.checkpoint_sha256)


def read_distances(project: Path, count: int) -> ContactDistances | None:
    """Read the cache; None where there is none that fits `count` contacts."""
    try:
        with np.load(project / DISTANCES, allow_pickle=False) as content:
            found = ContactDistances(
                content["distance"], content["measured"], str(content["checkpoint_sha256"])
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fits = found.distance.shape == found.measured.shape == (count,)
    typed = found.distance.dtype == np.float32 and found.measured.dtype == np.bool_
    return found if fits and typed else None


def write_distances(project: Path, distances: ContactDistances) -> None:
    """Write the cache, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    file, partial = project / DISTANCES, project / f"{DISTANCES}.partial"
    try:
        with partial.open("wb") as opened:
            np.savez(
                opened,
                distance=distances.distance,
                measured=distances.measured,
                checkpoint_sha256=np.array(distances.checkpoint_sha256),
            )
        partial.replace(file)
    except OSError as error:
        raise OutputError(
            f"{file} cannot be written: {error}",
            "a folder that can be written, with free space",
            "free disk space; what was measured before is kept.",
        ) from error

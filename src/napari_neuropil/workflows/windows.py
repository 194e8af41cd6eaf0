"""The labels of windows between the network's pass and the joining of blocks.

They lie in the project's ``blocks/windows``, a byte a voxel before compression, so memory does not
grow with the volume, a stopped run goes on, and blocks can be joined anew in another way.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError, ProjectError
from napari_neuropil.geometry import Roi
from napari_neuropil.methods.cut import Cut
from napari_neuropil.segmentation.rag import Rag
from napari_neuropil.segmentation.window_agreement import WindowLabels, contact_agreement


class WindowStore:
    """The labels of each block's window.

    Parameters
    ----------
    folder : Path
        Made if absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, index: int, window: WindowLabels) -> None:
        """Keep the labels of a block's window.

        Raises
        ------
        OutputError
            If they cannot be written.
        """
        partial = self.folder / f"{index}.partial"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez_compressed(
                    file, labels=window.labels, start=np.array(window.roi.start, np.int64)
                )
            partial.replace(self._path(index))
        except OSError as error:
            raise OutputError(
                f"The labels of block {index} cannot be written: {error}",
                "",
                "free disk space, then go on with --resume.",
            ) from error

    def read(self, index: int) -> WindowLabels:
        """Return the labels of a block's window.

        Raises
        ------
        ProjectError
            If they are missing or damaged.
        """
        try:
            with np.load(self._path(index), allow_pickle=False) as content:
                labels, start = content["labels"], tuple(int(v) for v in content["start"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ProjectError(
                f"The labels of block {index} cannot be read: {error}",
                "those that this run wrote",
                "segment anew with --overwrite.",
            ) from error
        stop = tuple(a + n for a, n in zip(start, labels.shape, strict=True))
        return WindowLabels(
            Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])), labels
        )

    def _path(self, index: int) -> Path:
        return self.folder / f"{index}.npz"


def labels_of_fragments(
    rois: Iterable[Roi],
    fragments: Callable[[Roi], NDArray[np.uint64]],
    labels: Callable[[Roi], NDArray[np.uint8]],
    count: int,
) -> NDArray[np.uint8]:
    """Return the label that each fragment was made of.

    Parameters
    ----------
    rois : iterable of Roi
        The blocks; a fragment lies in one.
    fragments, labels : callable
        Give the voxels of a block.
    count : int
        Number of fragments.

    Returns
    -------
    ndarray of uint8, (count + 1,)
        0 for a fragment without a labelled voxel.
    """
    result = np.zeros(count + 1, np.uint8)
    for roi in rois:
        ids, named = fragments(roi), labels(roi)
        # Voxels that were filled have no label; all others of a fragment have the same.
        kept = named > 0
        result[ids[kept]] = named[kept]
    result[0] = 0
    return result


def cut_of_windows(
    rag: Rag,
    block_of: NDArray[np.int64],
    rois: Sequence[Roi],
    fragments: Callable[[Roi], NDArray[np.uint64]],
    labels: Callable[[Roi], NDArray[np.uint8]],
    store: WindowStore,
) -> Cut:
    """Return what the windows say of the contacts between blocks.

    Parameters
    ----------
    rag : Rag
        Contacts.
    block_of : ndarray of int64, (fragment_count + 1,)
        The block each fragment lies in.
    rois, fragments, labels
        As `labels_of_fragments`.
    store : WindowStore
        Labels of each block's window.
    """
    label_of = labels_of_fragments(rois, fragments, labels, len(block_of) - 1)
    return Cut(block_of, contact_agreement(rag.contacts, block_of, label_of, store.read))

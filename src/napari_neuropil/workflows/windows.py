"""The labels of windows between the network's pass and the joining of blocks.

They lie in the project's ``blocks/windows``, a byte a voxel before compression, so memory does not
grow with the volume, a stopped run goes on, and blocks can be joined anew in another way.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError, ProjectError
from napari_neuropil.geometry import Roi
from napari_neuropil.methods.cut import Cut
from napari_neuropil.project.query_evidence import QueryEvidence, write_query_evidence
from napari_neuropil.segmentation.query_facts import (
    QueryValues,
    measure_queries,
    rival_fragments,
)
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


def cut_of_windows(
    project: Path,
    rag: Rag,
    block_of: NDArray[np.int64],
    blocks: Iterable[tuple[NDArray[np.uint64], QueryValues]],
    store: WindowStore,
) -> Cut:
    """Return what the windows say of the contacts between blocks.

    What the queries say of single fragments goes into the project, for the queue of candidates.

    Parameters
    ----------
    project : Path
        Gets ``queries.npz``.
    rag : Rag
        Contacts.
    block_of : ndarray of int64, (fragment_count + 1,)
        The block each fragment lies in.
    blocks : iterable
        Fragments and queries of each block's voxels.
    store : WindowStore
        Labels of each block's window.

    Raises
    ------
    OutputError
        If the project cannot be written.
    """
    facts = measure_queries(blocks, len(block_of) - 1)
    rivals = rival_fragments(facts, rag, block_of)
    write_query_evidence(project, QueryEvidence(facts.confidence, rivals, facts.share))
    return Cut(block_of, contact_agreement(rag.contacts, block_of, facts.label, store.read))

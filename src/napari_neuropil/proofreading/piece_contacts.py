"""The contacts of many new pieces at once, measured block by block."""

from __future__ import annotations

import numpy as np

from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading.block_reader import BlockReader
from napari_neuropil.proofreading.drawings import meeting
from napari_neuropil.proofreading.effects import FragmentSplit
from napari_neuropil.proofreading.evidence import Evidence
from napari_neuropil.proofreading.pieces import lay_pieces
from napari_neuropil.segmentation.fragment_splitting import measure_pieces
from napari_neuropil.segmentation.rag import Rag, merge_rags


def measure_contacts(
    reader: BlockReader, evidence: Evidence, splits: tuple[FragmentSplit, ...]
) -> Rag:
    """Measure every contact of the pieces of some splits, as a pass over the volume would.

    Parameters
    ----------
    reader : BlockReader
        Fragments without these pieces.
    evidence : Evidence
        Affinities.
    splits : tuple of FragmentSplit
        All pieces that are new.
    """
    if not splits:
        return Rag.empty()
    boxes = np.array([(s.roi.start, s.roi.stop) for s in splits], np.int64)
    pieces = np.concatenate([np.zeros(0, np.uint64), *(split.ids for split in splits)])
    # A pair belongs to the block of its upper voxel, which may lie one beyond a piece.
    upper = boxes.copy()
    upper[:, 1] = np.minimum(upper[:, 1] + 1, reader.shape)
    parts = []
    for block in reader.blocks_of(upper):
        near = upper[meeting(upper, block)]
        low = np.maximum(near[:, 0].min(axis=0), block.start).tolist()
        high = np.minimum(near[:, 1].max(axis=0), block.stop).tolist()
        z, y, x = (max(0, v - 1) for v in low)
        roi = Roi((z, y, x), (high[0], high[1], high[2]))
        ids = reader.read(roi)
        for i in np.flatnonzero(meeting(boxes, roi)).tolist():
            lay_pieces(ids, roi, splits[i])
        first = (low[0] - z, low[1] - y, low[2] - x)
        parts.append(measure_pieces(ids, pieces, evidence.affinities(roi), roi.start, first=first))
    return merge_rags(parts)

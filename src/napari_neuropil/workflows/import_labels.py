"""Make a project of anybody's labels, so that they can be proofread.

The connected pieces of each label are the fragments, the labels are the segments: importing changes
nothing that is seen, and every piece can be merged, split off or given away. Two passes over
blocks: the first labels each block and notes which pieces go on in the next one, the second writes
the final ids and measures sizes, boxes and contacts. Planes between blocks are remembered, so that
labels and fragments are read once. Memory: one block and one plane, and the graph.

The folder is made under a partial name and renamed when it is whole: a cancelled import leaves
nothing, and one that replaces a project leaves that in place until the new one stands.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.blockwise import Block, split_blocks
from napari_neuropil.errors import CancelledError, OutputError, VolumeFormatError
from napari_neuropil.geometry import Roi
from napari_neuropil.project import (
    Project,
    ProjectInfo,
    lasting_source,
    read_info,
    write_graph,
    write_info,
)
from napari_neuropil.project.fragment_table import TableBuilder, whole_chunks, write_table
from napari_neuropil.segmentation.bridging import grow_fragments, reach_halo
from napari_neuropil.segmentation.connected_pieces import PieceJoiner, label_pieces
from napari_neuropil.segmentation.rag import Rag, build_rag, merge_rags
from napari_neuropil.volumes import create_volume
from napari_neuropil.workflows.contact_scores import GivenAffinities
from napari_neuropil.workflows.faces import BlockFaces
from napari_neuropil.workflows.import_inputs import ImportRequest, Inputs, refuse_markers
from napari_neuropil.workflows.plan import CHUNK_SHAPE
from napari_neuropil.workflows.requests import Progress, Report
from napari_neuropil.workflows.results import refuse_edited

BLOCK_VOXELS: Final = 1 << 22
"""About 300 MB at the widest: labels, pieces, affinities and what finds the contacts."""

_BRIDGE_NM: Final = 64.0
"""A membrane left unlabelled, with room for a coarse hand."""

_SMALLEST_MEAN: Final = 8
_TELLING_VOXELS: Final = 1 << 13
"""A block of this many voxels whose pieces are smaller than `_SMALLEST_MEAN` is no labels."""


def import_labels(
    request: ImportRequest,
    *,
    report: Report = lambda _progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Project:
    """Make a project of labels.

    Parameters
    ----------
    request : ImportRequest
        The wish.
    report : callable
        Hears of progress.
    cancelled : callable
        Asked before every block.

    Returns
    -------
    Project
        The finished project, opened.

    Raises
    ------
    NeuropilError
        Bad input, an existing project, no space; `CancelledError` if `cancelled` said so.
    """
    target = Path(request.project).expanduser().absolute()
    _refuse_existing(target, overwrite=request.overwrite)
    inputs = Inputs(request)
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _Run(inputs, partial, report, cancelled).run()
        _move_into_place(partial, target)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"{target} cannot be made: {error}",
            "a folder that can be written, with space enough",
            "free disk space, or choose another folder.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Project.open(request.project)


class _Run:
    """One import: two passes over the blocks, then the graph."""

    def __init__(
        self, inputs: Inputs, path: Path, report: Report, cancelled: Callable[[], bool]
    ) -> None:
        self.inputs = inputs
        self.path = path
        self.report = report
        self.cancelled = cancelled
        self.notices = list(inputs.notices)
        self.seconds: dict[str, float] = {}
        shape = inputs.labels.shape
        self.block_shape = whole_chunks(shape, CHUNK_SHAPE, BLOCK_VOXELS)
        self.blocks = split_blocks(shape, self.block_shape)
        self.joiner = PieceJoiner()
        self.digest = hashlib.blake2b(digest_size=16)

    def run(self) -> None:
        """Fill the folder."""
        self.fragments = create_volume(
            self.path / "fragments.zarr", self.inputs.labels.shape, "uint64",
            self.inputs.voxel_size, translation=self.inputs.translation, chunks=CHUNK_SHAPE,
            kind="labels",
        )  # fmt: skip
        self._timed("fragments", self._find_pieces)
        final, self.lookup = self.joiner.number()
        self._check_count()
        self.table = TableBuilder(len(self.lookup) - 1)
        self._timed("contacts", lambda: self._find_contacts(final))
        self._timed("bridges", self._bridge)
        write_graph(self.path, self.rag, self.lookup)
        source = self.inputs.source
        if isinstance(source, GivenAffinities):
            self._timed("affinities", lambda: self._keep(source))
        info = self._info()
        write_table(self.path, self.table.table(), info.fingerprint)
        write_info(self.path, info)

    def _find_pieces(self) -> None:
        with self._faces() as faces:
            for block in self._each("fragments"):
                labels = self.inputs.labels.read(block.roi)
                refuse_markers(labels, self.inputs.request.labels, block.roi)
                pieces, ids = label_pieces(labels)
                first = self.joiner.add(ids)
                self._refuse_image(block, len(ids))
                pieces[pieces > 0] += np.uint64(first)
                for lower, upper in faces.meet(block, pieces):
                    self.joiner.join(lower, upper)
                faces.keep(block, pieces)
                self.fragments.write(block.roi, pieces)

    def _refuse_image(self, block: Block, pieces: int) -> None:
        voxels = block.roi.size
        if voxels >= _TELLING_VOXELS and pieces * _SMALLEST_MEAN > voxels:
            raise VolumeFormatError(
                f"{self.inputs.request.labels} falls into {pieces} pieces within {block.roi}: "
                f"{voxels / pieces:.1f} voxels each.",
                "labels: objects of many voxels with one id",
                "choose the labels; this looks like an image.",
            )

    def _find_contacts(self, final: NDArray[np.uint64]) -> None:
        rags: list[Rag] = []
        with self._faces() as faces:
            for block in self._each("contacts"):
                pieces = self.fragments.read(block.roi)
                ids = final[pieces.view(np.int64)]
                if not np.array_equal(ids, pieces):
                    self.fragments.write(block.roi, ids)
                digest = hashlib.blake2b(np.ascontiguousarray(ids).tobytes(), digest_size=16)
                self.digest.update(digest.hexdigest().encode())
                self.table.add(ids, block.roi.start)
                rags.append(self._contacts(block, *faces.surround(block, ids)))
                faces.keep(block, ids)
        self.rag = merge_rags(rags)

    def _bridge(self) -> None:
        """Find the contacts anew across background, where that is asked for or needed."""
        gap, count = self.inputs.request.bridge, len(self.lookup) - 1
        lonely = count - len(np.unique(self.rag.contacts))
        if gap == 0 or (gap is None and 2 * lonely <= count):
            return
        reach = (_BRIDGE_NM if gap is None else gap) / 2
        halo = reach_halo(reach, self.inputs.voxel_size)
        rags: list[Rag] = []
        for block in self._each("bridges"):
            start = [max(0, a - 1) for a in block.roi.start]
            roi = Roi((start[0], start[1], start[2]), block.roi.stop)
            wide = roi.grown(halo, self.inputs.labels.shape)
            grown = grow_fragments(self.fragments.read(wide), reach, self.inputs.voxel_size)
            inner = roi.shifted([-a for a in wide.start])
            rags.append(self._contacts(block, np.ascontiguousarray(grown[inner.slices]), roi))
        before, self.rag = len(self.rag), merge_rags(rags)
        self.notices.append(
            f"Background keeps fragments apart ({lonely} of {count} touch no other): contacts "
            f"count across gaps of up to {2 * reach:g} nm, {len(self.rag)} instead of {before}."
        )

    def _faces(self) -> BlockFaces:
        return BlockFaces(self.path / "plane", self.inputs.labels.shape, self.block_shape)

    def _contacts(self, block: Block, wide: NDArray[np.uint64], roi: Roi) -> Rag:
        """Return the contacts of a block: each pair of voxels belongs to its upper voxel.

        `wide` is the block with one plane more before each lower face, `roi` its box.
        """
        fz, fy, fx = (b - a for a, b in zip(roi.start, block.roi.start, strict=True))
        affinities = self.inputs.source.read(roi)
        return build_rag(wide, affinities, origin=roi.start, first=(fz, fy, fx))

    def _keep(self, source: GivenAffinities) -> None:
        def report(done: int, total: int) -> None:
            self._check_cancelled()
            self.report(Progress(stage="affinities", done=done, total=total))

        source.keep(self.path / "affinities.zarr", self.inputs.voxel_size, report)

    def _check_count(self) -> None:
        fragments, labels = len(self.lookup) - 1, self.inputs.request.labels
        if fragments == 0:
            raise VolumeFormatError(
                f"{labels} holds background only: every voxel is 0.",
                "labels above 0",
                "choose the dataset with the labels.",
            )
        ids, pieces = np.unique(self.lookup[1:], return_counts=True)
        if fragments == 1:
            raise VolumeFormatError(
                f"{labels} holds one connected object, the id {int(ids[0])}, and nothing it "
                "touches.",
                "at least two objects or pieces to merge or split",
                "cut it into fragments first: neuropil segment IMAGE PROJECT.",
            )
        several = int(np.count_nonzero(pieces > 1))
        if several:
            most = int(pieces.argmax())
            self.notices.append(
                f"{several} of {len(ids)} ids have several pieces that do not touch (id "
                f"{int(ids[most])} has {int(pieces[most])}): {fragments} fragments in all. The "
                "pieces of an id stay one segment."
            )

    def _info(self) -> ProjectInfo:
        image, request = self.inputs.image, self.inputs.request
        voxel_size = self.inputs.voxel_size
        return ProjectInfo.model_validate(
            {
                "state": "finished",
                "image_source": "" if image is None else lasting_source(image.source),
                "image_shape": None if image is None else image.shape,
                "voxel_size": tuple(voxel_size),
                "translation": self.inputs.translation,
                "roi": str(Roi.of_shape(self.inputs.labels.shape)),
                "method": "import",
                "plan": {
                    "request": request.model_dump(mode="json"),
                    "labels": self.inputs.labels.source,
                    "scores": self.inputs.source.name,
                    "block_shape": self.block_shape,
                },
                "versions": {name: metadata.version(name) for name in ("numpy", "bioimage-cpp")},
                "fragment_count": len(self.lookup) - 1,
                "fingerprint": self.digest.hexdigest(),
                "notices": tuple(self.notices),
                "seconds": self.seconds,
            }
        )

    def _each(self, stage: str) -> Iterator[Block]:
        for block in self.blocks:
            self._check_cancelled()
            self.report(Progress(stage=stage, done=block.index, total=len(self.blocks)))
            yield block
        self.report(Progress(stage=stage, done=len(self.blocks), total=len(self.blocks)))

    def _timed(self, stage: str, work: Callable[[], None]) -> None:
        begin = time.perf_counter()
        work()
        self.seconds[stage] = round(time.perf_counter() - begin, 2)

    def _check_cancelled(self) -> None:
        if self.cancelled():
            raise CancelledError("Stopped.", "", "nothing was kept; start the import again.")


def _refuse_existing(target: Path, *, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise OutputError(
            f"{target} exists.",
            "a folder that does not exist yet",
            "choose another name, or --overwrite it.",
        )
    read_info(target)  # refuses to replace what is no project
    refuse_edited(target)


def _move_into_place(partial: Path, target: Path) -> None:
    if not target.exists():
        partial.rename(target)
        return
    # A folder cannot be replaced in one step: put the old one aside until the new one stands.
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)

"""The stages of a segmentation, block by block: affinities, fragments, contacts, segments.

Finished blocks are remembered, so that a run can be cancelled or killed at any time and goes on
where it stopped. At the borders between blocks fragments are cut, and the partition joins the
pieces across the cut like any others. The affinities and, given the fragments, the contacts do
not depend on the blocks at all.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.blockwise import Block, Ledger, run_blocks, split_blocks, with_plane_before
from napari_neuropil.errors import CancelledError, OutputError, ProjectError
from napari_neuropil.geometry import Roi, Shape, VoxelSize
from napari_neuropil.inference.grey_values import GreyRange
from napari_neuropil.inference.grids import pool_mean, repeat_voxels, unpooled_roi
from napari_neuropil.methods.cut import Cut
from napari_neuropil.project import ProjectInfo, lasting_source, read_info, write_graph, write_info
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.project.project import read_rag, write_rag
from napari_neuropil.segmentation.lookup import relabel_compact
from napari_neuropil.segmentation.rag import Rag, build_rag, merge_rags
from napari_neuropil.segmentation.window_agreement import WindowLabels
from napari_neuropil.volumes import create_volume, reopen_volume
from napari_neuropil.workflows.embedded_image import NETWORK as EMBEDDING_NETWORK
from napari_neuropil.workflows.embedded_image import EmbeddedImage
from napari_neuropil.workflows.joining import candidates_of, join_by_embedding
from napari_neuropil.workflows.plan import CHUNK_SHAPE, Resolved, check_disk
from napari_neuropil.workflows.requests import LAST_STAGE, Progress, Report
from napari_neuropil.workflows.results import refuse_edited
from napari_neuropil.workflows.same_run import begin_again, check_same_run
from napari_neuropil.workflows.windows import WindowStore, cut_of_windows

_LEAST_FOREGROUND = 0.4
"""What the paper takes as foreground: at most 0.6 background."""


class StagedRun:
    """One run: the folder, what is stored in it, and the stages.

    Parameters
    ----------
    resolved : Resolved
        The plan and what it opened.
    report : callable
        Hears of progress.
    cancelled : callable
        Asked before every pass of the network.
    """

    def __init__(self, resolved: Resolved, report: Report, cancelled: Callable[[], bool]) -> None:
        self.resolved = resolved
        self.plan = resolved.plan
        self.path = Path(self.plan.request.project)
        self.report = report
        self.cancelled = cancelled
        self.notices = list(self.plan.notices)
        self.blocks = split_blocks(self.plan.grid_shape, self.plan.block_shape)
        self.windows = WindowStore(self.path / "blocks" / "windows")
        self.seconds: dict[str, float] = {}
        self.channels = resolved.method.module.kept_channels(
            resolved.spec.offsets, resolved.settings
        )

    def run(self) -> Path:
        """Run the stages up to the one wished for, and return the project's folder."""
        self._open_folder()
        for name, stage in (
            ("affinities", self._predict),
            ("fragments", self._cut_fragments),
            ("contacts", self._find_contacts),
            ("segments", self._join_segments),
        ):
            begin = time.perf_counter()
            stage()
            self.seconds[name] = round(time.perf_counter() - begin, 2)
            if name == self.plan.request.until:
                break
        if self.plan.request.until == LAST_STAGE:
            self._finish()
        return self.path

    # folder and stores

    def _open_folder(self) -> None:
        request = self.plan.request
        if self.path.exists() and any(self.path.iterdir() if self.path.is_dir() else [self.path]):
            if request.again:
                begin_again(self.path, self.plan, len(self.blocks))
                write_info(self.path, self._info("unfinished"))
            elif request.resume:
                check_same_run(self.path, self.plan)
            elif request.overwrite:
                read_info(self.path)  # refuses to delete what is no project
                refuse_edited(self.path)
                shutil.rmtree(self.path)
            else:
                raise OutputError(
                    f"{self.path} exists.",
                    "a folder that does not exist yet",
                    "choose another name, --resume an unfinished run, --overwrite it, or do what "
                    "follows the network --again.",
                )
        elif request.again:
            raise ProjectError(
                f"There is no project {self.path} to begin again.",
                "a project in which the network has finished",
                "leave --again out.",
            )
        check_disk(self.plan, self.path.absolute())
        voxel_size = VoxelSize(*self.plan.voxel_size)
        grid = voxel_size.scaled(self.plan.factors)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be made: {error}", "a folder that can be written", ""
            ) from error
        if not (self.path / "project.json").exists():
            write_info(self.path, self._info("unfinished"))
        roi = self.resolved.roi
        stores = self.path / "affinities.zarr", self.path / "fragments.zarr"
        if (self.path / "blocks" / "begun").exists():
            self.affinities = AffinityStore.open(stores[0])
            self.fragments = reopen_volume(stores[1])
        else:
            self.affinities = AffinityStore.create(
                stores[0],
                self.resolved.method.module.channel_names(self.resolved.settings),
                self.plan.grid_shape,
                CHUNK_SHAPE,
                grid,
            )
            self.fragments = create_volume(
                stores[1], roi.shape, "uint64", voxel_size,
                translation=self._translation(), chunks=CHUNK_SHAPE, kind="labels", overwrite=True,
            )  # fmt: skip
            (self.path / "blocks").mkdir(exist_ok=True)
            (self.path / "blocks" / "begun").touch()

    def _translation(self) -> tuple[float, float, float]:
        z, y, x = (
            t + a * v
            for t, a, v in zip(
                self.resolved.volume.translation,
                self.resolved.roi.start,
                self.plan.voxel_size,
                strict=True,
            )
        )
        return z, y, x

    # stages

    def _predict(self) -> None:
        from napari_neuropil.inference.predict import Predictor
        from napari_neuropil.inference.windows import WindowPredictor

        kind = WindowPredictor if self.resolved.method.windows else Predictor
        predictor = kind(
            self.resolved.network, self.resolved.tiling, self.channels, self.notices.append
        )
        grey, shape = GreyRange(*self.plan.grey_range), self.plan.grid_shape

        def read(block: Block) -> tuple[Roi, NDArray[np.float32]]:
            # Where memory ran out the tiles have shrunk; their halo lies inside this one.
            roi = predictor.halo_roi(block.roi, shape)
            on_image = unpooled_roi(roi, self.plan.factors, self.resolved.roi.shape)
            image = self.resolved.volume.read(on_image.shifted(self.resolved.roi.start))
            return roi, pool_mean(grey.apply(image), self.plan.factors)

        ledger = Ledger(self.path / "blocks" / "affinities")

        def work(block: Block, item: tuple[Roi, NDArray[np.float32]]) -> dict[str, Any]:
            before = ledger.count()

            def report(done: int, total: int) -> None:
                self._check_cancelled()
                self._tell("affinities", before + done / total, len(self.blocks))

            if isinstance(predictor, WindowPredictor):
                predictor.keep = partial(self._keep_window, block)
            values = predictor.predict(item[1], item[0], block.roi, shape, report=report)
            self.affinities.write(block.roi, values)
            return {}

        self._run_blocks("affinities", read, work, ledger)

    def _keep_window(self, block: Block, window: Roi, values: NDArray[np.float32]) -> None:
        stored = np.round(values * 255).astype(np.uint8)
        labels = self.resolved.method.module.label_channel(stored)
        self.windows.write(block.index, WindowLabels(window, labels))

    def _cut_fragments(self) -> None:
        module, settings = self.resolved.method.module, self.resolved.settings
        ledger = Ledger(self.path / "blocks" / "fragments")
        halo = module.fragment_halo(settings)

        def read(block: Block) -> NDArray[np.uint8]:
            return self.affinities.read(block.roi.grown(halo, self.plan.grid_shape))

        def work(block: Block, stored: NDArray[np.uint8]) -> dict[str, Any]:
            wide = block.roi.grown(halo, self.plan.grid_shape)
            inner = block.roi.shifted([-o for o in wide.start])
            local, kept = relabel_compact(module.fragments_of(stored, settings)[inner.slices])
            count = len(kept)
            previous = ledger.result_of(block.index - 1) if block.index else {"last": 0}
            assert previous is not None  # noqa: S101 - blocks are worked through in order
            first = int(previous["last"])
            local[local > 0] += np.uint64(first)
            on_image = unpooled_roi(block.roi, self.plan.factors, self.resolved.roi.shape)
            repeated = repeat_voxels(local, self.plan.factors, on_image.shape)
            self.fragments.write(on_image, repeated)
            digest = hashlib.blake2b(np.ascontiguousarray(local).tobytes(), digest_size=16)
            return {"last": first + count, "digest": digest.hexdigest()}

        self._run_blocks("fragments", read, work, ledger)

    def _find_contacts(self) -> None:
        ledger = Ledger(self.path / "blocks" / "contacts")
        module = self.resolved.method.module

        def read(block: Block) -> tuple[Roi, Shape, NDArray[np.uint64], NDArray[np.uint8]]:
            roi, first = with_plane_before(block)
            return roi, first, self._fragments_on_grid(roi), self.affinities.read(roi)

        def work(
            block: Block, item: tuple[Roi, Shape, NDArray[np.uint64], NDArray[np.uint8]]
        ) -> dict[str, Any]:
            roi, first, fragments, stored = item
            rag = build_rag(
                fragments, module.edge_affinities(stored), origin=roi.start, first=first
            )
            write_rag(self._partial_rag(block.index), rag)
            return {"contacts": len(rag.contacts)}

        self._run_blocks("contacts", read, work, ledger)

    def _join_segments(self) -> None:
        self._tell("segments", 0, 1)
        rag = merge_rags(read_rag(self._partial_rag(block.index)) for block in self.blocks)
        lookup = self.resolved.method.module.segments_of(
            rag, self._fragment_count(), self.resolved.settings, self._cut(rag)
        )
        if self.resolved.settings.mean_embedding:
            lookup = self._join_by_embedding(lookup)
        self._check_cancelled()
        # Voxels of the network's grid to those of the fragments' grid.
        factors = np.array(self.plan.factors, np.float32)
        centroid = ((rag.centroid + 0.5) * factors - 0.5).astype(np.float32)
        fields = {**rag.__dict__, "centroid": centroid}
        write_graph(self.path, Rag(**fields), lookup)
        self._tell("segments", 1, 1)

    def _join_by_embedding(self, lookup: NDArray[np.uint64]) -> NDArray[np.uint64]:
        found = candidates_of(self._touching(lookup), self.plan.factors)
        own = self.resolved.method.network == EMBEDDING_NETWORK
        image = EmbeddedImage.open(
            self.resolved.volume,
            self.resolved.roi,
            VoxelSize(*self.plan.voxel_size),
            GreyRange(*self.plan.grey_range),
            settings=self.resolved.settings,
            checkpoint=self.plan.checkpoint if own else None,
            device=self.plan.request.device,
        )

        def labels(patch: Roi) -> NDArray[np.uint64]:
            return lookup[image.labels_of(self.fragments.array, patch)]

        def report(done: int, total: int) -> None:
            self._check_cancelled()
            self._tell("segments", done / max(1, total), 1)

        return join_by_embedding(
            self.path, found, image, labels, lookup, report, self.resolved.settings.join_distance
        )

    def _touching(
        self, lookup: NDArray[np.uint64]
    ) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.float32], Roi, Shape]]:
        """Give segments and affinities of each block, with one plane before it."""
        for block in self.blocks:
            self._check_cancelled()
            roi, first = with_plane_before(block)
            stored = self.affinities.read(roi)
            segments = lookup[self._fragments_on_grid(roi)]
            # Fragments cover membranes too; segments touch only where both are foreground.
            segments[stored[-1] < 255 * _LEAST_FOREGROUND] = 0
            yield segments, self.resolved.method.module.edge_affinities(stored), roi, first

    def _finish(self) -> None:
        write_info(self.path, self._info("finished"))
        # What only an unfinished run needs; the ledger's digests live on in the fingerprint.
        shutil.rmtree(self.path / "blocks" / "contacts", ignore_errors=True)

    # parts

    def _fragments_on_grid(self, roi: Roi) -> NDArray[np.uint64]:
        """Read fragments back on the network's grid, where they were made."""
        on_image = unpooled_roi(roi, self.plan.factors, self.resolved.roi.shape)
        steps = tuple(
            slice(a, b, f)
            for a, b, f in zip(on_image.start, on_image.stop, self.plan.factors, strict=True)
        )
        return np.ascontiguousarray(self.fragments.array[steps])

    def _partial_rag(self, index: int) -> Path:
        return self.path / "blocks" / "contacts" / f"{index}.npz"

    def _fragment_count(self) -> int:
        last = Ledger(self.path / "blocks" / "fragments").result_of(self.blocks[-1].index)
        return int(last["last"]) if last else 0

    def _block_of(self) -> NDArray[np.int64]:
        """Return the block each fragment was cut in, (fragment_count + 1,)."""
        ledger = Ledger(self.path / "blocks" / "fragments")
        last = [
            int((ledger.result_of(block.index) or {"last": 0})["last"]) for block in self.blocks
        ]
        return np.searchsorted(last, np.arange(self._fragment_count() + 1))

    def _cut(self, rag: Rag) -> Cut:
        block_of, method = self._block_of(), self.resolved.method
        if not method.windows:
            return Cut(block_of)
        values = method.module.query_values
        blocks = (
            (self._fragments_on_grid(block.roi), values(self.affinities.read(block.roi)))
            for block in self.blocks
        )
        return cut_of_windows(self.path, rag, block_of, blocks, self.windows)

    def _info(self, state: str) -> ProjectInfo:
        ledger = Ledger(self.path / "blocks" / "fragments")
        digests = hashlib.blake2b(digest_size=16)
        for block in self.blocks:
            digests.update((ledger.result_of(block.index) or {"digest": ""})["digest"].encode())
        return ProjectInfo.model_validate(
            {
                "state": state,
                "image_source": lasting_source(self.plan.request.image),
                "image_shape": self.plan.shape,
                "voxel_size": self.plan.voxel_size,
                "translation": self._translation(),
                "roi": self.plan.roi,
                "method": self.plan.request.method,
                "plan": self.plan.model_dump(mode="json"),
                "checkpoint_sha256": self.plan.checkpoint_sha256,
                "versions": {
                    name: metadata.version(name) for name in ("torch", "numpy", "bioimage-cpp")
                },
                "fragment_count": self._fragment_count(),
                "fingerprint": digests.hexdigest() if state == "finished" else "",
                "notices": tuple(self.notices),
                "seconds": self.seconds,
            }
        )

    def _run_blocks(
        self,
        stage: str,
        read: Callable[[Block], Any],
        work: Callable[[Block, Any], dict[str, Any]],
        ledger: Ledger,
    ) -> None:
        run_blocks(
            self.blocks,
            read,
            work,
            ledger,
            report=lambda done, total: self._tell(stage, done, total),
            cancelled=self.cancelled,
        )

    def _tell(self, stage: str, done: float, total: float) -> None:
        self.report(Progress(stage=stage, done=done, total=total))

    def _check_cancelled(self) -> None:
        if self.cancelled():
            raise CancelledError("Stopped.", "", "go on with --resume.")

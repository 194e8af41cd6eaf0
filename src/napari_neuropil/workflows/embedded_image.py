"""An image together with the network that embeds it, for places anywhere in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, Shape, VoxelSize
from napari_neuropil.inference.grey_values import GreyRange
from napari_neuropil.inference.grids import pool_mean, pooled_shape, unpooled_roi
from napari_neuropil.methods.resampling import working_factors
from napari_neuropil.methods.settings import MethodSettings
from napari_neuropil.segmentation.pair_distances import pair_distances
from napari_neuropil.segmentation.patch_cover import cover_places
from napari_neuropil.volumes import Volume

if TYPE_CHECKING:
    from napari_neuropil.inference.embeddings import PatchEmbedder

NETWORK = "voxel-embeddings"
"""Row of the table of networks."""


@dataclass(frozen=True)
class EmbeddedImage:
    """Embeddings of an image's patches, on the grid the embedding network was trained at.

    Parameters
    ----------
    volume : Volume
        The image.
    roi : Roi
        The part that a project covers, image voxels.
    factors : Shape
        Image voxels in one voxel of the embeddings.
    grey : GreyRange
        What becomes 0 and 1.
    embedder : PatchEmbedder
        The network.
    checkpoint_sha256 : str
        Of its weights.
    """

    volume: Volume
    roi: Roi
    factors: Shape
    grey: GreyRange
    embedder: PatchEmbedder
    checkpoint_sha256: str

    @classmethod
    def open(
        cls,
        volume: Volume,
        roi: Roi,
        voxel_size: VoxelSize,
        grey: GreyRange,
        *,
        settings: MethodSettings,
        checkpoint: str | Path | None = None,
        device: str = "auto",
    ) -> EmbeddedImage:
        """Load the network: `checkpoint`, or the shipped one.

        Raises
        ------
        CheckpointError
            If there is none, or it is of another network.
        """
        from napari_neuropil.inference.devices import choose_device
        from napari_neuropil.inference.embeddings import PatchEmbedder
        from napari_neuropil.networks import pretrained_path
        from napari_neuropil.networks.registry import load_checkpoint

        network, spec = load_checkpoint(checkpoint or pretrained_path(NETWORK), NETWORK)
        factors = working_factors(voxel_size, spec.voxel_sizes, settings)
        embedder = PatchEmbedder(network, choose_device(device), spec.distance_scale)
        return cls(volume, roi, factors, grey, embedder, spec.sha256)

    @property
    def shape(self) -> Shape:
        """Of the embeddings' grid."""
        return pooled_shape(self.roi.shape, self.factors)

    def embed(self, patch: Roi) -> NDArray[np.float32]:
        """Return (D, Z, Y, X) embeddings of a box of the embeddings' grid."""
        on_image = unpooled_roi(patch, self.factors, self.roi.shape).shifted(self.roi.start)
        return self.embedder.embed(
            pool_mean(self.grey.apply(self.volume.read(on_image)), self.factors)
        )

    def labels_of(self, array: Any, patch: Roi) -> NDArray[np.uint64]:
        """Read labels that lie on the image's grid at the voxels of the embeddings' grid."""
        on_image = unpooled_roi(patch, self.factors, self.roi.shape)
        steps = tuple(
            slice(a, b, f)
            for a, b, f in zip(on_image.start, on_image.stop, self.factors, strict=True)
        )
        return np.ascontiguousarray(array[steps])

    def distances(
        self,
        labels: Callable[[Roi], NDArray[np.uint64]],
        pairs: NDArray[np.uint64],
        places: NDArray[np.float32],
        *,
        report: Callable[[int, int], None] = lambda _done, _total: None,
        measured: Callable[[NDArray[np.intp], NDArray[np.float32]], None] = lambda _r, _d: None,
    ) -> NDArray[np.float32]:
        """Measure how far apart the mean embeddings of pairs of labels are.

        Parameters
        ----------
        labels : callable
            Labels in a box of the embeddings' grid.
        pairs : ndarray of uint64, (N, 2)
            Labels.
        places : ndarray of float32, (N, 3)
            Where to look, image voxels of the roi.
        report : callable
            Called with (places done, in all) after each patch; may raise to stop.
        measured : callable
            Called with (rows, distances) after each patch.

        Returns
        -------
        ndarray of float32, (N,)
            L1 distances; NaN where a label has no voxel in the window.
        """
        from napari_neuropil.inference.embeddings import PATCH_SHAPE, PATCH_STRIDE, WINDOW_SHAPE

        factors = np.array(self.factors, np.float32)
        here = ((places + 0.5) / factors - 0.5).astype(np.float32)
        result = np.full(len(pairs), np.nan, np.float32)
        done = 0
        for patch, rows in cover_places(here, self.shape, PATCH_SHAPE, PATCH_STRIDE):
            report(done, len(pairs))
            result[rows] = pair_distances(
                self.embed(patch), labels(patch), patch, pairs[rows], here[rows], WINDOW_SHAPE
            )
            measured(rows, result[rows])
            done += len(rows)
        report(done, len(pairs))
        return result

"""What is known of boundaries around a place: the project's affinities, else its image."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import NeuropilError
from napari_neuropil.geometry import Roi, Shape, VoxelSize
from napari_neuropil.project import Project
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.segmentation.fragment_splitting import boundary_from_image
from napari_neuropil.volumes import Volume, open_volume

_AXES: Final = 3


class Evidence:
    """Affinities and image of a project, on the fragments' grid; neither need be there.

    Parameters
    ----------
    project : Project
        An opened project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project

    @property
    def voxel_size(self) -> VoxelSize:
        """Of the fragments."""
        return self._project.info.voxel_size_nm

    def affinities(self, roi: Roi) -> NDArray[np.uint8] | None:
        """Return (3, Z, Y, X) affinities of `roi`, 255 = 1, or None where none were kept."""
        if self._store is None:
            return None
        store, factors = self._store
        lows = [a // f for a, f in zip(roi.start, factors, strict=True)]
        highs = [
            min((b - 1) // f + 1, n) for b, f, n in zip(roi.stop, factors, store.shape, strict=True)
        ]
        if any(b <= a for a, b in zip(lows, highs, strict=True)):
            return None
        coarse = store.read(Roi((lows[0], lows[1], lows[2]), (highs[0], highs[1], highs[2])))
        picks = [
            np.minimum(np.arange(a, b) // f - low, high - low - 1)
            for a, b, f, low, high in zip(roi.start, roi.stop, factors, lows, highs, strict=True)
        ]
        fine: NDArray[np.uint8] = coarse[:_AXES][np.ix_(np.arange(_AXES), *picks)]
        return fine

    def boundary(self, roi: Roi) -> NDArray[np.float32] | None:
        """Return (Z, Y, X) how likely each voxel lies at a boundary, in [0, 1]; None if unknown."""
        affinities = self.affinities(roi)
        if affinities is not None:
            weakest = np.asarray(affinities.min(axis=0), np.float32)
            return np.asarray(1 - weakest / 255, np.float32)
        if self._image is None:
            return None
        volume, start = self._image
        try:
            image = volume.read(roi.shifted(start))
        except NeuropilError:
            return None
        return boundary_from_image(image, self.voxel_size)

    @cached_property
    def _store(self) -> tuple[AffinityStore, Shape] | None:
        path = self._project.path / "affinities.zarr"
        if not path.exists():
            return None
        try:
            store = AffinityStore.open(path)
        except NeuropilError:
            return None
        if store.array.shape[0] < _AXES:
            return None
        z, y, x = (
            max(1, round(n / m))
            for n, m in zip(self._project.fragments.shape, store.shape, strict=True)
        )
        return store, (z, y, x)

    @cached_property
    def _image(self) -> tuple[Volume, Shape] | None:
        info = self._project.info
        if not info.image_source:
            return None
        try:
            # A relative source starts from the project; an absolute one replaces it.
            volume = open_volume(self._project.path / info.image_source)
            start = Roi.parse(info.roi, volume.shape).start
        except NeuropilError:
            return None
        return volume, start

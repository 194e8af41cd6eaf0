"""Generated neuropil: micrographs of densely packed neurites with their true labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.errors import SettingsError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.synthetic.grid import make_grid
from napari_neuropil.synthetic.micrograph import draw_cytoplasm, expose
from napari_neuropil.synthetic.neurites import Kind, grow_neurites
from napari_neuropil.synthetic.organelles import (
    Canvas,
    paint_membranes,
    paint_mitochondria,
    paint_synapses,
    paint_tubules,
    paint_vesicle_pools,
)
from napari_neuropil.synthetic.tissue import fill_tissue, label_tissue

_HALF_MEMBRANE = 8.0  # nm; voxels nearer to a border are labelled 0


@dataclass(frozen=True)
class Neuropil:
    """A generated volume.

    Parameters
    ----------
    image : ndarray of uint8, (Z, Y, X)
        Micrographs.
    labels : ndarray of uint32, (Z, Y, X)
        Objects, consecutive from 1; 0 on the thin membranes between them.
    membranes : ndarray of float32, (Z, Y, X)
        How dark the membranes would be if all were stained well, in [0, 1].
    voxel_size : VoxelSize
        nm.
    kinds : mapping of int to str
        ``dendrite``, ``axon`` or ``glia`` for each id.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint32]
    membranes: NDArray[np.float32]
    voxel_size: VoxelSize
    kinds: Mapping[int, Kind]


def make_neuropil(
    shape: Sequence[int],
    seed: int,
    *,
    voxel_size: VoxelSize = VoxelSize(30.0, 8.0, 8.0),  # noqa: B008 - frozen
    jitter: float = 1.0,
) -> Neuropil:
    """Return generated neuropil; the same arguments give the same volume.

    Parameters
    ----------
    shape : sequence of int
        Sections, rows, columns.
    seed : int
        Start of the random numbers, 0 or more.
    voxel_size : VoxelSize, optional
        nm. Sections thicker than 10 nm blur oblique membranes as real ones do.
    jitter : float, optional
        Standard deviation of a section's shift, voxels; cut at 3. Use 0 for a volume cut by an
        ion beam.

    Returns
    -------
    Neuropil

    Raises
    ------
    SettingsError
        If `shape` is not three positive integers, or `seed` or `jitter` is negative.

    Notes
    -----
    Needs about 120 bytes per voxel of a 10 nm layer: 120 MB for 20 x 128 x 128 voxels of
    30 x 8 x 8 nm.
    """
    sections, rows, columns = _check_shape(shape)
    if seed < 0 or not 0 <= jitter < np.inf:
        raise SettingsError(
            f"Seed {seed}, jitter {jitter}.", "both 0 or more", "choose other values."
        )
    # One stream for each stage: a change of one leaves what the others draw.
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(7)]
    grid = make_grid((sections, rows, columns), voxel_size, jitter, streams[0])
    extent = np.array([sections, rows, columns]) * np.array(tuple(voxel_size))
    neurites = grow_neurites(extent, streams[1])
    tissue = fill_tissue(grid, neurites, streams[2])
    volume = voxel_size.volume_um3 * 1e9
    labels, owners = label_tissue(tissue, grid, volume)

    canvas = Canvas(grid, tissue, draw_cytoplasm(tissue.owners, neurites, streams[3]))
    paint_tubules(canvas, neurites, streams[4])
    paint_vesicle_pools(canvas, neurites, streams[4])
    paint_mitochondria(canvas, neurites, streams[4])
    paint_synapses(canvas, neurites, streams[5])
    membranes = grid.average(paint_membranes(canvas, streams[5]))
    image = expose(canvas.grey, grid, streams[6])

    # A membrane lying flat in the section would blank a whole patch: only voxels within two of a
    # border of the same section go to 0.
    low, high = (
        f(labels, size=(1, 5, 5)) for f in (ndimage.minimum_filter, ndimage.maximum_filter)
    )
    near = grid.middle(tissue.depth) < max(_HALF_MEMBRANE, 0.5 * voxel_size.x)
    labels[near & (low != high)] = 0
    kinds: dict[int, Kind] = {
        int(i): neurites[owners[i] - 1].kind if owners[i] <= len(neurites) else "glia"
        for i in np.unique(labels)
        if i
    }
    return Neuropil(image, labels, membranes, voxel_size, kinds)


def _check_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or any(int(n) != n or n < 1 for n in shape):
        raise SettingsError(
            f"Shape {tuple(shape)} is no volume.",
            "three positive integers (sections, rows, columns)",
            "for example 20, 256, 256.",
        )
    return int(shape[0]), int(shape[1]), int(shape[2])

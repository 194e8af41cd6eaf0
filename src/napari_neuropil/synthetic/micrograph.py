"""From painted layers to a micrograph: section average, lens, grain, brightness of each section."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.synthetic.grid import Field, Grid
from napari_neuropil.synthetic.neurites import Neurite
from napari_neuropil.synthetic.noise import make_smooth_noise


def draw_cytoplasm(
    owners: NDArray[np.uint32], neurites: list[Neurite], rng: np.random.Generator
) -> Field:
    """Return the ground grey of each voxel, with a shade of its own for each cell."""
    mean = {"dendrite": (180.0, 7.0), "axon": (165.0, 13.0)}
    count = int(owners.max()) + 1
    shades = rng.normal(162.0, 17.0, count)
    for index, neurite in enumerate(neurites):
        if index + 1 < count:
            shades[index + 1] = rng.normal(*mean[neurite.kind])
    return shades.astype(np.float32)[owners]


def expose(layers: Field, grid: Grid, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the micrographs of painted layers.

    Parameters
    ----------
    layers : ndarray of float32, (L, Y, X)
        Grey values, 0-255.
    grid : Grid
        Their coordinates.
    rng : numpy.random.Generator
        Source of the numbers.

    Returns
    -------
    ndarray of uint8, (Z, Y, X)
    """
    image = grid.average(layers)
    thickness, *plane = grid.spacing
    spacing = (thickness * grid.layers, *plane)
    shape = image.shape
    # Cytoplasm is granular at the size of ribosomes and patchy at a few times that.
    image += 7.0 * make_smooth_noise(shape, spacing, 45, rng)
    grain = rng.standard_normal(shape, dtype=np.float32)
    width = 11.0 / plane[0]
    grain = ndimage.gaussian_filter(grain, (0, width, width))
    image += (13.0 / np.std(grain)) * grain
    for section in image:
        focus = rng.uniform(0.45, 0.85)
        ndimage.gaussian_filter(section, focus, output=section)
    # Shot noise grows with the signal; the scan spreads a part of it over its neighbours.
    shot = rng.standard_normal(shape, dtype=np.float32)
    shot += 0.6 * np.roll(shot, 1, axis=2)
    image += shot * (3.0 + 0.02 * image)
    contrast = np.clip(rng.normal(1.1, 0.08, (shape[0],)), 0.85, 1.3)
    brightness = 11.0 * rng.standard_normal((shape[0],)) - 14.0
    for index, section in enumerate(image):
        section -= 150.0
        section *= np.float32(contrast[index])
        section += np.float32(150.0 + brightness[index])
        section += 5.0 * make_smooth_noise(shape[1:], plane, 1200, rng)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)

"""Grey values of any file into the [0, 1] that networks were trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi
from napari_neuropil.volumes import Volume

_SAMPLES_PER_AXIS = 3
_SAMPLE_EDGE = 64
Normalisation = Literal["auto", "dtype-maximum", "percentile"]


@dataclass(frozen=True, slots=True)
class GreyRange:
    """The grey values that become 0 and 1; `low` > `high` inverts the contrast."""

    low: float
    high: float

    def apply(self, image: NDArray[np.generic]) -> NDArray[np.float32]:
        """Scale to [0, 1] and clip.

        Raises
        ------
        VolumeFormatError
            If a value is NaN or infinite.
        """
        grey = image.astype(np.float32)
        if image.dtype.kind == "f" and not np.isfinite(grey).all():
            bad = int((~np.isfinite(grey)).sum())
            raise VolumeFormatError(
                f"{bad} of {grey.size} voxels of a block are NaN or infinite.",
                "finite grey values",
                "replace them (for example by the section's median) and save the volume anew.",
            )
        grey -= self.low
        grey /= self.high - self.low
        return np.clip(grey, 0, 1, out=grey)


def find_grey_range(
    volume: Volume, roi: Roi, normalisation: Normalisation, *, invert: bool = False
) -> tuple[GreyRange, str]:
    """Choose the range from the type, or from samples of the volume.

    ``auto`` takes the type's maximum for 8-bit images and floats in [0, 1], which is what
    networks are trained on; other types seldom use their range (12 bits in 16), so the 0.1 and
    99.9 percentiles of sampled boxes are taken.

    Parameters
    ----------
    volume : Volume
        The image.
    roi : Roi
        The part that will be segmented; samples come from it.
    normalisation : {"auto", "dtype-maximum", "percentile"}
        How.
    invert : bool
        Membranes are bright.

    Returns
    -------
    range : GreyRange
        To apply to every block.
    note : str
        What was chosen, for the log.

    Raises
    ------
    VolumeFormatError
        If all samples are one constant, or hold NaN.
    """
    samples = _sample(volume, roi)
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise VolumeFormatError(
            f"{volume.name} holds NaN or infinite values.",
            "finite grey values",
            "replace them (for example by the section's median) and save the volume anew.",
        )
    lowest, highest = float(samples.min()), float(samples.max())
    if lowest == highest:
        raise VolumeFormatError(
            f"{volume.name} looks constant: every sampled voxel is {lowest:g}.",
            "an image with contrast",
            "check that the right file, dataset and roi were chosen.",
        )
    integer = volume.dtype.kind in "ui"
    by_type = volume.dtype.itemsize == 1 if integer else lowest >= 0 and highest <= 1
    if normalisation == "dtype-maximum" or (normalisation == "auto" and by_type):
        if integer:
            limits = np.iinfo(volume.dtype)
            low, high = float(limits.min), float(limits.max)
        else:
            low, high = 0.0, 1.0
    else:
        low, high = (float(v) for v in np.percentile(samples.astype(np.float64), (0.1, 99.9)))
        if low == high:
            low, high = lowest, highest
    note = f"Grey values {low:g} to {high:g} become 0 to 1{', inverted' if invert else ''}."
    return (GreyRange(high, low) if invert else GreyRange(low, high)), note


def _sample(volume: Volume, roi: Roi) -> NDArray[np.generic]:
    """Return voxels of up to 27 boxes spread over the roi."""
    edges = [min(n, 8 if axis == 0 else _SAMPLE_EDGE) for axis, n in enumerate(roi.shape)]
    starts = [
        np.unique(np.linspace(a, b - e, _SAMPLES_PER_AXIS).astype(int))
        for a, b, e in zip(roi.start, roi.stop, edges, strict=True)
    ]
    dz, dy, dx = edges
    return np.concatenate(
        [
            volume.read(
                Roi((int(z), int(y), int(x)), (int(z) + dz, int(y) + dy, int(x) + dx))
            ).ravel()
            for z in starts[0]
            for y in starts[1]
            for x in starts[2]
        ]
    )

"""Places in a volume: boxes, voxel sizes and conversions. No I/O.

Axes are always (z, y, x); world units are nanometres.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from napari_neuropil.errors import SettingsError

Offset = tuple[int, int, int]
"""An affinity's neighbour vector in voxels."""

Shape = tuple[int, int, int]

NM_PER_UNIT: Final[dict[str, float]] = {
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "um": 1e3,
    "µm": 1e3,
    "μm": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
    "angstrom": 0.1,
    "å": 0.1,
    "pm": 1e-3,
    "picometer": 1e-3,
}
"""Nanometres per unit, for the spellings that files carry."""


@dataclass(frozen=True, slots=True)
class VoxelSize:
    """Edge lengths of a voxel in nm.

    Raises
    ------
    SettingsError
        If a length is not a positive finite number.
    """

    z: float
    y: float
    x: float

    def __post_init__(self) -> None:
        """Refuse lengths that are zero, negative or not finite."""
        for axis, value in zip("zyx", self, strict=True):
            if not (math.isfinite(value) and value > 0):
                raise SettingsError(
                    f"Voxel size along {axis} is {value}.",
                    "three positive lengths in nm",
                    "give it as z,y,x in nm, for example 29,6,6.",
                )

    def __iter__(self) -> Iterator[float]:
        """Yield z, y, x."""
        return iter((self.z, self.y, self.x))

    def __str__(self) -> str:
        """Return for example ``29 x 6 x 6 nm``."""
        return " x ".join(f"{v:g}" for v in self) + " nm"

    @property
    def volume_um3(self) -> float:
        """Volume of one voxel in cubic micrometres."""
        return self.z * self.y * self.x * 1e-9

    @property
    def anisotropy(self) -> float:
        """Section thickness over the in-plane edge."""
        return self.z / math.sqrt(self.y * self.x)

    def scaled(self, factors: Sequence[float]) -> VoxelSize:
        """Return the size of a voxel `factors` (z, y, x) times as long."""
        fz, fy, fx = factors
        return VoxelSize(self.z * fz, self.y * fy, self.x * fx)

    @classmethod
    def parse(cls, text: str) -> VoxelSize:
        """Read ``z,y,x`` in nm.

        Raises
        ------
        SettingsError
            If `text` is not three positive numbers.
        """
        parts = [part for part in re.split(r"[,\sx]+", text.strip().removesuffix("nm")) if part]
        try:
            z, y, x = (float(part) for part in parts)
        except ValueError:
            raise SettingsError(
                f"Voxel size {text!r} cannot be read.",
                "three numbers z,y,x in nm",
                "for example --voxel-size 29,6,6.",
            ) from None
        return cls(z, y, x)


@dataclass(frozen=True, slots=True)
class Roi:
    """A half-open box in voxels of a stated volume.

    Parameters
    ----------
    start, stop : tuple of int
        First voxel and one past the last, (z, y, x).

    Raises
    ------
    SettingsError
        If the box is empty or begins below zero.
    """

    start: Shape
    stop: Shape

    def __post_init__(self) -> None:
        """Refuse empty and negative boxes."""
        if any(a < 0 or b <= a for a, b in zip(self.start, self.stop, strict=True)):
            raise SettingsError(
                f"Roi {self} is empty or begins below 0.",
                "0 <= start < stop along every axis",
                "give it as z0:z1,y0:y1,x0:x1 in voxels.",
            )

    def __str__(self) -> str:
        """Return ``z0:z1,y0:y1,x0:x1``."""
        return ",".join(f"{a}:{b}" for a, b in zip(self.start, self.stop, strict=True))

    @property
    def shape(self) -> Shape:
        """Edge lengths in voxels."""
        (a, b, c), (d, e, f) = self.start, self.stop
        return d - a, e - b, f - c

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the box into an array."""
        (a, b, c), (d, e, f) = self.start, self.stop
        return slice(a, d), slice(b, e), slice(c, f)

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> Roi:
        """Return the whole volume of `shape`."""
        z, y, x = (int(n) for n in shape)
        return cls((0, 0, 0), (z, y, x))

    @classmethod
    def parse(cls, text: str, shape: Sequence[int]) -> Roi:
        """Read ``z0:z1,y0:y1,x0:x1``; an empty bound means the volume's own.

        Parameters
        ----------
        text : str
            The box, in voxels.
        shape : sequence of int
            The volume it must lie in.

        Raises
        ------
        SettingsError
            If `text` cannot be read or leaves the volume.
        """
        parts = [part.strip() for part in text.split(",")]
        try:
            pairs = [part.split(":") for part in parts]
            start = [int(a or 0) for a, _ in pairs]
            stop = [int(b or n) for (_, b), n in zip(pairs, shape, strict=True)]
        except ValueError:
            raise SettingsError(
                f"Roi {text!r} cannot be read.",
                "three ranges z0:z1,y0:y1,x0:x1 in voxels",
                "for example --roi 0:20,0:256,0:256; a bound left empty means the volume's own.",
            ) from None
        roi = cls((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        if any(b > n for b, n in zip(roi.stop, shape, strict=True)):
            raise SettingsError(
                f"Roi {roi} leaves the volume.",
                f"a box inside {Roi.of_shape(shape)}",
                "shrink the roi.",
            )
        return roi

    def shifted(self, offset: Sequence[int]) -> Roi:
        """Return the box moved by `offset` voxels."""
        oz, oy, ox = offset
        (a, b, c), (d, e, f) = self.start, self.stop
        return Roi((a + oz, b + oy, c + ox), (d + oz, e + oy, f + ox))

    def grown(self, halo: Sequence[int], shape: Sequence[int]) -> Roi:
        """Return the box with `halo` voxels more on each side, clipped to a volume of `shape`."""
        start = [max(0, a - h) for a, h in zip(self.start, halo, strict=True)]
        stop = [min(n, b + h) for b, h, n in zip(self.stop, halo, shape, strict=True)]
        return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def intersection(self, other: Roi) -> Roi | None:
        """Return the box common to both, or None where they do not meet."""
        start = [max(a, b) for a, b in zip(self.start, other.start, strict=True)]
        stop = [min(a, b) for a, b in zip(self.stop, other.stop, strict=True)]
        if any(b <= a for a, b in zip(start, stop, strict=True)):
            return None
        return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def factors_between(voxel_size: VoxelSize, target: VoxelSize) -> Shape:
    """Return the integer pooling factors that bring `voxel_size` nearest to `target`.

    Nearest in the logarithm, never below 1: a volume coarser than the target is left as it is.

    Parameters
    ----------
    voxel_size : VoxelSize
        The volume's.
    target : VoxelSize
        The voxel size wanted, nm.
    """
    fz, fy, fx = (
        _nearest_factor(have, want) for have, want in zip(voxel_size, target, strict=True)
    )
    return fz, fy, fx


def _nearest_factor(have: float, want: float) -> int:
    low = max(1, math.floor(want / have))
    return min((low, low + 1), key=lambda f: abs(math.log(have * f / want)))


def pair_slices(offset: int, length: int) -> tuple[slice, slice]:
    """Return where both voxels of a pair lie inside, along one axis.

    Parameters
    ----------
    offset : int
        Step from a voxel to its partner.
    length : int
        Voxels along the axis; more than the step is long.

    Returns
    -------
    here, there : slice
        The voxels, and their partners.
    """
    here = slice(max(0, -offset), length - max(0, offset))
    return here, slice(max(0, offset), length - max(0, -offset))

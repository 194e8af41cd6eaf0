"""A 3D object as packed masks of its sections: never a dense volume.

A dendrite through a thousand sections of 4096 x 4096 pixels would be 16 GiB as a volume; as boxes
of bits it is a few MiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.prompts.packed_mask import PackedMask, masks_united

_CURE: Final = "the file is damaged or was written by something else; make it again."


@dataclass(frozen=True, eq=False, slots=True)
class SparseObject:
    """An object of a volume, section by section. Changes return a new object.

    Parameters
    ----------
    shape : tuple of int
        Of the volume, (Z, Y, X).
    sections : mapping of int to PackedMask
        The masks by z, ascending; a section without the object is absent.
    """

    shape: Shape
    sections: Mapping[int, PackedMask] = field(default_factory=dict)

    @classmethod
    def of_labels(
        cls, labels: NDArray[Any], value: int, *, shape: Shape, start: Shape = (0, 0, 0)
    ) -> SparseObject:
        """Return one label of a box of labels.

        Parameters
        ----------
        labels : NDArray, (Z, Y, X)
            Whole numbers.
        value : int
            The label.
        shape : tuple of int
            Of the volume.
        start : tuple of int
            Where the box begins in the volume.
        """
        masks: dict[int, PackedMask] = {}
        for z, section in enumerate(labels, start[0]):
            mask = PackedMask.of(section == value, start[1:])
            if mask is not None:
                _check_inside(shape, z, mask.box)
                masks[z] = mask
        return cls(shape, masks)

    def with_section(self, z: int, mask: NDArray[np.bool_]) -> SparseObject:
        """Return the object with another mask in one section.

        Parameters
        ----------
        z : int
            The section.
        mask : NDArray of bool, (Y, X)
            Replaces what was there; an empty one takes the object out of the section.

        Raises
        ------
        VolumeFormatError
            If the section is not in the volume or has another shape.
        """
        if mask.shape != self.shape[1:]:
            raise VolumeFormatError(
                f"a mask of shape {mask.shape} in a volume of {self.shape}",
                f"a mask of shape {self.shape[1:]}",
            )
        return self.with_packed({z: PackedMask.of(mask.astype(np.bool_, copy=False))})

    def with_packed(self, masks: Mapping[int, PackedMask | None]) -> SparseObject:
        """Return the object with other masks in some sections; None takes it out of one.

        Raises
        ------
        VolumeFormatError
            If a mask leaves the volume.
        """
        merged: dict[int, PackedMask | None] = {**self.sections, **masks}
        for z, mask in masks.items():
            _check_inside(self.shape, z, mask.box if mask is not None else (0, 0, 1, 1))
        return SparseObject(
            self.shape, {z: mask for z, mask in sorted(merged.items()) if mask is not None}
        )

    def united(self, other: SparseObject) -> SparseObject:
        """Return the voxels that are in either of two objects of one volume.

        Raises
        ------
        VolumeFormatError
            If the volumes differ in shape.
        """
        if self.shape != other.shape:
            raise VolumeFormatError(
                f"objects of volumes of {self.shape} and {other.shape}", "one volume"
            )
        both = {
            z: masks_united([self.sections[z], mask]) if z in self.sections else mask
            for z, mask in other.sections.items()
        }
        return self.with_packed(both)

    def section(self, z: int) -> NDArray[np.bool_]:
        """Return the mask of a section, (Y, X); empty where the object is not."""
        mask = self.sections.get(z)
        if mask is None:
            return np.zeros(self.shape[1:], np.bool_)
        return mask.onto((self.shape[1], self.shape[2]))

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return sum(mask.area for mask in self.sections.values())

    @property
    def extent(self) -> Roi | None:
        """The smallest box that holds the object; None if it is empty."""
        if not self.sections:
            return None
        boxes = np.array([mask.box for mask in self.sections.values()])
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        return Roi(
            (min(self.sections), int(low[0]), int(low[1])),
            (max(self.sections) + 1, int(high[0]), int(high[1])),
        )

    def paint(self, labels: NDArray[Any], roi: Roi, value: int) -> None:
        """Write a value into a box of labels where the object is; the rest stays.

        Parameters
        ----------
        labels : NDArray, (Z, Y, X) of `roi`
            Changed in place.
        roi : Roi
            Where the box lies. Large objects are painted box by box.
        value : int
            What to write.
        """
        for z in range(roi.start[0], roi.stop[0]):
            mask = self.sections.get(z)
            if mask is None:
                continue
            y, x, y1, x1 = mask.box
            low, high = roi.start[1:], roi.stop[1:]
            top, left = max(y, low[0]), max(x, low[1])
            bottom, right = min(y1, high[0]), min(x1, high[1])
            if top < bottom and left < right:
                part = mask.crop()[top - y : bottom - y, left - x : right - x]
                target = labels[z - roi.start[0]]
                target[top - low[0] : bottom - low[0], left - low[1] : right - low[1]][part] = value

    def label_box(self, roi: Roi, value: int = 1) -> NDArray[np.uint64]:
        """Return a box with `value` where the object is and 0 elsewhere, (Z, Y, X) of `roi`."""
        labels = np.zeros(roi.shape, np.uint64)
        self.paint(labels, roi, value)
        return labels

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """Return plain arrays for `numpy.savez` or safetensors; `of_arrays` reads them back.

        Returns
        -------
        dict of str to NDArray
            shape (3,) int64; z (n,) int64; boxes (n, 4) int64, y0, x0, y1, x1; bits uint8, the
            packed boxes one after the other.
        """
        masks = list(self.sections.values())
        return {
            "shape": np.array(self.shape, np.int64),
            "z": np.array(list(self.sections), np.int64),
            "boxes": np.array([mask.box for mask in masks], np.int64).reshape(-1, 4),
            "bits": np.concatenate([mask.bits for mask in masks] or [np.zeros(0, np.uint8)]),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> SparseObject:
        """Build an object from what `as_arrays` gave; trusts nothing.

        Raises
        ------
        VolumeFormatError
            If arrays are missing, do not fit each other or describe masks outside the volume.
        """
        shape, sections, boxes, bits = _checked(arrays)
        masks: dict[int, PackedMask] = {}
        used = 0
        for z, box in zip(sections, boxes, strict=True):
            _check_inside(shape, z, box)
            height, width = box[2] - box[0], box[3] - box[1]
            # Counted before anything is allocated: a forged box may claim any size.
            length = -(-height * width // 8)
            part = bits[used : used + length]
            if z in masks or len(part) < length:
                raise VolumeFormatError(
                    f"section {z} with {len(part)} bytes of mask", f"{length} bytes, once", _CURE
                )
            crop = np.unpackbits(part, count=height * width).reshape(height, width).view(np.bool_)
            mask = PackedMask.of(crop, (box[0], box[1]))
            if mask is not None:
                masks[z] = mask
            used += length
        if used != len(bits):
            raise VolumeFormatError(f"{len(bits)} bytes of masks", f"{used} bytes", _CURE)
        return cls(shape, dict(sorted(masks.items())))


def _checked(
    arrays: Mapping[str, NDArray[Any]],
) -> tuple[Shape, list[int], list[tuple[int, int, int, int]], NDArray[np.uint8]]:
    """Return the four arrays as plain numbers, or refuse them."""
    missing = {"shape", "z", "boxes", "bits"} - set(arrays)
    if missing:
        raise VolumeFormatError(
            f"an object without {', '.join(sorted(missing))}", "shape, z, boxes and bits", _CURE
        )
    shape, z, boxes, bits = (np.asarray(arrays[name]) for name in ("shape", "z", "boxes", "bits"))
    whole = all(array.dtype.kind in "iu" for array in (shape, z, boxes))
    fits = shape.shape == (3,) and z.ndim == 1 and boxes.shape == (len(z), 4)
    if not (whole and fits and bits.ndim == 1 and bits.dtype == np.uint8):
        raise VolumeFormatError(
            f"an object with arrays of shapes {shape.shape}, {z.shape}, {boxes.shape}, "
            f"{bits.shape}",
            "whole numbers of (3,), (n,), (n, 4) and bytes",
            _CURE,
        )
    depth, height, width = (int(n) for n in shape)
    rows = [(int(a), int(b), int(c), int(d)) for a, b, c, d in boxes]
    return (depth, height, width), [int(n) for n in z], rows, bits


def _check_inside(shape: Shape, z: int, box: tuple[int, int, int, int]) -> None:
    y0, x0, y1, x1 = box
    inside = 0 <= y0 < y1 <= shape[1] and 0 <= x0 < x1 <= shape[2] and 0 <= z < shape[0]
    if not inside:
        raise VolumeFormatError(
            f"a mask at section {z}, box {box}, of a volume of {shape}", "a place in the volume"
        )

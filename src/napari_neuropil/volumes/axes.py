"""Find z, y, x among a file's axes, and view its array in that order without reading it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Shape
from napari_neuropil.volumes.volume import LazyArray

AxisOrder = tuple[int | None, int, int]
"""The file's axis number for z, y and x; z is None where the file holds one section only."""

_RGB_LENGTHS = (3, 4)
_RGB_MIN_EDGE = 16


class AxesView:
    """A lazy (z, y, x) view of an array with other axes, another order or foreign byte order.

    Integers, slices with a positive step and an ellipsis index it; the voxels come in native
    byte order.

    Parameters
    ----------
    source : LazyArray
        The file's array. Axes that `order` does not name have length 1.
    order : AxisOrder
        The file's axis number for z, y and x.
    """

    def __init__(self, source: LazyArray, order: AxisOrder) -> None:
        self._source = source
        self._order = order

    @property
    def shape(self) -> Shape:
        """Edge lengths in voxels."""
        z, y, x = (1 if axis is None else int(self._source.shape[axis]) for axis in self._order)
        return z, y, x

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel, native byte order."""
        dtype: np.dtype[Any] = np.dtype(self._source.dtype).newbyteorder("=")
        return dtype

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        """Return the number of sections."""
        return self.shape[0]

    def __getitem__(self, index: Any, /) -> Any:
        """Read the voxels of `index`."""
        wanted = _three_slices(index, self.shape)
        dropped = tuple(
            0 if isinstance(item, int) else slice(None) for item in _expand(index, self.shape)
        )
        inner: list[int | slice] = [0] * len(self._source.shape)
        kept = [axis for axis in self._order if axis is not None]
        for axis, item in zip(self._order, wanted, strict=True):
            if axis is not None:
                inner[axis] = item
        block = np.asarray(self._source[tuple(inner)]).astype(self.dtype, copy=False)
        # The source returns its own axis order: sort it into ours.
        ranks = [sorted(kept).index(axis) for axis in kept]
        block = block.transpose(ranks)
        if self._order[0] is None:
            block = block[np.newaxis][wanted[0]]
        return block[dropped]

    def __array__(
        self,
        dtype: Any = None,
        copy: bool | None = None,
    ) -> NDArray[Any]:
        """Read the whole volume."""
        return np.array(self[...], dtype=dtype, copy=True if copy is None else copy)


def arrange(source: LazyArray, order: AxisOrder) -> LazyArray:
    """Return `source` as (z, y, x) in native byte order: itself where it is so already."""
    native = np.dtype(source.dtype).isnative
    if native and order == (0, 1, 2) and len(source.shape) == 3:
        return source
    return AxesView(source, order)


def find_order(shape: Sequence[int], names: Sequence[str] | None, what: str) -> AxisOrder:
    """Return the axis numbers of z, y and x.

    Parameters
    ----------
    shape : sequence of int
        Of the file's array.
    names : sequence of str or None
        Its axes where the file names them; names without z, y and x count as none.
    what : str
        The volume's path, for the message.

    Raises
    ------
    VolumeFormatError
        If an axis besides z, y and x is longer than 1, or one of these is absent.
    """
    if names is not None and len(names) == len(shape):
        lower = [str(name).lower() for name in names]
        if {"z", "y", "x"} <= set(lower):
            order = (lower.index("z"), lower.index("y"), lower.index("x"))
            if any(n != 1 for axis, n in enumerate(shape) if axis not in order):
                raise _too_many_axes(shape, lower, what)
            return order
        if {"y", "x"} <= set(lower):
            raise _too_many_axes(shape, lower, what)
    return _order_by_position(shape, what)


def pick_axes(
    values: Sequence[float], order: AxisOrder, ndim: int
) -> tuple[float, float, float] | None:
    """Return the (z, y, x) of `values` that stand in the file's axis order, else None.

    Parameters
    ----------
    values : sequence of float
        One for each axis, one for each of the three in space, or a single one for all.
    order : AxisOrder
        The file's axis number for z, y and x.
    ndim : int
        Number of axes in the file.
    """
    if len(values) == 1:
        return values[0], values[0], values[0]
    axes = [axis for axis in order if axis is not None]
    if len(axes) < len(order):
        return None
    if len(values) == len(axes):
        axes = [sorted(axes).index(axis) for axis in axes]
    elif len(values) != ndim:
        return None
    z, y, x = (values[axis] for axis in axes)
    return z, y, x


def _order_by_position(shape: Sequence[int], what: str) -> AxisOrder:
    first, last = 0, len(shape)
    while last - first > 3 and shape[first] == 1:
        first += 1
    while last - first > 3 and shape[last - 1] == 1:
        last -= 1
    if last - first != 3:
        raise _too_many_axes(shape, None, what)
    a, b, c = shape[first:last]
    if c in _RGB_LENGTHS and min(a, b) >= _RGB_MIN_EDGE:
        raise VolumeFormatError(
            f"{what} has shape {tuple(shape)}, which looks like one RGB image.",
            "a 3D volume (z, y, x)",
            "save the grey values of the whole stack as one 3D volume.",
        )
    return first, first + 1, first + 2


def _too_many_axes(
    shape: Sequence[int], names: Sequence[str] | None, what: str
) -> VolumeFormatError:
    lengths = (
        f"shape {tuple(shape)}"
        if names is None
        else "axes " + ", ".join(f"{name}={n}" for name, n in zip(names, shape, strict=True))
    )
    flat = len([n for n in shape if n != 1]) < 3
    cure = "save one channel of one time point as a volume of its own."
    if flat:
        cure = "save all sections as one 3D stack."
    elif names is not None and "z" not in names and len(shape) == 3:
        # Many programs file a stack's sections under channels or time points.
        cure = f"if {names[0]} counts the sections, say so in Fiji (Image > Properties) and save."
    return VolumeFormatError(
        f"{what} has {lengths}.",
        "a 3D volume: axes z, y, x, and every other axis of length 1",
        cure,
    )


def _expand(index: Any, shape: Shape) -> tuple[int | slice, ...]:
    items = index if isinstance(index, tuple) else (index,)
    if any(item is Ellipsis for item in items):
        at = next(i for i, item in enumerate(items) if item is Ellipsis)
        missing = len(shape) - len(items) + 1
        items = (*items[:at], *(slice(None),) * missing, *items[at + 1 :])
    items = (*items, *(slice(None),) * (len(shape) - len(items)))
    if len(items) != len(shape):
        raise IndexError(f"{len(items)} indices for a volume with {len(shape)} axes")
    return tuple(item if isinstance(item, slice) else operator.index(item) for item in items)


def _three_slices(index: Any, shape: Shape) -> tuple[slice, ...]:
    slices = []
    for item, length in zip(_expand(index, shape), shape, strict=True):
        if isinstance(item, int):
            at = item + length if item < 0 else item
            if not 0 <= at < length:
                raise IndexError(f"index {item} is out of bounds for length {length}")
            slices.append(slice(at, at + 1))
            continue
        start, stop, step = item.indices(length)
        if step < 0:
            raise IndexError("a volume on disk is read with positive steps only")
        slices.append(slice(start, max(start, stop), step))
    return tuple(slices)

"""HDF5: ``file.h5/dataset``, voxel sizes from attributes of the dataset or of the file."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from napari_neuropil.errors import OutputError, VolumeFormatError, VolumeNotFoundError
from napari_neuropil.volumes.attributes import axis_names, read_place
from napari_neuropil.volumes.axes import arrange, find_order
from napari_neuropil.volumes.output import BlockSource, VolumeSpec, partial_output, rois_of
from napari_neuropil.volumes.volume import Volume

_MAX_LISTED: Final = 12
_CHUNK: Final = (32, 128, 128)
_BLOCK: Final = (64, 256, 256)


def read(container: Path, inner: str) -> Volume:
    """Open a dataset; without `inner`, or with a group, the only 3D one in it.

    The file stays open, locked for reading where the file system can, while its array lives.
    """
    try:
        file = h5py.File(container, "r", locking="best-effort")
    except OSError as error:
        raise VolumeFormatError(
            f"{container} cannot be read: {error}",
            "an undamaged HDF5 file that no program is writing to",
            "close other programs that use it, or copy it again from where it came.",
        ) from error
    dataset = _find_dataset(file, container, inner)
    what = f"{container}{dataset.name}"
    attributes = dict(dataset.attrs)
    order = find_order(dataset.shape, axis_names(attributes), what)
    voxel_size, translation = read_place([attributes, dict(file.attrs)], order, dataset.ndim)
    return Volume(
        arrange(dataset, order),
        voxel_size,
        translation=translation,
        name=f"{container.stem} {dataset.name.rsplit('/', 1)[-1]}",
        source=what,
    )


def write(spec: VolumeSpec, source: BlockSource) -> None:
    """Write a dataset; a file that exists is copied, since HDF5 does not survive a kill."""
    name = spec.inner or spec.kind
    copies = spec.container.is_file()
    if copies:
        _refuse_dataset(spec, name)
    with partial_output(spec.container, overwrite=True, source=source) as partial:
        if copies:
            shutil.copyfile(spec.container, partial)
        # Without a chunk cache: on a full disk HDF5 would try to flush it again when the process
        # ends, and crash.
        with h5py.File(partial, "a", rdcc_nbytes=0) as file:
            if name in file:
                del file[name]
            _write_dataset(file, name, spec, source)


def _write_dataset(file: h5py.File, name: str, spec: VolumeSpec, source: BlockSource) -> None:
    z, y, x = (min(n, c) for n, c in zip(spec.shape, _CHUNK, strict=True))
    dataset = file.create_dataset(
        name,
        shape=spec.shape,
        dtype=spec.dtype,
        chunks=(z, y, x),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    dataset.attrs["axes"] = "zyx"
    if spec.voxel_size is not None:
        lengths = np.array(list(spec.voxel_size))
        dataset.attrs["voxel_size_nm"] = lengths
        dataset.attrs["element_size_um"] = lengths / 1e3
    dataset.attrs["translation_nm"] = np.array(spec.translation)
    rois = rois_of(spec.shape, _BLOCK)
    for done, roi in enumerate(rois, start=1):
        dataset[roi.slices] = source.read(roi, spec.dtype)
        source.done(done, len(rois))


def _refuse_dataset(spec: VolumeSpec, name: str) -> None:
    try:
        with h5py.File(spec.container, "r", locking="best-effort") as file:
            exists = name in file
    except OSError as error:
        raise OutputError(
            f"{spec.container} exists and is no HDF5 file: {error}",
            "an HDF5 file or a free name",
            "choose another name.",
        ) from error
    if exists and not spec.overwrite:
        raise OutputError(
            f"{spec.container}/{name} exists already.",
            "a name that is free",
            "choose another name, or allow overwriting.",
        )


def _find_dataset(file: h5py.File, container: Path, inner: str) -> h5py.Dataset:
    try:
        node = file[inner or "/"]
    except KeyError:
        names = _list_datasets(file)
        similar = difflib.get_close_matches(inner, names, n=3)
        raise VolumeNotFoundError(
            f"There is no dataset {inner} in {container}.",
            f"one of {_listed(names)}",
            f"did you mean {container}/{(similar or names)[0]}?" if names else "",
        ) from None
    if isinstance(node, h5py.Dataset):
        if node.shape is None:
            raise VolumeFormatError(f"{container}/{inner} is empty.", "a 3D dataset")
        return node
    prefix = f"{inner}/" if inner else ""
    found = [f"{prefix}{name}" for name in _list_datasets(node) if _may_be_volume(node[name])]
    if len(found) == 1:
        return file[found[0]]
    where = f"{container}/{inner}" if inner else str(container)
    raise VolumeFormatError(
        f"{where} holds {len(found)} 3D datasets"
        + (f": {_listed(found)}." if found else f" among {_listed(_list_datasets(node))}."),
        "one dataset's path",
        f"give one, for example {container}/{found[0]}."
        if found
        else "give a file with a 3D dataset.",
    )


def _list_datasets(group: h5py.Group) -> list[str]:
    names: list[str] = []

    def note(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            names.append(name)

    group.visititems(note)
    return names


def _may_be_volume(dataset: h5py.Dataset) -> bool:
    shape = dataset.shape or ()
    return (
        len(shape) >= 3 and len([n for n in shape if n > 1]) <= 3 and dataset.dtype.kind in "buif"
    )


def _listed(names: list[str]) -> str:
    more = len(names) - _MAX_LISTED
    return (", ".join(names[:_MAX_LISTED]) or "none") + (f" and {more} more" if more > 0 else "")

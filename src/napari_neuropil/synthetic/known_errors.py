"""A wrong segmentation with a list of what is wrong in it, for tests of proofreading.

An object takes part in at most one error, so each can be mended and counted by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.geometry import Shape

Ids = NDArray[np.uint64]

_FULL = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class KnownError:
    """One error.

    Parameters
    ----------
    kind : {"split", "merge"}
        Split error: one object in two segments. Merge error: two objects in one segment.
    position : tuple of int
        A voxel (z, y, x) beside the border that is wrong there, or missing.
    objects : tuple of int
        True ids concerned, one for a split error and two for a merge error.
    segments : tuple of int
        Ids in the wrong segmentation, two for a split error and one for a merge error.
    """

    kind: Literal["split", "merge"]
    position: Shape
    objects: tuple[int, ...]
    segments: tuple[int, ...]


@dataclass(frozen=True)
class KnownErrors:
    """A wrong segmentation and its errors.

    Parameters
    ----------
    segmentation : ndarray of uint64, (Z, Y, X)
        0 where the labels are 0.
    errors : tuple of KnownError
        Split errors first.
    """

    segmentation: Ids
    errors: tuple[KnownError, ...]


def make_errors(
    labels: NDArray[np.integer],
    seed: int,
    *,
    splits: int = 6,
    merges: int = 6,
    min_voxels: int = 200,
) -> KnownErrors:
    """Return a segmentation that differs from the labels by known errors.

    Parameters
    ----------
    labels : ndarray of int, (Z, Y, X)
        True objects, 0 = background.
    seed : int
        Start of the random numbers.
    splits, merges : int, optional
        How many errors of each kind; fewer where the volume has no room for more.
    min_voxels : int, optional
        Smallest part of a split object and smallest merged object.

    Returns
    -------
    KnownErrors

    Raises
    ------
    VolumeFormatError
        If `labels` is not a volume of integers.
    SettingsError
        If a count is negative.
    """
    if labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
        raise VolumeFormatError(
            f"Labels of shape {labels.shape} and type {labels.dtype}.",
            "a volume (z, y, x) of integers",
            "give the labels as one 3D integer array.",
        )
    if splits < 0 or merges < 0:
        raise SettingsError(
            f"{splits} splits and {merges} merges.", "0 or more", "give other counts."
        )
    rng = np.random.default_rng(seed)
    segmentation = labels.astype(np.uint64)
    ids, counts = np.unique(segmentation, return_counts=True)
    sizes: dict[int, int] = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    sizes.pop(0, None)
    free = {i for i, size in sizes.items() if size >= min_voxels}
    # Merge errors first: they need pairs, and the pairs would run out.
    merged = _add_merges(segmentation, free, merges, rng)
    next_id = max(sizes, default=0) + 1
    split: list[KnownError] = []
    for identity in rng.permutation(sorted(i for i in free if sizes[i] >= 2 * min_voxels)):
        if len(split) == splits:
            break
        error = _split_object(segmentation, int(identity), next_id, min_voxels, rng)
        if error is not None:
            split.append(error)
            next_id += 1
    return KnownErrors(segmentation, (*split, *merged))


def _add_merges(
    segmentation: Ids, free: set[int], count: int, rng: np.random.Generator
) -> list[KnownError]:
    """Merge touching pairs in place and take their objects out of `free`."""
    errors: list[KnownError] = []
    pairs, places = _find_contacts(segmentation)
    contacts, first, area = np.unique(pairs, axis=0, return_index=True, return_counts=True)
    for row in rng.permutation(len(contacts)):
        kept, lost = (int(i) for i in contacts[row])
        if len(errors) == count:
            break
        # A contact of a few voxels would be no error that a segmentation makes.
        if area[row] < 20 or not {kept, lost} <= free:
            continue
        place = np.unravel_index(int(places[first[row]]), segmentation.shape)
        segmentation[segmentation == lost] = kept
        free -= {kept, lost}
        position = int(place[0]), int(place[1]), int(place[2])
        errors.append(KnownError("merge", position, (kept, lost), (kept,)))
    return errors


def _find_contacts(labels: Ids) -> tuple[Ids, NDArray[np.int64]]:
    """Return pairs of ids (a < b) with the flat place of each, across a membrane of <= 3 voxels."""
    index = np.arange(labels.size).reshape(labels.shape)
    pairs, places = [], []
    for axis, steps in enumerate(((1,), (1, 2, 3, 4), (1, 2, 3, 4))):
        for step in steps:
            low = tuple(slice(None, -step) if a == axis else slice(None) for a in range(3))
            high = tuple(slice(step, None) if a == axis else slice(None) for a in range(3))
            one, two = labels[low], labels[high]
            touch = (one != two) & (one > 0) & (two > 0)
            pairs.append(np.stack([one[touch], two[touch]], axis=1))
            places.append(index[low][touch])
    return np.sort(np.concatenate(pairs), axis=1), np.concatenate(places)


def _split_object(
    segmentation: Ids, identity: int, new_id: int, min_voxels: int, rng: np.random.Generator
) -> KnownError | None:
    """Cut an object in place between two far voxels, if both parts stay in one piece."""
    mask = segmentation == identity
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    mask = mask[box]
    points = np.argwhere(mask)
    _, pieces = ndimage.label(mask, _FULL)
    for _ in range(5):
        start = points[int(rng.integers(len(points)))]
        one = points[int(np.argmax(((points - start) ** 2).sum(axis=1)))]
        two = points[int(np.argmax(((points - one) ** 2).sum(axis=1)))]
        share = rng.uniform(0.35, 0.65)
        along = (points - one) @ (two - one)
        second = np.zeros_like(mask)
        second[tuple(points[along > share * float((two - one) @ (two - one))].T)] = True
        rest = mask & ~second
        if min(int(second.sum()), int(rest.sum())) < min_voxels:
            continue
        parts = ndimage.label(second, _FULL)[1] + ndimage.label(rest, _FULL)[1]
        cut = np.argwhere(second & ndimage.binary_dilation(rest, _FULL))
        if parts != pieces + 1 or not len(cut):
            continue
        segmentation[box][second] = new_id
        centre = cut[int(np.argmin(((cut - cut.mean(axis=0)) ** 2).sum(axis=1)))]
        z, y, x = (int(c) + s.start for c, s in zip(centre, box, strict=True))
        return KnownError("split", (z, y, x), (identity,), (identity, new_id))
    return None

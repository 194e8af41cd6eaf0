"""Masks given in any order become objects, numbered as they were given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, SettingsError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.inference.grey_values import GreyRange
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.volumes import Volume
from napari_neuropil.workflows.prompting.grid import SectionGrid
from napari_neuropil.workflows.prompting.linking import link_objects
from napari_neuropil.workflows.prompting.messages import (
    CLOSING,
    Link,
    Linked,
    MaskBits,
    PlacedBits,
    decode_event,
    decode_request,
    encode,
)
from napari_neuropil.workflows.prompting.volume import PromptVolume, open_prompt_volume

SHAPE = (6, 40, 40)


def _square(z: int, y: int, x: int, side: int = 10) -> PlacedBits:
    mask = np.zeros(SHAPE[1:], np.bool_)
    mask[y : y + side, x : x + side] = True
    packed = PackedMask.of(mask)
    assert packed is not None
    return PlacedBits(z=z, mask=MaskBits.of(packed))


def _volume() -> PromptVolume:
    values: NDArray[np.uint8] = np.zeros(SHAPE, np.uint8)
    size, roi = VoxelSize(30, 8, 8), Roi.of_shape(SHAPE)
    return PromptVolume(Volume(values, size), roi, size, GreyRange(0, 255))


def _link(*masks: PlacedBits, volume: PromptVolume | None = None, bridge: bool = True) -> Linked:
    request = Link(id=3, masks=masks, bridge=bridge)
    assert decode_request(encode(request)) == request
    answer = link_objects(request, volume or _volume(), SectionGrid(SHAPE), lambda: None)
    assert decode_event(encode(answer)) == answer
    assert isinstance(answer, CLOSING)
    return answer


def test_two_objects_given_in_disorder() -> None:
    left, right = [_square(z, 4, 4 + z) for z in range(4)], [_square(z, 25, 25) for z in range(4)]
    answer = _link(left[2], right[0], right[3], left[0], left[1], right[1], left[3], right[2])
    assert answer.objects[0] == answer.objects[3] == answer.objects[4] == answer.objects[6]
    assert answer.objects[1] == answer.objects[2] == answer.objects[5] == answer.objects[7]
    assert set(answer.objects) == {1, 2}
    assert answer.id == 3


def test_over_a_missing_mask() -> None:
    masks = [_square(z, 10, 10) for z in (0, 1, 3, 4)]
    assert len(set(_link(*masks).objects)) == 1
    assert _link(*masks, bridge=False).objects == (1, 1, 2, 2)


def test_a_faint_link_is_told(make_project: Callable[..., Path]) -> None:
    # A quarter of the union is shared: linked, and worth a look.
    faint = [_square(1, 0, 0), _square(0, 0, 0), _square(2, 0, 6), _square(3, 0, 6)]
    answer = _link(*faint)
    (doubt,) = answer.doubtful
    assert doubt.masks == (0, 2)
    assert doubt.overlap == pytest.approx(0.25)
    assert doubt.agreement is None
    assert doubt.linked
    assert doubt.worth == pytest.approx(200 * (1 - doubt.support))
    # A project that has them in two segments parts them.
    fragments = np.zeros(SHAPE, np.uint64)
    fragments[:2, :, :], fragments[2:, :, :] = 1, 2
    fragments[:, 30:, :] = 3  # in all sections, so that ids mean something
    project = make_project(fragments)
    volume = open_prompt_volume(project.with_suffix(".zarr"), project=project)
    parted = _link(*faint, _square(1, 30, 0), _square(2, 30, 0), volume=volume)
    assert parted.objects[0] != parted.objects[2]
    assert parted.objects[4] == parted.objects[5]


def test_what_cannot_be_linked() -> None:
    with pytest.raises(SettingsError, match="Section 6 of 6"):
        _link(_square(6, 0, 0))

    def stop() -> None:
        raise CancelledError("Stopped.")

    with pytest.raises(CancelledError):
        link_objects(Link(id=1, masks=(_square(0, 0, 0),)), _volume(), SectionGrid(SHAPE), stop)

from __future__ import annotations

from typing import Any

import bioimage_cpp
import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.segmentation import fragments as fragments_module
from napari_neuropil.segmentation.fragments import (
    WatershedSettings,
    make_fragments,
    restrict_to_foreground,
)

FINE = WatershedSettings(sigma_seeds=1, sigma_weights=1, min_size=10)


def test_two_cells_with_a_wall_give_two_fragments(make_oracle: Any) -> None:
    labels = np.ones((1, 40, 40), np.uint64)
    labels[0, :, 20:] = 2
    labels[0, :, 19:21] = 0
    result = make_fragments(make_oracle(labels), None, FINE)
    ids_left, ids_right = set(result[0, :, :18].ravel()), set(result[0, :, 22:].ravel())
    assert not ids_left & ids_right
    assert result.min() == 1


def test_thin_object_between_two_walls_gets_its_own_fragment(make_oracle: Any) -> None:
    labels = np.zeros((1, 9, 32), np.uint64)
    labels[0, :, :14] = 1
    labels[0, :, 15:17] = 2
    labels[0, :, 18:] = 3
    settings = WatershedSettings(sigma_seeds=0, sigma_weights=0, min_size=0)
    result = make_fragments(make_oracle(labels), None, settings)
    # The pair (15, 16) is stored at 16: there the object is inside, at 15 it is at its wall.
    sets = [set(result[0, :, place].ravel()) for place in (slice(0, 13), 16, slice(19, 32))]
    assert not sets[0] & sets[1]
    assert not sets[1] & sets[2]
    assert not sets[0] & sets[2]


@pytest.mark.parametrize("value", [0.0, 0.3, 0.75, 1.0])
def test_constant_sections_are_one_fragment_each(value: float) -> None:
    affinities = np.full((3, 3, 12, 15), value, np.float32)
    result = make_fragments(affinities, None, WatershedSettings())
    assert [set(section.ravel()) for section in result] == [{1}, {2}, {3}]


def test_mixed_stack_with_empty_sections(cells: Any) -> None:
    affinities = cells.affinities.copy()
    affinities[:, 2] = 0
    affinities[:, 5] = 1
    result = make_fragments(affinities, None, FINE)
    assert len(np.unique(result[2])) == 1
    assert len(np.unique(result[5])) == 1
    assert result.min() > 0


def test_fragments_stay_within_cells(cells: Any) -> None:
    result = make_fragments(cells.affinities, cells.foreground, FINE)
    inside = cells.inside
    pairs = np.unique(np.stack([result[inside], cells.labels[inside]]), axis=1)
    sizes = np.bincount(result[inside].astype(int))
    owner_share = np.bincount(pairs[0].astype(int))
    assert sizes[owner_share > 1].sum() < 0.05 * sizes.sum()


def test_ids_are_consecutive_in_raster_order_and_fragments_connected(cells: Any) -> None:
    result = make_fragments(cells.affinities, cells.foreground, FINE, first_id=100)
    ids, first = np.unique(result.ravel(), return_index=True)
    assert ids.tolist() == list(range(100, 100 + len(ids)))
    assert (np.diff(first) > 0).all()
    for section in result:
        for fragment in np.unique(section):
            assert ndimage.label(section == fragment)[1] == 1


def test_small_fragments_are_given_away(cells: Any) -> None:
    sizes = []
    for min_size in (0, 60):
        settings = FINE.model_copy(update={"min_size": min_size})
        result = make_fragments(cells.affinities, cells.foreground, settings)
        sizes.append(np.bincount(result.ravel().astype(int))[1:])
    assert sizes[0].min() < 60
    assert sizes[1].min() >= 60
    assert sizes[0].sum() == sizes[1].sum()


def test_a_section_smaller_than_the_smallest_fragment_keeps_one(make_oracle: Any) -> None:
    labels = np.ones((1, 6, 9), np.uint64)
    labels[0, :, 4] = 0
    result = make_fragments(make_oracle(labels), None, WatershedSettings())
    assert np.unique(result).tolist() == [1]


def test_regrowing_next_to_the_hole_only_equals_the_full_watershed() -> None:
    random = np.random.default_rng(0)
    height = ndimage.gaussian_filter(random.random((80, 90)), 1.5).astype(np.float32)
    seeds = np.zeros(height.shape, np.uint32)
    places = random.choice(height.size, 120, replace=False)
    seeds.ravel()[places] = np.arange(1, 121)
    labels = bioimage_cpp.segmentation.watershed(height, seeds)
    sizes = np.bincount(labels.ravel())
    kept = np.where(sizes < 40, 0, np.arange(len(sizes))).astype(np.uint32)
    expected = bioimage_cpp.segmentation.watershed(height, kept[labels])
    assert (kept[labels] == 0).any()
    np.testing.assert_array_equal(fragments_module._remove_small(labels, height, 40), expected)


def test_workers_and_repetition_change_nothing(cells: Any) -> None:
    one = make_fragments(cells.affinities, cells.foreground, FINE)
    three = make_fragments(cells.affinities, cells.foreground, FINE, workers=3)
    np.testing.assert_array_equal(one, three)


def test_a_section_does_not_depend_on_its_neighbours(cells: Any) -> None:
    whole = make_fragments(cells.affinities, cells.foreground, FINE)
    part = make_fragments(
        cells.affinities[:, 4:6], cells.foreground[4:6], FINE, first_id=int(whole[4].min())
    )
    np.testing.assert_array_equal(part, whole[4:6])


def test_foreground_is_the_same_as_restricting_before(cells: Any) -> None:
    random = np.random.default_rng(0)
    foreground = ndimage.gaussian_filter(random.random(cells.labels.shape), (0, 3, 3))
    foreground = (foreground > 0.5).astype(np.float32)
    restricted = restrict_to_foreground(cells.affinities, foreground)
    assert restricted.dtype == np.float32
    assert (restricted <= foreground).all()
    assert (restricted <= cells.affinities).all()
    np.testing.assert_array_equal(
        make_fragments(cells.affinities, foreground, FINE), make_fragments(restricted, None, FINE)
    )


def test_the_z_channel_is_not_looked_at(cells: Any) -> None:
    other = cells.affinities.copy()
    other[0] = 0.5
    np.testing.assert_array_equal(
        make_fragments(other, None, FINE), make_fragments(cells.affinities, None, FINE)
    )


def test_empty_volume() -> None:
    empty = np.zeros((3, 0, 4, 4), np.float32)
    assert make_fragments(empty, None, FINE).shape == (0, 4, 4)


@pytest.mark.parametrize(
    ("affinities", "foreground"),
    [
        (np.zeros((2, 2, 4, 4), np.float32), None),
        (np.zeros((3, 4, 4), np.float32), None),
        (np.zeros((3, 2, 4, 4), np.float32), np.zeros((2, 4, 5), np.float32)),
        (np.full((3, 2, 4, 4), np.nan, np.float32), None),
        (np.full((3, 2, 4, 4), 255, np.float32), None),
        (np.zeros((3, 2, 4, 4), np.float32), np.full((2, 4, 4), np.nan, np.float32)),
    ],
)
def test_bad_input_is_refused(affinities: Any, foreground: Any) -> None:
    with pytest.raises(VolumeFormatError):
        make_fragments(affinities, foreground, FINE)
    if foreground is not None and foreground.shape != affinities.shape[1:]:
        with pytest.raises(VolumeFormatError):
            restrict_to_foreground(affinities, foreground)


def test_settings_have_bounds_and_words() -> None:
    for name, field in WatershedSettings.model_fields.items():
        assert field.title, name
        assert field.description, name
        assert isinstance(field.json_schema_extra, dict), name
        assert {"unit", "advanced"} <= set(field.json_schema_extra), name
    for wrong in ({"threshold": 0}, {"sigma_seeds": -1}, {"min_size": -1}, {"alpha": 2}):
        with pytest.raises(ValidationError):
            WatershedSettings(**wrong)


def test_volumetric_fragments_run_through_sections() -> None:
    affinities = np.full((3, 12, 24, 40), 0.95, np.float32)
    affinities[:, :, :, 19:21] = 0.02
    settings = WatershedSettings(sigma_seeds=1, sigma_weights=1, min_size=10, volumetric=True)
    fragments = make_fragments(affinities, None, settings, first_id=5)
    assert fragments.min() == 5
    left, right = np.unique(fragments[:, :, :18]), np.unique(fragments[:, :, 22:])
    assert np.intersect1d(left, right).size == 0
    assert (fragments[0, :, 2:17] == fragments[-1, :, 2:17]).mean() > 0.5
    sections = make_fragments(
        affinities, None, settings.model_copy(update={"volumetric": False}), first_id=5
    )
    assert np.intersect1d(sections[0], sections[1]).size == 0

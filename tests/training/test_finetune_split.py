"""What is learned from and what is measured on never meet."""

from __future__ import annotations

import numpy as np
import pytest

from napari_neuropil.errors import SettingsError
from napari_neuropil.training.finetune_split import SplitSettings, split_objects
from napari_neuropil.training.section_objects import SectionObject


def _object(segment: int, z: int, *, pseudo: bool = False) -> SectionObject:
    return SectionObject(segment, z, (0, 0, 2, 2), np.ones((2, 2), bool), pseudo)


def _some(seed: int) -> list[SectionObject]:
    rng = np.random.default_rng(seed)
    return [
        _object(int(rng.integers(1, 9)) + 100 * pseudo, int(rng.integers(0, 30)), pseudo=pseudo)
        for pseudo in (rng.random(60) < 0.3).tolist()
    ]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("gap", [0, 1, 4])
def test_sections_never_leak(seed: int, gap: int) -> None:
    objects = _some(seed)
    split = split_objects(objects, SplitSettings(gap=gap, held_out=0.3))
    low = max(item.z for item in split.training)
    high = min(item.z for item in split.held_out)
    assert high - low > gap
    assert not any(item.pseudo for item in split.held_out)
    assert len(split.held_out) >= 0.3 * sum(not item.pseudo for item in objects)
    assert len(split.training) + len(split.held_out) + split.left_out == len(objects)


@pytest.mark.parametrize("seed", range(20))
def test_segments_never_leak(seed: int) -> None:
    objects = _some(seed)
    split = split_objects(objects, SplitSettings(by="segments", held_out=0.3, seed=seed))
    assert not {i.segment for i in split.training} & {i.segment for i in split.held_out}
    assert not any(item.pseudo for item in split.held_out)
    assert any(not item.pseudo for item in split.training)
    assert split.left_out == 0


def test_a_block_by_hand() -> None:
    objects = [_object(1, z) for z in range(10)] + [_object(101, z, pseudo=True) for z in range(10)]
    split = split_objects(objects, SplitSettings(held_out=0.2, gap=1))
    assert {item.z for item in split.held_out} == {8, 9}
    assert {item.z for item in split.training} == set(range(7))
    assert sum(item.pseudo for item in split.training) == 7
    assert split.left_out == 4  # 7 twice, and the pseudo ones of 8 and 9


def test_few_objects_give_a_warning() -> None:
    few = split_objects([_object(1, z) for z in range(10)], SplitSettings())
    assert len(few.warnings) == 1
    assert "7 corrected objects from 7 sections" in few.warnings[0]
    many = [_object(n, z) for n in range(6) for z in range(10)]
    assert split_objects(many, SplitSettings()).warnings == ()
    # Pseudo objects do not make up for corrections.
    padded = [_object(1, z) for z in range(10)] + [_object(7, 0, pseudo=True)] * 50
    assert len(split_objects(padded, SplitSettings()).warnings) == 1
    shared = split_objects(many, SplitSettings(by="segments"))
    assert "Held-out segments lie in sections" in shared.warnings[0]


@pytest.mark.parametrize(
    ("objects", "settings"),
    [
        ([], SplitSettings()),
        ([_object(1, 3)], SplitSettings()),
        ([_object(1, 3), _object(2, 3)], SplitSettings()),
        ([_object(1, 3), _object(1, 4)], SplitSettings(gap=1)),
        ([_object(1, 3), _object(1, 4)], SplitSettings(by="segments")),
        ([_object(1, 3), _object(9, 0, pseudo=True)], SplitSettings()),
    ],
)
def test_what_cannot_be_divided(objects: list[SectionObject], settings: SplitSettings) -> None:
    with pytest.raises(SettingsError, match="cannot be divided"):
        split_objects(objects, settings)


def test_two_sections_without_a_gap() -> None:
    split = split_objects([_object(1, 3), _object(1, 4)], SplitSettings(gap=0))
    assert [item.z for item in split.training] == [3]
    assert [item.z for item in split.held_out] == [4]

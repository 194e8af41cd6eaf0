"""All effects of a log read at once say what each says alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_neuropil.errors import ProjectError
from napari_neuropil.proofreading.effects import Effect, FragmentSplit
from napari_neuropil.proofreading.encoding import pack_effect, unpack_effect
from napari_neuropil.proofreading.skimming import skim_effects

_IDS = st.integers(0, 2**64 - 1)


@st.composite
def effects(draw: st.DrawFn) -> Effect:
    count = draw(st.sampled_from([0, 1, 2, 3, 90]))  # 90 is above where packing compresses
    ids = [draw(_IDS) for _ in range(min(count, 4))] * (count // min(count, 4) if count else 0)
    fragments = np.array(ids[:count], np.uint64)
    count = len(fragments)

    def segments() -> np.ndarray:
        if draw(st.booleans()):
            return np.full(count, draw(_IDS), np.uint64)
        return np.arange(count, dtype=np.uint64) + np.uint64(draw(st.integers(0, 2**40)))

    def pairs() -> np.ndarray:
        return np.array(draw(st.lists(st.tuples(_IDS, _IDS), max_size=3)), np.uint64).reshape(-1, 2)

    splits: tuple[FragmentSplit, ...] = ()
    if draw(st.booleans()):
        splits = (FragmentSplit(1, (0, 0, 0), np.array([[[1, 2]]], np.uint8), 7),)
    return Effect(fragments, segments(), segments(), pairs(), pairs(), splits)


@given(st.lists(effects(), max_size=5))
def test_a_log_is_skimmed_as_its_effects_are_read(made: list[Effect]) -> None:
    packed = [pack_effect(effect) for effect in made]
    log = skim_effects(packed)
    for index, data in enumerate(packed):
        one = unpack_effect(data)
        for name in ("fragments", "after", "joined", "cut"):
            ragged = getattr(log, name)
            np.testing.assert_array_equal(ragged.values[ragged.effect == index], getattr(one, name))
        assert (index in log.rest) == bool(one.splits)


@given(st.lists(effects(), min_size=2, max_size=4), st.data())
def test_only_wanted_effects_are_left(made: list[Effect], data: st.DataObject) -> None:
    wanted = np.array([data.draw(st.booleans()) for _ in made])
    log = skim_effects([pack_effect(effect) for effect in made]).of(wanted)
    expected = [e.after for e, w in zip(made, wanted, strict=True) if w]
    np.testing.assert_array_equal(
        log.after.values, np.concatenate([np.zeros(0, np.uint64), *expected])
    )
    assert all(wanted[index] for index in log.rest)


@pytest.mark.parametrize("cut", [1, 5, 18, -1])
def test_a_damaged_effect_is_refused(cut: int) -> None:
    whole = pack_effect(
        Effect(np.arange(3, dtype=np.uint64), np.ones(3, np.uint64), np.zeros(3, np.uint64))
    )
    with pytest.raises(ProjectError, match="cannot be read"):
        skim_effects([whole, whole[:cut]])
    with pytest.raises(ProjectError, match="cannot be read"):
        unpack_effect(whole[:cut])

"""Which cross-sections are learned from: segments with all edits, and what is only guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.training.section_objects import SectionObject
from napari_neuropil.workflows.prompting.volume import open_prompt_volume
from napari_neuropil.workflows.tuning.choice import segments_of_project
from napari_neuropil.workflows.tuning.corrections import (
    Corrections,
    drop_covered,
    gather_corrections,
    pool_labels,
    thinned,
)
from napari_neuropil.workflows.tuning.requests import TuneRequest


def _request(image: Path, **fields: Any) -> TuneRequest:
    return TuneRequest(image=str(image), out="t.safetensors", smallest=4, **fields)


def _gather(image: Path, factors: tuple[int, int] = (1, 1), **fields: Any) -> Corrections:
    request = _request(image, **fields)
    volume = open_prompt_volume(image, roi=request.roi, project=request.project)
    return gather_corrections(request, volume, factors)


def _seen(found: Corrections) -> set[tuple[int, int, bool]]:
    return {(item.segment, item.z, item.pseudo) for item in found.objects}


@pytest.fixture
def stripes(make_project: Callable[..., Path]) -> tuple[Path, Path]:
    """Return an image and its project: fragments 1 to 6 are stripes through four sections."""
    fragments = np.zeros((4, 12, 24), np.uint64)
    for number in range(6):
        fragments[:, :, 4 * number : 4 * number + 4] = number + 1
    fragments[2:, :, 4:8] = 0  # 2 ends
    project = make_project(fragments)
    return project.with_suffix(".zarr"), project


def test_segments_by_word(stripes: tuple[Path, Path]) -> None:
    with ProofreadingSession.open(stripes[1]) as session:
        session.merge(1, 2)
        session.merge(5, 6)
        session.undo()
        session.merge(3, 4)
        kept = {int(session.lookup[n]) for n in (1, 3)}
        assert segments_of_project(session, "corrected") == kept
        session.annotate(int(session.lookup[3]), status="wrong")
        assert segments_of_project(session, "corrected") == {int(session.lookup[1])}
        session.annotate(5, status="done")
        assert segments_of_project(session, "done") == {5}
        assert segments_of_project(session, "done, 6") == {5, 6}
        assert segments_of_project(session, "5-900") == {5, 6}
        assert segments_of_project(session, "all") == kept | {5, 6}
        assert segments_of_project(session, "") == set()
        for words, text in (("77", "no segment 77"), ("nice", "names no segments")):
            with pytest.raises(SettingsError, match=text):
                segments_of_project(session, words)


def test_a_project_as_it_is_after_all_edits(stripes: tuple[Path, Path]) -> None:
    image, project = stripes
    with pytest.raises(SettingsError, match="no segment to learn from"):
        _gather(image, project=str(project))
    with ProofreadingSession.open(project) as session:
        session.merge(1, 2)
        segment = int(session.lookup[1])
        session.annotate(segment, status="done")
    # The session is closed here; an open one is read as well.
    found = _gather(image, project=str(project))
    assert _seen(found) == {(segment, z, False) for z in range(4)}
    assert [item.box[2:] for item in found.objects] == [(12, 8)] * 2 + [(12, 4)] * 2
    guessed = _gather(image, project=str(project), pseudo="5")
    assert {(s, pseudo) for s, _, pseudo in _seen(guessed)} == {(segment, False), (5, True)}
    # What is marked as pseudo is not corrected, whoever else names it.
    both = _gather(image, project=str(project), segments="all", pseudo=f"{segment}")
    assert {s for s, _, pseudo in _seen(both) if pseudo} == {segment}
    assert segment not in {s for s, _, pseudo in _seen(both) if not pseudo}
    with pytest.raises(SettingsError, match="pseudo too"):
        _gather(image, project=str(project), pseudo=str(segment))


def test_labels_on_the_image_or_on_its_part(discs: Any, tmp_path: Path) -> None:
    every = _gather(discs.image, labels=str(discs.labels))
    assert _seen(every) == {(n, z, False) for n in range(1, 5) for z in range(12)}
    roi: dict[str, Any] = {"roi": "2:5,:,0:32", "segments": "1,3-9"}
    part = _gather(discs.image, labels=str(discs.labels), **roi)
    assert _seen(part) == {(n, z, False) for n in (1, 3) for z in range(3)}
    cut = discs.ids[2:5, :, :32]
    np.save(tmp_path / "part.npy", cut)
    same = _gather(discs.image, labels=str(tmp_path / "part.npy"), **roi)
    assert [item.box for item in same.objects] == [item.box for item in part.objects]
    for item in same.objects:
        y0, x0, y1, x1 = item.box
        np.testing.assert_array_equal(item.mask, cut[item.z, y0:y1, x0:x1] == item.segment)
    guessed = _gather(discs.image, labels=str(discs.labels), segments="all", pseudo="2")
    assert _seen(guessed) == {(n, z, n == 2) for n in range(1, 5) for z in range(12)}


def test_what_does_not_fit(discs: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "small.npy", discs.ids[:5])
    with pytest.raises(VolumeFormatError, match="shape"):
        _gather(discs.image, labels=str(tmp_path / "small.npy"))
    np.save(tmp_path / "real.npy", discs.ids.astype(np.float32))
    with pytest.raises(VolumeFormatError, match="float32"):
        _gather(discs.image, labels=str(tmp_path / "real.npy"))
    np.save(tmp_path / "minus.npy", discs.ids.astype(np.int32) - 1)
    with pytest.raises(VolumeFormatError, match="id -1"):
        _gather(discs.image, labels=str(tmp_path / "minus.npy"))
    with pytest.raises(SettingsError, match="cross-section"):
        _gather(discs.image, labels=str(discs.labels), segments="9")
    with pytest.raises(SettingsError, match="cannot be pseudo"):
        _gather(discs.image, labels=str(discs.labels), pseudo="all")
    with pytest.raises(ValueError, match="either"):
        _request(discs.image)


def test_unchecked_masks_of_other_labels_give_way(discs: Any, tmp_path: Path) -> None:
    others = np.zeros_like(discs.ids)
    others[3][discs.ids[3] == 1] = 1  # where somebody corrected
    others[3, 30:34, 30:34] = 4  # between the discs, and an id that means something else there
    np.save(tmp_path / "others.npy", others)
    found = _gather(
        discs.image, labels=str(discs.labels), pseudo_labels=str(tmp_path / "others.npy")
    )
    assert {item for item in _seen(found) if item[2]} == {(-4, 3, True)}
    assert found.covered == 1


def _square(z: int, y: int, x: int, side: int = 10) -> SectionObject:
    return SectionObject(1, z, (y, x, y + side, x + side), np.ones((side, side), bool))


def test_covered_by_hand() -> None:
    corrected = [_square(0, 0, 0)]
    free = [_square(1, 0, 0), _square(0, 10, 0), _square(0, 9, 1), _square(0, 20, 20)]
    assert drop_covered([*free, _square(0, 9, 0), _square(0, 2, 2, 3)], corrected) == free


def test_labels_follow_averaged_sections() -> None:
    labels = np.arange(35).reshape(5, 7)
    np.testing.assert_array_equal(pool_labels(labels, (2, 3)), [[8, 11], [22, 25]])
    assert pool_labels(labels, (1, 1)).shape == (5, 7)


def test_sections_are_thinned_evenly(discs: Any) -> None:
    some = _request(discs.image, labels="l", most_sections=4)
    assert thinned(range(10), some) == [0, 3, 6, 9]
    assert thinned([5, 7], some) == [5, 7]
    assert thinned([], some) == []


def test_pixels_that_the_network_sees_as_one(discs: Any) -> None:
    coarse = _gather(discs.image, (2, 2), labels=str(discs.labels), segments="1")
    for item in coarse.objects:
        y0, x0, y1, x1 = item.box
        assert (discs.ids[item.z, 1::2, 1::2][y0:y1, x0:x1] == 1).sum() == item.area

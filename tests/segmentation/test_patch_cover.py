"""Every place lies well inside the one patch that answers for it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_neuropil.segmentation.patch_cover import cover_places

_PATCH, _STRIDE = (20, 128, 128), (10, 64, 64)


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 400), st.integers(1, 400)),
    st.integers(0, 30),
    st.integers(0, 9),
)
def test_places_are_covered_once(shape: tuple[int, int, int], count: int, seed: int) -> None:
    places = (np.random.default_rng(seed).random((count, 3)) * (np.array(shape) - 1)).astype("f4")
    patches = cover_places(places, shape, _PATCH, _STRIDE)
    rows = np.concatenate([np.zeros(0, int), *(rows for _, rows in patches)])
    assert sorted(rows.tolist()) == list(range(count))
    assert len({roi for roi, _ in patches}) == len(patches)
    for roi, mine in patches:
        assert roi.shape == tuple(min(n, p) for n, p in zip(shape, _PATCH, strict=True))
        for place in places[mine]:
            for axis, at in enumerate(place):
                a, b, n = roi.start[axis], roi.stop[axis], shape[axis]
                # A quarter of a patch of context, or the volume's face.
                margin = (_PATCH[axis] - _STRIDE[axis]) / 2 - 1
                assert at - a >= margin or a == 0
                assert b - 1 - at >= margin or b == n


def test_near_places_share_a_patch() -> None:
    places = np.array([[10, 120, 125], [11, 130, 118], [12, 125, 140]], np.float32)
    assert len(cover_places(places, (40, 400, 400), _PATCH, _STRIDE)) == 1
    assert cover_places(places[:0], (40, 400, 400), _PATCH, _STRIDE) == []

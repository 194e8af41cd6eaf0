"""The dock with the real worker and the seeded watershed, on a tiny generated volume."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_neuropil.plugin.dendrites.box_rows import shape_of_box
from napari_neuropil.plugin.dendrites.layer_making import BOXES

if TYPE_CHECKING:
    from napari_neuropil.plugin.dendrites.dendrites_widget import DendritesWidget

SOURCES = Path(__file__).resolve().parents[3] / "src"
CENTRE, RADIUS = (30, 34), 12


@pytest.fixture
def dock(qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DendritesWidget]:
    """Return a dock over a bright cylinder with a dark membrane, 5 x 64 x 72 voxels."""
    from napari.components import ViewerModel

    from napari_neuropil.geometry import VoxelSize
    from napari_neuropil.plugin.dendrites.dendrites_widget import DendritesWidget
    from napari_neuropil.plugin.layers import layer_from_volume
    from napari_neuropil.volumes import open_volume, write_volume

    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    y, x = np.mgrid[:64, :72]
    far = np.hypot(y - CENTRE[0], x - CENTRE[1])
    section = np.where(np.abs(far - RADIUS) < 1.5, 30, 180) + (7 * y + 3 * x) % 11
    image = np.repeat(section[None].astype(np.uint8), 5, 0)
    place = tmp_path / "tube.zarr"
    write_volume(
        place, lambda roi: image[roi.slices], image.shape, "uint8", VoxelSize(30, 6, 6),
        kind="image",
    )  # fmt: skip
    viewer = ViewerModel()
    data, attributes, _ = layer_from_volume(open_volume(place))
    viewer.add_image(data, **attributes)
    viewer.dims.set_point(0, 60)
    made = DendritesWidget(viewer)
    qtbot.addWidget(made)
    made.source.choose_segmenter("watershed")
    yield made
    made.stop()


def test_a_tube_is_outlined_and_followed(dock: DendritesWidget, qtbot: Any) -> None:
    assert sys.executable
    dock.source.start_button.click()
    qtbot.waitUntil(lambda: dock.refiner.link.ready is not None, timeout=120_000)
    ready = dock.refiner.link.ready
    assert ready is not None
    assert ready.segmenter == "watershed"
    qtbot.waitUntil(lambda: BOXES in dock.refiner.viewer.layers, timeout=10_000)
    box = (CENTRE[0] - 13.0, CENTRE[1] - 13.0, CENTRE[0] + 14.0, CENTRE[1] + 14.0)
    layer = dock.refiner.viewer.layers[BOXES]
    layer.add(shape_of_box(2, box), shape_type="rectangle")
    qtbot.waitUntil(lambda: dock.refiner.mask is not None, timeout=60_000)
    y, x = np.mgrid[:64, :72]
    truth = np.hypot(y - CENTRE[0], x - CENTRE[1]) < RADIUS
    mask = dock.refiner.mask
    assert mask is not None
    found = mask.onto((64, 72))
    assert (found & truth).sum() / (found | truth).sum() > 0.8
    dock.refiner.accept()
    dock.follow.follow()
    qtbot.waitUntil(lambda: dock.refiner.desk.long is None, timeout=60_000)
    dendrite = dock.refiner.work.current_dendrite
    assert dendrite is not None
    assert list(dendrite.masks) == [0, 1, 2, 3, 4]
    for carried in dendrite.masks.values():
        found = carried.onto((64, 72))
        assert (found & truth).sum() / (found | truth).sum() > 0.75
    assert {stop.reason for stop in dendrite.stops} == {"volume"}


def test_a_project_is_worked_on_with_its_image(
    qtbot: Any, brain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.components import ViewerModel

    from napari_neuropil.plugin.dendrites.dendrites_widget import DendritesWidget
    from napari_neuropil.plugin.reader import get_reader

    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    viewer = ViewerModel()
    reader = get_reader(str(brain))
    assert reader is not None
    for data, attributes, kind in reader(str(brain)):
        getattr(viewer, f"add_{kind}")(data, **attributes)
    made = DendritesWidget(viewer)
    qtbot.addWidget(made)
    made.source.choose(str(brain))
    made.source.choose_segmenter("watershed")
    made.source.start_button.click()
    qtbot.waitUntil(lambda: made.refiner.link.ready is not None, timeout=120_000)
    ready = made.refiner.link.ready
    assert ready is not None
    assert (ready.shape, ready.voxel_size) == ((8, 40, 60), (30, 8, 8))
    made.refiner.look_at(0)
    made.refiner.act(made.refiner.work.with_new_box(0, (2.0, 2.0, 18.0, 17.0)))
    qtbot.waitUntil(lambda: made.refiner.mask is not None, timeout=60_000)
    made.refiner.accept()
    made.follow.follow()
    qtbot.waitUntil(lambda: made.refiner.desk.long is None, timeout=60_000)
    dendrite = made.refiner.work.current_dendrite
    assert dendrite is not None
    carried = [section for z, section in dendrite.sections.items() if z]
    assert carried
    assert all(s.segments is None or s.segments > 0.9 for s in carried), "all in segment 1"
    made.stop()

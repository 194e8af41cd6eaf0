"""Embedding colours in the dock: around the view, under the segments, replaced, cancelled."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.geometry import Roi
from napari_neuropil.plugin import worker
from napari_neuropil.plugin.colour_view import NAME, ColourView, box_in_view
from napari_neuropil.plugin.layers import facts_of
from napari_neuropil.plugin.proofread_controller import ProofreadController

FAKE = Path(__file__).with_name("fake_embeddings_cli.py")


@pytest.fixture
def fake(fake_cli: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    monkeypatch.setattr(worker, "cli_command", lambda: [sys.executable, str(FAKE)])
    return fake_cli


@pytest.fixture
def view(live: ProofreadController, qtbot: Any, fake: Callable[[str], None]) -> ColourView:
    made = ColourView(live)
    qtbot.addWidget(made)
    made.show()
    live.viewer.dims.set_point(0, 90)
    live.viewer.scene.camera.center = (90, 160, 240)
    live.viewer.canvas.size = (200, 300)
    live.viewer.scene.camera.zoom = 2.0
    return made


def colours(live: ProofreadController) -> list[Any]:
    return [layer for layer in live.viewer.layers if layer.name.startswith(NAME)]


def shown(live: ProofreadController, qtbot: Any) -> Any:
    qtbot.waitUntil(lambda: len(colours(live)) == 1, timeout=30_000)
    return colours(live)[0]


def test_the_box_is_what_is_in_view(live: ProofreadController, view: ColourView) -> None:
    # 200 x 300 pixels at zoom 2 are 100 x 150 nm: 12 and 19 voxels around (20, 30).
    box = box_in_view(live.viewer, live.segments_layer)
    assert box == Roi((0, 14, 20), (8, 26, 39))
    live.viewer.scene.camera.center = (90, -500, 9000)
    assert box_in_view(live.viewer, live.segments_layer) == Roi((0, 0, 41), (8, 12, 60))
    live.viewer.scene.camera.zoom = 0.001
    assert box_in_view(live.viewer, live.segments_layer) == Roi.of_shape((8, 40, 60))


def test_a_large_view_is_cut_to_its_middle(live: ProofreadController, view: ColourView) -> None:
    class Wide:
        """Segments of a large volume."""

        data = np.broadcast_to(np.uint8(0), (500, 5000, 5000))
        ndim = 3
        scale = np.array([30.0, 8, 8])

        def world_to_data(self, world: Any) -> Any:
            return np.asarray(world) / self.scale

    live.viewer.scene.camera.zoom = 0.001
    live.viewer.scene.camera.center = (90, 16000, 24000)
    box = box_in_view(live.viewer, Wide())  # type: ignore[arg-type]
    assert box.shape == (16, 362, 362)
    assert box.start == (0, 2000 - 181, 3000 - 181)


def test_colours_lie_under_the_segments_in_the_right_place(
    live: ProofreadController, view: ColourView, qtbot: Any
) -> None:
    active = live.viewer.layers.selection.active
    view.button.click()
    assert view.row.isVisible()
    layer = shown(live, qtbot)
    assert layer.rgb
    assert layer.data.shape == (8, 12, 19, 3)
    assert layer.blending == "translucent"
    assert 0 < layer.opacity < 1
    np.testing.assert_allclose(layer.scale, (30, 8, 8))
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), (0, 14 * 8, 20 * 8))
    assert [str(unit) for unit in layer.units] == ["nanometer"] * 3
    # Red is the column, so this voxel is where it says.
    y, x = 3, 4
    assert live.world_to_voxel(layer.data_to_world((2, y, x))) == (
        2,
        layer.data[2, y, x, 1],
        layer.data[2, y, x, 0],
    )
    layers = list(live.viewer.layers)
    assert layers.index(layer) == layers.index(live.segments_layer) - 1
    assert layers.index(live.image_layer) < layers.index(layer)
    assert live.viewer.layers.selection.active is active
    assert facts_of(layer)["overlay"] == NAME
    assert not view.row.isVisible()
    view.button.click()
    assert not colours(live)
    assert not view.near_button.isVisible()


def test_the_next_call_replaces_the_layer_and_keeps_its_looks(
    live: ProofreadController, view: ColourView, qtbot: Any
) -> None:
    view.button.click()
    first = shown(live, qtbot)
    first.opacity = 0.3
    first.visible = False
    live.viewer.scene.camera.center = (90, 100, 120)
    view.near_button.click()
    assert colours(live) == [first], "the old one stays until the new one is there"
    qtbot.waitUntil(lambda: colours(live) != [first] and len(colours(live)) == 1, timeout=30_000)
    (second,) = colours(live)
    assert second.name == NAME
    assert (second.opacity, second.visible) == (0.3, False)
    assert int(second.data[0, 0, 0, 0]) == 15 - 9


def test_cancel_and_errors(
    live: ProofreadController, view: ColourView, qtbot: Any, fake: Callable[[str], None]
) -> None:
    said: list[tuple[str, bool]] = []
    live.message.connect(lambda text, error: said.append((text, error)))
    fake("slow")
    view.button.click()
    qtbot.waitUntil(lambda: view.row.stage.text() == "Patches 1 of 4", timeout=30_000)
    assert view.row.bar.value() == 250
    assert not view.near_button.isEnabled()
    view.row.cancel_button.click()
    assert view.row.stage.text() == "Cancelling ..."
    qtbot.waitUntil(lambda: not view.row.busy, timeout=10_000)
    assert said[-1] == ("Cancelled.", False)
    assert not view.button.isChecked()
    fake("refuse")
    view.button.click()
    qtbot.waitUntil(lambda: not view.row.busy, timeout=30_000)
    assert said[-1] == ("no weights\nExpected: some\nCure: get them", True)
    assert not view.button.isChecked()
    assert not colours(live)


def test_an_error_keeps_the_colours_there_are(
    live: ProofreadController, view: ColourView, qtbot: Any, fake: Callable[[str], None]
) -> None:
    view.button.click()
    layer = shown(live, qtbot)
    fake("refuse")
    view.near_button.click()
    qtbot.waitUntil(lambda: not view.row.busy, timeout=30_000)
    assert colours(live) == [layer]
    assert view.button.isChecked()


def test_three_dimensions_are_refused(live: ProofreadController, view: ColourView) -> None:
    said: list[tuple[str, bool]] = []
    live.message.connect(lambda text, error: said.append((text, error)))
    live.viewer.dims.ndisplay = 3
    view.button.click()
    assert "leave 3D" in said[-1][0]
    assert not view.button.isChecked()
    assert not view.row.busy


def test_the_colours_go_with_the_project_or_the_layer(
    live: ProofreadController, view: ColourView, qtbot: Any, fake: Callable[[str], None]
) -> None:
    view.button.click()
    live.viewer.layers.remove(shown(live, qtbot))
    assert not view.button.isChecked()
    fake("slow")
    view.button.click()
    qtbot.waitUntil(lambda: view.row.stage.text() == "Patches 1 of 4", timeout=30_000)
    live.close_project()
    assert not view.row.busy
    assert not view.button.isChecked()
    assert not view.button.isEnabled()
    assert not colours(live)

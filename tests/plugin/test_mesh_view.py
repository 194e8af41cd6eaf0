"""The selection in 3D: made beside the window, kept until replaced, gone with its reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.plugin import mesh_view
from napari_neuropil.plugin.mesh_view import MeshView, near_box
from napari_neuropil.plugin.proofread_controller import ProofreadController


@pytest.fixture
def view(live: ProofreadController, qtbot: Any) -> MeshView:
    made = MeshView(live)
    qtbot.addWidget(made)
    made.show()
    return made


def surfaces(live: ProofreadController) -> dict[str, Any]:
    return {x.name: x for x in live.viewer.layers if type(x).__name__ == "Surface"}


def wait_for(live: ProofreadController, view: MeshView, qtbot: Any, *names: str) -> None:
    qtbot.waitUntil(lambda: set(surfaces(live)) == set(names) and not view._tasks, timeout=10_000)


def test_selection_becomes_surfaces(live: ProofreadController, view: MeshView, qtbot: Any) -> None:
    live.select([1])
    view.button.click()
    assert live.viewer.dims.ndisplay == 3
    assert not live.segments_layer.visible
    wait_for(live, view, qtbot, "Segment 1")
    mesh = surfaces(live)["Segment 1"]
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    np.testing.assert_allclose(low, [-15, -4, -4])
    np.testing.assert_allclose(high, [7.5 * 30, 19.5 * 8, 37.5 * 8])
    colour = live.segments_layer.get_color(1)
    np.testing.assert_allclose(mesh.colormap.colors[-1], colour, atol=1e-6)
    live.select([1, 3])
    wait_for(live, view, qtbot, "Segment 1", "Segment 3")
    live.select([3])
    wait_for(live, view, qtbot, "Segment 3")
    assert live.viewer.layers.selection.active is live.segments_layer


def test_old_mesh_stays_until_the_new_one_is_there(
    live: ProofreadController, view: MeshView, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.select([4])
    view.button.click()
    wait_for(live, view, qtbot, "Segment 4")
    layer = surfaces(live)["Segment 4"]
    old = layer.vertices
    seen: list[bool] = []
    begin = view._begin

    def begin_and_look(segment: int) -> None:
        begin(segment)
        seen.append(layer in live.viewer.layers and layer.vertices is old)

    monkeypatch.setattr(view, "_begin", begin_and_look)
    live.session.merge(4, 3)
    qtbot.waitUntil(lambda: layer.vertices is not old, timeout=10_000)
    assert seen == [True]
    assert surfaces(live) == {"Segment 4": layer}
    np.testing.assert_allclose(layer.vertices.min(axis=0)[1], -4)


def test_cut_fragment_is_meshed_as_pieces(
    live: ProofreadController, view: MeshView, qtbot: Any
) -> None:
    edit = live.session.split((3, 22, 45), (3, 38, 45))
    assert edit.effect.splits
    for segment in edit.effect.segments:
        live.select([segment])
        if not view.button.isChecked():
            view.button.click()
        wait_for(live, view, qtbot, f"Segment {segment}")
        roi = live.session.segment_roi(segment)
        high = surfaces(live)[f"Segment {segment}"].vertices.max(axis=0)
        np.testing.assert_allclose(high, (np.array(roi.stop) - 0.5) * [30, 8, 8])


def test_leaving_restores_the_window(live: ProofreadController, view: MeshView, qtbot: Any) -> None:
    live.image_layer.visible = False
    live.select([1])
    view.button.click()
    wait_for(live, view, qtbot, "Segment 1")
    live.viewer.dims.ndisplay = 2
    assert not view.button.isChecked()
    assert not surfaces(live)
    assert live.segments_layer.visible
    assert not live.image_layer.visible
    view.button.click()
    live.close_project()
    assert not surfaces(live)
    assert not view.button.isEnabled()


def test_large_segment_is_meshed_near_the_view(
    live: ProofreadController, view: MeshView, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_view, "READ_VOXELS", 900)
    live.jump_to((3, 30, 10), [4])
    view.button.click()
    wait_for(live, view, qtbot, "Segment 4")
    assert view.near_button.isVisibleTo(view)
    assert "Clipped" in view.message.text()
    middle = surfaces(live)["Segment 4"].vertices.mean(axis=0)
    live.viewer.scene.camera.center = (90, 240, 400)
    layer = surfaces(live)["Segment 4"]
    old = layer.vertices
    view.near_button.click()
    qtbot.waitUntil(lambda: layer.vertices is not old, timeout=10_000)
    assert layer.vertices.mean(axis=0)[2] > middle[2] + 100


def test_box_near_the_view_is_a_cube_in_nm() -> None:
    whole = Roi((0, 0, 0), (100, 1000, 1000))
    size = VoxelSize(30, 6, 6)
    assert near_box(whole, (50, 500, 500), size, 10**9) == whole
    near = near_box(whole, (50, 500, 500), size, 200_000)
    assert 100_000 < near.size <= 200_000
    edges = [n * v for n, v in zip(near.shape, size, strict=True)]
    assert max(edges) - min(edges) <= 30
    corner = near_box(whole, (0, 999, 0), size, 200_000)
    assert corner.shape == near.shape
    assert (corner.start[0], corner.stop[1], corner.start[2]) == (0, 1000, 0)
    thin = near_box(Roi((5, 0, 0), (6, 4000, 4000)), (5, 10, 3990), size, 10_000)
    assert thin.start[0] == 5
    assert thin.stop[2] == 4000

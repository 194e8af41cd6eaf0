"""The dock's controller on a viewer without a window: project, selection, modes, proposals, edits.

Real windows, clicks and keys: test_proofread_widget.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.geometry import Roi
from napari_neuropil.plugin.layers import LayerArray, facts_of
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.plugin.reader import read_layers
from napari_neuropil.proofreading import ProofreadingSession

IN_1, IN_2, IN_3 = (3, 5, 5), (3, 5, 25), (3, 5, 50)
IN_4, IN_5, IN_6 = (3, 30, 5), (3, 30, 25), (3, 30, 50)


@pytest.fixture
def viewer(qtbot: Any) -> Any:
    """Return napari's model of a viewer: everything but the canvas, in milliseconds."""
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def controller(viewer: Any) -> Iterator[ProofreadController]:
    made = ProofreadController(viewer)
    yield made
    made.disconnect_viewer()


@pytest.fixture
def live(controller: ProofreadController, brain: Path, qtbot: Any) -> ProofreadController:
    """Return the controller with the project open."""
    with qtbot.waitSignal(controller.session_changed, timeout=20_000):
        controller.open_project(brain)
    return controller


def proposed(controller: ProofreadController, qtbot: Any) -> Any:
    qtbot.waitUntil(
        lambda: controller.proposal is not None and controller.proposal_exact, timeout=10_000
    )
    return controller.proposal


def overlay(viewer: Any, name: str) -> Any:
    (layer,) = [x for x in viewer.layers if facts_of(x).get("overlay") == name]
    return layer


def test_no_layer_before_a_project(viewer: Any, controller: ProofreadController) -> None:
    assert not viewer.layers
    assert not controller.editable
    controller.begin_mode("merge")
    assert controller.mode == ""


@pytest.mark.parametrize(("section", "expected"), [(25, 3), (6, 6)])
def test_a_view_outside_the_project_moves_into_it(
    viewer: Any, controller: ProofreadController, brain: Path, qtbot: Any, section: int,
    expected: int,
) -> None:  # fmt: skip
    # An image of 40 sections, of which the project has 8: napari begins in the image's middle.
    viewer.add_image(np.zeros((40, 4, 4), np.uint8), scale=(30, 8, 8), units=("nm",) * 3)
    viewer.dims.set_point(0, section * 30)
    with qtbot.waitSignal(controller.session_changed, timeout=20_000):
        controller.open_project(brain)
    assert viewer.dims.point[0] == expected * 30


def test_open_shows_image_and_live_segments(viewer: Any, live: ProofreadController) -> None:
    assert [layer.name for layer in viewer.layers] == ["brain", "brain segments"]
    layer = live.segments_layer
    assert isinstance(layer.data, LayerArray)
    assert layer.data.dtype == np.uint64
    np.testing.assert_allclose(layer.scale, (30, 8, 8))
    assert live.image_layer is viewer.layers[0]
    assert viewer.layers.selection.active is layer
    assert int(layer.data[IN_1]) == 1
    assert int(layer.data[IN_5]) == 4
    assert live.world_to_voxel((90, 40, 200)) == (3, 5, 25)
    assert live.voxel_to_world((3, 5, 25)) == (90, 40, 200)
    assert live.world_to_voxel((90, -40, 200)) is None


def test_open_takes_over_the_layer_that_is_there(
    viewer: Any, controller: ProofreadController, brain: Path, qtbot: Any
) -> None:
    for data, attributes, kind in read_layers(brain):
        getattr(viewer, f"add_{kind}")(data, **attributes)
    before = list(viewer.layers)
    with qtbot.waitSignal(controller.session_changed, timeout=20_000):
        controller.open_project(brain)
    assert list(viewer.layers) == before
    assert controller.session is not None
    controller.session.merge(1, 3)
    assert int(before[1].data[IN_3]) == 1


def test_opening_nonsense_is_an_error_message(
    controller: ProofreadController, tmp_path: Path, qtbot: Any
) -> None:
    said: list[tuple[str, bool]] = []
    controller.message.connect(lambda text, error: said.append((text, error)))
    controller.open_project(tmp_path)
    qtbot.waitUntil(lambda: not controller.opening, timeout=20_000)
    assert controller.session is None
    text, error = said[-1]
    assert error
    assert "is no project" in text


def test_second_opener_may_look_only(
    controller: ProofreadController, brain: Path, qtbot: Any
) -> None:
    with ProofreadingSession.open(brain):
        with qtbot.waitSignal(controller.session_changed, timeout=20_000):
            controller.open_project(brain)
        assert controller.session is not None
        assert controller.session.read_only
        assert not controller.editable
        controller.begin_mode("merge")
        assert controller.mode == ""
        controller.undo()
        assert not controller.session.edits


def test_closing_while_opening_leaves_the_project_free(
    controller: ProofreadController, brain: Path, qtbot: Any
) -> None:
    controller.open_project(brain)
    controller.close_project()
    qtbot.waitUntil(lambda: not controller.opening, timeout=20_000)
    assert controller.session is None
    with ProofreadingSession.open(brain) as other:
        assert not other.read_only


def test_merge_by_two_clicks_and_enter(viewer: Any, live: ProofreadController, qtbot: Any) -> None:
    live.begin_mode("merge")
    live.click(IN_2)
    assert live.proposal is None
    live.click(IN_3)
    proposal = proposed(live, qtbot)
    assert live.session is not None
    assert not live.session.edits
    preview = overlay(viewer, "Proposed edit")
    assert int(preview.data[IN_1]) == int(preview.data[IN_2]) == 1
    assert int(preview.data[IN_3]) == 2
    assert int(preview.data[IN_4]) == 0
    mark = overlay(viewer, "Contact")
    np.testing.assert_allclose(mark.data[0], proposal.position)
    assert live.proposal_text.splitlines()[0] == "Segments 1 and 3 become"
    assert "1: 9 120 voxels, 0.0175 µm³" in live.proposal_text
    assert "Contact: score 0.90, 160 faces" in live.proposal_text
    live.commit()
    (edit,) = live.session.edits
    assert edit.kind == "merge"
    assert edit.seconds is not None
    assert 0 <= edit.seconds < 60
    assert int(live.segments_layer.data[IN_3]) == 1
    assert live.mode == "merge"
    assert live.proposal is None
    assert not preview.visible
    assert not mark.visible
    assert live.selected == [1]


def test_merge_along_several(live: ProofreadController, qtbot: Any) -> None:
    live.begin_mode("merge")
    for point in (IN_1, IN_3, IN_4):
        live.click(point)
    qtbot.waitUntil(
        lambda: live.proposal is not None and len(live.proposal.sides) == 3, timeout=10_000
    )
    live.commit()
    assert live.session is not None
    assert len(live.session.segment_ids()) == 1


def test_split_by_seeds(viewer: Any, live: ProofreadController, qtbot: Any) -> None:
    live.begin_mode("split")
    live.click(IN_1)
    live.press_mode("split")
    live.click(IN_2)
    proposed(live, qtbot)
    preview = overlay(viewer, "Proposed edit")
    assert int(preview.data[IN_1]) == 1
    assert int(preview.data[IN_2]) == 2
    red, blue = (layer for layer in viewer.layers if layer.name.startswith("Seeds"))
    np.testing.assert_allclose(red.data, [IN_1])
    np.testing.assert_allclose(blue.data, [IN_2])
    live.layers.seeds.swap()
    np.testing.assert_allclose(red.data, [IN_2])
    qtbot.waitUntil(lambda: int(preview.data[IN_2]) == 1, timeout=10_000)
    proposed(live, qtbot)
    live.commit()
    assert live.session is not None
    assert live.session.segment_at(IN_1) != live.session.segment_at(IN_2)


def test_seeds_stay_for_an_undone_split_and_give_way_to_new_ones(
    viewer: Any, live: ProofreadController, qtbot: Any
) -> None:
    live.begin_mode("split")
    live.click(IN_1)
    live.press_mode("split")
    live.click(IN_2)
    proposed(live, qtbot)
    live.commit()
    seeds = live.layers.seeds
    assert seeds.spent
    assert len(seeds.points("red")) == 1
    assert live.proposal is None
    live.undo()
    assert not seeds.spent
    proposed(live, qtbot)
    live.commit()
    live.click(IN_4)
    assert seeds.points("red") == ()
    assert seeds.points("blue") == (IN_4,)


def test_split_inside_one_fragment_is_previewed(
    viewer: Any, live: ProofreadController, qtbot: Any
) -> None:
    live.begin_mode("split")
    live.layers.seeds.add([(3, 3, 42), (4, 10, 42)])
    live.press_mode("split")
    live.layers.seeds.add([(3, 16, 54)])
    proposed(live, qtbot)
    preview = overlay(viewer, "Proposed edit")
    assert int(preview.data[3, 3, 42]) == 1
    assert int(preview.data[3, 16, 54]) == 2
    assert int(live.segments_layer.data[3, 16, 54]) == 3
    live.commit()
    assert int(live.segments_layer.data[3, 3, 42]) != int(live.segments_layer.data[3, 16, 54])
    live.undo()
    assert int(live.segments_layer.data[3, 3, 42]) == int(live.segments_layer.data[3, 16, 54]) == 3


@pytest.mark.parametrize(
    ("mode", "clicks", "there", "after"),
    [
        ("detach", [IN_5], (IN_4, IN_5, IN_6), [4, "new", 4]),
        ("isolate", [IN_5], (IN_4, IN_5, IN_6), [4, "new", "newer"]),
        ("assign", [IN_3, IN_2], (IN_1, IN_2, IN_3), [1, 3, 3]),
        ("delete", [IN_3], (IN_1, IN_3), [1, 0]),
    ],
)
def test_one_shot_modes_end_with_their_edit(
    live: ProofreadController, qtbot: Any, mode: str, clicks: Any, there: Any, after: list[Any]
) -> None:
    assert live.session is not None
    live.begin_mode(mode)
    for point in clicks:
        live.click(point)
    proposed(live, qtbot)
    assert not live.session.edits
    live.commit()
    assert live.mode == ""
    found = [live.session.segment_at(point) for point in there]
    names = {0: 0, 1: 1, 3: 3, 4: 4}
    for segment in found:
        names.setdefault(segment, "newer" if "new" in names.values() else "new")
    assert [names[segment] for segment in found] == after


def test_leaving_changes_nothing(viewer: Any, live: ProofreadController, qtbot: Any) -> None:
    live.begin_mode("delete")
    live.click(IN_3)
    proposed(live, qtbot)
    live.leave_mode()
    live.commit()
    assert live.session is not None
    assert not live.session.edits
    assert not overlay(viewer, "Proposed edit").visible


def test_refusals_come_with_a_way_on(live: ProofreadController, qtbot: Any) -> None:
    assert live.session is not None
    live.session.annotate(3, status="done")
    refused: list[Any] = []
    live.refused.connect(lambda error, forced: refused.append((error, forced)))
    live.begin_mode("merge")
    live.click(IN_2)
    live.click(IN_3)
    qtbot.waitUntil(lambda: bool(refused), timeout=10_000)
    error, forced = refused[0]
    assert isinstance(error, EditRejectedError)
    assert "marked done" in str(error)
    assert live.proposal is None
    forced()
    proposed(live, qtbot)
    live.commit()
    assert len(live.session.edits) == 1
    live.run(lambda: live.session.merge(1, 1))  # type: ignore[union-attr]
    assert refused[-1][1] is None


def test_run_offers_force_only_where_it_would_help(live: ProofreadController) -> None:
    session = live.session
    assert session is not None
    session.annotate(3, status="done")
    refused: list[Any] = []
    done: list[Any] = []
    live.refused.connect(lambda error, forced: refused.append(forced))
    live.run(lambda: session.merge(1, 3), lambda: session.merge(1, 3, force=True), done.append)
    assert not done
    refused[0]()
    assert done == [session.edits[-1]]


def test_an_edit_waits_while_a_proposal_is_worked_out(
    live: ProofreadController, qtbot: Any
) -> None:
    live.begin_mode("merge")
    live.click(IN_2)
    live.click(IN_3)
    assert live.working
    done: list[Any] = []
    live.run(lambda: live.session.merge(1, 4), None, done.append)  # type: ignore[union-attr]
    assert not done
    qtbot.waitUntil(lambda: bool(done), timeout=10_000)
    assert live.session.segment_at(IN_4) == live.session.segment_at(IN_1)  # type: ignore[union-attr]
    assert live.proposal is None
    assert live.wish.picks == ()


def test_selection_is_outlined_and_others_can_be_hidden(
    viewer: Any, live: ProofreadController
) -> None:
    live.click(IN_3)
    assert live.selected == [3]
    assert live.segments_layer.selected_label == 3
    outline = overlay(viewer, "Selection")
    assert outline.contour == 2
    assert int(outline.data[IN_3]) == 1
    assert int(outline.data[IN_1]) == 0
    live.click(IN_1, extend=True)
    assert live.selected == [3, 1]
    live.click(IN_3, extend=True)
    assert live.selected == [1]
    colour = live.segments_layer.get_color(1)
    live.toggle_others("hidden")
    assert live.segments_layer.opacity == 0
    assert live.segments_layer.visible
    assert outline.contour == 0
    np.testing.assert_allclose(outline.get_color(1), colour, atol=1e-6)
    live.toggle_others("dimmed")
    assert 0 < live.segments_layer.opacity < 0.3
    live.toggle_others("dimmed")
    assert live.segments_layer.opacity == pytest.approx(0.7)


def test_colours_are_stable_under_edits(live: ProofreadController) -> None:
    before = {s: live.segments_layer.get_color(s).tolist() for s in (1, 4)}
    live.session.merge(1, 3)  # type: ignore[union-attr]
    assert {s: live.segments_layer.get_color(s).tolist() for s in (1, 4)} == before


def test_jump_centres_section_and_camera(viewer: Any, live: ProofreadController) -> None:
    live.jump_to((6, 30, 50), [4])
    assert viewer.dims.point[0] == pytest.approx(180)
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], (240, 400))
    assert live.selected == [4]
    live.select([3])
    live.jump_to_selected()
    assert live.session is not None
    point = live.world_to_voxel((viewer.dims.point[0], *viewer.scene.camera.center[-2:]))
    assert point is not None
    assert live.session.segment_at(point) == 3


def test_reopening_resumes_the_view(
    viewer: Any, live: ProofreadController, brain: Path, qtbot: Any
) -> None:
    live.jump_to((6, 30, 50))
    viewer.scene.camera.zoom = 1.75
    live.close_project()
    viewer.dims.set_point(0, 0)
    viewer.scene.camera.zoom = 0.3
    with qtbot.waitSignal(live.session_changed, timeout=20_000):
        live.open_project(brain)
    assert viewer.dims.point[0] == pytest.approx(180)
    assert viewer.scene.camera.zoom == pytest.approx(1.75)
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], (240, 400))


def test_edits_survive_reopening(live: ProofreadController, brain: Path, qtbot: Any) -> None:
    live.session.merge(1, 3)  # type: ignore[union-attr]
    live.close_project()
    with qtbot.waitSignal(live.session_changed, timeout=20_000):
        live.open_project(brain)
    assert int(live.segments_layer.data[IN_3]) == 1
    live.undo()
    assert int(live.segments_layer.data[IN_3]) == 3


def test_ray_meets_the_first_drawn_segment(viewer: Any, live: ProofreadController) -> None:
    viewer.dims.ndisplay = 3
    start, direction = np.array([-900.0, 40, 200]), np.array([1.0, 0, 0])
    assert live.layers.voxel_on_ray(start, direction, [0, 1, 2]) == (0, 5, 25)
    across = np.array([90.0, 40, 900])
    assert live.layers.voxel_on_ray(across, np.array([0, 0, -1.0]), [0, 1, 2]) == (3, 5, 56)
    live.select([1])
    live.toggle_others("hidden")
    found = live.layers.voxel_on_ray(across, np.array([0, 0, -1.0]), [0, 1, 2])
    assert found == (3, 5, 37)


def test_removing_the_layer_closes_the_project(
    viewer: Any, live: ProofreadController, brain: Path, qtbot: Any
) -> None:
    live.click(IN_3)
    viewer.layers.remove(live.segments_layer)
    assert live.session is None
    assert [layer.name for layer in viewer.layers] == ["brain"]
    with ProofreadingSession.open(brain) as other:
        assert not other.read_only


def test_a_refused_edit_in_between_leaves_the_preview(
    live: ProofreadController, qtbot: Any
) -> None:
    live.begin_mode("merge")
    live.click(IN_2)
    live.click(IN_3)
    assert live.working
    live.run(lambda: live.session.merge(4, 4))  # type: ignore[union-attr]
    proposed(live, qtbot)
    assert live.wish.picks


def test_only_edits_on_the_section_are_drawn(viewer: Any, live: ProofreadController) -> None:
    drawn: list[int] = []
    deltas: list[Any] = []
    live.edited.connect(deltas.append)
    viewer.dims.set_point(0, 90)
    live.segments_layer.events.set_data.connect(lambda _e: drawn.append(1))
    live.session.merge(1, 3)  # type: ignore[union-attr]
    assert drawn == [1]
    live.refresh_layers(replace(deltas[0], roi=Roi((6, 0, 0), (8, 20, 20))))
    assert drawn == [1]
    live.refresh_layers(replace(deltas[0], roi=Roi((2, 0, 0), (4, 20, 20))))
    assert drawn == [1, 1]


def test_no_outline_in_3d(viewer: Any, live: ProofreadController) -> None:
    live.click(IN_3)
    viewer.dims.ndisplay = 3
    outline = overlay(viewer, "Selection")
    assert not outline.visible
    live.toggle_others("hidden")
    assert outline.visible
    assert outline.contour == 0
    live.toggle_others("hidden")
    assert not outline.visible
    viewer.dims.ndisplay = 2
    assert outline.visible
    assert outline.contour == 2

"""micro_sam's trainer on our examples: places, what learns, and going on where it stopped."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_neuropil.errors import SettingsError
from napari_neuropil.training.learning_part import LearningPart
from napari_neuropil.training.micro_sam_view import (
    ShownPatch,
    ShowPatches,
    TrainableNetwork,
    has_prompts,
)
from napari_neuropil.training.sam_patches import SamPatch, SamPatchSettings, choose_objects
from napari_neuropil.training.sam_tuning import tune_network
from napari_neuropil.training.section_objects import find_objects
from napari_neuropil.training.trainer import OptimiserSettings
from napari_neuropil.training.tuning_examples import TuningSettings
from napari_neuropil.training.tuning_tiles import TuningTile, cut_tiles

_CPU = torch.device("cpu")
Discs = Callable[[int], tuple[np.ndarray, np.ndarray]]


def _two_greys(finest: int) -> SamPatch:
    """Return a wide example with a bright object above right, and a dark one below left."""
    image, parts = np.full((48, 64), 0.5, np.float32), np.zeros((48, 64), np.int64)
    image[4:20, 40:60], parts[4:20, 40:60] = 1.0, 1
    image[28:44, 4:16], parts[28:44, 4:16] = 0.0, 2
    settings = SamPatchSettings(objects=2, finest=finest)
    return choose_objects(image, parts, settings, np.random.default_rng(0))


def _answer(network: Any, patch: SamPatch, prompts: Mapping[str, Tensor], **more: Any) -> Any:
    model = TrainableNetwork(LearningPart(network, "all"), _CPU)
    views, inputs = model.image_embeddings_oft([{"patch": patch, **prompts}])
    (answer,) = model(inputs, views, **more)
    return answer


@pytest.mark.parametrize(("finest", "step"), [(64, 1), (32, 2)])
@pytest.mark.parametrize("enlarges", [False, True])
def test_places_have_x_first_and_lie_on_the_labels(
    grey_oracle: Callable[..., Any], finest: int, step: int, enlarges: bool
) -> None:
    network = grey_oracle(128, 2, enlarges=enlarges)
    patch = _two_greys(finest)
    assert patch.step == step
    wanted = [torch.from_numpy(patch.objects == n) for n in (1, 2)]
    # The oracle answers with all pixels of the grey value under the first point or the middle.
    middles, boxes = [], []
    for mask in wanted:
        ys, xs = mask.nonzero().unbind(1)
        middles.append([[int(xs.float().mean()), int(ys.float().mean())]])
        boxes.append([int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1])
    signs = torch.ones(2, 1, dtype=torch.int64)
    for prompts in (
        {"point_coords": torch.tensor(middles), "point_labels": signs},
        {"boxes": torch.tensor(boxes)},
    ):
        answer = _answer(network, patch, prompts, multimask_output=True)
        assert answer["masks"].shape == (2, 3, *patch.objects.shape)
        assert answer["iou_predictions"].shape == (2, 3)
        for mask, own in zip(wanted, answer["masks"], strict=True):
            found = own[0] > 0
            # Enlarged, its edges are soft, and the oracle takes nearly the same grey only.
            assert (found & mask).sum() / (found | mask).sum() > 0.7


def test_the_mask_so_far_is_a_prompt(tiny_sam: Any) -> None:
    patch = _two_greys(64)
    prompts = {"boxes": torch.tensor([[40, 4, 60, 20], [4, 28, 16, 44]])}
    first = _answer(tiny_sam, patch, prompts)
    assert first["masks"].shape == (2, 1, 48, 64)
    _answer(tiny_sam, patch, {**prompts, "mask_inputs": first["low_res_masks"]})
    heard, multimask = tiny_sam.heard[-1]
    assert not multimask
    assert torch.allclose(heard.masks, first["low_res_masks"])


def test_an_example_is_kept_with_its_prompts() -> None:
    patch = _two_greys(64)
    heard: list[Any] = []

    def convert(images: Tensor, labels: Tensor, *prompts: Any, **more: Any) -> Any:
        heard.append((images.shape, np.unique(labels).tolist(), prompts, more))
        return [{"original_size": images.shape[2:]}], [[1, 2]]

    shown = ShownPatch(patch)
    inputs, objects = ShowPatches(convert)(shown, shown.labels(), 1, 0, n_samples=3)
    assert heard == [((1, 1, 48, 64), [0, 1, 2], (1, 0), {"n_samples": 3})]
    assert inputs[0]["patch"] is patch
    assert objects == [[1, 2]]
    # The trainer warns of images that look normalised.
    assert (shown.min(), shown.max()) == (0, 255)


def test_only_objects_with_something_around_them_are_shown() -> None:
    settings, rng = SamPatchSettings(), np.random.default_rng(0)
    grey = np.zeros((8, 8), np.float32)
    assert has_prompts(_two_greys(64))
    assert not has_prompts(choose_objects(grey, np.ones((8, 8), np.int64), settings, rng))
    assert not has_prompts(choose_objects(grey, np.zeros((8, 8), np.int64), settings, rng))


def _tiles(draw_discs: Discs, *seeds: int) -> list[TuningTile]:
    objects = [o for s in seeds for o in find_objects(draw_discs(s)[1], s, range(1, 5))]
    return cut_tiles(objects, lambda z: draw_discs(z)[0], 64)


def _settings(steps: int, stop_at: int | None = None, parts: str = "decoder") -> TuningSettings:
    run = OptimiserSettings(
        steps=steps, stop_at=stop_at, learning_rate=1e-2, save_every=2, validate_every=4
    )
    prompts = SamPatchSettings(objects=4, mask_share=0.5)
    return TuningSettings(trainer="micro_sam", parts=parts, prompts=prompts, optimiser=run)


@pytest.fixture
def _micro_sam() -> None:
    """Skip where it is absent."""
    pytest.importorskip("micro_sam", reason="micro_sam is not installed")


@pytest.mark.usefixtures("_micro_sam")
def test_its_trainer_learns(tiny_sam: Any, draw_discs: Discs, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_sam.state_dict().items()}
    told: list[tuple[int, dict[str, float]]] = []
    numbers, own = np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    state, spec = tune_network(
        tiny_sam, _tiles(draw_discs, 1, 2, 3), _tiles(draw_discs, 8), _settings(40),
        tmp_path, _CPU, lambda step, terms: told.append((step, dict(terms))),
    )  # fmt: skip
    assert [step for step, _ in told] == list(range(40))
    assert {name for _, terms in told for name in terms} == {"mask", "score"}
    changed = {n for n, t in tiny_sam.state_dict().items() if not torch.equal(t, before[n])}
    assert {name.partition(".")[0] for name in changed} == {"mask_decoder", "masks", "scores"}
    assert set(state) == changed
    assert spec.steps == 40
    assert not tiny_sam.training
    rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert rows[0] == ["step", "seconds", "mask", "score", "validation"]
    assert [int(row[0]) for row in rows[1:]] == list(range(4, 41, 4))
    # Held-out discs are found better and better; the network began with noise.
    assert float(rows[-1][-1]) < float(rows[1][-1]) - 0.1
    # No pickle of its own, and the generators of the caller are where they were.
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", "log.csv"}
    torch.load(tmp_path / "state.pt", weights_only=True)
    assert (np.random.get_state()[1] == numbers).all()  # type: ignore[index]
    assert random.getstate() == own


@pytest.mark.usefixtures("_micro_sam")
@pytest.mark.parametrize("parts", ["decoder", "all"])
def test_it_goes_on_where_it_stopped(
    make_tiny_sam: Callable[[], Any], draw_discs: Discs, tmp_path: Path, parts: str
) -> None:
    tiles, held_out = _tiles(draw_discs, 1, 2), _tiles(draw_discs, 8)
    found = []
    for stops in ([None], [6, None]):
        folder = tmp_path / str(len(stops))
        for stop_at in stops:
            state, _ = tune_network(
                make_tiny_sam(), tiles, held_out, _settings(10, stop_at, parts), folder, _CPU
            )
        found.append(state)
    for name, tensor in found[0].items():
        assert torch.allclose(tensor, found[1][name], atol=1e-5), name
    # Done is done: nothing more is learned.
    again, _ = tune_network(
        make_tiny_sam(), tiles, held_out, _settings(10, None, parts), tmp_path / "2", _CPU
    )
    assert all(torch.equal(tensor, again[name]) for name, tensor in found[1].items())


@pytest.mark.usefixtures("_micro_sam")
def test_who_reports_may_print(
    tiny_sam: Any, draw_discs: Discs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def tell(step: int, _terms: Mapping[str, float]) -> None:
        sys.stdout.write(f"step {step}\n")

    tune_network(tiny_sam, _tiles(draw_discs, 1), [], _settings(2), tmp_path, _CPU, tell)
    assert capsys.readouterr().out == "step 0\nstep 1\n"


@pytest.mark.usefixtures("_micro_sam")
def test_what_it_cannot_prompt_is_said(tiny_sam: Any, tmp_path: Path) -> None:
    full = TuningTile(0, np.full((64, 64), 99, np.uint8), np.ones((64, 64), np.int64))
    with pytest.raises(SettingsError, match="something else around"):
        tune_network(tiny_sam, [full], [], _settings(2), tmp_path, _CPU)

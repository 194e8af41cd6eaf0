"""A fine-tuning from files to file: what is held out, what is refused, what goes on."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_neuropil.errors import OutputError, SettingsError
from napari_neuropil.networks.tuned_part import load_tuned
from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.prompts.sam_networks import open_network
from napari_neuropil.prompts.segmenters import open_segmenter
from napari_neuropil.training import gate
from napari_neuropil.workflows.requests import Progress
from napari_neuropil.workflows.tuning import tune as tuning
from napari_neuropil.workflows.tuning.prepare import prepare_tuning
from napari_neuropil.workflows.tuning.requests import TunePlan, TuneRequest
from napari_neuropil.workflows.tuning.tune import plan_tuning, tune

Make = Callable[..., TuneRequest]


def _state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _accept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every network through, so that a few steps give a file."""
    judge = gate.judge
    monkeypatch.setattr(
        gate, "judge", lambda *args: replace(judge(*args), accepted=True, verdict="better")
    )


def test_a_better_network_is_written(request_for: Make, base: Path, discs: Any) -> None:
    request = request_for(steps=30, learning_rate=1e-2)
    told: list[Progress] = []
    plans: list[TunePlan] = []

    def planned(plan: TunePlan) -> None:
        assert not [item for item in told if item.stage in ("before", "train")]
        plans.append(plan)

    found = tune(request, report=told.append, planned=planned)
    assert found.accepted, found.reason
    assert found.low > 0
    assert found.checkpoint == request.out
    assert found.after["point"] > found.before["point"]
    (plan,) = plans
    # Of 48 discs a fifth are 10, so three sections; the one before them is the gap.
    assert plan.held_out_sections == (9, 10, 11)
    assert plan.training_sections == tuple(range(8))
    assert (plan.held_out_objects, plan.training_objects, plan.left_out) == (12, 32, 4)
    assert found.objects == 12

    curve = [item for item in told if item.stage == "held-out"]
    assert [item.done for item in curve] == list(range(6, 31, 6))
    assert curve[-1].values["held_out"] > curve[0].values["held_out"]
    assert {"mask", "pixels", "score"} < set(curve[0].values)
    assert len([item for item in told if item.stage == "train"]) == 30

    _, spec = load_tuned(Path(request.out))
    assert spec.base_name == str(base.resolve())
    assert spec.base == open_network(base).network.fingerprint() == plan.base_fingerprint
    assert spec.metrics["held-out point IoU"] == pytest.approx(found.after["point"])
    assert spec.training_data[0] == (
        "i.zarr: 32 corrected cross-sections of 4 segments, sections 0-7"
    )
    # It opens like any segmenter, and answers as it did when it was measured.
    opened = open_segmenter(request.out)
    embedding = opened.embed(discs.grey[10])
    item = next(o for o in prepare_tuning(request.model_copy(update={"overwrite": True}))
                .split.held_out if o.z == 10)  # fmt: skip
    y, x = (item.box[0] + item.box[2]) / 2, (item.box[1] + item.box[3]) / 2
    prompt = Prompt(points=np.array([[y, x]], np.float32), positive=np.ones(1, bool))
    masks = [s.masks(embedding, [prompt])[0].mask for s in (opened, open_segmenter(base))]
    assert opened.fingerprint == open_segmenter(base).fingerprint  # embeddings stay valid
    assert (masks[0] != masks[1]).any()
    with pytest.raises(OutputError, match="exists"):
        plan_tuning(request)


def test_a_network_that_is_not_better_is_not_used(request_for: Make) -> None:
    request = request_for(steps=1, learning_rate=1e-9)
    out = Path(request.out)
    found = tune(request)
    assert not found.accepted
    assert found.checkpoint is None
    assert found.verdict == "no clear gain"
    assert "not used" in found.reason
    assert found.before == pytest.approx(found.after, abs=1e-3)
    assert [path.name for path in out.parent.iterdir()] == ["tuned.run"]
    # Nor does it replace one that was accepted before.
    out.write_bytes(b"earlier")
    assert not tune(request.model_copy(update={"overwrite": True})).accepted
    assert out.read_bytes() == b"earlier"


def test_too_few_held_out_objects_prove_nothing(request_for: Make) -> None:
    found = tune(request_for(segments="1", steps=1))
    assert found.objects == 3
    assert (found.accepted, found.verdict) == (False, "too few objects")


def test_what_was_stopped_goes_on(
    request_for: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _accept(monkeypatch)
    whole = request_for(steps=8, learning_rate=1e-3, out=str(tmp_path / "whole.safetensors"))
    tune(whole)

    def stop(progress: Progress) -> None:
        if progress.stage == "train" and progress.done == 6:
            raise KeyboardInterrupt

    request = whole.model_copy(update={"out": str(tmp_path / "parts.safetensors")})
    with pytest.raises(KeyboardInterrupt):
        tune(request, report=stop)
    assert not Path(request.out).exists()
    told: list[Progress] = []
    plans: list[TunePlan] = []
    found = tune(request, report=told.append, planned=plans.append)
    assert plans[0].done_steps == 5
    assert [item.done for item in told if item.stage == "train"] == [6, 7, 8]
    # The curve is told from its beginning, each point once.
    assert [item.done for item in told if item.stage == "held-out"] == [2, 4, 6, 8]
    assert found.steps == 8
    first, second = (load_tuned(Path(r.out))[0] for r in (whole, request))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-5, rtol=1e-4)


def test_a_folder_of_another_run_is_not_mixed_up(request_for: Make) -> None:
    request = request_for(steps=2)
    tune(request)
    folder = Path(request.out).with_suffix(".run")
    other = request.model_copy(update={"segments": "1-3"})
    assert plan_tuning(other).done_steps == 0
    with pytest.raises(SettingsError, match="holds a run"):
        tune(other)
    assert plan_tuning(request).done_steps == 2
    tune(other.model_copy(update={"overwrite": True}))
    assert plan_tuning(other).done_steps == 2
    with (folder / "log.csv").open() as file:
        assert [row[0] for row in csv.reader(file)] == ["step", "2"]


def test_time_ends_a_run_at_a_whole_state(
    request_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    _accept(monkeypatch)
    request = request_for(steps=30, learning_rate=1e-3, minutes=1e-6)
    found = tune(request)
    assert found.steps == 3
    state, spec = load_tuned(Path(request.out))
    assert spec.steps == 3
    kept = torch.load(Path(request.out).with_suffix(".run") / "state.pt", weights_only=True)
    for name, tensor in state.items():
        assert torch.equal(tensor, kept["average"][f"learning.{name.replace('.', '/')}"])


@pytest.mark.parametrize("parts", ["lora", "all"])
def test_the_encoder_learns_too(
    request_for: Make, base: Path, discs: Any, monkeypatch: pytest.MonkeyPatch, parts: str
) -> None:
    _accept(monkeypatch)
    networks: list[Any] = []
    learn = tuning._learn

    def keep(*args: Any) -> Any:
        networks.append(learn(*args))
        return networks[-1]

    monkeypatch.setattr(tuning, "_learn", keep)
    request = request_for(steps=2, learning_rate=1e-3, parts=parts, cache_dir=None)
    found = tune(request)
    tuned, plain = open_network(request.out).network, open_network(base).network
    assert tuned.fingerprint() != plain.fingerprint()
    for name, tensor in _state(networks[0].network).items():
        assert torch.equal(tuned.state_dict()[name], tensor), name
    # It was measured with its own embeddings: the same comes out of the file.
    prepared = prepare_tuning(request.model_copy(update={"overwrite": True}))
    embeddings = tuning._embeddings(tuned, prepared)
    again = tuning._score("again", embeddings, prepared.split.held_out, prepared, lambda _p: None)
    assert {k: float(v.mean()) for k, v in again.items()} == pytest.approx(found.after)


def test_unchecked_masks_join_the_training_alone(
    request_for: Make, discs: Any, tmp_path: Path
) -> None:
    guessed = np.zeros_like(discs.ids)
    guessed[:, 0:6, 58:64] = 7  # in a free corner, in every section
    guessed[discs.ids == 2] = 8  # and over corrected ones
    np.save(tmp_path / "guessed.npy", guessed)
    for held_out in ("sections", "segments"):
        plain = prepare_tuning(request_for(held_out=held_out))
        request = request_for(
            held_out=held_out, pseudo_labels=str(tmp_path / "guessed.npy"), pseudo_weight=0.25
        )
        prepared = prepare_tuning(request)
        split, plan = prepared.split, prepared.plan
        # What is measured on is the same as without them.
        assert not any(item.pseudo for item in split.held_out)
        places = [[(o.segment, o.z, o.box) for o in p.split.held_out] for p in (plain, prepared)]
        assert places[0] == places[1]
        for one, other in zip(plain.curve_tiles, prepared.curve_tiles, strict=True):
            np.testing.assert_array_equal(one.parts, other.parts)
            assert other.weight == 1
        # In training they lie in tiles of their own, which are drawn less often.
        pseudo = [item for item in split.training if item.pseudo]
        assert {item.segment for item in pseudo} == {-7}
        assert {tile.weight for tile in prepared.tiles} == {1, 0.25}
        for tile in prepared.tiles:
            marked = guessed[tile.z] == 7
            assert (tile.weight < 1) == bool((tile.parts[marked] > 0).any())
            assert not ((tile.parts > 0) & ~marked).any() or tile.weight == 1
        if held_out == "sections":
            assert max(item.z for item in pseudo) < min(plan.held_out_sections)
            assert plan.left_out == 4 + 4 + 12  # the gap, pseudo from there on, covered
        assert plan.pseudo_objects == len(pseudo)
        assert any("nobody checked" in notice for notice in plan.notices)


def test_weights_are_how_often_tiles_are_drawn(request_for: Make, discs: Any) -> None:
    from napari_neuropil.training.tuning_examples import TuningSampler

    prepared = prepare_tuning(request_for(pseudo="4", pseudo_weight=0.2))
    sampler = TuningSampler(prepared.tiles, prepared.settings)
    drawn = [sampler.draw(step).count for step in range(400)]
    # Three corrected discs a tile against one unchecked: 0.2 / 3.2 of the draws.
    assert {1, 3} == set(drawn)
    assert drawn.count(1) / 400 == pytest.approx(0.2 / 3.2, abs=0.04)


def test_held_out_segments(request_for: Make) -> None:
    plan = plan_tuning(request_for(held_out="segments"))
    assert len(plan.held_out_segments) == 1
    assert not set(plan.held_out_segments) & set(plan.training_segments)
    assert plan.training_sections == plan.held_out_sections == tuple(range(12))
    assert any("Held-out segments lie" in notice for notice in plan.notices)


def test_embeddings_of_the_prompt_worker_are_used(
    request_for: Make, base: Path, discs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_neuropil.prompts.embedding_cache import EmbeddingCache
    from napari_neuropil.prompts.embedding_service import EmbeddingService
    from napari_neuropil.prompts.sam_segmenter import SamSegmenter
    from napari_neuropil.prompts.tiled_segmenter import TiledSegmenter

    tiled = TiledSegmenter(open_segmenter(base))
    cache = EmbeddingCache(tmp_path / "cache")
    with EmbeddingService(tiled, cache, lambda z: discs.grey[z], discs.grey.shape) as service:
        for z in range(12):
            assert service.get(z, 0, 30) is not None

    def never(*_args: Any) -> Any:
        raise AssertionError("embedded again")

    monkeypatch.setattr(SamSegmenter, "embed", never)
    tune(request_for(steps=1, cache_dir=str(tmp_path / "cache")))


def test_fewer_neighbours_at_thin_sections(request_for: Make) -> None:
    plan = plan_tuning(request_for(voxel_size=(8, 12, 12)))
    assert min(plan.held_out_sections) - max(plan.training_sections) == 6
    wide = plan_tuning(request_for(gap=0))
    assert min(wide.held_out_sections) - max(wide.training_sections) == 1


def test_what_cannot_be(request_for: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for fields, text in (
        ({"base": "watershed"}, "cannot learn"),
        ({"out": "tuned.pt"}, "no name"),
        ({"roi": "0:2,:,:"}, "cannot be divided"),
    ):
        with pytest.raises(SettingsError, match=text):
            plan_tuning(request_for(**fields))


def test_a_plan_writes_nothing(request_for: Make) -> None:
    request = request_for()
    plan = plan_tuning(request)
    assert not list(Path(request.out).parent.iterdir())
    assert TunePlan.model_validate(json.loads(plan.model_dump_json())) == plan
    assert (
        0 < plan.learning < sum(p.numel() for p in open_network(request.base).network.parameters())
    )

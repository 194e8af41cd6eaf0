"""Fine-tuning: what must not change does not, what learned comes back from its file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks.compact_encoder import CompactEncoder
from napari_neuropil.networks.lora import add_lora, merge_lora
from napari_neuropil.networks.mnet_encoder import MNetEncoder
from napari_neuropil.networks.tuned_part import (
    apply_tuned,
    learning_names,
    load_tuned,
    save_tuned,
)
from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.segmenter import ImageEmbedding
from napari_neuropil.training.held_out_scores import (
    box_prompt,
    object_overlap,
    point_prompt,
    score_held_out,
)
from napari_neuropil.training.learning_part import LearningPart
from napari_neuropil.training.sam_patches import SamPatchSettings
from napari_neuropil.training.sam_tuning import tune_network
from napari_neuropil.training.section_objects import SectionObject, find_objects
from napari_neuropil.training.trainer import OptimiserSettings
from napari_neuropil.training.tuning_examples import TuningSampler, TuningSettings
from napari_neuropil.training.tuning_tiles import TuningTile, cut_tiles, encode_tile

_CPU = torch.device("cpu")
Discs = Callable[[int], tuple[np.ndarray, np.ndarray]]


def _tiles(draw_discs: Discs, seeds: Sequence[int]) -> list[TuningTile]:
    objects = [o for s in seeds for o in find_objects(draw_discs(s)[1], s, range(1, 5))]
    return cut_tiles(objects, lambda z: draw_discs(z)[0], 64)


def _settings(parts: str, steps: int = 3, **options: Any) -> TuningSettings:
    run = OptimiserSettings(
        steps=steps, learning_rate=1e-2, warm_up=1, average=0.5, save_every=2, validate_every=2
    )
    prompts = SamPatchSettings(objects=4, rounds=2)
    return TuningSettings(parts=parts, optimiser=run, prompts=prompts, **options)  # type: ignore[arg-type]


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _changed(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {n for n, t in network.state_dict().items() if not torch.equal(t, before[n])}


def _attentive() -> nn.Module:
    torch.manual_seed(1)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.proj = nn.Linear(6, 18), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            return x + self.proj(torch.softmax(q @ k.transpose(-1, -2), dim=-1) @ v)

    return nn.Sequential(nn.Linear(4, 6), Block(), Block())


class _Tokens(nn.Module):
    """An encoder with attention in the place of the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = _attentive()
        self.out = nn.Conv2d(6, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        cells = nn.functional.pixel_unshuffle(x, 2)
        tokens = self.blocks(cells.flatten(2).transpose(1, 2))
        return self.out(tokens.transpose(1, 2).unflatten(2, cells.shape[-2:]))


def test_the_decoder_alone_learns(tiny_sam: Any, draw_discs: Discs, tmp_path: Path) -> None:
    tiles, held_out = _tiles(draw_discs, [1, 2]), _tiles(draw_discs, [8])
    before, base = _copy(tiny_sam), tiny_sam.fingerprint()
    state, spec = tune_network(tiny_sam, tiles, held_out, _settings("decoder"), tmp_path, _CPU)
    changed = _changed(tiny_sam, before)
    assert {name.partition(".")[0] for name in changed} == {"mask_decoder", "masks", "scores"}
    assert set(state) == changed
    assert tiny_sam.fingerprint() == base == spec.base
    assert not tiny_sam.training
    assert (spec.parts, spec.rank, spec.steps) == ("decoder", 0, 3)
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows[0].endswith("validation")
    assert 0 < float(rows[-1].rpartition(",")[2]) < 1


def test_everything_learns(tiny_sam: Any, draw_discs: Discs, tmp_path: Path) -> None:
    before = _copy(tiny_sam)
    tune_network(tiny_sam, _tiles(draw_discs, [1]), [], _settings("all"), tmp_path, _CPU)
    names = {name for name, _ in tiny_sam.named_parameters()}
    assert names <= _changed(tiny_sam, before)
    # Running means of a network in use stay what they were.
    assert "image_encoder.1.running_mean" not in _changed(tiny_sam, before)


def test_low_rank_differences_learn(tiny_sam: Any, draw_discs: Discs, tmp_path: Path) -> None:
    tiny_sam.image_encoder = _Tokens()
    before, names = _copy(tiny_sam), set(tiny_sam.state_dict())
    settings = _settings("lora", rank=2, alpha=4.0)
    state, spec = tune_network(
        tiny_sam, _tiles(draw_discs, [1]), [], settings, tmp_path / "run", _CPU
    )
    assert set(tiny_sam.state_dict()) == names
    changed = {n for n in _changed(tiny_sam, before) if n.startswith("image_encoder.")}
    assert changed == {f"image_encoder.blocks.{n}.qkv.weight" for n in (1, 2)}
    for name in changed:
        difference = tiny_sam.state_dict()[name] - before[name]
        assert torch.linalg.matrix_rank(difference, atol=1e-6) <= 2
    assert sum(t.numel() for n, t in state.items() if "image_encoder" in n) == 2 * 2 * (18 + 6)
    assert (spec.rank, spec.alpha) == (2, 4.0)
    _assert_comes_back(tiny_sam, before, state, spec, tmp_path)


@pytest.mark.parametrize("parts", ["decoder", "all"])
def test_what_learned_comes_back(
    tiny_sam: Any, draw_discs: Discs, tmp_path: Path, parts: str
) -> None:
    before = _copy(tiny_sam)
    state, spec = tune_network(
        tiny_sam, _tiles(draw_discs, [1]), [], _settings(parts), tmp_path / "run", _CPU
    )
    _assert_comes_back(tiny_sam, before, state, spec, tmp_path)


def _assert_comes_back(
    network: Any, before: dict[str, Tensor], state: Any, spec: Any, folder: Path
) -> None:
    tuned = _copy(network)
    path = folder / "tuned.safetensors"
    save_tuned(path, state, spec)
    network.load_state_dict(before)
    read, found = load_tuned(path)
    apply_tuned(network, read, found)
    assert _changed(network, tuned) == set()
    assert found == spec.model_copy(update={"sha256": found.sha256})
    network.load_state_dict(before)
    dropped = dict(list(read.items())[1:])
    with pytest.raises(CheckpointError, match="do not fit"):
        apply_tuned(network, dropped, found)
    assert _changed(network, before) == set()
    with torch.no_grad():
        next(network.image_encoder.parameters()).add_(1)
    with pytest.raises(CheckpointError, match="another network"):
        apply_tuned(network, read, found)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="sha256"):
        load_tuned(path)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(CheckpointError, match="tuned weights"):
        load_tuned(path)


def test_a_stopped_run_goes_on(tiny_sam: Any, draw_discs: Discs, tmp_path: Path) -> None:
    tiles, before = _tiles(draw_discs, [1, 2]), _copy(tiny_sam)
    settings = _settings("decoder", steps=5)
    wanted, _ = tune_network(tiny_sam, tiles, [], settings, tmp_path / "whole", _CPU)

    def stop(step: int, _terms: object) -> None:
        if step == 3:
            raise KeyboardInterrupt

    tiny_sam.load_state_dict(before)
    with pytest.raises(KeyboardInterrupt):
        tune_network(tiny_sam, tiles, [], settings, tmp_path / "parts", _CPU, stop)
    tiny_sam.load_state_dict(before)
    found, _ = tune_network(tiny_sam, tiles, [], settings, tmp_path / "parts", _CPU)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4)


def test_the_last_stage_of_an_encoder_without_attention(tiny_sam: Any) -> None:
    tiny_sam.image_encoder = CompactEncoder((16,) * 5, (1,) * 4, 16, 8, 8)
    names = [n for n in learning_names(tiny_sam, "lora") if n.startswith("image_encoder.")]
    assert {n.removeprefix("image_encoder.").partition(".")[0] for n in names} == {
        "stages", "laterals", "join"
    }  # fmt: skip
    assert all(n.startswith("image_encoder.stages.3.") for n in names if "stages" in n)
    part = LearningPart(tiny_sam, "lora")
    frozen = {n for n, p in tiny_sam.named_parameters() if not p.requires_grad}
    assert frozen == set(learning_names(tiny_sam, "all")) - set(learning_names(tiny_sam, "lora"))
    assert not [n for n in part.state_dict() if "stem" in n]


def test_a_trunk_never_learns(tiny_sam: Any) -> None:
    trunk = {"widths": (4,) * 5, "affinity_channels": 3}
    tiny_sam.image_encoder = MNetEncoder(trunk, 16, 8, 8)
    decoder, lora, whole = (
        set(learning_names(tiny_sam, parts)) for parts in ("decoder", "lora", "all")
    )
    adapters = {n.partition(".")[2].partition(".")[0] for n in lora - decoder}
    assert adapters == {"image", "middle", "fine"}
    assert whole == lora
    LearningPart(tiny_sam, "all")
    learns = {n for n, p in tiny_sam.named_parameters() if p.requires_grad}
    assert learns == whole


def test_differences_are_nothing_at_first_and_merge_exactly() -> None:
    encoder, x = _attentive(), torch.randn(1, 5, 4)
    wanted = encoder(x)
    add_lora(encoder, rank=2, alpha=3.0, seed=5)
    assert torch.equal(encoder(x), wanted)
    for name, parameter in encoder.named_parameters():
        if name.endswith("up"):
            nn.init.normal_(parameter)
    changed = encoder(x)
    assert not torch.allclose(changed, wanted)
    merge_lora(encoder)
    assert torch.equal(encoder(x), changed)
    assert not [n for n in encoder.state_dict() if "parametrizations" in n]


def test_tiles_hold_their_objects() -> None:
    section = np.zeros((50, 100), np.uint8)
    labels = np.zeros((50, 100), np.uint32)
    labels[5:15, 5:15], labels[20:30, 80:95], labels[40:45, 2:9] = 1, 2, 3
    section[labels > 0] = 7
    objects = find_objects(labels, 6, [1, 2, 3], smallest=5)
    tiles = cut_tiles(objects, lambda _z: section, 60)
    # Tiles begin at columns 0 and 40; both hold all rows.
    assert [(t.z, t.image.shape, int(t.parts.max())) for t in tiles] == [
        (6, (50, 60), 2), (6, (50, 60), 1)
    ]  # fmt: skip
    for tile, first, ids in ((tiles[0], 0, [1, 3]), (tiles[1], 40, [2])):
        np.testing.assert_array_equal(tile.parts > 0, np.isin(labels[:, first : first + 60], ids))
        np.testing.assert_array_equal(tile.image, section[:, first : first + 60])


def test_examples_are_repeatable_and_encoded_ones_stay_as_they_are(
    tiny_sam: Any, draw_discs: Discs
) -> None:
    tiles = _tiles(draw_discs, [1, 2])
    plain = TuningSampler(tiles, _settings("all"))
    np.testing.assert_array_equal(plain.draw(4).image, plain.draw(4).image)
    assert len({plain.draw(n).image.tobytes() for n in range(6)}) == 6
    encoded = [encode_tile(tiny_sam.eval(), tile, _CPU) for tile in tiles]
    drawn = [TuningSampler(encoded, _settings("decoder")).draw(n) for n in range(6)]
    assert len({patch.image.tobytes() for patch in drawn}) == 2
    for patch in drawn:
        assert patch.features is not None
        fresh = tiny_sam.encode(255 * torch.from_numpy(patch.image)[None, None])["image"][0]
        np.testing.assert_allclose(patch.features["image"], fresh.detach(), atol=2e-3, rtol=2e-3)


def test_encoded_tiles_are_shown_through_windows(tiny_sam: Any, draw_discs: Discs) -> None:
    objects = find_objects(np.pad(draw_discs(1)[1], ((0, 64), (0, 64))), 0, range(1, 5))
    section = np.pad(draw_discs(1)[0], ((0, 64), (0, 64)))
    (tile,) = cut_tiles(objects, lambda _z: section, 128)
    encoded = encode_tile(tiny_sam.eval(), tile, _CPU)
    patch = TuningSampler([encoded], _settings("decoder"), window=64).draw(0)
    assert patch.image.shape == (64, 64)
    assert patch.features is not None
    assert encoded.features is not None
    for name, whole in encoded.features.items():
        assert patch.features[name].shape == (len(whole), whole.shape[1] // 2, whole.shape[2] // 2)
    assert patch.count == int((np.unique(patch.objects) > 0).sum()) > 0


class _Answers:
    """A segmenter that knows the labels, and fills boxes."""

    name, fingerprint, longest_side = "answers", "a", 64

    def embed(self, section: np.ndarray) -> ImageEmbedding:
        return ImageEmbedding({"labels": section}, (section.shape[0], section.shape[1]))

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        labels, found = embedding.arrays["labels"], []
        for prompt in prompts:
            mask = np.zeros(embedding.shape, bool)
            if prompt.box is not None:
                y0, x0, y1, x1 = (int(v) for v in prompt.box)
                mask[y0:y1, x0:x1] = True
            else:
                y, x = prompt.points[0].astype(int)
                mask = labels == labels[y, x]
            found.append(SectionMask(mask, 1.0))
        return found


def test_held_out_objects_are_scored_in_their_order() -> None:
    labels = np.zeros((2, 20, 20), np.uint8)
    labels[0, 2:10, 2:10], labels[0, 4:8, 4:10] = 1, 0  # a C: its middle is not inside
    labels[1, 3:7, 12:20] = 2
    objects = [o for z in (1, 0) for o in find_objects(labels[z], z, [1, 2], smallest=3)]
    told: list[tuple[int, int]] = []
    scores = score_held_out(
        _Answers(), objects, lambda z: labels[z], report=lambda *done: told.append(done)
    )
    assert scores["point"].tolist() == [1, 1]
    assert scores["box"].tolist() == [1, pytest.approx(40 / 64)]
    assert told == [(1, 2), (2, 2)]
    embedded = score_held_out(
        _Answers(), objects, lambda _z: labels[0],
        lambda z: ImageEmbedding({"labels": labels[z]}, (20, 20)),
    )  # fmt: skip
    assert embedded["box"].tolist() == scores["box"].tolist()


def test_what_a_network_made_is_not_measured_on() -> None:
    pseudo = SectionObject(1, 0, (0, 0, 2, 2), np.ones((2, 2), bool), pseudo=True)
    with pytest.raises(ValueError, match="pseudo"):
        score_held_out(_Answers(), [pseudo], lambda _z: np.zeros((4, 4), np.uint8))


def test_prompts_of_an_object_by_hand() -> None:
    mask = np.zeros((5, 7), bool)
    mask[:3, :3], mask[:, 6] = True, True
    item = SectionObject(1, 0, (10, 20, 15, 27), mask)
    assert box_prompt(item).box == (10, 20, 15, 27)
    assert point_prompt(item).points.tolist() == [[11, 21]]
    whole = np.zeros((30, 40), bool)
    whole[10:13, 20:23] = whole[0, 0] = True
    assert object_overlap(item, whole) == pytest.approx(9 / 15)

"""Training of AGQ: learns, goes on where it stopped, ends in a checkpoint; recipes and weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from napari_neuropil.cli.app import run
from napari_neuropil.errors import CheckpointError, SettingsError
from napari_neuropil.networks import load_checkpoint, pretrained
from napari_neuropil.networks.agq import AGQ, AGQOnMNet
from napari_neuropil.networks.agq.on_mnet import TrunkView
from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
from napari_neuropil.networks.mnet import MNet
from napari_neuropil.networks.registry import NEAREST_OFFSETS
from napari_neuropil.training.agq import recipe as module
from napari_neuropil.training.agq.loss import AgqLossSettings, agq_patch_loss
from napari_neuropil.training.agq.patches import AgqPatch, make_agq_patch
from napari_neuropil.training.agq.recipe import AgqNetworkSettings, AgqRecipe
from napari_neuropil.training.augmentation import AugmentationSettings
from napari_neuropil.training.methods import TRAINING_METHODS
from napari_neuropil.training.patches import LabelledVolume, PatchSampler
from napari_neuropil.training.trainer import OptimiserSettings, train
from napari_neuropil.workflows.train import train_network

_CPU = torch.device("cpu")
_LOSS = partial(agq_patch_loss, settings=AgqLossSettings())


def _narrow() -> AGQ:
    torch.manual_seed(0)
    return AGQ((8, 8, 8, 8, 8), fused=16, learned_queries=10, smallest_component=20)


def _sampler() -> PatchSampler[AgqPatch]:
    labels = np.repeat(np.repeat(np.arange(1, 17, dtype=np.uint32).reshape(4, 4), 16, 0), 16, 1)
    labels = np.broadcast_to(labels, (5, 64, 64)).copy()
    labels[:, ::16] = labels[:, :, ::16] = 0
    image = np.where(labels > 0, 60 + 10 * labels, 20).astype(np.uint8)
    volume = LabelledVolume("cells", image, labels, isotropic=False)
    make = partial(make_agq_patch, offsets=NEAREST_OFFSETS, compared=300)
    return PatchSampler([volume], (5, 33, 33), make, AugmentationSettings(), 0)


def test_the_network_learns_one_patch() -> None:
    network, patch = _narrow().train(), _sampler().draw(0)
    assert patch.masks.count > 1
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(16):
        total = torch.stack(list(_LOSS(network, patch, _CPU).values())).sum()
        losses.append(total.item())
        optimiser.zero_grad()
        torch.autograd.backward(total)
        gradients = {name: p.grad for name, p in network.named_parameters()}
        assert [name for name, g in gradients.items() if g is None] == []
        assert [n for n, g in gradients.items() if g is not None and not g.isfinite().all()] == []
        optimiser.step()
    assert losses[-1] < 0.85 * losses[0]


@pytest.mark.parametrize("shape", [(5, 17, 49), (1, 33, 17)])
def test_targets_have_the_grid_of_the_network(shape: tuple[int, int, int]) -> None:
    labels = np.ones(shape, np.uint32)
    patch = make_agq_patch(np.zeros(shape, np.float32), labels, offsets=NEAREST_OFFSETS)
    with torch.inference_mode():
        output = _narrow().eval()(2 * torch.from_numpy(patch.image)[None, None] - 1)
    assert output.affinities.shape[1:] == patch.affinities.shape
    assert output.mask_logits[0, 0].numel() == patch.masks.objects.shape[1]
    assert output.features[0, 0].numel() == patch.masks.objects.shape[1]


def _train(folder: Path, steps: int, until: int | None = None) -> dict[str, torch.Tensor]:
    settings = OptimiserSettings(steps=steps, save_every=2, warm_up=2, learning_rate=3e-3)

    def stop(step: int, _terms: object) -> None:
        if step + 1 == until:
            raise KeyboardInterrupt

    network, validation = _narrow(), [_sampler().draw(99)]
    return train(network, _LOSS, _sampler(), validation, settings, folder, _CPU, stop)


def test_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    wanted = _train(tmp_path / "whole", 4)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "parts", 4, until=3)
    found = _train(tmp_path / "parts", 4)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4)
    head, row = (tmp_path / "whole" / "log.csv").read_text().splitlines()
    assert head == "step,seconds,dice,entropy,contrast,affinities,validation"
    assert float(row.split(",")[-1]) > 0
    counted = [int(t) for name, t in wanted.items() if name.endswith("num_batches_tracked")]
    assert min(counted) == 4


_RECIPE = """
seed: 1
network:
  channels: [8, 8, 8, 8, 8]
  fused: 8
  learned_queries: 5
  most_components: 7
  smallest_component: 9
patch_shape: [5, 33, 33]
tile_shape: [5, 33, 49]
smallest_part: 30
loss: {compared: 50, evenness: 0.1}
generated: {count: 1, shape: [6, 64, 64], seed: 3}
optimiser: {steps: 2}
"""


def test_recipe_becomes_a_checkpoint(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(_RECIPE)
    out = train_network("agq", recipe, tmp_path / "out.safetensors", device="cpu")
    network, spec = load_checkpoint(out, "agq")
    assert isinstance(network, AGQ)
    assert spec.arguments == {
        "channels": [8, 8, 8, 8, 8],
        "fused": 8,
        "learned_queries": 5,
        "most_components": 7,
        "smallest_component": 9,
        "persistence": None,
    }
    assert spec.offsets == ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
    assert spec.tile_shape == (5, 33, 49)


_ON_TRUNK = """
seed: 1
network: {trunk: TRUNK, fused: 8, learned_queries: 2, smallest_component: 3, persistence: 0.05}
patch_shape: [4, 32, 32]
tile_shape: [4, 32, 48]
repeat_after: 2
loss: {compared: 50, affinities: 0}
generated: {count: 1, shape: [6, 64, 64], seed: 3}
optimiser: {steps: 5}
"""


def test_queries_learn_on_a_trunk_that_looks_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk = MNet([4] * 5, 3)
    spec = CheckpointSpec(
        network="segneuron",
        arguments={"widths": [4] * 5, "affinity_channels": 3},
        offsets=NEAREST_OFFSETS,
        voxel_sizes=((30, 12, 12),),
        tile_shape=(4, 32, 32),
    )
    save_checkpoint(tmp_path / "trunk.safetensors", trunk.state_dict(), spec, half=False)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(_ON_TRUNK.replace("TRUNK", str(tmp_path / "trunk.safetensors")))
    looks = []
    look = AGQOnMNet.look

    def count(network: AGQOnMNet, image: torch.Tensor) -> TrunkView:
        looks.append(image.shape)
        return look(network, image)

    monkeypatch.setattr(AGQOnMNet, "look", count)
    network, written = load_checkpoint(
        train_network("agq", recipe, tmp_path / "out.safetensors", device="cpu"), "agq"
    )
    assert len(looks) == 2
    assert isinstance(network, AGQOnMNet)
    for name, tensor in trunk.state_dict().items():
        torch.testing.assert_close(network.trunk.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)
    assert written.arguments["trunk"] == spec.arguments
    assert "channels" not in written.arguments
    log = (tmp_path / "out.run" / "log.csv").read_text().splitlines()
    assert log[0] == "step,seconds,dice,entropy,contrast,validation"


def test_settings_reach_patch_and_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = AgqRecipe.model_validate(yaml.safe_load(_RECIPE))
    row = TRAINING_METHODS["agq"]
    labels = np.zeros((1, 20, 20), np.uint32)
    labels[:, :10] = 1
    labels[:, 15:18, 15:18] = 2
    patch = row.make_patch(recipe)(np.zeros(labels.shape, np.float32), labels)
    assert patch.masks.count == 1
    assert len(patch.compared) == 50
    seen: list[AgqLossSettings] = []
    monkeypatch.setattr(
        module, "agq_patch_loss", lambda *_a, settings, views: seen.append(settings)
    )
    row.loss(recipe)(torch.nn.Identity(), patch, _CPU)
    assert seen == [recipe.loss]


def test_the_defaults_are_the_papers() -> None:
    arguments = TRAINING_METHODS["agq"].arguments(AgqRecipe(seed=0))
    assert arguments == AgqNetworkSettings().model_dump(mode="json", exclude={"trunk", "placed"})
    names = AGQ(**arguments).state_dict()
    assert names.keys() == AGQ().state_dict().keys()
    assert all(names[n].shape == t.shape for n, t in AGQ().state_dict().items())
    loss = AgqLossSettings()
    assert (loss.dice, loss.entropy, loss.contrast, loss.affinities) == (3.0, 0.3, 0.1, 1.0)
    assert (loss.temperature, loss.compared, loss.evenness) == (0.3, 4096, 0.6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\npatch_shape: [16, 129, 129]", "patch_shape: z must"),
        ("seed: 1\npatch_shape: [17, 129, 128]", "patch_shape: z must"),
        ("seed: 1\ntile_shape: [17, 130, 129]", "tile_shape: z must"),
        ("seed: 1\nnetwork: {channels: [8, 8, 12, 8, 8]}", "channels: multiples of 8"),
        ("seed: 1\nnetwork: {channels: [8, 8, 8, 8]}", "network.channels"),
        ("seed: 1\nnetwork: {fused: 60}", "fused: multiples of 8"),
        ("seed: 1\nnetwork: {learned_queries: 1}", "learned_queries"),
        ("seed: 1\nloss: {temperature: 0}", "loss.temperature"),
        ("seed: 1", "names no volumes"),
    ],
)
def test_bad_recipes_are_named(tmp_path: Path, text: str, words: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(SettingsError, match=words):
        train_network("agq", recipe, tmp_path / "out.safetensors", device="cpu")


def test_the_recipe_of_the_shipped_weights_is_valid() -> None:
    folder = Path(module.__file__).parents[2] / "weights" / "agq"
    recipe = AgqRecipe.model_validate(yaml.safe_load((folder / "recipe.yaml").read_text()))
    assert recipe.network.trunk == "segneuron"
    assert [v.train_sections for v in recipe.volumes] == [(0, 80), (0, 200)]
    assert [v.validation_sections for v in recipe.volumes] == [(80, 100), (200, 250)]


def test_a_recipe_alone_is_no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "agq").mkdir()
    (tmp_path / "agq" / "recipe.yaml").write_text("seed: 1")
    monkeypatch.setattr(pretrained, "_WEIGHTS", tmp_path)
    with pytest.raises(CheckpointError, match="No weights for 'agq'"):
        pretrained.pretrained_path("agq")


def test_the_help_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in TRAINING_METHODS if name not in shown] == []

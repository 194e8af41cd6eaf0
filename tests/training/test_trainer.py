"""Training learns, resumes to the same weights, and ends in a checkpoint that loads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_neuropil.errors import SettingsError, VolumeNotFoundError
from napari_neuropil.networks import load_checkpoint
from napari_neuropil.networks.mnet import MNet
from napari_neuropil.training.augmentation import AugmentationSettings
from napari_neuropil.training.losses import affinity_loss, affinity_patch_loss
from napari_neuropil.training.patches import LabelledVolume, Patch, PatchSampler, make_patch
from napari_neuropil.training.trainer import OptimiserSettings, rate_at, risen, train
from napari_neuropil.workflows.train import train_network

_NEAREST = partial(make_patch, offsets=((-1, 0, 0), (0, -1, 0), (0, 0, -1)))
_CPU = torch.device("cpu")


def _sampler() -> PatchSampler[Patch]:
    labels = np.repeat(np.repeat(np.arange(1, 17, dtype=np.uint32).reshape(4, 4), 16, 0), 16, 1)
    labels = np.broadcast_to(labels, (4, 64, 64)).copy()
    labels[:, ::16] = labels[:, :, ::16] = 0
    image = np.where(labels > 0, 200, 40).astype(np.uint8)
    volume = LabelledVolume("cells", image, labels, isotropic=False)
    return PatchSampler([volume], (2, 32, 32), _NEAREST, AugmentationSettings(), 0)


def _train(folder: Path, steps: int, until: int | None = None) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = MNet((8, 8, 8, 8, 8))
    settings = OptimiserSettings(
        steps=steps, save_every=3, warm_up=2, learning_rate=3e-3, average=0.5
    )

    def stop(step: int, _terms: object) -> None:
        if step + 1 == until:
            raise KeyboardInterrupt

    return train(network, affinity_patch_loss, _sampler(), [], settings, folder, _CPU, stop)


def test_loss_by_hand() -> None:
    targets = torch.tensor([1.0, 0.0, 1.0, 0.0]).view(1, 1, 1, 1, 4)
    known = torch.tensor([True, True, True, False]).view(1, 1, 1, 1, 4)
    right = affinity_loss(100 * (targets - 0.5), targets, known)
    assert right == pytest.approx(0, abs=1e-4)
    half = affinity_loss(torch.zeros_like(targets), targets, known)
    entropy = 3 * np.log(2) / 4
    dice = 1 - (2 * 0.5 + 1) / (3 * 0.25 + 1 + 1)
    assert half.item() == pytest.approx(entropy + 0.5 * dice, abs=1e-5)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    losses: list[float] = []
    torch.manual_seed(0)
    settings = OptimiserSettings(steps=20, warm_up=2, learning_rate=3e-3)
    train(
        MNet((8, 8, 8, 8, 8)), affinity_patch_loss, _sampler(), [_sampler().draw(999)], settings,
        tmp_path, _CPU,
        lambda _step, terms: losses.append(sum(terms.values())),
    )  # fmt: skip
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:3])
    assert (tmp_path / "log.csv").read_text().startswith("step,seconds")


def test_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    wanted = _train(tmp_path / "whole", 6)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "parts", 6, until=4)
    found = _train(tmp_path / "parts", 6)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4)


def test_terms_rise() -> None:
    terms = {"early": torch.tensor(1.0), "late": torch.tensor(10.0)}
    assert [float(risen(terms, step, {"late": 4})) for step in (0, 1, 4, 9)] == [1, 3.5, 11, 11]


def test_rate_warms_up_and_decays() -> None:
    settings = OptimiserSettings(steps=100, warm_up=9, decay=0.5)
    assert rate_at(0, settings) == pytest.approx(0.1)
    assert rate_at(20, settings) == 1
    assert rate_at(75, settings) == pytest.approx(0.5)
    assert rate_at(99, settings) == pytest.approx(0.02)


_RECIPE = """
seed: 1
network: {widths: [8, 8, 8, 8, 8]}
patch_shape: [4, 32, 32]
generated: {count: 1, shape: [6, 64, 64], seed: 3}
optimiser: {steps: 2}
"""


def test_recipe_becomes_a_checkpoint(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(_RECIPE)
    out = train_network("segneuron", recipe, tmp_path / "out.safetensors", device="cpu")
    network, spec = load_checkpoint(out, "segneuron")
    assert isinstance(network, MNet)
    assert spec.steps == 2
    assert spec.training_data == ("1 generated volumes; CC0",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nsteps: 3", "'steps'"),
        ("seed: x", "'seed'"),
        ("[1, 2", "not YAML"),
        ("seed: 1", "names no volumes"),
    ],
)
def test_bad_recipes_are_named(tmp_path: Path, text: str, words: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(SettingsError, match=words):
        train_network("segneuron", recipe, tmp_path / "out.safetensors", device="cpu")
    with pytest.raises(VolumeNotFoundError):
        train_network("segneuron", tmp_path / "absent.yaml", tmp_path / "out.safetensors")


def test_counts_of_batches_are_not_averaged(tmp_path: Path) -> None:
    def loss(
        network: torch.nn.Module, patch: Patch, _device: torch.device
    ) -> dict[str, torch.Tensor]:
        return {"mean": network(torch.from_numpy(patch.image.copy())[None]).square().mean()}

    network = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1), torch.nn.BatchNorm2d(2))
    settings = OptimiserSettings(steps=3, warm_up=2, average=0.9)
    weights = train(network, loss, _sampler(), [_sampler().draw(9)], settings, tmp_path, _CPU)
    assert weights["1.num_batches_tracked"] == 3
    assert not torch.equal(weights["1.running_mean"], network.state_dict()["1.running_mean"])

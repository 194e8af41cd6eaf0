"""Training of dense voxel embeddings: learns, goes on where it stopped, ends in a checkpoint."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from napari_neuropil.errors import SettingsError
from napari_neuropil.networks import load_checkpoint
from napari_neuropil.networks.residual_unet import ResidualUNet
from napari_neuropil.segmentation.metric_offsets import OFFSETS
from napari_neuropil.training import volumes as volumes_module
from napari_neuropil.training.augmentation import AugmentationSettings
from napari_neuropil.training.embedding_loss import EmbeddingLossSettings, embedding_patch_loss
from napari_neuropil.training.embedding_patches import EmbeddingPatch, make_embedding_patch
from napari_neuropil.training.methods import TRAINING_METHODS
from napari_neuropil.training.patches import LabelledVolume, PatchSampler
from napari_neuropil.training.trainer import OptimiserSettings, train
from napari_neuropil.training.voxel_embeddings import VoxelEmbeddingsRecipe
from napari_neuropil.workflows.train import train_network

_LOSS = partial(embedding_patch_loss, settings=EmbeddingLossSettings())


def _sampler() -> PatchSampler[EmbeddingPatch]:
    labels = np.repeat(np.repeat(np.arange(1, 17, dtype=np.uint32).reshape(4, 4), 16, 0), 16, 1)
    labels = np.broadcast_to(labels, (4, 64, 64)).copy()
    labels[:, ::16] = labels[:, :, ::16] = 0
    image = np.where(labels > 0, 60 + 10 * labels, 20).astype(np.uint8)
    volume = LabelledVolume("cells", image, labels, isotropic=False)
    return PatchSampler([volume], (2, 32, 32), make_embedding_patch, AugmentationSettings(), 0)


def _train(folder: Path, steps: int, until: int | None = None) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    settings = OptimiserSettings(steps=steps, save_every=3, warm_up=2, learning_rate=3e-3)

    def stop(step: int, _terms: object) -> None:
        if step + 1 == until:
            raise KeyboardInterrupt

    network = ResidualUNet((8, 8), 4)
    return train(network, _LOSS, _sampler(), [], settings, folder, torch.device("cpu"), stop)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    losses: list[float] = []
    torch.manual_seed(0)
    train(
        ResidualUNet((8, 16), 6), _LOSS, _sampler(), [_sampler().draw(99)],
        OptimiserSettings(steps=30, warm_up=2, learning_rate=5e-3), tmp_path, torch.device("cpu"),
        lambda _step, terms: losses.append(sum(terms.values())),
    )  # fmt: skip
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:3])
    head, row = (tmp_path / "log.csv").read_text().splitlines()
    assert head == "step,seconds,internal,external,regulariser,background,validation"
    assert row.startswith("30,")
    assert float(row.split(",")[-1]) > 0


def test_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    wanted = _train(tmp_path / "whole", 6)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "parts", 6, until=4)
    found = _train(tmp_path / "parts", 6)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-4)
    assert torch.equal(
        found["core.uconvs.0.up.up.0.weight"],
        ResidualUNet((8, 8)).state_dict()["core.uconvs.0.up.up.0.weight"],
    )


_RECIPE = """
seed: 1
network: {widths: [4, 8], dimensions: 6}
patch_shape: [4, 32, 32]
tile_shape: [4, 32, 32]
smallest_part: 3
loss: {apart: 1.0}
generated: {count: 1, shape: [6, 64, 64], seed: 3}
optimiser: {steps: 2}
"""


def test_recipe_becomes_a_checkpoint(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(_RECIPE)
    out = tmp_path / "out.safetensors"
    assert train_network("voxel-embeddings", recipe, out, device="cpu") == out
    network, spec = load_checkpoint(out, "voxel-embeddings")
    assert isinstance(network, ResidualUNet)
    assert spec.arguments == {"widths": [4, 8], "dimensions": 6}
    assert spec.offsets == OFFSETS
    assert spec.steps == 2


def test_settings_reach_patch_and_loss(tmp_path: Path) -> None:
    row = TRAINING_METHODS["voxel-embeddings"]
    recipe = VoxelEmbeddingsRecipe.model_validate(yaml.safe_load(_RECIPE))
    labels = np.array([[[1, 1, 0, 2, 2, 2]]], np.uint32)
    patch = row.make_patch(recipe)(np.zeros((1, 1, 6), np.float32), labels)
    assert patch.origins.tolist() == [2]
    volumes, validation = volumes_module.load_volumes(recipe, tmp_path, row.make_patch(recipe))
    assert len(volumes) == 1
    assert not validation
    network = ResidualUNet((4, 8), 6)
    image = (volumes[0].image[:2, :32, :32] / 255).astype(np.float32)
    patch = row.make_patch(recipe)(image, volumes[0].labels[:2, :32, :32])
    cpu = torch.device("cpu")
    with torch.inference_mode():
        near, far = row.loss(recipe)(network, patch, cpu), _LOSS(network, patch, cpu)
    assert near["external"] < far["external"]
    assert near["internal"] == far["internal"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nnetwork: {widths: [8, 8, 8]}\npatch_shape: [4, 30, 32]", "divisible by 4"),
        ("seed: 1\nnetwork: {widths: [8]}", "network.widths"),
        ("seed: 1\nnetwork: {offsets: []}", "network.offsets"),
        ("seed: 1\nloss: {apart: 0}", "loss.apart"),
        ("seed: 1", "names no volumes"),
    ],
)
def test_bad_recipes_are_named(tmp_path: Path, text: str, words: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(SettingsError, match=words):
        train_network("voxel-embeddings", recipe, tmp_path / "out.safetensors", device="cpu")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ("train_sections: [0, 3], validation_sections: [3, 9]", "only 3 x 40 x 40"),
        ("train_sections: [0, 8], validation_sections: [8, 10]", "only 2 x 40 x 40"),
    ],
)
def test_fewer_sections_than_the_patch(tmp_path: Path, sections: str, words: str) -> None:
    for name in ("image", "labels"):
        np.save(tmp_path / f"{name}.npy", np.ones((10, 40, 40), np.uint8))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "seed: 1\nnetwork: {widths: [4, 8]}\npatch_shape: [4, 32, 32]\nvolumes:\n"
        "  - {name: v, image: image.npy, labels: labels.npy, voxel_size: [30, 12, 12], "
        f"{sections}}}\n"
    )
    with pytest.raises(SettingsError, match=words):
        train_network("voxel-embeddings", recipe, tmp_path / "out.safetensors", device="cpu")


def test_unknown_methods_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no recipe for 'unet'"):
        train_network("unet", tmp_path / "absent.yaml", tmp_path / "out.safetensors")


def test_the_recipe_of_the_shipped_weights_is_valid() -> None:
    folder = Path(volumes_module.__file__).parents[1] / "weights" / "voxel-embeddings"
    content = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe = VoxelEmbeddingsRecipe.model_validate(content)
    assert [v.train_sections for v in recipe.volumes] == [(0, 80), (0, 200)]
    assert [v.validation_sections for v in recipe.volumes] == [(80, 100), (200, 250)]

"""Train a network by a recipe, and save it as a checkpoint of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from napari_neuropil.errors import SettingsError, VolumeNotFoundError
from napari_neuropil.workflows.requests import Progress, Report

if TYPE_CHECKING:
    from napari_neuropil.training.segneuron import SegNeuronRecipe


def train_segneuron(
    settings_file: Path,
    out: Path,
    *,
    data_root: Path | None = None,
    work_folder: Path | None = None,
    device: str = "auto",
    report: Report = lambda _progress: None,
) -> Path:
    """Train a SegNeuron network.

    Parameters
    ----------
    settings_file : Path
        YAML of a `SegNeuronRecipe`.
    out : Path
        Checkpoint to write, ends in ``.safetensors``.
    data_root : Path, optional
        Folder that the recipe's paths start from; None takes that of the settings file.
    work_folder : Path, optional
        Gets the state (a run goes on from it) and the log; None takes ``OUT.run``.
    device : str
        auto, cpu, cuda or mps.
    report : callable
        Hears of every step.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    NeuropilError
        Bad settings or volumes, or an output that cannot be written.
    """
    import torch

    from napari_neuropil.inference.devices import choose_device, usable_cores
    from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
    from napari_neuropil.networks.mnet import MNet
    from napari_neuropil.training.patches import PatchSampler
    from napari_neuropil.training.segneuron import describe_data, load_volumes, seen_voxel_sizes
    from napari_neuropil.training.trainer import train

    if out.suffix != ".safetensors":
        raise SettingsError(f"{out} is no name for a checkpoint.", "NAME.safetensors", "")
    recipe = read_recipe(settings_file)
    chosen = choose_device(device)
    torch.set_num_threads(usable_cores())
    volumes, validation = load_volumes(recipe, data_root or settings_file.parent)
    if not volumes:
        raise SettingsError(
            f"{settings_file} names no volumes.", "volumes, or generated.count > 0", ""
        )
    torch.manual_seed(recipe.seed)
    offsets = recipe.network.offsets
    network = MNet(recipe.network.widths, len(offsets))
    sampler = PatchSampler(volumes, recipe.patch_shape, offsets, recipe.augmentation, recipe.seed)

    def tell(step: int, terms: Mapping[str, float]) -> None:
        message = ", ".join(f"{name} {value:.3f}" for name, value in terms.items())
        total = recipe.optimiser.last_step
        report(Progress(stage="train", done=step + 1, total=total, message=message))

    weights = train(
        network,
        sampler,
        validation,
        recipe.optimiser,
        work_folder or out.with_suffix(".run"),
        chosen,
        tell,
    )
    spec = CheckpointSpec(
        network="segneuron",
        arguments={"widths": list(recipe.network.widths), "affinity_channels": len(offsets)},
        offsets=offsets,
        voxel_sizes=tuple(seen_voxel_sizes(recipe)),
        tile_shape=recipe.tile_shape,
        training_data=tuple(describe_data(recipe)),
        licence=recipe.licence,
        steps=recipe.optimiser.last_step,
    )
    save_checkpoint(out, weights, spec)
    return out


def read_recipe(settings_file: Path) -> SegNeuronRecipe:
    """Read a recipe.

    Raises
    ------
    VolumeNotFoundError
        If there is no such file.
    SettingsError
        If it is not YAML, or a setting is unknown, missing or out of bounds.
    """
    from napari_neuropil.training.segneuron import SegNeuronRecipe

    try:
        content = yaml.safe_load(settings_file.read_text())
        return SegNeuronRecipe.model_validate(content)
    except FileNotFoundError:
        raise VolumeNotFoundError(
            f"No settings file at {settings_file}.", "a YAML file", "check the path."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{settings_file} is not YAML: {error}", "YAML", "") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"{settings_file}: {name!r}: {first['msg']} (found {first.get('input')!r:.60}).",
            "settings as in the recipe of the shipped weights",
            "",
        ) from error

"""Train a network by a recipe, and save it as a checkpoint of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from napari_neuropil.errors import SettingsError, VolumeNotFoundError
from napari_neuropil.workflows.requests import Progress, Report

R = TypeVar("R", bound=BaseModel)


def train_network(
    method: str,
    settings_file: Path,
    out: Path,
    *,
    data_root: Path | None = None,
    work_folder: Path | None = None,
    device: str = "auto",
    report: Report = lambda _progress: None,
) -> Path:
    """Train the network of a method.

    Parameters
    ----------
    method : str
        One of `training.methods.TRAINING_METHODS`, for example ``segneuron``.
    settings_file : Path
        YAML of its recipe.
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
        Unknown method, bad settings or volumes, or an output that cannot be written.
    """
    import torch

    from napari_neuropil.inference.devices import choose_device, usable_cores
    from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
    from napari_neuropil.networks.registry import network_entry
    from napari_neuropil.training.methods import training_method
    from napari_neuropil.training.patches import PatchSampler
    from napari_neuropil.training.repeated import Repeated
    from napari_neuropil.training.trainer import train
    from napari_neuropil.training.volumes import describe_data, load_volumes, seen_voxel_sizes

    row = training_method(method)
    if out.suffix != ".safetensors":
        raise SettingsError(f"{out} is no name for a checkpoint.", "NAME.safetensors", "")
    recipe = read_recipe(settings_file, row.recipe)
    chosen = choose_device(device)
    torch.set_num_threads(usable_cores())
    make_patch = row.make_patch(recipe)
    volumes, validation = load_volumes(recipe, data_root or settings_file.parent, make_patch)
    if not volumes:
        raise SettingsError(
            f"{settings_file} names no volumes.", "volumes, or generated.count > 0", ""
        )
    torch.manual_seed(recipe.seed)
    arguments = dict(row.arguments(recipe))
    network = (row.build or network_entry(row.network).build)(**arguments)
    if row.prepare is not None:
        row.prepare(network, recipe)
    sampler = PatchSampler(
        volumes, recipe.patch_shape, make_patch, recipe.augmentation, recipe.seed
    )
    repeated = Repeated(sampler, recipe.repeat_after) if recipe.repeat_after else sampler

    def tell(step: int, terms: Mapping[str, float]) -> None:
        message = ", ".join(f"{name} {value:.3f}" for name, value in terms.items())
        total = recipe.optimiser.last_step
        report(Progress(stage="train", done=step + 1, total=total, message=message))

    weights = train(
        network,
        row.loss(recipe),
        repeated,
        validation,
        recipe.optimiser,
        work_folder or out.with_suffix(".run"),
        chosen,
        tell,
    )
    spec = CheckpointSpec(
        network=row.network,
        arguments=arguments,
        offsets=row.offsets(recipe),
        voxel_sizes=tuple(seen_voxel_sizes(recipe)),
        tile_shape=recipe.tile_shape,
        training_data=tuple(describe_data(recipe)),
        licence=recipe.licence,
        steps=recipe.optimiser.last_step,
    )
    save_checkpoint(out, weights, spec)
    return out


def read_recipe(
    settings_file: Path,
    recipe: type[R],
    expected: str = "settings as in the recipe of the shipped weights",
) -> R:
    """Read a recipe.

    Parameters
    ----------
    settings_file : Path
        YAML.
    recipe : type of Recipe
        Which settings it holds.
    expected : str
        What an error says of them.

    Raises
    ------
    VolumeNotFoundError
        If there is no such file.
    SettingsError
        If it is not YAML, or a setting is unknown, missing or out of bounds.
    """
    try:
        content = yaml.safe_load(settings_file.read_text())
        return recipe.model_validate(content)
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
            expected,
            "",
        ) from error

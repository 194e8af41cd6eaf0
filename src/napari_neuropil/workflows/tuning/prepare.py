"""From the wish for a fine-tuning to its plan: network, objects, and what is held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError, SettingsError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.workflows.prompting.grid import SectionGrid, best_factors
from napari_neuropil.workflows.prompting.volume import PromptVolume, open_prompt_volume
from napari_neuropil.workflows.requests import Report
from napari_neuropil.workflows.tuning.corrections import Corrections, gather_corrections
from napari_neuropil.workflows.tuning.requests import (
    Trainer,
    TrainerWish,
    TunePlan,
    TuneRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_neuropil.prompts.sam_networks import OpenedNetwork
    from napari_neuropil.training.finetune_split import TuningSplit
    from napari_neuropil.training.section_objects import SectionObject
    from napari_neuropil.training.tuning_examples import TuningSettings
    from napari_neuropil.training.tuning_tiles import TuningTile

_GAP_NM: Final = 40.0
_RATES: Final[Mapping[str, float]] = {"decoder": 1e-4, "lora": 1e-4, "all": 1e-5}
_LEAST_SAVES: Final = 10
"""States saved in a run, at least; a stop loses what came after the last."""
_MOST_STEPS: Final = 20
"""Steps from one saved state to the next, at most."""


@dataclass(frozen=True)
class PreparedTuning:
    """A wish with everything it needs.

    Parameters
    ----------
    plan : TunePlan
        What will be done.
    base : OpenedNetwork
        Not changed yet.
    split : TuningSplit
        What is learned from and measured on.
    tiles : tuple of TuningTile
        What is learned from, cut.
    curve_tiles : tuple of TuningTile
        Held-out ones, for the curve.
    settings : TuningSettings
        Of the training.
    read_section : callable
        Returns section z on the network's pixels, (Y, X) uint8.
    key : str
        Of the run.
    folder : Path
        Of the run.
    """

    plan: TunePlan
    base: OpenedNetwork
    split: TuningSplit
    tiles: tuple[TuningTile, ...]
    curve_tiles: tuple[TuningTile, ...]
    settings: TuningSettings
    read_section: Callable[[int], NDArray[np.uint8]]
    key: str
    folder: Path


def prepare_tuning(request: TuneRequest, report: Report = lambda _progress: None) -> PreparedTuning:
    """Open all that a fine-tuning needs, and divide what was corrected; nothing is written.

    Raises
    ------
    NeuropilError
        If an input cannot be read or does not fit, too little was corrected, or the output exists.
    """
    from napari_neuropil.inference.devices import choose_device
    from napari_neuropil.training.finetune_split import SplitSettings, split_objects
    from napari_neuropil.workflows.tuning.run_folder import run_key, steps_done

    out = _checked_output(request)
    device = choose_device(request.device)
    volume = open_prompt_volume(
        request.image,
        voxel_size=VoxelSize(*request.voxel_size) if request.voxel_size else None,
        roi=request.roi,
        project=request.project,
    )
    base = _open_base(request.base)
    _, height, width = volume.shape
    factors = best_factors(volume.pixel_size, base.pixel_sizes_nm, (height, width))
    grid = SectionGrid(volume.shape, factors)
    found = gather_corrections(request, volume, factors, report)
    gap = max(1, round(_GAP_NM / volume.voxel_size.z)) if request.gap is None else request.gap
    split = split_objects(
        found.objects,
        SplitSettings(by=request.held_out, held_out=request.share, gap=gap, seed=request.seed),
    )

    def read_section(z: int) -> NDArray[np.uint8]:
        return grid.pool(volume.section(z))

    trainer = _trainer(request.trainer, base)
    settings = _settings(request, trainer)
    folder = out.with_suffix(".run")
    decisive: dict[str, Any] = {
        "settings": settings.model_dump(mode="json"),
        "pseudo_weight": request.pseudo_weight,
        "factors": factors,
        "image": request.image,
    }
    key = run_key(base.network, split, decisive)
    tiles = _training_tiles(split, read_section, base.network.input_side, request.pseudo_weight)
    curve = _curve_tiles(split, read_section, base.network.input_side)
    plan = _plan(
        request, volume, base, split, found,
        device=str(device), factors=factors, tiles=len(tiles), steps=settings.optimiser.steps,
        done_steps=steps_done(folder, key), folder=str(folder), trainer=trainer,
        learning=_learning(base, settings),
    )  # fmt: skip
    return PreparedTuning(
        plan, base, split, tuple(tiles), tuple(curve), settings, read_section, key, folder
    )


def _checked_output(request: TuneRequest) -> Path:
    out = Path(request.out).expanduser()
    if out.suffix != ".safetensors":
        raise SettingsError(f"{out} is no name for a checkpoint.", "NAME.safetensors", "")
    if out.exists() and not request.overwrite:
        raise OutputError(f"{out} exists.", "a new file", "choose another name or --overwrite.")
    return out


def _open_base(name: str) -> OpenedNetwork:
    from napari_neuropil.prompts.sam_networks import open_network
    from napari_neuropil.prompts.segmenters import DEFAULT_SEGMENTER, SEGMENTERS

    if name in SEGMENTERS and name != DEFAULT_SEGMENTER:
        raise SettingsError(
            f"{SEGMENTERS[name].title} cannot learn.",
            "a network: compact, a published model such as vit_b, or a file",
            "choose another base.",
        )
    return open_network(name)


def _trainer(wish: TrainerWish, base: OpenedNetwork) -> Trainer:
    """Return whose loop trains a network.

    Raises
    ------
    MissingExtraError
        If micro_sam's is wished for, and not installed.
    """
    from napari_neuropil.networks.vit_sam import VitSam
    from napari_neuropil.prompts._micro_sam import check_installed, is_installed

    if wish == "micro_sam":
        check_installed()
    if wish == "auto":
        return "micro_sam" if isinstance(base.network, VitSam) and is_installed() else "own"
    return wish


def _settings(request: TuneRequest, trainer: Trainer) -> TuningSettings:
    from napari_neuropil.training.sam_patches import SamPatchSettings
    from napari_neuropil.training.trainer import OptimiserSettings
    from napari_neuropil.training.tuning_examples import TuningSettings

    every = max(1, min(_MOST_STEPS, request.steps // _LEAST_SAVES))
    return TuningSettings(
        trainer=trainer,
        parts=request.parts,
        prompts=SamPatchSettings(objects=8, smallest_part=request.smallest),
        optimiser=OptimiserSettings(
            steps=request.steps,
            learning_rate=request.learning_rate or _RATES[request.parts],
            warm_up=min(10, request.steps // 10),
            average=0.95,
            save_every=every,
            # The curve costs as much as a few steps do.
            validate_every=2 * every,
        ),
        seed=request.seed,
    )


def _training_tiles(
    split: TuningSplit,
    read_section: Callable[[int], NDArray[np.uint8]],
    side: int,
    pseudo_weight: float,
) -> list[TuningTile]:
    """Cut what is learned from; corrected and pseudo objects lie in tiles of their own."""
    from dataclasses import replace

    from napari_neuropil.training.tuning_tiles import cut_tiles

    own = [item for item in split.training if not item.pseudo]
    pseudo = [item for item in split.training if item.pseudo]
    guessed = [
        replace(tile, weight=pseudo_weight) for tile in cut_tiles(pseudo, read_section, side)
    ]
    return [tile for tile in (*cut_tiles(own, read_section, side), *guessed) if tile.parts.any()]


def _curve_tiles(
    split: TuningSplit, read_section: Callable[[int], NDArray[np.uint8]], side: int, most: int = 8
) -> list[TuningTile]:
    """Cut some of what is measured on, for a curve that costs little."""
    from napari_neuropil.training.tuning_tiles import cut_tiles

    sections = sorted({item.z for item in split.held_out})
    places = np.unique(np.linspace(0, len(sections) - 1, most).round().astype(int))
    chosen = {sections[int(place)] for place in places}
    some = [item for item in split.held_out if item.z in chosen]
    tiles = [tile for tile in cut_tiles(some, read_section, side) if tile.parts.any()]
    return tiles[:: max(1, len(tiles) // most)][:most]


def _learning(base: OpenedNetwork, settings: TuningSettings) -> int:
    """Return how many numbers of a network learn."""
    from napari_neuropil.networks.lora import attention_layers
    from napari_neuropil.networks.tuned_part import encoder_of, learning_names

    sizes = {name: p.numel() for name, p in base.network.named_parameters()}
    layers = attention_layers(encoder_of(base.network)) if settings.parts == "lora" else []
    # The differences of low rank are not there yet.
    differences = sum(settings.rank * sum(layer.weight.shape) for layer in layers)
    return differences + sum(sizes[name] for name in learning_names(base.network, settings.parts))


def _plan(
    request: TuneRequest,
    volume: PromptVolume,
    base: OpenedNetwork,
    split: TuningSplit,
    found: Corrections,
    **facts: Any,
) -> TunePlan:
    own = [item for item in split.training if not item.pseudo]
    pseudo = len(split.training) - len(own)
    notices = list(split.warnings)
    if pseudo:
        notices.append(
            f"{pseudo} cross-sections that nobody checked join the training, drawn "
            f"{request.pseudo_weight:g} times as often; none is measured on."
        )
    size = volume.voxel_size
    return TunePlan(
        request=request,
        base=base.name,
        base_fingerprint=base.network.fingerprint(),
        voxel_size=(size.z, size.y, size.x),
        training_objects=len(own),
        training_segments=_distinct(own, "segment"),
        training_sections=_distinct(own, "z"),
        held_out_objects=len(split.held_out),
        held_out_segments=_distinct(split.held_out, "segment"),
        held_out_sections=_distinct(split.held_out, "z"),
        pseudo_objects=pseudo,
        left_out=split.left_out + found.covered,
        notices=tuple(notices),
        **facts,
    )


def _distinct(
    objects: tuple[SectionObject, ...] | list[SectionObject], name: str
) -> tuple[int, ...]:
    return tuple(sorted({int(getattr(item, name)) for item in objects}))

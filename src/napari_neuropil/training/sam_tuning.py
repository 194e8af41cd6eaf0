"""Fine-tuning of a promptable network on corrected objects of a few sections.

By default the encoder stays as it is: each section is encoded once, and only what answers prompts
learns. That is quick, and stored image embeddings stay valid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from napari_neuropil.networks.feature_window import Features, cut_features
from napari_neuropil.networks.lora import merge_lora
from napari_neuropil.networks.promptable import PromptableNetwork
from napari_neuropil.networks.tuned_part import Parts, TunedSpec, encoder_of
from napari_neuropil.prompts.section_tiles import nearest_tile, tile_boxes
from napari_neuropil.training.augmentation import (
    AugmentationSettings,
    damage_image,
    flip_and_turn,
)
from napari_neuropil.training.learning_part import LearningPart, tuned_state
from napari_neuropil.training.micro_sam_training import train_with_micro_sam
from napari_neuropil.training.sam_crop import choose_crop, cut_parts
from napari_neuropil.training.sam_loss import SamLossSettings, sam_patch_loss
from napari_neuropil.training.sam_patches import SamPatch, SamPatchSettings, choose_objects
from napari_neuropil.training.sam_view import section_input
from napari_neuropil.training.section_objects import SectionObject, paint_objects
from napari_neuropil.training.trainer import OptimiserSettings, train


class TuningSettings(BaseModel):
    """What learns, from how much, how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trainer: Literal["own", "micro_sam"] = Field(
        "own", description="The loop here, or micro_sam's, which then must be installed."
    )
    parts: Parts = Field("decoder", description="decoder, lora (and the decoder), or all.")
    rank: int = Field(4, ge=1, description="Of the low-rank differences.")
    alpha: float = Field(4.0, gt=0, description="Their strength.")
    prompts: SamPatchSettings = SamPatchSettings(objects=8)
    loss: SamLossSettings = SamLossSettings()
    augmentation: AugmentationSettings = AugmentationSettings(damage=0, occlude=0)
    optimiser: OptimiserSettings = OptimiserSettings(
        steps=200, learning_rate=1e-4, warm_up=10, average=0.95, save_every=20, validate_every=20
    )
    window: int = Field(
        256,
        ge=64,
        description="Pixels of a section that one example shows, where sections are encoded once "
        "and the network takes any size.",
    )
    seed: int = Field(0, ge=0, description="Of everything random.")


@dataclass(frozen=True, eq=False, slots=True)
class TuningTile:
    """A section, or a tile of one, with objects.

    Parameters
    ----------
    z : int
        The section.
    image : ndarray of uint8, (Y, X)
        Its pixels.
    parts : ndarray of int64, (Y, X)
        Objects from 1; 0 elsewhere.
    features : mapping of str to ndarray, optional
        The image, encoded.
    box : tuple of int
        Where it lies in its section, (y0, x0, y1, x1), half open.
    weight : float
        How often it is drawn, relative to a tile with as many objects.
    """

    z: int
    image: NDArray[np.uint8]
    parts: NDArray[np.int64]
    features: Features | None = None
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    weight: float = 1.0


def cut_tiles(
    objects: Sequence[SectionObject], read_section: Callable[[int], NDArray[np.uint8]], side: int
) -> list[TuningTile]:
    """Cut sections into tiles that a network sees whole, and leave out those without objects.

    Parameters
    ----------
    objects : sequence of SectionObject
        Each goes to the tile whose centre is nearest to it, as at a click.
    read_section : callable
        Returns section z, (Y, X) uint8.
    side : int
        Of a tile, pixels.
    """
    tiles = []
    for z in sorted({item.z for item in objects}):
        section = read_section(z)
        members = [item for item in objects if item.z == z]
        boxes = tile_boxes((section.shape[0], section.shape[1]), side, side // 4)
        places = [nearest_tile(boxes, _centre(item)) for item in members]
        for number in sorted(set(places)):
            y0, x0, y1, x1 = box = boxes[number]
            inside = [m for m, place in zip(members, places, strict=True) if place == number]
            parts = paint_objects(inside, (section.shape[0], section.shape[1]))
            tiles.append(
                TuningTile(z, section[y0:y1, x0:x1].copy(), parts[y0:y1, x0:x1].copy(), box=box)
            )
    return tiles


def _centre(item: SectionObject) -> tuple[float, float]:
    y0, x0, y1, x1 = item.box
    return (y0 + y1) / 2, (x0 + x1) / 2


@torch.no_grad()
def encode_tile(network: PromptableNetwork, tile: TuningTile, device: torch.device) -> TuningTile:
    """Return a tile with what the encoder makes of it, as halves."""
    grey = torch.from_numpy(tile.image.astype(np.float32) / 255)
    features = network.encode(section_input(network, grey, device))
    kept = {name: tensor[0].to("cpu", torch.float16).numpy() for name, tensor in features.items()}
    return replace(tile, features=kept)


class TuningSampler:
    """Draws examples from tiles; the same step gives the same example.

    Parameters
    ----------
    tiles : sequence of TuningTile
        One with more objects is drawn more often. Those that are encoded are not augmented.
    settings : TuningSettings
        Prompts, augmentation, seed.
    window : int, optional
        Encoded tiles are shown through a window of so many pixels; None shows them whole.
    """

    def __init__(
        self, tiles: Sequence[TuningTile], settings: TuningSettings, window: int | None = None
    ) -> None:
        self.tiles = tuple(tiles)
        self.settings = settings
        self.window = window
        most = settings.prompts.objects
        counts = [min(int(tile.parts.max()), most) for tile in tiles]
        weights = np.array([n * tile.weight for n, tile in zip(counts, tiles, strict=True)], float)
        self._shares = weights / weights.sum()

    def draw(self, step: int) -> SamPatch:
        """Return the example of `step`."""
        rng = np.random.default_rng([self.settings.seed, step])
        tile = self.tiles[rng.choice(len(self.tiles), p=self._shares)]
        image, parts = (tile.image / 255).astype(np.float32), tile.parts
        if tile.features is None:
            turned, labels = flip_and_turn(image[None], parts[None].astype(np.uint32), rng)
            image = damage_image(turned, self.settings.augmentation, rng)[0]
            parts = labels[0].astype(np.int64)
            return choose_objects(image, parts, self.settings.prompts, rng)
        if self.window is None:
            return choose_objects(image, parts, self.settings.prompts, rng, tile.features)
        crop = choose_crop(parts, self.window, rng)
        features = cut_features(tile.features, crop, image.shape)
        return choose_objects(
            image[crop], cut_parts(parts, crop), self.settings.prompts, rng, features
        )


def tune_network(
    network: PromptableNetwork,
    training: Sequence[TuningTile],
    held_out: Sequence[TuningTile],
    settings: TuningSettings,
    folder: Path,
    device: torch.device,
    report: Callable[[int, Mapping[str, float]], None] = lambda _step, _terms: None,
) -> tuple[dict[str, Tensor], TunedSpec]:
    """Fine-tune a network; started again with the same folder, it goes on where it stopped.

    Parameters
    ----------
    network : PromptableNetwork
        Becomes the tuned one, in evaluation mode.
    training, held_out : sequence of TuningTile
        From `cut_tiles`. The latter give the curve in the log: 1 minus the mean intersection over
        union of first prompts.
    settings : TuningSettings
        What learns.
    folder : Path
        Gets the state and ``log.csv``.
    device : torch.device
        Where to compute.
    report : callable
        Called with (step, loss terms) after each step; may raise to stop.

    Returns
    -------
    state : dict of str to Tensor
        What learned, for `networks.tuned_part.save_tuned`.
    spec : TunedSpec
        What it belongs to.
    """
    network.to(device).eval()
    base = network.fingerprint()
    if settings.parts == "decoder":
        training, held_out = (
            [t if t.features is not None else encode_tile(network, t, device) for t in tiles]
            for tiles in (training, held_out)
        )
    part = LearningPart(
        network, settings.parts, rank=settings.rank, alpha=settings.alpha, seed=settings.seed
    )
    loss = partial(sam_patch_loss, settings=settings.loss)
    sampler = TuningSampler(training, settings, settings.window if network.takes_windows else None)
    validation = validation_patches(held_out, settings)
    train_part = train_with_micro_sam if settings.trainer == "micro_sam" else train
    weights = train_part(
        part, loss, sampler, validation, settings.optimiser, folder, device, report
    )
    part.load_state_dict(weights)
    state = {name: tensor.detach().cpu().clone() for name, tensor in tuned_state(weights).items()}
    merge_lora(encoder_of(network))
    network.requires_grad_(requires_grad=False)
    lora = settings.parts == "lora"
    spec = TunedSpec(
        base=base,
        parts=settings.parts,
        rank=settings.rank if lora else 0,
        alpha=settings.alpha if lora else 0.0,
        steps=settings.optimiser.last_step,
    )
    return state, spec


def validation_patches(tiles: Sequence[TuningTile], settings: TuningSettings) -> list[SamPatch]:
    """Return one example of each tile, with all its objects as far as memory allows."""
    every = settings.prompts.model_copy(update={"objects": 4 * settings.prompts.objects})
    rng = np.random.default_rng(settings.seed)
    return [
        choose_objects((t.image / 255).astype(np.float32), t.parts, every, rng, t.features)
        for t in tiles
    ]

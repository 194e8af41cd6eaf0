"""What a fine-tuning shows its network: settings, and an example for each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.networks.feature_window import cut_features
from napari_neuropil.networks.tuned_part import Parts
from napari_neuropil.training.augmentation import (
    AugmentationSettings,
    damage_image,
    flip_and_turn,
)
from napari_neuropil.training.sam_crop import choose_crop, cut_parts
from napari_neuropil.training.sam_loss import SamLossSettings
from napari_neuropil.training.sam_patches import SamPatch, SamPatchSettings, choose_objects
from napari_neuropil.training.trainer import OptimiserSettings
from napari_neuropil.training.tuning_tiles import TuningTile


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


def validation_patches(tiles: Sequence[TuningTile], settings: TuningSettings) -> list[SamPatch]:
    """Return one example of each tile, with all its objects as far as memory allows."""
    every = settings.prompts.model_copy(update={"objects": 4 * settings.prompts.objects})
    rng = np.random.default_rng(settings.seed)
    return [
        choose_objects((t.image / 255).astype(np.float32), t.parts, every, rng, t.features)
        for t in tiles
    ]

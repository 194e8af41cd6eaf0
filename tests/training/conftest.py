"""Promptable networks small enough for tests, and sections of discs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks.prompt_maps import MAP_COUNT, draw_prompts
from napari_neuropil.networks.promptable import PromptableNetwork, PromptTensors

_WIDTH = 16


class TinySam(PromptableNetwork):
    """A few convolutions that take prompts; learns discs in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.input_side, self.mask_stride, self.prompt_stride = 64, 2, 2
        self.enlarges = False
        self.mean, self.std = (128.0,), (64.0,)
        self.image_encoder = nn.Sequential(
            nn.Conv2d(1, _WIDTH, 3, stride=2, padding=1),
            nn.BatchNorm2d(_WIDTH),  # changes in training mode even where nothing learns
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
        )
        self.mask_decoder = nn.Sequential(
            nn.Conv2d(_WIDTH + MAP_COUNT + 1, 2 * _WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * _WIDTH, 2 * _WIDTH, 5, padding=2),
            nn.ReLU(),
        )
        self.masks, self.scores = nn.Conv2d(2 * _WIDTH, 4, 1), nn.Linear(2 * _WIDTH, 4)
        self.heard: list[tuple[PromptTensors, bool]] = []
        self.said: list[tuple[Tensor, Tensor]] = []

    def encode(self, sections: Tensor) -> dict[str, Tensor]:
        return {"image": self.image_encoder(self.normalise(sections))}

    def mask_grid(self, features: Mapping[str, Tensor]) -> tuple[int, int]:
        height, width = features["image"].shape[-2:]
        return height, width

    def decode(
        self,
        features: Mapping[str, Tensor],
        prompts: PromptTensors,
        *,
        multimask: bool,
        origin: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor]:
        assert origin == (0, 0)
        image = features["image"]
        given = next(t for t in (prompts.boxes, prompts.points) if t is not None)
        grid, count = self.mask_grid(features), len(given)
        maps = draw_prompts(prompts, grid, 2, count)
        masks = image.new_zeros(count, 1, *grid) if prompts.masks is None else prompts.masks
        assert maps is not None
        joined = torch.cat([image.expand(count, -1, -1, -1), maps, masks.clamp(-5, 5)], dim=1)
        hidden = self.mask_decoder(joined)
        readings = slice(1, 4) if multimask else slice(0, 1)
        logits = self.masks(hidden)[:, readings]
        scores = self.scores(hidden.mean(dim=(2, 3)))[:, readings]
        self.heard.append((prompts, multimask))
        self.said.append((logits.detach(), scores.detach()))
        return logits, scores


class GreyOracle(PromptableNetwork):
    """Answers with all pixels of the grey value under the first point or the box's middle."""

    def __init__(self, side: int, mask_stride: int, *, enlarges: bool) -> None:
        super().__init__()
        self.input_side, self.mask_stride, self.prompt_stride = side, mask_stride, mask_stride
        self.enlarges = enlarges
        self.mean, self.std = (0.0,), (1.0,)
        self.image_encoder = nn.Identity()
        self.scale = nn.Parameter(torch.ones(()))

    def encode(self, sections: Tensor) -> dict[str, Tensor]:
        height, width = sections.shape[-2:]
        assert max(height, width) <= self.input_side
        if self.enlarges:
            assert max(height, width) == self.input_side
        margin = (0, self.input_side - width, 0, self.input_side - height)
        return {"image": functional.pad(sections, margin)}

    def mask_grid(self, features: Mapping[str, Tensor]) -> tuple[int, int]:
        side = self.input_side // self.mask_stride
        return side, side

    def decode(
        self,
        features: Mapping[str, Tensor],
        prompts: PromptTensors,
        *,
        multimask: bool,
        origin: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor]:
        assert origin == (0, 0)
        section = features["image"][0, 0]
        if prompts.points is not None:
            places = prompts.points[:, 0]
        else:
            assert prompts.boxes is not None
            places = (prompts.boxes[:, :2] + prompts.boxes[:, 2:]) / 2 - 0.5
        ys, xs = places.round().long().unbind(1)
        same = (section[None] - section[ys, xs][:, None, None]).abs() < 26
        logits = functional.avg_pool2d(20.0 * same[:, None] - 10, self.mask_stride)
        count = 3 if multimask else 1
        return self.scale * logits.expand(-1, count, -1, -1), self.scale * torch.ones(
            len(ys), count
        )


def _draw_discs(seed: int, side: int = 64) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    rng = np.random.default_rng(seed)
    ys, xs = np.indices((side, side))
    labels = np.zeros((side, side), np.uint32)
    image = np.full((side, side), 60.0)
    for number, (y, x) in enumerate(((16, 16), (16, 48), (48, 16), (48, 48)), start=1):
        radius = rng.uniform(6, 12)
        disc = np.hypot(ys - y - rng.uniform(-3, 3), xs - x - rng.uniform(-3, 3)) < radius
        labels[disc] = number
        image[disc] = 60 + 45 * number
    return (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8), labels


def _make_tiny_sam() -> TinySam:
    torch.manual_seed(0)
    return TinySam()


@pytest.fixture
def tiny_sam() -> TinySam:
    return _make_tiny_sam()


@pytest.fixture(scope="session")
def make_tiny_sam() -> Callable[[], TinySam]:
    """Return a function that returns the same network each time."""
    return _make_tiny_sam


@pytest.fixture(scope="session")
def grey_oracle() -> type[GreyOracle]:
    return GreyOracle


@pytest.fixture(scope="session")
def draw_discs() -> Callable[[int], tuple[NDArray[np.uint8], NDArray[np.uint32]]]:
    """Return a function of a seed: a section of four discs of different grey, and their labels."""
    return _draw_discs

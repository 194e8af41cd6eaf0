"""How an example lies in a network's input: grids, scales and prompts between the two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_neuropil.networks.compact_encoder import EMBEDDING_STRIDE, INPUT_MULTIPLE
from napari_neuropil.networks.promptable import PromptableNetwork, PromptTensors
from napari_neuropil.training.sam_patches import SamPatch


@dataclass(frozen=True, slots=True)
class SamView:
    """An example on a device, and how its pixels lie in the network's input.

    Parameters
    ----------
    network : PromptableNetwork
        Answers.
    features : dict of str to Tensor
        The section, encoded.
    wanted : Tensor of bool, (N, Y, X)
        True masks, on the grid of the example's objects.
    boxes : Tensor, (N, 4)
        Tight boxes in pixels of the image.
    step : int
        Image pixels of a cell.
    scale : float
        Input pixels of an image pixel.
    origin : tuple of int
        Place of the section in the frame of a network that has one.
    """

    network: PromptableNetwork
    features: dict[str, Tensor]
    wanted: Tensor
    boxes: Tensor
    step: int
    scale: float
    origin: tuple[int, int]

    def answer(
        self,
        cells: Tensor | None,
        signs: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None = None,
        *,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits on the example's grid, on the network's own, and scores.

        Parameters
        ----------
        cells, signs : Tensor, optional
            Points (N, P, 2) on the example's grid, (N, P).
        boxes : Tensor, optional
            In pixels of the image.
        masks : Tensor, optional
            Logits on the network's own grid, (N, y, x).
        multimask : bool
            Ask for three answers.
        """
        pixels = None if cells is None else (cells + 0.5) * self.step
        prompts = PromptTensors(
            points=None if pixels is None else pixels * self.scale - 0.5,
            positive=signs,
            boxes=None if boxes is None else boxes * self.scale,
            masks=None if masks is None else self._as_prompt(masks),
        )
        own, scores = self.network.decode(
            self.features, prompts, multimask=multimask, origin=self.origin
        )
        return self._on_grid(own), own, scores

    def _as_prompt(self, masks: Tensor) -> Tensor:
        grid = self.network.mask_grid(self.features)
        resized = masks[:, None]
        if resized.shape[-2:] != grid:
            resized = functional.interpolate(resized, grid, mode="bilinear", align_corners=False)
        return resized

    def _on_grid(self, own: Tensor) -> Tensor:
        # The network's grid covers its padded input; what lies beyond the section is cut off.
        # The nudge keeps a whole number of cells from being rounded down to one less.
        cells = self.network.mask_stride / (self.scale * self.step) * (1 + 1e-7)
        height, width = self.wanted.shape[-2:]
        wide = functional.interpolate(
            own,
            scale_factor=(cells, cells),
            mode="bilinear",
            align_corners=False,
            recompute_scale_factor=False,
        )
        return wide[..., :height, :width]


def view_patch(network: PromptableNetwork, patch: SamPatch, device: torch.device) -> SamView:
    """Bring an example to a device, and encode its section unless that has been done."""
    scale = network.input_side / max(patch.image.shape) if network.enlarges else 1.0
    if patch.features is not None:
        features = {
            name: torch.from_numpy(array)[None].to(device, torch.float32)
            for name, array in patch.features.items()
        }
    else:
        features = network.encode(
            section_input(network, torch.from_numpy(patch.image.copy()), device)
        )
    numbers = torch.arange(1, patch.count + 1, device=device)[:, None, None]
    origin = _place_in_frame(network.input_side, patch) if network.takes_windows else (0, 0)
    return SamView(
        network,
        features,
        torch.from_numpy(patch.objects.copy()).to(device)[None] == numbers,
        torch.from_numpy(patch.boxes).to(device),
        patch.step,
        scale,
        origin,
    )


def _place_in_frame(side: int, patch: SamPatch) -> tuple[int, int]:
    """Return a multiple of the embedding's stride at which the padded section fits the frame."""
    padded = [n + -n % INPUT_MULTIPLE for n in patch.image.shape]
    places = [
        int(chance * ((side - n) // EMBEDDING_STRIDE + 1)) * EMBEDDING_STRIDE
        for chance, n in zip(patch.chance.origin, padded, strict=True)
    ]
    return places[0], places[1]


def section_input(network: PromptableNetwork, image: Tensor, device: torch.device) -> Tensor:
    """Return a section (Y, X) in [0, 1] as a network takes it: (1, 1, Y, X) in [0, 255]."""
    section = 255 * image.to(device)[None, None]
    if network.enlarges and max(image.shape) != network.input_side:
        scale = network.input_side / max(image.shape)
        size = [round(scale * n) for n in image.shape]
        section = functional.interpolate(section, size, mode="bilinear", align_corners=False)
    return section

"""The encoder of the compact SAM: a SegNeuron network that has been trained before.

A small encoder that learns from masks alone needs many hours on a CPU until it knows what a
membrane is. SegNeuron's network knows, also where it sees a single section: a watershed in true
boxes on its membranes reaches 0.79 intersection over union there, 0.80 with its neighbours (three
sections of AC4 80-99, 125 objects), on the smoothed image 0.74. It stays as it is; learned are the
layers that bring its features to the widths of the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks.compact_encoder import conv_norm
from napari_neuropil.networks.mnet import MNet

BORDER = "border"
"""Feature: where membranes are, logits on the section's own pixels."""


class MNetEncoder(nn.Module):
    """Features of single sections.

    Parameters
    ----------
    trunk : mapping
        What the `MNet` is built with.
    channels : int
        Of the embedding at 1/8.
    middle, fine : int
        Of the features at 1/4 and at 1/2.
    """

    def __init__(self, trunk: Mapping[str, Any], channels: int, middle: int, fine: int) -> None:
        super().__init__()
        self.trunk = MNet(**trunk).requires_grad_(requires_grad=False)
        first, second, third, fourth, _ = self.trunk.widths
        self.image = nn.Sequential(
            conv_norm(2 * (third + fourth), channels), nn.ReLU(), conv_norm(channels, channels)
        )
        self.middle = nn.Conv2d(2 * (second + third), middle, 1)
        self.fine = nn.Conv2d(2 * (first + second) + 1, fine, 1)

    def forward(self, section: Tensor) -> dict[str, Tensor]:
        """Encode a section.

        Parameters
        ----------
        section : Tensor, (B, 1, Y, X)
            Grey values in [0, 1]; Y and X multiples of 32.

        Returns
        -------
        dict of str to Tensor
            ``image`` at 1/8, ``middle`` at 1/4, ``fine`` at 1/2; ``border`` at 1.
        """
        return self.adapt(self.look(section))

    @torch.no_grad()
    def look(self, section: Tensor) -> list[Tensor]:
        """Return what the trunk sees: features at 1/2, 1/4 and 1/8, and membranes."""
        logits, foreground, levels = self.trunk.logits_and_features(section[:, :, None])
        inside = torch.minimum(logits[:, 1:3].amin(dim=1, keepdim=True), foreground)
        full, half, quarter, eighth = (level[:, :, 0] for level in levels)
        border = -inside[:, :, 0]
        pooled = functional.max_pool2d(border, 2)
        return [
            torch.cat([functional.avg_pool2d(full, 2), half, pooled], dim=1),
            torch.cat([functional.avg_pool2d(half, 2), quarter], dim=1),
            torch.cat([functional.avg_pool2d(quarter, 2), eighth], dim=1),
            border,
        ]

    def adapt(self, seen: list[Tensor]) -> dict[str, Tensor]:
        """Return the features that the decoder takes of what `look` gave."""
        fine, middle, image, border = seen
        return {
            "image": self.image(image),
            "middle": self.middle(middle),
            "fine": self.fine(fine),
            BORDER: border,
        }

"""A compact SAM: the published prompt encoder and transformer behind a small encoder of ours.

Five things differ from the published network, because this one must learn from a few sections on
a CPU. The encoder is convolutional, and may be one that has been trained before. Prompts are also
drawn onto the embedding (`prompt_maps`); without that, discs in noise were not found after 125
steps, with it after 75. The mask decoder gets the encoder's features at 1/4 and 1/2, as in SAM 2
(2024, sec. 4), so the rim of a mask need not pass through an embedding at 1/8. And what the decoder
says is added to a first guess, which before training is the filled box, or the mask that was given:
training begins there, instead of with a hundred steps in which the network learns to answer nothing
at all. Where the encoder knows membranes, the box is flooded up to them first, and convolutions see
guess, prompts and fine features side by side at the end: which pixels of the box to take is a
question of their surroundings, not of the whole section.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks._segment_anything import import_sam_parts
from napari_neuropil.networks.compact_encoder import (
    EMBEDDING_STRIDE,
    INPUT_MULTIPLE,
    CompactEncoder,
)
from napari_neuropil.networks.flood_guess import FloodGuess
from napari_neuropil.networks.mnet_encoder import BORDER, MNetEncoder
from napari_neuropil.networks.prompt_maps import MAP_COUNT, draw_prompts
from napari_neuropil.networks.promptable import PromptableNetwork, PromptTensors

_HEADS: Final = 8
_DEPTH: Final = 2
_READINGS: Final = 3
_MASK_CHANNELS: Final = 16
_FIRST_SAY: Final = 0.01
"""What the decoder has to say before training, relative to usual first weights."""


class CompactSam(PromptableNetwork):
    """SAM for a CPU: 4.0 M parameters, of which 3.2 M in the encoder.

    Parameters
    ----------
    input_side : int
        Pixels of the longest section; a multiple of 32.
    width : int
        Channels of the embedding and of the transformer; a multiple of 32.
    encoder_widths, encoder_blocks : sequence of int
        As `CompactEncoder`.
    trunk : mapping, optional
        Arguments of an `MNet` that has been trained before: an `MNetEncoder` instead.
    detail : tuple of int
        Channels of the features at 1/4 and at 1/2.
    position_scale : float
        Frequencies of the position code, relative to SAM's. There objects are as large as the
        image; neurites are small, and places close to each other must differ.
    grey : tuple of float
        Mean and deviation of the grey values 0 to 255 it is trained with.
    """

    def __init__(
        self,
        input_side: int = 512,
        width: int = 128,
        encoder_widths: Sequence[int] = (32, 64, 128, 192, 192),
        encoder_blocks: Sequence[int] = (1, 1, 2, 1),
        trunk: Mapping[str, Any] | None = None,
        detail: tuple[int, int] = (32, 8),
        position_scale: float = 4.0,
        grey: tuple[float, float] = (128.0, 48.0),
    ) -> None:
        super().__init__()
        if input_side % INPUT_MULTIPLE:
            raise ValueError(f"input_side {input_side} is no multiple of {INPUT_MULTIPLE}")
        parts = import_sam_parts()
        grid = input_side // EMBEDDING_STRIDE
        middle, fine = detail
        self.input_side = input_side
        self.mask_stride = self.prompt_stride = EMBEDDING_STRIDE // 4
        self.enlarges = False
        self.takes_windows = True
        self.mean, self.std = (float(grey[0]),), (float(grey[1]),)
        self.image_encoder: nn.Module
        self.flooded: FloodGuess | None = None
        if trunk is None:
            self.image_encoder = CompactEncoder(encoder_widths, encoder_blocks, width, middle, fine)
        else:
            self.mean, self.std = (0.0,), (255.0,)  # as the trunk was trained
            self.image_encoder = MNetEncoder(trunk, width, middle, fine)
            self.flooded = FloodGuess(fine)
        self.prompt_encoder: Any = parts.PromptEncoder(
            embed_dim=width,
            image_embedding_size=(grid, grid),
            input_image_size=(input_side, input_side),
            mask_in_chans=_MASK_CHANNELS,
        )
        frequencies = self.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
        frequencies.mul_(position_scale)
        self.prompt_maps = nn.Conv2d(MAP_COUNT, width, 1)
        self.mask_decoder: Any = parts.MaskDecoder(
            num_multimask_outputs=_READINGS,
            transformer=parts.TwoWayTransformer(
                depth=_DEPTH, embedding_dim=width, num_heads=_HEADS, mlp_dim=4 * width
            ),
            transformer_dim=width,
            iou_head_depth=3,
            iou_head_hidden_dim=width,
        )
        with torch.no_grad():
            for head in self.mask_decoder.output_hypernetworks_mlps:
                head.layers[-1].weight.mul_(_FIRST_SAY)
                head.layers[-1].bias.mul_(_FIRST_SAY)
        self.first_guess = _box_fill() if trunk is None else _nothing_yet()
        self.mask_gain = nn.Parameter(torch.ones(1))
        self.from_middle = nn.Conv2d(middle, width // 4, 1)
        self.from_fine = nn.Conv2d(fine, width // 8, 1)

    def encode(self, sections: Tensor) -> dict[str, Tensor]:
        """Return ``image`` at 1/8, ``middle`` at 1/4 and ``fine`` at 1/2 of the padded section."""
        height, width = sections.shape[-2:]
        margin = (0, -width % INPUT_MULTIPLE, 0, -height % INPUT_MULTIPLE)
        features: dict[str, Tensor] = self.image_encoder(
            functional.pad(self.normalise(sections), margin)
        )
        return features

    def decode(
        self,
        features: Mapping[str, Tensor],
        prompts: PromptTensors,
        *,
        multimask: bool,
        origin: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor]:
        """Return logits and predicted scores.

        Parameters
        ----------
        features, prompts, multimask
            As everywhere.
        origin : tuple of int
            Where the section lies in a frame of `input_side`, in pixels, multiples of 8. Training
            on small crops draws it at random, so that no place in the frame stays unknown.
        """
        image = features["image"]
        grid = (image.shape[-2], image.shape[-1])
        tokens, dense, guess = self._embed(prompts, grid, origin)
        if self.flooded is not None:
            guess = guess + self.flooded(features[BORDER], prompts, len(tokens))
        low = (origin[0] // EMBEDDING_STRIDE, origin[1] // EMBEDDING_STRIDE)
        places = self.prompt_encoder.get_dense_pe()[
            :, :, low[0] : low[0] + grid[0], low[1] : low[1] + grid[1]
        ]
        decoder = self.mask_decoder
        count = len(tokens)
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        answers, seen = decoder.transformer(
            image + dense,
            places.expand(count, -1, -1, -1),
            torch.cat([own.expand(count, -1, -1), tokens], dim=1),
        )
        pixels = self._sharpen(seen.transpose(1, 2).unflatten(2, grid), features)
        readings = range(1, 1 + _READINGS) if multimask else range(1)
        weights = torch.stack(
            [decoder.output_hypernetworks_mlps[i](answers[:, 1 + i]) for i in readings], dim=1
        )
        logits = guess + torch.einsum("bmc,bcyx->bmyx", weights, pixels)
        if self.flooded is not None:
            logits = logits + self.flooded.refine(logits, features["fine"], prompts)
        scores = decoder.iou_prediction_head(answers[:, 0])
        return logits, scores[:, readings.start : readings.stop]

    def _embed(
        self, prompts: PromptTensors, grid: tuple[int, int], origin: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return prompts as tokens (B, N, C), as a field (B, C, y, x) and as a first mask."""
        place = self.prompt_maps.weight.new_tensor(origin)
        points, boxes, positive = prompts.points, prompts.boxes, prompts.positive
        moved = PromptTensors(
            None if points is None else points + place,
            positive,
            None if boxes is None else boxes + place.repeat(2),
        )
        sparse_points, sparse_boxes = moved.for_prompt_encoder()
        tokens, _ = self.prompt_encoder(points=sparse_points, boxes=sparse_boxes, masks=None)
        masks = prompts.masks
        if sparse_points is None and sparse_boxes is None and masks is not None:
            tokens = tokens.expand(len(masks), -1, -1)  # it counts points and boxes only
        maps = draw_prompts(prompts, grid, EMBEDDING_STRIDE, len(tokens))
        field = self.prompt_maps(maps)
        guess = functional.interpolate(self.first_guess(maps), scale_factor=4.0, mode="bilinear")
        if masks is None:
            field = field + self.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        else:
            field = field + self.prompt_encoder.mask_downscaling(masks)
            guess = guess + self.mask_gain * masks
        return tokens, field, guess

    def _sharpen(self, seen: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Return the embedding (B, C, y, x) at four times the resolution, (B, C / 8, 4 y, 4 x)."""
        first, norm, activate, second, activate_last = self.mask_decoder.output_upscaling
        middle = self.from_middle(features["middle"])
        fine = self.from_fine(features["fine"])
        wide = activate(norm(first(seen) + middle))
        sharp: Tensor = activate_last(second(wide) + fine)
        return sharp


def _box_fill() -> nn.Conv2d:
    """Return what makes a first mask of drawn prompts: at the start the box, or the point.

    Sure of itself from the start: a faint guess leaves soft losses so much to win by making
    everything darker that the mask is lost with it.
    """
    layer = nn.Conv2d(MAP_COUNT, 1, 1)
    values = {"weight": torch.tensor([8.0, 8.0, -8.0]).view(1, MAP_COUNT, 1, 1)}
    layer.load_state_dict({**values, "bias": torch.tensor([-4.0])})
    return layer


def _nothing_yet() -> nn.Conv2d:
    """Return what adds nothing to a flooded guess before training."""
    layer = nn.Conv2d(MAP_COUNT, 1, 1)
    for tensor in layer.parameters():
        nn.init.zeros_(tensor)
    return layer

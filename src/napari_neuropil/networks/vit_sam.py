"""SAM with its published encoders (Segment Anything, ICCV 2023; vit_t: MobileSAM, 2023).

How large a network is follows from the shapes of its tensors, so neither the name of a file nor a
user has to say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks._segment_anything import build_tiny_sam, import_sam_parts
from napari_neuropil.networks.promptable import PromptableNetwork, PromptTensors

_MEAN: Final = (123.675, 116.28, 103.53)
_STD: Final = (58.395, 57.12, 57.375)
_KINDS: Final = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
_TINY_SIDE: Final = 1024
_DECODER_HEADS: Final = 8


@dataclass(frozen=True, slots=True)
class VitSize:
    """What the shapes of a SAM's tensors tell.

    Parameters
    ----------
    width, depth, heads, mlp : int
        Of the encoder's blocks.
    patch, grid : int
        Pixels of a patch, patches of a side.
    window : int
        Patches that a local block sees.
    global_blocks : tuple of int
        Blocks that see all patches.
    channels : int
        Of the embedding.
    mask_channels, decoder_depth, decoder_mlp, mask_count, score_width, score_depth : int
        Of prompt encoder and mask decoder.
    """

    width: int
    depth: int
    heads: int
    mlp: int
    patch: int
    grid: int
    window: int
    global_blocks: tuple[int, ...]
    channels: int
    mask_channels: int
    decoder_depth: int
    decoder_mlp: int
    mask_count: int
    score_width: int
    score_depth: int

    @property
    def kind(self) -> str:
        """What the authors call this size."""
        return _KINDS.get(self.width, f"vit of width {self.width}")


def read_vit_size(state: Mapping[str, Tensor]) -> VitSize:
    """Return the size of the network that a state dict belongs to.

    Raises
    ------
    KeyError, IndexError, ValueError
        If tensors that tell it are missing, or are none of a SAM's.
    """
    _, grid, _, width = state["image_encoder.pos_embed"].shape
    depth = _count(state, "image_encoder.blocks.")
    reaches = [state[f"image_encoder.blocks.{i}.attn.rel_pos_h"].shape for i in range(depth)]
    local = [(rows + 1) // 2 for rows, _ in reaches if rows != 2 * grid - 1]
    scores = "mask_decoder.iou_prediction_head.layers."
    return VitSize(
        width=width,
        depth=depth,
        heads=width // reaches[0][1],
        mlp=len(state["image_encoder.blocks.0.mlp.lin1.bias"]),
        patch=state["image_encoder.patch_embed.proj.weight"].shape[-1],
        grid=grid,
        window=local[0] if local else 0,
        global_blocks=tuple(i for i, (rows, _) in enumerate(reaches) if rows == 2 * grid - 1),
        channels=len(state["image_encoder.neck.0.weight"]),
        mask_channels=len(state["prompt_encoder.mask_downscaling.3.bias"]),
        decoder_depth=_count(state, "mask_decoder.transformer.layers."),
        decoder_mlp=len(state["mask_decoder.transformer.layers.0.mlp.lin1.bias"]),
        mask_count=len(state["mask_decoder.mask_tokens.weight"]) - 1,
        score_width=len(state[f"{scores}0.bias"]),
        score_depth=_count(state, scores),
    )


class VitSam(PromptableNetwork):
    """SAM as published. Its state dict has the published names.

    Parameters
    ----------
    image_encoder, prompt_encoder, mask_decoder : Module
        The package's own.
    kind : str
        Such as ``vit_b``.
    input_side : int
        Pixels of the padded input.
    """

    prompt_encoder: Any

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: Any,
        mask_decoder: nn.Module,
        kind: str,
        input_side: int,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.kind = kind
        self.input_side = input_side
        grid = int(prompt_encoder.image_embedding_size[0])
        self.mask_stride = self.prompt_stride = input_side // (4 * grid)
        self.enlarges = True
        self.mean = _MEAN
        self.std = _STD

    def encode(self, sections: Tensor) -> dict[str, Tensor]:
        """Return ``image``: (B, 256, 64, 64)."""
        height, width = sections.shape[-2:]
        margin = (0, self.input_side - width, 0, self.input_side - height)
        return {"image": self.image_encoder(functional.pad(self.normalise(sections), margin))}

    def decode(
        self,
        features: Mapping[str, Tensor],
        prompts: PromptTensors,
        *,
        multimask: bool,
        origin: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor]:
        """Return logits and predicted scores."""
        del origin  # its places are those of the whole input
        points, boxes = prompts.for_prompt_encoder()
        sparse, dense = self.prompt_encoder(points=points, boxes=boxes, masks=prompts.masks)
        logits, scores = self.mask_decoder(
            image_embeddings=features["image"],
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        return logits, scores


def build_vit_sam(size: VitSize) -> VitSam:
    """Return a SAM of a size, without values: they wait for a checkpoint.

    Raises
    ------
    MissingExtraError
        If segment_anything is not installed.
    """
    parts = import_sam_parts()
    side = size.grid * size.patch
    # On the device without memory first: filling a ViT-H with random numbers takes a minute.
    with torch.device("meta"):
        encoder = parts.ImageEncoderViT(
            img_size=side,
            patch_size=size.patch,
            embed_dim=size.width,
            depth=size.depth,
            num_heads=size.heads,
            mlp_ratio=size.mlp / size.width,
            out_chans=size.channels,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=size.window,
            global_attn_indexes=size.global_blocks,
        )
        prompt_encoder = parts.PromptEncoder(
            embed_dim=size.channels,
            image_embedding_size=(size.grid, size.grid),
            input_image_size=(side, side),
            mask_in_chans=size.mask_channels,
        )
        decoder = parts.MaskDecoder(
            num_multimask_outputs=size.mask_count,
            transformer=parts.TwoWayTransformer(
                depth=size.decoder_depth,
                embedding_dim=size.channels,
                num_heads=_DECODER_HEADS,
                mlp_dim=size.decoder_mlp,
            ),
            transformer_dim=size.channels,
            iou_head_depth=size.score_depth,
            iou_head_hidden_dim=size.score_width,
        )
        network = VitSam(encoder, prompt_encoder, decoder, size.kind, side)
    return network.to_empty(device="cpu")


def build_vit_t() -> VitSam:
    """Return MobileSAM.

    Raises
    ------
    MissingExtraError
        If mobile_sam is not installed.
    """
    sam = build_tiny_sam()
    return VitSam(sam.image_encoder, sam.prompt_encoder, sam.mask_decoder, "vit_t", _TINY_SIDE)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbered parts there are under a prefix."""
    found = {name[len(prefix) :].partition(".")[0] for name in state if name.startswith(prefix)}
    return len(found)

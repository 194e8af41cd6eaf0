"""What SAM-like networks have in common: a section is encoded once, prompts are decoded quickly."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_ENCODER = "image_encoder."


@dataclass(frozen=True, eq=False, slots=True)
class PromptTensors:
    """Prompts of one section, in pixels of the network's input; y comes first.

    Parameters
    ----------
    points : Tensor of float32, (B, N, 2), optional
        (y, x); 0 is the middle of the first pixel. None where there are none.
    positive : Tensor of float32, (B, N), optional
        1 where a point lies in the object, 0 where it does not.
    boxes : Tensor of float32, (B, 4), optional
        (y0, x0, y1, x1), half open.
    masks : Tensor of float32, (B, 1, h, w), optional
        Logits of the object so far, on the grid `PromptableNetwork.mask_grid`.
    """

    points: Tensor | None = None
    positive: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None

    def for_prompt_encoder(self) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
        """Return points with signs, and boxes, in SAM's order: x first."""
        points = None
        if self.points is not None and self.positive is not None:
            points = (self.points.flip(-1), self.positive)
        boxes = None if self.boxes is None else self.boxes[:, [1, 0, 3, 2]]
        return points, boxes


class PromptableNetwork(nn.Module):
    """A network that turns a section and prompts into masks.

    Attributes
    ----------
    input_side : int
        Pixels of the longest section it takes.
    mask_stride : int
        Input pixels, along y and x, of one logit of a mask.
    prompt_stride : int
        Input pixels of one logit of a mask that is a prompt.
    enlarges : bool
        Whether smaller sections are to be scaled up to `input_side`.
    takes_windows : bool
        Whether `decode` answers from a part of a section's features as it does from all of them.
    mean, std : tuple of float
        Of grey values 0 to 255, one for each channel of the encoder.
    """

    input_side: int
    mask_stride: int
    prompt_stride: int
    enlarges: bool
    takes_windows: bool = False
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @abstractmethod
    def encode(self, sections: Tensor) -> dict[str, Tensor]:
        """Return the features of sections.

        Parameters
        ----------
        sections : Tensor of float32, (B, 1, Y, X)
            Grey values 0 to 255, at most `input_side` long. Padded here, below and to the right.

        Returns
        -------
        dict of str to Tensor
            Each (B, C, y, x).
        """

    @abstractmethod
    def decode(
        self,
        features: Mapping[str, Tensor],
        prompts: PromptTensors,
        *,
        multimask: bool,
        origin: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor]:
        """Return masks of prompts in one section.

        Parameters
        ----------
        features : mapping of str to Tensor
            Of `encode`, for one section: (1, C, y, x).
        prompts : PromptTensors
            B prompts.
        multimask : bool
            Return three readings of each prompt, for prompts that leave open which object is
            meant; else one.
        origin : tuple of int
            Where the features lie in a frame of `input_side`, in input pixels; other than (0, 0)
            only of a network that takes windows.

        Returns
        -------
        logits : Tensor, (B, 3 or 1, y, x)
            Above 0 inside the object; each covers `mask_stride` input pixels.
        scores : Tensor, (B, 3 or 1)
            Predicted intersection over union.
        """

    def mask_grid(self, features: Mapping[str, Tensor]) -> tuple[int, int]:
        """Return the shape that masks must have as prompts."""
        height, width = features["image"].shape[-2:]
        return 4 * height, 4 * width

    def normalise(self, sections: Tensor) -> Tensor:
        """Return sections (B, 1, Y, X) with the encoder's channels, mean 0 and deviation 1."""
        mean = sections.new_tensor(self.mean).view(1, -1, 1, 1)
        std = sections.new_tensor(self.std).view(1, -1, 1, 1)
        return (sections - mean) / std

    def fingerprint(self) -> str:
        """Return a hash of all that features depend on: the encoder and what goes into it.

        Tuning only the decoder leaves it as it was, and stored features with it.
        """
        digest = hashlib.sha256(repr((self.input_side, self.mean, self.std)).encode())
        for name, tensor in sorted(self.state_dict().items()):
            if name.startswith(_ENCODER):
                digest.update(f"{name}{tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
        return digest.hexdigest()

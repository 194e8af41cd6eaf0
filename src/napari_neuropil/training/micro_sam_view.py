"""Our examples and networks in the form that micro_sam's trainer expects.

Its trainer asks its model for two things: to encode the images of a batch, and to answer prompts
that it made from the labels. It looks at no weights, so any `PromptableNetwork` can stand there.
It gives places on the grid of the labels, x before y; `SamView` brings them to the network's input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_neuropil.training.learning_part import LearningPart, network_of
from napari_neuropil.training.sam_patches import SamPatch
from napari_neuropil.training.sam_view import SamView, view_patch

Inputs = dict[str, Any]
"""Of one image: ``patch``, ``original_size``, and the prompts of N objects by SAM's names."""


@dataclass(frozen=True, eq=False, slots=True)
class ShownPatch:
    """An example as the trainer passes it on: of the image it asks the range of values only.

    Parameters
    ----------
    patch : SamPatch
        The example.
    """

    patch: SamPatch

    def labels(self) -> Tensor:
        """Return objects from 1, (1, 1, Y, X) int64."""
        return torch.from_numpy(self.patch.objects.copy())[None, None]

    def min(self) -> float:
        """Return the least grey value."""
        return 255 * float(self.patch.image.min())

    def max(self) -> float:
        """Return the largest grey value; at least 1, or a dark example counts as normalised."""
        return max(1.0, 255 * float(self.patch.image.max()))


def has_prompts(patch: SamPatch) -> bool:
    """Whether the trainer can prompt an example: it needs objects and a place outside of each.

    It also takes the least label for background, so an example without background lacks an object.
    """
    return patch.count > 0 and bool((np.asarray(patch.objects) == 0).any())


class ShowPatches:
    """Makes first prompts for an example, and keeps the example with them.

    Parameters
    ----------
    convert : callable
        micro_sam's ``ConvertToSamInputs``.
    """

    def __init__(self, convert: Callable[..., tuple[list[Inputs], list[Any]]]) -> None:
        self._convert = convert

    def __call__(
        self, shown: ShownPatch, labels: Tensor, *prompts: Any, **more: Any
    ) -> tuple[list[Inputs], list[Any]]:
        """Return inputs and the objects that they are about."""
        # Of an image it takes the shape only, which is that of the labels.
        inputs, objects = self._convert(labels, labels, *prompts, **more)
        for item in inputs:
            item["patch"] = shown.patch
        return inputs, objects


class SamePlaces:
    """Leaves places as they are: they are brought to the network's input with the example."""

    def apply_coords_torch(self, coords: Tensor, original_size: tuple[int, ...]) -> Tensor:
        """Return points."""
        del original_size
        return coords

    def apply_boxes_torch(self, boxes: Tensor, original_size: tuple[int, ...]) -> Tensor:
        """Return boxes."""
        del original_size
        return boxes


class TrainableNetwork(nn.Module):
    """A promptable network as micro_sam's trainer uses one.

    Parameters
    ----------
    part : LearningPart
        What learns; its parameters are this module's.
    device : torch.device
        Where it is.
    """

    def __init__(self, part: LearningPart, device: torch.device) -> None:
        super().__init__()
        self.part = part
        self.transform = SamePlaces()
        self.init_kwargs: dict[str, Any] = {}  # asked for; it is never built anew from them
        self._device = device

    def image_embeddings_oft(self, inputs: list[Inputs]) -> tuple[list[SamView], list[Inputs]]:
        """Return the images of a batch, encoded, and the inputs."""
        network = network_of(self.part)
        return [view_patch(network, item["patch"], self._device) for item in inputs], inputs

    def forward(
        self,
        batched_inputs: Sequence[Inputs],
        image_embeddings: Sequence[SamView],
        multimask_output: bool = False,
    ) -> list[dict[str, Tensor]]:
        """Return ``masks`` and ``low_res_masks`` (N, M, y, x), logits; ``iou_predictions`` (N, M).

        The first are on the grid of the labels, the second on that of mask prompts.
        """
        answers = []
        for item, view in zip(batched_inputs, image_embeddings, strict=True):
            points, boxes, masks = (
                item.get(name) for name in ("point_coords", "boxes", "mask_inputs")
            )
            logits, own, scores = view.answer(
                None if points is None else self._here(points).flip(-1),
                None if points is None else self._here(item["point_labels"]),
                None if boxes is None else view.step * self._here(boxes)[:, [1, 0, 3, 2]],
                None if masks is None else self._here(masks)[:, 0],
                multimask=multimask_output,
            )
            answers.append({"masks": logits, "low_res_masks": own, "iou_predictions": scores})
        return answers

    def _here(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, torch.float32)

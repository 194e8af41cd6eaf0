"""Prompts as tensors, in batches that one pass of a decoder can take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from napari_neuropil.networks.promptable import PromptTensors
from napari_neuropil.prompts.boxes import box_of_mask
from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.prompts.section_scaling import SectionScaling


def group_prompts(prompts: Sequence[Prompt], most: int) -> Iterator[list[int]]:
    """Yield indices of prompts that fit into one pass: of one make, at most `most`.

    Prompts of different makes are never filled up to one: a mask must not depend on what else
    was asked.
    """
    makes: dict[tuple[int, bool, bool], list[int]] = {}
    for index, prompt in enumerate(prompts):
        make = (len(prompt.points), prompt.box is not None, prompt.mask is not None)
        makes.setdefault(make, []).append(index)
    for members in makes.values():
        for low in range(0, len(members), most):
            yield members[low : low + most]


def is_open(prompt: Prompt) -> bool:
    """Whether a prompt leaves open which object is meant: a single point may lie in several."""
    return prompt.box is None and prompt.mask is None and len(prompt.points) == 1


def prompt_tensors(
    prompts: Sequence[Prompt],
    scaling: SectionScaling,
    grid: tuple[int, int],
    stride: int,
    device: torch.device,
) -> PromptTensors:
    """Return checked prompts of one make as tensors.

    Parameters
    ----------
    prompts : sequence of Prompt
        All with as many points, all or none with a box, all or none with a mask. One that has
        only a mask gets its box too: networks are not trained with masks alone.
    scaling : SectionScaling
        From the section to the network's input.
    grid, stride
        Of masks as prompts: cells, input pixels of a cell.
    device : torch.device
        Where the network is.
    """
    factors = np.array(scaling.factors)
    points = positive = masks = None
    if len(prompts[0].points):
        middles = np.stack([np.asarray(p.points, np.float64) for p in prompts]) + 0.5
        points = _tensor(middles * factors - 0.5, device)
        positive = _tensor(np.stack([p.positive for p in prompts]), device)
    if prompts[0].mask is not None:
        odds = [scaling.mask_logits(p.mask, grid, stride) for p in prompts if p.mask is not None]
        masks = _tensor(np.stack(odds)[:, None], device)
    corners = [_corners(p) for p in prompts]
    boxes = None
    if corners[0] is not None:
        boxes = _tensor(np.array(corners, np.float64) * np.tile(factors, 2), device)
    return PromptTensors(points, positive, boxes, masks)


def _corners(prompt: Prompt) -> tuple[float, ...] | None:
    if prompt.box is None and prompt.mask is not None and not len(prompt.points):
        tight = box_of_mask(prompt.mask)
        return None if tight is None else tuple(float(value) for value in tight[0])
    return prompt.box


def _tensor(
    values: np.ndarray[tuple[int, ...], np.dtype[np.generic]], device: torch.device
) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)

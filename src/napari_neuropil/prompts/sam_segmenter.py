"""Any SAM-like network as a segmenter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_neuropil.errors import SettingsError
from napari_neuropil.networks.feature_window import cut_features
from napari_neuropil.networks.promptable import PromptableNetwork
from napari_neuropil.networks.tuned_part import encoder_of
from napari_neuropil.prompts.islands import without_islands
from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.prompt_check import check_prompts, check_section
from napari_neuropil.prompts.prompt_window import is_cut, prompt_in_window, windows_of_prompt
from napari_neuropil.prompts.right_of_way import RightOfWay
from napari_neuropil.prompts.sam_batches import group_prompts, is_open, prompt_tensors
from napari_neuropil.prompts.section_scaling import SectionScaling
from napari_neuropil.prompts.segmenter import ImageEmbedding

_MARGIN: Final = 1.0
"""Logits between which a stable mask does not change (Segment Anything, appendix B)."""
_BLANK: Final = "blank"
_OUT_OF_MEMORY: Final = ("not enough memory", "out of memory", "can't allocate memory")
"""The CPU's allocator, on Windows and elsewhere, and Metal say so in a plain RuntimeError."""

_T = TypeVar("_T")


class SamSegmenter:
    """Turns boxes, points and masks into masks with a SAM-like network.

    Parameters
    ----------
    network : PromptableNetwork
        Published or ours. Put on the device and into evaluation mode.
    name : str
        What users call it.
    device : str
        ``cpu``, ``cuda`` or ``mps``.
    batch : int
        Most prompts in one pass; 8 of them take about 0.5 GB with published networks.
    pixel_sizes_nm : tuple of float
        Pixel sizes at which the network was trained, where known.
    """

    def __init__(
        self,
        network: PromptableNetwork,
        name: str,
        device: str = "cpu",
        *,
        batch: int = 8,
        pixel_sizes_nm: tuple[float, ...] = (),
    ) -> None:
        self._device = torch.device(device)
        self._fingerprint = network.fingerprint()
        self._network = network.eval().to(self._device)
        self._name = name
        self._batch = batch
        # A section is encoded ahead in another thread; together both take several times as long.
        self._way = RightOfWay()
        self.pixel_sizes_nm = pixel_sizes_nm

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    @property
    def fingerprint(self) -> str:
        """Hash of all that embeddings depend on; tuning the mask decoder leaves it as it is."""
        return self._fingerprint

    @property
    def longest_side(self) -> int:
        """Pixels of the network's input."""
        return self._network.input_side

    @property
    def network(self) -> PromptableNetwork:
        """The network itself, for training."""
        return self._network

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        """Return the features of a section as float16; of a section without tissue, nothing.

        Parameters
        ----------
        section : NDArray of uint8, (Y, X)
            Longer ones than `longest_side` are scaled down.

        Raises
        ------
        VolumeFormatError
            If it is no such section.
        SettingsError
            If memory does not suffice.
        """
        check_section(section)
        shape = (section.shape[0], section.shape[1])
        if section.min() == section.max():
            return ImageEmbedding({_BLANK: np.ones(1, np.uint8)}, shape)
        grey = torch.from_numpy(section.astype(np.float32))[None, None]
        grey = self._scaling(shape).scale(grey).to(self._device)
        with torch.inference_mode(), self._way.pausing(encoder_of(self._network)):
            features = _within_memory(lambda: self._network.encode(grey))
        if features is None:
            raise SettingsError(
                f"Memory does not suffice for {self._name} on {self._device}.",
                "a device with more memory",
                "choose a smaller segmenter, or the device cpu.",
            )
        arrays = {k: v[0].half().cpu().numpy() for k, v in features.items()}
        return ImageEmbedding(arrays, shape)

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        """Return a mask for each prompt.

        One reading of boxes, masks and several points; of a single point the best of three by
        predicted score.

        Raises
        ------
        SettingsError
            If a prompt points at nothing, or memory does not suffice for a single one.
        """
        checked = check_prompts(prompts, embedding.shape)
        if _BLANK in embedding.arrays:
            return [SectionMask(np.zeros(embedding.shape, np.bool_), 0.0, 0.0) for _ in checked]
        with torch.inference_mode(), self._way.first():
            if self._network.takes_windows and max(embedding.shape) <= self.longest_side:
                return [self._in_window(embedding, prompt) for prompt in checked]
            features = self._features(embedding)
            found: dict[int, SectionMask] = {}
            for members in group_prompts(checked, self._batch):
                some = [checked[i] for i in members]
                for i, item in zip(members, self._decode(features, some, embedding), strict=True):
                    inside = checked[i].points[checked[i].positive]
                    found[i] = replace(item, mask=without_islands(item.mask, inside))
        return [found[index] for index in range(len(checked))]

    def _in_window(self, embedding: ImageEmbedding, prompt: Prompt) -> SectionMask:
        """Return the mask of one prompt, for which as little as possible is decoded."""
        shape = embedding.shape
        for window in windows_of_prompt(prompt, shape):
            arrays = cut_features(embedding.arrays, window, shape)
            part = ImageEmbedding(
                arrays, (window[0].stop - window[0].start, window[1].stop - window[1].start)
            )
            (found,) = self._decode(
                self._features(part),
                [prompt_in_window(prompt, window)],
                part,
                (window[0].start, window[1].start),
            )
            if not is_cut(found.mask, window, shape):
                break
        mask = np.zeros(shape, np.bool_)
        inside = prompt.points[prompt.positive] - (window[0].start, window[1].start)
        mask[window] = without_islands(found.mask, inside)
        return replace(found, mask=mask)

    def _features(self, embedding: ImageEmbedding) -> dict[str, Tensor]:
        return {
            name: torch.from_numpy(np.asarray(array, np.float32))[None].to(self._device)
            for name, array in embedding.arrays.items()
        }

    def _scaling(self, shape: tuple[int, int]) -> SectionScaling:
        network = self._network
        return SectionScaling.to_side(shape, network.input_side, enlarge=network.enlarges)

    def _decode(
        self,
        features: dict[str, Tensor],
        prompts: Sequence[Prompt],
        embedding: ImageEmbedding,
        origin: tuple[int, int] = (0, 0),
    ) -> list[SectionMask]:
        """Return the masks of one group; in halves where memory does not suffice for all."""
        masks = _within_memory(lambda: self._decode_at_once(features, prompts, embedding, origin))
        if masks is not None:
            return masks
        if len(prompts) == 1:
            raise SettingsError(
                f"Memory does not suffice for one prompt with {self._name} on {self._device}.",
                "a device with more memory",
                "choose a smaller segmenter, or the device cpu.",
            )
        half = len(prompts) // 2
        first = self._decode(features, prompts[:half], embedding, origin)
        return first + self._decode(features, prompts[half:], embedding, origin)

    def _decode_at_once(
        self,
        features: dict[str, Tensor],
        prompts: Sequence[Prompt],
        embedding: ImageEmbedding,
        origin: tuple[int, int],
    ) -> list[SectionMask]:
        network, scaling = self._network, self._scaling(embedding.shape)
        tensors = prompt_tensors(
            prompts, scaling, network.mask_grid(features), network.prompt_stride, self._device
        )
        multimask = is_open(prompts[0])
        logits, scores = network.decode(features, tensors, multimask=multimask, origin=origin)
        best = scores.argmax(dim=1)
        every = torch.arange(len(prompts), device=best.device)
        logits, scores = logits[every, best], scores[every, best].clamp(0, 1)
        height, width = (-(-side // network.mask_stride) for side in scaling.size)
        stable = _stability(logits[:, :height, :width])
        return [
            SectionMask(mask, float(score), float(steady))
            for mask, score, steady in zip(
                scaling.restore(logits.cpu(), network.mask_stride),
                scores.tolist(),
                stable.tolist(),
                strict=True,
            )
        ]


def _stability(logits: Tensor) -> Tensor:
    """Return the overlap of masks (B, y, x) at a higher and a lower threshold; 0 if empty."""
    narrow = (logits > _MARGIN).sum(dim=(1, 2))
    wide = (logits > -_MARGIN).sum(dim=(1, 2))
    return narrow / wide.clamp(min=1)


def _within_memory(compute: Callable[[], _T]) -> _T | None:
    """Return what is computed, or None if memory ran out."""
    try:
        return compute()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(w in str(error) for w in _OUT_OF_MEMORY):
            raise
    return None

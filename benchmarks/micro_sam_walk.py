"""micro_sam's own walk through sections, with one of our segmenters in the place of its network.

So a benchmark compares the ways of walking and nothing else. Needs micro_sam; its functions run as
they are, except that choosing a section's embedding is answered here.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.prompts.segmenter import ImageEmbedding, Segmenter

MODES = ("mask", "box", "points", "points_and_mask", "single_point")
THRESHOLD = 0.5
"""Overlap with the section before, below which the walk ends: micro_sam's default."""


class _Predictor:
    """What micro_sam asks of SAM's predictor."""

    def __init__(self, segmenter: Segmenter, embed: Callable[[int], ImageEmbedding]) -> None:
        self._segmenter, self._embed = segmenter, embed
        self.z = 0

    def predict(
        self,
        point_coords: NDArray[Any] | None = None,
        point_labels: NDArray[Any] | None = None,
        box: NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask_output: bool = False,
        return_logits: bool = False,
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float32]]:
        """Answer one prompt in SAM's order (x first) about section `z`."""
        del multimask_output, return_logits
        embedding = self._embed(self.z)
        found: dict[str, Any] = {}
        if box is not None:
            x0, y0, x1, y1 = (float(v) for v in np.ravel(box))
            found["box"] = (y0, x0, y1, x1)
        if point_coords is not None and point_labels is not None:
            found["points"] = np.asarray(point_coords, np.float32)[:, ::-1]
            found["positive"] = np.asarray(point_labels) > 0
        if mask_input is not None:
            rows, columns = (np.arange(n) * 256 // max(embedding.shape) for n in embedding.shape)
            found["mask"] = np.asarray(mask_input)[0][np.ix_(rows, columns)] > 0
        (answer,) = self._segmenter.masks(embedding, [Prompt(**found)])
        logits = np.zeros((1, 256, 256), np.float32)
        return answer.mask[None], np.array([answer.score]), logits


def walk(
    z: int,
    mask: NDArray[np.bool_],
    segmenter: Segmenter,
    embed: Callable[[int], ImageEmbedding],
    depth: int,
    mode: str,
) -> NDArray[np.bool_]:
    """Return an object as micro_sam carries it from one section through all, (Z, Y, X)."""
    from micro_sam import multi_dimensional_segmentation, prompt_based_segmentation

    predictor = _Predictor(segmenter, embed)

    def choose(asked: _Predictor, _embeddings: Any, i: int, *_rest: Any, **_words: Any) -> Any:
        asked.z = int(i)
        return asked

    whole = np.zeros((depth, *mask.shape), np.uint8)
    whole[z] = mask
    util = prompt_based_segmentation.util
    before, util.set_precomputed = util.set_precomputed, choose
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found: Any = multi_dimensional_segmentation.segment_mask_in_volume(
                whole,
                predictor,
                {"features": None, "input_size": mask.shape, "original_size": mask.shape},
                np.array([z]),
                stop_lower=False,
                stop_upper=False,
                iou_threshold=THRESHOLD,
                projection=mode,
            )
    finally:
        util.set_precomputed = before
    volume = found[0] if isinstance(found, tuple) else found
    return np.asarray(volume) > 0

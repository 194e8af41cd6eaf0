"""The part of a section that is decoded for a prompt: what is pointed at, and its surroundings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.networks.compact_encoder import INPUT_MULTIPLE
from napari_neuropil.networks.feature_window import Window
from napari_neuropil.prompts.boxes import box_of_mask
from napari_neuropil.prompts.prompt import Prompt

_LEAST: Final = 256
"""Pixels along each side; the compact SAM learned on 192."""
_SURROUNDINGS: Final = 1.5
"""A window is at least so many times as long as what is pointed at."""


def windows_of_prompt(prompt: Prompt, shape: tuple[int, int]) -> Iterator[Window]:
    """Yield windows to decode, until one holds the whole answer: the last is the whole section.

    Parameters
    ----------
    prompt : Prompt
        Checked.
    shape : tuple of int
        Of the section, (Y, X).
    """
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    low, high = _extent(prompt)
    window = (_around(low[0], high[0], shape[0]), _around(low[1], high[1], shape[1]))
    if window != whole:
        yield window
    yield whole


def is_cut(mask: NDArray[np.bool_], window: Window, shape: tuple[int, int]) -> bool:
    """Whether a mask (y, x) reaches the rim of its window where the section goes on."""
    rims = (
        (window[0].start > 0, mask[0]),
        (window[0].stop < shape[0], mask[-1]),
        (window[1].start > 0, mask[:, 0]),
        (window[1].stop < shape[1], mask[:, -1]),
    )
    return any(inside and bool(rim.any()) for inside, rim in rims)


def prompt_in_window(prompt: Prompt, window: Window) -> Prompt:
    """Return a prompt of a section as one of a window of it."""
    y, x = window[0].start, window[1].start
    box = prompt.box
    return replace(
        prompt,
        box=None if box is None else (box[0] - y, box[1] - x, box[2] - y, box[3] - x),
        points=prompt.points - np.array([y, x], prompt.points.dtype),
        mask=None if prompt.mask is None else prompt.mask[window],
    )


def _extent(prompt: Prompt) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the box (y0, x0), (y1, x1) around all that is pointed at."""
    corners = [np.asarray(prompt.points, np.float64).reshape(-1, 2)]
    corners.append(corners[0] + 1)
    if prompt.box is not None:
        corners.append(np.array(prompt.box, np.float64).reshape(2, 2))
    tight = None if prompt.mask is None else box_of_mask(prompt.mask)
    if tight is not None:
        corners.append(np.array(tight[0], np.float64).reshape(2, 2))
    every = np.concatenate(corners)
    return every.min(axis=0), every.max(axis=0)


def _around(low: float, high: float, length: int) -> slice:
    wish = max(_LEAST, _SURROUNDINGS * (high - low))
    side = -(-int(np.ceil(wish)) // INPUT_MULTIPLE) * INPUT_MULTIPLE
    last = max(0, length + -length % INPUT_MULTIPLE - side) // INPUT_MULTIPLE
    start = INPUT_MULTIPLE * min(last, max(0, round(((low + high - side) / 2) / INPUT_MULTIPLE)))
    return slice(start, min(length, start + side))

"""Prompts looked at before a segmenter works on them, so that each of them refuses the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import NeuropilError, SettingsError, VolumeFormatError
from napari_neuropil.prompts.boxes import box_areas, box_of_mask, clip_boxes
from napari_neuropil.prompts.prompt import Prompt


def check_section(section: NDArray[np.generic]) -> None:
    """Refuse what is not a section of grey values 0 to 255.

    Raises
    ------
    VolumeFormatError
        If it is not two-dimensional, is empty or not uint8.
    """
    if section.ndim != 2 or not section.size:
        raise VolumeFormatError(
            f"A section of shape {section.shape}.", "(y, x), not empty", "choose one section."
        )
    if section.dtype != np.uint8:
        values = f"{section.min():g} to {section.max():g}"
        raise VolumeFormatError(
            f"A section of {section.dtype} with values {values}.",
            "uint8 with values 0 to 255",
            "stretch the grey values to 0-255 and convert them; values 0 to 1 look black.",
        )


def check_prompts(prompts: Sequence[Prompt], shape: tuple[int, int]) -> list[Prompt]:
    """Return prompts as segmenters take them: boxes inside the section, no empty masks.

    Raises
    ------
    SettingsError
        Naming the first prompt that points at nothing.
    """
    checked = []
    for index, prompt in enumerate(prompts):
        try:
            checked.append(check_prompt(prompt, shape))
        except NeuropilError as error:
            if len(prompts) == 1:
                raise
            raise SettingsError(
                f"Prompt {index + 1} of {len(prompts)}: {error.found}", error.expected, error.cure
            ) from error
    return checked


def check_prompt(prompt: Prompt, shape: tuple[int, int]) -> Prompt:
    """Return a prompt with its box clipped to the section and without an empty mask.

    Parameters
    ----------
    prompt : Prompt
        As a user or a detector gives it.
    shape : tuple of int
        Of the section, (Y, X).

    Raises
    ------
    SettingsError
        If it is empty, its box is empty, inside out or outside the section, a point lies outside,
        its mask has another shape, or nothing says where the object is.
    """
    mask = _check_mask(prompt.mask, shape)
    box = None if prompt.box is None else _check_box(prompt.box, shape)
    _check_points(prompt, shape)
    if box is None and mask is None and not prompt.positive.any():
        raise SettingsError(
            "A prompt that says only where the object is not."
            if len(prompt.points)
            else "An empty prompt.",
            "a box, a mask or a positive point",
            "point at the object.",
        )
    return replace(prompt, box=box, mask=mask)


def box_around(prompt: Prompt, shape: tuple[int, int], reach: float) -> tuple[int, int, int, int]:
    """Return whole pixels (y0, x0, y1, x1) in which the object of a checked prompt is sought.

    Its box; without one the box of its mask and its positive points, points with `reach` pixels
    around them.
    """
    corners = []
    if prompt.box is not None:
        corners.append(prompt.box)
    else:
        if prompt.mask is not None and (tight := box_of_mask(prompt.mask)) is not None:
            corners.append(tuple(tight[0]))
        corners += [
            (y - reach, x - reach, y + reach, x + reach) for y, x in prompt.points[prompt.positive]
        ]
    all_corners = np.array(corners, np.float64)
    low = np.floor(all_corners[:, :2].min(axis=0)).clip(0).astype(int)
    high = np.ceil(all_corners[:, 2:].max(axis=0)).astype(int)
    return int(low[0]), int(low[1]), min(int(high[0]), shape[0]), min(int(high[1]), shape[1])


def _check_box(
    box: tuple[float, float, float, float], shape: tuple[int, int]
) -> tuple[float, float, float, float]:
    given = np.array(box, np.float64)
    if given.shape != (4,) or not np.isfinite(given).all():
        raise SettingsError(f"A box {tuple(box)}.", "four finite numbers y0, x0, y1, x1", "")
    text = ", ".join(f"{value:g}" for value in given)
    if not box_areas(given[None].astype(np.float32))[0]:
        raise SettingsError(
            f"A box ({text}) that is empty or inside out.",
            "y0, x0, y1, x1 with y0 < y1 and x0 < x1",
            "draw the box again.",
        )
    clipped = clip_boxes(given[None], shape)
    if not box_areas(clipped)[0]:
        raise SettingsError(
            f"A box ({text}) outside the section of {shape[0]} by {shape[1]} pixels.",
            "a box that meets the section",
            "draw the box on the section.",
        )
    y0, x0, y1, x1 = (float(value) for value in clipped[0])
    return y0, x0, y1, x1


def _check_points(prompt: Prompt, shape: tuple[int, int]) -> None:
    points = np.asarray(prompt.points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(prompt.positive):
        raise SettingsError(
            f"Points of shape {points.shape} with {len(prompt.positive)} signs.",
            "(n, 2) with n signs",
            "",
        )
    # Half a pixel around the section still rounds to it.
    inside = (points >= -0.5) & (points < np.array(shape) - 0.5)
    if not inside.all():
        y, x = points[~inside.all(axis=1)][0]
        raise SettingsError(
            f"A point ({y:g}, {x:g}) outside the section of {shape[0]} by {shape[1]} pixels.",
            "points in the section",
            "take the point away.",
        )


def _check_mask(mask: NDArray[np.bool_] | None, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    if mask is None:
        return None
    if mask.shape != shape:
        raise SettingsError(
            f"A mask of {mask.shape} pixels for a section of {shape}.", "the same shape", ""
        )
    # An empty one would tell a network that there is no object, whatever box comes with it.
    return mask.astype(bool) if mask.any() else None

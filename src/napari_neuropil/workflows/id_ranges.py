"""Ids as people write them: ``1,7,8-24``."""

from __future__ import annotations

import re
from typing import Final

from napari_neuropil.errors import SettingsError

_PART: Final = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")
_MOST: Final = 1_000_000


def parse_ids(text: str) -> tuple[int, ...]:
    """Return the ids of a text, ascending, without repeats; none for an empty one.

    Raises
    ------
    SettingsError
        If it is no list of numbers and ranges, or a range runs backwards or is too long.
    """
    found: set[int] = set()
    for part in text.split(",") if text.strip() else ():
        match = _PART.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 0 <= last - first < _MOST:
            raise SettingsError(f"{text!r} is no list of ids.", "for example 1,7,8-24", "")
        found.update(range(first, last + 1))
    return tuple(sorted(found))

"""Inner loops that numba compiles. Importing this costs a second: import what uses it late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def compiled(function: _F) -> _F:
    """Compile a function at its first call, for good where a folder can be written."""
    try:
        return cast(_F, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # neither beside the source nor among the user's caches
        return cast(_F, numba.njit(nogil=True)(function))

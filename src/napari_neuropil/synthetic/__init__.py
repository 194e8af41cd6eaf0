"""Generated neuropil for the sample data, the examples and the tests. No I/O; numpy and scipy."""

from __future__ import annotations

from napari_neuropil.synthetic.known_errors import KnownError, KnownErrors, make_errors
from napari_neuropil.synthetic.neuropil import Neuropil, make_neuropil

__all__ = ["KnownError", "KnownErrors", "Neuropil", "make_errors", "make_neuropil"]

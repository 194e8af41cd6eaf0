"""Arrays with a place in space, on disk.

`open_volume` gives a lazy `Volume` for any format of the table in `formats`; `create_volume` and
`write_volume` make files that open again with the same values, voxel size and translation. The
format's own module (zarr, h5py, tifffile) is imported when a path asks for it, so importing this
package stays cheap.
"""

from __future__ import annotations

from napari_neuropil.volumes.formats import (
    add_levels,
    create_volume,
    open_volume,
    reopen_volume,
    write_volume,
)
from napari_neuropil.volumes.volume import LazyArray, Translation, Volume, check_image

__all__ = [
    "LazyArray",
    "Translation",
    "Volume",
    "add_levels",
    "check_image",
    "create_volume",
    "open_volume",
    "reopen_volume",
    "write_volume",
]

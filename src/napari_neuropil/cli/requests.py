"""From the words of a command to a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

R = TypeVar("R", bound="BaseModel")


def read_request(kind: type[R], voxel_size: str | None, **fields: Any) -> R:
    """Make a request of a command's words.

    Raises
    ------
    SettingsError
        Naming the first that is wrong.
    """
    from pydantic import ValidationError

    from napari_neuropil.errors import SettingsError
    from napari_neuropil.geometry import VoxelSize

    size = tuple(VoxelSize.parse(voxel_size)) if voxel_size else None
    try:
        return kind(voxel_size=size, **fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]).replace("_", "-")
        found = f" (found {first['input']!r:.60})" if name else ""
        raise SettingsError(f"{name}: {first['msg']}{found}".removeprefix(": ")) from error

"""The one door to trimesh: triangles into files that Blender, Neuroglancer and browsers read."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from napari_neuropil.segmentation.mesh import Mesh

MeshFormat = Literal["glb", "ply"]
MESH_FORMATS: Final[tuple[MeshFormat, ...]] = ("glb", "ply")


def write_mesh(file: Path, mesh: Mesh, form: MeshFormat) -> None:
    """Write a surface, axes (x, y, z), in nm; the file is there whole or not at all.

    Parameters
    ----------
    file : Path
        Replaced if it exists.
    mesh : Mesh
        Vertices (z, y, x) in nm.
    form : {"glb", "ply"}
        Binary glTF 2.0 or binary PLY.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    import trimesh  # half a second, and only here

    surface = trimesh.Trimesh(vertices=mesh.vertices[:, ::-1], faces=mesh.faces, process=False)
    content = surface.export(file_type=form)
    if not isinstance(content, bytes):
        raise TypeError(f"trimesh gave {type(content).__name__} for {form}, not bytes")
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)

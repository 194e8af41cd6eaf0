"""Have the fragments changed? A fingerprint that is cheap at any volume size.

An edit names fragments by id, so on other fragments it would do something else. Hashing every
voxel on every opening is out of the question; the hash the segmentation wrote, the names and sizes
of all stored chunks, and the bytes of some of them tell any change that is not built to hide.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from napari_neuropil.project import Project

_SAMPLES: Final = 16
_FOLDER: Final = "fragments.zarr"


def fingerprint_of(project: Project) -> str:
    """Return 32 hex digits that change when the fragments do; the same after a move or a copy."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{project.info.fingerprint} {project.info.fragment_count}".encode())
    root = project.path / _FOLDER
    files = sorted((p.relative_to(root).as_posix(), p) for p in _files(root))
    for name, path in files:
        digest.update(f"{name} {path.stat().st_size}\n".encode())
    step = max(1, len(files) // _SAMPLES)
    for _, path in files[::step]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.is_file()]

"""Does a folder lie on a network file system? Decides how the log is made durable."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

_NETWORK: Final = (
    "nfs", "cifs", "smb", "afs", "9p", "ncpfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs",
    "fuse", "webdav", "osxfuse", "macfuse", "virtiofs",
)  # fmt: skip


def is_network_folder(folder: Path) -> bool:
    """Return whether `folder` lies on a file system that other machines may share.

    What is unknown counts as local; FUSE counts as network, since most of it is.
    """
    target = str(folder.resolve())
    if target.startswith(("\\\\", "//")):
        return True
    best, kind = "", ""
    for mount in psutil.disk_partitions(all=True):
        point = mount.mountpoint
        inside = target == point or target.startswith(point.rstrip("/\\") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, mount.fstype.lower()
    return kind.startswith(_NETWORK)

"""Check an installed napari-neuropil: its files are there and napari finds the plugin.

``python -I check_installed.py PREFIX`` where PREFIX is the environment it must lie in.
"""

from __future__ import annotations

import sys
from pathlib import Path

from npe2 import PluginManager


def main(prefix: Path) -> None:
    """Leave with a message at the first thing that is missing."""
    import napari_neuropil

    package = Path(napari_neuropil.__file__).resolve().parent
    if not package.is_relative_to(prefix.resolve()):
        sys.exit(f"checked the wrong package: {package} is not inside {prefix}")
    for needed in ("napari.yaml", "weights/*/*.safetensors", "weights/*/*.json", "sample_data/*"):
        if not any(package.glob(needed)):
            sys.exit(f"the wheel lacks {needed}")

    manager = PluginManager()
    manager.discover()
    if "napari-neuropil" not in manager:
        found = [manifest.name for manifest in manager.iter_manifests()]
        sys.exit(f"napari does not find the plugin; it finds {found}")
    manager.activate("napari-neuropil")
    contributions = manager.get_manifest("napari-neuropil").contributions
    for command in contributions.commands or ():
        # Resolving imports the module and looks up the name: a typo in the manifest ends here.
        manager.commands.get(command.id)
    for kind in ("widgets", "readers", "writers", "sample_data"):
        count = len(getattr(contributions, kind) or ())
        if not count:
            sys.exit(f"the manifest offers no {kind}")
        print(f"napari finds {count} {kind}")
    if not list(manager.iter_compatible_readers(["image.zarr"])):
        sys.exit("no reader of the plugin takes image.zarr")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

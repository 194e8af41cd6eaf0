"""Run the command line as ``python -m napari_neuropil.cli`` (the window's worker does)."""

from __future__ import annotations

from napari_neuropil.cli.app import main

if __name__ == "__main__":
    main()

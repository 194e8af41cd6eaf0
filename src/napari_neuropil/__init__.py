"""Dense segmentation and proofreading of neurons in volume electron microscopy.

The rooms, from the bottom: `geometry`, `synthetic`, `volumes`, `blockwise`, `segmentation`,
`networks`, `project`, `evaluation`, `inference`, `methods`, `training`, `workflows`, and on top
`cli` and `plugin`. ARCHITECTURE.md has the walk of one datum through them.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("napari-neuropil")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "unknown"

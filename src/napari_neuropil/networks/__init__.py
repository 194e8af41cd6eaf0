"""Networks and their weights.

The functions are imported on first use, so that asking for the path of the shipped weights
costs no import of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_neuropil.networks.pretrained import pretrained_path

if TYPE_CHECKING:
    from napari_neuropil.networks.registry import load_checkpoint, load_published

__all__ = ["load_checkpoint", "load_published", "pretrained_path"]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is asked for."""
    if name in ("load_checkpoint", "load_published"):
        from napari_neuropil.networks import registry

        return getattr(registry, name)
    raise AttributeError(name)

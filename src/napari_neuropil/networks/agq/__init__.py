"""AGQ in parts: `network` puts them together, `labels` and `query_map` read off what it says."""

from __future__ import annotations

from typing import Any

from torch import nn

from napari_neuropil.networks.agq.network import AGQ
from napari_neuropil.networks.agq.on_mnet import AGQOnMNet

__all__ = ["AGQ", "AGQOnMNet", "build_agq"]


def build_agq(**arguments: Any) -> nn.Module:
    """Return `AGQOnMNet` where the arguments name a trunk, else `AGQ`."""
    return AGQOnMNet(**arguments) if "trunk" in arguments else AGQ(**arguments)

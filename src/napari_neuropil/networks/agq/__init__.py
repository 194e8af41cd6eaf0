"""AGQ in parts: `network` puts them together, `labels` and `query_map` read off what it says."""

from napari_neuropil.networks.agq.network import AGQ

__all__ = ["AGQ"]

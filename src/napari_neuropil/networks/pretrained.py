"""The checkpoints that ship with the package, by network. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from napari_neuropil.errors import CheckpointError

_WEIGHTS: Final = Path(__file__).resolve().parents[1] / "weights"

_TRAINED_AS: Final = {"dendrite-detector": "detector"}
"""What `neuropil train` calls them, where it is not their name."""


def pretrained_path(network: str) -> Path:
    """Return the shipped checkpoint of a network.

    Raises
    ------
    CheckpointError
        If none ships.
    """
    path = _WEIGHTS / network / f"{network}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"No weights for {network!r} ship with this installation.",
            str(path),
            f"give a checkpoint, or train one: neuropil train {_TRAINED_AS.get(network, network)} "
            "--settings FILE.yaml.",
        )
    return path

"""A SegNeuron network that has been trained before, as the part of another that is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from torch import nn

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks.checkpoint import fill_network, load_spec, load_state
from napari_neuropil.networks.pretrained import pretrained_path

_NETWORK: Final = "segneuron"


def trunk_arguments(trunk: str) -> dict[str, Any]:
    """Return what the `MNet` of a checkpoint is built with.

    Parameters
    ----------
    trunk : str
        Path of a checkpoint, or ``segneuron`` for the one that ships.

    Raises
    ------
    CheckpointError
        If it is missing, damaged or of another network.
    """
    spec = load_spec(_path(trunk))
    if spec.network != _NETWORK:
        raise CheckpointError(
            f"{trunk} is a checkpoint of {spec.network!r}.",
            f"one of {_NETWORK!r} as the trunk",
            "choose another for network.trunk.",
        )
    return dict(spec.arguments)


def fill_trunk(network: nn.Module, trunk: str) -> None:
    """Load the tensors of a checkpoint into an `MNet`; errors as of `trunk_arguments`."""
    path = _path(trunk)
    fill_network(network, load_state(path, load_spec(path)), str(path))


def _path(trunk: str) -> Path:
    return pretrained_path(trunk) if trunk == _NETWORK else Path(trunk)

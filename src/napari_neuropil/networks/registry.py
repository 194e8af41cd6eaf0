"""The table of networks: how each is built, and how its published checkpoint becomes one.

A new network adds a module and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from napari_neuropil.errors import CheckpointError
from napari_neuropil.geometry import Offset, Shape
from napari_neuropil.networks.agq import build_agq
from napari_neuropil.networks.checkpoint import (
    CheckpointSpec,
    fill_network,
    load_spec,
    load_state,
)
from napari_neuropil.networks.embedding_state import (
    adapt_embedding_state,
    read_embedding_arguments,
)
from napari_neuropil.networks.mnet import MNet
from napari_neuropil.networks.published import read_published_state
from napari_neuropil.networks.residual_unet import DIMENSIONS, PUBLISHED_WIDTHS, ResidualUNet

State = dict[str, torch.Tensor]

NEAREST_OFFSETS: Final[tuple[Offset, ...]] = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))

# The neighbours of `segmentation.metric_offsets`, a room that this one does not see; a test
# holds the two together.
METRIC_OFFSETS: Final[tuple[Offset, ...]] = (
    *NEAREST_OFFSETS,
    (-2, 0, 0),
    (0, 0, -5),
    (0, -5, 0),
    (0, -5, -5),
    (0, 5, -5),
    (-1, 0, -5),
    (-1, -5, 0),
    (1, 0, -5),
    (1, -5, 0),
)


def _as_it_is(state: State) -> State:
    return state


def _no_arguments(_state: State) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """A row of the table.

    Parameters
    ----------
    build : callable
        Makes the module from the spec's `arguments`.
    published_arguments : mapping
        Arguments of the authors' network.
    published_offsets : tuple of Offset
        Its affinity channels.
    published_voxel_sizes : tuple
        Voxel sizes (z, y, x) in nm at which the authors say it works.
    published_tile : Shape
        The authors' tile.
    published_settings : mapping
        The method's settings in the paper, where they differ from our defaults.
    published_source : str
        Paper and licence, for the spec.
    adapt_state : callable
        Brings the tensors of a published checkpoint under the network's own names.
    read_arguments : callable
        Arguments that the adapted tensors tell; they win over `published_arguments`.
    """

    build: Callable[..., nn.Module]
    published_arguments: Mapping[str, Any]
    published_offsets: tuple[Offset, ...]
    published_voxel_sizes: tuple[tuple[float, float, float], ...]
    published_tile: Shape
    published_settings: Mapping[str, Any]
    published_source: str
    adapt_state: Callable[[State], State] = _as_it_is
    read_arguments: Callable[[State], Mapping[str, Any]] = _no_arguments


NETWORKS: Final[dict[str, NetworkEntry]] = {
    "segneuron": NetworkEntry(
        build=MNet,
        published_arguments={},
        published_offsets=NEAREST_OFFSETS,
        published_voxel_sizes=((30.0, 8.0, 8.0), (8.0, 8.0, 8.0)),
        published_tile=(20, 128, 128),
        published_settings={
            "beta": 0.25,
            "views": "one",
            "watershed": "sections",
            "overlap": 0.5,
            "watershed_threshold": 0.25,
            "seed_sigma": 2.0,
            "height_sigma": 2.0,
            "smallest_fragment": 100,
        },
        published_source="SegNeuron, MICCAI 2024 (paper 0518); MIT",
    ),
    "voxel-embeddings": NetworkEntry(
        build=ResidualUNet,
        published_arguments={"widths": PUBLISHED_WIDTHS, "dimensions": DIMENSIONS},
        published_offsets=METRIC_OFFSETS,
        published_voxel_sizes=((30.0, 12.0, 12.0),),
        published_tile=(20, 128, 128),
        published_settings={},
        published_source="Dense voxel embeddings, IEEE TMI 40(12), 2021; licence unknown",
        adapt_state=adapt_embedding_state,
        read_arguments=read_embedding_arguments,
    ),
    "agq": NetworkEntry(
        build=build_agq,
        published_arguments={},
        published_offsets=NEAREST_OFFSETS,
        published_voxel_sizes=((30.0, 6.0, 6.0),),
        published_tile=(17, 257, 257),
        published_settings={},
        published_source="AGQ; MIT",
    ),
}


def network_entry(name: str) -> NetworkEntry:
    """Return a row of the table.

    Raises
    ------
    CheckpointError
        If there is no such network.
    """
    if name not in NETWORKS:
        raise CheckpointError(
            f"There is no network {name!r}.", f"one of {', '.join(sorted(NETWORKS))}", ""
        )
    return NETWORKS[name]


def load_published(name: str, path: str | Path) -> nn.Module:
    """Load the authors' checkpoint of a network.

    Parameters
    ----------
    name : str
        Network: ``segneuron``, ``voxel-embeddings`` or ``agq``.
    path : path-like
        The published file. Read with the safe unpickler: it cannot run code.

    Returns
    -------
    Module
        In evaluation mode, for images (B, 1, Z, Y, X) in [0, 1]. ``segneuron``: probabilities
        (affinities (B, 3, Z, Y, X), foreground (B, 1, Z, Y, X)). ``voxel-embeddings``:
        (embeddings (B, 24, Z, Y, X), background probability (B, 1, Z, Y, X)). ``agq``, for
        one image (1, 1, Z, Y, X) in [-1, 1]: an `AgqOutput`.

    Raises
    ------
    CheckpointError
        If the file is unsafe, damaged or of another network.
    """
    return _build_published(network_entry(name), Path(path))[0]


def _build_published(entry: NetworkEntry, path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the authors' network, filled, and the arguments it was built with."""
    state = entry.adapt_state(read_published_state(path))
    arguments = {**entry.published_arguments, **entry.read_arguments(state)}
    network = entry.build(**arguments)
    fill_network(network, state, str(path))
    return network.eval(), arguments


def load_checkpoint(
    path: str | Path, network: str | None = None
) -> tuple[nn.Module, CheckpointSpec]:
    """Load one of our checkpoints.

    Parameters
    ----------
    path : path-like
        ``NAME.safetensors``, with ``NAME.json`` beside it.
    network : str, optional
        The network expected; None takes any.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged, or the checkpoint is of another network.
    """
    path = Path(path)
    spec = load_spec(path)
    if network is not None and spec.network != network:
        raise CheckpointError(
            f"{path} is a checkpoint of {spec.network!r}.",
            f"a checkpoint of {network!r}",
            "choose another checkpoint or another method.",
        )
    entry = network_entry(spec.network)
    try:
        module = entry.build(**spec.arguments)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(
            f"The spec of {path} has arguments that do not build a {spec.network}: {error}",
            "",
            "restore the spec, or convert the checkpoint anew.",
        ) from error
    fill_network(module, load_state(path, spec), str(path))
    return module.eval(), spec


def convert_state(name: str, path: Path) -> tuple[dict[str, torch.Tensor], CheckpointSpec]:
    """Return tensors and spec of a published checkpoint, ready to be saved as ours.

    Raises
    ------
    CheckpointError
        As `load_published`.
    """
    entry = network_entry(name)
    module, arguments = _build_published(entry, path)
    spec = CheckpointSpec(
        network=name,
        arguments=arguments,
        offsets=entry.published_offsets,
        voxel_sizes=entry.published_voxel_sizes,
        tile_shape=entry.published_tile,
        settings=dict(entry.published_settings),
        training_data=(f"as published; converted from {path.name}",),
        licence=entry.published_source,
    )
    return module.state_dict(), spec

"""The table of methods. A new method adds a module and a row; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Final

from napari_neuropil.errors import SettingsError
from napari_neuropil.geometry import Shape
from napari_neuropil.methods import agq, segneuron, voxel_embeddings
from napari_neuropil.methods.settings import MethodSettings


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """A row of the table.

    Parameters
    ----------
    name : str
        On the command line.
    title : str
        In the window.
    description : str
        One sentence for help texts.
    network : str
        Row of the table of networks.
    settings_class : type of MethodSettings
        What a user may change.
    module : module
        Has `settle`, `view_count`, `working_factors`, `predictor_of`, `kept_channels`,
        `channel_names`, `fragment_halo`, `fragments_of`, `edge_affinities` and `segments_of`, the
        steps that `workflows.segment_stages` runs.
    block_shape : Shape
        Unit of work on the network's grid; a multiple of the stored chunks at any pooling. It
        bounds memory, so a method with more channels has smaller blocks.
    margin : Shape
        Outermost voxels of a tile that the network cannot answer for.
    windows : bool
        Whether each block is one pass of the network, whose labels mean nothing elsewhere, rather
        than many tiles that are blended. Then the module has `label_channel` too, and
        `inference.windows` chooses the blocks instead of `block_shape`.
    """

    name: str
    title: str
    description: str
    network: str
    settings_class: type[MethodSettings]
    module: ModuleType
    block_shape: Shape = (32, 768, 768)
    margin: Shape = (0, 0, 0)
    windows: bool = False


METHODS: Final[dict[str, MethodEntry]] = {
    "segneuron": MethodEntry(
        name="segneuron",
        title="SegNeuron",
        description="Affinities and foreground by MNet, then a foreground-restricted multicut.",
        network="segneuron",
        settings_class=segneuron.SegNeuronSettings,
        module=segneuron,
    ),
    "voxel-embeddings": MethodEntry(
        name="voxel-embeddings",
        title="Voxel embeddings",
        description="Dense voxel embeddings, a metric graph and a mutex watershed; then segments "
        "whose mean embeddings agree are joined.",
        network="voxel-embeddings",
        settings_class=voxel_embeddings.VoxelEmbeddingsSettings,
        module=voxel_embeddings,
        block_shape=(32, 512, 512),
        margin=(2, 5, 5),
    ),
    "agq": MethodEntry(
        name="agq",
        title="AGQ",
        description="Affinity-guided queries: the network gives each voxel to a neuron, block by "
        "block, and blocks are joined where they agree.",
        network="agq",
        settings_class=agq.AgqSettings,
        module=agq,
        windows=True,
    ),
}


def method_entry(name: str) -> MethodEntry:
    """Return a row of the table.

    Raises
    ------
    SettingsError
        If there is no such method.
    """
    if name not in METHODS:
        raise SettingsError(
            f"There is no method {name!r}.", f"one of {', '.join(METHODS)}", "see `neuropil info`."
        )
    return METHODS[name]

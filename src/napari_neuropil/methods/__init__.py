"""The table of methods. A new method adds a module and a row; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Final

from napari_neuropil.errors import SettingsError
from napari_neuropil.methods import segneuron
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
        Has `settle`, `view_count`, `working_factors`, `kept_channels`, `fragment_halo`,
        `fragments_of`, `edge_affinities` and
        `segments_of`, the steps that `workflows.segment` runs.
    """

    name: str
    title: str
    description: str
    network: str
    settings_class: type[MethodSettings]
    module: ModuleType


METHODS: Final[dict[str, MethodEntry]] = {
    "segneuron": MethodEntry(
        name="segneuron",
        title="SegNeuron",
        description="Affinities and foreground by MNet, then a foreground-restricted multicut.",
        network="segneuron",
        settings_class=segneuron.SegNeuronSettings,
        module=segneuron,
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

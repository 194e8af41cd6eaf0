"""The table of what can be trained. A new method adds a module and a row here."""

from __future__ import annotations

from typing import Any, Final

from napari_neuropil.errors import SettingsError
from napari_neuropil.training.agq.recipe import AGQ
from napari_neuropil.training.method import TrainingMethod
from napari_neuropil.training.sam import COMPACT_SAM
from napari_neuropil.training.segneuron import SEGNEURON
from napari_neuropil.training.voxel_embeddings import VOXEL_EMBEDDINGS

TRAINING_METHODS: Final[dict[str, TrainingMethod[Any, Any]]] = {
    row.network: row for row in (SEGNEURON, VOXEL_EMBEDDINGS, AGQ, COMPACT_SAM)
}


def training_method(name: str) -> TrainingMethod[Any, Any]:
    """Return a row of the table.

    Raises
    ------
    SettingsError
        If there is no recipe for such a method.
    """
    if name not in TRAINING_METHODS:
        names = ", ".join(sorted(TRAINING_METHODS))
        raise SettingsError(f"There is no recipe for {name!r}.", f"one of {names}", "")
    return TRAINING_METHODS[name]

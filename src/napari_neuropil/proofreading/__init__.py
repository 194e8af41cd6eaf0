"""Proofreading: edits on fragments, logged durably, undone without limit. No torch, no Qt.

Names are loaded when first used: the dock imports this room before it opens a project, and the
session brings zarr and SciPy along.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from napari_neuropil.proofreading.drawings import DrawingRules, DrawnFunction, DrawnRows
    from napari_neuropil.proofreading.edits import Decision, Delta, Edit, Effect, Proposal
    from napari_neuropil.proofreading.session import ProofreadingSession

__all__ = [
    "Decision",
    "Delta",
    "DrawingRules",
    "DrawnFunction",
    "DrawnRows",
    "Edit",
    "Effect",
    "ProofreadingSession",
    "Proposal",
]

_HOMES: Final = (
    dict.fromkeys(__all__, "edits")
    | dict.fromkeys(("DrawingRules", "DrawnFunction", "DrawnRows"), "drawings")
    | {"ProofreadingSession": "session"}
)


def __getattr__(name: str) -> Any:
    """Load a name of this room."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Which segmenters and detectors can be chosen here and now. No Qt, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks.pretrained import pretrained_path
from napari_neuropil.prompts.sam_files import cached_models

COMPACT: Final = "compact"
WATERSHED: Final = "watershed"
WITHOUT_NETWORK: Final = (WATERSHED, "ellipse", "box")
"""These embed nothing worth keeping on disk."""
_COMPACT_WEIGHTS: Final = "compact-sam"
_DETECTOR_WEIGHTS: Final = "dendrite-detector"
_PUBLISHED: Final = "vit_b"


@dataclass(frozen=True)
class ModelChoice:
    """A line of a menu.

    Parameters
    ----------
    name : str
        As `neuropil prompts` takes it; empty: none.
    title : str
        What users read.
    missing : str
        Why it cannot be chosen; empty if it can.
    """

    name: str
    title: str
    missing: str = ""


def segmenter_choices() -> list[ModelChoice]:
    """Return the segmenters of the menu, the default first."""
    missing = _why_missing(_COMPACT_WEIGHTS)
    compact = ModelChoice(COMPACT, "Compact SAM (built in)", missing)
    watershed = ModelChoice(WATERSHED, "Watershed in the box")
    found = cached_models()
    published = [ModelChoice(name, f"SAM {name}") for name in found]
    if _PUBLISHED not in found:
        why = f"micro_sam has not downloaded {_PUBLISHED} here; choose its file instead."
        published.insert(0, ModelChoice(_PUBLISHED, f"SAM {_PUBLISHED}", why))
    return [watershed, compact, *published] if missing else [compact, watershed, *published]


def detector_choices() -> list[ModelChoice]:
    """Return the detectors of the menu, the default first."""
    missing = _why_missing(_DETECTOR_WEIGHTS)
    shipped = ModelChoice(_DETECTOR_WEIGHTS, "Dendrite detector (built in)", missing)
    none = ModelChoice("", "None: boxes by hand")
    return [none, shipped] if missing else [shipped, none]


def _why_missing(network: str) -> str:
    try:
        pretrained_path(network)
    except CheckpointError as error:
        return error.found
    return ""

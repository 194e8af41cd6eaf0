"""What every method's settings have in common: how the network sees the volume."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.segmentation.metric_offsets import HALF_WAY

ADVANCED: Final[dict[str, Any]] = {"advanced": True}
"""Marks a field that forms fold away."""


OF_NETWORK: Final[dict[str, Any]] = {"advanced": True, "network": True}
"""Marks such a field on which the stored values depend, not only what is made of them."""


class MethodSettings(BaseModel):
    """Settings of the network's side; a method adds those of its post-processing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resample: bool = Field(
        default=True,
        title="Resample for the network",
        description="Average pixels down to the voxel size the network was trained at. Off: the "
        "network sees the volume as it is.",
    )
    invert: bool = Field(
        default=False,
        title="Membranes are bright",
        description="Invert the contrast, for volumes with bright membranes.",
    )
    normalisation: Literal["auto", "dtype-maximum", "percentile"] = Field(
        "auto",
        title="Grey values",
        description="How grey values come into [0, 1]: by the type's maximum, by the 0.1 and 99.9 "
        "percentile, or whichever fits the type.",
        json_schema_extra=ADVANCED,
    )
    overlap: float = Field(
        0.2,
        ge=0,
        le=0.75,
        title="Tile overlap",
        description="Share of a tile that neighbours have in common. 0.5 is the paper's; less is "
        "faster.",
        json_schema_extra=ADVANCED,
    )
    mean_embedding: bool = Field(
        default=False,
        title="Join by mean embedding",
        description="Afterwards join segments that touch in several places and whose mean voxel "
        "embeddings agree there. Takes the shipped embedding network, with whose weights it still "
        "joins too much: compare before you keep it.",
    )
    join_distance: float = Field(
        HALF_WAY,
        gt=0,
        le=24,
        title="Join distance",
        description="Segments are joined where the L1 distance of their mean embeddings is less; "
        "1.5 is the paper's.",
        json_schema_extra=ADVANCED,
    )


def network_fields(settings: type[MethodSettings]) -> frozenset[str]:
    """Return the names of the fields on which the stored values depend."""
    own = {
        name
        for name, field in settings.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("network")
    }
    return frozenset(
        own | (MethodSettings.model_fields.keys() - {"mean_embedding", "join_distance"})
    )

"""Files of SAM-like networks of ours: tensors in safetensors, the rest in a JSON beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
from napari_neuropil.networks.promptable import PromptableNetwork


class SamSpec(BaseModel):
    """What one must know to use such a file, or wants to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(1, description="Version of this layout.")
    network: str = Field(description="Kind: compact-sam, vit_t, vit_b, vit_l or vit_h.")
    name: str = Field("", description="What users call these weights.")
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="What a compact-sam is built with."
    )
    input_side: int = Field(512, gt=0, description="Pixels of the longest section it takes.")
    pixel_sizes_nm: tuple[float, ...] = Field(
        (), description="Pixel sizes in nm at which it was trained; empty where unknown."
    )
    mean: tuple[float, ...] = Field((), description="Of grey values 0 to 255, per channel.")
    std: tuple[float, ...] = Field((), description="Their standard deviation, per channel.")
    training_data: tuple[str, ...] = Field((), description="Volumes and sections seen.")
    licence: str = Field("", description="Licence of the weights and of their data.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Measured quality.")
    steps: int = Field(0, ge=0, description="Training steps.")
    parent: str = Field("", description="What training began from.")
    sha256: str = Field("", description="Hash of the tensor file.")


def save_sam(
    path: Path, network: PromptableNetwork, spec: SamSpec, *, half: bool = True
) -> SamSpec:
    """Write a network and its spec; both appear whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``; the spec goes beside it.
    network : PromptableNetwork
        Its `input_side`, `mean` and `std` win over the spec's.
    spec : SamSpec
        Its `sha256` is filled in.
    half : bool
        Store as float16.

    Returns
    -------
    SamSpec
        The spec as written.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    facts = {"input_side": network.input_side, "mean": network.mean, "std": network.std}
    spec = spec.model_copy(update=facts)
    # Writing needs of a spec only that it has a hash and becomes JSON.
    written = save_checkpoint(path, network.state_dict(), cast("CheckpointSpec", spec), half=half)
    return cast("SamSpec", written)


def load_sam_spec(path: Path) -> SamSpec | None:
    """Return the spec beside a checkpoint, or None where there is none.

    The spec of `networks.checkpoint`, which training writes for every network, is read too.

    Raises
    ------
    CheckpointError
        If it cannot be read or is not one of a SAM-like network.
    """
    spec_path = path.with_suffix(".json")
    if not spec_path.is_file():
        return None
    try:
        text = spec_path.read_text()
        try:
            return _from_training(CheckpointSpec.model_validate_json(text))
        except ValidationError:
            return SamSpec.model_validate_json(text)
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        raise CheckpointError(
            f"{spec_path} is not the spec of a SAM-like network: {error}",
            "a spec written by this program for such a network",
            "choose another checkpoint, or restore the file.",
        ) from error


def _from_training(spec: CheckpointSpec) -> SamSpec:
    return SamSpec(
        network=spec.network,
        arguments=spec.arguments,
        input_side=spec.arguments.get("input_side", spec.tile_shape[-1]),
        pixel_sizes_nm=tuple(sorted({size[-1] for size in spec.voxel_sizes})),
        training_data=spec.training_data,
        licence=spec.licence,
        metrics=spec.metrics,
        steps=spec.steps,
        sha256=spec.sha256,
    )

"""Our checkpoints: tensors in safetensors, everything else in a JSON spec beside them.

``NAME.safetensors`` holds the state dict (float16 on disk, float32 in memory), ``NAME.json`` the
spec. Neither can run code when opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from napari_neuropil.errors import CheckpointError, OutputError
from napari_neuropil.geometry import Offset, Shape


class CheckpointSpec(BaseModel):
    """What one must know to use a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(1, description="Version of this layout.")
    network: str = Field(description="Name in the table of networks.")
    arguments: dict[str, Any] = Field(description="What the network is built with.")
    offsets: tuple[Offset, ...] = Field(description="Affinity channels, (z, y, x) voxels.")
    voxel_sizes: tuple[tuple[float, float, float], ...] = Field(
        description="Voxel sizes (z, y, x) in nm at which the network was trained."
    )
    normalisation: str = Field("dtype-maximum", description="How grey values come into [0, 1].")
    tile_shape: Shape = Field(description="Tile of one pass; instance norm makes it matter.")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the method that go with these weights; the user's own win.",
    )
    distance_scale: float = Field(
        1.0,
        gt=0,
        description="What distances of mean embeddings are multiplied by, so that 1.5 lies half "
        "way between one object and two; weights of short training keep objects less far apart.",
    )
    training_data: tuple[str, ...] = Field((), description="Volumes and sections seen.")
    licence: str = Field("", description="Licence of the weights and of their data.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Measured quality.")
    steps: int = Field(0, ge=0, description="Training steps.")
    sha256: str = Field("", description="Hash of the tensor file.")


def save_checkpoint(
    path: Path, state: Mapping[str, torch.Tensor], spec: CheckpointSpec, *, half: bool = True
) -> CheckpointSpec:
    """Write tensors and spec; both appear whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``; the spec goes beside it.
    state : mapping of str to Tensor
        The network's state dict.
    spec : CheckpointSpec
        Its `sha256` is filled in.
    half : bool
        Store floating point tensors as float16.

    Returns
    -------
    CheckpointSpec
        The spec as written.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    tensors = {
        name: (t.half() if half and t.is_floating_point() else t).contiguous().cpu()
        for name, t in state.items()
    }
    partial = path.with_suffix(".safetensors.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial)
        partial.chmod(0o644)  # safetensors makes files that only their owner can read
        spec = spec.model_copy(update={"sha256": file_sha256(partial)})
        spec_partial = path.with_suffix(".json.partial")
        spec_partial.write_text(spec.model_dump_json(indent=1) + "\n")
        partial.replace(path)
        spec_partial.replace(path.with_suffix(".json"))
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"Checkpoint {path} cannot be written: {error}", "", "choose another folder."
        ) from error
    return spec


def load_spec(path: Path) -> CheckpointSpec:
    """Read the spec of a checkpoint.

    Raises
    ------
    CheckpointError
        If the file or its spec is missing, or the spec is not ours.
    """
    if not path.is_file():
        raise CheckpointError(
            f"No checkpoint at {path}.", "a .safetensors file", "give the path of a checkpoint."
        )
    spec_path = path.with_suffix(".json")
    if path.suffix != ".safetensors" or not spec_path.is_file():
        raise CheckpointError(
            f"{path} has no spec {spec_path.name} beside it.",
            "NAME.safetensors with NAME.json",
            "convert a published checkpoint with `neuropil convert segneuron IN OUT.safetensors`.",
        )
    try:
        return CheckpointSpec.model_validate_json(spec_path.read_text())
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        raise CheckpointError(
            f"The spec {spec_path} cannot be read: {error}",
            "a spec written by this program",
            "restore the file, or convert the checkpoint anew.",
        ) from error


def load_state(path: Path, spec: CheckpointSpec) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint as float32.

    Raises
    ------
    CheckpointError
        If the file is damaged or is not the one the spec was written for.
    """
    if spec.sha256 and file_sha256(path) != spec.sha256:
        raise CheckpointError(
            f"{path} is not the file its spec was written for (sha256 differs).",
            spec.sha256,
            "copy the .safetensors and its .json together, and whole.",
        )
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}", "a safetensors file", "restore the file."
        ) from error
    return {name: t.float() if t.is_floating_point() else t for name, t in state.items()}


def fill_network(network: nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Load a state dict strictly.

    Raises
    ------
    CheckpointError
        Naming the first tensors that are missing, unknown or of another shape.
    """
    own = network.state_dict()
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & state.keys()
        if own[name].shape != state[name].shape
    ]
    if missing or unknown or shapes:
        facts = [
            f"{len(found)} tensors {what}, for example {', '.join(found[:3])}"
            for what, found in (
                ("missing", missing),
                ("unknown", unknown),
                ("misshapen", sorted(shapes)),
            )
            if found
        ]
        raise CheckpointError(
            f"{source} is not a checkpoint of this {type(network).__name__}: {'; '.join(facts)}.",
            f"{len(own)} tensors of the network's own names and shapes",
            "choose the checkpoint of the chosen method.",
        )
    network.load_state_dict(dict(state))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

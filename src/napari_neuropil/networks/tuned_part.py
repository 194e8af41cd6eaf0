"""What fine-tuning changed in a promptable network, in a small file of its own.

A tuned ViT is 375 MB of which a fine-tuning in the session changes a few. ``NAME.safetensors``
holds these, ``NAME.json`` says what they belong to. Laid over the same base, they give the tuned
network back.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from napari_neuropil.errors import CheckpointError, OutputError
from napari_neuropil.networks.checkpoint import file_sha256
from napari_neuropil.networks.lora import add_lora, attention_layers, merge_lora
from napari_neuropil.networks.mnet_encoder import MNetEncoder
from napari_neuropil.networks.promptable import PromptableNetwork

Parts = Literal["decoder", "lora", "all"]
"""What learns: all but the encoder; that, and a little of the encoder; everything."""

_ENCODER = "image_encoder."
_LATE = ("laterals.", "join.")
_TRUNK = "image_encoder.trunk."
"""Trained before, for another purpose; it never learns here."""


class TunedSpec(BaseModel):
    """What one must know to lay tuned tensors over their base."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(1, description="Version of this layout.")
    kind: Literal["tuned-promptable"] = "tuned-promptable"
    base: str = Field(description="Fingerprint of the network before tuning.")
    base_name: str = Field("", description="What users call it, or its path.")
    parts: Parts = Field(description="What learned.")
    rank: int = Field(0, ge=0, description="Of the low-rank differences; 0 where there are none.")
    alpha: float = Field(0.0, ge=0, description="Their strength.")
    training_data: tuple[str, ...] = Field((), description="Sections and objects seen.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Measured quality.")
    steps: int = Field(0, ge=0, description="Training steps.")
    sha256: str = Field("", description="Hash of the tensor file.")


def encoder_of(network: PromptableNetwork) -> nn.Module:
    """Return the image encoder, which the fingerprint of a network is made of."""
    return network.get_submodule(_ENCODER.rstrip("."))


def learning_names(network: PromptableNetwork, parts: Parts) -> list[str]:
    """Return the names of the parameters that learn.

    Of encoders without attention, ``lora`` takes the last stage and what joins the stages; of
    encoders with attention, the differences that `add_lora` has added; of encoders on a trunk, what
    brings its features to the decoder. The trunk itself never learns.
    """
    names = [name for name, _ in network.named_parameters() if not name.startswith(_TRUNK)]
    if parts == "all":
        return names
    outside = [name for name in names if not name.startswith(_ENCODER)]
    if parts == "decoder":
        return outside
    encoder = encoder_of(network)
    if attention_layers(encoder):
        return outside + [name for name in names if ".parametrizations.weight.0." in name]
    return outside + [name for name in names if _is_late(name, encoder)]


def _is_late(name: str, encoder: nn.Module) -> bool:
    if not name.startswith(_ENCODER):
        return False
    stages = getattr(encoder, "stages", None)
    if stages is None:
        return isinstance(encoder, MNetEncoder)
    within = name.removeprefix(_ENCODER)
    return within.startswith((f"stages.{len(stages) - 1}.", *_LATE))


def apply_tuned(network: PromptableNetwork, state: Mapping[str, Tensor], spec: TunedSpec) -> None:
    """Turn the base network into the tuned one, in place.

    Parameters
    ----------
    network : PromptableNetwork
        The base as it was before tuning.
    state : mapping of str to Tensor
        Tensors that learned, under the network's names.
    spec : TunedSpec
        What they belong to.

    Raises
    ------
    CheckpointError
        If they were tuned on another network, or are not those that learn.
    """
    if network.fingerprint() != spec.base:
        raise CheckpointError(
            "The tuned weights belong to another network than the one opened.",
            spec.base_name or spec.base,
            "open the network they were tuned from.",
        )
    if spec.parts == "lora":
        add_lora(encoder_of(network), max(1, spec.rank), spec.alpha)
    own = dict(network.named_parameters())
    wanted = set(learning_names(network, spec.parts))
    wrong = wanted.symmetric_difference(state) | {
        name for name in wanted & state.keys() if own[name].shape != state[name].shape
    }
    if not wrong:
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)
    merge_lora(encoder_of(network))
    if wrong:
        raise CheckpointError(
            f"The tuned weights do not fit the network, for example {min(wrong)}.",
            f"the {len(wanted)} tensors that learn with {spec.parts!r}",
            "tune again.",
        )


def save_tuned(path: Path, state: Mapping[str, Tensor], spec: TunedSpec) -> TunedSpec:
    """Write tensors and spec; both appear whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``; the spec goes beside it.
    state : mapping of str to Tensor
        Under the network's names; stored as float32, so that the network comes back to the bit.
    spec : TunedSpec
        Its `sha256` is filled in.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in state.items()}
    partial, spec_partial = (
        path.with_suffix(f"{end}.partial") for end in (".safetensors", ".json")
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial)
        partial.chmod(0o644)  # safetensors makes files that only their owner can read
        spec = spec.model_copy(update={"sha256": file_sha256(partial)})
        spec_partial.write_text(spec.model_dump_json(indent=1) + "\n")
        partial.replace(path)
        spec_partial.replace(path.with_suffix(".json"))
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"Tuned weights {path} cannot be written: {error}", "", "choose another folder."
        ) from error
    return spec


def load_tuned(path: Path) -> tuple[dict[str, Tensor], TunedSpec]:
    """Read tuned tensors and their spec.

    Raises
    ------
    CheckpointError
        If a file is missing, damaged, or no tuned part.
    """
    spec_path = path.with_suffix(".json")
    try:
        content: Any = spec_path.read_text()
        spec = TunedSpec.model_validate_json(content)
        if file_sha256(path) != spec.sha256:
            raise CheckpointError(
                f"{path} is not the file its spec was written for (sha256 differs).",
                spec.sha256,
                "copy the .safetensors and its .json together, and whole.",
            )
        return load_file(path), spec
    except (OSError, UnicodeDecodeError, ValidationError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read as tuned weights: {error}",
            "NAME.safetensors with NAME.json, written by a fine-tuning",
            "restore both files.",
        ) from error

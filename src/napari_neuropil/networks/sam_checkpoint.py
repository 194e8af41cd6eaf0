"""From a file to a SAM that can be used: published ones and ours, told apart by their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks.checkpoint import file_sha256, fill_network
from napari_neuropil.networks.compact_sam import CompactSam
from napari_neuropil.networks.promptable import PromptableNetwork
from napari_neuropil.networks.sam_spec import SamSpec, load_sam_spec
from napari_neuropil.networks.sam_state import SamState, read_sam_state
from napari_neuropil.networks.vit_sam import VitSam, build_vit_sam, build_vit_t, read_vit_size

COMPACT: Final = "compact-sam"


@dataclass(frozen=True, eq=False, slots=True)
class SamCheckpoint:
    """A network, ready to be used.

    Parameters
    ----------
    network : PromptableNetwork
        In evaluation mode, on the CPU.
    kind : str
        ``compact-sam``, ``vit_t``, ``vit_b``, ``vit_l`` or ``vit_h``.
    spec : SamSpec or None
        What is known of the weights; None for published files.
    instance_decoder : mapping of str to Tensor
        Of micro_sam's files: what its automatic segmentation uses; may be empty.
    """

    network: PromptableNetwork
    kind: str
    spec: SamSpec | None
    instance_decoder: Mapping[str, Tensor]


def load_sam(path: str | Path) -> SamCheckpoint:
    """Load any SAM of the first generation, or one of ours.

    Parameters
    ----------
    path : path-like
        A torch pickle in one of four layouts, or safetensors (see `sam_state`). Never runs code.

    Raises
    ------
    CheckpointError
        If the file is absent, unsafe, damaged, incomplete or of another network.
    MissingExtraError
        If segment_anything, or mobile_sam for vit_t, is not installed.
    """
    path = Path(path)
    state = read_sam_state(path)
    spec = load_sam_spec(path) if path.suffix == ".safetensors" else None
    if spec is not None and spec.sha256 and file_sha256(path) != spec.sha256:
        raise CheckpointError(
            f"{path} is not the file its spec was written for (sha256 differs).",
            spec.sha256,
            "copy the .safetensors and its .json together, and whole.",
        )
    network: PromptableNetwork
    if "prompt_maps.weight" in state.tensors:
        network, kind = _build_compact(path, spec), COMPACT
    else:
        vit = _build_vit(path, state)
        network, kind = vit, vit.kind
    fill_network(network, state.tensors, str(path))
    return SamCheckpoint(network.eval(), kind, spec, state.instance_decoder)


def _build_compact(path: Path, spec: SamSpec | None) -> CompactSam:
    if spec is None or spec.network != COMPACT:
        raise CheckpointError(
            f"{path} has no spec of a {COMPACT} beside it.",
            f"{path.with_suffix('.json').name}",
            "copy the .safetensors and its .json together.",
        )
    known: dict[str, Any] = {"input_side": spec.input_side}
    if spec.mean and spec.std:
        known["grey"] = (spec.mean[0], spec.std[0])
    try:
        return CompactSam(**{**spec.arguments, **known})
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(
            f"The spec of {path} has arguments that do not build a {COMPACT}: {error}",
            "",
            "restore the spec.",
        ) from error


def _build_vit(path: Path, state: SamState) -> VitSam:
    if "image_encoder.patch_embed.seq.0.c.weight" in state.tensors:
        return build_vit_t()
    try:
        return build_vit_sam(read_vit_size(state.tensors))
    except (KeyError, IndexError, ValueError, ZeroDivisionError, AssertionError) as error:
        raise CheckpointError(
            f"{path} is not a SAM of a known make, or tensors are missing: {error}",
            "an encoder vit_t, vit_b, vit_l or vit_h with all its tensors",
            "get the file again, or choose another one.",
        ) from error

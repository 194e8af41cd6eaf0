"""A detector's weights: tensors in safetensors, everything else in a JSON spec beside them.

Neither can run code when opened. Files of ultralytics (``.pt``) are pickles of its classes, and
opening one runs whatever its author put in: `import_detector` takes the tensors of such a file
only after its owner has saved them alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from napari_neuropil.errors import CheckpointError, OutputError, SettingsError
from napari_neuropil.networks.checkpoint import file_sha256, fill_network
from napari_neuropil.networks.published import read_published_state
from napari_neuropil.prompts._ultralytics import build_network

STRIDE = 32
"""Images of a detector are whole multiples of this, pixels."""

LICENCE = (
    "AGPL-3.0: trained with ultralytics, whose authors count trained weights as part of their "
    "software; other terms need a licence of theirs"
)


class DetectorSpec(BaseModel):
    """What one must know to use a detector's weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(1, ge=1, le=1, description="Version of this layout.")
    kind: Literal["yolo"] = Field("yolo", description="What builds the network.")
    architecture: str = Field(description="Layout packaged with ultralytics, such as yolo26n.")
    classes: tuple[str, ...] = Field(min_length=1, description="Names of what it finds.")
    image_side: int = Field(
        ge=STRIDE, multiple_of=STRIDE, description="Pixels of the images it was trained on."
    )
    pixel_size: float = Field(gt=0, description="Edge of its pixels in nm.")
    confidence: float = Field(
        0.25, gt=0, lt=1, description="Score from which a box is shown; the user's own wins."
    )
    training_data: tuple[str, ...] = Field((), description="Volumes and sections seen.")
    licence: str = Field(LICENCE, description="Licence of the weights and of their data.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Measured quality.")
    epochs: int = Field(0, ge=0, description="Passes over the training sections.")
    sha256: str = Field("", description="Hash of the tensor file.")


def save_detector(
    path: Path, state: Mapping[str, torch.Tensor], spec: DetectorSpec
) -> DetectorSpec:
    """Write tensors (as float16) and spec; both appear whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``; the spec goes beside it.
    state : mapping of str to Tensor
        The network's state dict.
    spec : DetectorSpec
        Its `sha256` is filled in.

    Returns
    -------
    DetectorSpec
        As written.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    CheckpointError
        If a weight is not a number, or too large for float16: training has failed.
    """
    tensors = {
        name: (t.half() if t.is_floating_point() else t).contiguous().cpu()
        for name, t in state.items()
    }
    broken = [name for name, t in tensors.items() if not torch.isfinite(t).all()]
    if broken:
        raise CheckpointError(
            f"{len(broken)} tensors are not finite, for example {broken[0]}.",
            "finite weights",
            "train again with a lower learning rate.",
        )
    partial, spec_partial = path.with_suffix(".safetensors.partial"), path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial)
        partial.chmod(0o644)  # safetensors makes files that only their owner can read
        spec = spec.model_copy(update={"sha256": file_sha256(partial)})
        spec_partial.write_text(spec.model_dump_json(indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
        spec_partial.replace(path.with_suffix(".json"))
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"Detector {path} cannot be written: {error}", "", "choose another folder."
        ) from error
    return spec


def load_detector_spec(path: Path) -> DetectorSpec:
    """Read the spec of a detector.

    Raises
    ------
    CheckpointError
        If the file or its spec is missing, or the spec is not that of a detector.
    """
    if not path.is_file():
        raise CheckpointError(
            f"No detector at {path}.", "a .safetensors file", "give the path of its weights."
        )
    spec = path.with_suffix(".json")
    if path.suffix != ".safetensors" or not spec.is_file():
        raise CheckpointError(
            f"{path} has no spec {spec.name} beside it.",
            "NAME.safetensors with NAME.json",
            "files of ultralytics (.pt) run code when opened: import their tensors once, see "
            "prompts.detector_weights.import_detector.",
        )
    try:
        return DetectorSpec.model_validate_json(spec.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        raise CheckpointError(
            f"{spec} is not the spec of a detector: {error}",
            "a spec written with a detector's weights",
            "choose a detector; a segmentation network or a SAM finds no boxes.",
        ) from error


def load_detector_state(path: Path, spec: DetectorSpec) -> dict[str, torch.Tensor]:
    """Read the tensors of a detector as float32.

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


def load_network(path: Path) -> tuple[Any, DetectorSpec]:
    """Build the network of a detector and fill it.

    Returns
    -------
    network : torch.nn.Module
        In training mode, on the CPU.
    spec : DetectorSpec

    Raises
    ------
    MissingExtraError
        If ultralytics is not installed.
    CheckpointError
        As `load_detector_spec` and `load_detector_state`, or if tensors do not fit the network.
    """
    spec = load_detector_spec(path)
    network = build_network(spec.architecture, len(spec.classes))
    fill_network(network, load_detector_state(path, spec), str(path))
    return network, spec


def import_detector(
    source: Path,
    out: Path,
    *,
    architecture: str,
    classes: Sequence[str],
    image_side: int,
    pixel_size: float,
) -> DetectorSpec:
    """Take over a detector that was trained with ultralytics elsewhere.

    A ``.pt`` of ultralytics is not opened: it is a pickle. Its owner, who trusts it, saves the
    tensors alone, in the environment that made it::

        python -c "import torch, ultralytics; torch.save(
            ultralytics.YOLO('best.pt').model.float().state_dict(), 'tensors.pt')"

    Parameters
    ----------
    source : Path
        Such a file, of tensors only.
    out : Path
        Ends in ``.safetensors``.
    architecture : str
        What it was built from, such as ``yolo26n``.
    classes : sequence of str
        What it finds, in its own order.
    image_side : int
        Pixels of its training images.
    pixel_size : float
        Of these, in nm.

    Returns
    -------
    DetectorSpec
        As written.

    Raises
    ------
    CheckpointError
        If the file is a pickle of classes, damaged, or of another network.
    SettingsError
        If a value cannot be that of a detector.
    MissingExtraError
        If ultralytics is not installed.
    """
    try:
        spec = DetectorSpec(
            architecture=architecture,
            classes=tuple(classes),
            image_side=image_side,
            pixel_size=pixel_size,
            training_data=(f"unknown: imported from {source.name}",),
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{name}: {first['msg']} (found {first['input']!r:.60}).") from error
    try:
        state = read_published_state(source)
    except CheckpointError as error:
        raise CheckpointError(
            error.found,
            "a file of tensors only",
            'if you trust the file, save its tensors where it was made: python -c "import torch, '
            f"ultralytics; torch.save(ultralytics.YOLO('{source.name}').model.float()"
            ".state_dict(), 'tensors.pt')\", and import that.",
        ) from error
    network = build_network(architecture, len(spec.classes))
    fill_network(network, state, str(source))
    return save_detector(out, network.state_dict(), spec)

"""Reading SAM's checkpoints: four layouts of pickles, and safetensors, opened without running code.

| layout | content |
|---|---|
| SAM, and old exports of micro_sam | tensors by name |
| micro_sam's export | ``model_state`` and ``decoder_state``, tensors by name each |
| micro_sam's training file | the same with ``sam.`` before the names, beside much else |
| safetensors | tensors by name, with or without ``sam.`` |
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from napari_neuropil.errors import CheckpointError

_PREFIX: Final = "sam."
_PARTS: Final = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_EXPECTED: Final = (
    "a SAM checkpoint: tensors named image_encoder., prompt_encoder. and mask_decoder."
)
_SETTING_PACKAGES: Final = frozenset(
    {
        *("torch_em", "micro_sam", "segment_anything", "torch", "numpy", "kornia"),
        *("pathlib", "functools", "collections", "copyreg", "copy_reg"),
    }
)
"""Training files hold the settings of the training as objects of these; none of them is needed."""
_SETTING_BUILTINS: Final = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("int", "float", "str", "bool", "slice", "range", "object", "getattr")
)
"""Methods among the settings are written as ``getattr``; here it does nothing either."""


@dataclass(frozen=True, eq=False, slots=True)
class SamState:
    """What a file holds.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        The network's, float32, under SAM's names.
    instance_decoder : mapping of str to Tensor
        micro_sam's decoder of distances, where the file has one; else empty.
    """

    tensors: Mapping[str, Tensor]
    instance_decoder: Mapping[str, Tensor]


def read_sam_state(path: Path) -> SamState:
    """Read a checkpoint in any of the layouts.

    Raises
    ------
    CheckpointError
        If the file is absent, damaged, unsafe or not of a SAM.
    """
    if not path.is_file():
        raise CheckpointError(f"No checkpoint at {path}.", "a file", "check the path.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    whole = content.get("model_state", content) if isinstance(content, dict) else {}
    tensors = _tensors(whole)
    if any(name.startswith(_PREFIX) for name in tensors):
        tensors = {
            name.removeprefix(_PREFIX): t for name, t in tensors.items() if name.startswith(_PREFIX)
        }
    absent = [part for part in _PARTS if not any(name.startswith(part) for name in tensors)]
    if absent:
        raise CheckpointError(
            f"{path} is not a SAM checkpoint: it has no tensors named {', '.join(absent)}"
            f"{_looks_like(content)}.",
            _EXPECTED,
            "choose another file.",
        )
    decoder = content.get("decoder_state") if isinstance(content, dict) else None
    return SamState(tensors, _tensors(decoder))


def _tensors(content: Any) -> dict[str, Tensor]:
    """Return the tensors of a dict, as float32 where they are numbers with fractions."""
    if not isinstance(content, dict):
        return {}
    return {
        str(name): t.float() if t.is_floating_point() else t
        for name, t in content.items()
        if isinstance(t, Tensor)
    }


def _looks_like(content: Any) -> str:
    if not isinstance(content, dict):
        return f", but is a {type(content).__name__}"
    names = [*content, *(content["model"] if isinstance(content.get("model"), dict) else ())]
    if any(str(name).startswith("sam_mask_decoder.") for name in names):
        return "; it looks like one of SAM 2, whose network is another"
    return f", but {', '.join(str(name) for name in names[:3])}" if names else ", nor any others"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}", "a safetensors file", "restore the file."
        ) from error


def _read_pickle(path: Path) -> Any:
    # Large files are looked at in place: a ViT-H is not held twice.
    zipped = zipfile.is_zipfile(path)
    try:
        with torch.serialization.safe_globals(_left_out(path) if zipped else []):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} was not opened: it is no checkpoint, or holds objects other than tensors"
            f"{_named(error)}.",
            "a torch checkpoint with tensors, numbers and text only",
            "do not trust the file; if it is a training file of micro_sam, export the model with "
            "micro_sam.util.export_custom_sam_model.",
        ) from error
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {error}",
            "a whole torch checkpoint",
            "the file seems truncated or of another kind; get it again.",
        ) from error


def _left_out(path: Path) -> list[Any]:
    """Return an empty thing for each class and function of a training file's settings.

    Its reader refuses a file that names any class it does not know. Training files name dozens,
    for the loaders and optimisers they describe. Each is answered by `_LeftOut`, which does
    nothing, so none of them is imported or called. Names of other packages stay refused.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError):
        return []  # reading says what is wrong
    return [
        (_LeftOut, name)
        for name in names
        if name.partition(".")[0] in _SETTING_PACKAGES or name in _SETTING_BUILTINS
    ]


def _named(error: Exception) -> str:
    """Return what the file wanted to be called, from torch's long message."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return f", {found.group(1)} for one" if found else ""


class _LeftOut:
    """Stands where a file describes an object that is not needed."""

    def __new__(cls, *_arguments: Any) -> _LeftOut:
        """Take any arguments."""
        return super().__new__(cls)

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        """Take any state."""

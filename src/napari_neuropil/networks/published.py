"""Reading the checkpoints that authors publish: torch pickles, opened without running code."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from napari_neuropil.errors import CheckpointError

_STATE_KEYS: Final = ("model_weights", "model_state_dict", "state_dict", "model")
_PREFIX: Final = "module."


def read_published_state(path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict inside a published checkpoint, without DataParallel's prefix.

    Parameters
    ----------
    path : Path
        A torch pickle: the state dict itself, or a dict that holds it under one of
        ``model_weights``, ``model_state_dict``, ``state_dict``, ``model``. What else the dict
        holds, such as the state of an optimiser or a schedule, is read and left.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is damaged, unsafe or holds no tensors.
    """
    if not path.is_file():
        raise CheckpointError(
            f"No checkpoint at {path}.", "the file as published", "check the path."
        )
    state = _find_state(_unpickle_safely(path))
    if state is None:
        raise CheckpointError(
            f"{path} holds no state dict.",
            f"tensors by name, or such a dict under {', '.join(_STATE_KEYS)}",
            "choose the file with the network's weights.",
        )
    return {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}


def _numpy_values() -> list[Any]:
    """Return what numpy's numbers and arrays are made by; none of it runs code of a file.

    Schedules of the learning rate hold such numbers. Files of numpy 1 name the same functions
    otherwise.
    """
    number, array = np.float64().__reduce__()[0], np.zeros(0).__reduce__()[0]
    older = [
        (number, "numpy.core.multiarray.scalar"),
        (array, "numpy.core.multiarray._reconstruct"),
    ]
    kinds = [type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"]
    return [np.ndarray, np.dtype, number, array, *older, *kinds]


def _unpickle_safely(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_numpy_values()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} was not opened: it holds objects other than tensors, or is no checkpoint.",
            "a torch checkpoint with tensors, numbers and text only",
            "do not trust the file; get it again from its authors. "
            f"({str(error).splitlines()[0][:200]})",
        ) from error
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {error}",
            "a whole torch checkpoint",
            "the file seems truncated or of another kind; get it again.",
        ) from error


def _find_state(content: Any) -> dict[str, torch.Tensor] | None:
    if not isinstance(content, dict):
        return None
    for key in _STATE_KEYS:
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    tensors = {k: v for k, v in content.items() if isinstance(v, torch.Tensor)}
    if not tensors or len(tensors) != len(content) or not all(isinstance(k, str) for k in tensors):
        return None
    return tensors

"""Where checkpoints of SAM lie: a path, or the folder in which micro_sam keeps its downloads."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from platformdirs import user_cache_dir

from napari_neuropil.errors import CheckpointError

BUILT_IN: Final = "compact"
"""The name of the network that comes with the package."""

_NAME: Final = re.compile(r"vit_[tblh](_\w+)?")
_ENDINGS: Final = ("", ".pt", ".pth", ".safetensors")
_DECODER: Final = "_decoder"


def is_model_name(text: str) -> bool:
    """Whether a text is the name of a published model, such as ``vit_b_em_organelles``."""
    return _NAME.fullmatch(text) is not None


def micro_sam_folder() -> Path:
    """Return where micro_sam keeps its models; the variable MICROSAM_CACHEDIR moves it."""
    return Path(os.environ.get("MICROSAM_CACHEDIR") or user_cache_dir("micro_sam")) / "models"


def cached_models() -> dict[str, Path]:
    """Return the models that micro_sam has downloaded, by name."""
    folder = micro_sam_folder()
    if not folder.is_dir():
        return {}
    return {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and path.suffix in _ENDINGS
        and is_model_name(path.stem)
        and not path.stem.endswith(_DECODER)
    }


def find_sam_file(name_or_path: str | Path) -> Path:
    """Return the file of a model.

    Parameters
    ----------
    name_or_path : str or path-like
        The name of a published model, looked for in micro_sam's folder, or a path. A file in the
        working folder that is called like a model is meant by ``./vit_b``.

    Raises
    ------
    CheckpointError
        If there is no such file. Nothing is downloaded.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, str) and is_model_name(text):
        found = cached_models().get(text)
        if found is None:
            raise CheckpointError(
                f"The model {text!r} is not on this computer.",
                f"{micro_sam_folder() / text}",
                "give the path of its checkpoint, or have it downloaded (needs micro_sam and a "
                "connection).",
            )
        return found
    path = Path(text).expanduser()
    if not path.is_file():
        raise CheckpointError(
            f"No checkpoint at {path}.",
            "a file, or a model's name such as vit_b or vit_b_em_organelles",
            "check the path.",
        )
    return path

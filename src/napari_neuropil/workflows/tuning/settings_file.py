"""A fine-tuning as a settings file, so that it can be kept and repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field

from napari_neuropil.workflows.train import read_recipe
from napari_neuropil.workflows.tuning.requests import TuneRequest

_PATHS: Final = ("image", "project", "labels", "pseudo_labels", "cache_dir")


class TuneSettings(TuneRequest):
    """What such a file says: all of a `TuneRequest` but where the result goes."""

    out: str = Field("", description="Given by the command.")


def read_tune_settings(
    settings_file: Path, out: Path, *, data_root: Path | None = None, device: str = "auto"
) -> TuneRequest:
    """Read a settings file.

    Parameters
    ----------
    settings_file : Path
        YAML with the fields of `TuneRequest`.
    out : Path
        File of the tuned network.
    data_root : Path, optional
        Folder that paths in the file start from; None takes the file's own.
    device : str
        Wins over the file's unless it is ``auto``.

    Raises
    ------
    NeuropilError
        If the file is missing, not YAML, or a setting is unknown, missing or out of bounds.
    """
    settings = read_recipe(settings_file, TuneSettings, "settings named as in TuneRequest")
    root = data_root or settings_file.parent
    fields = settings.model_dump() | {"out": str(out)}
    for name in _PATHS:
        if fields[name] is not None:
            fields[name] = str(root / Path(fields[name]).expanduser())
    base = root / Path(settings.base).expanduser()
    if base.is_file():  # else the name of a network
        fields["base"] = str(base)
    if device != "auto":
        fields["device"] = device
    return TuneRequest(**fields)

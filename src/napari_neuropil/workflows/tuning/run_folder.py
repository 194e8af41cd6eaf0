"""The folder of a fine-tuning: which run it holds, and the curve so far."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from napari_neuropil.errors import OutputError, SettingsError
from napari_neuropil.training.training_log import LOG, STATE

if TYPE_CHECKING:
    from torch import nn

    from napari_neuropil.training.finetune_split import TuningSplit

_RUN: Final = "run.json"
_NO_LOSS: Final = ("step", "seconds", "validation")


def run_key(network: nn.Module, split: TuningSplit, settings: Mapping[str, Any]) -> str:
    """Return a hash of all that decides what comes of a run.

    Parameters
    ----------
    network : Module
        Before training.
    split : TuningSplit
        What is learned from and measured on.
    settings : mapping
        Everything else, as JSON takes it.
    """
    import torch

    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
    for part in (split.training, split.held_out):
        for item in part:
            facts = (item.segment, item.z, item.box, item.pseudo)
            digest.update(repr(facts).encode() + item.mask.tobytes())
        digest.update(b"/")
    return digest.hexdigest()


def claim_folder(folder: Path, key: str, *, overwrite: bool) -> None:
    """Take a folder for a run: a new one, or the one that was stopped there.

    Raises
    ------
    SettingsError
        If it holds another run, and that may not be replaced.
    OutputError
        If it cannot be written.
    """
    held = _held_key(folder)
    if held == key:
        return
    if held is not None and not overwrite:
        raise SettingsError(
            f"{folder} holds a run on other objects or with other settings.",
            "the same command, to go on with it",
            "begin anew with --overwrite, or choose another file.",
        )
    try:
        if held is not None:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _RUN).write_text(json.dumps({"key": key}), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error}", "", "choose another.") from error


def steps_done(folder: Path, key: str) -> int:
    """Return the steps that a stopped run has saved; 0 where there is none of this key."""
    path = folder / STATE
    if _held_key(folder) != key or not path.is_file():
        return 0
    import torch

    return int(torch.load(path, map_location="cpu", weights_only=True)["step"])


class Curve:
    """Reads the log of a run as it grows.

    Parameters
    ----------
    folder : Path
        Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG
        self._seen = 0

    def news(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Give what was logged since the last call: step; mean losses and held-out overlap.

        ``held_out`` is the mean intersection over union of first prompts for held-out objects.
        """
        if not self._path.is_file():
            return
        with self._path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        new, self._seen = rows[self._seen :], len(rows)
        for row in new:
            values = {name: float(text) for name, text in row.items() if name not in _NO_LOSS}
            yield int(row["step"]), {"held_out": 1 - float(row["validation"]), **values}


def _held_key(folder: Path) -> str | None:
    """Return the key of the run that a folder holds, or None."""
    try:
        content = json.loads((folder / _RUN).read_text(encoding="utf-8"))
        return str(content["key"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return ""

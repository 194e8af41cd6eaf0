"""The one door to ultralytics, which is under the AGPL-3.0 and therefore an extra of its own.

Left alone it reports its use over the network, installs missing packages, fetches weights and
fonts, and changes how this process prints, computes and finds Qt. Behind this door it is offline
and silent, its settings lie in a folder of ours, and what its import changes is put back. Networks
are built from the layouts it is packaged with, never from a name that it would download.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import torch
import yaml
from torch import nn

from napari_neuropil._optional import import_extra
from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks._torchvision import mend_torchvision

_EXTRA: Final = "yolo"
_PACKAGE: Final = "ultralytics"
_ARCHITECTURE: Final = re.compile(r"yolo(v8|11|12|26)([nsmlx])")
_NEWEST: Final = ("yolo26n", "yolo11n")
# Both reach for accounts of the user's, whatever its settings say.
_SECRETS: Final = ("ULTRALYTICS_API_KEY", "ULTRALYTICS_PLATFORM_URL")
_REPORTERS: Final = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")


def check_installed() -> None:
    """Raise where ultralytics is absent, without the seconds of an import.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    if importlib.util.find_spec(_PACKAGE) is None:
        import_extra(_PACKAGE, _EXTRA)


def import_part(name: str, own_folder: Path | None = None) -> ModuleType:
    """Import a module of ultralytics.

    Parameters
    ----------
    name : str
        Dotted, for example ``"ultralytics.nn.tasks"``.
    own_folder : Path, optional
        For a process that does nothing else: ultralytics keeps its settings here and the
        environment stays as it wants it. None puts everything back.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    check_installed()
    mend_torchvision()
    if own_folder is not None:
        _set_environment(own_folder)
        return import_extra(name, _EXTRA)
    with tempfile.TemporaryDirectory() as folder, _put_back():
        _set_environment(Path(folder))
        return import_extra(name, _EXTRA)


def newest_architecture() -> str:
    """Return the newest of the smallest networks that the installed version has.

    Raises
    ------
    MissingExtraError
        If ultralytics is not installed.
    CheckpointError
        If it is packaged without any.
    """
    for name in _NEWEST:
        if _layout_file(name).is_file():
            return name
    raise CheckpointError(
        "The installed ultralytics has no detector of ours.",
        f"one of {', '.join(_NEWEST)}",
        f'pip install --upgrade "napari-neuropil[{_EXTRA}]"',
    )


def build_network(architecture: str, classes: int) -> Any:
    """Build a detection network with random weights, for images of three channels.

    Parameters
    ----------
    architecture : str
        For example ``"yolo26n"``.
    classes : int
        Kinds of objects.

    Returns
    -------
    torch.nn.Module
        ultralytics' DetectionModel, in training mode. In evaluation mode it answers
        (boxes and scores, raw output).

    Raises
    ------
    MissingExtraError
        If ultralytics is not installed.
    CheckpointError
        If the installed version has no such network.
    """
    file = _layout_file(architecture)
    if not file.is_file():
        raise CheckpointError(
            f"The installed ultralytics has no network {architecture!r}.",
            f"{file.name} in its package",
            f'pip install --upgrade "napari-neuropil[{_EXTRA}]"',
        )
    layout = yaml.safe_load(file.read_text(encoding="utf-8"))
    # Its own reader does this too, after looking into the present folder for a file of the name.
    layout |= {"scale": architecture[-1], "yaml_file": f"{architecture}.yaml"}
    tasks = import_part("ultralytics.nn.tasks")
    network: nn.Module = tasks.DetectionModel(layout, ch=3, nc=classes, verbose=False)
    return network


def _layout_file(architecture: str) -> Path:
    """Return where the installed package keeps a layout; the name never leaves its folder."""
    match = _ARCHITECTURE.fullmatch(architecture)
    if match is None:
        raise CheckpointError(
            f"{architecture!r} is no detector known here.",
            "yolo26n, yolo11n, or another size (n, s, m, l, x) of YOLO v8, 11, 12 or 26",
            "",
        )
    check_installed()
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:  # check_installed has found it
        raise CheckpointError("ultralytics has no folder.", "an installed package", "")
    family = match[1]
    return Path(spec.origin).parent / "cfg" / "models" / family / f"yolo{family}.yaml"


def _set_environment(folder: Path) -> None:
    """Write settings that keep ultralytics to itself, and make it find them; before its import."""
    own = folder / "Ultralytics"
    own.mkdir(parents=True, exist_ok=True)
    quiet = {"sync": False, "vscode_msg": False, **dict.fromkeys(_REPORTERS, False)}
    (own / "settings.json").write_text(json.dumps(quiet))
    font = _some_font()
    if font is not None:  # it would download one when it checks a data set
        shutil.copyfile(font, own / "Arial.ttf")
    for name in _SECRETS:
        os.environ.pop(name, None)
    os.environ.update(
        YOLO_CONFIG_DIR=str(folder),
        YOLO_OFFLINE="true",
        YOLO_AUTOINSTALL="false",
        YOLO_VERBOSE="false",
        ULTRALYTICS_SAFE_LOAD="1",
    )


def _some_font() -> Path | None:
    """Return the font that comes with matplotlib, which ultralytics requires."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return None
    font = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return font if font.is_file() else None


@contextmanager
def _put_back() -> Iterator[None]:
    """Undo what importing ultralytics, and OpenCV with it, changes in this process."""
    environment, printing, save = dict(os.environ), np.get_printoptions(), torch.save
    try:
        # OpenCV's wheel points Qt to plugins of its own, with which PyQt cannot start.
        opencv = import_extra("cv2", _EXTRA)
        threads = opencv.getNumThreads()
        with warnings.catch_warnings():
            yield
        opencv.setNumThreads(threads)
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        np.set_printoptions(**printing)
        torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call]
        torch.save = save

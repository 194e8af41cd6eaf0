"""Train a detector: images to disk, ultralytics in a process of its own, weights back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_neuropil.errors import CheckpointError, SettingsError
from napari_neuropil.networks.checkpoint import file_sha256
from napari_neuropil.prompts._ultralytics import check_installed, newest_architecture
from napari_neuropil.prompts.detector_weights import (
    LICENCE,
    DetectorSpec,
    load_detector_spec,
    load_detector_state,
    save_detector,
)
from napari_neuropil.training.detector_data import read_images
from napari_neuropil.training.detector_process import DONE, JOB, START, STATE
from napari_neuropil.training.detector_recipe import DetectorJob, DetectorRecipe, check_split
from napari_neuropil.training.yolo_dataset import YoloDataset, write_yolo_dataset

Tell = Callable[[float, int, str], None]
"""Hears (epochs done, of how many, what there is to say)."""

_PROCESS: Final = "napari_neuropil.training.detector_process"
_LOG: Final = "train.log"
_LAST_LINES: Final = 15
_GRACE: Final = 1.0  # seconds


def train_detector(
    recipe: DetectorRecipe,
    data_root: Path,
    out: Path,
    folder: Path,
    *,
    device: str = "cpu",
    threads: int = 1,
    tell: Tell = lambda _done, _total, _message: None,
) -> DetectorSpec:
    """Train a detector and write its weights.

    Stopped (by an exception out of `tell`, such as KeyboardInterrupt) or killed, it loses the
    epoch in work; called again it goes on after the last whole one, not to the bit: ultralytics
    keeps the state in half precision and starts the order of the images anew.

    Parameters
    ----------
    recipe : DetectorRecipe
        Everything that decides the result.
    data_root : Path
        Folder that paths in the recipe start from.
    out : Path
        Ends in ``.safetensors``; the spec goes beside it.
    folder : Path
        Of the run: images, log, state. May be deleted afterwards.
    device : str
        cpu, cuda or mps.
    threads : int
        Of the CPU.
    tell : callable
        Hears of every step and epoch.

    Returns
    -------
    DetectorSpec
        As written beside `out`.

    Raises
    ------
    MissingExtraError
        If ultralytics is not installed.
    NeuropilError
        If volumes or settings do not fit, or the folder holds another run.
    RuntimeError
        If training failed; names the log.
    """
    check_installed()
    check_split(recipe.volumes)
    dataset = write_yolo_dataset(
        folder / "dataset",
        read_images(recipe, data_root, "train"),
        read_images(recipe, data_root, "validation"),
        recipe.object_name,
    )
    job = _make_job(recipe, data_root, dataset, folder)
    if not (folder / DONE).is_file():
        tell(0, recipe.training.epochs, _describe(dataset))
        with _running(folder, device, threads) as process:
            for line in process.stdout or ():
                _pass_on(json.loads(line), tell)
            _check_end(process.wait(), folder)
    kept = folder / f"{recipe.training.keep}.safetensors"
    with safe_open(kept, "pt") as file:
        facts = file.metadata()
    metrics = json.loads(facts["metrics"])
    spec = DetectorSpec(
        architecture=job.architecture,
        classes=(recipe.object_name,),
        image_side=recipe.image_side,
        pixel_size=recipe.pixel_size,
        training_data=tuple(_describe_data(recipe)),
        licence=recipe.licence or LICENCE,
        # Precision and recall would be those at the best threshold for these very sections.
        metrics={f"validation {name}": metrics[name] for name in ("ap50", "ap50_95")},
        epochs=int(facts["epoch"]),
    )
    return save_detector(out, load_file(kept), spec)


def _make_job(
    recipe: DetectorRecipe, data_root: Path, dataset: YoloDataset, folder: Path
) -> DetectorJob:
    """Write down what the process is to do; refuse to mix it with another run."""
    start = None if recipe.start is None else data_root / recipe.start
    architecture, start_hash = recipe.architecture, ""
    if start is not None:
        began = load_detector_spec(start)
        start_hash = file_sha256(start)
        if architecture == "newest":
            architecture = began.architecture
        if (architecture, 1) != (began.architecture, len(began.classes)):
            raise CheckpointError(
                f"{start} is a {began.architecture} for {len(began.classes)} kinds of objects.",
                f"{architecture} for one",
                "start from other weights, or leave architecture out.",
            )
        save_file(load_detector_state(start, began), folder / START)
    elif architecture == "newest":
        architecture = newest_architecture()
    job = DetectorJob(
        architecture=architecture,
        data=str(dataset.file.resolve()),
        data_sha256=dataset.sha256,
        object_name=recipe.object_name,
        image_side=recipe.image_side,
        seed=recipe.seed,
        start=recipe.start,
        start_sha256=start_hash,
        training=recipe.training,
    )
    path = folder / JOB
    begun = any((folder / name).is_file() for name in (STATE, DONE))
    if begun and _same_run(path) != _key(job):
        raise SettingsError(
            f"{folder} holds a run with other settings, sections or labels.",
            "the same recipe and data, to go on",
            "delete the folder, or give another.",
        )
    path.write_text(job.model_dump_json(indent=1), encoding="utf-8")
    return job


def _key(job: DetectorJob) -> str:
    """Return what two runs have in common if they are one; the folder may have moved."""
    key = job.model_copy(update={"data": ""}).model_dump_json()
    return hashlib.sha256(key.encode()).hexdigest()


def _same_run(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return _key(DetectorJob.model_validate_json(path.read_text(encoding="utf-8")))
    return ""


@contextmanager
def _running(folder: Path, device: str, threads: int) -> Iterator[subprocess.Popen[str]]:
    """Start the process; it ends with the block, whatever happens in it."""
    own = {"cuda": "0"}.get(device, device)
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), PYTHONIOENCODING="utf-8")
    words = [sys.executable, "-P", "-m", _PROCESS, str(folder.resolve()), own, str(threads)]
    with (
        (folder / _LOG).open("ab") as log,
        subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # Ctrl+C reaches this process alone, which ends that one
        ) as process,
    ):
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End the process; what it has kept is whole at any moment."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()


def _pass_on(event: Mapping[str, Any], tell: Tell) -> None:
    if event["event"] == "batch":
        terms = event["losses"].items()
    else:
        names = {"precision", "recall", "ap50", "ap50_95"}
        terms = [(name, value) for name, value in event.items() if name in names]
    message = ", ".join(f"{name} {value:.3f}" for name, value in terms)
    tell(event["done"], event["total"], message)


def _check_end(code: int, folder: Path) -> None:
    if code == 0 and (folder / DONE).is_file():
        return
    log = folder / _LOG
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    text = "\n".join(lines)
    if "out of memory" in text.lower():
        raise SettingsError(
            "The device ran out of memory.",
            "room for a batch",
            "make training.batch of the recipe smaller.",
        )
    raise RuntimeError(f"The training process ended with {code}; the end of {log}:\n{text}")


def _describe(dataset: YoloDataset) -> str:
    return ", ".join(
        f"{dataset.images[part]} images with {dataset.objects[part]} objects to {verb}"
        for part, verb in (("train", "learn from"), ("val", "validate on"))
    )


def _describe_data(recipe: DetectorRecipe) -> Iterator[str]:
    """Give one line for each volume, for the card."""
    for v in recipe.volumes:
        ids = "all" if v.ids == "all" else " ".join(map(str, v.ids))
        step = "" if v.step == 1 else f", every {v.step}th"
        yield (
            f"{v.name}: sections {v.train_sections[0]}-{v.train_sections[1] - 1}{step}, "
            f"ids {ids}, at {recipe.pixel_size:g} nm; {v.licence}"
        )
    if recipe.start:
        yield f"went on from {recipe.start}"

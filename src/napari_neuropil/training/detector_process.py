"""The process in which ultralytics trains; `detector.train_detector` starts it and reads its lines.

ultralytics' trainer changes threads, random generators, environment and torch for good, opens
loggers and writes pickles: so it gets a process, and a folder, of its own. Standard output carries
one JSON object a line (``batch``, ``epoch``) and nothing else; whatever is printed goes to the log.
When nobody reads the lines any more, the process ends.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

import torch
from safetensors.torch import load_file, save_file

from napari_neuropil.networks.checkpoint import fill_network
from napari_neuropil.prompts._ultralytics import build_network, import_part
from napari_neuropil.prompts.yolo_detector import MOST_BOXES
from napari_neuropil.training.detector_recipe import DetectorJob

JOB, STATE, START, DONE, LOG = "job.json", "state.pt", "start.safetensors", "done", "log.csv"
_PATIENCE: Final = 3600.0
"""Seconds in which overlapping boxes of an image must be sorted out. By itself ultralytics leaves a
batch after two, and counts the images that are left as empty: on a busy machine AP50 fell from 0.7
to 0.07, and came back in the next epoch."""
_METRICS: Final = {
    "precision": "metrics/precision(B)",
    "recall": "metrics/recall(B)",
    "ap50": "metrics/mAP50(B)",
    "ap50_95": "metrics/mAP50-95(B)",
}


def main(folder: Path, device: str, threads: int) -> None:
    """Train as ``folder/job.json`` says; go on from ``folder/state.pt`` where it is there.

    Parameters
    ----------
    folder : Path
        Of the run. Gets ``last.safetensors`` and ``best.safetensors`` (averaged weights),
        ``log.csv`` and ``state.pt`` after each epoch, an empty ``done`` at the end.
    device : str
        As ultralytics writes it: cpu, mps, or the number of an NVIDIA GPU.
    threads : int
        Of the CPU.
    """
    lines = _take_stdout()
    job = DetectorJob.model_validate_json((folder / JOB).read_text(encoding="utf-8"))
    detect = import_part("ultralytics.models.yolo.detect", folder / "ultralytics")
    _be_patient(import_part("ultralytics.utils.nms", folder / "ultralytics"))
    state = folder / STATE
    overrides = _overrides(job, folder, device)
    if state.is_file():
        overrides["resume"] = str(state)
    trainer = detect.DetectionTrainer(overrides=overrides)
    torch.set_num_threads(threads)  # the trainer has chosen for itself

    def build(cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        network = build_network(job.architecture, 1)
        if weights is not None:
            network.load_state_dict(weights.float().state_dict())
        elif job.start is not None:
            fill_network(network, load_file(folder / START), job.start)
        return network

    trainer.get_model = build
    trainer.final_eval = lambda: None  # it would write over the weights and score them once more
    diary = _Diary(folder, lines)
    trainer.add_callback("on_train_epoch_start", _close_rotations)
    trainer.add_callback("on_train_batch_end", diary.batch)
    trainer.add_callback("on_fit_epoch_end", diary.epoch)
    trainer.train()
    (folder / DONE).touch()


def _overrides(job: DetectorJob, folder: Path, device: str) -> dict[str, Any]:
    """Return ultralytics' settings; the rest stays as it comes."""
    how = job.training
    return {
        "model": f"{job.architecture}.yaml",
        "data": job.data,
        "save_dir": str(folder / "ultralytics" / "run"),
        "pretrained": False,
        "device": device,
        "epochs": how.epochs,
        "batch": how.batch,
        "nbs": how.batch,  # a step for each batch; else gradients of 64 images are added up
        "imgsz": job.image_side,
        "optimizer": "AdamW",
        "lr0": how.learning_rate,
        "lrf": how.last_rate,
        "momentum": 0.9,
        "cos_lr": True,
        "warmup_epochs": how.warm_up,
        "warmup_bias_lr": 0.0,
        "weight_decay": how.weight_decay,
        "patience": how.patience,
        "seed": job.seed,
        "deterministic": True,
        "amp": False,  # its check fetches weights
        "plots": False,
        "cache": "ram",
        "workers": 0,
        "max_det": MOST_BOXES,
        "mosaic": how.mosaic,
        "close_mosaic": min(how.plain_epochs, how.epochs),
        "degrees": how.degrees,
        "translate": how.translate,
        "scale": how.scale,
        "flipud": how.flip,
        "fliplr": how.flip,
        "hsv_h": 0.0,
        "hsv_s": 0.0,
        "hsv_v": how.brightness,
        "erasing": 0.0,
    }


def _be_patient(nms: Any) -> None:
    """Let the validation of this process finish each batch."""
    nms.non_max_suppression = partial(nms.non_max_suppression, max_time_img=_PATIENCE)


def _close_rotations(trainer: Any) -> None:
    """End rotations with the mosaics: alone, a turned image has corners without tissue."""
    if trainer.epoch >= trainer.epochs - trainer.args.close_mosaic:
        trainer.args.degrees = 0.0


class _Diary:
    """Writes down what happens: lines for who waits, weights and log for what stays."""

    def __init__(self, folder: Path, lines: TextIO) -> None:
        self._folder, self._lines = folder, lines
        self._batch, self._epoch = 0, -1
        self._began = time.perf_counter()

    def batch(self, trainer: Any) -> None:
        """Tell of a step."""
        if trainer.epoch != self._epoch:
            self._epoch, self._batch = trainer.epoch, 0
        self._batch += 1
        self._tell(
            "batch",
            done=trainer.epoch + min(self._batch / len(trainer.train_loader), 1.0),
            total=trainer.epochs,
            losses=_losses(trainer),
        )

    def epoch(self, trainer: Any) -> None:
        """Keep the weights and tell of an epoch; called after ultralytics has saved its state."""
        weights = {
            name: t.detach().float() if t.is_floating_point() else t.detach()
            for name, t in trainer.ema.ema.state_dict().items()
        }
        names = ["last"]
        if trainer.fitness is not None and trainer.fitness == trainer.best_fitness:
            names.append("best")
        facts = {"epoch": str(trainer.epoch + 1), "metrics": json.dumps(_metrics(trainer))}
        for name in names:
            unfinished = self._folder / f"{name}.partial"
            save_file({n: t.cpu().contiguous() for n, t in weights.items()}, unfinished, facts)
            unfinished.replace(self._folder / f"{name}.safetensors")
        seconds, self._began = time.perf_counter() - self._began, time.perf_counter()
        row = {
            "epoch": trainer.epoch + 1,
            "seconds": round(seconds, 1),
            **_losses(trainer),
            **_metrics(trainer),
        }
        self._write_row(row)
        # Last: what is resumed from is whole, and log and weights know of it.
        state = self._folder / "state.partial"
        state.write_bytes(Path(trainer.last).read_bytes())
        state.replace(self._folder / STATE)
        self._tell("epoch", done=trainer.epoch + 1, total=trainer.epochs, **_metrics(trainer))

    def _write_row(self, row: Mapping[str, float]) -> None:
        path = self._folder / LOG
        old = list(csv.DictReader(path.open(newline=""))) if path.is_file() else []
        # An epoch that was cut short before its state was kept is run again.
        rows = [r for r in old if int(r["epoch"]) < row["epoch"]]
        unfinished = path.with_suffix(".partial")
        with unfinished.open("w", newline="") as file:
            log = csv.DictWriter(file, list(row), restval="", extrasaction="ignore")
            log.writeheader()
            log.writerows([*rows, row])
        unfinished.replace(path)

    def _tell(self, event: str, **facts: Any) -> None:
        self._lines.write(json.dumps({"event": event, **facts}) + "\n")
        self._lines.flush()


def _losses(trainer: Any) -> dict[str, float]:
    """Return the mean losses of the epoch so far, by short names."""
    terms = trainer.tloss or {}
    return {name.removesuffix("_loss"): round(float(value), 5) for name, value in terms.items()}


def _metrics(trainer: Any) -> dict[str, float]:
    """Return the scores of the last validation; those that are no numbers are left out."""
    values = {name: float(trainer.metrics.get(key, math.nan)) for name, key in _METRICS.items()}
    return {name: round(value, 5) for name, value in values.items() if math.isfinite(value)}


def _take_stdout() -> TextIO:
    """Keep standard output for the lines, and send to the log whatever else is printed."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return lines


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

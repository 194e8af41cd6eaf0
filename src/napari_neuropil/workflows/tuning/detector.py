"""Fine-tune a detector on what a user corrected, and use it only if it is better."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError, SettingsError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.workflows.prompting.volume import PromptVolume, open_prompt_volume
from napari_neuropil.workflows.requests import Progress, Report
from napari_neuropil.workflows.tuning.corrections import LabelledSections, open_sources
from napari_neuropil.workflows.tuning.detector_requests import (
    DetectorTuneOutcome,
    DetectorTunePlan,
    DetectorTuneRequest,
)
from napari_neuropil.workflows.tuning.detector_training_set import (
    tuning_recipe,
    write_training_set,
)
from napari_neuropil.workflows.tuning.requests import TuneRequest

if TYPE_CHECKING:
    from napari_neuropil.prompts.boxes import Boxes
    from napari_neuropil.training.detector_recipe import DetectorRecipe
    from napari_neuropil.training.gate import GateDecision

_BUILT_IN: Final = "dendrite-detector"
_FAINT: Final = 0.001
_LEAST_SECTIONS: Final = 4
_RUN, _TUNED = "training", "tuned.safetensors"

Found = list[tuple["Boxes", NDArray[np.float32]]]


def plan_detector_tuning(request: DetectorTuneRequest) -> DetectorTunePlan:
    """Return what a fine-tuning would learn from and be measured on; nothing is written.

    Raises
    ------
    NeuropilError
        If an input cannot be read or does not fit, too little was corrected, or the output exists.
    """
    with open_sources(_as_corrections(request), _volume(request)) as (source, _):
        return _plan(request, source)


def tune_detector(
    request: DetectorTuneRequest,
    *,
    report: Report = lambda _progress: None,
    planned: Callable[[DetectorTunePlan], None] = lambda _plan: None,
) -> DetectorTuneOutcome:
    """Fine-tune; stopped and started again, it goes on after the last whole epoch.

    Parameters
    ----------
    request : DetectorTuneRequest
        The wish.
    report : callable
        Hears of the stages ``write``, ``before``, ``train`` and ``after``. May raise to stop.
    planned : callable
        Hears of the plan before anything is learned.

    Returns
    -------
    DetectorTuneOutcome
        Accepted if the average precision on held-out sections rose by more than chance explains.

    Raises
    ------
    NeuropilError
        As `plan_detector_tuning`; if the folder holds another run, or ultralytics is not installed.
    """
    from napari_neuropil.inference.devices import choose_device, usable_cores
    from napari_neuropil.prompts._ultralytics import check_installed
    from napari_neuropil.prompts.detector_weights import (
        load_detector_spec,
        load_detector_state,
        save_detector,
    )
    from napari_neuropil.training.detector import train_detector

    since = time.perf_counter()
    check_installed()
    device = choose_device(request.device).type
    volume = _volume(request)
    with open_sources(_as_corrections(request), volume) as (source, _):
        plan = _plan(request, source)
        planned(plan)
        folder = Path(plan.folder)
        if request.overwrite:
            shutil.rmtree(folder, ignore_errors=True)
        try:
            (folder / _RUN).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder} cannot be made: {error}", "", "choose another.") from error
        write_training_set(folder, volume, source, plan, report)
    recipe = tuning_recipe(plan, load_detector_spec(Path(plan.base)), volume.voxel_size)

    def tell(done: float, total: int, message: str) -> None:
        report(Progress(stage="train", done=done, total=total, message=message))

    truth, before = _measure("before", Path(plan.base), recipe, folder, device, report)
    tuned = folder / _TUNED
    train_detector(
        recipe, folder, tuned, folder / _RUN, device=device, threads=usable_cores(), tell=tell
    )
    _, after = _measure("after", tuned, recipe, folder, device, report)
    spec = load_detector_spec(tuned)
    decision = judge_detections(before, after, truth)
    out = Path(request.out).expanduser()
    if decision.accepted:
        save_detector(out, load_detector_state(tuned, spec), spec)
    scores = [_scores(found, truth, spec.confidence) for found in (before, after)]
    use = "is used" if decision.accepted else "is not used, the one before stays"
    return DetectorTuneOutcome(
        accepted=decision.accepted,
        verdict=decision.verdict.replace("objects", "sections"),
        reason=f"The tuned detector {use}: average precision {scores[0]['ap50']:.3f} -> "
        f"{scores[1]['ap50']:.3f} on {decision.objects} held-out sections (mean gain "
        f"{decision.gain:+.3f}, between {decision.low:+.3f} and {decision.high:+.3f}).",
        before=scores[0],
        after=scores[1],
        gain=decision.gain,
        low=decision.low,
        high=decision.high,
        sections=decision.objects,
        seconds=round(time.perf_counter() - since, 1),
        checkpoint=str(out) if decision.accepted else None,
        folder=str(folder),
    )


def judge_detections(before: Found, after: Found, truth: list[Boxes]) -> GateDecision:
    """Decide whether a tuned detector is used: by its average precision, section by section.

    Parameters
    ----------
    before, after : list of (boxes, scores)
        Of both detectors, faint boxes too.
    truth : list of Boxes
        Of the same sections; those without objects do not count.
    """
    from napari_neuropil.evaluation.detection import evaluate_detections
    from napari_neuropil.training.gate import GateSettings, judge

    held = [n for n, boxes in enumerate(truth) if len(boxes)]
    precisions = [
        np.array([evaluate_detections([found[n]], [truth[n]]).ap50 for n in held])
        for found in (before, after)
    ]
    settings = GateSettings(least_objects=_LEAST_SECTIONS)
    return judge({"AP50": precisions[0]}, {"AP50": precisions[1]}, held, settings)


def _as_corrections(request: DetectorTuneRequest) -> TuneRequest:
    shared = ("image", "out", "project", "labels", "segments", "roi", "voxel_size")
    return TuneRequest(**{name: getattr(request, name) for name in shared})


def _volume(request: DetectorTuneRequest) -> PromptVolume:
    return open_prompt_volume(
        request.image,
        voxel_size=VoxelSize(*request.voxel_size) if request.voxel_size else None,
        roi=request.roi,
        project=request.project,
    )


def _plan(request: DetectorTuneRequest, source: LabelledSections) -> DetectorTunePlan:
    from napari_neuropil.networks.pretrained import pretrained_path
    from napari_neuropil.prompts.detector_weights import load_detector_spec
    from napari_neuropil.training.detector_recipe import split_sections

    out = Path(request.out).expanduser()
    if out.suffix != ".safetensors":
        raise SettingsError(f"{out} is no name for weights.", "NAME.safetensors", "")
    if out.exists() and not request.overwrite:
        raise OutputError(f"{out} exists.", "a new file", "choose another name or --overwrite.")
    base = Path(request.base).expanduser() if request.base else pretrained_path(_BUILT_IN)
    spec = load_detector_spec(base)
    first, last = source.sections[0], source.sections[-1] + 1
    training, held_out = split_sections(first, last, share=request.share, gap=request.gap)
    notices = [
        f"Every {spec.classes[0]} of sections {first} to {last - 1} must be among the chosen "
        "segments: what is not chosen counts as background, and is unlearned."
    ]
    if held_out[1] - held_out[0] < _LEAST_SECTIONS:
        notices.append(
            f"Fewer than {_LEAST_SECTIONS} held-out sections prove nothing: the tuned detector "
            "will not be used."
        )
    return DetectorTunePlan(
        request=request,
        base=str(base.resolve()),
        object_name=spec.classes[0],
        pixel_size=spec.pixel_size,
        training_sections=training,
        held_out_sections=held_out,
        segments=None if source.chosen is None else len(source.chosen),
        epochs=request.epochs,
        folder=str(out.with_suffix(".run")),
        notices=tuple(notices),
    )


def _measure(
    stage: str, weights: Path, recipe: DetectorRecipe, folder: Path, device: str, report: Report
) -> tuple[list[Boxes], Found]:
    """Return what is there in the held-out sections, and what a detector finds."""
    from napari_neuropil.prompts.yolo_detector import YoloDetector
    from napari_neuropil.workflows.evaluate_detector import find_held_out

    def told(progress: Progress) -> None:
        report(progress.model_copy(update={"stage": stage}))

    detector = YoloDetector.load(weights, device=device, confidence=_FAINT)
    found, truth = find_held_out(detector, recipe, folder, told)
    return truth, found


def _scores(found: Found, truth: list[Boxes], confidence: float) -> dict[str, float]:
    from napari_neuropil.evaluation.detection import evaluate_detections

    scores = evaluate_detections(found, truth, least_score=confidence)
    return {name: float(value) for name, value in scores.as_dict().items()}

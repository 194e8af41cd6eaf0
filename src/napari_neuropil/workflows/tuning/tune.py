"""Fine-tune a promptable network on what a user corrected, and use it only if it is better."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError
from napari_neuropil.workflows.requests import Progress, Report
from napari_neuropil.workflows.tuning.embeddings import TileEmbeddings
from napari_neuropil.workflows.tuning.prepare import PreparedTuning, prepare_tuning
from napari_neuropil.workflows.tuning.requests import TuneOutcome, TunePlan, TuneRequest
from napari_neuropil.workflows.tuning.run_folder import Curve, claim_folder

if TYPE_CHECKING:
    from torch import Tensor

    from napari_neuropil.networks.promptable import PromptableNetwork
    from napari_neuropil.networks.tuned_part import TunedSpec
    from napari_neuropil.training.section_objects import SectionObject
    from napari_neuropil.training.tuning_tiles import TuningTile

Scores = dict[str, NDArray[np.float64]]


def plan_tuning(request: TuneRequest, report: Report = lambda _progress: None) -> TunePlan:
    """Return what a fine-tuning would learn from and be measured on; nothing is written.

    Raises
    ------
    NeuropilError
        As `prepare_tuning`.
    """
    return prepare_tuning(request, report).plan


def tune(
    request: TuneRequest,
    *,
    report: Report = lambda _progress: None,
    planned: Callable[[TunePlan], None] = lambda _plan: None,
) -> TuneOutcome:
    """Fine-tune; stopped and started again, it goes on from the last saved state.

    The tuned network and the one before answer the same prompts for held-out objects, which
    neither has learned from. Only if the tuned one is better by more than chance explains is it
    written.

    Parameters
    ----------
    request : TuneRequest
        The wish.
    report : callable
        Hears of the stages ``read``, ``embed``, ``before``, ``train``, ``held-out`` (a point of
        the curve) and ``after``; numbers are in `Progress.values`. May raise to stop.
    planned : callable
        Hears of the plan before anything is learned.

    Returns
    -------
    TuneOutcome

    Raises
    ------
    NeuropilError
        As `prepare_tuning`; if the folder holds another run, or cannot be written.
    """
    import torch

    from napari_neuropil.inference.devices import usable_cores
    from napari_neuropil.networks.tuned_part import save_tuned
    from napari_neuropil.training.gate import judge

    since = time.perf_counter()
    prepared = prepare_tuning(request, report)
    plan, out = prepared.plan, Path(request.out).expanduser()
    planned(plan)
    claim_folder(prepared.folder, prepared.key, overwrite=request.overwrite)
    torch.set_num_threads(usable_cores())
    embeddings = _embeddings(prepared.base.network, prepared)
    before = _score("before", embeddings, prepared.split.held_out, prepared, report)
    learned = _learn(prepared, embeddings, report)
    # Keys hold the encoder's hash: embeddings of another one are never met.
    embeddings = _embeddings(learned.network, prepared, embeddings)
    after = _score("after", embeddings, prepared.split.held_out, prepared, report)
    decision = judge(before, after, [item.segment for item in prepared.split.held_out])
    if decision.accepted:
        metrics = {f"held-out {kind} IoU": value for kind, value in decision.after.items()}
        metrics |= {f"{kind} IoU before": value for kind, value in decision.before.items()}
        spec = learned.spec.model_copy(
            update={
                "base_name": prepared.base.tuning_base,
                "training_data": _describe(plan),
                "metrics": metrics,
            }
        )
        save_tuned(out, learned.state, spec)
    return TuneOutcome(
        accepted=decision.accepted,
        verdict=decision.verdict,
        reason=decision.text,
        before=dict(decision.before),
        after=dict(decision.after),
        gain=decision.gain,
        low=decision.low,
        high=decision.high,
        objects=decision.objects,
        segments=decision.segments,
        steps=learned.spec.steps,
        seconds=round(time.perf_counter() - since, 1),
        checkpoint=str(out) if decision.accepted else None,
        folder=str(prepared.folder),
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Learned:
    network: PromptableNetwork
    state: dict[str, Tensor]
    spec: TunedSpec


class _TimeIsUpError(Exception):
    """Training has lasted as long as it may."""


def _learn(prepared: PreparedTuning, embeddings: TileEmbeddings, report: Report) -> _Learned:
    """Train, or go on training, until all steps are done or time is up."""
    import torch

    from napari_neuropil.prompts.sam_networks import open_network
    from napari_neuropil.training.sam_tuning import tune_network

    request, settings = prepared.plan.request, prepared.settings
    training, held_out = _with_features(prepared, embeddings, report)
    device = torch.device(prepared.plan.device)
    curve = Curve(prepared.folder)
    total, every = settings.optimiser.steps, settings.optimiser.save_every
    until = None if request.minutes is None else time.monotonic() + 60 * request.minutes
    last = total

    def tell_curve() -> None:
        for done, values in curve.news():
            text = f"held-out IoU {values['held_out']:.3f}"
            report(Progress(stage="held-out", done=done, total=total, message=text, values=values))

    def tell(step: int, terms: Mapping[str, float]) -> None:
        nonlocal last
        tell_curve()
        values = {name: float(value) for name, value in terms.items()}
        text = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        report(Progress(stage="train", done=step + 1, total=total, message=text, values=values))
        # Before this step the state was saved, so nothing but the step itself is lost.
        if until is not None and step and step % every == 0 and time.monotonic() >= until:
            last = step
            raise _TimeIsUpError

    tell_curve()
    network = prepared.base.network
    try:
        state, spec = tune_network(
            network, training, held_out, settings, prepared.folder, device, tell
        )
    except torch.OutOfMemoryError as error:
        raise SettingsError(
            f"The memory of {device} does not suffice to train {request.parts}.",
            "a device with more memory",
            "train the decoder alone, choose a smaller base, or --device cpu.",
        ) from error
    except _TimeIsUpError:
        # The saved state has the averaged weights; the network at hand has learned without them.
        network = open_network(request.base).network
        short = settings.model_copy(
            update={"optimiser": settings.optimiser.model_copy(update={"stop_at": last})}
        )
        state, spec = tune_network(network, training, held_out, short, prepared.folder, device)
    tell_curve()
    return _Learned(network, state, spec)


def _with_features(
    prepared: PreparedTuning, embeddings: TileEmbeddings, report: Report
) -> tuple[Sequence[TuningTile], Sequence[TuningTile]]:
    """Return the tiles, encoded once where the encoder does not learn."""
    training: Sequence[TuningTile] = prepared.tiles
    held_out: Sequence[TuningTile] = prepared.curve_tiles
    if prepared.settings.parts == "decoder":
        training = embeddings.encoded(training, report)
        held_out = embeddings.encoded(held_out)  # they have just been measured on
    if not training:
        raise SettingsError(
            "There is no tissue in the image where the corrected segments are.",
            "an image with contrast",
            "check that image and labels belong together.",
        )
    return training, held_out


def _embeddings(
    network: PromptableNetwork, prepared: PreparedTuning, before: TileEmbeddings | None = None
) -> TileEmbeddings:
    from napari_neuropil.prompts.sam_segmenter import SamSegmenter

    plan = prepared.plan
    segmenter = SamSegmenter(network, plan.base, plan.device)
    # A tuned encoder's embeddings are looked at once; the folder is for those of its base.
    base = segmenter.fingerprint == plan.base_fingerprint
    folder = plan.request.cache_dir if base else None
    return TileEmbeddings(
        segmenter,
        prepared.read_section,
        None if folder is None else Path(folder).expanduser(),
        before,
    )


def _score(
    stage: str,
    embeddings: TileEmbeddings,
    objects: Sequence[SectionObject],
    prepared: PreparedTuning,
    report: Report,
) -> Scores:
    """Measure a network on the held-out objects."""
    from napari_neuropil.training.held_out_scores import score_held_out

    def told(done: int, total: int) -> None:
        report(Progress(stage=stage, done=done, total=total))

    scores = score_held_out(
        embeddings.tiled,
        objects,
        prepared.read_section,
        lambda z: embeddings.for_objects(z, [item for item in objects if item.z == z]),
        told,
    )
    means = {kind: float(values.mean()) for kind, values in scores.items()}
    count = len({item.z for item in objects})
    text = ", ".join(f"{kind} IoU {value:.3f}" for kind, value in means.items())
    report(Progress(stage=stage, done=count, total=count, message=text, values=means))
    return scores


def _describe(plan: TunePlan) -> tuple[str, ...]:
    """Say what a network has seen, for its card."""
    own, held = plan.training_sections, plan.held_out_sections
    lines = [
        f"{Path(plan.request.image).name}: {plan.training_objects} corrected cross-sections of "
        f"{len(plan.training_segments)} segments, sections {own[0]}-{own[-1]}",
        f"held out: {plan.held_out_objects} of {len(plan.held_out_segments)} segments, sections "
        f"{held[0]}-{held[-1]} (by {plan.request.held_out})",
    ]
    if plan.pseudo_objects:
        lines.append(
            f"pseudo: {plan.pseudo_objects} cross-sections that nobody checked, weight "
            f"{plan.request.pseudo_weight:g}"
        )
    return tuple(lines)

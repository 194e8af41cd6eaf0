"""How good a segmenter's masks are, and how many clicks they cost, measured against labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, SettingsError
from napari_neuropil.evaluation.object_error import object_consistency_error
from napari_neuropil.evaluation.simulated_user import (
    ClickRun,
    UserSettings,
    mean_clicks,
    simulate_user,
)
from napari_neuropil.workflows.examined_sections import Examined, ExaminedSections
from napari_neuropil.workflows.requests import Progress, Report

if TYPE_CHECKING:
    from napari_neuropil.prompts.segmenter import ImageEmbedding, Segmenter
    from napari_neuropil.training.section_objects import SectionObject


@dataclass(frozen=True, slots=True)
class PromptScores:
    """What was measured; means over objects, a connected part of a label in one section each.

    Parameters
    ----------
    objects : int
        How many.
    box_iou, box_dice : float
        Of the mask for the tight box.
    point_iou : float
        Of the mask for one click, as deep inside as there is.
    object_error : float
        Object-level consistency error of the masks for boxes, mean over sections; 0 is perfect.
    clicks_085, clicks_090 : float
        Clicks of a simulated user who began with the box until that intersection over union; who
        did not reach it counts as `UserSettings.max_clicks`.
    reached_085, reached_090 : float
        Share of the objects that reached it.
    embed_seconds, click_ms : float
        Medians: of a section, and of one mask.
    """

    objects: int
    box_iou: float
    box_dice: float
    point_iou: float
    object_error: float
    clicks_085: float
    clicks_090: float
    reached_085: float
    reached_090: float
    embed_seconds: float
    click_ms: float

    def as_dict(self) -> dict[str, float]:
        """Return the scores by name, for JSON."""
        return asdict(self)


def evaluate_prompts(
    image: str | Path,
    labels: str | Path,
    segmenter: Segmenter,
    examined: Examined | None = None,
    *,
    user: UserSettings | None = None,
    report: Report = lambda _progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> PromptScores:
    """Measure a segmenter on sections whose objects are known.

    Parameters
    ----------
    image, labels : path-like
        Volumes of one shape; label 0 is nothing.
    segmenter : Segmenter
        Tiled where sections are longer than it sees.
    examined : Examined, optional
        What of the volume is looked at.
    user : UserSettings, optional
        Who clicks; goals 0.85 and 0.90.
    report : callable
        Hears of progress.
    cancelled : callable
        Asked before each section.

    Raises
    ------
    NeuropilError
        If a volume cannot be read, the shapes differ, or no object is left.
    """
    part = ExaminedSections(image, labels, examined or Examined())
    tally = _Tally(segmenter, user or UserSettings())
    for done, z in enumerate(part.every):
        if cancelled():
            raise CancelledError("Stopped.", "", "start again any time.")
        report(Progress(stage="sections", done=done, total=len(part.every)))
        objects = part.objects(z)
        if objects:
            tally.add(part.image(z), objects)
    report(Progress(stage="sections", done=len(part.every), total=len(part.every)))
    return tally.scores()


class _Tally:
    """Collects what is measured, section by section."""

    def __init__(self, segmenter: Segmenter, user: UserSettings) -> None:
        self._segmenter, self._user = segmenter, user
        self._box: list[float] = []
        self._point: list[float] = []
        self._errors: list[float] = []
        self._runs: list[ClickRun] = []
        self._embed: list[float] = []
        self._clicks: list[float] = []

    def add(self, section: NDArray[np.uint8], objects: Sequence[SectionObject]) -> None:
        from napari_neuropil.training.held_out_scores import (
            box_prompt,
            object_overlap,
            point_prompt,
        )
        from napari_neuropil.training.section_objects import paint_objects

        begin = time.perf_counter()
        embedding = self._segmenter.embed(section)
        self._embed.append(time.perf_counter() - begin)
        answers = self._segmenter.masks(embedding, [box_prompt(o) for o in objects])
        points = self._segmenter.masks(embedding, [point_prompt(o) for o in objects])
        self._box += [object_overlap(o, a.mask) for o, a in zip(objects, answers, strict=True)]
        self._point += [object_overlap(o, a.mask) for o, a in zip(objects, points, strict=True)]
        painted = np.zeros(section.shape, np.int64)
        # Where masks overlap, the one of which the segmenter expects most wins.
        for number in np.argsort([a.score for a in answers], kind="stable").tolist():
            painted[answers[number].mask] = number + 1
        truth = paint_objects(objects, section.shape)
        self._errors.append(object_consistency_error(painted, truth))
        for item in objects:
            self._runs.append(self._let_click(embedding, item, section.shape))

    def _let_click(
        self, embedding: ImageEmbedding, item: SectionObject, shape: tuple[int, ...]
    ) -> ClickRun:
        from napari_neuropil.prompts.prompt import Prompt

        truth = np.zeros(shape, np.bool_)
        y0, x0, y1, x1 = item.box
        truth[y0:y1, x0:x1] = item.mask
        before: NDArray[np.bool_] | None = None

        def predict(
            points: NDArray[np.float32], positive: NDArray[np.bool_], box: Any
        ) -> NDArray[np.bool_]:
            nonlocal before
            begin = time.perf_counter()
            prompt = Prompt(box=box, points=points, positive=positive, mask=before)
            (answer,) = self._segmenter.masks(embedding, [prompt])
            self._clicks.append(time.perf_counter() - begin)
            before = answer.mask if answer.mask.any() else None
            return answer.mask

        return simulate_user(truth, predict, self._user)

    def scores(self) -> PromptScores:
        if not self._box:
            raise SettingsError(
                "There is no object to be measured on.",
                "labels with parts that are large enough",
                "choose other ids or sections, or a smaller --smallest.",
            )
        iou = np.array(self._box)
        clicks = {g: mean_clicks(self._runs, g, self._user.max_clicks) for g in (0.85, 0.90)}
        return PromptScores(
            objects=len(iou),
            box_iou=float(iou.mean()),
            box_dice=float((2 * iou / (1 + iou)).mean()),
            point_iou=float(np.mean(self._point)),
            object_error=float(np.mean(self._errors)),
            clicks_085=clicks[0.85][0],
            clicks_090=clicks[0.90][0],
            reached_085=clicks[0.85][1],
            reached_090=clicks[0.90][1],
            embed_seconds=float(np.median(self._embed)),
            click_ms=1000 * float(np.median(self._clicks)),
        )

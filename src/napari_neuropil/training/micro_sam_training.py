"""Fine-tuning by micro_sam's own trainer, on our examples.

Its prompts, its losses and its loop (``SamTrainer``; Archit et al. 2025, Nature Methods). Three
things are ours. States hold tensors only, where its checkpoints are pickles that name classes.
Held-out objects have no say in what comes out: the last weights count, not those that did best on
them, and the rate stays the same, or measuring on them afterwards would flatter. The same seed
gives the same run.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from napari_neuropil.errors import SettingsError
from napari_neuropil.prompts._micro_sam import import_trainer
from napari_neuropil.training.learning_part import LearningPart
from napari_neuropil.training.micro_sam_view import (
    ShownPatch,
    ShowPatches,
    TrainableNetwork,
    has_prompts,
)
from napari_neuropil.training.sam_patches import SamPatch
from napari_neuropil.training.trainer import (
    OptimiserSettings,
    PatchLoss,
    load_state,
    mean_loss,
    save_state,
)
from napari_neuropil.training.training_log import LOG, STATE, TrainingLog
from napari_neuropil.training.tuning_examples import TuningSampler

_ROUNDS: Final = 8
"""Prompts of one object in a row; its default."""
_DISTORTION: Final = 0.025
"""Sides of boxes are moved by up to this share; its default."""
_TRIES: Final = 100
"""Examples looked at for one that can be prompted."""
_AGAIN: Final = 1_000_003
"""Steps from one try to the next: far more than a run has."""


@contextlib.contextmanager
def _randomness_kept() -> Iterator[None]:
    """Leave the two generators that the trainer, and its import, use as they were."""
    numbers, own = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        np.random.set_state(numbers)
        random.setstate(own)


@_randomness_kept()
def train_with_micro_sam(
    part: LearningPart,
    loss: PatchLoss[SamPatch],
    sampler: TuningSampler,
    validation: list[SamPatch],
    settings: OptimiserSettings,
    folder: Path,
    device: torch.device,
    report: Callable[[int, Mapping[str, float]], None] = lambda _step, _terms: None,
) -> dict[str, Tensor]:
    """Train with micro_sam's ``SamTrainer``, and return the last weights.

    Parameters
    ----------
    part : LearningPart
        Trained in place.
    loss : PatchLoss
        Measures held-out examples; training has the trainer's own losses.
    sampler : TuningSampler
        Gives the example of a step. Its settings say how often a correction comes with the mask so
        far, and the seed.
    validation : list of SamPatch
        For the curve alone.
    settings : OptimiserSettings
        Steps, rate, when to save and to validate. There is no warm-up, decay or average.
    folder : Path
        Gets ``state.pt`` (gone on from, if there) and ``log.csv``.
    device : torch.device
        Where to compute.
    report : callable
        Called with (step, loss terms) after each step; may raise to stop.

    Returns
    -------
    dict of str to Tensor
        State dict of `part`.

    Raises
    ------
    MissingExtraError
        If micro_sam is not installed.
    SettingsError
        If no example has an object that can be prompted, or micro_sam is not whole.
    """
    parts = import_trainer()
    folder.mkdir(parents=True, exist_ok=True)
    network = TrainableNetwork(part, device).to(device)
    optimiser = torch.optim.AdamW(
        part.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    done, _ = load_state(folder / STATE, part, optimiser, device)
    last = settings.last_step
    if done < last:
        every = settings.validate_every
        with TrainingLog(folder / LOG) as log:
            run = _Run(part, optimiser, settings, folder, log, report)
            trainer = _trainer_class(parts.trainer)(
                run,
                partial(mean_loss, part, loss, validation, device),
                name="micro_sam",
                train_loader=_Examples(sampler, done, settings),
                val_loader=(),
                model=network,
                optimizer=optimiser,
                device=device,
                mixed_precision=False,
                compile_model=False,
                save_root=str(folder),
                logger=lambda *_: run,
                convert_inputs=ShowPatches(
                    parts.convert(network.transform, box_distortion_factor=_DISTORTION)
                ),
                n_sub_iteration=_ROUNDS,
                n_objects_per_batch=sampler.settings.prompts.objects,
                mask_prob=sampler.settings.prompts.mask_share,
            )
            trainer._iteration = done
            # It prints what the log and the reports say.
            with contextlib.redirect_stdout(io.StringIO()):
                trainer.fit(epochs=-(-last // every) - done // every, progress=_NoBar())
    return {name: tensor.detach().clone() for name, tensor in part.state_dict().items()}


class _Examples:
    """Gives the examples of an epoch, which is what lies between two validations."""

    def __init__(self, sampler: TuningSampler, first: int, settings: OptimiserSettings) -> None:
        self._sampler, self._next = sampler, first
        self._last, self._every = settings.last_step, settings.validate_every
        self._seed = sampler.settings.seed

    def __len__(self) -> int:
        return self._every

    def __iter__(self) -> Iterator[tuple[ShownPatch, Tensor]]:
        end = min(self._last, (self._next // self._every + 1) * self._every)
        while self._next < end:
            step = self._next
            self._next += 1
            shown = ShownPatch(self._draw(step))
            # The trainer draws its prompts from these two.
            np.random.seed([self._seed, step])
            random.seed(self._seed * _AGAIN + step)
            yield shown, shown.labels()

    def _draw(self, step: int) -> SamPatch:
        for number in range(_TRIES):
            patch = self._sampler.draw(step + number * _AGAIN)
            if has_prompts(patch):
                return patch
        raise SettingsError(
            "No training example has an object that micro_sam's trainer could prompt.",
            "objects with something else around them",
            "give more corrected segments, or train with the trainer that comes with neuropil.",
        )


class _Run:
    """Hears of each step, as the trainer's logger: reports it, and saves."""

    def __init__(
        self,
        part: LearningPart,
        optimiser: torch.optim.Optimizer,
        settings: OptimiserSettings,
        folder: Path,
        log: TrainingLog,
        report: Callable[[int, Mapping[str, float]], None],
    ) -> None:
        self.log = log
        self.folder = folder
        self._part, self._optimiser, self._settings = part, optimiser, settings
        self._report = report
        self._stdout = sys.stdout  # before the trainer's prints are led away

    def log_train(
        self,
        step: int,
        _loss: Tensor,
        _rate: float,
        _images: Any,
        _labels: Any,
        _samples: Any,
        mask: Tensor,
        score: Tensor,
        _expected: Tensor,
    ) -> None:
        """Take the losses of a step."""
        values = {"mask": float(mask.detach()), "score": float(score.detach())}
        self.log.note(values)
        with contextlib.redirect_stdout(self._stdout):
            self._report(step, values)
        done = step + 1
        if done % self._settings.save_every == 0 or done == self._settings.last_step:
            save_state(self.folder / STATE, self._part, self._optimiser, done)


def _trainer_class(base: Any) -> Any:
    """Return micro_sam's trainer without pickles, and with our measure of held-out objects."""

    class Trainer(base):  # type: ignore[misc]
        def __init__(self, run: _Run, measure: Callable[[], float], **options: Any) -> None:
            super().__init__(**options)
            self._run, self._measure = run, measure

        @property
        def checkpoint_folder(self) -> str:
            return str(self._run.folder)

        def _build_init(self) -> dict[str, Any]:
            return {}

        def save_checkpoint(self, *_arguments: Any, **_more: Any) -> None:
            """Nothing: `_Run` saves, more often."""

        def _validate_impl(self, _context: Any) -> float:
            found = self._measure()
            self._run.log.write(self._iteration, found)
            return found

    return Trainer


class _NoBar:
    """Stands for a progress bar."""

    total: int | None = None

    def update(self, _steps: int) -> None:
        """Show nothing."""

    def set_description(self, _text: str, **_options: Any) -> None:
        """Show nothing."""

"""The training loop: one patch a step, averaged weights, resumable to the same result.

The schedule is warm-up, constant, linear decay over the last part. The constant part does not
depend on the number of steps, so a run can be lengthened before its decay begins and still be
the run its settings describe.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from napari_neuropil.training.training_log import LOG, STATE, TrainingLog

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)
P_contra = TypeVar("P_contra", contravariant=True)

LossTerms = dict[str, Tensor]


class Sampler(Protocol[P_co]):
    """Gives the training examples; the same step gives the same example."""

    def draw(self, step: int) -> P_co:
        """Return the example of `step`."""
        ...


class PatchLoss(Protocol[P_contra]):
    """What is to be made small, as terms that are added up."""

    def __call__(self, network: nn.Module, patch: P_contra, device: torch.device) -> LossTerms:
        """Return the terms of one example; the same names for every one."""
        ...


class OptimiserSettings(BaseModel):
    """Length and speed of a training run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(2000, ge=1, description="Patches to train on.")
    stop_at: int | None = Field(
        None, ge=1, description="End here, in the middle of the schedule; None ends with it."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Of the constant part.")
    warm_up: int = Field(50, ge=0, description="Steps of linear warm-up.")
    decay: float = Field(0.25, ge=0, le=1, description="Share of steps of the final decay.")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's.")
    clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    average: float = Field(0.99, ge=0, lt=1, description="Decay of the averaged weights.")
    rise: dict[str, int] = Field(
        {}, description="Terms of the loss that rise from 0, and the steps until they count fully."
    )
    save_every: int = Field(50, ge=1, description="Steps between saved states.")
    validate_every: int = Field(100, ge=1, description="Steps between validations.")

    @property
    def last_step(self) -> int:
        """Number of steps that are run."""
        return min(self.steps, self.stop_at or self.steps)


def rate_at(step: int, settings: OptimiserSettings) -> float:
    """Return the learning rate of `step`, relative to the constant part."""
    warm = min(1.0, (step + 1) / (settings.warm_up + 1))
    decay_steps = max(1, math.ceil(settings.steps * settings.decay))
    left = (settings.steps - step) / decay_steps
    return warm * min(1.0, max(left, 0.0)) if settings.decay else warm


def risen(terms: Mapping[str, Tensor], step: int, rise: Mapping[str, int]) -> Tensor:
    """Return the sum of the terms, those that rise with the share that `step` gives them."""
    return torch.stack(
        [t * min(1.0, step / rise[name]) if rise.get(name) else t for name, t in terms.items()]
    ).sum()


def train(
    network: nn.Module,
    loss: PatchLoss[P],
    sampler: Sampler[P],
    validation: list[P],
    settings: OptimiserSettings,
    folder: Path,
    device: torch.device,
    report: Callable[[int, Mapping[str, float]], None] = lambda _step, _terms: None,
) -> dict[str, Tensor]:
    """Train, and return the averaged weights.

    Parameters
    ----------
    network : Module
        Trained in place.
    loss : PatchLoss
        Loss terms of the network on a patch.
    sampler : Sampler
        Gives the patch of a step.
    validation : list of patches
        Never trained on; may be empty.
    settings : OptimiserSettings
        Length and speed.
    folder : Path
        Gets ``state.pt`` (resumed from, if there) and ``log.csv``.
    device : torch.device
        Where to compute.
    report : callable
        Called with (step, loss terms) after each step.

    Returns
    -------
    dict of str to Tensor
        State dict of the averaged weights.
    """
    network.to(device).train()
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    average = {name: t.detach().clone() for name, t in network.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    state_path = folder / STATE
    first, kept = load_state(state_path, network, optimiser, device)
    average = kept.get("average", average)
    with TrainingLog(folder / LOG) as log:
        for step, patch in _prefetch(sampler, first, settings.last_step):
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * rate_at(step, settings)
            terms = loss(network, patch, device)
            optimiser.zero_grad(set_to_none=True)
            risen(terms, step, settings.rise).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
            optimiser.step()
            _update_average(average, network, settings.average, step)
            values = {name: float(t.detach()) for name, t in terms.items()}
            log.note(values)
            report(step, values)
            done = step + 1
            if done % settings.save_every == 0 or done == settings.last_step:
                save_state(state_path, network, optimiser, done, average=average)
            if done % settings.validate_every == 0 or done == settings.last_step:
                log.write(done, _validate(network, average, loss, validation, device))
    return average


def _prefetch(sampler: Sampler[P], first: int, last: int) -> Iterator[tuple[int, P]]:
    """Draw the next patch in a thread while the network learns from this one."""
    ready: queue.Queue[P | Exception] = queue.Queue(maxsize=2)
    stop = threading.Event()

    def draw() -> None:
        for step in range(first, last):
            try:
                item: P | Exception = sampler.draw(step)
            except Exception as error:  # noqa: BLE001 - raised again in the consumer's thread
                item = error
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.5)
                    break
                except queue.Full:
                    continue
            if stop.is_set() or isinstance(item, Exception):
                return

    threading.Thread(target=draw, daemon=True).start()
    try:
        for step in range(first, last):
            item = ready.get()
            if isinstance(item, Exception):
                raise item
            yield step, item
    finally:
        stop.set()


def _update_average(
    average: dict[str, Tensor], network: nn.Module, decay: float, step: int
) -> None:
    # The average starts short, or the random initial weights would linger in it.
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for name, t in network.state_dict().items():
            if t.is_floating_point():
                average[name].lerp_(t, 1 - decay)
            else:  # batch normalisation counts its batches
                average[name].copy_(t)


def _validate(
    network: nn.Module,
    average: dict[str, Tensor],
    loss: PatchLoss[P],
    patches: list[P],
    device: torch.device,
) -> float:
    """Return the mean loss of the averaged weights."""
    own = {name: t.clone() for name, t in network.state_dict().items()}
    network.load_state_dict(average)
    found = mean_loss(network, loss, patches, device)
    network.load_state_dict(own)
    return found


def mean_loss(
    network: nn.Module, loss: PatchLoss[P], patches: list[P], device: torch.device
) -> float:
    """Return the mean loss of a network in evaluation mode, NaN without patches.

    It is in training mode afterwards.
    """
    if not patches:
        return math.nan
    network.eval()
    with torch.inference_mode():
        losses = [sum(float(t) for t in loss(network, p, device).values()) for p in patches]
    network.train()
    return sum(losses) / len(losses)


def load_state(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, device: torch.device
) -> tuple[int, dict[str, dict[str, Tensor]]]:
    """Take over what `save_state` wrote.

    Returns
    -------
    step : int
        Steps done; 0 where there is no such file.
    more : dict
        What else was saved, by name.
    """
    if not path.is_file():
        return 0, {}
    state = torch.load(path, map_location=device, weights_only=True)
    network.load_state_dict(state.pop("network"))
    optimiser.load_state_dict(state.pop("optimiser"))
    return int(state.pop("step")), state


def save_state(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    **more: dict[str, Tensor],
) -> None:
    """Write what a run goes on from: tensors and numbers only; it appears whole or not at all."""
    partial = path.with_suffix(".partial")
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
    torch.save({**state, **more}, partial)
    partial.replace(path)

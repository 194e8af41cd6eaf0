"""Fine-tuning of a promptable network on corrected objects of a few sections.

By default the encoder stays as it is: each section is encoded once, and only what answers prompts
learns. That is quick, and stored image embeddings stay valid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from napari_neuropil.networks.lora import merge_lora
from napari_neuropil.networks.promptable import PromptableNetwork
from napari_neuropil.networks.tuned_part import TunedSpec, encoder_of
from napari_neuropil.training.learning_part import LearningPart, tuned_state
from napari_neuropil.training.micro_sam_training import train_with_micro_sam
from napari_neuropil.training.sam_loss import sam_patch_loss
from napari_neuropil.training.trainer import train
from napari_neuropil.training.tuning_examples import (
    TuningSampler,
    TuningSettings,
    validation_patches,
)
from napari_neuropil.training.tuning_tiles import TuningTile, encode_tile


def tune_network(
    network: PromptableNetwork,
    training: Sequence[TuningTile],
    held_out: Sequence[TuningTile],
    settings: TuningSettings,
    folder: Path,
    device: torch.device,
    report: Callable[[int, Mapping[str, float]], None] = lambda _step, _terms: None,
) -> tuple[dict[str, Tensor], TunedSpec]:
    """Fine-tune a network; started again with the same folder, it goes on where it stopped.

    Parameters
    ----------
    network : PromptableNetwork
        Becomes the tuned one, in evaluation mode.
    training, held_out : sequence of TuningTile
        From `cut_tiles`. The latter give the curve in the log: 1 minus the mean intersection over
        union of first prompts.
    settings : TuningSettings
        What learns.
    folder : Path
        Gets the state and ``log.csv``.
    device : torch.device
        Where to compute.
    report : callable
        Called with (step, loss terms) after each step; may raise to stop.

    Returns
    -------
    state : dict of str to Tensor
        What learned, for `networks.tuned_part.save_tuned`.
    spec : TunedSpec
        What it belongs to.
    """
    network.to(device).eval()
    base = network.fingerprint()
    if settings.parts == "decoder":
        training, held_out = (
            [t if t.features is not None else encode_tile(network, t, device) for t in tiles]
            for tiles in (training, held_out)
        )
    part = LearningPart(
        network, settings.parts, rank=settings.rank, alpha=settings.alpha, seed=settings.seed
    )
    loss = partial(sam_patch_loss, settings=settings.loss)
    sampler = TuningSampler(training, settings, settings.window if network.takes_windows else None)
    validation = validation_patches(held_out, settings)
    train_part = train_with_micro_sam if settings.trainer == "micro_sam" else train
    weights = train_part(
        part, loss, sampler, validation, settings.optimiser, folder, device, report
    )
    part.load_state_dict(weights)
    state = {name: tensor.detach().cpu().clone() for name, tensor in tuned_state(weights).items()}
    merge_lora(encoder_of(network))
    network.requires_grad_(requires_grad=False)
    lora = settings.parts == "lora"
    spec = TunedSpec(
        base=base,
        parts=settings.parts,
        rank=settings.rank if lora else 0,
        alpha=settings.alpha if lora else 0.0,
        steps=settings.optimiser.last_step,
    )
    return state, spec

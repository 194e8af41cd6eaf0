"""The part of a promptable network that learns, as a module that the trainer can train.

The trainer saves, averages and optimises whole modules; a ViT of which a few parameters learn
would cost it 1 GB of memory and a second a step for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from torch import Tensor, nn

from napari_neuropil.networks.lora import add_lora
from napari_neuropil.networks.promptable import PromptableNetwork
from napari_neuropil.networks.tuned_part import Parts, encoder_of, learning_names


class LearningPart(nn.Module):
    """Those parameters of a network that learn, and nothing else.

    The parameters are the network's own, so the network changes with them. It stays in evaluation
    mode: what does not learn must not change either (running means, say).

    Parameters
    ----------
    network : PromptableNetwork
        Its other parameters are frozen.
    parts : Parts
        What learns.
    rank, alpha, seed
        As `add_lora`, for ``lora``.
    """

    def __init__(
        self,
        network: PromptableNetwork,
        parts: Parts,
        *,
        rank: int = 4,
        alpha: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network: PromptableNetwork
        if parts == "lora":
            add_lora(encoder_of(network), rank, alpha, seed)
        names = learning_names(network, parts)
        own, learns = dict(network.named_parameters()), set(names)
        for name, parameter in own.items():
            parameter.requires_grad_(name in learns)
        # Names of registered parameters hold no dots.
        self.learning = nn.ParameterDict({name.replace(".", "/"): own[name] for name in names})
        object.__setattr__(self, "network", network.eval())  # not registered: not saved

    def train(self, mode: bool = True) -> Self:
        """Set the mode of this part alone."""
        self.training = mode
        return self


def tuned_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of a `LearningPart` under the network's names."""
    return {
        name.removeprefix("learning.").replace("/", "."): tensor for name, tensor in weights.items()
    }


def network_of(module: nn.Module) -> PromptableNetwork:
    """Return the network itself, of which a module may be the part that learns."""
    network = module.network if isinstance(module, LearningPart) else module
    if not isinstance(network, PromptableNetwork):
        raise TypeError(f"{type(network).__name__} takes no prompts")
    return network

"""What the training of one network consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import nn

from napari_neuropil.geometry import Offset
from napari_neuropil.training.patches import MakePatch
from napari_neuropil.training.recipe import Recipe
from napari_neuropil.training.trainer import PatchLoss

R = TypeVar("R", bound=Recipe)
P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class TrainingMethod(Generic[R, P]):
    """A row of the table of what can be trained.

    Parameters
    ----------
    network : str
        Its name in the table of networks.
    recipe : type of Recipe
        What a settings file holds.
    arguments : callable
        What the network is built with, for the spec too: values that JSON takes.
    offsets : callable
        Affinities that come of the network, for the spec.
    make_patch : callable
        Gives the function that makes a training example of an image and its labels.
    loss : callable
        Gives the loss of a network on such an example.
    prepare : callable, optional
        Fills what the network does not learn, before the first step.
    build : callable, optional
        Makes the network of `arguments`; None: as the table of networks says, which holds those
        that segment whole volumes.
    """

    network: str
    recipe: type[R]
    arguments: Callable[[R], Mapping[str, Any]]
    offsets: Callable[[R], tuple[Offset, ...]]
    make_patch: Callable[[R], MakePatch[P]]
    loss: Callable[[R], PatchLoss[P]]
    prepare: Callable[[nn.Module, R], None] | None = None
    build: Callable[..., nn.Module] | None = None

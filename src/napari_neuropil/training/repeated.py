"""Training examples that come in turn again."""

from __future__ import annotations

from typing import Generic, TypeVar

from napari_neuropil.training.trainer import Sampler

P = TypeVar("P")


class Repeated(Generic[P]):
    """Draws a number of examples once and keeps them.

    Parameters
    ----------
    sampler : Sampler
        Where they come from.
    count : int
        How many; step s gives the example of step s modulo this.
    """

    def __init__(self, sampler: Sampler[P], count: int) -> None:
        if count < 1:
            raise ValueError("at least one example is needed")
        self._sampler = sampler
        self._count = count
        self._drawn: dict[int, P] = {}

    def draw(self, step: int) -> P:
        """Return the example of `step`."""
        place = step % self._count
        if place not in self._drawn:
            self._drawn[place] = self._sampler.draw(place)
        return self._drawn[place]

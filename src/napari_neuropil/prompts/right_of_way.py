"""A click goes first: slow work on the same cores pauses between two steps until it is answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class RightOfWay:
    """Lets some threads pass while others pause."""

    def __init__(self) -> None:
        self._ahead: list[int] = []
        self._changed = threading.Condition()

    @contextmanager
    def first(self) -> Iterator[None]:
        """Go ahead; until the end of the block other threads wait where they `give` way."""
        with self._changed:
            self._ahead.append(threading.get_ident())
        try:
            yield
        finally:
            with self._changed:
                self._ahead.remove(threading.get_ident())
                self._changed.notify_all()

    def give(self) -> None:
        """Wait until no other thread goes ahead."""
        if self._ahead and threading.get_ident() not in self._ahead:
            with self._changed:
                self._changed.wait_for(lambda: not self._ahead)

    @contextmanager
    def pausing(self, network: nn.Module) -> Iterator[None]:
        """Within the block, make a network give way before each of its layers.

        The longest layer is what others wait for. Nothing stays on the network afterwards: what
        copies it would have to copy a lock.

        Parameters
        ----------
        network : Module
            One that no other thread runs meanwhile, such as the encoder alone.
        """

        def give(_layer: nn.Module, _inputs: Any) -> None:
            self.give()

        layers = [layer for layer in network.modules() if not any(layer.children())]
        hooks = [layer.register_forward_pre_hook(give) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

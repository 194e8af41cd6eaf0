"""The worker of the dock, now and after a restart: what it works on, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.plugin.dendrites.layer_copy import LayerCopy
from napari_neuropil.plugin.dendrites.prompt_client import PromptClient
from napari_neuropil.plugin.worker import error_text
from napari_neuropil.workflows.prompting.messages import (
    Embedded,
    Event,
    Notice,
    Ready,
    Request,
)

if TYPE_CHECKING:
    from napari_neuropil.plugin.dendrites.image_choice import ImageChoice


class WorkerLink(QObject):
    """One worker at a time, and the copy of a layer in memory that it reads.

    Parameters
    ----------
    parent : QObject, optional
        The owner.

    Signals
    -------
    changed : no argument
        Read `running`, `ready`.
    copied : no argument
        Read `share_copied`.
    became_ready : Ready
        Requests are answered from now on.
    answered : Event
        What closes or continues a request.
    embedded : Embedded
        An image embedding was made.
    ended : no argument
        It will not answer any more.
    message : str, bool
        For the message line; True is an error.
    """

    changed = Signal()
    copied = Signal()
    became_ready = Signal(object)
    answered = Signal(object)
    embedded = Signal(object)
    ended = Signal()
    message = Signal(str, bool)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.choice: ImageChoice | None = None
        self.ready: Ready | None = None
        self._client: PromptClient | None = None
        self._copy: LayerCopy | None = None
        self._words: Sequence[str] = ()

    @property
    def running(self) -> bool:
        """Whether a worker is starting or there; also while its layer is copied."""
        return self._client is not None or self._copy is not None

    @property
    def share_copied(self) -> float | None:
        """How much of a layer in memory is written; None: nothing is being copied."""
        return None if self._copy is None else self._copy.share

    def start(
        self, choice: ImageChoice, words: Sequence[str], copy: LayerCopy | None = None
    ) -> None:
        """Start a worker on an image, once its copy is written; one that runs is ended."""
        self.drop()
        self.choice, self._words = choice, words
        if copy is None:
            self._launch()
            return
        copy.setParent(self)
        copy.progressed.connect(self.copied)
        copy.written.connect(self._launch)
        copy.failed.connect(self._on_ended)
        self._copy = copy
        copy.start()
        self.message.emit(f"Copying {choice.title} to a temporary folder ...", False)
        self.changed.emit()

    def stop(self, why: str = "Stopped before the segmenter began.") -> None:
        """Ask the worker to end; while its layer is copied, stop that, and say why."""
        if self._client is not None:
            self._client.stop()
        elif self._copy is not None:
            self.drop()
            self.message.emit(why, False)
            self.changed.emit()

    def drop(self) -> None:
        """End the worker now, without a word."""
        client, self._client = self._client, None
        copy, self._copy = self._copy, None
        self.ready = None
        if client is not None:
            client.kill()
            client.deleteLater()
        if copy is not None:
            copy.drop()
        if client is not None or copy is not None:
            self.ended.emit()

    def close(self) -> None:
        """Do the same: the dock goes."""
        copy = self._copy
        self.drop()
        if copy is not None:
            copy.kill()

    def send(self, request: Request) -> None:
        """Send a request, if somebody is there to answer."""
        if self._client is not None and self.ready is not None:
            self._client.send(request)

    def _launch(self) -> None:
        client = PromptClient(self._words, self)
        client.heard.connect(self._on_heard)
        client.ended.connect(self._on_ended)
        self._client = client
        client.start()
        self.message.emit("Starting the segmenter ...", False)
        self.changed.emit()

    def _on_ended(self, facts: dict[str, Any]) -> None:
        self.drop()
        self.message.emit(error_text(facts) if facts else "The segmenter has ended.", bool(facts))
        self.changed.emit()

    def _on_heard(self, event: Event) -> None:
        if isinstance(event, Ready):
            self._on_ready(event)
        elif isinstance(event, Embedded):
            if event.problem:
                self.message.emit(f"Section {event.z}: {event.problem}", True)
            self.embedded.emit(event)
        elif isinstance(event, Notice):
            self.message.emit(event.message, False)
        else:
            self.answered.emit(event)

    def _on_ready(self, ready: Ready) -> None:
        shape = None if self.choice is None else self.choice.shape
        if tuple(ready.shape) != shape:
            self.drop()
            self.message.emit(
                f"The worker opened {tuple(ready.shape)} voxels.\nExpected: the layer's {shape}\n"
                "Cure: open the image or project again, and press Start.",
                True,
            )
        else:
            self.ready = ready
            self.became_ready.emit(ready)
        self.changed.emit()

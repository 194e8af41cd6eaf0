"""A fine-tuning as the words of the command line. No Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from napari_neuropil.errors import SettingsError

if TYPE_CHECKING:
    from napari_neuropil.proofreading import ProofreadingSession

Source = Literal["done", "only-done", "corrected", "ids"]
"""What is learned from: done and committed here, done, touched by edits, typed ids."""


@dataclass(frozen=True)
class TuningSource:
    """Whose cross-sections are learned from.

    Parameters
    ----------
    source : str
        See `Source`.
    typed : str
        Ids and ranges, for ``ids``.
    committed : tuple of int
        Segments that were committed from the dock, for ``done``.
    """

    source: Source = "done"
    typed: str = ""
    committed: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """As ``--segments`` takes them.

        Raises
        ------
        SettingsError
            If ids are wanted and none are typed.
        """
        if self.source == "ids":
            typed = "".join(self.typed.split())
            if not typed:
                raise SettingsError(
                    "No segments are named.",
                    "ids and ranges, for example 1,5-9",
                    "type them, or learn from those marked done.",
                )
            return typed
        if self.source == "corrected":
            return "corrected"
        more = self.committed if self.source == "done" else ()
        return ",".join(["done", *(str(segment) for segment in more)])


@dataclass(frozen=True)
class TuneForm:
    """What the form of the segmenter says.

    Parameters
    ----------
    source : TuningSource
        What is learned from.
    base : str
        Segmenter to begin with, name or file.
    part, trainer, held_out : str
        As the command takes them.
    steps : int
        Of training.
    minutes : float
        Training ends after so long; 0: never.
    pseudo : str
        Ids that nobody checked; empty: none.
    """

    source: TuningSource = TuningSource()
    base: str = "compact"
    part: str = "decoder"
    trainer: str = "auto"
    held_out: str = "sections"
    steps: int = 200
    minutes: float = 0.0
    pseudo: str = ""

    def words(self, image: str, project: Path, out: Path, cache_dir: Path | None) -> list[str]:
        """Return the words after `neuropil`.

        Raises
        ------
        SettingsError
            As `TuningSource.words`.
        """
        words = ["tune", *_places(image, project, out, self.source), "--base", self.base]
        words += ["--part", self.part, "--trainer", self.trainer]
        words += ["--held-out", self.held_out, "--steps", str(self.steps)]
        if self.minutes:
            words += ["--minutes", f"{self.minutes:g}"]
        pseudo = "".join(self.pseudo.split())
        if pseudo:
            words += ["--pseudo", pseudo]
        if cache_dir is not None:
            words += ["--cache-dir", str(cache_dir)]
        return [*words, "--json"]


@dataclass(frozen=True)
class DetectorForm:
    """What the form of the detector says.

    Parameters
    ----------
    source : TuningSource
        What is to be found.
    base : str
        File of the detector to begin with; empty: the one that ships.
    epochs : int
        Passes over the sections.
    """

    source: TuningSource = TuningSource()
    base: str = ""
    epochs: int = 20

    def words(self, image: str, project: Path, out: Path) -> list[str]:
        """Return the words after `neuropil`.

        Raises
        ------
        SettingsError
            As `TuningSource.words`.
        """
        words = ["tune-detector", *_places(image, project, out, self.source)]
        if self.base:
            words += ["--base", self.base]
        return [*words, "--epochs", str(self.epochs), "--json"]


def free_output(project: Path, what: str, taken: Iterable[Path] = ()) -> Path:
    """Return a file beside a project that no run has taken, its folder neither.

    Parameters
    ----------
    project : Path
        Whose name it bears.
    what : str
        ``tuned`` or ``detector``.
    taken : iterable of Path
        Files that are spoken for, although nothing is there yet.
    """
    spoken, number = set(taken), 1
    while True:
        path = project.parent / f"{project.stem}-{what}-{number}.safetensors"
        if path not in spoken and not path.exists() and not path.with_suffix(_RUN).exists():
            return path
        number += 1


def committed_segments(session: ProofreadingSession, edits: Iterable[int]) -> tuple[int, ...]:
    """Return the segments that edits made by drawing have become, those that are still there."""
    wanted = set(edits)
    active = {row.id for row in session.history() if row.active}
    found = {
        int(edit.wish["segment"])
        for edit in session.edits
        if edit.id in wanted & active and edit.wish.get("segment")
    }
    return tuple(sorted(segment for segment in found if len(session.members(segment))))


def _places(image: str, project: Path, out: Path, source: TuningSource) -> list[str]:
    words = [image, "--project", str(project), "--out", str(out)]
    return [*words, "--segments", source.words]


_RUN: Final = ".run"

"""The forms of the two fine-tunings: what is learned from, how, and where the result goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QWidget,
)

from napari_neuropil.plugin.dendrites.panel_parts import combo
from napari_neuropil.plugin.dendrites.tuning_words import (
    DetectorForm,
    TuneForm,
    TuningSource,
    free_output,
)

_SOURCES: Final = (
    ("done", "Done, and committed here"),
    ("only-done", "Marked done"),
    ("corrected", "Touched by edits"),
    ("ids", "These ids:"),
)
_PARTS: Final = (
    ("decoder", "Decoder (fast)"),
    ("lora", "Decoder, encoder a little (LoRA)"),
    ("all", "Everything (slow)"),
)
_TRAINERS: Final = (
    ("auto", "As it suits the base"),
    ("own", "The one here"),
    ("micro_sam", "micro_sam's"),
)
_HELD_OUT: Final = (("sections", "The last sections"), ("segments", "Whole segments"))


class FormBox(QWidget):
    """Titles and fields in two columns.

    Signals
    -------
    changed : no argument
        Somebody changed a field.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        self._grid.setColumnStretch(1, 1)

    def _add(self, title: str, field: QWidget) -> None:
        if not title:
            self._grid.addWidget(field, self._grid.rowCount(), 0, 1, 2)
            return
        label = QLabel(title)
        label.setToolTip(field.toolTip())
        line = self._grid.rowCount()
        self._grid.addWidget(label, line, 0)
        self._grid.addWidget(field, line, 1)

    def _menu(self, title: str, tip: str, entries: tuple[tuple[str, str], ...]) -> QComboBox:
        menu = combo(tip)
        for name, text in entries:
            menu.addItem(text, name)
        menu.currentIndexChanged.connect(lambda _index: self.changed.emit())
        self._add(title, menu)
        return menu

    def _line(self, title: str, tip: str, example: str) -> QLineEdit:
        line = QLineEdit()
        line.setToolTip(tip)
        line.setPlaceholderText(example)
        line.textChanged.connect(lambda _text: self.changed.emit())
        self._add(title, line)
        return line

    def _count(self, title: str, tip: str, least: int, most: int, value: int) -> QSpinBox:
        spin = QSpinBox()
        spin.setRange(least, most)
        spin.setValue(value)
        spin.setToolTip(tip)
        spin.valueChanged.connect(lambda _value: self.changed.emit())
        self._add(title, spin)
        return spin


class SourceForm(FormBox):
    """What is learned from, for both."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.source = self._menu(
            "Learn from",
            "Segments of the project that are right as they are. A mask that was only proposed "
            "teaches nothing.",
            _SOURCES,
        )
        self.ids = self._line("", "Ids and ranges of segments, with commas between.", "1, 5-9")
        self.source.currentIndexChanged.connect(self._show)
        self._show()

    def read(self, committed: Callable[[], tuple[int, ...]]) -> TuningSource:
        """Return what is chosen; `committed` gives the segments committed from the dock."""
        name = self.source.currentData()
        return TuningSource(name, self.ids.text(), committed() if name == "done" else ())

    def _show(self, _index: int = 0) -> None:
        self.ids.setVisible(self.source.currentData() == "ids")


class OutputForm(FormBox):
    """A form with a file that the result goes to; left empty, a free name beside the project."""

    _what = ""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._free: tuple[Path, Path] | None = None
        self.out = QLineEdit()
        self.out.setToolTip("File for the result. Left empty: a new name beside the project.")
        self.out.setPlaceholderText("beside the project")

    def _add_output(self) -> None:
        self.out.textChanged.connect(lambda _text: self.changed.emit())
        self._add("Save as", self.out)

    def output(self, project: Path) -> Path:
        """Return the file; the same until `release`, so that a stopped run is found again."""
        typed = self.out.text().strip()
        if typed:
            path = Path(typed).expanduser()
            return path if path.is_absolute() else project.parent / path
        if self._free is None or self._free[0] != project:
            self._free = (project, free_output(project, self._what))
            self.out.setPlaceholderText(self._free[1].name)
        return self._free[1]

    def release(self) -> None:
        """Take another name next time."""
        self._free = None
        self.out.blockSignals(True)
        self.out.clear()
        self.out.setPlaceholderText("beside the project")
        self.out.blockSignals(False)


class TuneFormBox(OutputForm):
    """How the segmenter learns."""

    _what = "tuned"

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.part = self._menu(
            "Part",
            "What learns. The decoder alone is fast, and image embeddings stay valid. LoRA and "
            "everything encode each section at each step.",
            _PARTS,
        )
        self.trainer = self._menu(
            "Trainer",
            "Whose loop trains. As it suits: micro_sam's for published networks where it is "
            "installed, else the one here.",
            _TRAINERS,
        )
        self.held_out = self._menu(
            "Held out",
            "What is measured on and never learned from: the last sections with a gap before "
            "them, or some of the segments.",
            _HELD_OUT,
        )
        self.steps = self._count("Steps", "Of training.", 10, 20_000, 200)
        self.steps.setSingleStep(50)
        self.minutes = QDoubleSpinBox()
        self.minutes.setRange(0, 24 * 60)
        self.minutes.setDecimals(0)
        self.minutes.setSpecialValueText("as long as it takes")
        self.minutes.setSuffix(" min at most")
        self.minutes.setToolTip("Training ends after so long, and is measured then.")
        self.minutes.valueChanged.connect(lambda _value: self.changed.emit())
        self._add("Time", self.minutes)
        self.pseudo = self._line(
            "Unchecked",
            "Ids of segments that are confident and unedited. They join the training, with less "
            "weight, and are never validated on.",
            "none; or ids, 11-30",
        )
        self._add_output()

    def read(self, source: TuningSource, base: str) -> TuneForm:
        """Return what the form says."""
        return TuneForm(
            source,
            base,
            part=self.part.currentData(),
            trainer=self.trainer.currentData(),
            held_out=self.held_out.currentData(),
            steps=self.steps.value(),
            minutes=self.minutes.value(),
            pseudo=self.pseudo.text(),
        )


class DetectorFormBox(OutputForm):
    """How the detector learns."""

    _what = "detector"

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.epochs = self._count("Passes", "Over all training sections.", 1, 1000, 20)
        self._add_output()

    def read(self, source: TuningSource, base: str) -> DetectorForm:
        """Return what the form says."""
        return DetectorForm(source, base if Path(base).suffix else "", self.epochs.value())

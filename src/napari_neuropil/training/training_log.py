"""The log of a training run: a row for each validation, which curves are drawn from."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

LOG = "log.csv"
STATE = "state.pt"
"""Files of a run's folder; the second is what a stopped run goes on from."""
_STEADY = 0.95
"""How slowly the means follow the loss."""


class TrainingLog:
    """Adds rows to a CSV file: step, seconds, mean of each loss term, validation.

    Parameters
    ----------
    path : Path
        Goes on where it ends; the first row names the columns.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._began = time.perf_counter()
        self._means: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def note(self, terms: Mapping[str, float]) -> None:
        """Take the loss terms of a step into their running means."""
        self._means = {
            name: value + _STEADY * (self._means.get(name, value) - value)
            for name, value in terms.items()
        }

    def write(self, step: int, validation: float) -> None:
        """Add a row, on disk before this returns."""
        if self._file.tell() == 0:
            self._rows.writerow(("step", "seconds", *self._means, "validation"))
        seconds = round(time.perf_counter() - self._began, 1)
        means = (round(value, 5) for value in self._means.values())
        self._rows.writerow((step, seconds, *means, round(validation, 5)))
        self._file.flush()

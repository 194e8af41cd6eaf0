"""The state of a session: a pure fold of the effects on the way to the present edit.

`apply` carries an effect out and `revert` takes it back; opening, replay and live edits use these
two and nothing else. A lookup of 10^7 fragments is 80 MB, so the state is changed in place: an
effect costs its own size, not the volume's. Effects are reverted in the reverse order of applying.
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import ProjectError
from napari_neuropil.project.fragment_table import FragmentTable, measure_fragments
from napari_neuropil.proofreading.effects import Effect, FragmentSplit
from napari_neuropil.proofreading.encoding import unpack_rest
from napari_neuropil.proofreading.members import Members
from napari_neuropil.proofreading.skimming import SkimmedLog
from napari_neuropil.segmentation.rag import Rag

_SPARE: Final = 1024
_T = TypeVar("_T", bound=np.generic)


class ProofreadingState:
    """Lookup, pieces and decided contacts.

    Parameters
    ----------
    lookup : NDArray[np.uint64]
        (F + 1,) as segmented; copied.
    table : FragmentTable
        Sizes and boxes of the F fragments; copied.
    """

    def __init__(self, lookup: NDArray[np.uint64], table: FragmentTable) -> None:
        self._buffer = _roomy(lookup, _SPARE)
        self._count = len(lookup)
        self._size = _roomy(table.size, _SPARE)
        self._start = _roomy(table.start, _SPARE)
        self._stop = _roomy(table.stop, _SPARE)
        self._members: Members | None = None
        self._decided: dict[tuple[int, int], list[int]] = {}
        self._undecided: list[SkimmedLog] = []
        self.splits: list[FragmentSplit] = []
        self.links: list[Rag] = []
        self._replaced: set[int] = set()
        self.version = 0
        """Rises with every change; a cache is stale when it does."""

    @property
    def lookup(self) -> NDArray[np.uint64]:
        """(n + 1,) segment of each fragment and piece; live."""
        return self._buffer[: self._count]

    @property
    def table(self) -> FragmentTable:
        """Sizes and boxes of fragments and pieces; live."""
        n = self._count
        return FragmentTable(self._size[:n], self._start[:n], self._stop[:n])

    @property
    def members(self) -> Members:
        """Fragments by segment; built when first asked for."""
        if self._members is None:
            self._members = Members(self.lookup)
        return self._members

    @property
    def replaced(self) -> NDArray[np.uint64]:
        """Fragments that pieces replaced; they have no voxels left."""
        return np.fromiter(self._replaced, np.uint64, len(self._replaced))

    def is_replaced(self, fragment: int) -> bool:
        """Return whether pieces replaced a fragment."""
        return fragment in self._replaced

    def decision_of(self, a: int, b: int) -> int:
        """Return 1 for a contact decided as joined, -1 as cut, 0 as open; a < b."""
        decisions = self._decisions.get((a, b))
        return decisions[-1] if decisions else 0

    def decided(self) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
        """Return the decided contacts (D, 2), and 1 or -1 for each."""
        open_ = {pair: values[-1] for pair, values in self._decisions.items() if values}
        pairs = np.array(list(open_), np.uint64).reshape(-1, 2)
        return pairs, np.fromiter(open_.values(), np.int8, len(open_))

    def check(self, effect: Effect) -> None:
        """Refuse an effect that does not fit this state: of another project, or damaged.

        Raises
        ------
        ProjectError
            Naming the first misfit.
        """
        count = self._count
        for split in effect.splits:
            fits = split.labels.ndim == 3 and split.labels.dtype == np.uint8 and split.labels.any()
            if not fits or split.first < count or split.first > 2**31:
                raise _misfit(f"it cuts a fragment into pieces from id {split.first}")
            if not 0 <= split.parent < self._count:
                raise _misfit(f"it cuts the fragment {split.parent} of {self._count - 1}")
            count = split.first + split.count
        effect.links.validate(count - 1)
        ids = effect.fragments
        if len(ids) and int(ids.max()) >= count:
            raise _misfit(f"it names the fragment {int(ids.max())} of {count - 1}")
        known = ids < self._count
        expected = self.lookup[ids[known].astype(np.intp)]
        if bool((expected != effect.before[known]).any()):
            raise _misfit("its fragments are in other segments than it says")

    def apply(self, effect: Effect) -> None:
        """Carry an effect out."""
        for split in effect.splits:
            self._add_pieces(split)
        self._buffer[effect.fragments] = effect.after
        if len(effect.links):
            self.links.append(effect.links)
        for pairs, value in ((effect.joined, 1), (effect.cut, -1)):
            for a, b in pairs.tolist():
                self._decisions.setdefault((a, b), []).append(value)
        if self._members is not None:
            self._members.move(effect.fragments, effect.before, effect.after)
        self.version += 1

    def revert(self, effect: Effect) -> None:
        """Take back the effect that was applied last."""
        self._buffer[effect.fragments] = effect.before
        for pairs in (effect.joined, effect.cut):
            for a, b in pairs.tolist():
                self._decisions[a, b].pop()
        if len(effect.links):
            self.links.pop()
        for split in effect.splits:
            self.splits.pop()
            self._replaced.discard(split.parent)
        if self._members is not None:
            self._members.move(effect.fragments, effect.after, effect.before)
        self.version += 1

    def fold(self, log: SkimmedLog) -> None:
        """Carry effects out in order: the same as `apply` on each, in one sweep.

        The ids of all effects stand behind each other and are assigned at once; of repeated ones
        the last counts.
        """
        for data in log.rest.values():
            splits, links = unpack_rest(data)
            for split in splits:
                self._add_pieces(split)
            if len(links):
                self.links.append(links)
        ids = log.fragments.values
        if len(ids) and int(ids.max()) >= self._count:
            raise _misfit(f"it names the fragment {int(ids.max())} of {self._count - 1}")
        self._buffer[ids.astype(np.intp)] = log.after.values
        self._undecided.append(log)
        self._members = None
        self.version += 1

    @property
    def _decisions(self) -> dict[tuple[int, int], list[int]]:
        """All decisions on each contact, the last one holds; those folded join when asked for."""
        while self._undecided:
            log = self._undecided.pop(0)
            pairs = np.concatenate([log.joined.values, log.cut.values])
            order = np.argsort(
                np.concatenate([log.joined.effect, log.cut.effect]), kind="stable"
            ).tolist()
            values = [1] * len(log.joined.values) + [-1] * len(log.cut.values)
            rows = pairs.tolist()
            for i in order:
                a, b = rows[i]
                self._decided.setdefault((a, b), []).append(values[i])
        return self._decided

    def _add_pieces(self, split: FragmentSplit) -> None:
        count = max(self._count, split.first + split.count)
        if count > len(self._buffer):
            for name in ("_buffer", "_size", "_start", "_stop"):
                setattr(self, name, _roomy(getattr(self, name)[: self._count], count))
        self._count = count
        measured = measure_fragments(split.labels.astype(np.uint64), split.count, split.start)
        rows = slice(split.first, split.first + split.count)
        self._size[rows] = measured.size[1:]
        self._start[rows] = measured.start[1:]
        self._stop[rows] = measured.stop[1:]
        self.splits.append(split)
        if split.parent:  # background stays where no piece lies over it
            self._replaced.add(split.parent)


def _roomy(array: NDArray[_T], spare: int) -> NDArray[_T]:
    """Return a copy with `spare` empty rows behind, so that growing rarely copies."""
    result = np.zeros((len(array) + spare, *array.shape[1:]), array.dtype)
    result[: len(array)] = array
    return result


def _misfit(what: str) -> ProjectError:
    return ProjectError(
        f"An edit does not fit this project: {what}.",
        "edits made on these fragments, in their order",
        "replay the log onto the project it came from, or a copy of it as segmented.",
    )

"""A session against a plain model: sets of voxels, a list of what was, and nothing clever."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading import DrawingRules, ProofreadingSession

SHAPE = (2, 6, 8)
VOXELS = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))


def _canonical(labels: np.ndarray) -> np.ndarray:
    """Number a partition by first appearance, so that two equal ones compare equal; 0 stays."""
    ids, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(ids), int)
    rank[np.argsort(first)] = np.arange(1, len(ids) + 1)
    rank[ids == 0] = 0
    return rank[inverse].reshape(labels.shape)


class SessionMachine(RuleBasedStateMachine):
    """Merges, splits, fragment splits, drawings, undo, redo, reopening, crashes, in any order."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "0.neuropil"
        self.copies = 0

    @initialize()
    def begin(self) -> None:
        shutil.copytree(self.template, self.path)
        self.session = ProofreadingSession.open(self.path)
        self.past: list[np.ndarray] = []
        self.future: list[np.ndarray] = []
        self.model = _canonical(self._read())

    def _read(self) -> np.ndarray:
        return self.session.segments().read(Roi.of_shape(SHAPE))

    def _edited(self, model: np.ndarray) -> None:
        self.past.append(self.model)
        self.future = []
        self.model = _canonical(model)

    @rule(a=VOXELS, b=VOXELS)
    def merge(self, a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
        left, right = self.model[a], self.model[b]
        if left == 0 or right == 0 or left == right:
            with pytest.raises(EditRejectedError):
                self.session.merge(a, b, force=True)
            return
        self.session.merge(a, b, force=True)
        self._edited(np.where(self.model == right, left, self.model))

    @rule(a=VOXELS, b=VOXELS)
    def split(self, a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
        if self.model[a] == 0 or self.model[a] != self.model[b] or a == b:
            with pytest.raises(EditRejectedError):
                self.session.split(a, b)
            return
        self.session.split(a, b)
        now = self._read()
        inside = self.model == self.model[a]
        assert now[a] != now[b]
        assert set(np.unique(now[inside])) == {now[a], now[b]}, "two sides, nothing left over"
        model = self.model.copy()
        model[inside & (now == now[b])] = model.max() + 1
        self._edited(model)

    @rule(a=VOXELS)
    def detach(self, a: tuple[int, int, int]) -> None:
        if self.model[a] == 0:
            return
        fragment = self.session.fragment_at(a)
        mine = self.session.fragments().read(Roi.of_shape(SHAPE)) == fragment
        if (mine == (self.model == self.model[a])).all():
            with pytest.raises(EditRejectedError):
                self.session.detach(fragment)
            return
        self.session.detach(fragment)
        self._edited(np.where(mine, self.model.max() + 1, self.model))

    @rule(a=VOXELS, b=VOXELS, holes=st.integers(0, 2**16), into=st.none() | VOXELS)
    def draw(
        self,
        a: tuple[int, int, int],
        b: tuple[int, int, int],
        holes: int,
        into: tuple[int, int, int] | None,
    ) -> None:
        """A box with holes, to the voxel; with `into`, a segment grows by it."""
        mask = np.zeros(SHAPE, bool)
        mask[tuple(slice(min(p, q), max(p, q) + 1) for p, q in zip(a, b, strict=True))] = True
        mask &= np.random.default_rng(holes).random(SHAPE) > (holes % 3) / 3
        goal = self.model.max() + 1 if into is None else self.model[into]
        model = np.where(mask, goal, self.model)
        same = goal == 0 or (_canonical(model) == _canonical(self.model)).all()
        rows = [(z, 0, 0, plane) for z, plane in enumerate(mask)]
        if same or not mask.any():
            with pytest.raises(EditRejectedError):
                self.session.draw(rows, into, rules=DrawingRules(1.0, 0))
            return
        self.session.draw(rows, into, rules=DrawingRules(1.0, 0))
        self._edited(model)

    @rule(a=VOXELS)
    def delete(self, a: tuple[int, int, int]) -> None:
        if self.model[a]:
            self.session.delete(a)
            self._edited(np.where(self.model == self.model[a], 0, self.model))

    @precondition(lambda self: self.past)
    @rule()
    def undo(self) -> None:
        self.session.undo()
        self.future.append(self.model)
        self.model = self.past.pop()

    @precondition(lambda self: self.future)
    @rule()
    def redo(self) -> None:
        self.session.redo()
        self.past.append(self.model)
        self.model = self.future.pop()

    @rule()
    def reopen(self) -> None:
        self.session.close()
        self.session = ProofreadingSession.open(self.path)

    @rule()
    def crash(self) -> None:
        """What lies on disk while a session is open is what a power cut would leave."""
        self.copies += 1
        path = self.path.with_name(f"{self.copies}.neuropil")
        shutil.copytree(self.path, path)
        self.session.close()
        self.path = path
        self.session = ProofreadingSession.open(path)

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "session"):
            np.testing.assert_array_equal(_canonical(self._read()), self.model)
            assert self.session.can_undo == bool(self.past)
            assert self.session.can_redo == bool(self.future)

    def teardown(self) -> None:
        if hasattr(self, "session"):
            self.session.close()
        self.folder.cleanup()


def test_against_the_model(
    make_project: Callable[..., Path], cubes: Callable[..., np.ndarray]
) -> None:
    fragments = cubes(3, 4, 2)
    fragments[fragments == 12] = 0  # background to draw over
    SessionMachine.template = make_project(fragments)
    case = SessionMachine.TestCase()
    case.settings = settings(
        max_examples=12,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case.runTest()

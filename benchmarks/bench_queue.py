"""The oracle curve: VI against answered candidates, for our ranking, size order and random order.

An oracle answers the queue from the labels: two segments are one if most of the labelled voxels of
both carry one label; a segment is two if its sides disagree. Every row drives the real queue on the
real session, so edits, updates after edits and the minimum cut are part of what is measured. VI is
exact: it follows from the table of fragments x labels, and no voxel is written.

ours      the queue's own ranking: expected change of VI
alone     the same without what the queries say of each other (AGQ)
affinity  the same without embedding distances (`neuropil distances PROJECT` measures them)
embedding the same with distances in the place of affinities
size      change of VI alone: the largest pieces' contacts first
random    any order (seeded)

Usage::

    python benchmarks/bench_queue.py PROJECT LABELS [--labels-roi 80:100,:,:] [--wrong 0.05]
    python benchmarks/bench_queue.py PROJECT LABELS --fit     # regression for the default weights

PROJECT is copied. Made for example by ``neuropil segment ac4_image.tif ac4.neuropil --voxel-size
29,6,6 --roi 80:100,:,:`` or ``neuropil import fib25_sample2.h5/fragments fib.neuropil --affinities
...``.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.evaluation import evaluate_segmentation
from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.proofreading.candidates import (
    Candidates,
    CandidateSettings,
    facts_of,
    find_candidates,
    find_in_arrays,
)
from napari_neuropil.proofreading.fragment_evidence import query_measurements
from napari_neuropil.proofreading.local_candidates import LocalFinder
from napari_neuropil.proofreading.queue import CandidateQueue
from napari_neuropil.volumes import open_volume

WITHOUT = {"affinity": ("embedding",), "embedding": ("affinity",), "alone": ("rivals",)}
"""Scorers that an order leaves out."""

MARKS = (0, 10, 50, 100, 200, 500, 1000)


def entropy_terms(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return n log2 n."""
    counts = np.asarray(counts, np.float64)
    return counts * np.log2(np.maximum(counts, 1.0))


class Truth:
    """Labels of fragments, and the VI of the session's segments against them, kept up to date."""

    def __init__(self, session: ProofreadingSession, labels: NDArray[Any]) -> None:
        ids = session.fragments().read(Roi.of_shape(labels.shape)).reshape(-1).astype(np.int64)
        values, compact = np.unique(labels.reshape(-1), return_inverse=True)
        self.session = session
        count = len(values)
        pairs, voxels = np.unique(ids * count + compact, return_counts=True)
        known = values[pairs % count] > 0
        self.table = np.zeros((len(session.lookup), count), np.int64)
        self.table[pairs[known] // count, pairs[known] % count] = voxels[known]
        self.total = float(self.table.sum())
        self._labels = entropy_terms(self.table.sum(axis=0)).sum()
        self._segments: dict[int, tuple[float, float]] = {}
        order = np.argsort(session.lookup, kind="stable")
        segments, begins = np.unique(session.lookup[order], return_index=True)
        sums = np.add.reduceat(self.table[order], begins, axis=0)
        for segment, row in zip(segments.tolist(), sums, strict=True):
            self._segments[segment] = self._terms(row)
        session.edited.connect(self._on_session_edited)

    def _terms(self, row: NDArray[Any]) -> tuple[float, float]:
        return float(entropy_terms(row.sum())), float(entropy_terms(row).sum())

    def _on_session_edited(self, delta: Any) -> None:
        for segment in delta.segments:
            self._segments[segment] = self._terms(self.counts(self.session.members(segment)))

    def counts(self, fragments: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the labelled voxels of some fragments by label."""
        total: NDArray[np.int64] = self.table[fragments.astype(np.intp)].sum(axis=0)
        return total

    def vi(self) -> tuple[float, float]:
        """Return VI split and merge, bits, as `evaluate_segmentation` does."""
        whole, cells = np.array(list(self._segments.values())).sum(axis=0)
        return (self._labels - cells) / self.total, (whole - cells) / self.total

    def one(self, sides: tuple[NDArray[np.uint64], NDArray[np.uint64]]) -> bool:
        """Return whether both pieces are one neuron: most of their voxels carry one label."""
        first, second = (self.counts(side) for side in sides)
        return bool(first.any() and second.any() and first.argmax() == second.argmax())

    def gain(self, sides: tuple[NDArray[np.uint64], NDArray[np.uint64]]) -> float:
        """Return by how much VI falls when the pieces, apart, are joined; negative: it rises."""
        first, second = (self.counts(side) for side in sides)
        (a, cells_a), (b, cells_b) = self._terms(first), self._terms(second)
        whole, cells = self._terms(first + second)
        return (a + b - whole - 2 * (cells_a + cells_b - cells)) / self.total


class OrderedFinder(LocalFinder):
    """Ranks what is found otherwise."""

    def __init__(
        self,
        session: ProofreadingSession,
        settings: CandidateSettings,
        order: Callable[[Candidates], Candidates],
    ) -> None:
        super().__init__(session, settings)
        self._order = order

    def find(self, segments: NDArray[np.uint64]) -> Candidates:
        """Return the candidates of some segments."""
        return self._order(super().find(segments))


def by_size(candidates: Candidates) -> Candidates:
    """Order by the change of VI alone."""
    certain = np.full(len(candidates), 1 - 1e-6, np.float32)
    found = replace(candidates, probability=certain)
    return replace(found.take(np.argsort(-found.gain, kind="stable")), measures=found.measures)


def in_random_order(seed: int) -> Callable[[Candidates], Candidates]:
    """Order by lot."""
    random = np.random.default_rng(seed)

    def order(candidates: Candidates) -> Candidates:
        lot = random.random(len(candidates)).astype(np.float32)
        return by_size(replace(candidates, change=lot))

    return order


@dataclass
class Curve:
    """One row of the table."""

    order: str
    wrong: float
    marks: list[tuple[int, float, float]]
    expected: list[tuple[int, float]]
    decisions: int
    yes: int
    next_ms: list[float]
    seconds: float


def play(
    project: Path, labels: NDArray[Any], order: str, wrong: float, *, decisions: int, seed: int
) -> Curve:
    """Answer a queue from the labels, on a copy of the project."""
    orders = {"size": by_size, "random": in_random_order(seed)}
    random = np.random.default_rng(seed)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / project.name
        shutil.copytree(project, copy, ignore=shutil.ignore_patterns("affinities.zarr", "session*"))
        with ProofreadingSession.open(copy) as session:
            truth = Truth(session, labels)
            settings = CandidateSettings(weights=dict.fromkeys(WITHOUT.get(order, ()), 0.0))
            reorder = orders.get(order)
            if reorder is not None:
                settings = CandidateSettings(smallest_probability=0.0, wrong_answers=0.0)
            if reorder is None:
                queue = CandidateQueue(session, settings)
            else:
                candidates = reorder(find_candidates(session, settings))
                queue = CandidateQueue(session, settings, candidates)
                queue._live.finder = OrderedFinder(session, settings, reorder)
                queue._live.finder.reset(candidates.measures)
            curve = Curve(order, wrong, [], [], 0, 0, [], 0.0)
            _answer_all(queue, truth, curve, random, decisions)
            _check(session, truth, labels)
    curve.seconds = time.perf_counter() - begin
    return curve


def _answer_all(
    queue: CandidateQueue, truth: Truth, curve: Curve, random: np.random.Generator, limit: int
) -> None:
    for number in range(limit + 1):
        if number in MARKS or number == limit:
            curve.marks.append((number, *truth.vi()))
            curve.expected.append((number, queue.remaining_gain()))
        if number == limit:
            break
        begin = time.perf_counter()
        candidate = queue.next()
        curve.next_ms.append((time.perf_counter() - begin) * 1000)
        if candidate is None:
            curve.marks.append((number, *truth.vi()))
            break
        one = truth.one(queue.sides(candidate))
        error = one if candidate.kind == "split_error" else not one
        if random.random() < curve.wrong:
            error = not error
        curve.decisions += 1
        curve.yes += error
        if error:
            queue.accept(seconds=1.0)
        else:
            queue.reject(seconds=1.0)


def _check(session: ProofreadingSession, truth: Truth, labels: NDArray[Any]) -> None:
    """Compare the running VI once with the evaluation of the voxels."""
    voxels = session.segments().read(Roi.of_shape(labels.shape))
    scores = evaluate_segmentation(voxels, labels)
    if not np.allclose(truth.vi(), (scores.voi_split, scores.voi_merge), atol=1e-6):
        raise SystemExit(f"the running VI {truth.vi()} is not that of the voxels, {scores}")


def fit(project: Path, labels: NDArray[Any], exponent: float = 0.5) -> None:
    """Print weights by logistic regression on all candidates of a project.

    Rows count by the change of VI they promise to the power of `exponent`, since large candidates
    matter more and are few. `purity` is the part of the promised change that the right answers
    brought, by one at a time.
    """
    from napari_neuropil.proofreading.scorers import PURITIES, SCORERS

    with ProofreadingSession.open(project, read_only=True) as session:
        truth = Truth(session, labels)
        facts, contacts = facts_of(session, query_measurements(session)), session.graph.all()
        finder = LocalFinder(session, CandidateSettings())
        for kind in ("split_error", "merge_error"):
            settings = CandidateSettings(
                split_errors=kind == "split_error",
                merge_errors=kind == "merge_error",
                smallest_probability=0.0,
                wrong_answers=0.0,
            )
            found = find_in_arrays(facts, contacts, settings)
            if len(found) < 50:
                continue
            target, share = np.zeros(len(found)), np.zeros(len(found))
            for row, candidate in enumerate(found):
                merge = kind == "merge_error"
                sides = finder.sides(candidate) if merge else _members(session, candidate)
                one = truth.one(sides)
                target[row] = one != merge
                if one != merge:
                    gain = truth.gain(sides) * (-1 if merge else 1)
                    promised = candidate.change / PURITIES[candidate.kind]
                    share[row] = np.clip(gain / promised, 0, 1)
            names = [name for name in SCORERS if name in found.parts]
            evidence = np.stack(
                [found.parts[n] / SCORERS[n].weights[found[0].kind] for n in names], axis=1
            )
            weights = regress(evidence, target, found.change.astype(np.float64) ** exponent)
            print(
                json.dumps(
                    {
                        "kind": kind,
                        "candidates": len(found),
                        "bias": round(weights[0], 3),
                        **{n: round(w, 3) for n, w in zip(names, weights[1:], strict=True)},
                        "yes": round(float(target.mean()), 4),
                        "purity": round(
                            float((share * found.change).sum() / (target * found.change).sum()), 3
                        ),
                        "expected": round(float(found.gain.sum()), 4),
                        "real": round(
                            float((share * found.change).sum()) / PURITIES[found[0].kind], 4
                        ),
                    }
                )
            )


def _members(session: ProofreadingSession, candidate: Any) -> tuple[Any, Any]:
    return session.members(candidate.segment_a), session.members(candidate.segment_b)


def regress(
    evidence: NDArray[Any], target: NDArray[Any], counts: NDArray[Any], ridge: float = 1e-3
) -> list[float]:
    """Return bias and weights of a logistic regression on shares, by Newton's method."""
    columns = np.column_stack([np.ones(len(evidence)), evidence])
    counts = counts / counts.sum()
    penalty = ridge * np.diag([1e-6, *np.ones(evidence.shape[1])])
    weights = np.zeros(columns.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-columns @ weights))
        slope = columns.T @ (counts * (target - chance)) - penalty @ weights
        bend = (columns * (counts * chance * (1 - chance))[:, None]).T @ columns + penalty
        weights = weights + np.linalg.solve(bend, slope)
    return [float(w) for w in weights]


def report(curve: Curve) -> None:
    """Print one row, and it as JSON."""
    marks = "  ".join(f"{n}: {s:.3f}+{m:.3f}={s + m:.3f}" for n, s, m in curve.marks)
    end = sum(curve.marks[-1][1:])
    line = "  ".join(
        f"{n}: {e:.3f}/{sum(at[1:]) - end:.3f}"
        for (n, e), at in zip(curve.expected, curve.marks, strict=False)
    )
    p50, p99 = np.percentile(curve.next_ms, [50, 99])
    print(f"{curve.order:7} wrong {curve.wrong:4.0%}  VI split+merge after {marks}")
    print(
        f"        {curve.decisions} answers, {curve.yes} yes; next p50 {p50:.1f} ms, "
        f"p99 {p99:.1f} ms; {curve.seconds:.0f} s"
    )
    if curve.order == "ours":
        print(f"        stop line, expected / real fall of VI from there to the end: {line}")
    print("    ", json.dumps(curve.__dict__ | {"next_ms": [p50, p99]}), flush=True)


def main() -> None:
    """Print a table, and one JSON line for each row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("labels", help="the truth; HDF5 as file.h5/dataset")
    parser.add_argument("--labels-roi", help="part of the labels the project covers")
    parser.add_argument(
        "--orders",
        nargs="*",
        default=["ours", "size", "random"],
        choices=["ours", *WITHOUT, "size", "random"],
    )
    parser.add_argument("--wrong", type=float, nargs="*", default=[0.0, 0.05])
    parser.add_argument("--decisions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fit", action="store_true", help="regression instead of the curve")
    options = parser.parse_args()
    volume = open_volume(options.labels)
    roi = Roi.of_shape(volume.shape)
    if options.labels_roi:
        roi = Roi.parse(options.labels_roi, volume.shape)
    labels = volume.read(roi)
    if options.fit:
        fit(options.project, labels)
        return
    print(platform.platform(), platform.processor(), f"seed {options.seed}")
    for wrong in options.wrong:
        for order in options.orders:
            report(
                play(
                    options.project, labels, order, wrong,
                    decisions=options.decisions, seed=options.seed,
                )
            )  # fmt: skip


if __name__ == "__main__":
    main()

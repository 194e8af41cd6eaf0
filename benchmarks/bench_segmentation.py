"""Quality, time and memory of the shipped weights, beside what bounds them from both sides.

On the validation sections of two real volumes, in one run on one machine:

shipped     `neuropil segment` with the shipped weights
shipped+    the same, then mean-embedding agglomeration
mutex       voxel embeddings and mutex watershed, no agglomeration
mutex+      the same with mean-embedding agglomeration
agq         queries, blocks joined by agreement of windows
agq-rule    the same, blocks joined by the published rule
agq-sheds   the affinities of the same network, through the fragments and partition of `shipped`
untrained   as shipped, with the network as initialised (seed 0)
classical   a ridge filter as boundaries, watershed, mean-affinity agglomeration; of eight
            thresholds the one that is best on the very data counts, which favours it
oracle      affinities made from the labels, through the same fragments and partition: the bound

Each row runs in a process of its own, so that its peak memory is its own. Usage::

    python benchmarks/bench_segmentation.py --data FOLDER [--set beta=0.3 ...] [--only ac4]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import NeuropilError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.project import Project
from napari_neuropil.volumes import open_volume

DATASETS: dict[str, dict[str, Any]] = {
    "ac4": {
        "image": "ac4_image.tif",
        "labels": "ac4_labels.tif",
        "voxel_size": (29.0, 6.0, 6.0),
        "sections": (80, 100),
        "factors": (1, 2, 2),
    },
    "fib25": {
        "image": "fib25_sample2.h5/image",
        "labels": "fib25_sample2.h5/labels",
        "voxel_size": (8.0, 8.0, 8.0),
        "sections": (200, 250),
        "factors": (1, 1, 1),
    },
}
ROWS = (
    "shipped", "shipped+", "mutex", "mutex+", "agq", "agq-rule", "agq-sheds",
    "untrained", "classical", "oracle",
)  # fmt: skip

METHODS = {
    "mutex": "voxel-embeddings",
    "mutex+": "voxel-embeddings",
    "agq": "agq",
    "agq-rule": "agq",
    "agq-sheds": "agq",
}


def run_row(row: str, name: str, data: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return scores, seconds and peak memory of one row, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (row, name, data, settings))


def _measure(row: str, name: str, data: Path, settings: dict[str, Any]) -> dict[str, Any]:
    found = DATASETS[name]
    begin, cpu = time.perf_counter(), time.process_time()
    others = {"classical": _classical, "oracle": _oracle, "agq-sheds": _agq_watershed}
    if row in others:
        scores, detail = others[row](found, data, settings)
    else:
        scores, detail = _by_network(row, found, data, settings)
    return {
        "row": row,
        "data": name,
        **scores,
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **detail,
    }


def _by_network(
    row: str, found: dict[str, Any], data: Path, settings: dict[str, Any]
) -> tuple[dict[str, float], dict[str, Any]]:
    from napari_neuropil.workflows.evaluate import evaluate_files
    from napari_neuropil.workflows.requests import SegmentRequest
    from napari_neuropil.workflows.segment import segment

    settings = {**settings, "mean_embedding": row.endswith("+")}
    if row == "agq-rule":
        settings["assembly"] = "affinity"
    checkpoint = settings.pop("checkpoint", None)
    first, last = found["sections"]
    with tempfile.TemporaryDirectory() as folder:
        if row == "untrained":
            checkpoint = _untrained(Path(folder))
        project = segment(
            SegmentRequest(
                image=str(data / found["image"]),
                project=f"{folder}/p.neuropil",
                method=METHODS.get(row, "segneuron"),
                checkpoint=checkpoint,
                voxel_size=found["voxel_size"],
                roi=f"{first}:{last},:,:",
                settings=settings,
            )
        )
        scores = evaluate_files(project.path, data / found["labels"]).as_dict()
        plan = project.info.plan
        return scores, {
            "fragments": project.info.fragment_count,
            "segments": int(np.unique(project.lookup[1:]).size),
            "stages": project.info.seconds,
            "coverage": plan["coverage"],
            **_coarse_scores(project, _read(found, data, "labels"), found["factors"]),
            **_decisions(project, _read(found, data, "labels")),
        }


def _coarse_scores(
    project: Project, truth: NDArray[Any], factors: tuple[int, int, int]
) -> dict[str, Any]:
    """Return the scores on the pooled grid, as papers give those of AC3 and AC4 at 12 nm."""
    from napari_neuropil.evaluation import evaluate_segmentation

    if factors == (1, 1, 1):
        return {}
    coarse = tuple(slice(None, None, f) for f in factors)
    segments = project.lookup[np.asarray(project.fragments.array[coarse])]
    scores = evaluate_segmentation(segments, truth[coarse]).as_dict()
    return {"coarse": {name: round(float(value), 4) for name, value in scores.items()}}


def _decisions(project: Project, truth: NDArray[Any]) -> dict[str, Any]:
    """Return how the agglomeration's decisions compare to the truth.

    A pair of segments is one neuron where both overlap the same label most.
    """
    from napari_neuropil.workflows.joining import Joins

    joins = Joins.read(project.path)
    if joins is None:
        return {}
    # The segments before joining: each candidate names its own, so the finest lookup will do.
    fragments = project.fragments.array[:, :, :]
    before = _lookup_before(project)
    overlap: dict[int, dict[int, int]] = {}
    pairs, counts = np.unique(
        np.stack([before[fragments].ravel(), truth.ravel()], 1), axis=0, return_counts=True
    )
    for (segment, label), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        if label:
            overlap.setdefault(segment, {})[label] = count
    best = {segment: max(labels, key=labels.__getitem__) for segment, labels in overlap.items()}
    same = np.array([best.get(a, -1) == best.get(b, -2) for a, b in joins.pairs.tolist()], bool)
    joined = joins.distance < project.info.plan["settings"]["join_distance"]
    hits = int((same & joined).sum())
    edges = np.append(np.arange(0, 6.5, 0.5), np.inf)
    return {
        "candidates": len(joins.pairs),
        "one_neuron": int(same.sum()),
        "joined": int(joined.sum()),
        "precision_of_joins": round(hits / max(1, int(joined.sum())), 3),
        "recall_of_joins": round(hits / max(1, int(same.sum())), 3),
        "distances_of_one": np.histogram(joins.distance[same], edges)[0].tolist(),
        "distances_of_two": np.histogram(joins.distance[~same], edges)[0].tolist(),
    }


def _lookup_before(project: Project) -> NDArray[np.uint64]:
    """Partition again, as the run did before it joined."""
    from napari_neuropil.blockwise import Ledger
    from napari_neuropil.methods import method_entry
    from napari_neuropil.methods.cut import Cut

    method = method_entry(project.info.method)
    settings = method.settings_class(**project.info.plan["settings"])
    ledger = Ledger(project.path / "blocks" / "fragments")
    last = [
        int((ledger.result_of(index) or {"last": 0})["last"])
        for index in range(int(project.info.plan["blocks"]))
    ]
    count = project.info.fragment_count
    block_of = np.searchsorted(last, np.arange(count + 1))
    return method.module.segments_of(project.rag, count, settings, Cut(block_of))


def _untrained(folder: Path) -> str:
    import torch

    from napari_neuropil.networks import load_checkpoint, pretrained_path
    from napari_neuropil.networks.checkpoint import save_checkpoint
    from napari_neuropil.networks.registry import NETWORKS

    _, spec = load_checkpoint(pretrained_path("segneuron"))
    torch.manual_seed(0)
    network = NETWORKS["segneuron"].build(**spec.arguments)
    path = folder / "untrained.safetensors"
    save_checkpoint(path, network.state_dict(), spec)
    return str(path)


def _read(found: dict[str, Any], data: Path, kind: str) -> NDArray[Any]:
    volume = open_volume(data / found[kind])
    first, last = found["sections"]
    _, y, x = volume.shape
    return volume.read(Roi((first, 0, 0), (last, y, x)))


def _score(
    lookup: NDArray[np.uint64], fragments: NDArray[np.uint64], truth: NDArray[Any], factors: Any
) -> dict[str, float]:
    from napari_neuropil.evaluation import evaluate_segmentation
    from napari_neuropil.inference.grids import repeat_voxels

    segments = repeat_voxels(lookup[fragments], factors, truth.shape)
    return evaluate_segmentation(segments, truth).as_dict()


def _partition(
    affinities: NDArray[np.float32],
    foreground: NDArray[np.float32],
    settings: dict[str, Any],
    working: VoxelSize,
) -> tuple[NDArray[np.uint64], Any, Any]:
    from napari_neuropil.methods.segneuron import SegNeuronSettings, settle
    from napari_neuropil.segmentation.fragments import make_fragments, restrict_to_foreground
    from napari_neuropil.segmentation.rag import build_rag

    wish = SegNeuronSettings(**{k: v for k, v in settings.items() if k != "checkpoint"})
    chosen = settle(wish.model_copy(update={"views": "one"}), working)
    fragments = make_fragments(affinities, foreground, chosen.watershed_settings())
    rag = build_rag(fragments, restrict_to_foreground(affinities, foreground))
    return fragments, rag, chosen


def _agq_watershed(
    found: dict[str, Any], data: Path, settings: dict[str, Any]
) -> tuple[dict[str, float], dict[str, Any]]:
    from napari_neuropil.project.affinities import AffinityStore
    from napari_neuropil.workflows.requests import SegmentRequest
    from napari_neuropil.workflows.segment import run_stages

    first, last = found["sections"]
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        path = Path(folder) / "p.neuropil"
        run_stages(
            SegmentRequest(
                image=str(data / found["image"]),
                project=str(path),
                method="agq",
                checkpoint=settings.pop("checkpoint", None),
                voxel_size=found["voxel_size"],
                roi=f"{first}:{last},:,:",
                until="affinities",
            )
        )
        stored = AffinityStore.open(path / "affinities.zarr").array[:]
    network = time.perf_counter() - begin
    affinities = stored[:3].astype(np.float32) / 255
    foreground = stored[-1].astype(np.float32) / 255
    working = VoxelSize(*found["voxel_size"]).scaled(found["factors"])
    fragments, rag, chosen = _partition(affinities, foreground, settings, working)
    from napari_neuropil.segmentation.agglomeration import agglomerate

    lookup = agglomerate(rag, int(fragments.max()), chosen.agglomeration())
    scores = _score(lookup, fragments, _read(found, data, "labels"), found["factors"])
    whole = time.perf_counter() - begin
    return scores, {
        "fragments": int(fragments.max()),
        "stages": {"network": round(network, 1), "rest": round(whole - network, 1)},
    }


def _classical(
    found: dict[str, Any], data: Path, settings: dict[str, Any]
) -> tuple[dict[str, float], dict[str, Any]]:
    from skimage.filters import sato

    from napari_neuropil.inference.grids import pool_mean
    from napari_neuropil.segmentation.agglomeration import MeanAffinitySettings, agglomerate

    factors = found["factors"]
    image = pool_mean(_read(found, data, "image").astype(np.float32) / 255, factors)
    ridges = np.stack([sato(section, sigmas=(1, 1.5, 2), black_ridges=True) for section in image])
    boundary = np.clip(ridges / np.percentile(ridges, 97), 0, 1).astype(np.float32)
    affinities = np.repeat((1 - boundary)[None], 3, 0)
    fragments, rag, _ = _partition(
        affinities, 1 - boundary, settings, VoxelSize(*found["voxel_size"]).scaled(factors)
    )
    truth = _read(found, data, "labels")
    best: tuple[dict[str, float], float] | None = None
    for threshold in np.linspace(0.3, 0.95, 8):
        lookup = agglomerate(
            rag, int(fragments.max()), MeanAffinitySettings(threshold=float(threshold))
        )
        scores = _score(lookup, fragments, truth, factors)
        if best is None or scores["voi"] < best[0]["voi"]:
            best = scores, round(float(threshold), 3)
    if best is None:
        raise NeuropilError("No threshold was tried.")
    return best[0], {"fragments": int(fragments.max()), "threshold": best[1]}


def _oracle(
    found: dict[str, Any], data: Path, settings: dict[str, Any]
) -> tuple[dict[str, float], dict[str, Any]]:
    from napari_neuropil.segmentation.agglomeration import agglomerate
    from napari_neuropil.training.targets import affinities_of_labels, widen_borders

    truth = _read(found, data, "labels")
    _, fy, fx = found["factors"]
    labels = widen_borders(truth[:, ::fy, ::fx].astype(np.uint32), through_sections=False)
    nearest = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
    affinities, _ = affinities_of_labels(labels, nearest)
    affinities[0, 0] = labels[0] > 0
    affinities[1, :, 0] = labels[:, 0] > 0
    affinities[2, :, :, 0] = labels[:, :, 0] > 0
    fragments, rag, chosen = _partition(
        affinities,
        (labels > 0).astype(np.float32),
        settings,
        VoxelSize(*found["voxel_size"]).scaled(found["factors"]),
    )
    lookup = agglomerate(rag, int(fragments.max()), chosen.agglomeration())
    return _score(lookup, fragments, truth, found["factors"]), {"fragments": int(fragments.max())}


def main() -> None:
    """Print a table, and one JSON line for each row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=DATASETS, nargs="*", default=list(DATASETS))
    parser.add_argument("--rows", choices=ROWS, nargs="*", default=list(ROWS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--checkpoint")
    parser.add_argument("--embedding-checkpoint", help="of the rows mutex and mutex+")
    parser.add_argument("--agq-checkpoint", help="of the rows agq, agq-rule and agq-sheds")
    options = parser.parse_args()
    settings = dict(item.split("=", 1) for item in options.set)
    if options.checkpoint:
        settings["checkpoint"] = options.checkpoint
    print(platform.platform(), platform.processor(), f"{multiprocessing.cpu_count()} cores")
    print(f"{'data':6} {'row':10}  split  merge     VI    ARE       s    MiB")
    for name in options.only:
        print(f"voxels of {VoxelSize(*DATASETS[name]['voxel_size'])}")
        for row in options.rows:
            own = dict(settings)
            network = METHODS.get(row, "")
            own_weights = (
                options.agq_checkpoint if network == "agq" else options.embedding_checkpoint
            )
            if network and own_weights:
                own["checkpoint"] = own_weights
            found = run_row(row, name, options.data, own)
            print(
                f"{name:6} {row:10} {found['voi_split']:6.3f} {found['voi_merge']:6.3f} "
                f"{found['voi']:6.3f} {found['adapted_rand_error']:6.3f} "
                f"{found['seconds']:7.1f} {found['peak_mib']:6d}",
                flush=True,
            )
            print("   ", json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

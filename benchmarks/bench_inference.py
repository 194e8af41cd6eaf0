"""What tiling costs: time of the affinities stage over tiles times one forward pass.

The passes and the tiled prediction are interleaved in one run on the same machine, network and
tile; wall and CPU seconds, minimum and median. Reading, pooling, blending and storing are in
the tiled time. Usage::

    python benchmarks/bench_inference.py [--shape 24,384,384] [--repeat 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.inference.grey_values import GreyRange
from napari_neuropil.inference.predict import Predictor
from napari_neuropil.inference.tuning import choose_cpu_plan
from napari_neuropil.methods.segneuron import SegNeuronSettings, kept_channels
from napari_neuropil.networks import load_checkpoint, pretrained_path
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.volumes import create_volume, open_volume


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="24,384,384")
    parser.add_argument("--overlap", type=float, default=0.2)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    z, y, x = (int(n) for n in options.shape.split(","))
    network, spec = load_checkpoint(pretrained_path("segneuron"))
    plan, _ = choose_cpu_plan(network, spec.tile_shape, options.overlap, (8, 64, 64))
    predictor = Predictor(network, plan, kept_channels(spec.offsets, SegNeuronSettings()))
    roi = Roi((0, 0, 0), (z, y, x))
    tiles = len(predictor.tiles_touching(roi, roi.shape))
    one = torch.rand((1, 1, *spec.tile_shape))
    print(f"torch {torch.__version__}, {plan.threads} threads, load {os.getloadavg()[0]:.1f}")
    print(f"{roi.shape} voxels, {tiles} tiles of {spec.tile_shape}")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.zarr"
        volume = create_volume(path, roi.shape, "uint8", VoxelSize(30, 12, 12))
        grey = np.random.default_rng(0).integers(0, 255, roi.shape, dtype=np.uint8)
        volume.write(roi, grey)
        image = open_volume(path)
        store = AffinityStore.create(
            Path(folder) / "a.zarr", 4, roi.shape, (16, 256, 256), VoxelSize(30, 12, 12)
        )

        def tiled() -> None:
            values = GreyRange(0, 255).apply(image.read(roi))
            store.write(roi, predictor.predict(values, roi, roi, roi.shape))

        def passes() -> None:
            with torch.inference_mode():
                for _ in range(tiles):
                    predictor.network(one)

        ratios, walls = [], []
        for _ in range(options.repeat):
            base, ours = timed(passes), timed(tiled)
            ratios.append((ours[0] / base[0], ours[1] / base[1]))
            walls.append((base[0], ours[0]))
            print(
                f"passes {base[0]:.2f} s, tiled {ours[0]:.2f} s, ratio {ratios[-1][0]:.3f}",
                flush=True,
            )
    for what, column in (("wall", 0), ("CPU", 1)):
        values = [r[column] for r in ratios]
        print(f"{what} ratio: minimum {min(values):.3f}, median {statistics.median(values):.3f}")
    voxels = z * y * x
    print(f"{voxels / min(w[1] for w in walls) / 1e3:.0f} thousand voxels a second")


if __name__ == "__main__":
    main()

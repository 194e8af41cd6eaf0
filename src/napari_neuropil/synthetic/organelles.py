"""What is inside the cells: mitochondria, reticulum, microtubules, vesicles, synapses.

Each painter changes the grey values of the layers in place. Tubules and vesicles stand on jittered
lattices, in the cross-section of a neurite and in space: one vector operation draws all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.synthetic.grid import Box, Field, Grid, measure_capsule
from napari_neuropil.synthetic.neurites import Neurite, Tube, Vector
from napari_neuropil.synthetic.noise import make_smooth_noise
from napari_neuropil.synthetic.tissue import Tissue

_DARK = 40.0  # grey of a stained membrane
_VESICLE = 19.0  # nm, radius


@dataclass(frozen=True)
class Canvas:
    """Layers being painted.

    Parameters
    ----------
    grid : Grid
        Where the voxels are.
    tissue : Tissue
        Whose they are.
    grey : ndarray of float32, (L, Y, X)
        Values so far, 0-255.
    """

    grid: Grid
    tissue: Tissue
    grey: Field


def blend(part: Field, strength: NDArray[np.floating], target: Field | float) -> None:
    """Move `part` in place towards `target` by `strength` in [0, 1]."""
    part += strength * (np.float32(target) - part)


def paint_tubules(canvas: Canvas, neurites: list[Neurite], rng: np.random.Generator) -> None:
    """Draw microtubules and smooth reticulum along the neurites' axes."""
    if not neurites:
        return
    starts, axes, first, second, arcs = _tabulate_segments(neurites, rng)
    tissue = canvas.tissue
    shown = (tissue.segments >= 0) & (tissue.depth > 14) & (tissue.owners <= len(neurites))
    row = tissue.segments[shown]
    place = canvas.grid.coordinates[:, shown].T - starts[row]
    axis = axes[row]
    square = np.maximum((axis**2).sum(axis=1), 1e-6)
    along = np.clip((place * axis).sum(axis=1) / square, 0, 1)
    place -= along[:, None] * axis
    plane = np.stack([(place * first[row]).sum(axis=1), (place * second[row]).sum(axis=1)], axis=1)
    arc = arcs[row] + along * np.sqrt(square)
    owner = tissue.owners[shown]
    grey = canvas.grey[shown]

    distance, _, _ = _measure_lattice(plane, 78.0, owner, 0.5, rng)
    blend(grey, 0.75 * np.exp(-((distance / 12) ** 2)), 50.0)

    radius = np.float32(27.0)
    distance, angle, cell = _measure_lattice(plane, 150.0, owner, 0.6, rng)
    # Present on stretches only, each tubule on its own ones; flattened.
    wave = np.sin(arc / 130 + cell % 61) + np.sin(arc / 57 + cell % 17)
    wall = distance * (1 + 0.4 * np.cos(2 * angle)) - radius
    strength = np.clip(2.0 * wave - 0.4, 0, 1)
    blend(grey, 0.5 * strength * (wall < 0), 178.0)
    blend(grey, 0.95 * strength * np.exp(-((wall / 8) ** 2)), _DARK)
    canvas.grey[shown] = grey


def paint_mitochondria(canvas: Canvas, neurites: list[Neurite], rng: np.random.Generator) -> None:
    """Draw mitochondria: dark outline, grey matrix, cristae; about one for 1.6 um of neurite."""
    for index, neurite in enumerate(neurites):
        trunk = neurite.tubes[0]
        arc = np.concatenate(
            [[0.0], np.cumsum(np.linalg.norm(np.diff(trunk.points, axis=0), axis=1))]
        )
        thick = 2.2 if neurite.kind == "dendrite" else 1.0
        for _ in range(rng.poisson(thick * arc[-1] / 1600.0)):
            length = rng.uniform(250, 1300)
            begin = rng.uniform(-length, arc[-1])
            marks = np.linspace(max(begin, 0.0), min(begin + length, arc[-1]), 7)
            radius = float(np.interp(marks, arc, trunk.radii).min())
            if radius < 75 or marks[-1] - marks[0] < 100:
                continue
            own = min(0.62 * radius, rng.uniform(65, 140))
            aside = rng.standard_normal(3)
            aside *= 0.75 * (radius - own) * rng.random() / np.linalg.norm(aside)
            points = np.stack([np.interp(marks, arc, trunk.points[:, a]) for a in range(3)], axis=1)
            radii = own * (1 + 0.12 * rng.standard_normal(7))
            radii[[0, -1]] *= 0.75
            _paint_mitochondrion(canvas, Tube(points + aside, radii), index + 1, rng)


def _paint_mitochondrion(canvas: Canvas, tube: Tube, owner: int, rng: np.random.Generator) -> None:
    measured = _measure_tube(canvas.grid, tube)
    if measured is None:
        return
    box, distance = measured
    depth = canvas.tissue.depth[box]
    # Kept clear of the cell's own membrane, so that the outline follows it where it is tight.
    distance = np.maximum(distance, 20 - depth)
    shown = (canvas.tissue.owners[box] == owner) & (distance < 25)
    if not shown.any():
        return
    distance = distance[shown]
    where = canvas.grid.coordinates[:, *box][:, shown]
    normal = rng.standard_normal(3).astype(np.float32)
    normal /= np.linalg.norm(normal)
    phase = (normal @ where) * (2 * np.pi / rng.uniform(38, 55))
    inside = np.clip(-distance / 6, 0, 1)
    part = canvas.grey[box][shown]
    blend(part, 0.85 * inside, rng.uniform(88, 122))
    ridge = np.clip(np.cos(phase + 1.5 * np.sin(phase / 5)) - 0.35, 0, 1)
    blend(part, 0.75 * inside * (distance < -14) * ridge, 55.0)
    blend(part, 0.95 * np.exp(-((distance / 8) ** 2)), _DARK - 12)
    canvas.grey[box][shown] = part


def paint_synapses(canvas: Canvas, neurites: list[Neurite], rng: np.random.Generator) -> None:
    """Draw dark thickened contacts between axons and dendrites, with vesicles before them."""
    grid, tissue = canvas.grid, canvas.tissue
    dendrite = np.zeros(max(int(tissue.owners.max()), len(neurites)) + 1, dtype=bool)
    axon = np.zeros_like(dendrite)
    for index, neurite in enumerate(neurites):
        dendrite[index + 1] = neurite.kind == "dendrite"
        axon[index + 1] = neurite.kind == "axon"
    contact = axon[tissue.owners] & dendrite[tissue.others] & (tissue.depth < 8)
    places = np.flatnonzero(contact)
    volume = float(np.prod(np.array(grid.shape) * grid.spacing)) * 1e-9
    chosen: list[Vector] = []
    for place in rng.permutation(places)[:400]:
        if len(chosen) > 2.2 * volume:
            break
        centre = grid.coordinates.reshape(3, -1)[:, place].astype(np.float64)
        if any(np.linalg.norm(centre - c) < 450 for c in chosen):
            continue
        chosen.append(centre)
        before = int(tissue.owners.flat[place])
        after = int(tissue.others.flat[place])
        _paint_vesicles(canvas, centre, before, rng.uniform(180, 330), rng)
        _paint_density(canvas, centre, (before, after), rng.uniform(110, 210))


def paint_vesicle_pools(canvas: Canvas, neurites: list[Neurite], rng: np.random.Generator) -> None:
    """Draw clusters of vesicles in swellings of axons away from a synapse."""
    for index, neurite in enumerate(neurites):
        tube = neurite.tubes[0]
        swollen = np.flatnonzero(tube.radii > 105)
        if neurite.kind != "axon" or not len(swollen) or rng.random() < 0.3:
            continue
        centre = tube.points[int(rng.choice(swollen))]
        _paint_vesicles(canvas, centre, index + 1, rng.uniform(120, 260), rng)


def _paint_density(canvas: Canvas, centre: Vector, pair: tuple[int, int], size: float) -> None:
    box = canvas.grid.box(centre - size, centre + size)
    if box is None:
        return
    before, after = pair
    owners, others = canvas.tissue.owners[box], canvas.tissue.others[box]
    apart = np.linalg.norm(
        canvas.grid.coordinates[:, *box] - centre[:, None, None, None].astype(np.float32), axis=0
    )
    disc = np.clip((size - apart) / 30, 0, 1)
    depth = canvas.tissue.depth[box]
    # Asymmetric: the density lies behind the membrane of the receiving cell.
    for own, other, width in ((after, before, 30.0), (before, after, 15.0)):
        strength = 0.9 * disc * np.exp(-((depth / width) ** 2))
        blend(canvas.grey[box], strength * ((owners == own) & (others == other)), _DARK - 10)


def _paint_vesicles(
    canvas: Canvas, centre: Vector, owner: int, size: float, rng: np.random.Generator
) -> None:
    box = canvas.grid.box(centre - size, centre + size)
    if box is None:
        return
    shown = (canvas.tissue.owners[box] == owner) & (canvas.tissue.depth[box] > 24)
    where = canvas.grid.coordinates[:, *box][:, shown].T - centre.astype(np.float32)
    apart = np.linalg.norm(where, axis=1)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    distance, _, _ = _measure_lattice(
        where @ turn.astype(np.float32), 56.0, np.zeros(len(where), np.uint32), 0.8, rng
    )
    part = canvas.grey[box][shown]
    cluster = np.clip((size - apart) / 20, 0, 1)
    wall = distance - _VESICLE
    blend(part, 0.3 * cluster * (wall < 0), 170.0)
    blend(part, 0.9 * cluster * np.exp(-((wall / 7) ** 2)), 55.0)
    canvas.grey[box][shown] = part


def _measure_lattice(
    place: Field, pitch: float, owner: NDArray[np.uint32], share: float, rng: np.random.Generator
) -> tuple[Field, Field, NDArray[np.int64]]:
    """Return distance (nm) and angle to the jittered point of each place's lattice cell.

    A cell holds a point with probability `share`; the distance is huge where it holds none.
    """
    cell = np.floor(place / np.float32(pitch)).astype(np.int64)
    primes = np.array([73856093, 19349663, 83492791][: place.shape[1]])
    code = ((cell * primes).sum(axis=1) ^ (owner.astype(np.int64) * 2654435761)) % 4093
    size = place.shape[1]
    loose = 0.5 - 21.0 / pitch
    points = (0.5 + rng.uniform(-loose, loose, (4093, size))).astype(np.float32)
    filled = rng.random(4093) < share
    offset = place - (cell + points[code]) * np.float32(pitch)
    distance = np.sqrt((offset**2).sum(axis=1))
    distance[~filled[code]] = 1e4
    angle = np.arctan2(offset[:, 1], offset[:, 0]) + code
    return distance, angle.astype(np.float32), code


def _measure_tube(grid: Grid, tube: Tube) -> tuple[Box, Field] | None:
    reach = float(tube.radii.max()) + 30
    box = grid.box(tube.points.min(axis=0) - reach, tube.points.max(axis=0) + reach)
    if box is None:
        return None
    where = grid.coordinates[:, *box]
    distance = np.full(where.shape[1:], 1e4, dtype=np.float32)
    for i in range(len(tube.points) - 1):
        radii = float(tube.radii[i]), float(tube.radii[i + 1])
        value, _ = measure_capsule(where, tube.points[i], tube.points[i + 1], radii)
        np.minimum(distance, value, out=distance)
    return box, distance


def _tabulate_segments(
    neurites: list[Neurite], rng: np.random.Generator
) -> tuple[Field, Field, Field, Field, Field]:
    """Return start, axis, two normals and arc length of each segment, in `fill_tissue`'s order.

    The normals are carried along each tube without turning, so that tubules run on.
    """
    rows: list[Vector] = []
    for neurite in neurites:
        for tube in neurite.tubes:
            arc = 0.0
            first = rng.standard_normal(3)
            for start, end in zip(tube.points[:-1], tube.points[1:], strict=True):
                axis = end - start
                length = float(np.linalg.norm(axis))
                unit = axis / max(length, 1e-6)
                first = first - (first @ unit) * unit
                first /= max(float(np.linalg.norm(first)), 1e-6)
                second = np.cross(unit, first)
                rows.append(np.concatenate([start, axis, first, second, [arc]]))
                arc += length
    table = np.array(rows, dtype=np.float32)
    return table[:, :3], table[:, 3:6], table[:, 6:9], table[:, 9:12], table[:, 12]


def paint_membranes(canvas: Canvas, rng: np.random.Generator) -> Field:
    """Draw the cell membranes, weak here and there, and return how dark they should be.

    Returns
    -------
    ndarray of float32, (L, Y, X)
        Membrane before weakening, in [0, 1].
    """
    grid, depth = canvas.grid, canvas.tissue.depth
    # Two leaflets of 8-10 nm with the cleft between them: unresolved, one dark band.
    ideal = np.exp(-((depth / 10.5) ** 2))
    wave = make_smooth_noise(grid.shape, grid.spacing, 110, rng)
    strength = np.clip(0.80 + 0.22 * wave, 0.12, 1.0)
    blend(canvas.grey, strength * ideal, _DARK)
    return np.asarray(ideal, dtype=np.float32)
